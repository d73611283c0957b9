"""What the FAISS searchers have in common: distinct codes, and rows that don't count.

None of FAISS's approximate indexes can be trusted to leave rows out while it searches. So either
the rows that count are taken and scanned, which is exact, or more neighbours than wanted are found
and the others dropped; whichever costs less. Queries that are left with too few are scanned.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, WeightedQueries
from modalhash.index.faiss_scan import (
    scan_nearest,
    scan_width,
    scan_within,
    take_rows,
    widen_codes,
)
from modalhash.index.folding import Folding, beyond
from modalhash.index.relaxed_scan import BEYOND_UNITS, scan_nearest_relaxed
from modalhash.index.searchers import (
    NO_ROW,
    Allowed,
    Neighbours,
    RaggedNeighbours,
    RelaxedSearcher,
)

__all__ = ["PostFilterSearcher"]

SPARE_SHARE, SPARE_ROWS = 1.3, 16
"""How many more rows than on average are found when some will be dropped."""
MOST_DROPPED = 0.05
"""Rather than finding a larger share of the rows and dropping most, all that count are scanned."""
HEAP_ROWS = 1200
"""A scan for so many neighbours takes twice as long as one for a few (measured)."""
CHECKED_ROW_COST, TAKEN_ROW_COST = 0.8, 1.0
"""Cost of looking whether a row counts, and of taking one, in codes scanned (measured)."""


class PostFilterSearcher(RelaxedSearcher):
    """Finds near codes by an index that knows nothing of rows that don't count.

    Args:
        codes: (m, p) uint8 of all rows.
        folding: their distinct codes, if only these are searched.
        parameters: see `Searcher`.

    Attributes:
        searched: (u, p) uint8, the codes that are searched: all, or the distinct ones.
    """

    def __init__(
        self, codes: Codes, folding: Folding | None, parameters: Mapping[str, Any]
    ) -> None:
        self.codes, self.folding, self.parameters = codes, folding, parameters
        self.searched = codes if folding is None else folding.codes

    @abstractmethod
    def find_nearest(self, query_codes: Codes, top_k: int, *, effort: float) -> Neighbours:
        """Find the `top_k` nearest of the codes that are searched.

        Args:
            query_codes: (q, p) uint8.
            top_k: between 1 and their number.
            effort: how many times the usual share of the codes is looked at; scans ignore it.

        Returns:
            By distance, then by position; `NO_ROW` where no more were found.
        """

    @abstractmethod
    def find_within(self, query_codes: Codes, radius: int) -> RaggedNeighbours:
        """Find those of the codes that are searched within a radius."""

    @abstractmethod
    def codes_compared(self, effort: float) -> float:
        """Estimate how many codes a query is compared with, or an equal cost."""

    def nearest(
        self, query_codes: Codes, top_k: int, *, allowed: Allowed | None = None
    ) -> Neighbours:
        """Find the nearest rows of each query; see `Searcher.nearest`."""
        n_rows = len(self.codes)
        n_allowed = n_rows if allowed is None else int(np.count_nonzero(allowed))
        if allowed is None or n_allowed == n_rows:
            neighbours = self.nearest_rows(query_codes, top_k)
            return self.completed(neighbours, query_codes, None, min(top_k, n_rows))
        share = n_allowed / n_rows
        n_found = min(n_rows, int(top_k / max(share, 1e-9) * SPARE_SHARE) + SPARE_ROWS)
        if self.prefers_taking(n_allowed, len(query_codes), n_found):
            return scan_allowed(self.codes, query_codes, top_k, allowed)
        neighbours = self.nearest_rows(query_codes, n_found, effort=1 / share)
        is_kept = (neighbours.positions != NO_ROW) & allowed[neighbours.positions]
        kept_rows = keep_first(neighbours, is_kept, top_k, beyond=beyond(self.codes))
        return self.completed(kept_rows, query_codes, allowed, min(top_k, n_allowed))

    def within(
        self, query_codes: Codes, radius: int, *, allowed: Allowed | None = None
    ) -> RaggedNeighbours:
        """Find the rows within a radius of each query; see `Searcher.within`."""
        if allowed is not None:
            n_allowed = int(np.count_nonzero(allowed))
            if self.prefers_taking(n_allowed, len(query_codes), 0):
                rows = np.flatnonzero(allowed)
                return scan_rows_within(self.codes, query_codes, radius, rows)
        neighbours = self.find_within(query_codes, radius)
        if self.folding is not None:
            neighbours = self.folding.expand_within(neighbours)
        return (
            neighbours
            if allowed is None
            else keep_within(neighbours, allowed[neighbours.positions])
        )

    @abstractmethod
    def find_nearest_relaxed(
        self, queries: WeightedQueries, top_k: int, *, effort: float
    ) -> Neighbours:
        """Find the best of the codes that are searched for relaxed queries; see `find_nearest`."""

    @abstractmethod
    def find_within_relaxed(
        self, queries: WeightedQueries, limits: NDArray[np.int64]
    ) -> RaggedNeighbours:
        """Find those of the codes that are searched within a weighted distance of each query."""

    def nearest_relaxed(
        self, queries: WeightedQueries, top_k: int, *, allowed: Allowed | None = None
    ) -> Neighbours:
        """Find the best rows of relaxed queries; see `RelaxedSearcher.nearest_relaxed`."""
        n_rows = len(self.codes)
        n_allowed = n_rows if allowed is None else int(np.count_nonzero(allowed))
        if allowed is None or n_allowed == n_rows:
            neighbours = self.relaxed_rows(queries, top_k)
            if self.is_exact_relaxed:
                return neighbours
            return self.completed_relaxed(neighbours, queries, None, top_k)
        share = n_allowed / n_rows
        n_found = int(top_k / max(share, 1e-9) * SPARE_SHARE) + SPARE_ROWS
        if n_found > MOST_DROPPED * n_rows:
            return scan_nearest_relaxed(self.codes, queries, top_k, allowed=allowed)
        neighbours = self.relaxed_rows(queries, n_found, effort=1 / share)
        is_kept = (neighbours.positions != NO_ROW) & allowed[neighbours.positions]
        kept_rows = keep_first(neighbours, is_kept, top_k, beyond=BEYOND_UNITS)
        return self.completed_relaxed(kept_rows, queries, allowed, min(top_k, n_allowed))

    def within_relaxed(
        self,
        queries: WeightedQueries,
        limits: NDArray[np.int64],
        *,
        allowed: Allowed | None = None,
    ) -> RaggedNeighbours:
        """Find the rows within limits; see `RelaxedSearcher.within_relaxed`."""
        neighbours = self.find_within_relaxed(queries, limits)
        if self.folding is not None:
            neighbours = self.folding.expand_within(neighbours)
        if allowed is None:
            return neighbours
        return keep_within(neighbours, allowed[neighbours.positions])

    def relaxed_rows(
        self, queries: WeightedQueries, top_k: int, *, effort: float = 1
    ) -> Neighbours:
        """Find the best rows of relaxed queries, all of which count."""
        n_found = min(top_k, len(self.searched))
        neighbours = self.find_nearest_relaxed(queries, n_found, effort=effort)
        if self.folding is None:
            return neighbours
        return self.folding.expand_nearest(neighbours, top_k, farthest=BEYOND_UNITS)

    def completed_relaxed(
        self,
        neighbours: Neighbours,
        queries: WeightedQueries,
        allowed: Allowed | None,
        n_wanted: int,
    ) -> Neighbours:
        """Scan for the queries that were left with fewer rows than there are."""
        is_short = neighbours.positions[:, max(n_wanted, 1) - 1] == NO_ROW
        if not n_wanted or not is_short.any():
            return neighbours
        positions, distances = neighbours.positions.copy(), neighbours.distances.copy()
        scanned = scan_nearest_relaxed(
            self.codes, queries.take(is_short), positions.shape[1], allowed=allowed
        )
        positions[is_short], distances[is_short] = scanned.positions, scanned.distances
        return Neighbours(positions, distances)

    def nearest_rows(self, query_codes: Codes, top_k: int, *, effort: float = 1) -> Neighbours:
        """Find the nearest rows, all of which count."""
        neighbours = self.find_nearest(query_codes, min(top_k, len(self.searched)), effort=effort)
        return (
            neighbours if self.folding is None else self.folding.expand_nearest(neighbours, top_k)
        )

    def prefers_taking(self, n_allowed: int, n_queries: int, n_found: int) -> bool:
        """Tell whether scanning the rows that count is cheaper than dropping the others."""
        n_rows = len(self.codes)
        taking = CHECKED_ROW_COST * n_rows + n_allowed * (TAKEN_ROW_COST + n_queries)
        effort = n_rows / max(1, n_allowed)
        dropping = n_queries * self.codes_compared(effort) * (1 + n_found / HEAP_ROWS)
        return not n_allowed or taking <= dropping

    def completed(
        self, neighbours: Neighbours, query_codes: Codes, allowed: Allowed | None, n_wanted: int
    ) -> Neighbours:
        """Scan for the queries that were left with fewer rows than there are."""
        if not n_wanted:
            return neighbours
        is_short = neighbours.positions[:, n_wanted - 1] == NO_ROW
        if not is_short.any():
            return neighbours
        queries = np.ascontiguousarray(query_codes[is_short])
        top_k = neighbours.positions.shape[1]
        if allowed is None:
            scanned = scan_nearest(self.searched, queries, min(top_k, len(self.searched)))
            if self.folding is not None:
                scanned = self.folding.expand_nearest(scanned, top_k)
        else:
            scanned = scan_allowed(self.codes, queries, top_k, allowed)
        positions, distances = neighbours.positions.copy(), neighbours.distances.copy()
        positions[is_short], distances[is_short] = scanned.positions, scanned.distances
        return Neighbours(positions, distances)


def scan_allowed(codes: Codes, query_codes: Codes, top_k: int, allowed: Allowed) -> Neighbours:
    """Take the rows that count and scan them.

    Returns:
        (q, top_k), `NO_ROW` where no more rows count.
    """
    rows = np.flatnonzero(allowed)
    positions = np.full((len(query_codes), top_k), NO_ROW, np.int64)
    distances = np.full(positions.shape, beyond(codes), np.int32)
    if n_found := min(top_k, len(rows)):
        width = scan_width(codes.shape[1])
        allowed_codes = widen_codes(take_rows(codes, rows), width)
        neighbours = scan_nearest(allowed_codes, widen_codes(query_codes, width), n_found)
        positions[:, :n_found] = rows[neighbours.positions]
        distances[:, :n_found] = neighbours.distances
    return Neighbours(positions, distances)


def scan_rows_within(
    codes: Codes, query_codes: Codes, radius: int, rows: NDArray[np.int64]
) -> RaggedNeighbours:
    """Take some rows and scan them for those within a radius."""
    if not len(rows):
        nothing = np.empty(0, np.int64)
        starts = np.zeros(len(query_codes) + 1, np.int64)
        return RaggedNeighbours(starts, nothing, nothing.astype(np.int32))
    width = scan_width(codes.shape[1])
    allowed_codes = widen_codes(take_rows(codes, rows), width)
    neighbours = scan_within(allowed_codes, widen_codes(query_codes, width), radius)
    return RaggedNeighbours(neighbours.starts, rows[neighbours.positions], neighbours.distances)


def keep_first(
    neighbours: Neighbours, is_kept: NDArray[np.bool_], top_k: int, *, beyond: int
) -> Neighbours:
    """Keep the first `top_k` allowed ones of each query, `NO_ROW` after them."""
    order = np.argsort(~is_kept, axis=1, kind="stable")[:, :top_k]
    has_row = np.take_along_axis(is_kept, order, axis=1)
    positions = np.where(has_row, np.take_along_axis(neighbours.positions, order, axis=1), NO_ROW)
    distances = np.where(has_row, np.take_along_axis(neighbours.distances, order, axis=1), beyond)
    if (missing := top_k - positions.shape[1]) > 0:
        positions = np.pad(positions, ((0, 0), (0, missing)), constant_values=NO_ROW)
        distances = np.pad(distances, ((0, 0), (0, missing)), constant_values=beyond)
    return Neighbours(positions, distances.astype(np.int32))


def keep_within(neighbours: RaggedNeighbours, is_kept: NDArray[np.bool_]) -> RaggedNeighbours:
    """Keep the hits that are allowed."""
    totals = np.concatenate([[0], np.cumsum(is_kept)])
    starts = totals[neighbours.starts].astype(np.int64)
    return RaggedNeighbours(starts, neighbours.positions[is_kept], neighbours.distances[is_kept])
