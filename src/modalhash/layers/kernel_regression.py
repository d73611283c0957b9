"""Kernel ridge regression: smooth maps in closed form, with what each item gets from the others.

The left-out prediction of an item is what the regression gives for it when it is fitted on all
items but that one. It has a closed form, so that a whole training set tells how unseen items will
be met, without a single model more (R. Rifkin and R. Lippert: "Notes on regularized least
squares", MIT-CSAIL-TR-2007-025, for the exact form; leverages of a ridge on landmark features
for the other).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from modalhash.errors import SettingError
from modalhash.layers.spacing import evenly_spaced

__all__ = ["FurtherRows", "KernelFit", "gaussian_kernel", "kernel_ridge", "kernel_weights"]

JITTER = 1e-4
"""Added to the diagonal of the landmarks' kernel matrix, whose largest value is 1: landmarks that
are alike would leave it without an inverse."""
LEAST_WEIGHT = 1e-3
"""Of an item in a weighted fit: with 0 its left-out prediction would be 0 divided by 0."""
Blocks = Callable[[], Iterable[tuple[Tensor, Tensor]]]


class FurtherRows(NamedTuple):
    """Rows that describe items of the fit, but that it isn't fitted on: further texts of an item.

    Attributes:
        rows: (b, d) float32.
        items: (b,) int64, the item that each row describes.
        item_rows: (b, d) float32, the row that this item is fitted with.
        item_targets: (b, k) float32, the target that this item is fitted with.
    """

    rows: Tensor
    items: Tensor
    item_rows: Tensor
    item_targets: Tensor


@dataclass(frozen=True)
class KernelFit:
    """A fitted regression from d features to k targets.

    Attributes:
        landmarks: (m, d) float32, rows that others are compared with.
        weights: (m, k) float32; `gaussian_kernel(rows, landmarks) @ weights` predicts.
        fitted: (n, k) float32, predictions for the items it was fitted on.
        left_out: (n, k) float32, for each of them what all others predict.
        further: (f, k) float32, for each further row what all items but its own predict.
    """

    landmarks: Tensor
    weights: Tensor
    fitted: Tensor
    left_out: Tensor
    further: Tensor


def gaussian_kernel(rows: Tensor, landmarks: Tensor, sharpness: float) -> Tensor:
    """Compute `exp(-sharpness |x - y|^2)` between rows (n, d) and landmarks (m, d), as (n, m).

    Example:
        >>> gaussian_kernel(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0]]), 2.0)  # 1, e^-2
        tensor([[1.0000],
                [0.1353]])
    """
    lengths = rows.square().sum(dim=1)[:, None] + landmarks.square().sum(dim=1)
    return torch.addmm(lengths, rows, landmarks.T, alpha=-2).clamp_min(0).mul(-sharpness).exp()


def kernel_ridge(
    blocks: Blocks,
    n_items: int,
    *,
    n_landmarks: int,
    sharpness: float,
    ridge: float,
    further: Iterable[FurtherRows] = (),
    item_weights: Tensor | None = None,
) -> KernelFit:
    """Fit a kernel ridge regression on all items.

    With no more items than `n_landmarks` each item is a landmark and the fit is exact:
    `W = (K + ridge I)^-1 Y`, left-out predictions `Y - W / diag((K + ridge I)^-1)`. Otherwise it
    is the ridge on the features `L^-1 k(x)` of m landmarks, evenly spaced among the items, with
    `L L^T` their kernel matrix (Nystroem's approximation), and memory grows with m^2 and n k.
    A further row z of item i is predicted without that item, in closed form too: from the
    prediction at z, the share of item i in it is taken away.
    The squared error of an item of weight w is multiplied by w: `W = D (D K D + ridge I)^-1 D Y`
    with D the roots of the weights.

    Args:
        blocks: gives rows (b, d) and targets (b, k), float32, block by block; the same each time.
        n_items: n, rows of all blocks.
        n_landmarks: m at most.
        sharpness: of the kernel, positive; rows of length 1 differ by at most 4 squared.
        ridge: penalty of the weights, positive; the larger, the smoother.
        further: rows of items of the fit that are predicted without their item.
        item_weights: (n,) float32 in [0, 1], how much each item counts; None: all alike. Weights
            below 0.001 count as 0.001, so that every item has a left-out prediction.

    Raises:
        SettingError: if `sharpness` or `ridge` isn't positive.
    """
    check_positive(sharpness, ridge)
    weights = None if item_weights is None else item_weights.clamp_min(LEAST_WEIGHT)
    if n_items <= n_landmarks:
        rows, targets = (torch.cat(parts) for parts in zip(*blocks(), strict=True))
        return exact_fit(rows, targets, sharpness, ridge, further, item_weights=weights)
    landmarks = select_rows(blocks, evenly_spaced(n_items, n_landmarks))
    return landmark_fit(blocks, landmarks, sharpness, ridge, further, item_weights=weights)


def exact_fit(
    rows: Tensor,
    targets: Tensor,
    sharpness: float,
    ridge: float,
    further: Iterable[FurtherRows],
    *,
    item_weights: Tensor | None,
) -> KernelFit:
    """Fit with every row as a landmark."""
    system = gaussian_kernel(rows, rows, sharpness)
    roots = None if item_weights is None else item_weights.sqrt()
    if roots is not None:
        system.mul_(roots).mul_(roots[:, None])
    system.diagonal().add_(ridge)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(system))
    del system
    if roots is not None:
        inverse.mul_(roots).mul_(roots[:, None])
    weights = inverse @ targets
    left_out = targets - weights / inverse.diagonal()[:, None]
    elsewhere = [targets[:0]]
    for part in further:
        kernel = gaussian_kernel(part.rows, rows, sharpness)
        # Without item i the weights are W - inverse[:, i] W_i / inverse[i, i].
        own = inverse[part.items]
        shares = (kernel * own).sum(dim=1) / inverse.diagonal()[part.items]
        elsewhere.append(kernel @ weights - shares[:, None] * weights[part.items])
    penalties = ridge if item_weights is None else ridge / item_weights[:, None]
    return KernelFit(rows, weights, targets - penalties * weights, left_out, torch.cat(elsewhere))


class LandmarkFeatures:
    """The features `L^-1 k(x)` of landmarks, `L L^T` their kernel matrix, and a ridge on them.

    Args:
        landmarks: (m, d).
        sharpness: of the kernel.
    """

    def __init__(self, landmarks: Tensor, sharpness: float) -> None:
        self.landmarks, self.sharpness = landmarks, sharpness
        between = gaussian_kernel(landmarks, landmarks, sharpness)
        between.diagonal().add_(JITTER)
        self.root: Tensor = torch.linalg.cholesky(between)

    def columns_of(self, rows: Tensor) -> Tensor:
        """Compute the (m, b) features of (b, d) rows."""
        kernel = gaussian_kernel(rows, self.landmarks, self.sharpness)
        columns: Tensor = torch.linalg.solve_triangular(self.root, kernel.T, upper=False)
        return columns

    def solve(
        self,
        blocks: Iterable[tuple[Tensor, Tensor]],
        ridge: float,
        item_weights: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Fit the ridge, read in one pass; items count by their weights (n,) if they are given.

        Returns:
            The (m, m) Cholesky factor of the features' products, and (m, k) their weights.
        """
        system = torch.eye(len(self.landmarks)) * ridge
        answers: Tensor | None = None
        for rows, targets, part_weights in with_weights(blocks, item_weights):
            columns = self.columns_of(rows)
            weighted = columns if part_weights is None else columns * part_weights
            system.addmm_(weighted, columns.T)
            product = weighted @ targets
            answers = product if answers is None else answers.add_(product)
        assert answers is not None
        factor = torch.linalg.cholesky(system)
        return factor, torch.cholesky_solve(answers, factor)

    def kernel_weights(self, inner: Tensor) -> Tensor:
        """Convert weights of the features to weights (m, k) of the kernel's values."""
        weights: Tensor = torch.linalg.solve_triangular(self.root.T, inner, upper=True)
        return weights


def with_weights(
    blocks: Iterable[tuple[Tensor, Tensor]], item_weights: Tensor | None
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Yield each block with the weights of its items, or with None if there are none."""
    start = 0
    for rows, targets in blocks:
        end = start + len(rows)
        yield rows, targets, None if item_weights is None else item_weights[start:end]
        start = end


def kernel_weights(
    blocks: Iterable[tuple[Tensor, Tensor]], landmarks: Tensor, *, sharpness: float, ridge: float
) -> Tensor:
    """Fit the regression of `kernel_ridge` on landmarks, without predictions for its items.

    For more items than predictions should be kept of: one pass, and memory that grows with m^2.

    Args:
        blocks: rows (b, d) and targets (b, k), float32, of all items that it is fitted on.
        landmarks: (m, d).
        sharpness: of the kernel, positive.
        ridge: penalty of the weights, positive.

    Returns:
        (m, k) weights; `gaussian_kernel(rows, landmarks) @ weights` predicts.
    """
    check_positive(sharpness, ridge)
    features = LandmarkFeatures(landmarks, sharpness)
    _, inner = features.solve(blocks, ridge)
    return features.kernel_weights(inner)


def check_positive(sharpness: float, ridge: float) -> None:
    """Raise the error of a sharpness or a ridge that isn't positive."""
    if not (sharpness > 0 and ridge > 0):
        raise SettingError(
            f"sharpness is {sharpness} and ridge is {ridge}, both are expected to be positive"
        )


def landmark_fit(
    blocks: Blocks,
    landmarks: Tensor,
    sharpness: float,
    ridge: float,
    further: Iterable[FurtherRows],
    *,
    item_weights: Tensor | None,
) -> KernelFit:
    """Fit on the features that landmarks give, read in two passes."""
    features = LandmarkFeatures(landmarks, sharpness)
    columns_of = features.columns_of
    factor, inner = features.solve(blocks(), ridge, item_weights)
    fitted, left_out = [], []
    for rows, targets, part_weights in with_weights(blocks(), item_weights):
        columns = columns_of(rows)
        predicted = columns.T @ inner
        # How much of an item's own target is in its prediction; below 1 by the ridge.
        leverage = torch.linalg.solve_triangular(factor, columns, upper=False).square().sum(dim=0)
        if part_weights is not None:
            leverage = leverage * part_weights
        leverage = leverage.clamp_max(1 - JITTER)[:, None]
        fitted.append(predicted)
        left_out.append((predicted - leverage * targets) / (1 - leverage))
    elsewhere = [inner[:0]]
    for part in further:
        columns, own = columns_of(part.rows), columns_of(part.item_rows)
        solved = torch.cholesky_solve(own, factor)
        leverage, shares = (own * solved).sum(dim=0), (columns * solved).sum(dim=0)
        if item_weights is not None:
            own_weights = item_weights[part.items]
            leverage, shares = leverage * own_weights, shares * own_weights
        shares = shares / (1 - leverage.clamp_max(1 - JITTER))
        residuals = part.item_targets - own.T @ inner
        elsewhere.append(columns.T @ inner - shares[:, None] * residuals)
    weights = features.kernel_weights(inner)
    return KernelFit(
        landmarks, weights, torch.cat(fitted), torch.cat(left_out), torch.cat(elsewhere)
    )


def select_rows(blocks: Blocks, places: Tensor) -> Tensor:
    """Select the rows at ascending places (m,) int64 of all that blocks give."""
    chosen, start = [], 0
    for rows, _ in blocks():
        inside = places[(places >= start) & (places < start + len(rows))]
        chosen.append(rows[inside - start])
        start += len(rows)
    return torch.cat(chosen)
