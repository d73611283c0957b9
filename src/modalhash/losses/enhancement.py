"""Enhancement of a similarity target: near pairs nearer, far pairs farther."""

from enum import StrEnum

import torch
from torch import Tensor

__all__ = ["Enhancement", "distribution_weighted", "mean_stretched"]

ALIKE = 1e-6
"""Entries whose range is no larger than this share of their size differ by rounding."""


class Enhancement(StrEnum):
    """How fused similarities are enhanced before they are scaled.

    - `scale`: not at all; the scale alone enhances (CAGAN's released code).
    - `mean_stretch`: away from the batch's mean, then cut to [-1, 1] (there, but switched off).
    - `jdsh`: beyond two thresholds, found on one data set for one encoder (JDSH).
    """

    SCALE = "scale"
    MEAN_STRETCH = "mean_stretch"
    JDSH = "jdsh"


def mean_stretched(similarity: Tensor) -> Tensor:
    """Stretch similarities away from their mean.

    With mean a, largest M and smallest m of all entries, an entry s becomes
    `s exp(-(a - s) / (2 (a - m)))` up to the mean and `s exp((s - a) / (M - a))` above it: the
    largest is multiplied by e, the smallest by its square root's inverse. Signs stay.

    Args:
        similarity: (n, n).

    Returns:
        (n, n), not cut to any range; entries that are all alike stay as they are.

    Example:
        >>> mean_stretched(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
        tensor([[ 2.7183,  0.0000],
                [-0.6065,  0.0000]])
    """
    mean, largest, smallest = similarity.mean(), similarity.max(), similarity.min()
    if largest - smallest <= ALIKE * similarity.abs().max():
        return similarity
    below = -0.5 * (mean - similarity) / (mean - smallest)
    above = (similarity - mean) / (largest - mean)
    return similarity * torch.where(similarity <= mean, below, above).exp()


def distribution_weighted(
    similarity: Tensor,
    *,
    left: float,
    right: float,
    minimum: float,
    maximum: float,
    left_weight: float,
    right_weight: float,
) -> Tensor:
    """Enlarge similarities beyond two thresholds, the more the farther out they are.

    Below `left`, s becomes `(1 + left_weight exp(minimum - s)) s`; above `right`,
    `(1 + right_weight exp(s - maximum)) s`; between them it stays.

    Args:
        similarity: (n, n).
        left: threshold of far pairs.
        right: threshold of near pairs, at least `left`.
        minimum: about the smallest similarity, where far pairs are enlarged by `left_weight`.
        maximum: about the largest similarity, where near pairs are enlarged by `right_weight`.
        left_weight: share by which far pairs are enlarged.
        right_weight: share by which near pairs are enlarged.

    Returns:
        (n, n), not cut to any range.
    """
    far = (1 + left_weight * torch.exp(minimum - similarity)) * similarity
    near = (1 + right_weight * torch.exp(similarity - maximum)) * similarity
    return torch.where(similarity < left, far, torch.where(similarity > right, near, similarity))
