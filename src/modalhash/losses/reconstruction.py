"""Terms that make similarities of relaxed codes reproduce a target."""

from torch import Tensor
from torch.nn.functional import mse_loss, normalize

from modalhash.losses.affinity import cosine_similarities

__all__ = ["paired_cosine", "similarity_gap"]


def similarity_gap(relaxed: Tensor, other_relaxed: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared difference between cosines of relaxed codes and their target.

    Args:
        relaxed: (n, b).
        other_relaxed: (m, b).
        target: (n, m).

    Returns:
        Scalar: the mean over all n m entries, diagonal included.
    """
    return mse_loss(cosine_similarities(relaxed, other_relaxed), target)


def paired_cosine(relaxed: Tensor, other_relaxed: Tensor) -> Tensor:
    """Return the mean cosine between row i of one and row i of the other, both (n, b); a scalar."""
    return (normalize(relaxed, dim=1) * normalize(other_relaxed, dim=1)).sum(dim=1).mean()
