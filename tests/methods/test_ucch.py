import math
import re
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor
from torch.nn.functional import normalize
from torch.testing import assert_close

from modalhash.errors import SettingError
from modalhash.layers import ModalityFeatures
from modalhash.methods.base import Batch, FeatureShapes, Moment
from modalhash.methods.hugged_method import HuggedMethod, HugMode
from modalhash.methods.local_alignment import HugSettings
from modalhash.methods.settings import make_method
from modalhash.methods.ucch import (
    CodeBank,
    Ucch,
    UcchHeads,
    UcchSettings,
    bank_contrast,
    ranking_loss,
)
from tests.oracles import plain_losses as plain

IMAGE_WIDTH, TEXT_WIDTH, N_BITS, N_PAIRS = 4, 6, 5, 9
SMALL: dict[str, Any] = {"hidden_width": 7, "n_negatives": 100}
"""The bank has fewer rows than that: all of them are taken, and nothing is left to chance."""


def made_batch(
    n: int = 5, seed: int = 0, *, times: float = 1.0, items: Tensor | None = None
) -> Batch:
    generator = np.random.default_rng(seed)
    image, text = (
        ModalityFeatures(torch.from_numpy(times * generator.normal(size=(n, width))))
        for width in (IMAGE_WIDTH, TEXT_WIDTH)
    )
    return Batch(image, text, None, torch.arange(n) + 2, items)


def made_heads(method: Ucch) -> UcchHeads:
    torch.manual_seed(0)
    shapes = FeatureShapes(image_width=IMAGE_WIDTH, text_width=TEXT_WIDTH, n_pairs=N_PAIRS)
    heads = method.build_heads(shapes, N_BITS)
    heads.modules().double()
    return heads


def bank_of(heads: UcchHeads) -> CodeBank:
    bank = heads.auxiliary["bank"]
    assert isinstance(bank, CodeBank)
    return bank


def value(method: Ucch, heads: UcchHeads, batch: Batch, epoch: int) -> dict[str, float]:
    report = method.batch_loss(heads, batch, Moment(epoch, 20))
    return {"total": report.total.item()} | {
        name: term.item() for name, term in report.values.items()
    }


def plain_contrast(
    rows: plain.Rows, own: plain.Rows, others: plain.Rows, counts: Any, temperature: float
) -> float:
    total = 0.0
    for i, row in enumerate(rows):
        partner = math.exp(plain.dot(row, own[i]) / temperature)
        rest = [
            math.exp(plain.dot(row, other) / temperature)
            for k, other in enumerate(others)
            if counts[i][k]
        ]
        total -= math.log(partner / (partner + sum(rest)))
    return total / len(rows)


def plain_ranking(
    image: plain.Rows, text: plain.Rows, margin: float, shift: float, items: list[int]
) -> float:
    n, total = len(image), 0.0
    for one, other in ((image, text), (text, image)):
        for i in range(n):
            partner = plain.dot(one[i], other[i])
            summed = 0.0
            for j in range(n):
                if j != i and items[j] == items[i]:
                    continue
                score = plain.dot(one[i], other[j])
                summed += math.exp(score if score >= partner - margin else score - shift)
            total += margin - partner + math.log(summed)
    return total / n


@pytest.mark.parametrize("times", [1.0, 100.0])
@pytest.mark.parametrize("epoch", [0, 3])
@pytest.mark.parametrize("items", [None, [0, 1, 1, 2, 0]])
def test_every_part_of_the_objective_against_loops(
    items: list[int] | None, epoch: int, times: float
) -> None:
    method = Ucch(UcchSettings(**SMALL, shift=0.4, margin=0.1, temperature=0.5))
    heads = made_heads(method)
    batch = made_batch(times=times, items=None if items is None else torch.tensor(items) + 2)
    bank = bank_of(heads)
    bank.owners.copy_(torch.arange(N_PAIRS))
    before = bank.rows.tolist()
    with torch.no_grad():
        image, text = (
            [plain.unit([math.tanh(one) for one in row]) for row in head(part).tolist()]
            for head, part in ((heads.image, batch.image), (heads.text, batch.text))
        )
    found = value(method, heads, batch, epoch)

    def signs(rows: plain.Rows) -> plain.Matrix:
        return [[1.0 if one >= 0 else -1.0 for one in row] for row in rows]

    fused = signs(plain.weighted_sum((0.5, 0.5), (image, text)))
    own_items = [2, 3, 4, 5, 6] if items is None else [one + 2 for one in items]
    own, others, owners = fused, fused, own_items
    if epoch:
        own, others, owners = signs(before[2:7]), signs(before), list(range(N_PAIRS))
    counts = [[owner != item for owner in owners] for item in own_items]
    contrast = sum(plain_contrast(rows, own, others, counts, 0.5) for rows in (image, text))
    ranking = plain_ranking(image, text, 0.1, 0.4, own_items)
    assert_allclose(found["contrast"], contrast, rtol=1e-9, atol=0)
    assert_allclose(found["ranking"], ranking, rtol=1e-9, atol=0)
    assert_allclose(found["total"], 0.7 * contrast + 0.3 * ranking, rtol=1e-9, atol=0)


def test_bank_contrast_by_hand() -> None:
    # Inner products with (1, 1), (1, -1): 1.4 and 0.2; the third row isn't a negative.
    relaxed = torch.tensor([[0.8, 0.6]], dtype=torch.float64)
    own = torch.tensor([[1.0, 1.0]], dtype=torch.float64)
    others = torch.tensor([[1.0, -1.0], [1.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    is_negative = torch.tensor([[True, True, False]])
    found = bank_contrast(relaxed, own, others, is_negative, 0.5)
    expected = -math.log(math.exp(2.8) / (math.exp(2.8) + math.exp(0.4) + math.exp(2.8)))
    assert_allclose(found, expected, rtol=1e-12, atol=0)


def test_ranking_by_hand() -> None:
    # Cosines [[.8, .6], [-.6, .8]]: .6 is within .25 of both partners, -.6 far from both.
    image = torch.tensor([[0.8, 0.6], [-0.6, 0.8]], dtype=torch.float64)
    found = ranking_loss(image, torch.eye(2, dtype=torch.float64), margin=0.25, shift=0.5)
    near = 0.25 - 0.8 + math.log(math.exp(0.8) + math.exp(0.6))
    far_row = 0.25 - 0.8 + math.log(math.exp(-0.6 - 0.5) + math.exp(0.8))
    far_column = 0.25 - 0.8 + math.log(math.exp(0.8) + math.exp(-0.6 - 0.5))
    near_column = 0.25 - 0.8 + math.log(math.exp(0.6) + math.exp(0.8))
    expected = (near + far_row) / 2 + (far_column + near_column) / 2
    assert_allclose(found, expected, rtol=1e-12, atol=0)


def test_ranking_at_the_margin_counts_in_full_and_pairs_of_an_item_not_at_all() -> None:
    both = torch.tensor([[1.0, 0.0], [0.5, math.sqrt(0.75)]], dtype=torch.float64)
    assert_allclose(
        ranking_loss(both, both, margin=0.5 + 1e-12, shift=9.0),
        2 * (0.5 - 1 + math.log(math.e + math.exp(0.5))),
        rtol=1e-9,
    )
    alone = ranking_loss(both, both, margin=0.5, shift=9.0, items=torch.tensor([4, 4]))
    assert_allclose(alone, 2 * 0.5, rtol=1e-12, atol=0)


def test_a_row_of_the_bank_moves_towards_its_pair() -> None:
    bank = CodeBank(3, 2).double()
    bank.rows.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
    bank.renew(torch.tensor([1]), torch.tensor([7]), torch.tensor([[6.0, -8.0]]).double(), 0.4)
    # .4 (0, 1) + .6 (.6, -.8) = (.36, -.08), scaled to length 1.
    length = math.hypot(0.36, 0.08)
    expected = [[1.0, 0.0], [0.36 / length, -0.08 / length], [-1.0, 0.0]]
    assert_allclose(bank.rows, expected, rtol=1e-12, atol=1e-12)
    assert bank.owners.tolist() == [-1, 7, -1]


def test_a_fresh_bank_holds_binary_codes_of_length_one() -> None:
    torch.manual_seed(0)
    bank = CodeBank(50, 13)
    assert_close(bank.rows.abs(), torch.full((50, 13), 13**-0.5))
    assert 0.3 < (bank.rows > 0).double().mean() < 0.7


def test_rows_are_drawn_from_the_bank_or_all_taken() -> None:
    bank = CodeBank(6, 2)
    assert bank.draw(6).tolist() == bank.draw(100).tolist() == [0, 1, 2, 3, 4, 5]
    torch.manual_seed(0)
    drawn = torch.cat([bank.draw(5) for _ in range(40)])
    assert sorted(set(drawn.tolist())) == [0, 1, 2, 3, 4, 5]


def test_the_bank_follows_and_is_not_read_while_warm() -> None:
    method = Ucch(UcchSettings(**SMALL))
    heads, batch = made_heads(method), made_batch()
    other = deepcopy(heads)
    bank_of(other).rows.neg_()
    assert value(method, heads, batch, 0) == value(method, other, batch, 0)
    # With momentum 0 in the warm epoch, rows are the pairs' fused codes whatever they were.
    with torch.no_grad():
        image, text = (
            normalize(torch.tanh(head(part)), dim=1)
            for head, part in ((heads.image, batch.image), (heads.text, batch.text))
        )
    fused = normalize(image + text, dim=1)
    for one in (heads, other):
        assert_close(bank_of(one).rows[2:7], fused, rtol=1e-12, atol=1e-12)
    assert bank_of(heads).owners.tolist() == [-1, -1, 2, 3, 4, 5, 6, -1, -1]
    assert value(method, heads, batch, 1)["bank_agreement"] == 1.0


@pytest.mark.parametrize("name", Ucch.ablations)
def test_each_ablation_changes_the_training(name: str) -> None:
    found = []
    for ablation in ({}, Ucch.ablations[name]):
        method, _ = make_method(Ucch, changes=SMALL | dict(ablation))
        assert isinstance(method, Ucch)
        heads = made_heads(method)
        for epoch in (1, 2):
            total = value(method, heads, made_batch(), epoch)["total"]
        found.append((total, bank_of(heads).rows.sum().item()))
    assert np.isfinite(found[1]).all()
    assert found[0] != found[1]


def test_heads_have_the_released_layers() -> None:
    shapes = FeatureShapes(image_width=4096, text_width=1386, n_pairs=3)
    with torch.device("meta"):
        heads = Ucch().build_heads(shapes, 64)
    assert heads.image.spec()["widths"] == [4096, 8192, 8192, 64]
    assert heads.text.spec()["widths"] == [1386, 8192, 64]


def test_presets() -> None:
    assert Ucch.preset_for(has_sparse_texts=True) == "paper"
    assert Ucch.preset_for(has_sparse_texts=False) == "dense"
    method, training = make_method(Ucch, preset="paper")
    settings = method.settings
    assert (settings.contrast_share, settings.temperature, settings.n_negatives) == (0.7, 0.9, 4096)
    assert (settings.bank_momentum, settings.margin, settings.shift) == (0.4, 0.2, 0.1)
    assert (training.epochs, training.batch_size, training.learning_rate) == (20, 256, 1e-4)
    assert (training.optimiser, training.weight_decay, training.gradient_clip) == ("adam", 1e-6, 1)


def test_it_can_be_hugged_but_not_in_the_same_way() -> None:
    assert HuggedMethod(Ucch(), HugSettings()).title == "hugged UCCH"
    message = (
        "UCCH keeps a bank of codes, which local embeddings would overwrite: it can't be hugged "
        "in the mode same; choose --hug contrastive"
    )
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        HuggedMethod(Ucch(), HugSettings(), HugMode.SAME)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_width": 0}, "hidden_width is 0, expected at least 1"),
        ({"image_hidden_layers": -1}, "image_hidden_layers is -1, expected 0 or more"),
        ({"text_hidden_layers": -1}, "text_hidden_layers is -1, expected 0 or more"),
        ({"contrast_share": 1.5}, "contrast_share is 1.5, expected in [0, 1]"),
        ({"temperature": 0.0}, "temperature is 0.0, expected positive"),
        ({"n_negatives": 0}, "n_negatives is 0, expected at least 1"),
        ({"bank_momentum": 1.0}, "bank_momentum is 1.0, expected in [0, 1)"),
        ({"warm_epochs": -1}, "warm_epochs is -1, expected 0 or more"),
        ({"margin": -0.1}, "margin is -0.1, expected 0 or more"),
        ({"shift": math.nan}, "shift is nan, expected 0 or more"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        UcchSettings(**changes)
