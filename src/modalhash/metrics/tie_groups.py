"""A ranking with ties: how many items, and how many relevant ones, stand at each distance."""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modalhash.errors import InputError, ShapeError

__all__ = ["Counts", "Cut", "TieGroups", "harmonic_differences"]

Counts = NDArray[np.int64]
"""Numbers of items, int64."""
Floats = NDArray[np.float64]


@lru_cache(maxsize=4)
def harmonic_numbers(n: int) -> NDArray[Any]:
    """Compute (n + 1,) harmonic numbers H(0) .. H(n), in the widest float there is.

    Differences of neighbours are multiplied by ranks, so double precision would lose six digits on
    a hundred thousand items.
    """
    table = np.zeros(n + 1, np.longdouble)
    np.cumsum(1 / np.arange(1, n + 1, dtype=np.longdouble), out=table[1:])
    table.setflags(write=False)
    return table


def harmonic_differences(starts: Counts, lengths: Counts, n_items: int) -> Floats:
    """Compute the sum of 1 / i over the `lengths` ranks that follow rank `starts`.

    Args:
        starts: ranks before, any shape.
        lengths: ranks to sum over, the same shape; `starts + lengths` at most `n_items`.
        n_items: largest rank there is.

    Returns:
        float64 of the same shape, accurate to a few units in the last place of 1.
    """
    table = harmonic_numbers(n_items)
    differences: Floats = (table[starts + lengths] - table[starts]).astype(np.float64)
    return differences


@dataclass(frozen=True)
class Cut:
    """Where a cut through q rankings falls: one group of each, and how it stands there.

    All are (q,), or (q, r) for r cuts through each ranking.

    Attributes:
        index: groups that lie wholly before the cut.
        size: items of the group it goes through; 0 if it is behind all groups.
        hits: relevant ones among them.
        start: items before that group.
        earlier_hits: relevant ones before that group.
        used: items of the group that are inside the cut, less than `size`.
    """

    index: Counts
    size: Counts
    hits: Counts
    start: Counts
    earlier_hits: Counts
    used: Counts


@dataclass(frozen=True)
class TieGroups:
    """q rankings of m items as groups of equal distance, nearest first; groups may be empty.

    Attributes:
        sizes: (q, g) int64, items of each group; each row sums to m.
        hits: (q, g) int64, relevant items of each group.

    Example:
        Relevant, irrelevant, then two at the same distance of which one is relevant.

        >>> groups = TieGroups(np.array([[1, 1, 2]]), np.array([[1, 0, 1]]))
        >>> groups.n_items, groups.n_hits.tolist()
        (4, [2])
    """

    sizes: Counts
    hits: Counts

    @classmethod
    def from_ranking(cls, is_relevant: ArrayLike) -> "TieGroups":
        """Make groups of one item from rankings without ties.

        Args:
            is_relevant: (q, m) booleans or 0 and 1, nearest first.

        Raises:
            ShapeError: if it isn't two-dimensional.

        Example:
            >>> TieGroups.from_ranking([[1, 0, 1]]).hits.tolist()
            [[1, 0, 1]]
        """
        hits = np.asarray(is_relevant).astype(np.int64, copy=False)
        if hits.ndim != 2:
            raise ShapeError(f"is_relevant has shape {hits.shape}, expected two axes (q, m)")
        return cls(np.broadcast_to(np.int64(1), hits.shape), hits)

    def __post_init__(self) -> None:
        """Check the shapes and that all rankings have the same number of items."""
        if self.sizes.ndim != 2 or self.sizes.shape != self.hits.shape:
            raise ShapeError(
                f"sizes has shape {self.sizes.shape}, hits has {self.hits.shape}: "
                "expected the same two axes (q, g)"
            )
        totals = self.ends[:, -1:]
        if (totals != totals[:1]).any():
            raise InputError("sizes has rows of different sums: every query ranks all the items")

    @cached_property
    def ends(self) -> Counts:
        """(q, g + 1) items before each group, and at the end all of them."""
        if self.is_ranking:
            n_queries, n_groups = self.sizes.shape
            return np.broadcast_to(np.arange(n_groups + 1), (n_queries, n_groups + 1))
        return leading_sums(self.sizes)

    @cached_property
    def hit_ends(self) -> Counts:
        """(q, g + 1) relevant items before each group, and at the end all of them."""
        return leading_sums(self.hits)

    @property
    def starts(self) -> Counts:
        """(q, g) items before each group."""
        return self.ends[:, :-1]

    @property
    def earlier_hits(self) -> Counts:
        """(q, g) relevant items before each group."""
        return self.hit_ends[:, :-1]

    @property
    def n_items(self) -> int:
        """m, items in each ranking; 0 without queries."""
        return int(self.ends[0, -1]) if len(self.ends) else 0

    @property
    def n_hits(self) -> Counts:
        """(q,) relevant items of each query."""
        return self.hit_ends[:, -1]

    @cached_property
    def is_ranking(self) -> bool:
        """Whether every group is one item."""
        return bool((self.sizes == 1).all())

    @cached_property
    def is_untied(self) -> bool:
        """Whether no group has two items."""
        return int(self.sizes.max(initial=0)) <= 1

    def split(self, *, hits_first: bool) -> "TieGroups":
        """Split into (q, 2g) groups in which relevant items precede the others at their distance.

        Args:
            hits_first: False puts them behind the others instead.
        """
        parts = [(self.hits, self.hits), (self.sizes - self.hits, np.zeros_like(self.hits))]
        if not hits_first:
            parts.reverse()
        sizes, hits = (
            np.stack([part[i] for part in parts], axis=2).reshape(len(self.sizes), -1)
            for i in (0, 1)
        )
        return TieGroups(sizes, hits)

    def cut_at_rank(self, top_k: int | NDArray[np.int64] | None) -> Cut:
        """Find where the list ends if only its first `top_k` ranks count.

        Args:
            top_k: a rank; None is all; (r,) ranks give a cut of (q, r) arrays.
        """
        ranks = np.minimum(self.n_items if top_k is None else top_k, self.n_items)
        ranks = np.broadcast_to(ranks, (len(self.sizes), *ranks.shape))
        cut = self.cut(ranks if self.is_ranking else groups_before(self.ends, ranks))
        return replace(cut, used=ranks - cut.start)

    def cut_at_hit(self, n_hits: Counts) -> Cut:
        """Find the cut whose group holds hit number `n_hits` + 1; `used` is 0.

        Args:
            n_hits: (q,) relevant items to take.
        """
        return self.cut(groups_before(self.hit_ends, n_hits))

    def cut(self, index: Counts) -> Cut:
        """Find the cut before the first item of group `index`, (q,) or (q, r)."""
        is_inside = index < self.sizes.shape[1]
        last = np.minimum(index, self.sizes.shape[1] - 1)
        return Cut(
            index=index,
            size=np.where(is_inside, pick(self.sizes, last), 0),
            hits=np.where(is_inside, pick(self.hits, last), 0),
            start=pick(self.ends, index),
            earlier_hits=pick(self.hit_ends, index),
            used=np.zeros_like(index),
        )


def groups_before(ends: Counts, limits: Counts) -> Counts:
    """Count the groups of each row that end at `limits` or before.

    Args:
        ends: (q, g + 1) as in `TieGroups`, from 0 and never falling.
        limits: (q,) or (q, r), at least 0.

    Returns:
        Of the shape of `limits`, in [0, g].
    """
    # One search in all rows at once: each is lifted above the one before.
    lift = np.arange(len(ends)) * (int(max(ends.max(initial=0), limits.max(initial=0))) + 1)
    places: Counts = np.searchsorted(
        (ends + lift[:, None]).ravel(), limits + lift.reshape(-1, *[1] * (limits.ndim - 1)), "right"
    )
    first = np.arange(len(ends)) * ends.shape[1] + 1
    places -= first.reshape(-1, *[1] * (limits.ndim - 1))
    return places


def pick(table: NDArray[Any], index: Counts) -> NDArray[Any]:
    """Select the entries `index`, (q,) or (q, r), of each row of `table`."""
    rows = np.arange(len(table)).reshape(-1, *[1] * (index.ndim - 1))
    return table[rows, index]


def leading_sums(values: NDArray[Any]) -> NDArray[Any]:
    """Compute (q, g + 1) sums of what stands before each column, and of all."""
    sums = np.zeros((len(values), values.shape[1] + 1), values.dtype)
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums
