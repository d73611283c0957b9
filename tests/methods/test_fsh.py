import re
from dataclasses import replace
from itertools import pairwise, product
from math import exp
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor
from torch.testing import assert_close

from modalhash.errors import FeatureError, SettingError
from modalhash.methods.fsh import (
    Fsh,
    FshSettings,
    Fused,
    first_codes,
    fused_similarities,
    map_solvers,
    one_round,
)
from modalhash.methods.settings import make_method
from tests.oracles.paired_view import relaxed_codes, solved_heads
from tests.oracles.plain_fused_neighbours import fused_similarity, fusion_loss

SETTINGS = FshSettings(
    anchors=5, neighbours=2, image_weight=0.3, bandwidth=0.6, regression_weight=0.4, ridge=0.2
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


SHARED = drawn(12, 3, seed=1)
IMAGE = SHARED @ drawn(3, 4, seed=2) + 0.3 * drawn(12, 4, seed=3)
TEXT = SHARED @ drawn(3, 3, seed=4) + 0.3 * drawn(12, 3, seed=5)
FEATURES = (IMAGE - IMAGE.mean(dim=0), TEXT - TEXT.mean(dim=0))
ANCHORS = torch.tensor([7, 0, 3, 11, 5])


def loss(similarities: Tensor, fused: Fused, settings: FshSettings) -> float:
    return fusion_loss(
        (FEATURES[0].numpy(), FEATURES[1].numpy()),
        similarities.numpy(),
        fused.codes.numpy(),
        fused.anchor_codes.numpy(),
        (fused.maps[0].numpy(), fused.maps[1].numpy()),
        regression_weight=settings.regression_weight,
        ridge=settings.ridge,
    )


def begun(n_bits: int) -> Fused:
    codes = torch.where(drawn(12, n_bits, seed=6) >= 0, 1.0, -1.0).double()
    anchor_codes = torch.where(drawn(5, n_bits, seed=7) >= 0, 1.0, -1.0).double()
    return Fused(codes, anchor_codes, (drawn(4, n_bits, seed=8), drawn(3, n_bits, seed=9)))


@pytest.mark.parametrize("neighbours", [1, 2, 5])
def test_similarities_are_those_of_plain_loops(neighbours: int) -> None:
    settings = replace(SETTINGS, neighbours=neighbours)
    expected = fused_similarity(
        (FEATURES[0].numpy(), FEATURES[1].numpy()),
        ANCHORS.tolist(),
        neighbours=neighbours,
        image_weight=0.3,
        bandwidth=0.6,
    )
    assert_allclose(fused_similarities(FEATURES, ANCHORS, settings), expected, rtol=0, atol=1e-9)


def test_similarities_by_hand() -> None:
    """Two anchors that are three apart in pictures; a text swaps them, so the alike are unlike."""
    image = torch.tensor([[0.0], [3.0], [1.0]]).double()
    text = torch.tensor([[5.0], [0.0], [1.0]]).double()
    settings = FshSettings(neighbours=1, bandwidth=1.0, image_weight=1.0)
    found = fused_similarities((image, text), torch.tensor([0, 1]), settings)
    # The mean of the distances 0, 3, 3, 0 is 3 / 2; each anchor's own text is its nearest.
    far = exp(-3 / (2 * 3 / 2))
    assert_close(found, torch.tensor([[1, far], [far, 1], [1, far]]).double(), rtol=1e-6, atol=0)
    of_texts = replace(settings, image_weight=0.0)
    found = fused_similarities((image, text), torch.tensor([0, 1]), of_texts)
    far = exp(-5 / (2 * 5 / 2))
    assert_close(found, torch.tensor([[1, far], [far, 1], [far, 1]]).double(), rtol=1e-6, atol=0)


def test_anchors_that_are_all_the_same_are_alike() -> None:
    same = (torch.full((4, 2), 3.0).double(), torch.zeros(4, 3).double())
    found = fused_similarities(same, torch.tensor([0, 1, 2]), FshSettings())
    assert_close(found, torch.ones(4, 3).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_bits", [1, 5, 13])
@pytest.mark.parametrize("weight", [0.01, 0.4, 300.0])
def test_no_step_ever_raises_the_loss(n_bits: int, weight: float) -> None:
    settings = replace(SETTINGS, regression_weight=weight)
    similarities = fused_similarities(FEATURES, ANCHORS, settings)
    solvers, fused = map_solvers(FEATURES, settings.ridge), begun(n_bits)
    losses = [loss(similarities, fused, settings)]
    for _ in range(6):
        for one in one_round(FEATURES, similarities, fused, solvers, settings):
            losses.append(loss(similarities, one, settings))
            fused = one
    assert all(after <= before + 1e-9 * abs(before) for before, after in pairwise(losses))
    assert losses[-1] < losses[0]


def test_signs_are_the_best_of_all_and_maps_solve_their_normal_equations() -> None:
    similarities = fused_similarities(FEATURES, ANCHORS, SETTINGS)
    anchors, maps, codes = one_round(
        FEATURES, similarities, begun(3), map_solvers(FEATURES, SETTINGS.ridge), SETTINGS
    )
    for step, name, row in ((anchors, "anchor_codes", 2), (codes, "codes", 4)):
        least = loss(similarities, step, SETTINGS)
        for signs in product((-1.0, 1.0), repeat=3):
            changed = getattr(step, name).clone()
            changed[row] = torch.tensor(signs)
            other = replace(step, **{name: changed})
            assert loss(similarities, other, SETTINGS) >= least - 1e-9
    for rows, one in zip(FEATURES, maps.maps, strict=True):
        spread = float(rows.square().sum()) / rows.shape[1]
        slope = rows.T @ (rows @ one - maps.codes) + SETTINGS.ridge * spread * one
        assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-9)


def test_first_codes_are_signs_for_any_number_of_bits() -> None:
    for n_bits in (1, 3, 16):
        codes = first_codes(FEATURES, n_bits, 0.5, seeded(0))
        assert codes.shape == (12, n_bits)
        assert set(codes.flatten().tolist()) <= {-1.0, 1.0}
    assert not torch.equal(
        first_codes(FEATURES, 16, 0.5, seeded(0)), first_codes(FEATURES, 16, 0.5, seeded(1))
    )


LATENT = np.random.default_rng(0).normal(size=(150, 6))
PICTURES = LATENT @ np.random.default_rng(1).normal(size=(6, 10)) + 100
TEXTS = LATENT @ np.random.default_rng(2).normal(size=(6, 7))


def test_both_heads_give_the_same_centred_codes() -> None:
    image, text = relaxed_codes(solved_heads(Fsh(), PICTURES, TEXTS, 8), PICTURES, TEXTS)
    assert_allclose(image.mean(axis=0), np.zeros(8), rtol=0, atol=1e-3)
    assert_allclose(text.mean(axis=0), np.zeros(8), rtol=0, atol=1e-3)
    assert ((image >= 0) == (text >= 0)).mean() > 0.85


def test_batches_don_t_matter() -> None:
    one, other = (
        relaxed_codes(solved_heads(Fsh(), PICTURES, TEXTS, 8, batch_size=size), PICTURES, TEXTS)[0]
        for size in (7, 1000)
    )
    assert_allclose(one, other, rtol=0, atol=1e-3)


def test_only_the_sample_is_learned_from() -> None:
    settings = FshSettings(sample=50)
    changed = PICTURES.copy()
    changed[np.arange(150) % 3 != 0] = 7
    one, other = (
        solved_heads(Fsh(settings), rows, TEXTS, 4).modules().state_dict()
        for rows in (PICTURES, changed)
    )
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@pytest.mark.parametrize("preset", ["paper", "dense"])
@pytest.mark.parametrize("scale", [100.0, 1e-3])
def test_more_bits_than_features_and_few_pairs_are_solved(preset: str, scale: float) -> None:
    method, _ = make_method(Fsh, preset=preset)
    assert isinstance(method, Fsh)
    heads = solved_heads(method, scale * PICTURES[:9], scale * TEXTS[:9, :2], 21)
    for found in relaxed_codes(heads, scale * PICTURES[:9], scale * TEXTS[:9, :2]):
        assert found.shape == (9, 21)
        assert np.isfinite(found).all()


def test_features_that_never_differ_are_refused() -> None:
    message = (
        "the image features of all 150 training pairs are the same: check the encoder and its input"
    )
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        solved_heads(Fsh(), np.full_like(PICTURES, 100), TEXTS, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(
            ({name: 0}, f"{name} is 0, expected at least 1")
            for name in ("anchors", "neighbours", "rounds", "sample")
        ),
        *(
            ({name: 0.0}, f"{name} is 0.0, expected positive")
            for name in ("bandwidth", "regression_weight", "ridge")
        ),
        ({"image_weight": 1.5}, "image_weight is 1.5, expected in [0, 1]"),
    ],
)
def test_settings_of_fsh(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        FshSettings(**changes)
