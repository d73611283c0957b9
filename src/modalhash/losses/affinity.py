"""Similarity targets made from the features of a batch; no gradient is meant to pass them."""

from enum import StrEnum

from torch import Tensor
from torch.nn.functional import normalize

__all__ = [
    "CrossSimilarity",
    "binary_similarities",
    "cosine_similarities",
    "cross_similarity",
    "fused_affinity",
    "rescaled_cosines",
]


class CrossSimilarity(StrEnum):
    """How the similarities of two modalities are combined into a third matrix.

    - `row_cosine`: cosine between row i of the one and row j of the other (CAGAN's code).
    - `symmetric_row_cosine`: the same, averaged with its transpose (JDSH).
    """

    ROW_COSINE = "row_cosine"
    SYMMETRIC_ROW_COSINE = "symmetric_row_cosine"


def cosine_similarities(rows: Tensor, other_rows: Tensor) -> Tensor:
    """Compute (n, m) cosines between the rows of (n, d) and (m, d); a zero row gives zeros."""
    return normalize(rows, dim=1) @ normalize(other_rows, dim=1).T


def rescaled_cosines(features: Tensor, *, unrelated: float = -1.0) -> Tensor:
    """Compute (n, n) `(1 - unrelated) cos + unrelated` of the rows of (n, d).

    A cosine of 1 stays, one of 0 becomes `unrelated`; with the default this is `2 cos - 1`, which
    is in [-1, 1] where cosines are in [0, 1].
    """
    return (1 - unrelated) * cosine_similarities(features, features) + unrelated


def binary_similarities(features: Tensor) -> Tensor:
    """Tell which bags of words share a word.

    Args:
        features: (n, d), 0 or more. Dense vectors nearly all have a positive cosine, so that every
            two of them count as alike and the result says nothing.

    Returns:
        (n, n): 1 where the cosine of two rows is positive, else -1; 1 on the diagonal, also of
        rows without words.

    Example:
        >>> import torch
        >>> binary_similarities(torch.tensor([[1.0, 1.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.0]]))
        tensor([[ 1.,  1., -1.],
                [ 1.,  1., -1.],
                [-1., -1.,  1.]])
    """
    alike = cosine_similarities(features, features) > 0
    return (2 * alike.to(features) - 1).fill_diagonal_(1)


def cross_similarity(
    image_similarity: Tensor, text_similarity: Tensor, rule: CrossSimilarity
) -> Tensor:
    """Combine the (n, n) similarities within each modality into a third (n, n) matrix.

    Two items count as similar when they see the rest of the batch alike, one through pictures and
    the other through texts.
    """
    rows = cosine_similarities(image_similarity, text_similarity)
    if rule is CrossSimilarity.ROW_COSINE:
        return rows
    return (rows + rows.T) / 2


def fused_affinity(
    image_similarity: Tensor,
    text_similarity: Tensor,
    *,
    image_weight: float,
    text_weight: float,
    cross_weight: float,
    scale: float,
    rule: CrossSimilarity,
) -> Tensor:
    """Compute `scale * (image_weight S_v + text_weight S_t + cross_weight S_c)`, (n, n).

    Not clipped: a scale above 1 asks for more than a cosine can give, which pushes relaxed codes
    towards their signs.
    """
    cross = cross_similarity(image_similarity, text_similarity, rule)
    mixed = image_weight * image_similarity + text_weight * text_similarity + cross_weight * cross
    return scale * mixed
