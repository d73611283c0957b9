"""Distinct codes and the rows that have them: search few codes, answer with all rows.

Learned codes collide: many items have one code. To compare a query with each distinct code once
is less work. The distinct codes stand in the order in which each first appears. That is what makes
the nearest k of them enough for the nearest k rows by distance, then position: a code that is not
among them stands behind k codes, each of which has a row that comes before all of its own.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes
from modalhash.errors import DamagedArtifactError
from modalhash.files import write_array
from modalhash.index.folder import read_array
from modalhash.index.searchers import NO_ROW, Neighbours, Positions, RaggedNeighbours

__all__ = ["Folding", "beyond", "distinct_share", "ragged_ranges", "row_type"]

PARTS = ("distinct_codes", "distinct_starts", "distinct_rows")
COUNTED_CODES = 1 << 20
"""Of more codes than this, the distinct ones are counted in a slice only."""
MIX = np.uint64(0x9E3779B97F4A7C15)
BLOCK_ROWS = 1 << 18
EXPANDED_ROWS = 1 << 22
LARGEST_KEY = 1 << 62
"""Rows that are sorted at a time when hits are expanded."""


@dataclass(frozen=True)
class Folding:
    """The distinct ones among m codes.

    Attributes:
        codes: (u, p) uint8 distinct codes, in the order of first appearance.
        starts: (u + 1,) int32 (int64 from 2^31 rows), where the rows of each begin in `rows`.
        rows: (m,) int32 or int64, the rows that have each code, ascending.
    """

    codes: Codes
    starts: NDArray[np.signedinteger[Any]]
    rows: NDArray[np.signedinteger[Any]]

    @classmethod
    def of(cls, codes: Codes) -> Self:
        """Fold codes.

        Args:
            codes: (m, p) uint8, one row at least.

        Example:
            >>> folding = Folding.of(np.array([[7], [3], [7], [7]], np.uint8))
            >>> folding.codes.ravel(), folding.starts, folding.rows
            (array([7, 3], dtype=uint8), array([0, 3, 4], dtype=int32), array([0, 2, 3, 1], dtype=int32))
        """  # noqa: E501
        dtype = row_type(len(codes))
        words = to_words(codes)
        order = np.lexsort(words.T) if words.shape[1] > 1 else words[:, 0].argsort(kind="stable")
        order = order.astype(dtype)
        is_first = np.ones(len(codes), np.bool_)
        for word in range(words.shape[1]):
            in_order = words[order, word]
            differs = in_order[1:] != in_order[:-1]
            is_first[1:] = differs if not word else is_first[1:] | differs
        del words
        starts = np.flatnonzero(is_first)
        counts = np.diff(starts, append=len(codes))
        first_rows = order[starts]
        by_first = np.argsort(first_rows)
        counts = counts[by_first]
        rows = order[ragged_ranges(starts[by_first], counts)]
        ends = np.cumsum(counts, dtype=dtype)
        distinct = np.ascontiguousarray(codes[first_rows[by_first]])
        return cls(distinct, np.concatenate([np.zeros(1, dtype), ends]), rows)

    def __len__(self) -> int:
        """Count the distinct codes."""
        return len(self.codes)

    def expand_nearest(
        self, neighbours: Neighbours, top_k: int, *, farthest: int | None = None
    ) -> Neighbours:
        """Find the `top_k` nearest rows, given the nearest distinct codes.

        Args:
            neighbours: (q, j) distinct codes; all of them, or `top_k` at least.
            top_k: rows wanted.
            farthest: the distance that stands beside `NO_ROW`; None is that of Hamming distances.

        Returns:
            (q, top_k) rows by distance, then position; `NO_ROW` where the codes have no more.
        """
        n_queries, width = neighbours.positions.shape
        farthest = beyond(self.codes) if farthest is None else farthest
        block = max(1, EXPANDED_ROWS // max(1, width * min(top_k, 64)))
        block = max(1, min(block, LARGEST_KEY // (len(self.rows) * farthest)))
        if n_queries <= block:
            return self.expand_block(neighbours.positions, neighbours.distances, top_k, farthest)
        parts = [
            self.expand_block(
                neighbours.positions[start : start + block],
                neighbours.distances[start : start + block],
                top_k,
                farthest,
            )
            for start in range(0, n_queries, block)
        ]
        return Neighbours(
            np.concatenate([part.positions for part in parts]),
            np.concatenate([part.distances for part in parts]),
        )

    def expand_block(
        self, groups: Positions, group_distances: NDArray[np.int32], top_k: int, farthest: int
    ) -> Neighbours:
        """Find the nearest rows of some queries; see `expand_nearest`."""
        n_queries, n_rows = len(groups), len(self.rows)
        is_code = groups != NO_ROW
        first = self.starts[groups].astype(np.int64)
        # At `NO_ROW` this reads the last and the first start: nothing, or less.
        counts = np.where(is_code, self.starts[groups + 1] - first, 0)
        # Only codes up to the distance of the k-th row matter, and of each only its first k rows.
        has_enough = counts.cumsum(axis=1) >= top_k
        last = np.where(has_enough[:, -1], has_enough.argmax(axis=1), groups.shape[1] - 1)
        kth = group_distances[np.arange(n_queries), last]
        counts[group_distances > kth[:, None]] = 0
        np.minimum(counts, top_k, out=counts)
        flat_counts, totals = counts.ravel(), counts.sum(axis=1)
        # One number that orders by query, then distance, then row.
        offsets = np.arange(n_queries) * (n_rows * farthest)
        keys = (group_distances * np.int64(n_rows) + offsets[:, None]).ravel().repeat(flat_counts)
        keys += self.rows[ragged_ranges(first.ravel(), flat_counts)]
        keys.sort()
        places = (totals.cumsum() - totals)[:, None] + np.arange(top_k)
        is_row = np.arange(top_k) < totals[:, None]
        is_full = bool(is_row.all())
        if not is_full:
            places = np.where(is_row, places, 0)
            keys = keys if len(keys) else np.zeros(1, np.int64)
        near, rows = np.divmod(keys[places] - offsets[:, None], n_rows)
        if not is_full:
            near, rows = np.where(is_row, near, farthest), np.where(is_row, rows, NO_ROW)
        return Neighbours(rows, near.astype(np.int32))

    def expand_within(self, neighbours: RaggedNeighbours) -> RaggedNeighbours:
        """List all rows of the distinct codes that were found, by distance, then position."""
        first = self.starts[neighbours.positions].astype(np.int64)
        counts = self.starts[neighbours.positions + 1] - first
        rows = self.rows[ragged_ranges(first, counts)].astype(np.int64)
        distances = np.repeat(neighbours.distances, counts)
        totals = np.concatenate([[0], np.cumsum(counts)])
        starts = totals[neighbours.starts].astype(np.int64)
        query = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        order = np.lexsort((rows, distances, query))
        return RaggedNeighbours(starts, rows[order], distances[order])

    def write(self, folder: Path) -> list[str]:
        """Write the arrays; return the names of the files."""
        for part, array in zip(PARTS, (self.codes, self.starts, self.rows), strict=True):
            write_array(folder / f"{part}.npy", array)
        return [f"{part}.npy" for part in PARTS]

    @classmethod
    def open(cls, folder: Path, codes: Codes) -> Self:
        """Map what `write` wrote of `codes`.

        Raises:
            DamagedArtifactError: if a file is missing or doesn't fit.
        """
        distinct, starts, rows = (read_array(folder / f"{part}.npy") for part in PARTS)
        if (
            distinct.shape != (len(starts) - 1, codes.shape[1])
            or rows.shape != (len(codes),)
            or int(starts[-1]) != len(codes)
        ):
            raise DamagedArtifactError(
                f"{folder} is damaged: its distinct codes don't fit the codes; make the index again"
            )
        return cls(distinct, starts, rows)


def distinct_share(codes: Codes) -> float:
    """Estimate the share of distinct codes, in (0, 1]; exact up to `COUNTED_CODES` codes.

    Of more, those whose mixed bits fall into one slice are counted, so that all copies of a code
    are in it or none is: a random sample would miss most copies.

    Example:
        >>> distinct_share(np.array([[7], [3], [7], [7]], np.uint8))
        0.5
    """
    n_slices = max(1, len(codes) // COUNTED_CODES)
    slices = []
    for start in range(0, len(codes), BLOCK_ROWS):
        words = to_words(codes[start : start + BLOCK_ROWS])
        if n_slices > 1:
            mixed = np.zeros(len(words), np.uint64)
            for word in range(words.shape[1]):
                mixed = (mixed ^ words[:, word]) * MIX
                mixed ^= mixed >> np.uint64(29)
            words = words[(mixed * MIX) >> np.uint64(32) < np.uint64(2**32 // n_slices)]
        slices.append(words)
    counted = np.concatenate(slices)
    if not len(counted):
        return 1.0
    order = np.lexsort(counted.T)
    counted = counted[order]
    return float((1 + (counted[1:] != counted[:-1]).any(axis=1).sum()) / len(counted))


def to_words(codes: Codes) -> NDArray[np.uint64]:
    """Convert codes to rows of 64-bit words, with zero bytes added; a view where it can be."""
    width = codes.shape[1]
    if width % 8:
        codes = np.pad(codes, ((0, 0), (0, -width % 8)))
    return np.ascontiguousarray(codes).view(np.uint64)


def row_type(n_rows: int) -> type[np.int32] | type[np.int64]:
    """Choose the narrowest type that holds the positions of so many rows."""
    return np.int32 if n_rows < 2**31 else np.int64


def beyond(codes: Codes) -> int:
    """Compute the distance that stands beside `NO_ROW`, above that of any two codes."""
    return 8 * int(codes.shape[1]) + 1


def ragged_ranges(starts: NDArray[Any], counts: NDArray[Any]) -> NDArray[np.int64]:
    """Join the ranges `start, ..., start + count - 1`, one after the other.

    Example:
        >>> ragged_ranges(np.array([5, 0]), np.array([2, 3]))
        array([5, 6, 0, 1, 2])
    """
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    ranges: NDArray[np.int64] = np.arange(total) + np.repeat(starts - (ends - counts), counts)
    return ranges
