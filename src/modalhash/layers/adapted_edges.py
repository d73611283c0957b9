"""Learned matrices that adapt the edges among the items of a batch."""

from enum import StrEnum

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from modalhash.errors import SettingError

__all__ = [
    "AttentionMatrix",
    "PairMatrix",
    "PositionMatrix",
]


class AttentionMatrix(StrEnum):
    """What the learned matrix is indexed by: pairs of items, or places in the batch (code)."""

    PAIRS = "pairs"
    POSITIONS = "positions"


class PairMatrix(nn.Module):
    """W[i, j] = cosine between a projection of item i and another one of item j.

    Args:
        width: d.
        rank: of the projections; entries start with a deviation of 1 / sqrt(rank).
    """

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.left, self.right = (nn.Linear(width, rank, bias=False) for _ in range(2))

    def forward(self, features: Tensor) -> Tensor:
        """Compute (n, n) edges of (n, d) features, in [-1, 1]."""
        left = normalize(self.left(features), dim=1)
        return left @ normalize(self.right(features), dim=1).T


class PositionMatrix(nn.Module):
    """W[i, j] is learned for place i and place j of a batch, whichever items stand there.

    Args:
        size: places, the largest batch there may be.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size, size))
        nn.init.kaiming_uniform_(self.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Compute the leading (n, n) block for (n, d) features.

        Raises:
            SettingError: if there are more items than places.
        """
        n, size = len(features), len(self.weight)
        if n > size:
            raise SettingError(
                f"a batch has {n} pairs, but attention_matrix=positions was made for at most "
                f"{size}: train with that batch_size, or set attention_matrix=pairs"
            )
        return self.weight[:n, :n]
