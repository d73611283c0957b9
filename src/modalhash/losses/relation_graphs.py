"""Relation graphs of a batch: nodes are items, edges are similarities of frozen features.

Every graph is a matrix in [0, 1]; no gradient is meant to pass it. One function a step: relate,
contrast, find the strong relations, filter, associate, join, reconstruct.
"""

import math
from enum import StrEnum

import torch
from torch import Tensor

from modalhash.losses.affinity import CrossSimilarity, cosine_similarities, cross_similarity

__all__ = [
    "FilterRule",
    "associated_graph",
    "count_kept_neighbours",
    "filtered_graph",
    "joint_graph",
    "reconstructed_graph",
    "relation_graph",
    "strong_relations",
    "strongest_entries",
]

TINY = 1e-6
"""Smallest spread that contrast divides by."""
ROUNDING = 1e-9
"""What a product of a share and a count may exceed a whole number by."""


class FilterRule(StrEnum):
    """Which relations of a graph count as strong; a relation stays if either end finds it so.

    - `top_share`: a share of the other nodes, those most similar.
    - `row_mean`: at least the node's mean similarity to the others.
    - `deviation`: at least the mean plus some standard deviations of all similarities.
    - `shuffled`: as many as `top_share` finds, but of other nodes: those that the node before
      finds, each moved by one place. A control: it knows nothing of which relations are strong.
    """

    TOP_SHARE = "top_share"
    ROW_MEAN = "row_mean"
    DEVIATION = "deviation"
    SHUFFLED = "shuffled"


def relation_graph(features: Tensor) -> Tensor:
    """Compute cosines of the rows of (n, d), negative ones as 0; a node relates to itself by 1.

    Returns:
        (n, n), symmetric, in [0, 1]; a zero row has no relation but to itself.
    """
    return with_unit_diagonal(cosine_similarities(features, features).clamp(0, 1))


def strong_relations(
    graph: Tensor, rule: FilterRule, *, keep_share: float, deviation_factor: float = 0.0
) -> Tensor:
    """Tell which relations are strong.

    Args:
        graph: (n, n) with a unit diagonal.
        rule: what makes a relation strong.
        keep_share: of `top_share` and `shuffled`: share of the other nodes a node keeps, at least
            one of them.
        deviation_factor: of `deviation`: standard deviations above the mean.

    Returns:
        (n, n) bool, symmetric, True on the diagonal.
    """
    n = len(graph)
    itself = torch.eye(n, dtype=torch.bool, device=graph.device)
    others = graph.masked_fill(itself, -1.0)  # below every similarity
    match rule:
        case FilterRule.TOP_SHARE:
            is_strong = strongest_entries(others, count_kept_neighbours(n, keep_share))
        case FilterRule.SHUFFLED:
            is_strong = strongest_entries(others, count_kept_neighbours(n, keep_share))
            is_strong = is_strong.roll((1, 1), (0, 1))
        case FilterRule.ROW_MEAN:
            is_strong = others >= (graph.sum(dim=1, keepdim=True) - 1) / max(n - 1, 1)
        case FilterRule.DEVIATION:
            mean, deviation = spread((graph.sum() - n), (graph.square().sum() - n), n * (n - 1))
            is_strong = others >= mean + deviation_factor * deviation
    return is_strong | is_strong.T | itself


def count_kept_neighbours(n: int, keep_share: float) -> int:
    """Count how many of the n - 1 other nodes a node keeps: the share rounded up, at least one.

    Example:
        >>> [count_kept_neighbours(n, 0.2) for n in (3, 16, 1)]
        [1, 3, 0]
    """
    return min(max(1, math.ceil(keep_share * (n - 1) - ROUNDING)), n - 1)


def strongest_entries(values: Tensor, n_kept: int) -> Tensor:
    """Tell which entries are among the largest of their row; of equal ones the first are.

    Args:
        values: (n, m).
        n_kept: entries a row, at most m.

    Returns:
        (n, m) bool with exactly `n_kept` True a row.
    """
    if not n_kept:
        return torch.zeros_like(values, dtype=torch.bool)
    least = values.topk(n_kept, dim=1).values[:, -1:]
    above, tied = values > least, values == least
    room = n_kept - above.sum(dim=1, keepdim=True)
    return above | (tied & (tied.cumsum(dim=1) <= room))


def spread(total: Tensor, squares: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Compute mean and standard deviation (over `count`) from a sum and a sum of squares."""
    mean = total / max(count, 1)
    return mean, (squares / max(count, 1) - mean.square()).clamp_min(0).sqrt()


def filtered_graph(graph: Tensor, strong: Tensor) -> Tensor:
    """Set the weak relations of a graph to 0."""
    return graph.masked_fill(~strong, 0.0)


def associated_graph(
    filtered: Tensor, neighbourhoods: Tensor, *, correlation_share: float
) -> Tensor:
    """Connect nodes whose strong neighbours correlate: the rebased graph.

    Args:
        filtered: (n, n), strong relations among the nodes.
        neighbourhoods: (n, m), each node's strong relations to m nodes; of a batch on its own,
            `filtered` again.
        correlation_share: weight of the cosine of two neighbourhoods beside the direct relation.

    Returns:
        (n, n), symmetric, in [0, 1], with a unit diagonal.
    """
    correlation = cosine_similarities(neighbourhoods, neighbourhoods)
    return (1 - correlation_share) * filtered + correlation_share * correlation


def joint_graph(
    image_graph: Tensor,
    text_graph: Tensor,
    neighbourhoods: tuple[Tensor, Tensor],
    *,
    image_share: float,
    cross_share: float,
) -> Tensor:
    """Join the rebased graphs of two modalities.

    Args:
        image_graph: (n, n).
        text_graph: (n, n).
        neighbourhoods: rows (n, m) of the image and of the text graph; of a batch on its own, the
            two graphs again.
        image_share: weight of the image graph; the rest is the text graph's.
        cross_share: weight of the cross part beside that mixture: whether the one item relates to
            others through pictures as the other does through texts, both ways round.

    Returns:
        (n, n), symmetric, in [0, 1].
    """
    mixed = image_share * image_graph + (1 - image_share) * text_graph
    cross = cross_similarity(*neighbourhoods, CrossSimilarity.SYMMETRIC_ROW_COSINE)
    return (1 - cross_share) * mixed + cross_share * cross


def reconstructed_graph(
    joint: Tensor, neighbourhoods: Tensor, *, reconstruction_share: float
) -> Tensor:
    """Mix the joint graph with the cosines of its nodes' relations to all others.

    Args:
        joint: (n, n).
        neighbourhoods: (n, m) rows of the joint graph; of a batch on its own, `joint` again.
        reconstruction_share: weight of the cosines.

    Returns:
        (n, n), symmetric, in [0, 1].
    """
    cosines = cosine_similarities(neighbourhoods, neighbourhoods)
    return (1 - reconstruction_share) * joint + reconstruction_share * cosines


def with_unit_diagonal(matrix: Tensor) -> Tensor:
    """Set the diagonal of a square matrix to 1."""
    itself = torch.eye(len(matrix), dtype=torch.bool, device=matrix.device)
    return matrix.masked_fill(itself, 1.0)
