"""Graph convolution over the items of a batch, given the matrix of their edges."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from modalhash.errors import SettingError

__all__ = ["GraphConvolution", "GraphNetwork", "row_normalised"]

TINY = 1e-12


class GraphConvolution(nn.Module):
    """Map each item's features, then sum those of its neighbours by edge weight.

    Nothing is added to the edges: no self-loops and no normalisation (`row_normalised` is there
    for that). Weights start uniform in +-1 / sqrt(out_width).

    Args:
        in_width: d.
        out_width: e.
    """

    def __init__(self, in_width: int, out_width: int) -> None:
        super().__init__()
        bound = out_width**-0.5
        self.weight = nn.Parameter(torch.empty(in_width, out_width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(out_width).uniform_(-bound, bound))

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        """Compute (n, e) `edges (features weight) + bias`.

        Args:
            features: (n, d).
            edges: (n, n), row i weighs the neighbours of item i; any real numbers.
        """
        return edges @ (features @ self.weight) + self.bias


class GraphNetwork(nn.Module):
    """Graph convolutions with ReLU after each, then an affine map of each item.

    Args:
        widths: input width, convolved widths, output width; at least three.

    Raises:
        SettingError: if there are fewer than three widths or one isn't positive.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        if len(widths) < 3 or min(widths) < 1:
            raise SettingError(
                f"a graph network needs at least three positive widths, got {tuple(widths)}"
            )
        self.convolutions = nn.ModuleList(
            GraphConvolution(before, after) for before, after in pairwise(widths[:-1])
        )
        self.map = nn.Linear(widths[-2], widths[-1])

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        """Compute (n, b) outputs of (n, d) features under (n, n) edges."""
        for convolution in self.convolutions:
            features = torch.relu(convolution(features, edges))
        mapped: Tensor = self.map(features)
        return mapped


def row_normalised(edges: Tensor) -> Tensor:
    """Scale rows of (n, n) edges to sum to 1 in size, signs kept; an empty row stays empty.

    Example:
        >>> row_normalised(torch.tensor([[3.0, -1.0], [0.0, 0.0]]))
        tensor([[ 0.7500, -0.2500],
                [ 0.0000,  0.0000]])
    """
    sums: Tensor = edges.abs().sum(dim=1, keepdim=True)
    return edges / sums.clamp_min(TINY)
