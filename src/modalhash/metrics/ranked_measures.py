"""Measures of rankings besides average precision, exact under every tie rule.

Each works on tie groups and gives the mean over the orders inside them. For the best or the worst
order, split the groups first (`TieGroups.split`); for the database's order, give groups of one.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from modalhash.metrics.options import Gain
from modalhash.metrics.tie_groups import Counts, TieGroups, leading_sums, pick

__all__ = [
    "FirstTarget",
    "Lookup",
    "first_target",
    "gain_values",
    "hash_lookup",
    "hits_inside",
    "normalised_gain",
    "precision_at",
    "recall_at",
    "share_of_hits",
]

Floats = NDArray[np.float64]


def hits_inside(groups: TieGroups, top_k: int | NDArray[np.int64] | None) -> Floats:
    """Compute the expected number of relevant items in the first `top_k` ranks.

    Args:
        groups: the rankings.
        top_k: cut-off, or (r,) of them; None, or more than there are items, is the whole list.

    Returns:
        (q,) float64, or (q, r).
    """
    cut = groups.cut_at_rank(top_k)
    inside: Floats = cut.earlier_hits + cut.used * cut.hits / np.maximum(cut.size, 1)
    return inside


def precision_at(groups: TieGroups, top_k: int | None) -> Floats:
    """Compute the share of relevant items among the first `top_k`.

    Args:
        groups: the rankings.
        top_k: cut-off; None, or more than there are items, is the whole list.

    Returns:
        (q,) float64.

    Example:
        >>> precision_at(TieGroups(np.array([[1, 2]]), np.array([[1, 1]])), 2)
        array([0.75])
    """
    return hits_inside(groups, top_k) / min(top_k or groups.n_items, groups.n_items)


def recall_at(groups: TieGroups, top_k: int | None) -> Floats:
    """Compute the share of a query's relevant items that the first `top_k` ranks hold.

    Args:
        groups: the rankings.
        top_k: cut-off; None, or more than there are items, is the whole list.

    Returns:
        (q,) float64; NaN for queries without relevant items, which have no recall.

    Example:
        >>> recall_at(TieGroups(np.array([[1, 2]]), np.array([[1, 1]])), 1)
        array([0.5])
    """
    return share_of_hits(hits_inside(groups, top_k)[:, None], groups)[:, 0]


def share_of_hits(inside: Floats, groups: TieGroups) -> Floats:
    """Compute (q, r) numbers of hits by each query's all; NaN for queries without any."""
    n_hits = groups.n_hits[:, None]
    return np.where(n_hits > 0, inside / np.maximum(n_hits, 1), np.nan)


@dataclass(frozen=True)
class FirstTarget:
    """Where the nearest of each query's targets stands.

    Attributes:
        start: (q,) items nearer than it.
        size: (q,) items at its distance.
        hits: (q,) targets among those; 0 for a query without targets.
    """

    start: Counts
    size: Counts
    hits: Counts

    def rank(self) -> Floats:
        """Compute the (q,) expected ranks, from 1; NaN for queries without targets.

        The first of T targets among n shuffled items stands at (n + 1) / (T + 1) on average.
        """
        return np.where(self.hits > 0, self.start + (self.size + 1) / (self.hits + 1), np.nan)

    def is_within(self, top_k: int) -> Floats:
        """Compute the (q,) probabilities that it is among the first `top_k`; NaN as for `rank`."""
        used = np.clip(top_k - self.start, 0, self.size)
        missed = np.ones(len(used))
        for number in range(int(self.hits.max(initial=0))):
            # Target after target falls among the positions that aren't used.
            factor = np.maximum(self.size - used - number, 0) / np.maximum(self.size - number, 1)
            missed *= np.where(number < self.hits, factor, 1.0)
        return np.where(self.hits > 0, 1 - missed, np.nan)


def first_target(groups: TieGroups) -> FirstTarget:
    """Find the group in which each query's nearest target is.

    Args:
        groups: the rankings; their hits are the targets.

    Example:
        Two captions of the picture among the four texts at the smallest distance: the first of
        them is at rank 5/3 on average, and at rank 1 half of the time.

        >>> nearest = first_target(TieGroups(np.array([[4, 3]]), np.array([[2, 1]])))
        >>> nearest.rank().round(4).tolist(), nearest.is_within(1).tolist()
        ([1.6667], [0.5])
    """
    index = (groups.hits > 0).argmax(axis=1)
    return FirstTarget(
        start=pick(groups.ends, index),
        size=pick(groups.sizes, index),
        hits=pick(groups.hits, index),
    )


@dataclass(frozen=True)
class Lookup:
    """What a hash lookup gives: all items within a Hamming radius.

    Attributes:
        precision: (q,) or (q, r) share of relevant items among those found; 0 if nothing is found.
        recall: as many: share of the relevant items that is found; NaN for queries without any.
        f1: as many: harmonic mean of the two, 0 if both are 0; NaN as for recall.
        is_empty: as many: 1.0 where nothing is found.
    """

    precision: Floats
    recall: Floats
    f1: Floats
    is_empty: Floats


def hash_lookup(groups: TieGroups, radius: int | NDArray[np.int64]) -> Lookup:
    """Compute how good a lookup of everything within `radius` is; ties don't matter.

    Args:
        groups: one group for each distance 0, 1, 2, ...
        radius: largest distance that counts, or (r,) of them.

    Example:
        >>> lookup = hash_lookup(TieGroups(np.array([[1, 3]]), np.array([[1, 1]])), 1)
        >>> lookup.precision.tolist(), lookup.recall.tolist()
        ([0.5], [1.0])
    """
    columns = np.minimum(np.asarray(radius) + 1, groups.sizes.shape[1])
    n_found, hits = groups.ends[:, columns], groups.hit_ends[:, columns]
    n_hits = groups.n_hits if columns.ndim == 0 else groups.n_hits[:, None]
    has_answer = n_hits > 0
    return Lookup(
        precision=hits / np.maximum(n_found, 1),
        recall=np.where(has_answer, hits / np.maximum(n_hits, 1), np.nan),
        f1=np.where(has_answer, 2 * hits / np.maximum(n_found + n_hits, 1), np.nan),
        is_empty=(n_found == 0).astype(np.float64),
    )


def gain_values(grades: Counts, gain: Gain) -> Floats:
    """Compute what grades are worth: 2**grade - 1, or the grade itself."""
    values = grades.astype(np.float64)
    return np.exp2(values) - 1 if gain is Gain.EXPONENTIAL else values


def normalised_gain(
    sizes: Counts, gain_sums: Floats, ideal_sizes: Counts, ideal_sums: Floats, top_k: int | None
) -> Floats:
    """Compute nDCG: discounted gain of the ranking by that of the best ranking there is.

    The discount of rank i is 1 / log2(i + 1). Each item of a group counts its group's mean gain,
    which is the expectation over the orders inside it.

    Args:
        sizes: (q, g) items of each group, nearest first.
        gain_sums: (q, g) sum of their gains.
        ideal_sizes: (q, s) items of each gain, largest first.
        ideal_sums: (q, s) sum of their gains.
        top_k: cut-off; None, or more than there are items, is the whole list.

    Returns:
        (q,) float64 in [0, 1]; 0 for queries without any gain.

    Example:
        Gains 0, 1: only rank 2 counts, worth 1 / log2(3).

        >>> untied, best = np.array([[1, 1]]), np.array([[1.0, 0.0]])
        >>> normalised_gain(untied, np.array([[0.0, 1.0]]), untied, best, None).round(4)
        array([0.6309])
    """
    ideal = discounted_gain(ideal_sizes, ideal_sums, top_k)
    reached = discounted_gain(sizes, gain_sums, top_k)
    return np.where(ideal > 0, reached / np.where(ideal > 0, ideal, 1.0), 0.0)


def discounted_gain(sizes: Counts, gain_sums: Floats, top_k: int | None) -> Floats:
    """Compute the (q,) sums of gain times discount over the first `top_k` ranks."""
    n_items = int(sizes[0].sum()) if len(sizes) else 0
    rank = min(top_k or n_items, n_items)
    sums = discount_sums(n_items)
    if n_items == sizes.shape[1] and (sizes == 1).all():
        ranking: Floats = gain_sums[:, :rank] @ np.diff(sums[: rank + 1])
        return ranking
    discounts = np.diff(sums[np.minimum(leading_sums(sizes), rank)], axis=1)
    total: Floats = (discounts * gain_sums / np.maximum(sizes, 1)).sum(axis=1)
    return total


@lru_cache(maxsize=4)
def discount_sums(n: int) -> Floats:
    """Compute (n + 1,) sums of the discounts of the first 0 .. n ranks."""
    sums = np.zeros(n + 1)
    np.cumsum(1 / np.log2(np.arange(2, n + 2)), out=sums[1:])
    sums.setflags(write=False)
    return sums
