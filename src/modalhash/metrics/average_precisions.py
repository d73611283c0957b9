"""Average precision in its four conventions, exact under every tie rule.

The mean over all orders inside the ties needs no order. Of a group of n items, r of them relevant,
that follows S items with R relevant ones, position j holds a relevant item with probability r / n,
and then (j - 1)(r - 1) / (n - 1) others of the group are expected before it. So the expected sum of
precisions over the first t positions of the group is

    r/n * ( (R + 1) * D + (r - 1)/(n - 1) * (t - (S + 1) * D) ),   D = 1/(S + 1) + ... + 1/(S + t)

Where the divisor depends on the hits inside a cut (`truncated`), the value is averaged over the
hypergeometric number of hits in the group that the cut goes through; where the cut is at a hit
(`first_k_relevant`), each position counts as often as the last wanted hit is still ahead.
"""

import numpy as np
from numpy.typing import NDArray

from modalhash.errors import InputError
from modalhash.metrics.hypergeometric import (
    WINDOW_DEVIATIONS,
    WINDOW_MARGIN,
    hit_still_ahead,
    hits_among_drawn,
)
from modalhash.metrics.options import Convention, Ties, read_choice
from modalhash.metrics.tie_groups import Counts, Cut, TieGroups, harmonic_differences, pick

__all__ = ["PrecisionSums", "average_precision"]

Floats = NDArray[np.float64]

CHUNK_CELLS = 1 << 19


def average_precision(
    groups: TieGroups,
    *,
    top_k: int | None = None,
    convention: Convention | str = Convention.TRUNCATED,
    ties: Ties | str = Ties.EXPECTED,
) -> Floats:
    """Compute the average precision of each query.

    Args:
        groups: the rankings.
        top_k: the K of the convention; None, or more than there are items, is the whole list.
        convention: what is summed and what divides it, see `Convention`.
        ties: `database_order` has no meaning for groups of more than one item and is refused there.

    Returns:
        (q,) float64 in [0, 1]; queries without relevant items are 0, or NaN if the convention is
        `answerable`, which leaves them out of the mean.

    Raises:
        InputError: if `top_k` isn't positive, or `ties` is `database_order` and there are ties.
        UnknownNameError: if `convention` or `ties` isn't one.

    Example:
        Relevant items at ranks 1 and 10 of 12, cut-off 5: one ranking, three values.

        >>> ranking = TieGroups.from_ranking([[1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]])
        >>> for convention in ("truncated", "first_k_relevant", "standard"):
        ...     print(convention, average_precision(ranking, top_k=5, convention=convention))
        truncated [1.]
        first_k_relevant [0.6]
        standard [0.5]
    """
    rule = read_choice("convention", Convention, convention)
    order = read_choice("tie rule", Ties, ties)
    if top_k is not None and top_k < 1:
        raise InputError(f"top_k is {top_k}, expected a positive number or None")
    if order is Ties.DATABASE_ORDER and not groups.is_untied:
        raise InputError("ties is database_order, but groups has ties and doesn't know the order")
    return PrecisionSums(groups, order).average(top_k, rule)


class PrecisionSums:
    """Average precisions of one set of rankings, at as many cut-offs as wanted.

    Args:
        groups: the rankings.
        ties: the tie rule.
    """

    def __init__(self, groups: TieGroups, ties: Ties) -> None:
        is_expected = groups.is_untied or ties in (Ties.EXPECTED, Ties.DATABASE_ORDER)
        self.ties = Ties.EXPECTED if is_expected else ties
        self.groups = groups
        # Inside a part that is all relevant or all irrelevant, the order changes nothing.
        self.ordered = groups if is_expected else groups.split(hits_first=ties is Ties.OPTIMISTIC)
        self.sums = np.zeros(self.ordered.ends.shape)
        part = self.ordered
        of_groups = expected_sums(
            part.sizes,
            part.hits,
            part.starts,
            part.earlier_hits,
            used=part.sizes,
            n_items=part.n_items,
        )
        np.cumsum(of_groups, axis=1, out=self.sums[:, 1:])

    def average(self, top_k: int | None, convention: Convention) -> Floats:
        """Compute the (q,) average precisions, as `average_precision` does."""
        n_hits = self.groups.n_hits
        divisor = np.minimum(n_hits, self.groups.n_items if top_k is None else top_k)
        if convention is Convention.STANDARD:
            return ratio(self.sum_to_rank(top_k), divisor)
        if convention is Convention.FIRST_K_RELEVANT:
            return ratio(self.sum_to_hit(divisor), divisor)
        if self.ties is Ties.EXPECTED:
            values = self.expected_truncated(top_k)
        else:
            values = self.extreme_truncated(top_k)
        if convention is Convention.ANSWERABLE:
            values = np.where(n_hits > 0, values, np.nan)
        return values

    def sum_to_rank(self, top_k: int | None) -> Floats:
        """Compute the (q,) sums of precisions over the relevant items of the first K ranks."""
        cut = self.ordered.cut_at_rank(top_k)
        return pick(self.sums, cut.index) + sums_in_cut(cut, self.ordered.n_items)

    def sum_to_hit(self, n_wanted: Counts) -> Floats:
        """Compute the (q,) sums of precisions over the first `n_wanted` relevant items."""
        cut = self.ordered.cut_at_hit(n_wanted)
        values = pick(self.sums, cut.index)
        n_inside = n_wanted - cut.earlier_hits
        rows = np.flatnonzero(n_inside > 0)
        # Widths differ by orders of magnitude: neighbours in size share a chunk, widest first.
        rows = rows[np.argsort(-cut.size[rows], kind="stable")]
        while len(rows):
            n_rows = max(1, CHUNK_CELLS // int(cut.size[rows[0]]))
            some, rows = rows[:n_rows], rows[n_rows:]
            values[some] += sums_to_hit_in_cut(
                rows_of(cut, some), n_inside[some], self.ordered.n_items
            )
        return values

    def expected_truncated(self, top_k: int | None) -> Floats:
        """Compute the (q,) means over the number of hits that the cut's group gives."""
        cut = self.ordered.cut_at_rank(top_k)
        before = pick(self.sums, cut.index)
        values = ratio(before + sums_in_cut(cut, self.ordered.n_items), cut.earlier_hits)
        rows = np.flatnonzero((cut.used > 0) & (cut.hits > 0))
        part = rows_of(cut, rows)
        counts, chances = hits_among_drawn(part.size, part.hits, part.used)
        inside = expected_sums(
            part.used[:, None],
            counts,
            part.start[:, None],
            part.earlier_hits[:, None],
            used=part.used[:, None],
            n_items=self.ordered.n_items,
        )
        given_hits = ratio(before[rows, None] + inside, part.earlier_hits[:, None] + counts)
        values[rows] = (chances * given_hits).sum(axis=1)
        return values

    def extreme_truncated(self, top_k: int | None) -> Floats:
        """Compute the (q,) largest or smallest values over the hits that the cut's group gives.

        More hits inside the cut raise the sum and the divisor, so the order with the relevant items
        first isn't always the best. Of the numbers of hits that are possible, the best is the
        smallest or the largest: the precisions that further hits add are increasing, so the mean
        falls until it meets them and rises from there. The worst may lie anywhere between.
        """
        cut = self.groups.cut_at_rank(top_k)
        is_best = self.ties is Ties.OPTIMISTIC
        # The split has two parts for each group.
        before = pick(self.sums, 2 * cut.index)
        least = np.maximum(0, cut.used - (cut.size - cut.hits))
        most = np.minimum(cut.used, cut.hits)
        values = np.empty(len(before))
        width = 2 if is_best else int((most - least).max(initial=0)) + 1
        n_rows = max(1, CHUNK_CELLS // width)
        for first in range(0, len(values), n_rows):
            some = slice(first, first + n_rows)
            if is_best:
                counts = np.stack([least[some], most[some]], axis=1)
            else:
                counts = np.minimum(least[some, None] + np.arange(width), most[some, None])
            # Hits stand at the start of the used positions, or at their end.
            shift = 0 if is_best else cut.used[some, None] - counts
            start, earlier = cut.start[some, None] + shift, cut.earlier_hits[some, None]
            inside = counts + (earlier - start) * harmonic_differences(
                start, counts, self.groups.n_items
            )
            averages = ratio(before[some, None] + inside, earlier + counts)
            values[some] = averages.max(axis=1) if is_best else averages.min(axis=1)
        return values


def expected_sums(
    sizes: Counts,
    hits: Counts,
    starts: Counts,
    earlier_hits: Counts,
    *,
    used: Counts,
    n_items: int,
) -> Floats:
    """Compute the expected sum of precisions over the first `used` positions of shuffled groups.

    Args:
        sizes: n, items of each group; all arguments broadcast.
        hits: r, relevant ones.
        starts: S, items before the group.
        earlier_hits: R, relevant ones before the group.
        used: t, positions that count.
        n_items: m.

    Returns:
        float64; 0 for empty groups.
    """
    if int(np.max(sizes, initial=0)) <= 1:
        untied: Floats = hits * used * (earlier_hits + 1) / (starts + 1)
        return untied
    harmonic = harmonic_differences(starts, used, n_items)
    rate = hits / np.maximum(sizes, 1)
    spread = np.maximum(hits - 1, 0) / np.maximum(sizes - 1, 1)
    sums: Floats = rate * (
        (earlier_hits + 1) * harmonic + spread * (used - (starts + 1) * harmonic)
    )
    return sums


def sums_in_cut(cut: Cut, n_items: int) -> Floats:
    """Compute the (q,) expected sums of precisions inside the group that the cut goes through."""
    return expected_sums(
        cut.size, cut.hits, cut.start, cut.earlier_hits, used=cut.used, n_items=n_items
    )


def sums_to_hit_in_cut(cut: Cut, n_wanted: Counts, n_items: int) -> Floats:
    """Compute the expected sum of precisions over the first hits of shuffled groups.

    A position j counts if its item is relevant and at most `n_wanted` - 1 hits stand before it.
    Given that it is relevant, the others are a shuffled group of n - 1 with r - 1 hits, and the
    first condition says that hit number `n_wanted` of those isn't before j. The number of hits
    before j, where it enters, is taken apart in the same way with n - 2 and r - 2.

    Args:
        cut: the groups; `used` is not read.
        n_wanted: (q,) hits to sum over, at least 1 and less than `cut.hits`.
        n_items: m.

    Returns:
        (q,) float64.
    """
    # Far before the wanted hit every position counts, far behind none does.
    reach = WINDOW_DEVIATIONS * np.sqrt(n_wanted) + WINDOW_MARGIN
    thinnest = cut.size / np.maximum(cut.hits - 2, 1)
    first = np.maximum(n_wanted, ((n_wanted - 1 - reach) * cut.size / cut.hits).astype(np.int64))
    furthest = (WINDOW_DEVIATIONS / 2 + np.sqrt(n_wanted + 25 + WINDOW_MARGIN)) ** 2 * thinnest
    last = np.minimum(cut.size - cut.hits + n_wanted, furthest.astype(np.int64) + 1)
    positions = first[:, None] + np.arange(int((last - first).max(initial=0)) + 1)
    ahead = hit_still_ahead(cut.size - 1, cut.hits - 1, n_wanted, positions, last)
    # Without hits before it, there is nothing to take apart.
    others_ahead = hit_still_ahead(
        np.maximum(cut.size - 2, 1),
        np.maximum(cut.hits - 2, 1),
        np.maximum(n_wanted - 1, 1),
        np.where(n_wanted[:, None] > 1, positions - 1, 1),
        np.where(n_wanted > 1, last - 1, 1),
    )
    spread = (n_wanted > 1) * (cut.hits - 1) / np.maximum(cut.size - 1, 1)
    hits_so_far = (cut.earlier_hits + 1)[:, None] * ahead + (
        spread[:, None] * (positions - 1) * others_ahead
    )
    inside = (hits_so_far / (cut.start[:, None] + positions)).sum(axis=1) * cut.hits / cut.size
    sums: Floats = inside + expected_sums(
        cut.size, cut.hits, cut.start, cut.earlier_hits, used=first - 1, n_items=n_items
    )
    return sums


def rows_of(cut: Cut, rows: NDArray[np.int64]) -> Cut:
    """Select the cut of some of the queries."""
    return Cut(
        index=cut.index[rows],
        size=cut.size[rows],
        hits=cut.hits[rows],
        start=cut.start[rows],
        earlier_hits=cut.earlier_hits[rows],
        used=cut.used[rows],
    )


def ratio(sums: NDArray[np.float64], divisors: Counts) -> Floats:
    """Divide sums by divisors; 0 where the divisor is 0."""
    return np.where(divisors > 0, sums / np.maximum(divisors, 1), 0.0)
