"""Multi-index hashing: exact search for near-duplicates by parts of the code that agree.

A code is cut into t parts, and for each part a table lists the rows by its value. Two codes that
differ in r bits differ in at most r // t bits of some part (pigeonhole). So all rows within a
radius are among those that some table lists under a value with at most that many flipped bits.
This is exact; where the tables would list too many rows, or the radius needs too many flips, the
codes are scanned instead, which is exact as well.

The tables are plain arrays of our own, mapped when opened. FAISS has the same idea as
`IndexBinaryMultiHash`, which can't be mapped, takes the flips as state of the index instead of the
call (so that threads disturb each other), and knows no rows that don't count.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, WeightedQueries
from modalhash.errors import DamagedArtifactError
from modalhash.files import write_array
from modalhash.index.faiss_fast_scan import FastScan
from modalhash.index.faiss_scan import scan_nearest, scan_within, take_rows
from modalhash.index.folder import read_array
from modalhash.index.folding import beyond, ragged_ranges, row_type, to_words
from modalhash.index.post_filter import scan_allowed, scan_rows_within
from modalhash.index.relaxed_scan import scan_nearest_relaxed, scan_within_relaxed
from modalhash.index.searcher_settings import SearcherSettings, check_range
from modalhash.index.searchers import (
    NO_ROW,
    Allowed,
    Neighbours,
    Positions,
    RaggedNeighbours,
    RelaxedSearcher,
)

__all__ = ["MultiIndexSearcher", "MultiIndexSettings", "Tables"]

PARTS = ("table_rows", "table_starts")
LEAST_PART_BITS, MOST_PART_BITS = 4, 16
BLOCK_ROWS = 1 << 18
BLOCK_CANDIDATES = 1 << 22
CALL_COST, LOOKUP_COST, CANDIDATE_COST = 200_000, 30, 60
"""Cost of a call, of looking up one value and of comparing one listed row, in codes scanned."""
TRIED_SHARE = 0.25
"""Share of a scan's cost that may be spent on more flips in search of the nearest: if these aren't
near enough it is lost, and the scan comes on top."""


@dataclass(frozen=True)
class MultiIndexSettings(SearcherSettings):
    """What a user may ask of the tables.

    Attributes:
        part_bits: bits of a part, about; by default the logarithm of the number of codes.
    """

    part_bits: int | None = None

    def __post_init__(self) -> None:
        check_range("part_bits", self.part_bits, LEAST_PART_BITS, MOST_PART_BITS)


@dataclass(frozen=True)
class Tables:
    """Rows by the value of each part of their codes.

    Attributes:
        ends: where each part ends, in bits; t of them.
        rows: (t, m) int32 or int64, the rows in order of the part's value, then of position.
        starts: (t, 2^b + 1) as `rows`, where the rows of each value begin; b bits has the widest
            part.
    """

    ends: tuple[int, ...]
    rows: NDArray[np.signedinteger[Any]]
    starts: NDArray[np.signedinteger[Any]]

    @classmethod
    def of(cls, codes: Codes, n_bits: int, part_bits: int) -> Self:
        """Make the tables of some codes."""
        ends = part_ends(n_bits, part_bits)
        n_values = 1 << max(np.diff((0, *ends)))
        dtype = row_type(len(codes))
        rows = np.empty((len(ends), len(codes)), dtype)
        starts = np.zeros((len(ends), n_values + 1), dtype)
        for part in range(len(ends)):
            values = np.concatenate(
                [
                    part_values(codes[start : start + BLOCK_ROWS], ends, part)
                    for start in range(0, len(codes), BLOCK_ROWS)
                ]
            )
            rows[part] = np.argsort(values, kind="stable")
            np.cumsum(np.bincount(values, minlength=n_values), out=starts[part, 1:])
        return cls(ends, rows, starts)

    def locate_rows(
        self, query_codes: Codes, n_flips: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Look up where the rows near each query are listed.

        Returns:
            (q, t * v) first place in the flattened `rows`, and number of rows, of each of the v
            values within `n_flips` bits of the query's own, in each table.
        """
        first, counts = [], []
        n_rows, widths = self.rows.shape[1], np.diff((0, *self.ends)).tolist()
        for part, width in enumerate(widths):
            own = part_values(query_codes, self.ends, part).astype(np.int64)
            values = own[:, None] ^ flip_masks(width, n_flips)
            begin = self.starts[part][values].astype(np.int64)
            counts.append(self.starts[part][values + 1] - begin)
            first.append(begin + part * n_rows)
        return np.concatenate(first, axis=1), np.concatenate(counts, axis=1)


@final
class MultiIndexSearcher(RelaxedSearcher):
    """Search tables of parts of the code; made for near-duplicates.

    The guarantee: with t tables, all rows at a distance of at most t - 1 are found by looking up
    the query's own parts, up to 2 t - 1 with one flipped bit a part, and so on: 7 for 64 bits in
    four tables. What lies further is scanned for. Memory: 4 bytes a table and row, mapped from
    the file when opened.

    Example:
        >>> codes = np.random.default_rng(0).integers(0, 256, (500, 8), dtype=np.uint8)
        >>> searcher = MultiIndexSearcher.build(codes, 64, parameters={})
        >>> searcher.within(codes[7:8], 3).positions, searcher.parameters
        (array([7]), {'part_bits': 9, 'tables': 8, 'radius_without_flips': 7})
    """

    kind = "mih"
    settings = MultiIndexSettings
    is_exact = True
    is_exact_relaxed = True

    def __init__(self, codes: Codes, tables: Tables, parameters: Mapping[str, Any]) -> None:
        self.codes, self.tables, self.parameters = codes, tables, parameters
        self.n_tables = len(tables.ends)
        self.fast_scan = FastScan(codes)

    @classmethod
    def build(cls, codes: Codes, n_bits: int, *, parameters: Mapping[str, Any]) -> Self:
        """Make the tables; see `Searcher.build`."""
        settings = MultiIndexSettings.of(cls.kind, parameters)
        part_bits = settings.part_bits or default_part_bits(len(codes))
        tables = Tables.of(codes, n_bits, part_bits)
        n_tables = len(tables.ends)
        stated = {"part_bits": part_bits, "tables": n_tables, "radius_without_flips": n_tables - 1}
        return cls(codes, tables, stated)

    def nearest(
        self, query_codes: Codes, top_k: int, *, allowed: Allowed | None = None
    ) -> Neighbours:
        """Find the nearest rows of each query; see `Searcher.nearest`.

        Flips grow until the rows found with certainty are enough.
        """
        n_queries = len(query_codes)
        positions = np.full((n_queries, top_k), NO_ROW, np.int64)
        distances = np.full((n_queries, top_k), beyond(self.codes), np.int32)
        left = np.arange(n_queries)
        n_flips = 0
        while len(left) and self.can_look_up(n_flips, len(left)):
            queries = np.ascontiguousarray(query_codes[left])
            radius = self.n_tables * (n_flips + 1) - 1
            is_looked_up, neighbours = self.look_up(queries, radius, n_flips, allowed, TRIED_SHARE)
            has_enough = np.diff(neighbours.starts) >= top_k
            for place in np.flatnonzero(has_enough).tolist():
                first = neighbours.starts[place]
                positions[left[place]] = neighbours.positions[first : first + top_k]
                distances[left[place]] = neighbours.distances[first : first + top_k]
            # Those whose tables list too many rows won't be better off with more flips.
            scanned = left[~is_looked_up]
            if len(scanned):
                self.scan_into(positions, distances, scanned, query_codes, allowed)
            left = left[is_looked_up & ~has_enough]
            n_flips += 1
        if len(left):
            self.scan_into(positions, distances, left, query_codes, allowed)
        return Neighbours(positions, distances)

    def scan_into(
        self,
        positions: Positions,
        distances: NDArray[np.int32],
        queries: Positions,
        query_codes: Codes,
        allowed: Allowed | None,
    ) -> None:
        """Scan for some of the queries."""
        chosen, top_k = np.ascontiguousarray(query_codes[queries]), positions.shape[1]
        if allowed is None:
            neighbours = scan_nearest(self.codes, chosen, top_k)
        else:
            neighbours = scan_allowed(self.codes, chosen, top_k, allowed)
        positions[queries], distances[queries] = neighbours.positions, neighbours.distances

    def within(
        self, query_codes: Codes, radius: int, *, allowed: Allowed | None = None
    ) -> RaggedNeighbours:
        """Find the rows within a radius of each query; see `Searcher.within`."""
        n_flips = radius // self.n_tables
        if not self.can_look_up(n_flips, len(query_codes)):
            return self.scan_within(query_codes, radius, allowed)
        is_looked_up, neighbours = self.look_up(query_codes, radius, n_flips, allowed, 1)
        if is_looked_up.all():
            return neighbours
        scanned = self.scan_within(
            np.ascontiguousarray(query_codes[~is_looked_up]), radius, allowed
        )
        return interleave_hits(is_looked_up, neighbours, scanned)

    def scan_within(
        self, query_codes: Codes, radius: int, allowed: Allowed | None
    ) -> RaggedNeighbours:
        """Scan for the rows within a radius."""
        if allowed is None:
            return scan_within(self.codes, query_codes, radius)
        return scan_rows_within(self.codes, query_codes, radius, np.flatnonzero(allowed))

    def nearest_relaxed(
        self, queries: WeightedQueries, top_k: int, *, allowed: Allowed | None = None
    ) -> Neighbours:
        """Scan for relaxed queries: bits of unequal weight are no part that agrees as a whole.

        The scan keeps a copy of the codes, made when the first relaxed query comes.
        """
        if allowed is None:
            return self.fast_scan.nearest(queries, top_k)
        return scan_nearest_relaxed(self.codes, queries, top_k, allowed=allowed)

    def within_relaxed(
        self,
        queries: WeightedQueries,
        limits: NDArray[np.int64],
        *,
        allowed: Allowed | None = None,
    ) -> RaggedNeighbours:
        """Scan for relaxed queries; see `RelaxedSearcher.within_relaxed`."""
        if allowed is None:
            return self.fast_scan.within(queries, limits)
        return scan_within_relaxed(self.codes, queries, limits, allowed=allowed)

    def can_look_up(self, n_flips: int, n_queries: int) -> bool:
        """Tell whether looking values up, whatever they list, is cheaper than a scan."""
        widest = int(max(np.diff((0, *self.tables.ends))))
        if n_flips > widest:
            return False
        lookups = self.n_tables * len(flip_masks(widest, n_flips)) * LOOKUP_COST
        return lookups + CALL_COST / n_queries < len(self.codes)

    def look_up(
        self,
        query_codes: Codes,
        radius: int,
        n_flips: int,
        allowed: Allowed | None,
        share: float,
    ) -> tuple[NDArray[np.bool_], RaggedNeighbours]:
        """Find the rows within a radius that the tables list, at a share of a scan's cost at most.

        Returns:
            Which queries were looked up, (q,) bool: those whose tables list too many rows are not,
            and have no hits; and the hits.
        """
        first, counts = self.tables.locate_rows(query_codes, n_flips)
        n_listed = counts.sum(axis=1)
        is_looked_up = n_listed * CANDIDATE_COST <= share * len(self.codes)
        counts[~is_looked_up] = 0
        n_listed[~is_looked_up] = 0
        parts = []
        for start, end in blocks(n_listed, BLOCK_CANDIDATES):
            listed = ragged_ranges(first[start:end].ravel(), counts[start:end].ravel())
            rows = self.tables.rows.ravel()[listed].astype(np.int64)
            query = np.repeat(np.arange(start, end), n_listed[start:end])
            if allowed is not None:
                is_kept = allowed[rows]
                rows, query = rows[is_kept], query[is_kept]
            words = to_words(take_rows(self.codes, rows))
            own = to_words(np.ascontiguousarray(query_codes[start:end]))[query - start]
            near = np.bitwise_count(words ^ own).sum(axis=1, dtype=np.int64)
            is_kept = near <= radius
            parts.append(np.stack([query[is_kept], near[is_kept], rows[is_kept]]))
        query, near, rows = np.concatenate(parts, axis=1)
        order = np.lexsort((rows, near, query))
        query, near, rows = query[order], near[order], rows[order]
        # A row that several tables list stands here as often, one after the other.
        is_new = np.ones(len(rows), np.bool_)
        is_new[1:] = (rows[1:] != rows[:-1]) | (query[1:] != query[:-1])
        hits = np.bincount(query[is_new], minlength=len(query_codes))
        starts = np.concatenate([[0], np.cumsum(hits)]).astype(np.int64)
        return is_looked_up, RaggedNeighbours(starts, rows[is_new], near[is_new].astype(np.int32))

    def write(self, folder: Path) -> Sequence[str]:
        """Write the tables; see `Searcher.write`."""
        for part, array in zip(PARTS, (self.tables.rows, self.tables.starts), strict=True):
            write_array(folder / f"{part}.npy", array)
        return [f"{part}.npy" for part in PARTS]

    @classmethod
    def open(
        cls, folder: Path, codes: Codes, n_bits: int, *, parameters: Mapping[str, Any]
    ) -> Self:
        """Map the tables; see `Searcher.open`."""
        rows, starts = (read_array(folder / f"{part}.npy") for part in PARTS)
        ends = part_ends(n_bits, parameters["part_bits"])
        n_values = 1 << max(np.diff((0, *ends)))
        if rows.shape != (len(ends), len(codes)) or starts.shape != (len(ends), n_values + 1):
            raise DamagedArtifactError(
                f"{folder} is damaged: its tables don't fit the codes; make the index again"
            )
        return cls(codes, Tables(ends, rows, starts), parameters)


def default_part_bits(n_codes: int) -> int:
    """Choose the bits of a part at which about one code has each value, within the limits.

    Example:
        >>> default_part_bits(500), default_part_bits(10_000_000)
        (9, 16)
    """
    return max(LEAST_PART_BITS, min(MOST_PART_BITS, round(math.log2(n_codes))))


def part_ends(n_bits: int, part_bits: int) -> tuple[int, ...]:
    """Compute where parts of about equal width end, the widest of at most `part_bits`.

    Example:
        >>> part_ends(64, 16), part_ends(24, 16)
        ((16, 32, 48, 64), (12, 24))
    """
    n_parts = -(-n_bits // part_bits)
    return tuple(n_bits * (part + 1) // n_parts for part in range(n_parts))


def part_values(codes: Codes, ends: tuple[int, ...], part: int) -> NDArray[np.uint16]:
    """Read one part of each code as a number, (n,) uint16."""
    first, end = (0, *ends)[part], ends[part]
    value = np.zeros(len(codes), np.uint32)
    for place, byte in enumerate(range(first // 8, (end - 1) // 8 + 1)):
        value |= codes[:, byte].astype(np.uint32) << np.uint32(8 * place)
    value >>= np.uint32(first % 8)
    return (value & np.uint32((1 << (end - first)) - 1)).astype(np.uint16)


@cache
def flip_masks(n_bits: int, n_flips: int) -> NDArray[np.int64]:
    """List all numbers of `n_bits` bits of which at most `n_flips` are 1.

    Example:
        >>> flip_masks(3, 1)
        array([0, 1, 2, 4])
    """
    numbers = np.arange(1 << n_bits)
    return numbers[np.bitwise_count(numbers) <= n_flips]


def blocks(counts: NDArray[np.int64], most: int) -> list[tuple[int, int]]:
    """Cut queries into runs that list about `most` rows each; one run at least."""
    totals = np.cumsum(counts)
    cuts = np.flatnonzero(np.diff(totals // most)) + 1
    edges = [0, *cuts.tolist(), len(counts)]
    return list(pairwise(edges))


def interleave_hits(
    is_first: NDArray[np.bool_], first: RaggedNeighbours, second: RaggedNeighbours
) -> RaggedNeighbours:
    """Merge hits of all queries: `first` has all queries, `second` those not marked."""
    counts = np.diff(first.starts)
    counts[~is_first] = np.diff(second.starts)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    is_first_hit = np.repeat(is_first, counts)
    positions = np.empty(len(is_first_hit), np.int64)
    distances = np.empty(len(is_first_hit), np.int32)
    for chosen, hits in ((is_first_hit, first), (~is_first_hit, second)):
        positions[chosen], distances[chosen] = hits.positions, hits.distances
    return RaggedNeighbours(starts, positions, distances)
