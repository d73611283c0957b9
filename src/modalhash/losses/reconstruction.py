"""Terms that make similarities of relaxed codes reproduce a target."""

from torch import Tensor
from torch.nn.functional import mse_loss, normalize

from modalhash.losses.affinity import cosine_similarities

__all__ = ["cross_gap", "diagonal_gap", "intra_gap", "paired_cosine", "similarity_gap"]


def similarity_gap(relaxed: Tensor, other_relaxed: Tensor, target: Tensor) -> Tensor:
    """Compute the mean squared difference between cosines of relaxed codes and their target.

    Args:
        relaxed: (n, b).
        other_relaxed: (m, b).
        target: (n, m).

    Returns:
        Scalar: the mean over all n m entries, diagonal included.
    """
    return mse_loss(cosine_similarities(relaxed, other_relaxed), target)


def paired_cosine(relaxed: Tensor, other_relaxed: Tensor) -> Tensor:
    """Compute the mean cosine of row i of one and row i of the other, both (n, b); a scalar."""
    return (normalize(relaxed, dim=1) * normalize(other_relaxed, dim=1)).sum(dim=1).mean()


def diagonal_gap(paired_similarity: Tensor, target: float) -> Tensor:
    """Compute the mean squared distance of the diagonal of (n, n), the partners, from a target."""
    return (paired_similarity.diagonal() - target).square().mean()


def intra_gap(image_relaxed: Tensor, text_relaxed: Tensor, target: Tensor) -> Tensor:
    """Compute the gap of codes to the target within pictures plus within texts; a scalar."""
    return similarity_gap(image_relaxed, image_relaxed, target) + similarity_gap(
        text_relaxed, text_relaxed, target
    )


def cross_gap(
    image_relaxed: Tensor,
    text_relaxed: Tensor,
    target: Tensor,
    *,
    both_orders: bool = True,
    pair_weight: float = 1.0,
) -> Tensor:
    """Compute the gap of codes to the target across modalities, less the partners' cosine.

    Args:
        image_relaxed: (n, b).
        text_relaxed: (n, b).
        target: (n, n); of an unsymmetric one, rows are pictures in the first order.
        both_orders: count text-image similarities besides image-text ones.
        pair_weight: weight of the mean cosine between partners, which is subtracted.

    Returns:
        Scalar; negative where partners agree more than the target is missed.
    """
    gap = similarity_gap(image_relaxed, text_relaxed, target)
    if both_orders:
        gap = gap + similarity_gap(text_relaxed, image_relaxed, target)
    return gap - pair_weight * paired_cosine(image_relaxed, text_relaxed)
