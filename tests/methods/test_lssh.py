import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor
from torch.nn.functional import normalize
from torch.testing import assert_close

from modalhash.errors import FeatureError, SettingError
from modalhash.layers import FeatureScaling, LinearHead, ScalingRule
from modalhash.methods.base import CaptionChoice, FeatureShapes, Heads
from modalhash.methods.lssh import (
    Concepts,
    Lssh,
    LsshSettings,
    first_concepts,
    fit_latent,
    fit_rows,
    one_round,
    sparse_codes,
    text_map,
)
from modalhash.methods.settings import make_method
from modalhash.training.pairs import Pairs
from tests.oracles.paired_features import MadePairs, PlainTable, made_pairs
from tests.oracles.plain_factorization import lasso, sparse_loss

SETTINGS = LsshSettings(
    atoms=7, components=4, sparsity=0.3, text_weight=0.6, link_weight=1.7, code_steps=5, rounds=3
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


PICTURES, TEXTS = normalize(drawn(9, 4, seed=1), dim=1), normalize(drawn(9, 3, seed=2), dim=1)


def loss(concepts: Concepts, settings: LsshSettings = SETTINGS, scale: float = 1.0) -> float:
    return sparse_loss(
        scale * PICTURES.numpy(),
        scale * TEXTS.numpy(),
        concepts.codes.numpy(),
        concepts.latent.numpy(),
        atoms=concepts.atoms.numpy(),
        links=concepts.links.numpy(),
        basis=concepts.texts.numpy(),
        sparsity=settings.sparsity,
        text_weight=settings.text_weight,
        link_weight=settings.link_weight,
    )


def begun(n_bits: int = 5, settings: LsshSettings = SETTINGS, scale: float = 1.0) -> Concepts:
    return first_concepts(scale * PICTURES, scale * TEXTS, n_bits, settings, seeded(3))


@pytest.mark.parametrize("n_bits", [1, 5, 13])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 50.0])
@pytest.mark.parametrize("scale", [1.0, 100.0, 0.0])
def test_no_step_ever_raises_the_loss(n_bits: int, sparsity: float, scale: float) -> None:
    settings = replace(SETTINGS, sparsity=sparsity)
    concepts = begun(n_bits, settings, scale)
    losses = [loss(concepts, settings, scale)]
    for _ in range(6):
        for one in one_round(scale * PICTURES, scale * TEXTS, concepts, settings):
            losses.append(loss(one, settings, scale))
            concepts = one
    assert all(after <= before * (1 + 1e-9) + 1e-12 for before, after in pairwise(losses))
    assert losses[-1] < 0.97 * losses[0] or scale == 0
    for rows in (concepts.atoms, concepts.links, concepts.texts):
        assert float(rows.norm(dim=1).max()) <= 1 + 1e-9
        assert bool(rows.isfinite().all())


def test_each_round_changes_every_part_once() -> None:
    steps = [begun(), *one_round(PICTURES, TEXTS, begun(), SETTINGS)]
    for (before, after), part in zip(
        pairwise(steps), ("latent", "texts", "codes", "atoms", "links"), strict=True
    ):
        for name in ("latent", "texts", "codes", "atoms", "links"):
            same = torch.equal(getattr(before, name), getattr(after, name))
            assert same == (name != part), (name, part)


def test_sparse_codes_of_orthogonal_atoms_are_shrunk_by_hand() -> None:
    """|| y - s ||^2 + r |s| is least at the numbers of y, each r / 2 nearer to zero."""
    targets = torch.tensor([[3.0, -0.5, 0.1, -2.0], [0.0, 0.25, 100.0, -100.0]]).double()
    found = sparse_codes(targets, torch.eye(4).double(), 0.5, torch.zeros(2, 4).double(), 1)
    expected = torch.tensor([[2.75, -0.25, 0.0, -1.75], [0.0, 0.0, 99.75, -99.75]]).double()
    assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sparsity", [0.05, 0.5, 2.0])
def test_sparse_codes_meet_the_optimality_conditions(sparsity: float) -> None:
    """The slope of the squares balances the sign of what is used, and is too weak elsewhere."""
    atoms, targets = normalize(drawn(12, 5, seed=4), dim=1), drawn(20, 5, seed=5)
    start = drawn(20, 12, seed=6)
    codes = sparse_codes(targets @ atoms.T, atoms @ atoms.T, sparsity, start, 3_000)
    slopes = 2 * (targets - codes @ atoms) @ atoms.T
    used = codes != 0
    assert 0 < float(used.double().mean()) < 0.9
    assert_close(slopes[used], sparsity * codes[used].sign(), rtol=0, atol=1e-6)
    assert float(slopes[~used].abs().max()) <= sparsity + 1e-6


def test_sparse_codes_are_those_of_plain_coordinate_descent() -> None:
    atoms, targets = normalize(drawn(4, 5, seed=7), dim=1), drawn(3, 5, seed=8)
    codes = sparse_codes(targets @ atoms.T, atoms @ atoms.T, 0.4, torch.zeros(3, 4).double(), 2_000)
    for code, target in zip(codes, targets, strict=True):
        assert_allclose(code, lasso(target.numpy(), atoms.numpy(), 0.4), rtol=0, atol=1e-7)


def test_an_item_that_would_end_higher_keeps_its_codes() -> None:
    """A dictionary of zeros has no slope; codes at their best stay there, to rounding."""
    atoms, targets = normalize(drawn(6, 3, seed=9), dim=1), drawn(4, 3, seed=10)
    crossed, squares = targets @ atoms.T, atoms @ atoms.T
    best = sparse_codes(crossed, squares, 0.3, torch.zeros(4, 6).double(), 5_000)
    assert_close(sparse_codes(crossed, squares, 0.3, best, 1), best, rtol=0, atol=1e-9)
    nothing = sparse_codes(torch.zeros(4, 6).double(), torch.zeros(6, 6).double(), 0.3, best, 5)
    assert torch.equal(nothing, torch.zeros(4, 6).double())


def test_rows_by_hand() -> None:
    """Two items, two rows: codes (2, 0) and (0, 1), so each row sees one item, divided by it."""
    codes = torch.tensor([[2.0, 0.0], [0.0, 1.0]]).double()
    targets = torch.tensor([[0.6, -0.8], [3.0, 4.0]], dtype=torch.float64)
    found = fit_rows(codes.T @ codes, codes.T @ targets, torch.zeros(2, 2).double())
    # The first is (0.6, -0.8) / 2; the second would be (3, 4), of length 5.
    assert_close(
        found, torch.tensor([[0.3, -0.4], [0.6, 0.8]], dtype=torch.float64), rtol=0, atol=1e-12
    )


def test_rows_that_no_item_uses_stay() -> None:
    codes = torch.tensor([[1.0, 0.0], [2.0, 0.0]]).double()
    rows = torch.tensor([[0.0, 0.0], [0.3, 0.4]], dtype=torch.float64)
    found = fit_rows(codes.T @ codes, codes.T @ torch.ones(2, 2).double(), rows)
    assert_close(found[1], rows[1], rtol=0, atol=0)
    thirds = torch.tensor([3 / 5, 3 / 5], dtype=torch.float64)
    assert_close(found[0], thirds, rtol=0, atol=1e-12)


def test_many_passes_over_rows_meet_the_optimality_conditions() -> None:
    """A row inside the ball has no slope left; one on its rim is pulled straight outwards."""
    codes, targets = drawn(30, 4, seed=11), drawn(30, 3, seed=12)
    codes[:, 0] /= 30
    rows = torch.zeros(4, 3).double()
    for _ in range(500):
        rows = fit_rows(codes.T @ codes, codes.T @ targets, rows)
    pulls = codes.T @ (targets - codes @ rows)
    inside = rows.norm(dim=1) < 1 - 1e-9
    assert set(inside.tolist()) == {True, False}
    assert_close(pulls[inside], torch.zeros_like(pulls[inside]), rtol=0, atol=1e-9)
    outward = (pulls[~inside] * rows[~inside]).sum(dim=1)
    assert bool((outward > 0).all())
    assert_close(pulls[~inside], outward[:, None] * rows[~inside], rtol=0, atol=1e-9)


def test_latent_concepts_solve_their_normal_equations() -> None:
    concepts = begun()
    latent = fit_latent(TEXTS, concepts, SETTINGS)
    slope = SETTINGS.text_weight * (latent @ concepts.texts - TEXTS) @ concepts.texts.T
    slope += SETTINGS.link_weight * (latent - concepts.codes @ concepts.links)
    assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-12)
    alone = fit_latent(TEXTS, replace(concepts, codes=0 * concepts.codes), SETTINGS)
    assert_close(TEXTS @ text_map(concepts.texts, SETTINGS), alone, rtol=0, atol=1e-12)


def test_one_text_one_bit_by_hand() -> None:
    """U = (1), mu = 3, lambda = 2: V = (3 t + 2 s r) / 5, and 3 t / 5 without the picture."""
    settings = replace(SETTINGS, text_weight=3.0, link_weight=2.0)
    one, half, four = (torch.tensor([[value]]).double() for value in (1.0, 0.5, 4.0))
    concepts = Concepts(codes=four, latent=one, atoms=one, links=half, texts=one)
    found = fit_latent(torch.tensor([[10.0]]).double(), concepts, settings)
    assert found.item() == pytest.approx((3 * 10 + 2 * 4 * 0.5) / 5, rel=1e-12)
    assert text_map(one, settings).item() == pytest.approx(3 / 5, rel=1e-12)


MADE = made_pairs()
QUICK = LsshSettings(atoms=32, rounds=4)


def view_of(made: MadePairs) -> Pairs:
    image, text = (FeatureScaling(ScalingRule.NONE, one.width) for one in (made.image, made.text))
    data = replace(made.data(), with_tokens=False)
    return Pairs(data, CaptionChoice.ALL, image, text, torch.device("cpu"))


def solved(
    settings: LsshSettings, n_bits: int, made: MadePairs = MADE, *, batch_size: int = 64
) -> Heads:
    shapes = FeatureShapes(
        image_width=made.image.width, text_width=made.text.width, batch_size=batch_size
    )
    return Lssh(settings).solve(view_of(made), shapes, n_bits, seeded(0))


def relaxed(heads: Heads, made: MadePairs = MADE) -> tuple[Tensor, Tensor]:
    (whole,) = view_of(made).batches(10_000)
    image, text = heads.image(whole.image).detach(), heads.text(whole.text).detach()
    return image, text


def test_both_heads_give_concepts_of_centred_features() -> None:
    image, text = relaxed(solved(QUICK, 6))
    assert_allclose(image.mean(dim=0), np.zeros(6), rtol=0, atol=1e-4)
    assert_allclose(text.mean(dim=0), np.zeros(6), rtol=0, atol=1e-4)
    correlations = (image * text).mean(0) / (image.square().mean(0) * text.square().mean(0)).sqrt()
    assert float(correlations.min()) > 0.5


def test_signs_know_nothing_of_the_features_scale() -> None:
    """Rows have length 1 and codes are signs."""
    larger = replace(
        MADE,
        image=PlainTable(np.float32(8) * MADE.image.all_pooled),
        text=PlainTable(np.float32(0.25) * MADE.text.all_pooled + np.float32(1)),
    )
    for one, other in zip(
        relaxed(solved(QUICK, 6)), relaxed(solved(QUICK, 6, larger), larger), strict=True
    ):
        assert float(((one > 0) == (other > 0)).double().mean()) > 0.99


def test_batches_don_t_matter() -> None:
    one, other = (relaxed(solved(QUICK, 4, batch_size=size))[0] for size in (7, 1000))
    assert_close(one, other, rtol=1e-2, atol=1e-3)


def test_only_the_sample_is_learned_from() -> None:
    settings = replace(QUICK, sample=50)
    view = view_of(MADE)
    stride = -(-view.n_pairs // 50)
    kept = view.caption[np.arange(view.n_pairs) % stride == 0]
    others = np.setdiff1d(np.arange(len(MADE.text)), kept)
    changed = MADE.text.all_pooled.copy()
    changed[others] = -3
    altered = replace(MADE, text=PlainTable(changed))
    one, other = (solved(settings, 4, made).modules().state_dict() for made in (MADE, altered))
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@pytest.mark.parametrize("preset", ["paper", "dense"])
@pytest.mark.parametrize("scale", [100.0, 1e-3])
def test_more_bits_than_features_and_odd_scales_are_solved(preset: str, scale: float) -> None:
    method, _ = make_method(Lssh, preset=preset, changes={"atoms": 16, "rounds": 3})
    rows = drawn(60, 3, seed=5).numpy().astype(np.float32)
    tiny = replace(
        MADE,
        image=PlainTable(np.float32(scale) * np.tile(np.repeat(rows, 2, axis=1), (5, 1))),
        text=PlainTable(np.float32(scale) * np.tile(rows[:, :2], (10, 1)) + 7),
    )
    heads = solved(method.settings, 16, tiny)
    for head in (heads.image, heads.text):
        assert isinstance(head, LinearHead)
        assert head.n_bits == 16
        assert bool(head.map.weight.isfinite().all())


def test_features_that_never_differ_are_refused() -> None:
    same = replace(MADE, image=PlainTable(np.full_like(MADE.image.all_pooled, 100)))
    n_pairs = view_of(MADE).n_pairs
    message = (
        f"the image features of all {n_pairs} training pairs are the same: check the encoder and "
        "its input"
    )
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        solved(QUICK, 4, same)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(
            ({name: 0}, f"{name} is 0, expected at least 1")
            for name in ("atoms", "components", "rounds", "code_steps", "sample")
        ),
        ({"text_weight": 0.0}, "text_weight is 0.0, expected positive"),
        ({"link_weight": 0.0}, "link_weight is 0.0, expected positive"),
        ({"ridge": 0.0}, "ridge is 0.0, expected positive"),
        ({"sparsity": -0.1}, "sparsity is -0.1, expected 0 or more"),
    ],
)
def test_settings_of_lssh(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        LsshSettings(**changes)
