"""Measures of the first items that a search gave, with ties as the exact mean over their orders.

A search gives a list of items with scores, best first. Equal scores are ties. Items that aren't in
the list stand behind it, as one group.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.metrics.average_precisions import average_precision
from modalhash.metrics.ranked_measures import first_target, hits_inside, normalised_gain
from modalhash.metrics.tie_groups import TieGroups

__all__ = ["CUT", "RankedLists", "measure_labels", "measure_nearest", "measure_pairs"]

CUT: Final = 50
"""Ranks that count under labels."""
Floats = NDArray[np.float64]
MAX_GRADE: Final = 30
"""Common labels that count in a gain of 2**s - 1, at most."""


@dataclass(frozen=True)
class RankedLists:
    """What a search gave for some queries.

    Attributes:
        rows: (q, k) int64 items, best first; -1 where a list is shorter.
        scores: (q, k) float32, falling; equal ones are ties.
        n_items: m, items that were searched.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    n_items: int

    @cached_property
    def cells(self) -> NDArray[np.int64]:
        """(q, k) the tie group of each item of a list, from 0."""
        is_new = np.ones(self.rows.shape, bool)
        is_new[:, 1:] = self.scores[:, 1:] != self.scores[:, :-1]
        cells: NDArray[np.int64] = np.cumsum(is_new, axis=1, dtype=np.int64) - 1
        return cells

    @property
    def is_listed(self) -> NDArray[np.bool_]:
        """(q, k) whether there is an item."""
        return self.rows >= 0

    def sum_groups(self, values: NDArray[Any], total: Floats | None = None) -> Floats:
        """Sum values of the items of each tie group; the last column is what isn't listed.

        Args:
            values: (q, k) one a listed item.
            total: (q,) of all m items; None leaves the last column 0.
        """
        n_groups = self.rows.shape[1] + 1
        places = self.cells + np.arange(len(self.cells))[:, None] * n_groups
        weights = np.where(self.is_listed, values, 0).astype(np.float64)
        flat: Floats = np.bincount(
            places.ravel(), weights.ravel(), minlength=len(places) * n_groups
        ).astype(np.float64)
        sums = flat.reshape(len(places), n_groups)
        if total is not None:
            sums[:, -1] = total - sums.sum(axis=1)
        return sums

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """(q, k + 1) items of each group."""
        counts = self.sum_groups(np.ones(self.rows.shape), np.full(len(self.rows), self.n_items))
        return counts.astype(np.int64)

    def groups(self, hits: NDArray[np.bool_], n_hits: Floats) -> TieGroups:
        """Make tie groups of listed hits, (q, k), and of all that there are, (q,)."""
        return TieGroups(self.sizes, np.rint(self.sum_groups(hits, n_hits)).astype(np.int64))


def flag_rows(lists: RankedLists, targets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mark the listed items that are among each query's targets, (q, t) with -1 to fill up."""
    flags = np.zeros((len(targets), lists.n_items + 1), bool)
    np.put_along_axis(flags, np.where(targets < 0, lists.n_items, targets), values=True, axis=1)
    flags[:, -1] = False
    return np.take_along_axis(flags, lists.rows, axis=1) & lists.is_listed


def measure_nearest(lists: RankedLists, nearest: NDArray[np.int64], top: int) -> dict[int, Floats]:
    """Compute how much of the float top is found again, at 1 and at `top`.

    Args:
        lists: of the queries.
        nearest: (q, t) the nearest float items; those beyond `top` tie with the last of these.
        top: how many are to be found.

    Returns:
        Cut-off k to (q,) shares of the first k that belong to the float top.
    """
    n_hits = (nearest >= 0).sum(axis=1).astype(np.float64)
    groups = lists.groups(flag_rows(lists, nearest), n_hits)
    return {k: hits_inside(groups, k) / k for k in (1, min(top, lists.n_items))}


def measure_pairs(lists: RankedLists, targets: NDArray[np.int64], top: int) -> Floats:
    """Compute the (q,) probabilities that one of a query's own items is among the first `top`."""
    own = targets.reshape(len(targets), -1)
    groups = lists.groups(flag_rows(lists, own), (own >= 0).sum(axis=1).astype(np.float64))
    return first_target(groups).is_within(top)


def measure_labels(
    lists: RankedLists, query_labels: NDArray[np.uint8], item_labels: NDArray[np.uint8]
) -> tuple[Floats, Floats]:
    """Compute average precision and nDCG at `CUT` by shared labels.

    The formulas are those of `modalhash.metrics`: MAP `truncated`, gain 2**s - 1 for s common
    labels.

    Args:
        lists: of the queries.
        query_labels: (q, c) of 0 and 1.
        item_labels: (m, c) of 0 and 1.

    Returns:
        (q,) average precisions and (q,) nDCG.
    """
    common = query_labels.astype(np.float32) @ item_labels.astype(np.float32).T  # (q, m)
    listed = np.take_along_axis(common, np.maximum(lists.rows, 0), axis=1)
    groups = lists.groups(listed > 0, (common > 0).sum(axis=1).astype(np.float64))
    precision = average_precision(groups, top_k=CUT)
    cut = min(CUT, lists.n_items)
    best = -np.sort(-np.partition(common, -cut, axis=1)[:, -cut:], axis=1)
    gain = normalised_gain(
        lists.sizes, lists.sum_groups(worth(listed)), np.ones(best.shape, np.int64), worth(best),
        cut,
    )  # fmt: skip
    return precision, gain


def worth(common: NDArray[np.float32]) -> Floats:
    """Compute what numbers of common labels are worth."""
    return np.exp2(np.minimum(common, MAX_GRADE).astype(np.float64)) - 1
