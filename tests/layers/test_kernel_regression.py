import math
import re
from collections.abc import Iterator
from importlib import import_module

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from modalhash.errors import SettingError
from modalhash.layers import (
    FurtherRows,
    KernelFit,
    gaussian_kernel,
    kernel_ridge,
    kernel_weights,
)

SHARPNESS, RIDGE = 0.7, 0.3


def made(n: int, width: int = 4, n_targets: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(n, width, generator=generator)
    return rows / rows.norm(dim=1, keepdim=True), torch.randn(n, n_targets, generator=generator)


def fit(rows: Tensor, targets: Tensor, *, n_landmarks: int, block: int = 3) -> KernelFit:
    def blocks() -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(rows), block):
            yield rows[start : start + block], targets[start : start + block]

    return kernel_ridge(
        blocks, len(rows), n_landmarks=n_landmarks, sharpness=SHARPNESS, ridge=RIDGE
    )


def by_library(rows: Tensor, targets: Tensor, asked: Tensor) -> Tensor:
    library = import_module("sklearn.kernel_ridge").KernelRidge(
        alpha=RIDGE, kernel="rbf", gamma=SHARPNESS
    )
    library.fit(rows.double().numpy(), targets.double().numpy())
    predicted: Tensor = torch.from_numpy(library.predict(asked.double().numpy())).float()
    return predicted


def test_the_kernel_by_hand() -> None:
    rows = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    landmarks = torch.tensor([[0.0, 0.0], [0.0, 4.0], [3.0, 4.0]])
    distances = [[0, 16, 25], [25, 9, 0]]
    expected = torch.tensor([[math.exp(-0.1 * one) for one in row] for row in distances])
    assert_close(gaussian_kernel(rows, landmarks, 0.1), expected, rtol=1e-6, atol=1e-6)


def test_one_item_by_hand() -> None:
    # K = 1: W = y / (1 + ridge), and nothing is left without the only item.
    found = fit(torch.tensor([[1.0, 0.0]]), torch.tensor([[2.6]]), n_landmarks=5)
    assert_close(found.weights, torch.tensor([[2.6 / 1.3]]), rtol=1e-6, atol=1e-6)
    assert_close(found.fitted, torch.tensor([[2.0]]), rtol=1e-6, atol=1e-6)
    assert_close(found.left_out, torch.tensor([[0.0]]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("n_landmarks", [9, 100])
def test_the_exact_fit_is_that_of_another_library(n_landmarks: int) -> None:
    rows, targets = made(9)
    found = fit(rows, targets, n_landmarks=n_landmarks)
    unseen = made(14)[0][9:]
    predicted = gaussian_kernel(unseen, found.landmarks, SHARPNESS) @ found.weights
    assert_close(predicted, by_library(rows, targets, unseen), rtol=1e-4, atol=1e-4)
    assert_close(found.fitted, by_library(rows, targets, rows), rtol=1e-4, atol=1e-4)


def test_left_out_predictions_are_those_of_fits_without_the_item() -> None:
    rows, targets = made(8)
    found = fit(rows, targets, n_landmarks=8)
    for place in range(8):
        others = torch.arange(8) != place
        expected = by_library(rows[others], targets[others], rows[[place]])
        assert_close(found.left_out[[place]], expected, rtol=1e-4, atol=1e-4)


def on_landmarks(rows: Tensor, targets: Tensor, landmarks: Tensor, asked: Tensor) -> Tensor:
    """The subset-of-regressors ridge, in float64 by its normal equations."""
    between = gaussian_kernel(landmarks, landmarks, SHARPNESS).double()
    between += 1e-4 * torch.eye(len(landmarks)).double()
    kernel = gaussian_kernel(rows, landmarks, SHARPNESS).double()
    weights = torch.linalg.solve(kernel.T @ kernel + RIDGE * between, kernel.T @ targets.double())
    found: Tensor = gaussian_kernel(asked, landmarks, SHARPNESS).double() @ weights
    return found.float()


def test_fewer_landmarks_than_items() -> None:
    rows, targets = made(12)
    found = fit(rows, targets, n_landmarks=5)
    landmarks = rows[[0, 2, 4, 7, 9]]
    assert_close(found.landmarks, landmarks, rtol=0, atol=0)
    assert_close(found.fitted, on_landmarks(rows, targets, landmarks, rows), rtol=1e-4, atol=1e-4)
    predicted = gaussian_kernel(rows, found.landmarks, SHARPNESS) @ found.weights
    assert_close(predicted, found.fitted, rtol=1e-4, atol=1e-4)
    for place in (0, 5, 11):  # a landmark stays one when its target is left out
        others = torch.arange(12) != place
        expected = on_landmarks(rows[others], targets[others], landmarks, rows[[place]])
        assert_close(found.left_out[[place]], expected, rtol=1e-4, atol=1e-4)


def fit_with_further(
    rows: Tensor, targets: Tensor, further: Tensor, items: Tensor, *, n_landmarks: int, size: int
) -> KernelFit:
    return kernel_ridge(
        lambda: [(rows, targets)],
        len(rows),
        n_landmarks=n_landmarks,
        sharpness=SHARPNESS,
        ridge=RIDGE,
        further=(
            FurtherRows(further[start : start + size], owners, rows[owners], targets[owners])
            for start in range(0, len(items), size)
            for owners in [items[start : start + size]]
        ),
    )


@pytest.mark.parametrize("size", [1, 2, 5])
def test_further_rows_are_predicted_without_their_item(size: int) -> None:
    rows, targets = made(8)
    further, items = made(13)[0][8:], torch.tensor([0, 3, 3, 7, 5])
    exact = fit_with_further(rows, targets, further, items, n_landmarks=8, size=size)
    coarse = fit_with_further(rows, targets, further, items, n_landmarks=5, size=size)
    landmarks = rows[[0, 1, 3, 4, 6]]
    for place, item in enumerate(items.tolist()):
        others, asked = torch.arange(8) != item, further[[place]]
        expected = by_library(rows[others], targets[others], asked)
        assert_close(exact.further[[place]], expected, rtol=1e-4, atol=1e-4)
        expected = on_landmarks(rows[others], targets[others], landmarks, asked)
        assert_close(coarse.further[[place]], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n_landmarks", [5, 8])
def test_a_further_row_like_its_item_is_met_as_the_item_is(n_landmarks: int) -> None:
    rows, targets = made(8)
    found = fit_with_further(rows, targets, rows, torch.arange(8), n_landmarks=n_landmarks, size=3)
    assert_close(found.further, found.left_out, rtol=1e-4, atol=1e-4)
    assert fit(rows, targets, n_landmarks=n_landmarks).further.shape == (0, 3)


@pytest.mark.parametrize("n_landmarks", [5, 8])
def test_weights_multiply_squared_errors(n_landmarks: int) -> None:
    rows, targets = made(8)
    further, items = made(11)[0][8:], torch.tensor([0, 3, 7])
    weights = torch.tensor([1.0, 0.5, 0.25, 0.9, 0.0, 1.0, 0.0, 0.7])
    landmarks = rows if n_landmarks == 8 else rows[[0, 1, 3, 4, 6]]

    def weighted(used: Tensor, query: Tensor) -> Tensor:
        # Scaled by the roots of the weights, items of the plain normal equations have them.
        roots = weights.clamp_min(1e-3)[used].sqrt().double()[:, None]
        kernel = gaussian_kernel(rows[used], landmarks, SHARPNESS).double() * roots
        between = gaussian_kernel(landmarks, landmarks, SHARPNESS).double()
        if n_landmarks < 8:
            between += 1e-4 * torch.eye(n_landmarks).double()
        solution = torch.linalg.solve(
            kernel.T @ kernel + RIDGE * between, kernel.T @ (roots * targets[used].double())
        )
        predicted: Tensor = gaussian_kernel(query, landmarks, SHARPNESS).double() @ solution
        return predicted.float()

    result = kernel_ridge(
        lambda: [(rows[:3], targets[:3]), (rows[3:], targets[3:])],
        8,
        n_landmarks=n_landmarks,
        sharpness=SHARPNESS,
        ridge=RIDGE,
        further=[FurtherRows(further, items, rows[items], targets[items])],
        item_weights=weights,
    )
    everything = torch.arange(8)
    assert_close(result.fitted, weighted(everything, rows), rtol=1e-3, atol=1e-3)
    for place in range(8):
        expected = weighted(everything[everything != place], rows[[place]])
        assert_close(result.left_out[[place]], expected, rtol=1e-3, atol=1e-3)
    for place, item in enumerate(items.tolist()):
        expected = weighted(everything[everything != item], further[[place]])
        assert_close(result.further[[place]], expected, rtol=1e-3, atol=1e-3)


def test_blocks_make_no_difference() -> None:
    rows, targets = made(12)
    for n_landmarks in (5, 12):
        one, other = (fit(rows, targets, n_landmarks=n_landmarks, block=size) for size in (1, 12))
        assert_close(one.left_out, other.left_out, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n_landmarks", [3, 6])
def test_items_that_are_alike_and_zero_rows(n_landmarks: int) -> None:
    rows = torch.cat([torch.ones(3, 2), torch.zeros(3, 2)])
    targets = torch.tensor([[1.0], [2.0], [3.0], [100.0], [-100.0], [0.0]])
    found = fit(rows, targets, n_landmarks=n_landmarks)
    for part in (found.weights, found.fitted, found.left_out):
        assert np.isfinite(part.numpy()).all()
    assert_close(found.fitted[0], found.fitted[1], rtol=1e-4, atol=1e-4)


def test_what_is_not_positive_is_refused() -> None:
    message = "sharpness is 1.0 and ridge is 0.0, both are expected to be positive"
    with pytest.raises(SettingError, match=re.escape(message)):
        kernel_ridge(list, 1, n_landmarks=1, sharpness=1.0, ridge=0.0)


def test_weights_alone_are_those_of_the_whole_fit() -> None:
    rows, targets = made(12)
    landmarks = rows[[0, 2, 4, 7, 9]]
    weights = kernel_weights(
        [(rows[:7], targets[:7]), (rows[7:], targets[7:])],
        landmarks,
        sharpness=SHARPNESS,
        ridge=RIDGE,
    )
    predicted = gaussian_kernel(rows, landmarks, SHARPNESS) @ weights
    assert_close(predicted, on_landmarks(rows, targets, landmarks, rows), rtol=1e-4, atol=1e-4)
    message = "sharpness is -1.0 and ridge is 0.3, both are expected to be positive"
    with pytest.raises(SettingError, match=re.escape(message)):
        kernel_weights([], landmarks, sharpness=-1.0, ridge=RIDGE)
