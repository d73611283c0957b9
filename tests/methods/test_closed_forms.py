import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor
from torch.testing import assert_close

from modalhash.codes import binarise
from modalhash.errors import SettingError
from modalhash.layers import FeatureScaling, LinearHead, ScalingRule, canonical_maps
from modalhash.methods.base import CaptionChoice, ClosedFormMethod, FeatureShapes, Heads
from modalhash.methods.cca_itq import CcaItq, CcaItqSettings, itq_rotation
from modalhash.methods.cca_sign import CcaSign, CcaSignSettings
from modalhash.methods.random_projection import RandomProjection
from modalhash.training.pairs import Pairs
from tests.oracles.paired_features import MadePairs, made_pairs

MADE = made_pairs()


def view(made: MadePairs = MADE, choice: CaptionChoice = CaptionChoice.ALL) -> Pairs:
    image, text = (FeatureScaling(ScalingRule.NONE, one.width) for one in (made.image, made.text))
    return Pairs(made.data(), choice, image, text, torch.device("cpu"))


def solved(method: ClosedFormMethod, n_bits: int, *, seed: int = 0, batch_size: int = 64) -> Heads:
    shapes = FeatureShapes(
        image_width=MADE.image.width, text_width=MADE.text.width, batch_size=batch_size
    )
    return method.solve(view(), shapes, n_bits, torch.Generator().manual_seed(seed))


def relaxed(heads: Heads) -> tuple[Tensor, Tensor]:
    """Relaxed codes of all training pairs, in float32."""
    (whole,) = view().batches(10_000)
    image: Tensor = heads.image(whole.image).detach()
    text: Tensor = heads.text(whole.text).detach()
    return image, text


def rotation_of(size: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(size, size, generator=generator, dtype=torch.float64)
    rotation: Tensor = torch.linalg.qr(drawn).Q
    return rotation


def sign_error(rotated: Tensor) -> float:
    signs = np.where(rotated.numpy() >= 0, 1.0, -1.0)
    return float(((signs - rotated.numpy()) ** 2).sum())


def test_a_rotation_is_orthogonal_whatever_the_data() -> None:
    for variates in (
        torch.randn(50, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
        100 * rotation_of(6, 1)[:2],  # fewer rows than bits
        torch.zeros(4, 6, dtype=torch.float64),
        torch.full((1, 6), -100.0, dtype=torch.float64),
    ):
        rotation = itq_rotation(variates, 20, torch.Generator().manual_seed(0))
        assert_close(rotation @ rotation.T, torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-10)


def test_the_error_of_signs_never_grows() -> None:
    generator = torch.Generator().manual_seed(3)
    variates = torch.randn(200, 8, dtype=torch.float64, generator=generator)
    errors = [
        sign_error(variates @ itq_rotation(variates, rounds, torch.Generator().manual_seed(0)))
        for rounds in range(25)
    ]
    assert all(after <= before + 1e-9 for before, after in pairwise(errors))
    assert errors[-1] < 0.95 * errors[0]


@pytest.mark.parametrize("seed", range(3))
def test_a_rotated_cube_is_turned_back(seed: int) -> None:
    corners = np.array(np.meshgrid(*[[-1.0, 1.0]] * 3)).reshape(3, -1).T
    turned = torch.from_numpy(np.repeat(corners, 5, axis=0)) @ rotation_of(3, seed)
    # From some starts the alternation ends beside the solution.
    starts = (torch.Generator().manual_seed(start) for start in range(5))
    rotations = [itq_rotation(turned, 100, start) for start in starts]
    rotation = min(rotations, key=lambda one: sign_error(turned @ one))
    assert sign_error(turned @ rotation) == pytest.approx(0, abs=1e-20)
    # What is left is a renaming of the bits: one +1 or -1 in each row and column.
    left = (rotation_of(3, seed) @ rotation).abs()
    assert_close(left.sort(dim=1).values[:, -1], torch.ones(3).double(), rtol=0, atol=1e-10)


def test_sign_codes_are_the_signs_of_canonical_variates() -> None:
    (whole,) = view().batches(10_000)
    maps = canonical_maps([(whole.image.pooled, whole.text.pooled)], 6, ridge=0.25)
    image, text = relaxed(solved(CcaSign(CcaSignSettings(ridge=0.25)), 6))
    for found, rows, mean, matrix in (
        (image, whole.image.pooled, maps.image_mean, maps.image_map),
        (text, whole.text.pooled, maps.text_mean, maps.text_map),
    ):
        assert_allclose(found, (rows.double() - mean) @ matrix, rtol=0, atol=1e-4)
    correlations = (image * text).mean(dim=0) / (
        image.square().mean(0) * text.square().mean(0)
    ) ** 0.5
    assert float(correlations.min()) > 0.5


def test_sign_codes_know_no_chance() -> None:
    one, other = (relaxed(solved(CcaSign(), 6, seed=seed)) for seed in (0, 1))
    assert_close(one, other, rtol=0, atol=0)


def test_rotated_codes_are_a_rotation_of_weighted_variates() -> None:
    (whole,) = view().batches(10_000)
    for power in (0.0, 1.0, 2.0):
        image, text = relaxed(solved(CcaItq(CcaItqSettings(correlation_power=power)), 8))
        maps = canonical_maps([(whole.image.pooled, whole.text.pooled)], 8, ridge=0.5)
        variates = torch.cat(
            [
                (whole.image.pooled.double() - maps.image_mean) @ maps.image_map,
                (whole.text.pooled.double() - maps.text_mean) @ maps.text_map,
            ]
        ) * maps.correlations.pow(power)
        rotated = torch.cat([image, text]).double()
        # A rotation keeps all inner products.
        assert_allclose(rotated @ rotated.T, variates @ variates.T, rtol=0, atol=1e-3)
        assert sign_error(rotated) < sign_error(variates)


def test_no_rounds_leave_a_random_rotation() -> None:
    settings = CcaItqSettings(rounds=0)
    one, other = (relaxed(solved(CcaItq(settings), 4, seed=seed))[0] for seed in (0, 1))
    assert not torch.allclose(one, other)


def test_the_batch_size_changes_no_rotated_code() -> None:
    one, other = (
        relaxed(solved(CcaItq(CcaItqSettings(rounds=5)), 4, batch_size=size)) for size in (7, 1000)
    )
    assert_close(one, other, rtol=0, atol=1e-4)


def test_the_sample_of_the_rotation_is_spread_over_all_pairs() -> None:
    n_pairs = view().n_pairs
    taken = [place for place in range(n_pairs) if place % -(-n_pairs // 50) == 0]
    assert 40 < len(taken) <= 50
    settings = CcaItqSettings(sample=50, rounds=3)
    image, text = relaxed(solved(CcaItq(settings), 4))
    # The rotation of the sample, found again from the weighted variates of every stride-th pair.
    (whole,) = view().batches(10_000)
    maps = canonical_maps([(whole.image.pooled, whole.text.pooled)], 4, ridge=0.5)
    maps = maps.weighted(maps.correlations)
    variates = [
        (rows.double() - mean) @ matrix
        for rows, mean, matrix in (
            (whole.image.pooled, maps.image_mean, maps.image_map),
            (whole.text.pooled, maps.text_mean, maps.text_map),
        )
    ]
    rotation = itq_rotation(
        torch.cat([one[taken] for one in variates]), 3, torch.Generator().manual_seed(0)
    )
    assert_allclose(image, variates[0] @ rotation, rtol=0, atol=1e-4)
    assert_allclose(text, variates[1] @ rotation, rtol=0, atol=1e-4)


def test_random_codes_are_balanced_and_know_nothing_of_the_partner() -> None:
    heads = solved(RandomProjection(), 64)
    image, text = relaxed(heads)
    (whole,) = view().batches(10_000)
    assert_allclose(image.mean(dim=0), np.zeros(64), rtol=0, atol=1e-4)
    assert_allclose(text.mean(dim=0), np.zeros(64), rtol=0, atol=1e-4)
    head = heads.image
    assert isinstance(head, LinearHead)
    centred = whole.image.pooled - whole.image.pooled.mean(dim=0)
    assert_allclose(image, centred @ head.map.weight.detach().T, rtol=0, atol=1e-4)
    agreement = (binarise(image.numpy()) == binarise(text.numpy())).mean()
    assert abs(agreement - 0.5) < 0.05


def test_random_weights_are_standard_normal_and_of_the_seed() -> None:
    heads = [
        solved(RandomProjection(), 256, seed=seed).modules().state_dict() for seed in (0, 0, 1)
    ]
    weights = heads[0]["image.map.weight"].numpy()
    assert weights.mean() == pytest.approx(0, abs=0.05)
    assert weights.std() == pytest.approx(1, abs=0.05)
    assert torch.equal(heads[0]["text.map.weight"], heads[1]["text.map.weight"])
    assert not torch.equal(heads[0]["text.map.weight"], heads[2]["text.map.weight"])


@pytest.mark.parametrize("method", [CcaSign(), CcaItq()])
def test_more_bits_than_widths_are_refused(method: ClosedFormMethod) -> None:
    message = "n_bits is 21, canonical correlation gives at most 20 on features of widths 24 and 20"
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        solved(method, 21)


@pytest.mark.parametrize(
    ("settings", "changes", "message"),
    [
        (CcaSignSettings, {"ridge": 0.0}, "ridge is 0.0, expected positive"),
        (CcaItqSettings, {"ridge": -1.0}, "ridge is -1.0, expected positive"),
        (
            CcaItqSettings,
            {"correlation_power": -1.0},
            "correlation_power is -1.0, expected 0 or more",
        ),
        (CcaItqSettings, {"rounds": -1}, "rounds is -1, expected 0 or more"),
        (CcaItqSettings, {"sample": 0}, "sample is 0, expected at least 1"),
    ],
)
def test_settings_of_closed_forms(
    settings: type[Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        settings(**changes)
