"""Features in memory, and the checks that every table of features makes."""

import numpy as np
from numpy.typing import NDArray

from modalhash.data.collection import TokenArrays
from modalhash.data.frames import choose_frames
from modalhash.encoders.base import FeatureTable
from modalhash.errors import FeatureError, InputError, ShapeError

__all__ = ["ArrayTable", "ReorderedTable", "check_rows", "missing_tokens_error"]


def missing_tokens_error(owner: str) -> FeatureError:
    """Describe, as an error, tokens that are asked for where there are none."""
    return FeatureError(
        f"{owner} hold no content tokens: extract them with `with_tokens=True` and an encoder that "
        "has them ('offline' or 'clip')"
    )


def check_rows(rows: NDArray[np.int64], n_rows: int) -> NDArray[np.int64]:
    """Check row numbers, and convert them to int64.

    Raises:
        ShapeError: if they aren't a vector of integers.
        InputError: if one isn't in [0, n_rows).
    """
    rows = np.asarray(rows)
    if rows.ndim != 1 or (rows.size and not np.issubdtype(rows.dtype, np.integer)):
        raise ShapeError(f"rows has shape {rows.shape} and dtype {rows.dtype}, expected integers")
    if rows.size and not 0 <= int(rows.min()) <= int(rows.max()) < n_rows:
        raise InputError(
            f"rows reach from {rows.min()} to {rows.max()}, but there are {n_rows}, counted from 0"
        )
    return rows.astype(np.int64)


class ArrayTable:
    """Features that are in memory: what a collection brings, or a small set.

    Args:
        pooled: (n, d) float32.
        name: what messages call them.
        tokens: content tokens of the n rows, if there are some.
        most_tokens: of a row at most; more are kept uniformly.
    """

    def __init__(
        self,
        pooled: NDArray[np.float32],
        name: str = "the features",
        *,
        tokens: TokenArrays | None = None,
        most_tokens: int = 0,
    ) -> None:
        self._pooled, self._name = pooled, name
        self._tokens, self._most_tokens = tokens, most_tokens

    @property
    def width(self) -> int:
        """Width d of pooled features."""
        return int(self._pooled.shape[1])

    @property
    def dtype(self) -> str:
        """Numbers stay as they were brought: "float32"."""
        return "float32"

    @property
    def token_shape(self) -> tuple[int, int] | None:
        """(t, w): most tokens of a row and their width; None if the arrays bring none."""
        if self._tokens is None:
            return None
        longest = int(np.diff(self._tokens.ends, prepend=0).max())
        return min(longest, self._most_tokens), self._tokens.vectors.shape[1]

    def __len__(self) -> int:
        """Count the number of rows."""
        return len(self._pooled)

    def pooled(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Select the features of some rows, (k, d) float32, in the order of `rows`.

        Raises:
            ShapeError, InputError: if rows aren't row numbers.
        """
        return self._pooled[check_rows(rows, len(self))].astype(np.float32, copy=False)

    def tokens(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Select the tokens of some rows: (k, t, w) float32 and their mask (k, t) bool.

        Raises:
            ShapeError, InputError: if rows aren't row numbers.
            FeatureError: if the arrays bring no tokens.
        """
        shape = self.token_shape
        if shape is None or self._tokens is None:
            raise missing_tokens_error(self._name)
        rows = check_rows(rows, len(self))
        tokens = np.zeros((len(rows), *shape), np.float32)
        mask = np.zeros((len(rows), shape[0]), np.bool_)
        for place, row in enumerate(rows.tolist()):
            own = self._tokens.of(row)
            frames = choose_frames(len(own), self._most_tokens)
            tokens[place, : len(frames)] = own[frames]
            mask[place, : len(frames)] = True
        return tokens, mask


class ReorderedTable:
    """Rows of another table in an order of its own.

    Args:
        table: where the rows are.
        order: (n,) int64, the row of `table` that each row here is.
    """

    def __init__(self, table: FeatureTable, order: NDArray[np.int64]) -> None:
        self._table, self._order = table, check_rows(order, len(table))

    @property
    def width(self) -> int:
        """Width d of pooled features."""
        return self._table.width

    @property
    def dtype(self) -> str:
        """Name of the dtype that the numbers are kept in."""
        return self._table.dtype

    @property
    def token_shape(self) -> tuple[int, int] | None:
        """(t, w): most tokens of a row and their width; None if no tokens are stored."""
        return self._table.token_shape

    def __len__(self) -> int:
        """Count the number of rows."""
        return len(self._order)

    def pooled(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read the features of some rows, (k, d) float32; see `FeatureTable.pooled`."""
        return self._table.pooled(self._order[check_rows(rows, len(self))])

    def tokens(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read the tokens of some rows and their mask; see `FeatureTable.tokens`."""
        return self._table.tokens(self._order[check_rows(rows, len(self))])
