"""The first rows of a segment or of the recent rows, without those deleted: what a search asks.

A view never changes. A change of the index makes another one, over the same rows.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes
from modalhash.index.filter_tree import Filter
from modalhash.index.ids import IdColumn
from modalhash.index.relaxed_scan import SearchedQueries, find_nearest, find_within, take_queries
from modalhash.index.rows import RowSource
from modalhash.index.searchers import (
    NO_ROW,
    Allowed,
    Neighbours,
    Positions,
    RaggedNeighbours,
    Searcher,
)

__all__ = ["DeadRows", "Selection", "View", "no_rows"]

GATHERED_SHARE: Final = 0.2
"""Up to this share of its rows, an approximate searcher is passed over and the rows scanned."""
REMEMBERED_SELECTIONS: Final = 8
SCANS: Final = frozenset({"exact", "flat"})
SPARE_ROWS: Final = 8
"""So many more rows are asked for where some are deleted."""

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


def is_plain_scan(searcher: Searcher) -> bool:
    """Tell whether a searcher compares each code, so that leaving some out first is quicker."""
    return searcher.kind in SCANS and not searcher.parameters


def no_rows(n_queries: int) -> RaggedNeighbours:
    """Make the answer that nothing was found."""
    nothing = np.empty(0, np.int64)
    return RaggedNeighbours(np.zeros(n_queries + 1, np.int64), nothing, nothing.astype(np.int32))
