"""Asymmetric scores in steps: what counts pairs by score, as distances count them by bits.

A score from 1 down to -1 becomes a level from 0 up to 4 a bit, equally wide. Level 4 d is the score
1 - 2 d / b, which a query of -1 and +1 gives to items at Hamming distance d.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modalhash.codes import Codes, check_codes
from modalhash.codes.asymmetric import Relaxed, WeightedQueries, weighted_distances
from modalhash.errors import ShapeError
from modalhash.metrics.calibration import DistanceCounts
from modalhash.metrics.relevance import LabelRelevance, Labels, match_items

__all__ = ["count_scored_pairs", "last_level", "least_score", "score_levels"]

LEVELS_PER_BIT = 4
BLOCK_PAIRS = 1 << 20


def last_level(n_bits: int) -> int:
    """Compute the level of the score -1.

    Example:
        >>> last_level(16)
        64
    """
    return LEVELS_PER_BIT * n_bits


def score_levels(scores: ArrayLike, n_bits: int) -> NDArray[np.int64]:
    """Compute the levels of scores.

    Args:
        scores: in [-1, 1], any shape.
        n_bits: bits of a code.

    Returns:
        int64 of the same shape, from 0 (score 1) to `last_level` (score -1).

    Example:
        >>> score_levels([1.0, 0.5, -1.0], 16).tolist()
        [0, 16, 64]
    """
    last = last_level(n_bits)
    steps = np.floor((1 - np.asarray(scores, np.float64)) / 2 * last + 0.5)
    return np.clip(steps, 0, last).astype(np.int64)


def least_score(level: int, n_bits: int) -> float:
    """Compute the smallest score of a level; smaller scores have larger levels.

    Example:
        >>> least_score(0, 16), least_score(64, 16)
        (0.984375, -1.0)
    """
    return max(-1.0, 1 - (2 * level + 1) / last_level(n_bits))


def count_scored_pairs(
    relaxed_queries: Relaxed,
    database_codes: Codes,
    n_bits: int,
    *,
    query_items: ArrayLike,
    database_items: ArrayLike,
    labels: tuple[Labels, Labels] | None = None,
    is_within: bool = False,
) -> DistanceCounts:
    """Count pairs by the level of their score, and those that are relevant.

    As `modalhash.metrics.count_pairs`, but for queries that keep their numbers.

    Args:
        relaxed_queries: (q, n_bits) finite floats.
        database_codes: (m, p) uint8.
        n_bits: bits of a code.
        query_items: (q,) integers, the item behind each query.
        database_items: (m,) integers, the item behind each database row.
        labels: (q, c) and (m, c) uint8 of 0 and 1.
        is_within: the queries' own codes are rows of the database, and don't count as answers.

    Returns:
        Counts of `last_level(n_bits)` + 1 columns.

    Raises:
        ShapeError: if queries, codes, items and labels don't fit each other.
        InputError: if a number isn't finite.
    """
    check_codes(database_codes, n_bits, name="database_codes")
    queries = WeightedQueries.of(relaxed_queries, n_bits, name="relaxed_queries")
    n_queries, n_levels = len(queries), last_level(n_bits) + 1
    sizes = {"query_items": len(np.asarray(query_items)), "query_labels": n_queries}
    relevance = None
    if labels is not None:
        relevance = LabelRelevance(*labels, jaccard_threshold=None, is_graded=False)
        sizes["query_labels"] = len(labels[0])
    for name, size in sizes.items():
        if size != n_queries:
            raise ShapeError(f"{name} has {size} rows for {n_queries} queries: one row a query")
    targets = match_items(query_items, database_items)
    pairs = np.zeros((n_queries, n_levels), np.int64)
    relevant, own = np.zeros_like(pairs), np.zeros_like(pairs)
    n_items = len(database_codes)
    step = max(1, BLOCK_PAIRS // max(1, n_items))
    for start in range(0, n_queries, step):
        rows = slice(start, min(start + step, n_queries))
        block = queries.take(rows)
        levels = score_levels(block.scores(weighted_distances(block, database_codes)), n_bits)
        pairs[rows] = count_levels(levels, n_levels)
        if relevance is not None:
            is_shared = relevance.is_shared[relevance.states(rows, slice(0, n_items))]
            relevant[rows] = count_levels(levels, n_levels, is_shared)
        of_block = targets[rows]
        own_levels = np.take_along_axis(levels, np.maximum(of_block, 0), axis=1)
        own[rows] = count_levels(own_levels, n_levels, of_block >= 0)
    if labels is not None:
        is_labelled = (labels[0] != 0).sum(axis=1) > 0
        return DistanceCounts(pairs - own, relevant - own * is_labelled[:, None])
    if is_within:  # a query's own code scores 1
        pairs[:, 0] -= 1
        own[:, 0] -= 1
    return DistanceCounts(pairs, own)


def count_levels(
    levels: NDArray[np.int64], n_levels: int, is_counted: NDArray[Any] | None = None
) -> NDArray[np.int64]:
    """Count each row's levels, (q, n_levels), all of them or those that are marked."""
    cells = levels + np.arange(len(levels))[:, None] * n_levels
    chosen = cells.ravel() if is_counted is None else cells[is_counted]
    counts: NDArray[np.int64] = np.bincount(chosen, minlength=len(levels) * n_levels)
    return counts.reshape(len(levels), n_levels)
