import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from torch import Tensor

from modalhash.errors import FeatureError, SettingError
from modalhash.layers import CanonicalMaps, ModalityFeatures, canonical_maps

Floats = NDArray[np.float64]


def made_pairs(n: int = 400) -> tuple[Floats, Floats]:
    """Features of widths 5 and 4 that share three latent numbers, more or less noisily."""
    generator = np.random.default_rng(1)
    latent = generator.normal(size=(n, 3))
    image = latent @ generator.normal(size=(3, 5)) + generator.normal(size=(n, 5)) + 7
    text = latent @ generator.normal(size=(3, 4)) + 0.5 * generator.normal(size=(n, 4)) - 2
    return image, text


def solved(
    image: Floats, text: Floats, n_bits: int, ridge: float, *, batch: int = 64
) -> CanonicalMaps:
    pairs = (
        (torch.from_numpy(image[start : start + batch]), torch.from_numpy(text[start:][:batch]))
        for start in range(0, len(image), batch)
    )
    return canonical_maps(pairs, n_bits, ridge=ridge)


def covariances(image: Floats, text: Floats, ridge: float) -> tuple[Floats, Floats, Floats]:
    centred_image, centred_text = image - image.mean(axis=0), text - text.mean(axis=0)
    within_image = centred_image.T @ centred_image / len(image)
    within_text = centred_text.T @ centred_text / len(text)
    return (
        within_image + ridge * np.trace(within_image) / len(within_image) * np.eye(image.shape[1]),
        within_text + ridge * np.trace(within_text) / len(within_text) * np.eye(text.shape[1]),
        centred_image.T @ centred_text / len(image),
    )


@pytest.mark.parametrize("ridge", [1e-8, 0.1, 2.0])
def test_against_the_eigenvalue_problem(ridge: float) -> None:
    """Squared correlations are the eigenvalues of C_v^-1 C_vt C_t^-1 C_tv (Hotelling 1936)."""
    image, text = made_pairs()
    within_image, within_text, between = covariances(image, text, ridge)
    problem = np.linalg.solve(within_image, between) @ np.linalg.solve(within_text, between.T)
    squared, directions = np.linalg.eig(problem)
    order = np.argsort(-squared.real)[:4]
    maps = solved(image, text, 4, ridge)
    assert_allclose(maps.correlations, np.sqrt(squared.real[order]), rtol=1e-7, atol=0)
    for found, wanted in zip(maps.image_map.T.numpy(), directions.real[:, order].T, strict=True):
        cosine = float(found @ wanted) / np.linalg.norm(found) / np.linalg.norm(wanted)
        assert abs(cosine) == pytest.approx(1, abs=1e-6)


def test_without_ridge_the_variates_are_white_and_correlate_as_stated() -> None:
    image, text = made_pairs()
    maps = solved(image, text, 4, 1e-12)
    image_variates = (image - maps.image_mean.numpy()) @ maps.image_map.numpy()
    text_variates = (text - maps.text_mean.numpy()) @ maps.text_map.numpy()
    n = len(image)
    assert_allclose(image_variates.T @ image_variates / n, np.eye(4), rtol=0, atol=1e-9)
    assert_allclose(text_variates.T @ text_variates / n, np.eye(4), rtol=0, atol=1e-9)
    assert_allclose(
        image_variates.T @ text_variates / n, np.diag(maps.correlations), rtol=0, atol=1e-9
    )


def test_a_known_correlation_is_found() -> None:
    # One dimension each, orthogonal noise of known size: r = 1 / sqrt(1 + 0.75^2) = 0.8.
    signal = np.tile([1.0, -1.0, 1.0, -1.0], 25)[:, None]
    noise = np.tile([1.0, 1.0, -1.0, -1.0], 25)[:, None]
    maps = solved(signal, signal + 0.75 * noise, 1, 1e-12)
    assert_allclose(maps.correlations, [0.8], rtol=0, atol=1e-9)
    # A ridge r adds r of each variance: cov / sqrt((1 + r) var_v (1 + r) var_t).
    maps = solved(signal, signal + 0.75 * noise, 1, 0.6)
    assert_allclose(maps.correlations, [0.8 / 1.6], rtol=0, atol=1e-9)


def test_the_scale_of_features_changes_no_correlation() -> None:
    image, text = made_pairs()
    expected = solved(image, text, 3, 0.5).correlations
    assert_allclose(solved(1e3 * image, 1e-3 * text, 3, 0.5).correlations, expected, rtol=1e-7)


def test_swapping_the_modalities_swaps_the_maps() -> None:
    image, text = made_pairs()
    one, other = solved(image, text, 3, 0.5), solved(text, image, 3, 0.5)
    assert_allclose(one.correlations, other.correlations, rtol=1e-9)
    assert_allclose(one.image_map.abs(), other.text_map.abs(), rtol=1e-6)


def test_batches_and_order_change_nothing() -> None:
    image, text = made_pairs()
    whole = solved(image, text, 3, 0.5, batch=1000)
    order = np.random.default_rng(2).permutation(len(image))
    for maps in (solved(image, text, 3, 0.5, batch=1), solved(image[order], text[order], 3, 0.5)):
        assert_allclose(maps.correlations, whole.correlations, rtol=1e-9)
        assert_allclose(maps.image_map.abs(), whole.image_map.abs(), rtol=1e-6)


def test_more_bits_only_add_directions() -> None:
    image, text = made_pairs()
    few, many = solved(image, text, 2, 0.5), solved(image, text, 4, 0.5)
    assert_allclose(many.image_map[:, :2].abs(), few.image_map.abs(), rtol=1e-9)
    assert all(one >= other for one, other in pairwise(many.correlations.tolist()))


def test_redundant_features_stay_finite() -> None:
    image, text = made_pairs(6)  # fewer pairs than dimensions
    doubled = np.concatenate([image, image, np.zeros((6, 2))], axis=1)
    for ridge in (1e-30, 0.5):
        maps = solved(doubled, text, 4, ridge)
        assert bool(torch.isfinite(maps.image_map).all())
        assert bool((maps.correlations <= 1 + 1e-6).all())


def test_heads_compute_the_variates() -> None:
    image, text = made_pairs()
    maps = solved(image, text, 3, 0.5)
    rotation = torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, -1]], dtype=torch.float64)
    weights = torch.tensor([2.0, 3.0, 5.0], dtype=torch.float64)
    image_head, text_head = maps.weighted(weights).heads(rotation)

    def relaxed(rows: Floats, head: torch.nn.Module) -> Tensor:
        features = ModalityFeatures(torch.from_numpy(rows.astype(np.float32)))
        out: Tensor = head(features)
        return out.detach()

    for rows, head, mean, matrix in (
        (image, image_head, maps.image_mean, maps.image_map),
        (text, text_head, maps.text_mean, maps.text_map),
    ):
        variates = (rows - mean.numpy()) @ matrix.numpy()
        expected = np.stack([3 * variates[:, 1], 2 * variates[:, 0], -5 * variates[:, 2]], axis=1)
        assert_allclose(relaxed(rows, head), expected, rtol=0, atol=1e-4)
    plain_head, _ = maps.heads()
    assert_allclose(
        relaxed(image, plain_head), (image - maps.image_mean.numpy()) @ maps.image_map.numpy(),
        rtol=0, atol=1e-4,
    )  # fmt: skip


def test_more_bits_than_dimensions_are_refused() -> None:
    image, text = made_pairs()
    message = (
        "n_bits is 5, canonical correlation gives at most 4 on features of widths 5 and 4"
    )  # fmt: skip
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        solved(image, text, 5, 0.5)


@pytest.mark.parametrize("ridge", [0.0, -1.0, float("nan")])
def test_a_ridge_that_is_not_positive_is_refused(ridge: float) -> None:
    image, text = made_pairs()
    with pytest.raises(SettingError, match=f"^ridge is {ridge}, expected a positive number$"):
        solved(image, text, 2, ridge)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1234.5])
def test_features_that_never_vary_are_refused(constant: float) -> None:
    image, text = made_pairs()
    message = (
        "the text features of all 400 training pairs are the same: check the encoder and its input"
    )
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        solved(image, np.full_like(text, constant), 2, 0.5)
