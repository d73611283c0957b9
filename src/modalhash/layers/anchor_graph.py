"""Neighbourhoods of many items by way of a few anchors, so that no n x n matrix is needed.

W. Liu, J. He, S.-F. Chang: "Large graph construction for scalable semi-supervised learning", ICML
2010. Each item is tied to its nearest anchors by weights Z that sum to 1; two items are as near as
the anchors they share: S = Z diag(Z'1)^-1 Z', whose rows sum to 1, so that its Laplacian is I - S.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["AnchorGraph"]

CHUNK = 1024
"""Rows whose distances to all anchors are taken at a time."""
K_MEANS_ROUNDS = 5
"""Rounds of k-means that place the anchors; they need to be spread, not optimal."""


@dataclass(frozen=True)
class AnchorGraph:
    """Anchors, and how items are tied to them.

    Attributes:
        anchors: (k, d) float64.
        n_nearest: anchors that an item is tied to.
        bandwidth: squared distance at which a tie's weight has fallen to 1 / e; positive.
    """

    anchors: Tensor
    n_nearest: int
    bandwidth: float

    @classmethod
    def fit(
        cls, rows: Tensor, n_anchors: int, n_nearest: int, generator: torch.Generator
    ) -> "AnchorGraph":
        """Place anchors by k-means from rows drawn at random.

        The bandwidth is the mean squared distance to the farthest anchor that a row is tied to.

        Args:
            rows: (n, d).
            n_anchors: k, at most; where there are fewer rows, each is an anchor.
            n_nearest: anchors that an item is tied to, at most.
            generator: draws the first anchors.
        """
        rows = rows.double()
        drawn = torch.randperm(len(rows), generator=generator)[:n_anchors]
        anchors = rows[drawn]
        for _ in range(K_MEANS_ROUNDS):
            anchors = moved(anchors, rows)
        n_nearest = min(n_nearest, len(anchors))
        farthest = [
            squared_distances(part, anchors).topk(n_nearest, largest=False).values[:, -1]
            for part in torch.split(rows, CHUNK)
        ]
        tiny = torch.finfo(torch.float64).tiny
        return cls(anchors, n_nearest, max(float(torch.cat(farthest).mean()), tiny))

    def weights(self, rows: Tensor) -> Tensor:
        """Compute Z, (n, k) float64: rows of `n_nearest` positive weights that sum to 1.

        A weight falls with the squared distance: exp(-distance^2 / bandwidth) before division by
        the row's sum.

        Args:
            rows: (n, d).
        """
        nearest = squared_distances(rows.double(), self.anchors).topk(self.n_nearest, largest=False)
        ties = torch.softmax(-nearest.values / self.bandwidth, dim=1)
        return torch.zeros(len(rows), len(self.anchors)).double().scatter(1, nearest.indices, ties)


def squared_distances(rows: Tensor, anchors: Tensor) -> Tensor:
    """Compute (n, k) squared Euclidean distances."""
    lengths = rows.square().sum(dim=1, keepdim=True) + anchors.square().sum(dim=1)
    return (lengths - 2 * rows @ anchors.T).clamp_min(0)


def moved(anchors: Tensor, rows: Tensor) -> Tensor:
    """Move each anchor to the mean of the rows nearest to it; one without rows stays."""
    totals, counts = torch.zeros_like(anchors), torch.zeros(len(anchors)).double()
    for part in torch.split(rows, CHUNK):
        owners = squared_distances(part, anchors).argmin(dim=1)
        totals.index_add_(0, owners, part)
        counts.index_add_(0, owners, torch.ones(len(part)).double())
    return torch.where(counts[:, None] > 0, totals / counts[:, None].clamp_min(1), anchors)
