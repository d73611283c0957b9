"""One state of an index: what a search sees from its beginning to its end.

A snapshot is a row of views, one a segment and one of the recent rows. It never changes; a change
of the index makes another one, which shares all that stayed as it was.
"""

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, Distances, WeightedQueries, hamming_distances
from modalhash.index.filters import Filter
from modalhash.index.hits import IdArray, IdKind, ItemBlock
from modalhash.index.ids import IdColumn
from modalhash.index.relaxed_scan import (
    SearchedQueries,
    find_nearest,
    find_within,
    sorted_hits,
    take_queries,
)
from modalhash.index.rows import RowSource, empty_ids
from modalhash.index.searchers import (
    NO_ROW,
    Allowed,
    Neighbours,
    Positions,
    RaggedNeighbours,
    Searcher,
)

__all__ = ["Selection", "Snapshot", "View"]

GATHERED_SHARE: Final = 0.2
"""Up to this share of its rows, an approximate searcher is passed over and the rows scanned."""
REMEMBERED_SELECTIONS: Final = 8
SCANS: Final = frozenset({"exact", "flat"})
SPARE_ROWS: Final = 8
"""So many more rows are asked for where some are deleted."""
BLOCK_DISTANCES: Final = 1 << 22

DeadRows = NDArray[np.uint8]
"""Packed bits, one a row, from the low end; set where the row is deleted."""


@dataclass(frozen=True)
class Selection:
    """Rows of a view that count.

    Attributes:
        rows: (r,) int64, ascending.
        codes: (r, p) uint8 of these rows, if they are to be scanned.
        allowed: (n,) bool, if the searcher is to be asked.
        scanner: what scans the codes; None without any.
    """

    rows: Positions
    codes: Codes | None
    allowed: Allowed | None
    scanner: Searcher | None = None


@dataclass(frozen=True, eq=False)
class View:
    """The first rows of a source without those deleted.

    Attributes:
        source: of the rows.
        n_rows: how many of them.
        scan: what scans rows that were picked out.
        n_bits: bits of a code.
        dead: packed bits of deleted rows; None if there are none.
        n_dead: how many are deleted.
    """

    source: RowSource
    n_rows: int
    scan: type[Searcher]
    n_bits: int
    dead: DeadRows | None = None
    n_dead: int = 0
    _selections: OrderedDict[str, Selection] = field(default_factory=OrderedDict)
    _selecting: threading.Lock = field(default_factory=threading.Lock)
    _counting: threading.Lock = field(default_factory=threading.Lock)

    def __len__(self) -> int:
        return self.n_rows - self.n_dead

    @property
    def codes(self) -> Codes:
        """The codes of all its rows, deleted ones too."""
        return self.source.codes(self.n_rows)

    def is_dead(self, rows: Positions) -> Allowed:
        """Look which rows are deleted, in the shape of `rows`."""
        if self.dead is None:
            return np.zeros(rows.shape, np.bool_)
        bits: NDArray[np.uint8] = self.dead[rows >> 3] >> (rows & 7).astype(np.uint8)
        return (bits & 1).astype(np.bool_)

    def alive(self) -> Allowed:
        """Look which rows are there, (n,) bool."""
        if self.dead is None:
            return np.ones(self.n_rows, np.bool_)
        bits = np.unpackbits(self.dead, count=self.n_rows, bitorder="little")
        return np.asarray(bits == 0)

    def alive_rows(self) -> Positions:
        """List the rows that are there, ascending."""
        return np.flatnonzero(self.alive())

    def without(self, rows: Positions) -> "View":
        """Make the view without some rows, which are there and distinct."""
        if not len(rows):
            return self
        dead = np.zeros(-(-self.n_rows // 8), np.uint8)
        if self.dead is not None:
            dead[: len(self.dead)] = self.dead
        np.bitwise_or.at(dead, rows >> 3, np.left_shift(1, rows & 7).astype(np.uint8))
        return View(self.source, self.n_rows, self.scan, self.n_bits, dead, self.n_dead + len(rows))

    def extended(self, n_rows: int) -> "View":
        """Make the view of more rows of its source."""
        dead = self.dead
        if dead is not None:
            dead = np.pad(dead, (0, -(-n_rows // 8) - len(dead)))
        return View(self.source, n_rows, self.scan, self.n_bits, dead, self.n_dead)

    def find(self, column: IdColumn) -> Positions:
        """Look up the row of each id that is there, `NO_ROW` otherwise."""
        rows = self.source.find(column, self.n_rows)
        places = np.flatnonzero(rows != NO_ROW)
        rows[places[self.is_dead(rows[places])]] = NO_ROW
        return rows

    def scanner(self, codes: Codes) -> Searcher:
        """Make a scan of some codes, one at least."""
        return self.scan.build(codes, self.n_bits, parameters={})

    def selection(self, where: Filter | None) -> Selection:
        """Find the rows that are there and pass a filter; the last ones are kept."""
        key = repr(where)
        # A search without a filter doesn't wait for one with a filter.
        with self._counting if where is None else self._selecting:
            last_selection = self._selections.pop(key, None) or self._select(where)
            self._selections[key] = last_selection
            while len(self._selections) > REMEMBERED_SELECTIONS:
                self._selections.popitem(last=False)
        return last_selection

    def _select(self, where: Filter | None) -> Selection:
        """Find the rows that are there and pass a filter."""
        allowed = self.alive()
        if where is not None:
            allowed &= self.source.holds(where, self.n_rows)
        rows = np.flatnonzero(allowed)
        few = GATHERED_SHARE * self.n_rows
        if len(rows) <= few or is_plain_scan(self.source.searcher(self.n_rows)):
            codes = np.ascontiguousarray(self.codes[rows])
            return Selection(rows, codes, None, self.scanner(codes) if len(rows) else None)
        return Selection(rows, None, allowed)

    def nearest(
        self, queries: SearchedQueries, top_k: int, selection: Selection | None
    ) -> Neighbours:
        """Find the `top_k` nearest rows; at least so many are there and selected."""
        if selection is None:
            return self._nearest_alive(queries, top_k)
        if selection.codes is not None and selection.scanner is not None:
            neighbours = find_nearest(selection.scanner, selection.codes, queries, top_k)
            return Neighbours(selection.rows[neighbours.positions], neighbours.distances)
        neighbours = self._ask(queries, top_k, selection.allowed)
        return self._completed(queries, neighbours, selection.allowed)

    def _ask(
        self, queries: SearchedQueries, top_k: int, allowed: Allowed | None = None
    ) -> Neighbours:
        """Ask the searcher for the nearest rows."""
        searcher = self.source.searcher(self.n_rows)
        return find_nearest(searcher, self.codes, queries, top_k, allowed=allowed)

    def _nearest_alive(self, queries: SearchedQueries, top_k: int) -> Neighbours:
        """Find the nearest rows that are there, asking for more where some are deleted."""
        if not self.n_dead:
            return self._completed(queries, self._ask(queries, top_k), None)
        fetched = SPARE_ROWS + top_k * self.n_rows // len(self) * 5 // 4
        while fetched <= self.n_rows // 4:
            neighbours = self._ask(queries, fetched)
            is_there = neighbours.positions != NO_ROW
            is_there &= ~self.is_dead(np.where(is_there, neighbours.positions, 0))
            if (is_there.sum(axis=1) >= top_k).all():
                order = np.argsort(~is_there, axis=1, kind="stable")[:, :top_k]
                return Neighbours(
                    np.take_along_axis(neighbours.positions, order, axis=1),
                    np.take_along_axis(neighbours.distances, order, axis=1),
                )
            fetched *= 4
        return self.nearest(queries, top_k, self.selection(None))

    def _completed(
        self, queries: SearchedQueries, neighbours: Neighbours, allowed: Allowed | None
    ) -> Neighbours:
        """Scan for the queries for which an approximate searcher found too few rows."""
        is_short = neighbours.positions[:, -1] == NO_ROW
        if not is_short.any():
            return neighbours
        positions, distances = neighbours.positions.copy(), neighbours.distances.copy()
        short, top_k = take_queries(queries, is_short), positions.shape[1]
        scanner = self.scanner(self.codes)
        scanned = find_nearest(scanner, self.codes, short, top_k, allowed=allowed)
        positions[is_short], distances[is_short] = scanned.positions, scanned.distances
        return Neighbours(positions, distances)

    def within(
        self,
        queries: SearchedQueries,
        limit: int | NDArray[np.int64],
        selection: Selection | None,
    ) -> RaggedNeighbours:
        """Find the rows within a radius, or within limits, that are there and selected."""
        if selection is not None and selection.codes is not None:
            if selection.scanner is None:
                return no_rows(len(queries))
            neighbours = find_within(selection.scanner, selection.codes, queries, limit)
            return RaggedNeighbours(
                neighbours.starts, selection.rows[neighbours.positions], neighbours.distances
            )
        searcher = self.source.searcher(self.n_rows)
        allowed = None if selection is None else selection.allowed
        neighbours = find_within(searcher, self.codes, queries, limit, allowed=allowed)
        if selection is not None or not self.n_dead:
            return neighbours
        is_there = ~self.is_dead(neighbours.positions)
        starts = np.concatenate([[0], np.cumsum(is_there)])[neighbours.starts].astype(np.int64)
        return RaggedNeighbours(
            starts, neighbours.positions[is_there], neighbours.distances[is_there]
        )


@dataclass(frozen=True, eq=False)
class Snapshot:
    """All items of an index at one moment.

    Attributes:
        views: of the segments in order, last that of the recent rows.
        version: number of changes that led here.
        n_bits: bits of a code.
        id_kind: what the ids are; None until the first item was added.
    """

    views: tuple[View, ...]
    version: int
    n_bits: int
    id_kind: IdKind | None

    def __len__(self) -> int:
        return sum(len(view) for view in self.views)

    def starts(self) -> NDArray[np.int64]:
        """Count where each view's rows begin in the whole, (views + 1,)."""
        return np.cumsum([0, *(view.n_rows for view in self.views)])

    def filled(self, where: Filter | None) -> Iterator[tuple[int, View, Selection | None, int]]:
        """Yield each view that has rows that count: its start, itself, they, their number."""
        start = 0
        for view in self.views:
            selection = None if where is None else view.selection(where)
            count = len(view) if selection is None else len(selection.rows)
            if count:
                yield start, view, selection, count
            start += view.n_rows

    def nearest(self, queries: SearchedQueries, k: int, where: Filter | None) -> Neighbours:
        """Find the k nearest items of each query, in positions of the whole.

        Returns:
            (q, min(k, number of items that count)) by distance, then by insertion.
        """
        filled = list(self.filled(where))
        n_queries = len(queries)
        top_k = min(k, sum(count for *_, count in filled))
        if not top_k or not n_queries:
            nothing = np.empty((n_queries, top_k), np.int64)
            return Neighbours(nothing, nothing.astype(np.int32))
        parts = [
            (start, view.nearest(queries, min(top_k, count), selection))
            for start, view, selection, count in filled
        ]
        if len(parts) == 1:
            start, part = parts[0]
            return Neighbours(part.positions + start, part.distances) if start else part
        # One number that orders by distance, then by insertion; no two are equal.
        total = np.int64(self.starts()[-1])
        keys = np.concatenate(
            [part.distances * total + part.positions + start for start, part in parts], axis=1
        )
        if keys.shape[1] > top_k:
            keys = np.partition(keys, top_k - 1, axis=1)[:, :top_k]
        keys.sort(axis=1)
        return Neighbours(keys % total, (keys // total).astype(np.int32))

    def within(
        self, queries: SearchedQueries, limit: int | NDArray[np.int64], where: Filter | None
    ) -> RaggedNeighbours:
        """Find all items within a radius of each query, in positions of the whole.

        Args:
            queries: packed codes, or queries that keep their numbers.
            limit: a radius up to `n_bits`; of the latter, (q,) weighted distances.
            where: a filter; None counts all items.
        """
        parts = [
            (start, view.within(queries, limit, selection))
            for start, view, selection, _ in self.filled(where)
            if len(queries)
        ]
        if not parts:
            return no_rows(len(queries))
        if len(parts) == 1:
            start, part = parts[0]
            return RaggedNeighbours(part.starts, part.positions + start, part.distances)
        query = np.concatenate(
            [np.repeat(np.arange(len(queries)), np.diff(part.starts)) for _, part in parts]
        )
        positions = np.concatenate([part.positions + start for start, part in parts])
        distances = np.concatenate([part.distances for _, part in parts])
        return sorted_hits(query, distances, positions, len(queries))

    def within_radius(
        self, queries: WeightedQueries, radius: int, limits: NDArray[np.int64], where: Filter | None
    ) -> RaggedNeighbours:
        """Find the items within a Hamming radius and within limits of weighted distance."""
        near = self.within(queries.codes, radius, where)
        query = np.repeat(np.arange(len(queries)), np.diff(near.starts))
        weighted = queries.paired_distances(self.take_codes(near.positions), query)
        is_kept = weighted <= limits[query]
        return sorted_hits(query[is_kept], weighted[is_kept], near.positions[is_kept], len(queries))

    def compare_signs(
        self, queries: WeightedQueries, query: NDArray[np.int64], positions: Positions
    ) -> Distances:
        """Count the bits in which the items at some positions differ from their queries' signs.

        Args:
            queries: q of them.
            query: (t,) the number of each position's query.
            positions: (t,).

        Returns:
            (t,) int32.
        """
        differing = self.take_codes(positions) ^ queries.codes[query]
        counts: Distances = np.bitwise_count(differing).sum(axis=1, dtype=np.int32)
        return counts

    def histogram(self, query_codes: Codes, where: Filter | None) -> NDArray[np.int64]:
        """Count the items at each distance, (q, n_bits + 1) int64."""
        n_queries, n_distances = len(query_codes), self.n_bits + 1
        counts = np.zeros((n_queries, n_distances), np.int64)
        if not n_queries:
            return counts
        offsets = np.arange(n_queries)[:, None] * n_distances
        for _, view, selection, _ in self.filled(where):
            alive = view.selection(None) if selection is None and view.n_dead else selection
            codes, rows = view.codes, None if alive is None else alive.rows
            step = max(1, BLOCK_DISTANCES // n_queries)
            for start in range(0, len(codes) if rows is None else len(rows), step):
                span = slice(start, start + step)
                block = codes[span] if rows is None else codes[rows[span]]
                keys = hamming_distances(query_codes, block) + offsets
                block_counts = np.bincount(keys.ravel(), minlength=counts.size)
                counts += block_counts.reshape(counts.shape)
        return counts

    def select(self, where: Filter) -> Positions:
        """Find the positions of all items that pass a filter, ascending."""
        parts = [view.selection(where).rows + start for start, view, *_ in self.filled(where)]
        return np.concatenate([np.empty(0, np.int64), *parts])

    def find(self, column: IdColumn) -> Positions:
        """Look up the position of each id, `NO_ROW` where there is no such item."""
        positions = np.full(len(column), NO_ROW, np.int64)
        for start, view in zip(self.starts().tolist(), self.views, strict=False):
            rows = view.find(column)
            is_found = rows != NO_ROW
            positions[is_found] = rows[is_found] + start
        return positions

    def all_positions(self) -> Positions:
        """List the positions of all items in the order of insertion."""
        starts = self.starts().tolist()
        return np.concatenate(
            [
                np.empty(0, np.int64),
                *(
                    view.alive_rows() + start
                    for start, view in zip(starts, self.views, strict=False)
                ),
            ]
        )

    def split(self, positions: Positions) -> Iterator[tuple[View, NDArray[np.bool_], Positions]]:
        """Yield each view that has some of the positions, which of them, and its rows."""
        starts = self.starts()
        owners = np.searchsorted(starts, positions, side="right") - 1
        for number, view in enumerate(self.views):
            is_own = owners == number
            if is_own.any():
                yield view, is_own, positions[is_own] - starts[number]

    def take_ids(self, positions: Positions) -> IdArray:
        """Look up the ids at some positions, in the shape of `positions`."""
        filled = [view for view in self.views if view.n_rows]
        if len(filled) == 1 and filled[0] is self.views[0] and positions.size:
            return filled[0].source.take_ids(positions)
        ids = np.empty(positions.shape, empty_ids(self.id_kind).dtype)
        for view, is_own, rows in self.split(positions):
            ids[is_own] = view.source.take_ids(rows)
        return ids

    def take_codes(self, positions: Positions) -> Codes:
        """Copy the codes at some positions, (n, p) uint8, a copy."""
        filled = [view for view in self.views if view.n_rows]
        if len(filled) == 1 and filled[0] is self.views[0]:
            own: Codes = filled[0].codes[positions]
            return own
        codes = np.empty((len(positions), self.views[0].codes.shape[1]), np.uint8)
        for view, is_own, rows in self.split(positions):
            codes[is_own] = view.codes[rows]
        return codes

    def take_metadata(self, positions: Positions) -> list[dict[str, Any]]:
        """Look up the metadata at some positions, (n,)."""
        all_documents: list[dict[str, Any]] = [{}] * len(positions)
        for view, is_own, rows in self.split(positions):
            documents = view.source.items.metadata(rows.tolist())
            for place, document in zip(np.flatnonzero(is_own).tolist(), documents, strict=True):
                all_documents[place] = document
        return all_documents

    def blocks(self, n_rows: int) -> Iterator[ItemBlock]:
        """Yield all items in the order of insertion, up to `n_rows` at a time."""
        for view in self.views:
            for start in range(0, view.n_rows, n_rows):
                end = min(start + n_rows, view.n_rows)
                rows = np.arange(start, end)
                rows = rows[~view.is_dead(rows)]
                if not len(rows):
                    continue
                items = view.source.items.rows(start, end)
                documents = {row: json.loads(document) for row, _, document in items}
                metadata = [documents.get(row, {}) for row in rows.tolist()]
                yield ItemBlock(view.source.take_ids(rows), view.codes[rows], metadata)

    def changed(self, views: Sequence[View], *, id_kind: IdKind | None = None) -> "Snapshot":
        """Make the next snapshot."""
        kind = self.id_kind or id_kind
        return Snapshot(tuple(views), self.version + 1, self.n_bits, kind)


def is_plain_scan(searcher: Searcher) -> bool:
    """Tell whether a searcher compares each code, so that leaving some out first is quicker."""
    return searcher.kind in SCANS and not searcher.parameters


def no_rows(n_queries: int) -> RaggedNeighbours:
    """Make the answer that nothing was found."""
    nothing = np.empty(0, np.int64)
    return RaggedNeighbours(np.zeros(n_queries + 1, np.int64), nothing, nothing.astype(np.int32))
