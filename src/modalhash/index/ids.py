"""Columns of ids: compact arrays that can be mapped from files and gathered by position."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from modalhash.errors import DamagedArtifactError, InputError, ShapeError
from modalhash.index.hits import IdArray, IdKind, Ids
from modalhash.index.searchers import NO_ROW, Positions

__all__ = ["IdColumn", "IdLookup", "IntegerIds", "TextIds", "format_ids", "id_column"]

BLOCK = 1 << 16
SHOWN_IDS = 5


class IdColumn(ABC):
    """The ids of some items in order; never changed, only replaced."""

    kind: IdKind

    @abstractmethod
    def __len__(self) -> int:
        """Count the ids."""

    @abstractmethod
    def take(self, positions: Positions) -> IdArray:
        """Take the ids at some positions, in the shape of `positions`."""

    @abstractmethod
    def keep(self, is_kept: NDArray[np.bool_]) -> Self:
        """Make the column of the ids marked True."""

    @abstractmethod
    def extended(self, other: Self) -> Self:
        """Make the column of these ids followed by the other's."""

    @abstractmethod
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """List the arrays that hold the ids, by name; the constructor takes them again."""

    @abstractmethod
    def keys(self) -> NDArray[Any]:
        """Make a number for each id, the same for equal ids: what a lookup sorts by."""

    def __iter__(self) -> Iterator[Any]:
        """Yield the ids as Python values, made a block at a time."""
        for start in range(0, len(self), BLOCK):
            yield from self.take(np.arange(start, min(start + BLOCK, len(self)))).tolist()


@dataclass(frozen=True)
class IntegerIds(IdColumn):
    """Integer ids.

    Attributes:
        ids: (n,) int64.
    """

    ids: NDArray[np.int64]
    kind = IdKind.INTEGER

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, positions: Positions) -> IdArray:
        """Take the ids at some positions, in the shape of `positions`."""
        return self.ids.take(positions)

    def keep(self, is_kept: NDArray[np.bool_]) -> Self:
        """Make the column of the ids marked True."""
        return type(self)(self.ids[is_kept])

    def extended(self, other: Self) -> Self:
        """Make the column of these ids followed by the other's."""
        return type(self)(np.concatenate([self.ids, other.ids]))

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Name the array of ids."""
        return {"ids": self.ids}

    def keys(self) -> NDArray[Any]:
        """Take the ids themselves."""
        return self.ids


@dataclass(frozen=True)
class TextIds(IdColumn):
    """Text ids, as one run of UTF-8 bytes.

    Attributes:
        id_ends: (n,) int64, where each text ends in `id_text`.
        id_text: (t,) uint8, all texts one after the other.
    """

    id_ends: NDArray[np.int64]
    id_text: NDArray[np.uint8]
    kind = IdKind.TEXT

    @classmethod
    def of(cls, texts: Sequence[str]) -> Self:
        """Make the column of some texts.

        Raises:
            InputError: if a text can't be encoded (half of a surrogate pair), naming it.
        """
        try:
            parts = [text.encode() for text in texts]
        except UnicodeEncodeError as error:
            raise InputError(f"ids holds {error.object!r}, which is no valid Unicode") from error
        ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
        return cls(ends, np.frombuffer(b"".join(parts), np.uint8))

    def __len__(self) -> int:
        return len(self.id_ends)

    def take(self, positions: Positions) -> IdArray:
        """Take the ids at some positions, in the shape of `positions`."""
        flat = positions.ravel()
        ends = self.id_ends[flat].tolist()
        starts = np.where(flat > 0, self.id_ends[flat - 1], 0).tolist()
        text = self.id_text.data
        ids = np.empty(len(flat), np.object_)
        try:
            ids[:] = [
                str(text[start:end], "utf-8") for start, end in zip(starts, ends, strict=True)
            ]
        except UnicodeDecodeError as error:
            raise DamagedArtifactError(f"ids of an index are damaged: {error}") from error
        return ids.reshape(positions.shape)

    def keep(self, is_kept: NDArray[np.bool_]) -> Self:
        """Make the column of the ids marked True."""
        lengths = np.diff(self.id_ends, prepend=0)
        kept_text = self.id_text[np.repeat(is_kept, lengths)]
        return type(self)(np.cumsum(lengths[is_kept], dtype=np.int64), kept_text)

    def extended(self, other: Self) -> Self:
        """Make the column of these ids followed by the other's."""
        ends = np.concatenate([self.id_ends, other.id_ends + len(self.id_text)])
        return type(self)(ends, np.concatenate([self.id_text, other.id_text]))

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Name the ends and the bytes."""
        return {"id_ends": self.id_ends, "id_text": self.id_text}

    def keys(self) -> NDArray[Any]:
        """Compute 64 bits of each text's BLAKE2b hash."""
        text, ends = self.id_text.data, self.id_ends.tolist()
        digests = bytearray(8 * len(ends))
        start = 0
        for row, end in enumerate(ends):
            digests[8 * row : 8 * row + 8] = blake2b(text[start:end], digest_size=8).digest()
            start = end
        return np.frombuffer(digests, "<u8").astype(np.uint64)


@dataclass(frozen=True)
class IdLookup:
    """Finds the rows of ids in a column: its keys in order.

    Attributes:
        keys: (n,) ascending.
        order: (n,) int64, the row of each key; None if the rows are in the order of their keys.
    """

    keys: NDArray[Any]
    order: Positions | None

    @classmethod
    def of(cls, column: IdColumn) -> Self:
        """Make the lookup of a column."""
        keys = column.keys()
        if (keys[1:] >= keys[:-1]).all():
            return cls(keys, None)
        order = np.argsort(keys, kind="stable").astype(np.int64)
        return cls(keys[order], order)

    def arrays(self, column: IdColumn) -> Mapping[str, NDArray[Any]]:
        """List what must be kept beside the column to make the lookup again."""
        arrays: dict[str, NDArray[Any]] = {}
        if self.order is not None:
            arrays["id_order"] = self.order
        if self.order is not None or column.kind is not IdKind.INTEGER:
            arrays["id_keys"] = self.keys
        return arrays

    def rows(self, column: IdColumn, sought: IdColumn) -> Positions:
        """Find the row of each wanted id.

        Args:
            column: the ids this is the lookup of.
            sought: ids of the same kind.

        Returns:
            (w,) int64, `NO_ROW` for an id that isn't there.
        """
        keys = sought.keys()
        places = np.searchsorted(self.keys, keys)
        is_near = places < len(self.keys)
        is_near[is_near] = self.keys[places[is_near]] == keys[is_near]
        rows = np.full(len(sought), NO_ROW, np.int64)
        rows[is_near] = self.row_at(places[is_near])
        if column.kind is IdKind.TEXT:
            self.settle(column, sought, keys, places, rows)
        return rows

    def row_at(self, places: Positions) -> Positions:
        """Look up the rows of keys by their places."""
        if self.order is None:
            return places
        rows = np.asarray(self.order[places])
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self.order):
            raise DamagedArtifactError("the lookup of an index's ids is damaged: make it again")
        return rows

    def settle(
        self,
        column: IdColumn,
        sought: IdColumn,
        keys: NDArray[Any],
        places: Positions,
        rows: Positions,
    ) -> None:
        """Compare the texts behind equal keys, and go on to the next where they differ."""
        near = np.flatnonzero(rows != NO_ROW)
        if not len(near):
            return
        differs = column.take(rows[near]) != sought.take(near)
        for item in near[differs].tolist():
            text, place = sought.take(np.array([item]))[0], int(places[item])
            rows[item] = NO_ROW
            while place < len(self.keys) and self.keys[place] == keys[item]:
                row = self.row_at(np.array([place]))
                if column.take(row)[0] == text:
                    rows[item] = row[0]
                    break
                place += 1

    def duplicates(self, column: IdColumn) -> list[Any]:
        """Find the ids that come more than once in the column."""
        same = np.flatnonzero(self.keys[1:] == self.keys[:-1])
        if not len(same):
            return []
        twice: dict[Any, None] = {}
        seen = set()
        # Equal keys of texts may be of different texts, which happens once in 2^64.
        for place in np.union1d(same, same + 1).tolist():
            item = column.take(self.row_at(np.array([place]))).tolist()[0]
            if item in seen:
                twice[item] = None
            seen.add(item)
        return list(twice)


def id_column(ids: Ids | IdColumn) -> IdColumn | None:
    """Check ids and bring them into a column.

    Args:
        ids: texts or integers, one kind; or a column, which is taken as it is.

    Returns:
        The column; None if there are no ids, which have no kind.

    Raises:
        InputError: if an id is neither a text nor a 64-bit integer, or kinds are mixed.
        ShapeError: if `ids` is an array of other than one axis, or a single text.

    Example:
        >>> id_column([7, -1]).take(np.array([1]))
        array([-1])
    """
    if isinstance(ids, IdColumn):
        return ids if len(ids) else None
    if isinstance(ids, str):
        raise ShapeError(f"ids is the text {ids!r}, expected a sequence of ids: [{ids!r}]")
    if isinstance(ids, range) and ids and -(2**63) <= min(ids) <= max(ids) < 2**63:
        return IntegerIds(np.arange(ids.start, ids.stop, ids.step, dtype=np.int64))
    if isinstance(ids, np.ndarray):
        if ids.ndim != 1:
            raise ShapeError(f"ids has shape {ids.shape}, expected one axis (n,)")
        if ids.dtype.kind == "i":
            # A copy: the caller may write into the array later.
            return IntegerIds(ids.astype(np.int64)) if len(ids) else None
        values = ids.tolist()
    else:
        values = list(ids)
    if not values:
        return None
    if all(isinstance(value, str) for value in values):
        return TextIds.of(values)
    return IntegerIds(np.array([check_integer_id(value) for value in values], np.int64))


def check_integer_id(value: object) -> int:
    """Check and convert an integer id.

    Raises:
        InputError: if it isn't an integer of 64 bits.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise InputError(
            f"ids holds {value!r} ({type(value).__name__}): "
            "ids are all texts or all integers, so make them texts with str()"
        )
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise InputError(f"ids holds {number}, beyond 64 bits: make the ids texts with str()")
    return number


def format_ids(ids: Sequence[Any]) -> str:
    """List some ids for a reader, and how many more there are."""
    more = len(ids) - SHOWN_IDS
    listed = ", ".join(repr(value) for value in ids[:SHOWN_IDS])
    return f"{listed} and {more} more" if more > 0 else listed
