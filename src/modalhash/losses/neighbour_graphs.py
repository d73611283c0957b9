"""Relation graphs of a whole training set, kept sparse: each node's strongest relations.

A graph of N nodes is made in blocks of rows and holds at most 2 N k + N edges for k neighbours a
node; nothing of N x N is ever made. What a batch needs of it are its nodes' rows, over the columns
that these rows touch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from modalhash.losses.relation_graphs import (
    TINY,
    FilterRule,
    SimilarityContrast,
    spread,
    stretched,
    strongest_entries,
)

__all__ = ["NeighbourGraph", "largest_edge_count", "neighbour_graph", "neighbourhoods"]

BLOCK_ROWS = 64
"""Rows whose similarities to all nodes are held at once."""


@dataclass(frozen=True)
class NeighbourGraph:
    """Edges of N nodes sorted by row, then by column; symmetric, each node related to itself by 1.

    Attributes:
        starts: (N + 1,) int64; the edges of row i are those from `starts[i]` up to `starts[i + 1]`.
        columns: (e,) int32, the other end of each edge; entries past the last edge mean nothing.
        weights: (e,) float in [0, 1].
    """

    starts: Tensor
    columns: Tensor
    weights: Tensor


def largest_edge_count(n_nodes: int, n_neighbours: int) -> int:
    """Return the most edges a graph of that many nodes and neighbours can have."""
    return 2 * n_nodes * n_neighbours + n_nodes


def neighbour_graph(
    features: Tensor,
    n_neighbours: int,
    *,
    rule: FilterRule,
    contrast: SimilarityContrast,
    deviation_factor: float = 0.0,
) -> NeighbourGraph:
    """Make the filtered graph of all rows.

    It holds what `filtered_graph` of `strong_relations` would, where a node has no more than
    `n_neighbours` strong relations of its own; of more, the strongest.

    Args:
        features: (N, d).
        n_neighbours: k, at most N - 1.
        rule: what makes a relation strong; `top_share` keeps all k.
        contrast: as of `contrasted_graph`.
        deviation_factor: of the rule `deviation`.

    Returns:
        At most `largest_edge_count(N, k)` edges, of the features' dtype.
    """
    rows = normalize(features, dim=1)
    centre = None
    if contrast is SimilarityContrast.CENTRED and len(rows) > 1:
        mean, _, _ = moments(rows, None)
        centre = mean if 1 - mean >= TINY else None
    thresholds = rows.new_full((len(rows),), -1.0)
    if rule is not FilterRule.TOP_SHARE:
        mean, deviation, row_means = moments(rows, centre)
        thresholds = row_means
        if rule is FilterRule.DEVIATION:
            thresholds = (mean + deviation_factor * deviation).expand(len(rows))
    columns, weights = [], []
    for start, block in similarity_blocks(rows, centre):
        strongest = strongest_entries(block, n_neighbours).nonzero()[:, 1]
        strongest = strongest.reshape(len(block), n_neighbours)
        similarities = block.gather(1, strongest)
        is_strong = similarities >= thresholds[start : start + len(block), None]
        columns.append(strongest.int())
        weights.append(similarities * is_strong)
    return symmetric_graph(torch.cat(columns), torch.cat(weights))


def similarity_blocks(rows: Tensor, centre: Tensor | None) -> Iterator[tuple[int, Tensor]]:
    """Yield the number of a first row and (r, N) similarities of r rows to all, own ones as -1.

    Args:
        rows: (N, d) of length 1 or 0.
        centre: mean that contrast takes off, or None.
    """
    for start in range(0, len(rows), BLOCK_ROWS):
        block = (rows[start : start + BLOCK_ROWS] @ rows.T).clamp(0, 1)
        if centre is not None:
            block = stretched(block, centre)
        block.diagonal(start).fill_(-1.0)
        yield start, block


def moments(rows: Tensor, centre: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and deviation of all relations, and the mean (N,) of each row's."""
    n = len(rows)
    sums, squares = rows.new_zeros(n), rows.new_zeros(n)
    for start, block in similarity_blocks(rows, centre):
        others = block.clamp_min(0)
        sums[start : start + len(block)] = others.sum(dim=1)
        squares[start : start + len(block)] = others.square().sum(dim=1)
    mean, deviation = spread(sums.sum(), squares.sum(), n * (n - 1))
    return mean, deviation, sums / max(n - 1, 1)


def symmetric_graph(columns: Tensor, weights: Tensor) -> NeighbourGraph:
    """Return the graph in which a relation found from either end holds both ways.

    Args:
        columns: (N, k) int32, neighbours of each node.
        weights: (N, k), 0 for no relation.
    """
    n, k = columns.shape
    nodes = torch.arange(n, device=columns.device)
    is_edge = weights.flatten() > 0
    sources = nodes.repeat_interleave(k)[is_edge]
    targets = columns.flatten().long()[is_edge]
    places = torch.cat([nodes * (n + 1), sources * n + targets, targets * n + sources])
    values = weights.flatten()[is_edge]
    values = torch.cat([values.new_ones(n), values, values])
    places, order = places.sort(stable=True)
    is_new = places.diff(prepend=places.new_full((1,), -1)) != 0
    places, values = places[is_new], values[order][is_new]
    counts = torch.bincount(places // n, minlength=n)
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(dim=0)])
    return NeighbourGraph(starts, (places % n).int(), values)


def neighbourhoods(
    graphs: Sequence[NeighbourGraph], positions: Tensor
) -> tuple[list[Tensor], Tensor]:
    """Return the rows of some nodes in graphs over the same nodes.

    Args:
        graphs: of the same N nodes.
        positions: (n,) int64, the nodes.

    Returns:
        Rows (n, m) of each graph, over the m nodes that one of the rows touches in one of the
        graphs; and the places (n,) int64 of the asked-for nodes among these m.
    """
    n = len(positions)
    found = [row_edges(graph, positions) for graph in graphs]
    touched, places = torch.unique(
        torch.cat([edges.columns for edges in found]), return_inverse=True
    )
    rows = []
    counts = [len(edges.columns) for edges in found]
    for edges, own_places in zip(found, places.split(counts), strict=True):
        dense = edges.weights.new_zeros(n, len(touched))
        dense[edges.rows, own_places] = edges.weights
        rows.append(dense)
    return rows, torch.searchsorted(touched, positions.to(touched.dtype))


@dataclass(frozen=True)
class RowEdges:
    """Edges of some rows: row (e,) as a place among those asked for, column (e,), weight (e,)."""

    rows: Tensor
    columns: Tensor
    weights: Tensor


def row_edges(graph: NeighbourGraph, positions: Tensor) -> RowEdges:
    """Return the edges of the rows at (n,) positions."""
    first = graph.starts[positions]
    counts = graph.starts[positions + 1] - first
    rows = torch.arange(len(positions), device=positions.device).repeat_interleave(counts)
    before = counts.cumsum(dim=0) - counts
    edges = torch.arange(len(rows), device=positions.device) + (first - before)[rows]
    return RowEdges(rows, graph.columns[edges], graph.weights[edges])
