"""Columns of ids: compact arrays that can be mapped from files and gathered by position."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from modalhash.errors import InputError, ShapeError
from modalhash.index.base import IdArray, IdKind, Ids

__all__ = ["IdColumn", "IntegerIds", "TextIds", "id_column"]

BLOCK = 1 << 16
Positions = NDArray[np.int64]
"""Places in an index's item order, counted from 0."""


class IdColumn(ABC):
    """The ids of some items in order; never changed, only replaced."""

    kind: IdKind

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of ids."""

    @abstractmethod
    def take(self, positions: Positions) -> IdArray:
        """Return the ids at some positions, in the shape of `positions`."""

    @abstractmethod
    def keep(self, is_kept: NDArray[np.bool_]) -> Self:
        """Return the column of the ids marked True."""

    @abstractmethod
    def extended(self, other: Self) -> Self:
        """Return the column of these ids followed by the other's."""

    @abstractmethod
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return the arrays that hold the ids, by name; the constructor takes them again."""

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
        """Return the ids at some positions, in the shape of `positions`."""
        return np.asarray(self.ids[positions])

    def keep(self, is_kept: NDArray[np.bool_]) -> Self:
        """Return the column of the ids marked True."""
        return type(self)(self.ids[is_kept])

    def extended(self, other: Self) -> Self:
        """Return the column of these ids followed by the other's."""
        return type(self)(np.concatenate([self.ids, other.ids]))

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return the array of ids."""
        return {"ids": self.ids}


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
        """Return the column of some texts.

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
        """Return the ids at some positions, in the shape of `positions`."""
        flat = positions.ravel()
        ends = self.id_ends[flat].tolist()
        starts = np.where(flat > 0, self.id_ends[flat - 1], 0).tolist()
        text = self.id_text.data
        ids = np.empty(len(flat), np.object_)
        ids[:] = [str(text[start:end], "utf-8") for start, end in zip(starts, ends, strict=True)]
        return ids.reshape(positions.shape)

    def keep(self, is_kept: NDArray[np.bool_]) -> Self:
        """Return the column of the ids marked True."""
        lengths = np.diff(self.id_ends, prepend=0)
        kept_text = self.id_text[np.repeat(is_kept, lengths)]
        return type(self)(np.cumsum(lengths[is_kept], dtype=np.int64), kept_text)

    def extended(self, other: Self) -> Self:
        """Return the column of these ids followed by the other's."""
        ends = np.concatenate([self.id_ends, other.id_ends + len(self.id_text)])
        return type(self)(ends, np.concatenate([self.id_text, other.id_text]))

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return the ends and the bytes."""
        return {"id_ends": self.id_ends, "id_text": self.id_text}


def id_column(ids: Ids) -> IdColumn | None:
    """Check ids and bring them into a column.

    Args:
        ids: texts or integers, one kind.

    Returns:
        The column; None if there are no ids, which have no kind.

    Raises:
        InputError: if an id is neither a text nor a 64-bit integer, or kinds are mixed.
        ShapeError: if `ids` is an array of other than one axis, or a single text.

    Example:
        >>> id_column([7, -1]).take(np.array([1]))
        array([-1])
    """
    if isinstance(ids, str):
        raise ShapeError(f"ids is the text {ids!r}, expected a sequence of ids: [{ids!r}]")
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
    return IntegerIds(np.array([checked_integer(value) for value in values], np.int64))


def checked_integer(value: object) -> int:
    """Return an integer id.

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
