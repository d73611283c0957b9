"""Enhancement of a similarity target: near pairs nearer, far pairs farther."""

import torch
from torch import Tensor

__all__ = [
    "distribution_weighted",
]


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
