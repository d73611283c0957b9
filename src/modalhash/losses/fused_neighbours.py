"""The strongest neighbours of pairs by the fused similarity of both modalities, block by block.

Neighbours are sought among some nodes, all training pairs or evenly spaced ones, so that neither
time nor memory grows with the square of the training set.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import normalize

__all__ = ["fused_rows", "keep_thresholds", "strongest_nodes"]

BLOCK_ROWS = 64
"""Rows whose similarities to all nodes are held at once."""


def fused_rows(image_features: Tensor, text_features: Tensor, *, image_weight: float) -> Tensor:
    """Join both modalities so that inner products are fused similarities.

    Args:
        image_features: (n, d).
        text_features: (n, e) of the partners.
        image_weight: w in [0, 1].

    Returns:
        (n, d + e) rows whose inner products are `w cos(images) + (1 - w) cos(texts)`.

    Example:
        >>> rows = fused_rows(torch.eye(2), torch.ones(2, 3), image_weight=0.75)
        >>> rows @ rows.T
        tensor([[1.0000, 0.2500],
                [0.2500, 1.0000]])
    """
    image, text = normalize(image_features, dim=1), normalize(text_features, dim=1)
    return torch.cat([math.sqrt(image_weight) * image, math.sqrt(1 - image_weight) * text], dim=1)


def strongest_nodes(
    rows: Tensor, nodes: Tensor, n_kept: int, *, own_places: Tensor
) -> tuple[Tensor, Tensor]:
    """Find the nodes most similar to each row, itself left out.

    Args:
        rows: (n, d), as of `fused_rows`.
        nodes: (m, d).
        n_kept: k, at most m - 1.
        own_places: (n,) int64, each row's place among the nodes, -1 if it isn't one of them.

    Returns:
        Places (n, k) int64 of the nodes, strongest first, and their similarities (n, k).
    """
    places, similarities = [], []
    for start, block in similarity_blocks(rows, nodes):
        own = own_places[start : start + len(block)]
        is_node = own >= 0
        block[is_node, own[is_node]] = -torch.inf
        strongest = block.topk(n_kept, dim=1)
        places.append(strongest.indices)
        similarities.append(strongest.values)
    return torch.cat(places), torch.cat(similarities)


def keep_thresholds(rows: Tensor, nodes: Tensor, n_kept: int) -> Tensor:
    """Compute the least similarity of the k strongest nodes of each row, which may include itself.

    Args:
        rows: (n, d), as of `fused_rows`.
        nodes: (m, d).
        n_kept: k from 1 to m.

    Returns:
        (n,) similarities halfway between the k-th strongest and the next, so that rounding decides
        nothing; below all of them where k is m.
    """
    thresholds = []
    for _, block in similarity_blocks(rows, nodes):
        strongest = block.topk(min(n_kept + 1, block.shape[1]), dim=1).values
        weakest = strongest[:, n_kept - 1]
        following = strongest[:, n_kept] if n_kept < block.shape[1] else weakest - 1
        thresholds.append((weakest + following) / 2)
    return torch.cat(thresholds)


def similarity_blocks(rows: Tensor, nodes: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield the number of a first row and the similarities (r, m) of r rows to all nodes."""
    for start in range(0, len(rows), BLOCK_ROWS):
        yield start, rows[start : start + BLOCK_ROWS] @ nodes.T
