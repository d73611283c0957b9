"""One state of an index: what a search sees from its beginning to its end.

A snapshot is a row of views, one a segment and one of the recent rows. It never changes; a change
of the index makes another one, which shares all that stayed as it was.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, Distances, WeightedQueries, hamming_distances
from modalhash.index.filter_tree import Filter
from modalhash.index.hits import IdArray, IdKind, ItemBlock
from modalhash.index.ids import IdColumn
from modalhash.index.relaxed_scan import SearchedQueries, sorted_hits
from modalhash.index.rows import empty_ids
from modalhash.index.searchers import NO_ROW, Neighbours, Positions, RaggedNeighbours
from modalhash.index.views import Selection, View, no_rows

__all__ = ["Snapshot"]

BLOCK_DISTANCES: Final = 1 << 22


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

    def compare_signs(self, query_codes: Codes, positions: Positions) -> Distances:
        """Count the bits in which the items at some positions differ from packed signs.

        Args:
            query_codes: the packed signs each position is compared with: (t, p), or (q, 1, p).
            positions: (t,), or (q, k).

        Returns:
            int32 in the shape of `positions`.
        """
        differing = self.take_codes(positions) ^ query_codes
        counts: Distances = np.bitwise_count(differing).sum(axis=-1, dtype=np.int32)
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
        """Copy the codes at some positions, uint8 in the shape of `positions` and (p,)."""
        filled = [view for view in self.views if view.n_rows]
        if len(filled) == 1 and filled[0] is self.views[0]:
            return filled[0].codes.take(positions, axis=0)
        codes = np.empty((*positions.shape, self.views[0].codes.shape[1]), np.uint8)
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
