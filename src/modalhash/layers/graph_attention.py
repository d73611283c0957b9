"""Graph attention: nodes gather from their neighbours, weighted by what both ends of an edge are.

P. Velickovic et al., "Graph attention networks", ICLR 2018. https://arxiv.org/abs/1710.10903
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, elu, leaky_relu

from modalhash.errors import SettingError

__all__ = ["GraphAttention", "ResidualGraphAttention", "masked_softmax"]

SCORE_SLOPE = 0.2
"""Slope of the leaky ReLU on edge scores below 0."""


def masked_softmax(scores: Tensor, is_edge: Tensor) -> Tensor:
    """Compute the softmax over the last dimension of entries that are edges; the others get 0.

    Args:
        scores: (h, n, n), of every node i for every node j.
        is_edge: (n, n) bool, at least one a row.

    Returns:
        (h, n, n); each row sums to 1.

    Example:
        >>> masked_softmax(torch.zeros(1, 1, 3), torch.tensor([[True, False, True]]))
        tensor([[[0.5000, 0.0000, 0.5000]]])
    """
    return scores.masked_fill(~is_edge, torch.finfo(scores.dtype).min).softmax(dim=-1)


class GraphAttention(nn.Module):
    """One layer of attention over neighbours, before any activation.

    Each head k maps nodes by `z_i = W_k x_i`, scores an edge from i to j by
    `LeakyReLU(p_k . z_i + q_k . z_j)`, and returns the mean of the neighbours' z, weighted by the
    softmax of the scores. Heads stand side by side.

    Args:
        in_width: d of the nodes that come in.
        head_width: width of each head's output.
        n_heads: h.
        dropout: share of the attention weights dropped in training, in [0, 1).

    Raises:
        SettingError: if a size isn't positive, or dropout is out of range.
    """

    def __init__(
        self, in_width: int, head_width: int, n_heads: int, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if min(in_width, head_width, n_heads) < 1 or not 0 <= dropout < 1:
            raise SettingError(
                "graph attention needs positive sizes and a dropout in [0, 1), got in_width "
                f"{in_width}, head_width {head_width}, n_heads {n_heads} and dropout {dropout}"
            )
        self.n_heads, self.dropout = n_heads, dropout
        self.map = nn.Linear(in_width, n_heads * head_width, bias=False)
        self.near = nn.Parameter(torch.empty(n_heads, head_width))  # p
        self.far = nn.Parameter(torch.empty(n_heads, head_width))  # q
        for weight in (self.map.weight, self.near, self.far):
            nn.init.xavier_uniform_(weight)

    def forward(self, nodes: Tensor, adjacency: Tensor | None = None) -> Tensor:
        """Gather from neighbours.

        Args:
            nodes: (n, d).
            adjacency: (n, n) bool, True where i attends to j; a node always attends to itself too.
                None: to itself alone, which is the linear map, whatever else is in the batch.

        Returns:
            (n, h * head_width), heads side by side.
        """
        mapped: Tensor = self.map(nodes)
        if adjacency is None:
            return mapped
        heads = mapped.view(len(nodes), self.n_heads, -1).transpose(0, 1)  # (h, n, w)
        gathered = self.weights(heads, adjacency) @ heads
        return gathered.transpose(0, 1).flatten(1)

    def weights(self, heads: Tensor, adjacency: Tensor) -> Tensor:
        """Compute (h, n, n) attention of node i to node j, from (h, n, w) mapped nodes.

        Rows sum to 1, and are 0 where there is no edge; in training some weights are dropped and
        the others raised by what dropout takes.
        """
        near = heads @ self.near[:, :, None]  # (h, n, 1)
        far = heads @ self.far[:, :, None]
        scores = leaky_relu(near + far.transpose(1, 2), SCORE_SLOPE)
        is_self = torch.eye(heads.shape[1], dtype=torch.bool, device=heads.device)
        attention = masked_softmax(scores, adjacency | is_self)
        return dropout(attention, self.dropout, self.training)


class ResidualGraphAttention(nn.Module):
    """Two layers of graph attention that keep the width, each with ELU and a sum with its input.

    The first layer has several heads side by side, the second a single one of the whole width. The
    sums keep what a node knows itself where its neighbourhood is noisy.

    Args:
        width: d.
        n_heads: heads of the first layer; d must be a multiple.
        dropout: share dropped in training, of each layer's input and of its attention.

    Raises:
        SettingError: if the width isn't a multiple of the heads, or a value is out of range.
    """

    def __init__(self, width: int, n_heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        if n_heads < 1 or width % n_heads:
            raise SettingError(f"width is {width}, expected a multiple of the {n_heads} heads")
        self.n_heads = n_heads
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            [
                GraphAttention(width, width // n_heads, n_heads, dropout=dropout),
                GraphAttention(width, width, 1, dropout=dropout),
            ]
        )

    def forward(self, nodes: Tensor, adjacency: Tensor | None = None) -> Tensor:
        """Compute (n, d) nodes after both layers; `adjacency` as in `GraphAttention`."""
        for layer in self.layers:
            nodes = elu(layer(self.dropout(nodes), adjacency)) + nodes
        return nodes
