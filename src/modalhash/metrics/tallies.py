"""From codes or scores to tie groups, block by block.

Hamming distances take only n_bits + 1 values, so all that the measures need of a query is how many
items of which relevance stand at each distance: two popcounts and one histogram, no sort. Items are
taken in tiles that fit the processor's cache.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes
from modalhash.codes.hamming import to_words
from modalhash.metrics.options import RelevanceRule, Ties
from modalhash.metrics.rankings import Ranking
from modalhash.metrics.relevance import LabelRelevance, Targets
from modalhash.metrics.tie_groups import Counts, TieGroups

__all__ = ["DistanceTally", "GainGroups", "RankedBlock", "ScoreTally", "Truth"]

Floats = NDArray[np.float64]

TILE_PAIRS = 1 << 17
SORTED_PAIRS = 1 << 18
HISTOGRAM_CELLS = 1 << 21
MOST_BLOCK_ROWS = 128


@dataclass(frozen=True)
class Truth:
    """What is relevant to what.

    Attributes:
        rules: the rules of relevance to measure by.
        labels: how labels relate, if a rule needs it.
        targets: (q, t) database rows of each query, if a rule needs it.
    """

    rules: tuple[RelevanceRule, ...]
    labels: LabelRelevance | None
    targets: Targets | None

    @property
    def n_states(self) -> int:
        """Number of label states; 1 without labels."""
        return 1 if self.labels is None else self.labels.n_states

    @property
    def grades(self) -> Counts:
        """(n_states,) labels in common in each state."""
        return np.zeros(1, np.int64) if self.labels is None else self.labels.grades

    def binary_states(self) -> Mapping[RelevanceRule, NDArray[np.bool_]]:
        """Mark, for each wanted rule on labels that says yes or no, the (n_states,) where yes."""
        if self.labels is None:
            return {}
        masks = {
            RelevanceRule.SHARED_LABEL: self.labels.is_shared,
            RelevanceRule.JACCARD: self.labels.is_jaccard,
        }
        return {rule: mask for rule, mask in masks.items() if rule in self.rules}

    def without(self, own_rows: NDArray[np.int64]) -> "Truth":
        """Leave each query's own row, (q,), out of its targets."""
        if self.targets is None:
            return self
        targets = np.where(self.targets == own_rows[:, None], -1, self.targets)
        return replace(self, targets=targets)

    def states(self, queries: slice, items: slice) -> NDArray[np.unsignedinteger]:
        """Compute the (rows, columns) label states of a tile."""
        if self.labels is not None:
            return self.labels.states(queries, items)
        return np.zeros((queries.stop - queries.start, items.stop - items.start), np.uint8)


@dataclass(frozen=True)
class GainGroups:
    """Rankings as groups of items with their gains, for nDCG.

    Attributes:
        sizes: (q, g) items of each group.
        sums: (q, g) sums of their gains.
    """

    sizes: Counts
    sums: Floats


@dataclass(frozen=True)
class RankedBlock:
    """The rankings of a block of queries, under one tie rule.

    Attributes:
        groups: by rule of relevance, tie groups; groups of one under `database_order`.
        gains: groups for nDCG, ordered by the tie rule, or None if it isn't wanted.
        ideal: all items by gain, largest first.
        by_distance: by rule of relevance, one group for each Hamming distance; empty for scores.
    """

    groups: Mapping[RelevanceRule, TieGroups]
    gains: GainGroups | None
    ideal: GainGroups | None
    by_distance: Mapping[RelevanceRule, TieGroups]


class DistanceTally:
    """Rankings of a database by Hamming distance.

    Args:
        query_codes: (q, p) uint8, packed, checked.
        database_codes: (m, p) uint8, packed, checked.
        n_bits: bits of a code.
        truth: what is relevant.
        gains: (n_states,) what each label state is worth, or None if nDCG isn't wanted.
        ties: the tie rule.
        own_rows: (q,) the database row that is each query itself, and isn't ranked for it; None
            ranks all rows for all queries.
    """

    def __init__(
        self,
        query_codes: Codes,
        database_codes: Codes,
        n_bits: int,
        *,
        truth: Truth,
        gains: Floats | None,
        ties: Ties,
        own_rows: NDArray[np.int64] | None = None,
    ) -> None:
        self.query_words, words = to_words(query_codes, database_codes)
        # One row a word, so that a tile reads neighbours.
        self.database_words = np.ascontiguousarray(words.T)
        self.n_distances = n_bits + 1
        self.truth, self.gains, self.ties = truth, gains, ties
        self.own_rows, self.n_rows = own_rows, len(words)
        self.n_queries = len(self.query_words)
        self.n_items = len(words) - (own_rows is not None)

    def block_rows(self) -> int:
        """Choose how many queries a block has."""
        rows = HISTOGRAM_CELLS // (self.n_distances * self.truth.n_states)
        if self.ties is Ties.DATABASE_ORDER:
            rows = min(rows, SORTED_PAIRS // self.n_items)
        return max(1, min(rows, MOST_BLOCK_ROWS))

    def block(self, queries: slice) -> RankedBlock:
        """Rank the database for a block of queries."""
        counts = self.counts(queries)
        by_distance = {
            rule: TieGroups(counts.sum(axis=2), counts[:, :, mask].sum(axis=2))
            for rule, mask in self.truth.binary_states().items()
        }
        if RelevanceRule.PAIR in self.truth.rules:
            by_distance[RelevanceRule.PAIR] = TieGroups(
                counts.sum(axis=2), self.target_counts(queries)
            )
        ideal = None if self.gains is None else ideal_gains(counts.sum(axis=1), self.gains)
        if self.ties is Ties.DATABASE_ORDER:
            order = self.order_rows(queries)
            groups, gains = in_order(self.truth, self.gains, queries, order, self.n_rows)
            return RankedBlock(groups, gains, ideal, by_distance)
        gain_groups = None if self.gains is None else gains_of(counts, self.gains, self.ties)
        return RankedBlock(by_distance, gain_groups, ideal, by_distance)

    def counts(self, queries: slice) -> Counts:
        """Count items by distance and label state: (rows, n_distances, n_states)."""
        n_states, n_rows = self.truth.n_states, queries.stop - queries.start
        n_cells = self.n_distances * n_states
        counts = np.zeros((n_rows, n_cells), np.int64)
        n_columns = min(self.n_rows, TILE_PAIRS)
        tile_rows = max(1, TILE_PAIRS // n_columns)
        dtype = np.uint16 if n_cells <= 0xFFFF else np.uint32
        for row in range(0, n_rows, tile_rows):
            rows = slice(queries.start + row, min(queries.start + row + tile_rows, queries.stop))
            n_here = rows.stop - rows.start
            offsets = np.arange(n_here)[:, None] * n_cells
            for column in range(0, self.n_rows, n_columns):
                items = slice(column, min(column + n_columns, self.n_rows))
                cells: NDArray[Any] = self.distances(rows, items).astype(dtype)
                if self.truth.labels is not None:
                    cells *= dtype(n_states)
                    cells += self.truth.labels.states(rows, items)
                counts[row : row + n_here] += np.bincount(
                    (cells + offsets).ravel(), minlength=n_here * n_cells
                ).reshape(n_here, n_cells)
        if self.own_rows is not None:
            counts[np.arange(n_rows), self.own_cells(queries)] -= 1
        return counts.reshape(n_rows, self.n_distances, n_states)

    def own_cells(self, queries: slice) -> Counts:
        """Compute (rows,) the cell of each query's own row: by distance, then label state."""
        assert self.own_rows is not None
        cells = []
        for query in range(queries.start, queries.stop):
            own = int(self.own_rows[query])
            pair = slice(query, query + 1), slice(own, own + 1)
            state = int(self.truth.states(*pair)[0, 0])
            cells.append(int(self.distances(*pair)[0, 0]) * self.truth.n_states + state)
        return np.array(cells, np.int64)

    def order_rows(self, queries: slice) -> NDArray[np.int64]:
        """Sort the database rows, (rows, n_items), nearest first and ties in database order."""
        order = np.argsort(self.distances(queries, slice(0, self.n_rows)), kind="stable")
        if self.own_rows is None:
            return order
        others: NDArray[np.int64] = order[order != self.own_rows[queries, None]]
        return others.reshape(len(order), self.n_items)

    def distances(self, queries: slice, items: slice) -> NDArray[np.unsignedinteger]:
        """Compute (rows, columns) Hamming distances in the smallest dtype that holds n_bits."""
        rows, columns = self.query_words[queries], self.database_words[:, items]
        distances: NDArray[np.unsignedinteger] = np.bitwise_count(rows[:, 0, None] ^ columns[0])
        if self.n_distances > 0x100:
            distances = distances.astype(np.uint16 if self.n_distances <= 0x10000 else np.uint32)
        for word in range(1, len(columns)):
            distances += np.bitwise_count(rows[:, word, None] ^ columns[word])
        return distances

    def target_counts(self, queries: slice) -> Counts:
        """Count each query's targets by distance: (rows, n_distances)."""
        assert self.truth.targets is not None
        targets = self.truth.targets[queries]
        words = self.database_words[:, targets]
        differing = np.bitwise_count(words ^ self.query_words[queries].T[:, :, None])
        distances = differing.sum(axis=0, dtype=np.int64)
        cells = distances + np.arange(len(targets))[:, None] * self.n_distances
        counts = np.bincount(cells[targets >= 0], minlength=len(targets) * self.n_distances)
        return counts.reshape(len(targets), self.n_distances)


class ScoreTally:
    """Rankings of a database by real-valued scores; equal scores are ties.

    Args:
        ranking: orders the database for queries.
        truth: what is relevant.
        gains: (n_states,) what each label state is worth, or None if nDCG isn't wanted.
        ties: the tie rule.
    """

    def __init__(self, ranking: Ranking, *, truth: Truth, gains: Floats | None, ties: Ties) -> None:
        self.ranking, self.n_queries, self.n_items = ranking, ranking.n_queries, ranking.n_items
        self.truth, self.gains, self.ties = truth, gains, ties

    def block_rows(self) -> int:
        """Choose how many queries a block has."""
        return max(1, min(SORTED_PAIRS // max(1, self.n_items), MOST_BLOCK_ROWS))

    def block(self, queries: slice) -> RankedBlock:
        """Rank the database for a block of queries.

        Raises:
            ShapeError: if the scores aren't (rows, m) real numbers.
            InputError: if a score is NaN.
        """
        order = self.ranking.order(queries)
        is_new = order.is_new
        groups, gains = in_order(self.truth, self.gains, queries, order.rows, self.ranking.n_rows)
        ideal = None
        if gains is not None:
            ideal = GainGroups(gains.sizes, -np.sort(-gains.sums, axis=1))
        if self.ties is Ties.DATABASE_ORDER:
            return RankedBlock(groups, gains, ideal, {})
        if gains is not None and self.ties is not Ties.EXPECTED:
            gains = GainGroups(gains.sizes, self.reordered_gains(gains.sums, is_new))
        cells: NDArray[np.int64] = np.cumsum(is_new, axis=1, dtype=np.int64)
        n_groups = int(cells.max()) + 1
        cells += np.arange(len(cells))[:, None] * n_groups
        shape = (len(cells), n_groups)

        def gather(values: NDArray[Any]) -> Floats:
            flat: NDArray[Any] = np.bincount(
                cells.ravel(), values.ravel(), minlength=shape[0] * n_groups
            )
            return flat.reshape(shape)

        sizes = gather(np.ones(is_new.shape)).astype(np.int64)
        tied = {
            rule: TieGroups(sizes, gather(single.hits).astype(np.int64))
            for rule, single in groups.items()
        }
        if gains is not None and self.ties is Ties.EXPECTED:
            gains = GainGroups(sizes, gather(gains.sums))
        return RankedBlock(tied, gains, ideal, {})

    def reordered_gains(self, gains: Floats, is_new: NDArray[np.bool_]) -> Floats:
        """Sort the gains so that each tie group's best is first (or last)."""
        keys = -gains if self.ties is Ties.OPTIMISTIC else gains
        by_gain = np.argsort(keys, axis=1, kind="stable")
        group = np.take_along_axis(np.cumsum(is_new, axis=1), by_gain, axis=1)
        order = np.take_along_axis(by_gain, np.argsort(group, axis=1, kind="stable"), axis=1)
        return np.take_along_axis(gains, order, axis=1)


def in_order(
    truth: Truth, gains: Floats | None, queries: slice, order: NDArray[np.int64], n_rows: int
) -> tuple[dict[RelevanceRule, TieGroups], GainGroups | None]:
    """Make groups of one item for rankings whose whole order is known.

    Args:
        truth: what is relevant.
        gains: (n_states,) worth of each label state, or None.
        queries: the block.
        order: (rows, k) database rows, nearest first.
        n_rows: of the database.
    """
    states = np.take_along_axis(truth.states(queries, slice(0, n_rows)), order, axis=1)
    groups = {
        rule: TieGroups.from_ranking(mask.astype(np.int64)[states])
        for rule, mask in truth.binary_states().items()
    }
    if RelevanceRule.PAIR in truth.rules:
        flags = np.take_along_axis(target_flags(truth, queries, n_rows), order, axis=1)
        groups[RelevanceRule.PAIR] = TieGroups.from_ranking(flags)
    if gains is None:
        return groups, None
    return groups, GainGroups(np.broadcast_to(np.int64(1), order.shape), gains[states])


def target_flags(truth: Truth, queries: slice, n_rows: int) -> NDArray[np.bool_]:
    """Mark, (rows, m), where an item is a query's target."""
    assert truth.targets is not None
    targets = truth.targets[queries]
    flags = np.zeros((len(targets), n_rows), bool)
    rows, columns = np.nonzero(targets >= 0)
    flags[rows, targets[rows, columns]] = True
    return flags


def gains_of(counts: Counts, gains: Floats, ties: Ties) -> GainGroups:
    """Make groups for nDCG from (q, g, n_states) counts.

    Under `optimistic` and `pessimistic` the states of a group become groups of their own, by gain.
    """
    sums = counts * gains
    if ties is Ties.EXPECTED:
        return GainGroups(counts.sum(axis=2), sums.sum(axis=2))
    order = np.argsort(gains, kind="stable")
    if ties is Ties.OPTIMISTIC:
        order = order[::-1]
    shape = (len(counts), -1)
    return GainGroups(counts[:, :, order].reshape(shape), sums[:, :, order].reshape(shape))


def ideal_gains(totals: Counts, gains: Floats) -> GainGroups:
    """Make the best ranking's groups from the (q, n_states) numbers of items in each state."""
    order = np.argsort(-gains, kind="stable")
    return GainGroups(totals[:, order], (totals * gains)[:, order])
