import re
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from modalhash.codes import binarise
from modalhash.errors import FeatureError, SettingError
from modalhash.layers import pair_moments
from modalhash.methods.pca_itq import PcaItq, PcaItqSettings, fit_map, pair_components
from tests.oracles.paired_view import relaxed_codes, solved_heads

Floats = NDArray[np.float64]


def made_pairs(n: int = 200) -> tuple[Floats, Floats]:
    """Features of widths 5 and 4 that share three latent numbers."""
    generator = np.random.default_rng(1)
    latent = generator.normal(size=(n, 3))
    image = latent @ generator.normal(size=(3, 5)) + 0.3 * generator.normal(size=(n, 5)) + 7
    text = 9 * latent @ generator.normal(size=(3, 4)) + generator.normal(size=(n, 4)) - 2
    return image, text


def components(image: Floats, text: Floats, n_bits: int, image_weight: float = 0.5) -> Floats:
    """Components of pairs that the library finds."""
    moments = pair_moments([(torch.from_numpy(image), torch.from_numpy(text))])
    directions = pair_components(moments, n_bits, image_weight)
    rows = np.hstack([image, text]) - moments.mean.numpy()
    found: Floats = rows @ directions.numpy()
    return found


def test_components_of_one_dimension_each_by_hand() -> None:
    # Deviations 1 and 10, correlation 1. Scaled, images are +-sqrt(w) and texts +-sqrt(1 - w) on
    # one line through the origin, so the first component is +-1 and the second 0.
    image, text = np.array([[1.0], [-1.0]]), np.array([[10.0], [-10.0]])
    for weight in (0.2, 0.5):
        found = components(image, text, 2, weight)
        assert_allclose(np.abs(found[:, 0]), [1, 1], rtol=1e-12, atol=0)
        assert_allclose(found[0], -found[1], rtol=0, atol=1e-12)
        assert_allclose(found[:, 1], [0, 0], rtol=0, atol=1e-12)


def test_the_weight_says_which_modality_leads() -> None:
    # Uncorrelated: the first component is all image or all text.
    image = np.array([[1.0], [1.0], [-1.0], [-1.0]])
    text = np.array([[1.0], [-1.0], [1.0], [-1.0]])
    for weight, leader in ((0.6, image), (0.4, text)):
        first = components(image, text, 1, weight)
        assert_allclose(np.abs(first.T @ leader) / 4, [[max(weight, 1 - weight) ** 0.5]], rtol=1e-9)


def test_components_are_those_of_a_singular_value_decomposition() -> None:
    image, text = made_pairs()
    parts = []
    for rows, share in ((image, 0.3), (text, 0.7)):
        centred = rows - rows.mean(axis=0)
        parts.append(centred * (share / (centred**2).mean(axis=0).sum()) ** 0.5)
    left, values, _ = np.linalg.svd(np.hstack(parts), full_matrices=False)
    found = components(image, text, 4, 0.3)
    wanted = left[:, :4] * values[:4]
    assert_allclose(np.abs((found * wanted).sum(axis=0)), values[:4] ** 2, rtol=1e-8, atol=0)


def test_the_regression_by_hand() -> None:
    # One feature of variance 4 and its covariance 2 with the target: 2 / (4 + 0.5 * 4).
    four, two = torch.tensor([[4.0]]).double(), torch.tensor([[2.0]]).double()
    assert fit_map(four, two, 0.5).item() == pytest.approx(2 / 6, rel=1e-12)
    # Two of variances 1 and 3, mean 2, uncorrelated, ridge 0.5: 1 is added to each.
    within = torch.diag(torch.tensor([1.0, 3.0]).double())
    across = torch.tensor([[1.0], [1.0]]).double()
    assert_allclose(fit_map(within, across, 0.5), [[1 / 2], [1 / 4]], rtol=1e-12, atol=0)


def test_heads_predict_the_rotated_components() -> None:
    image, text = made_pairs()
    method = PcaItq(PcaItqSettings(ridge=0.1))
    found = relaxed_codes(solved_heads(method, image, text, 4, batch_size=64), image, text)
    targets = components(image, text, 4)
    predicted = []
    for rows in (image, text):
        centred = rows - rows.mean(axis=0)
        squares = centred.T @ centred
        squares += 0.1 * np.trace(squares) / len(squares) * np.eye(len(squares))
        predicted.append(centred @ np.linalg.solve(squares, centred.T @ targets))
    # One rotation of both modalities keeps all inner products, also those across.
    both, wanted = np.vstack(found), np.vstack(predicted)
    assert_allclose(both @ both.T, wanted @ wanted.T, rtol=0, atol=1e-4)


def test_pictures_and_texts_of_a_pair_agree() -> None:
    image, text = made_pairs()
    for n_bits in (3, 9):
        codes = relaxed_codes(solved_heads(PcaItq(), image, text, n_bits), image, text)
        agreement = (binarise(codes[0]) == binarise(codes[1])).mean()
        assert agreement > (0.85 if n_bits == 3 else 0.6)


def test_the_batch_size_changes_no_bit() -> None:
    image, text = made_pairs(50)
    one, other = (
        relaxed_codes(solved_heads(PcaItq(), image, text, 4, batch_size=size), image, text)
        for size in (7, 100)
    )
    for left, right in zip(one, other, strict=True):
        assert_allclose(left, right, rtol=0, atol=1e-5)


def test_large_features_give_finite_codes() -> None:
    image, text = made_pairs(30)
    for scale in (100.0, 1e-3):
        found = relaxed_codes(solved_heads(PcaItq(), scale * image, text, 4), scale * image, text)
        assert all(np.isfinite(one).all() for one in found)


def test_constant_features_are_refused() -> None:
    image, text = made_pairs(10)
    with pytest.raises(FeatureError, match="the text features of all 10 training pairs"):
        solved_heads(PcaItq(), image, np.ones_like(text), 2)


def test_more_bits_than_features_are_refused() -> None:
    message = (
        "n_bits is 10, principal components of pairs give at most 9 on features of widths 5 and 4"
    )
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        solved_heads(PcaItq(), *made_pairs(20), 10)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_weight": 0.0}, "image_weight is 0.0, expected in (0, 1)"),
        ({"image_weight": 1.0}, "image_weight is 1.0, expected in (0, 1)"),
        ({"ridge": 0.0}, "ridge is 0.0, expected positive"),
        ({"rounds": -1}, "rounds is -1, expected 0 or more"),
        ({"sample": 0}, "sample is 0, expected at least 1"),
    ],
)
def test_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        PcaItqSettings(**changes)
