"""Orders of a database for blocks of queries: by real-valued scores, and by relaxed queries."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes
from modalhash.codes.asymmetric import WeightedQueries, weighted_distances
from modalhash.errors import InputError, ShapeError

__all__ = ["BlockOrder", "Ranking", "ScoreBlocks", "ScoreRanking", "WeightedRanking"]

ScoreBlocks = Callable[[slice], NDArray[np.floating]]
"""Gives the (rows, m) scores of a block of queries with all items; larger is better."""

COLUMN_BITS = 32
"""Low bits of a sort key that hold the row of the database; weighted distances take 25."""


@dataclass(frozen=True)
class BlockOrder:
    """The order of the database for a block of queries, best first.

    Attributes:
        rows: (queries, k) int64 database rows; ties are in database order.
        is_new: (queries, k) bool, False where an item is tied with the one before it.
    """

    rows: NDArray[np.int64]
    is_new: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: NDArray[np.int64], keys: NDArray[Any]) -> "BlockOrder":
        """Mark the ties of sorted keys, (queries, k)."""
        is_new = np.zeros(keys.shape, bool)
        is_new[:, 1:] = keys[:, 1:] != keys[:, :-1]
        return cls(rows, is_new)


class Ranking(Protocol):
    """Orders a database for queries.

    Attributes:
        n_queries: queries.
        n_rows: rows of the database.
        n_items: rows that are ranked for each query.
    """

    n_queries: int
    n_rows: int
    n_items: int

    def order(self, queries: slice) -> BlockOrder:
        """Order the database for a block of queries."""


class ScoreRanking:
    """Orders a database by scores that a function gives.

    Args:
        score_block: gives the scores of a block of queries.
        n_queries: q.
        n_items: m.
    """

    def __init__(self, score_block: ScoreBlocks, n_queries: int, n_items: int) -> None:
        self.score_block, self.n_queries = score_block, n_queries
        self.n_rows = self.n_items = n_items

    def order(self, queries: slice) -> BlockOrder:
        """Order the database for a block of queries.

        Raises:
            ShapeError: if the scores aren't (rows, m) real numbers.
            InputError: if a score is NaN.
        """
        scores = np.asarray(self.score_block(queries))
        expected = (queries.stop - queries.start, self.n_items)
        if scores.shape != expected or scores.dtype.kind not in "iuf":
            raise ShapeError(
                f"scores of queries {queries.start} to {queries.stop} are {scores.dtype} of shape "
                f"{scores.shape}, expected real numbers of shape {expected}"
            )
        if scores.dtype.kind != "f":
            # Unsigned numbers have no negative.
            scores = scores.astype(np.float64)
        if np.isnan(scores).any():
            raise InputError(
                f"scores of queries {queries.start} to {queries.stop} hold NaN, which has no rank"
            )
        keys = -scores
        rows = np.argsort(keys, axis=1, kind="stable")
        return BlockOrder.of(rows, np.take_along_axis(keys, rows, axis=1))


class WeightedRanking:
    """Orders packed codes for queries that keep their numbers.

    Args:
        queries: q of them.
        database_codes: (m, p) uint8, packed, of as many bits.
        own_rows: (q,) the database row that is each query itself, and isn't ranked for it; None
            ranks all rows for all queries.
    """

    def __init__(
        self,
        queries: WeightedQueries,
        database_codes: Codes,
        own_rows: NDArray[np.int64] | None = None,
    ) -> None:
        self.queries, self.database_codes, self.own_rows = queries, database_codes, own_rows
        self.n_queries, self.n_rows = len(queries), len(database_codes)
        self.n_items = self.n_rows - (own_rows is not None)

    def order(self, queries: slice) -> BlockOrder:
        """Order the database for a block of queries; distances are whole numbers, ties exact."""
        distances = weighted_distances(self.queries.take(queries), self.database_codes)
        # Sorting distance and row as one number is stable, and quicker than a sort of places.
        keys = distances.astype(np.int64) << COLUMN_BITS
        keys |= np.arange(self.n_rows)
        keys.sort(axis=1)
        rows = keys & ((1 << COLUMN_BITS) - 1)
        keys >>= COLUMN_BITS
        if self.own_rows is not None:
            is_other = rows != self.own_rows[queries, None]
            shape = (len(rows), self.n_items)
            rows, keys = rows[is_other].reshape(shape), keys[is_other].reshape(shape)
        return BlockOrder.of(rows, keys)
