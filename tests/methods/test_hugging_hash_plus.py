import logging
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from torch import Tensor, nn

from modalhash.codes import Codes
from modalhash.errors import SettingError
from modalhash.index.rerank import FineBooks, FineScorer, TwoStageRanking
from modalhash.layers import ModalityFeatures, TrunkHead
from modalhash.layers.fine_codes import LocalCoder
from modalhash.layers.product_quantizer import RotationRule
from modalhash.losses import info_nce
from modalhash.losses.neighbour_contrast import neighbour_targets
from modalhash.methods.base import Batch, FeatureShapes, Moment
from modalhash.methods.hasher import Hasher, HashTower
from modalhash.methods.hugging_hash_plus import HuggingHashPlus, HuggingHashPlusSettings
from modalhash.methods.local_alignment import AlignedHeads, LocalAlignment
from modalhash.methods.quantized_alignment import (
    FineSettings,
    QuantizedForward,
    after_fine_epoch,
)
from modalhash.training import TrainingPlan, TrainingResult, train_method
from tests.oracles.attribute_pairs import attribute_pairs
from tests.oracles.paired_features import MadePairs, PlainTable
from tests.oracles.ranking import average_precision

SMALL: Mapping[str, Any] = {
    "hidden_width": 8,
    "hug_trunk_width": 8,
    "hug_trunk_heads": 2,
    "hug_width": 8,
    "hug_concepts": 2,
    "fine_subspaces": 2,
    "fine_codewords": 4,
    "dropout": 0.0,
    "hug_trunk_dropout": 0.0,
    "fine_class": False,
    "fine_class_hidden": 3,
    "fine_class_dropout": 0.0,
    "fine_class_input_dropout": 0.0,
}
N, N_BITS = 6, 5


def made(**changes: Any) -> tuple[HuggingHashPlus, AlignedHeads, Batch]:
    """A small method, its heads in double precision, and a batch; one item lacks content."""
    method = HuggingHashPlus(HuggingHashPlusSettings(**{**SMALL, **changes}))
    torch.manual_seed(0)
    heads = method.build_heads(
        FeatureShapes(image_width=7, text_width=6, image_token_width=5, text_token_width=4), N_BITS
    )
    heads.modules().double()
    generator = torch.Generator().manual_seed(1)

    def features(width: int, token_width: int, n_tokens: int) -> ModalityFeatures:
        mask = torch.ones(N, n_tokens, dtype=torch.bool)
        mask[0, 2:] = False
        mask[3] = False
        return ModalityFeatures(
            torch.randn(N, width, generator=generator, dtype=torch.float64),
            torch.randn(N, n_tokens, token_width, generator=generator, dtype=torch.float64),
            mask,
        )

    return method, heads, Batch(features(7, 5, 4), features(6, 4, 3), None, torch.arange(N))


def coder_of(heads: AlignedHeads) -> LocalCoder:
    assert isinstance(heads.fine, LocalCoder)
    return heads.fine


def local_vectors(heads: AlignedHeads, batch: Batch) -> tuple[Tensor, Tensor]:
    hug, image, text = heads.auxiliary["hug"], heads.image, heads.text
    assert isinstance(hug, LocalAlignment)
    assert isinstance(image, TrunkHead)
    assert isinstance(text, TrunkHead)
    contents = image.trunk(batch.image), text.trunk(batch.text)
    found = [one.vectors for one in hug(*contents)]
    coder = coder_of(heads)
    for place, modality in enumerate(coder.class_maps):
        whole = coder.class_map(modality)(contents[place])
        whole = whole / whole.norm(dim=1, keepdim=True)
        found[place] = torch.cat([found[place], whole[:, None]], dim=1)
    return found[0], found[1]


def plain_one_way(queries: Tensor, found: Tensor, temperature: float) -> float:
    """Mean over items and concepts of minus the log of the partner's share."""
    total = 0.0
    n, n_concepts = queries.shape[:2]
    for k in range(n_concepts):
        for i in range(n):
            scores = []
            for j in range(n):
                length = math.sqrt(sum(float(one) ** 2 for one in found[j, k]))
                scores.append(float(queries[i, k] @ found[j, k]) / length / temperature)
            total -= scores[i] - math.log(sum(math.exp(score) for score in scores))
    return total / (n * n_concepts)


@pytest.mark.parametrize("epoch", [0, 1, 4, 5, 9])
@pytest.mark.parametrize("rotation", [RotationRule.CAYLEY, RotationRule.PENALTY])
@pytest.mark.parametrize("has_class", [True, False])
def test_the_objective_against_loops(epoch: int, rotation: RotationRule, has_class: bool) -> None:
    method, heads, batch = made(
        fine_class=has_class,
        fine_rotation=rotation, fine_start=0.1,
        fine_sharpness=3.0,
    )  # fmt: skip
    heads.modules().eval()
    quantizer = coder_of(heads).quantizer
    if rotation is RotationRule.PENALTY:
        with torch.no_grad():
            quantizer.rotation.matrix.mul_(1.1)
    report = method.batch_loss(heads, batch, Moment(epoch, 10))
    terms = {name: term.item() for name, term in report.values.items()}
    settings = method.settings
    has_content = torch.arange(N) != 3
    image, text = (one[has_content].detach() for one in local_vectors(heads, batch))
    exact = (plain_one_way(image, text, 0.1) + plain_one_way(text, image, 0.1)) / 2
    assert_allclose(terms["hug"], exact, rtol=1e-9)
    expected = exact
    if epoch >= 1:
        matrices = quantizer.rotation.matrix.detach()
        image, text = (torch.einsum("lij,nlj->nli", matrices, one) for one in (image, text))
        is_hard = epoch >= 5
        outputs, gap = [], 0.0
        books = quantizer.codebooks.detach()
        for rows in (image, text):
            output = torch.zeros_like(rows)
            for i, k, s in np.ndindex(*rows.shape[:2], 2):
                part = rows[i, k, 4 * s : 4 * s + 4]
                nearness = [-2 * float((part - word).square().sum()) for word in books[k, s]]
                powers = [math.exp(3 * one) for one in nearness]
                shares = [one / sum(powers) for one in powers]
                hard = books[k, s, int(np.argmax(nearness))]
                soft = sum(share * word for share, word in zip(shares, books[k, s], strict=True))
                output[i, k, 4 * s : 4 * s + 4] = hard if is_hard else soft
                gap += float((part - hard).square().sum()) / rows[:, :, 0].numel()
            outputs.append(output)
        quantized = (
            plain_one_way(text, outputs[0], 0.1) + plain_one_way(image, outputs[1], 0.1)
        ) / 2
        assert_allclose(terms["quantized"], quantized, rtol=1e-9)
        assert_allclose(terms["reconstruction"], gap / 2, rtol=1e-9)
        share = math.cos(math.pi * epoch / 20)
        expected = share * exact + (1 - share) * quantized
        expected += 0.1 * gap / 2
        if rotation is RotationRule.PENALTY:
            expected += 8 * 0.21**2  # R R^T - I = 0.21 I, of width 8
    relaxed = [
        torch.tanh(head(rows))
        for head, rows in ((heads.image, batch.image), (heads.text, batch.text))
    ]
    whole = info_nce(*relaxed, temperature=0.2).item()
    assert_allclose(report.total.item(), whole + settings.hug_weight * expected, rtol=1e-9)


def test_neighbours_share_the_targets() -> None:
    method, heads, batch = made(fine_neighbour_share=0.5, fine_start=0.1, fine_neighbour_inside=0.4)
    heads.modules().eval()
    inside = method.batch_loss(heads, batch, Moment(0, 10))
    without = HuggingHashPlus(replace(method.settings, fine_neighbour_inside=0.0))
    gap = inside.total - without.batch_loss(heads, batch, Moment(0, 10)).total
    assert torch.allclose(gap, method.settings.hug_weight * 0.4 * inside.values["inside"])
    plain = HuggingHashPlus(replace(method.settings, fine_neighbour_share=0.0))
    for epoch in (0, 5):
        soft, hard = (one.batch_loss(heads, batch, Moment(epoch, 10)) for one in (method, plain))
        assert soft.values["hug"].item() != hard.values["hug"].item()
        assert torch.equal(soft.values["contrast"], hard.values["contrast"])


def test_neighbours_are_those_of_features_before_tuning(monkeypatch: pytest.MonkeyPatch) -> None:
    method, heads, batch = made(fine_neighbour_share=0.5, fine_start=0.1)
    seen: list[Tensor] = []

    def watched(image: Tensor, text: Tensor, **others: Any) -> Tensor:
        seen.extend((image, text))
        return neighbour_targets(image, text, **others)

    monkeypatch.setattr("modalhash.methods.quantized_alignment.neighbour_targets", watched)
    tuned = replace(
        batch,
        image=replace(batch.image, pooled=2 * batch.image.pooled, untuned=batch.image.pooled),
        text=replace(batch.text, pooled=3 * batch.text.pooled, untuned=batch.text.pooled),
    )
    method.batch_loss(heads, tuned, Moment(0, 10))
    has_content = torch.arange(N) != 3
    torch.testing.assert_close(seen[0], batch.image.pooled[has_content], rtol=0, atol=0)
    torch.testing.assert_close(seen[1], batch.text.pooled[has_content], rtol=0, atol=0)


@pytest.mark.parametrize("forward", list(QuantizedForward))
def test_the_gradient_reaches_rotation_codebooks_trunk_and_clusters(
    forward: QuantizedForward,
) -> None:
    method, heads, batch = made(fine_forward=forward, fine_start=0.0)
    report = method.batch_loss(heads, batch, Moment(9, 10))
    quantized = report.values["quantized"]
    coder = coder_of(heads)
    assert isinstance(heads.image, TrunkHead)
    assert coder.vlad is not None
    watched: dict[str, Tensor] = {
        "codebooks": coder.quantizer.codebooks,
        "rotation": next(coder.quantizer.rotation.parameters()),
        "centroids": coder.vlad.centroids,
        "trunk": next(heads.image.trunk.token_map.parameters()),
    }
    gradients = torch.autograd.grad(quantized, [*watched.values()])
    for name, gradient in zip(watched, gradients, strict=True):
        assert float(gradient.abs().sum()) > 0, name


def test_the_gradient_equals_finite_differences() -> None:
    method, heads, batch = made(
        fine_start=0.0, fine_neighbour_share=0.5, fine_sharpness=2.0, fine_class=True
    )
    modules = heads.modules().eval()
    named = dict(modules.named_parameters())
    names = [name for name, one in named.items() if one.requires_grad and "fine" in name]

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = modules

        def forward(self) -> Tensor:
            return method.batch_loss(heads, batch, Moment(1, 10)).total

    def loss(*parameters: Tensor) -> Tensor:
        changed = {f"inner.{name}": one for name, one in zip(names, parameters, strict=True)}
        out: Tensor = torch.func.functional_call(Whole(), changed, ())
        return out

    values = [named[name].detach().clone().requires_grad_() for name in names]
    assert len(values) >= 2
    assert torch.autograd.gradcheck(loss, tuple(values))


def test_without_local_embeddings_the_class_vector_gets_all_bytes() -> None:
    """2 concepts and the class vector, 2 sub-spaces each, are 6 bytes; of a width of 12, 6 too."""
    whole = made(fine_class=True, hug_width=12)[1]
    method, heads, batch = made(fine_class=True, fine_local=False, hug_width=12)
    sizes = [coder_of(each).codewords().shape[0] for each in (whole, heads)]
    assert sizes == [6, 6]
    assert coder_of(heads).n_parts == 1
    assert heads.hug is None
    assert coder_of(heads).vlad is None
    report = method.batch_loss(heads, batch, Moment(9, 10))
    assert torch.isfinite(report.total)
    content = heads.image.trunk(batch.image)
    expected = coder_of(heads).class_map("image")(content)
    expected = expected / expected.norm(dim=1, keepdim=True)
    queries = coder_of(heads).embeddings(content, "image")[:, 0]
    torch.testing.assert_close(queries, expected, rtol=1e-9, atol=1e-12)


def test_shuffled_local_embeddings_are_those_of_the_item_before() -> None:
    _, heads, batch = made(hug_shuffled=True)
    _, plain, _ = made()
    assert heads.hug is not None
    assert plain.hug is not None
    heads.modules().eval()
    plain.modules().eval()
    contents = heads.image.trunk(batch.image), heads.text.trunk(batch.text)
    image, text = heads.hug(*contents)
    own_image, own_text = plain.hug(*contents)
    torch.testing.assert_close(image.vectors, own_image.vectors, rtol=0, atol=0)
    for item in range(N):
        before = (item - 1) % N
        assert torch.equal(text.vectors[item], own_text.vectors[before])
        assert bool(text.has_content[item]) == bool(own_text.has_content[before])


def test_residual_parts_add_local_embeddings_to_that_of_the_class_vector() -> None:
    """Item 3 has no content: its parts are all the class vector's."""
    _, heads, batch = made(fine_class=True, fine_residual=True)
    coder = coder_of(heads)
    assert coder.gains is not None
    with torch.no_grad():
        coder.gains.copy_(torch.tensor([[0.5], [-2.0]]))
    content = heads.text.trunk(batch.text)
    local = coder.local_embeddings(content, "text").vectors
    parts = coder.parts(content, "text", local)
    whole = coder.class_map("text")(content)
    for item in range(N):
        unit = whole[item] / whole[item].norm()
        for concept, gain in enumerate((0.5, -2.0)):
            vector = unit + gain * local[item, concept]
            expected = vector / vector.norm()
            torch.testing.assert_close(parts[item, concept], expected, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(parts[item, 2], unit, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(parts[3, 0], parts[3, 2], rtol=1e-9, atol=1e-12)


def test_no_content_at_all_is_no_obstacle() -> None:
    method, heads, batch = made(
        fine_start=0.0, fine_neighbour_share=0.5, fine_neighbour_inside=0.5, fine_class=True
    )
    empty = replace(
        batch,
        image=replace(batch.image, token_mask=torch.zeros(N, 4, dtype=torch.bool)),
        text=replace(batch.text, token_mask=torch.zeros(N, 3, dtype=torch.bool)),
    )
    for settings in (method.settings, replace(method.settings, fine_neighbour_share=0.0)):
        report = HuggingHashPlus(settings).batch_loss(heads, empty, Moment(5, 10))
        gradients = torch.autograd.grad(
            report.total, list(heads.modules().parameters()), allow_unused=True
        )
        assert bool(torch.isfinite(report.total))
        assert all(one is None or bool(torch.isfinite(one).all()) for one in gradients)


QUICK: Mapping[str, Any] = {
    "hidden_width": 64,
    "hug_trunk_width": 32,
    "hug_trunk_heads": 2,
    "hug_width": 32,
    "fine_subspaces": 4,
    "fine_codewords": 16,
    "dropout": 0.0,
    "hug_weight": 1.0,
}


@cache
def pairs() -> MadePairs:
    return attribute_pairs()


@cache
def trained(epochs: int = 15, **changes: Any) -> TrainingResult:
    method = HuggingHashPlus(HuggingHashPlusSettings(**{**QUICK, **changes}))
    settings = replace(
        method.training, epochs=epochs, batch_size=64, image_token_width=0, image_token_grid=0,
        text_token_width=0,
    )  # fmt: skip
    return train_method(TrainingPlan(method, settings, 16), pairs().data())


def encoded(
    hasher: Hasher, modality: Any, table: PlainTable, rows: NDArray[np.int64]
) -> tuple[Codes, NDArray[np.float32], NDArray[np.uint8]]:
    tower: HashTower = hasher.tower(modality)
    given = (table.pooled(rows), *table.tokens(rows))
    fine = hasher.fine_codes(modality, *given)
    return tower.encode(*given), hasher.fine_queries(modality, *given), fine


def two_stages(hasher: Hasher) -> TwoStageRanking:
    """Unseen pictures ask the training texts."""
    data, coder = pairs(), hasher.fine_coder()
    codes, queries, _ = encoded(hasher, "image", data.image, data.unseen)
    database, _, fine = encoded(hasher, "text", data.text, data.items)
    books = FineBooks(
        coder.codewords().numpy(),
        code_weight=coder.code_weight,
        fine_weight=coder.fine_weight,
        n_parts=coder.n_parts,
    )
    return TwoStageRanking(codes, database, 16, FineScorer(books, queries, fine, n_bits=16))


def mean_precision(hasher: Hasher, shortlist: int) -> float:
    """MAP@50, ties in the order of the database."""
    data, ranking, values = pairs(), two_stages(hasher), []
    for row, item in enumerate(data.unseen):
        scores = ranking.blocks(shortlist)(slice(row, row + 1))[0]
        relevant = (data.labels[data.items] & data.labels[item]).any(axis=1)
        order = np.argsort(-scores, kind="stable")
        values.append(average_precision(relevant[order].tolist(), 50, "truncated"))
    return float(np.mean(values))


def test_reranking_raises_what_hashing_finds() -> None:
    hasher = trained().hasher
    plain, short, whole = (mean_precision(hasher, length) for length in (0, 100, 400))
    chance = float(
        np.mean([(pairs().labels[pairs().items] & one).any(axis=1).mean()
                 for one in pairs().labels[pairs().unseen]])
    )  # fmt: skip
    assert plain > chance + 0.1
    assert short >= plain + 0.05
    assert whole >= plain + 0.05


@pytest.mark.slow
@pytest.mark.parametrize("rotation", [RotationRule.CAYLEY, RotationRule.PROCRUSTES])
def test_rotations_do_not_raise_the_distortion(rotation: RotationRule) -> None:
    plain, turned = (
        float(trained(fine_rotation=one).log[-1]["reconstruction"])
        for one in (RotationRule.NONE, rotation)
    )
    assert turned <= 1.02 * plain


@pytest.mark.slow
@pytest.mark.parametrize("rotation", list(RotationRule))
def test_every_rotation_trains(rotation: RotationRule) -> None:
    result = trained(3, fine_rotation=rotation)
    coder = result.hasher.fine
    assert isinstance(coder, LocalCoder)
    assert coder.quantizer.rotation.error() < 1e-4
    assert mean_precision(result.hasher, 400) > 0.3


def test_hash_codes_do_not_depend_on_finer_codes() -> None:
    whole = trained().hasher
    bare = Hasher(whole.image, whole.text)
    data = pairs()
    given = (data.image.pooled(data.unseen), *data.image.tokens(data.unseen))
    expected = whole.image.encode(*given)
    torch.manual_seed(1)
    assert whole.fine is not None
    kept = {name: one.clone() for name, one in whole.fine.state_dict().items()}
    with torch.no_grad():
        for parameter in whole.fine.parameters():
            parameter.add_(torch.randn(parameter.shape))
    try:
        assert np.array_equal(whole.image.encode(*given), expected)
        assert np.array_equal(bare.image.encode(*given), expected)
    finally:
        whole.fine.load_state_dict(kept)


def test_a_hasher_is_rebuilt_with_its_finer_codes() -> None:
    whole, data = trained().hasher, pairs()
    other = Hasher.from_spec(whole.spec())
    other.load_state_dict(whole.state_dict())
    for modality, table in (("image", data.image), ("text", data.text)):
        one, same = (encoded(hasher, modality, table, data.unseen) for hasher in (whole, other))
        for place in range(3):
            assert np.array_equal(one[place], same[place])


def test_the_quantizer_starts_when_its_time_has_come(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="modalhash.methods.quantized_alignment"):
        result = train_method(
            TrainingPlan(
                method := HuggingHashPlus(
                    HuggingHashPlusSettings(**{**QUICK, "fine_start": 0.5})
                ),
                replace(
                    method.training, epochs=4, batch_size=64, image_token_width=0,
                    image_token_grid=0, text_token_width=0,
                ),
                16,
            ),
            pairs().data(n_items=128),
        )  # fmt: skip
    assert ["quantized" in entry for entry in result.log] == [False, False, True, True]
    messages = [record.getMessage() for record in caplog.records]
    # 7 concepts and the class vector, of 4 sub-spaces of 16 codewords.
    assert [bool(re.fullmatch(r"in epoch \d, \d+ of 512 codewords were used", one))
            for one in messages] == [True, True]  # fmt: skip


def test_first_epochs() -> None:
    for share, n_epochs, first in ((0.2, 40, 8), (0.0, 40, 0), (0.2, 1, 1), (0.2, 3, 1)):
        assert FineSettings(fine_start=share).first_epoch(n_epochs) == first


def test_nothing_is_looked_after_before_the_start() -> None:
    method, heads, _ = made()
    before = coder_of(heads).quantizer.codebooks.detach().clone()
    after_fine_epoch(heads, None, Moment(0, 40), method.settings)  # type: ignore[arg-type]
    assert torch.equal(coder_of(heads).quantizer.codebooks, before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fine_subspaces": 0}, "fine_subspaces is 0, expected at least 1"),
        ({"fine_codewords": 257}, "fine_codewords is 257, expected 2 to 256"),
        ({"fine_rotation_rate": -1.0}, "fine_rotation_rate is -1.0, expected 0 or more"),
        ({"fine_sharpness": 0.0}, "fine_sharpness is 0.0, expected positive"),
        ({"fine_start": 1.0}, "fine_start is 1.0, expected in [0, 1)"),
        ({"fine_sample": 0}, "fine_sample is 0, expected at least 1"),
        ({"fine_neighbour_share": 1.1}, "fine_neighbour_share is 1.1, expected in [0, 1]"),
        (
            {"fine_neighbour_temperature": 0.0},
            "fine_neighbour_temperature is 0.0, expected positive",
        ),
        ({"fine_neighbour_text": -0.1}, "fine_neighbour_text is -0.1, expected in [0, 1]"),
        ({"fine_code_share": 2.0}, "fine_code_share is 2.0, expected in [0, 1]"),
        ({"hug_width": 12}, "hug_width is 12, expected a multiple of fine_subspaces (8)"),
        ({"fine_class_hidden": 0}, "fine_class_hidden is 0, expected at least 1"),
        ({"fine_class_dropout": 1.0}, "fine_class_dropout is 1.0, expected in [0, 1)"),
        ({"fine_class_input_dropout": 1.0}, "fine_class_input_dropout is 1.0, expected in [0, 1)"),
        ({"fine_class_share": 1.5}, "fine_class_share is 1.5, expected in [0, 1]"),
        (
            {"fine_local": False, "fine_class": False},
            (
                "fine_local and fine_class are both off, which leaves nothing to make finer codes "
                "of: turn one on"
            ),
        ),
        (
            {"fine_residual": True, "fine_class": False},
            (
                "fine_residual adds local embeddings to the class vector's, so it needs fine_local "
                "and fine_class: turn both on, or leave fine_residual out"
            ),
        ),
        ({"hug_concepts": 0}, "hug_concepts is 0, expected at least 1"),
        ({"temperature": 0.0}, "temperature is 0.0, expected positive"),
        (
            {"hug_weight": 0.0},
            (
                "hug_weight is 0, but finer codes are learned inside the local alignment: choose "
                "a positive weight, or do without finer codes"
            ),
        ),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        HuggingHashPlusSettings(**changes)
