import re
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from modalhash.codes import binarise
from modalhash.errors import FeatureError, SettingError
from modalhash.layers import canonical_maps
from modalhash.methods.anchored import AnchoredMoments, anchored_moments
from modalhash.methods.imh import Imh, ImhSettings, inter_media_maps, medians
from tests.oracles.paired_view import PairedView, relaxed_codes, solved_heads
from tests.oracles.plain_anchors import plain_affinities, same_directions, steadied

Floats = NDArray[np.float64]


def made_pairs(n: int = 60) -> tuple[Floats, Floats]:
    """Features of widths 5 and 4 that share three latent numbers."""
    generator = np.random.default_rng(1)
    latent = generator.normal(size=(n, 3))
    image = latent @ generator.normal(size=(3, 5)) + 0.5 * generator.normal(size=(n, 5)) + 1
    text = latent @ generator.normal(size=(3, 4)) + 0.5 * generator.normal(size=(n, 4)) - 2
    return image, text


def known_of(image: Floats, text: Floats) -> AnchoredMoments:
    return anchored_moments(
        PairedView(image, text),
        100,
        n_anchors=8,
        n_nearest=3,
        sample=100,
        generator=torch.Generator().manual_seed(0),
    )


@pytest.mark.parametrize("intra_weight", [0.0, 0.7, 3.0])
@pytest.mark.parametrize("ridge", [0.01, 0.5])
def test_against_the_whole_problem_with_matrices_of_all_pairs(
    intra_weight: float, ridge: float
) -> None:
    image, text = made_pairs()
    affinities = plain_affinities(image, text, 8, 3, 0)
    views = [one - one.mean(axis=0) for one in (image, text)]
    problem = np.zeros((60, 60))
    for rows, affinity in zip(views, affinities, strict=True):
        predicted = rows @ np.linalg.solve(steadied(rows, ridge), rows.T)
        problem += np.eye(60) - predicted + intra_weight * (np.eye(60) - affinity)
    constant = np.full((60, 1), 60**-0.5)
    # The constant solves the problem without use; far off, it isn't among the least.
    assert_allclose(problem @ constant, 2 * constant, rtol=0, atol=1e-6)
    _, vectors = np.linalg.eigh(problem + 1e3 * constant @ constant.T)
    relaxed = vectors[:, :4] * 60**0.5
    found = inter_media_maps(known_of(image, text), 4, intra_weight=intra_weight, ridge=ridge)
    signs = np.ones(4)
    for rows, matrix in zip(views, found, strict=True):
        wanted = np.linalg.solve(steadied(rows, ridge), rows.T @ relaxed)
        assert_allclose(same_directions(matrix.numpy(), wanted), np.ones(4), rtol=0, atol=1e-5)
        assert_allclose(np.abs(matrix.numpy()), np.abs(wanted), rtol=0, atol=1e-4)
        signs *= np.sign((matrix.numpy() * wanted).sum(axis=0))
    # Either modality's map has the sign of the same F.
    assert_allclose(signs, np.ones(4), rtol=0, atol=0)


def test_without_neighbours_and_ridge_it_is_canonical_correlation() -> None:
    image, text = made_pairs()
    maps = canonical_maps([(torch.from_numpy(image), torch.from_numpy(text))], 3, ridge=1e-7)
    found = inter_media_maps(known_of(image, text), 3, intra_weight=0.0, ridge=1e-7)
    for matrix, wanted in zip(found, (maps.image_map, maps.text_map), strict=True):
        cosines = same_directions(matrix.numpy(), wanted.numpy())
        assert_allclose(cosines, np.ones(3), rtol=0, atol=1e-4)


def test_one_feature_by_hand() -> None:
    # F is x / 2, of variance 1. Regression of it on x, of variance 4, with ridge 0.5: the
    # covariance is 2, so the weight is 2 / (4 + 0.5 * 4) = 1 / 3. The median of 2, -2 is 0.
    rows = np.array([[2.0], [-2.0], [2.0], [-2.0]])
    method = Imh(ImhSettings(anchors=1, ridge=0.5))
    image, text = relaxed_codes(solved_heads(method, rows, rows, 1), rows, rows)
    assert_allclose(np.abs(image), np.full((4, 1), 2 / 3), rtol=1e-6, atol=0)
    assert_allclose(text, image, rtol=1e-6, atol=0)


def test_medians_by_hand() -> None:
    rows = torch.tensor([[1.0, 5.0], [9.0, 2.0], [2.0, 2.0], [4.0, 100.0]])
    assert medians(rows).tolist() == [3, 3.5]
    assert medians(rows[:3]).tolist() == [2, 2]
    assert medians(rows[:1]).tolist() == [1, 5]


def test_every_bit_splits_the_pairs_in_halves() -> None:
    image, text = made_pairs()
    heads = solved_heads(Imh(), np.exp(image), text, 7, batch_size=7)
    for relaxed in relaxed_codes(heads, np.exp(image), text):
        assert_allclose(binarise(relaxed).sum(axis=0), np.zeros(7), rtol=0, atol=0)


def test_medians_come_from_the_sample() -> None:
    image, text = made_pairs()
    method = Imh(ImhSettings(sample=6))
    for relaxed in relaxed_codes(solved_heads(method, image, text, 4), image, text):
        assert_allclose(np.median(relaxed[::10], axis=0), np.zeros(4), rtol=0, atol=1e-5)


def test_pictures_and_texts_of_a_pair_agree_whatever_the_batch_size_or_scale() -> None:
    image, text = made_pairs()
    for scale in (0.01, 1.0, 100.0):
        image_codes, text_codes = (
            binarise(one)
            for one in relaxed_codes(
                solved_heads(Imh(), scale * image, text, 3, batch_size=7), scale * image, text
            )
        )
        assert (image_codes == text_codes).mean() > 0.7


def test_constant_features_are_refused() -> None:
    image, text = made_pairs(10)
    with pytest.raises(FeatureError, match="the text features of all 10 training pairs"):
        solved_heads(Imh(), image, np.zeros_like(text), 2)


def test_more_bits_than_solutions_are_refused() -> None:
    # One anchor ties all items alike, so two uncorrelated features give two solutions.
    image = np.array([[1.0], [1.0], [-1.0], [-1.0]])
    text = np.array([[1.0], [-1.0], [1.0], [-1.0]])
    message = (
        "n_bits is 3, IMH gives at most 2 on these features and anchors: choose fewer bits or "
        "raise anchors"
    )
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        solved_heads(Imh(ImhSettings(anchors=1)), image, text, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"intra_weight": -0.1}, "intra_weight is -0.1, expected 0 or more"),
        ({"ridge": 0.0}, "ridge is 0.0, expected positive"),
        ({"anchors": 0}, "anchors is 0, expected at least 1"),
        ({"nearest_anchors": 0}, "nearest_anchors is 0, expected at least 1"),
        ({"sample": 0}, "sample is 0, expected at least 1"),
    ],
)
def test_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        ImhSettings(**changes)
