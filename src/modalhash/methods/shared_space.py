"""The common space of nested codes: its principal directions, and the first weights of bits."""

from collections.abc import Iterable

import torch
from torch import Tensor

from modalhash.methods.cca_itq import itq_rotation

__all__ = ["first_weights", "principal_directions", "ridge_map", "row_moments"]

MOST_ROTATED = 20_000
"""Rows that the first rotation is fitted on, at most."""


ROTATION_ROUNDS = 40
RIDGE = 1e-3
"""Penalty of `ridge_map`, as a share of the mean variance of the rows."""


SPARE = 32
"""Directions sought beyond those kept, which makes the kept ones precise."""


def row_moments(blocks: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Compute mean (d,) and covariance (d, d) of all rows of blocks (k, d), float64 on the CPU.

    Columns may be zero throughout, as those of pictures with a weight of 0 are.
    """
    count, total, products = 0, torch.zeros(()).double(), torch.zeros(()).double()
    for block in blocks:
        rows = block.double().cpu()
        count += len(rows)
        total = total + rows.sum(dim=0)
        products = products + rows.T @ rows
    mean = total / count
    return mean, products / count - torch.outer(mean, mean)


def principal_directions(covariance: Tensor, width: int) -> Tensor:
    """Compute the `width` directions of largest variance, (d, width), largest first.

    Args:
        covariance: (d, d), symmetric.
        width: at most d.
    """
    n_sought = min(len(covariance), width + SPARE)
    directions: Tensor = torch.svd_lowrank(covariance, q=n_sought, niter=4)[0]
    return directions[:, :width]


def first_weights(
    points: Tensor, n_bits: int, generator: torch.Generator, *, rotates: bool = False
) -> Tensor:
    """Compute an affine map's first weights (k, n_bits), which make mean sizes of 1.

    Principal directions, the first `n_bits` columns of points: each is a bit, and as long as it is
    in a query that keeps its numbers. Rotated by ITQ, bits say equally much, as the Hamming
    distance counts them. With more bits than columns, random directions that keep lengths.

    Args:
        points: (n, k) of the common space.
        n_bits: b.
        generator: draws the rotation that ITQ starts from, or the directions.
        rotates: whether directions are rotated.
    """
    width = points.shape[1]
    points = points[:: -(-len(points) // MOST_ROTATED)].double()
    if n_bits > width:
        drawn = torch.randn(n_bits, n_bits, generator=generator, dtype=torch.float64)
        weights = torch.linalg.qr(drawn).Q[:width]
    elif rotates:
        weights = torch.zeros(width, n_bits, dtype=torch.float64)
        weights[:n_bits] = itq_rotation(points[:, :n_bits], ROTATION_ROUNDS, generator)
    else:
        weights = torch.eye(width, n_bits, dtype=torch.float64)
    size = (points @ weights).abs().mean().clamp_min(torch.finfo(torch.float64).tiny)
    scaled: Tensor = (weights / size).float()
    return scaled


def ridge_map(rows: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Fit an affine map from rows to targets by ridge regression, in float64.

    Args:
        rows: (n, k).
        targets: (n, b).

    Returns:
        Weights (k, b) and bias (b,), float32; `rows @ weights + bias` predicts.

    Example:
        >>> rows = torch.tensor([[-1.0], [1.0]])
        >>> weights, bias = ridge_map(rows, 2 * rows + 3)
        >>> round(float(weights), 1), round(float(bias), 1)
        (2.0, 3.0)
    """
    row_mean, target_mean = rows.double().mean(dim=0), targets.double().mean(dim=0)
    centred = rows.double() - row_mean
    products = centred.T @ centred
    penalty = RIDGE * products.diagonal().mean().clamp_min(torch.finfo(torch.float64).tiny)
    products.diagonal().add_(penalty)
    weights = torch.linalg.solve(products, centred.T @ (targets.double() - target_mean))
    return weights.float(), (target_mean - row_mean @ weights).float()
