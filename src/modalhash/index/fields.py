"""The values of one metadata field, in order: later tests of the field read no documents.

Made of a segment when a field is tested for the second time. Fields that are worth no index (as
many texts as items, integers beyond what a float holds) are left to the database.
"""

import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from modalhash.index.filter_tree import Compare, Contains, IsIn, IsNull, Leaf, Value, sort_of
from modalhash.index.searchers import Positions

__all__ = ["FieldIndex"]

MOST_TEXTS: Final = 100_000
"""A field with more distinct texts, or values in lists, has no index."""
EXACT_INTEGER: Final = 2**53
"""Integers up to this are the same as floats."""
NO_ROWS: Final[Positions] = np.empty(0, np.int64)


@dataclass(frozen=True)
class FieldIndex:
    """Rows by what a field holds there.

    Attributes:
        numbers: (r,) float64, ascending.
        number_rows: (r,) the row of each number.
        texts: distinct texts, ascending.
        entries: rows by a text, a truth, or a value in a list; see `key_of`.
        rows: (s,) all rows where the field isn't null, ascending.
    """

    numbers: NDArray[np.float64]
    number_rows: Positions
    texts: list[str]
    entries: Mapping[tuple[str, Value], Positions]
    rows: Positions

    @classmethod
    def of(cls, values: Iterable[tuple[int, str, Any]]) -> Self | None:
        """Make the index of a field.

        Args:
            values: row, JSON type and value where the field isn't missing; lists as JSON.

        Returns:
            The index; None if the field is worth none.
        """
        numbers: list[float] = []
        number_rows: list[int] = []
        entries: dict[tuple[str, Value], list[int]] = {}
        rows: list[int] = []
        for row, sort, value in values:
            if sort == "null":
                continue
            rows.append(row)
            match sort:
                case "integer" | "real":
                    if isinstance(value, int) and abs(value) > EXACT_INTEGER:
                        return None
                    numbers.append(float(value))
                    number_rows.append(row)
                case "text":
                    entries.setdefault(("text", value), []).append(row)
                case "true" | "false":
                    entries.setdefault(("truth", bool(value)), []).append(row)
                case "array":
                    for key in keys_in(value):
                        entries.setdefault(key, []).append(row)
            if len(entries) > MOST_TEXTS:
                return None
        order = np.argsort(np.array(numbers), kind="stable")
        return cls(
            np.array(numbers, np.float64)[order],
            np.array(number_rows, np.int64)[order],
            sorted(str(value) for kind, value in entries if kind == "text"),
            {key: np.array(key_rows, np.int64) for key, key_rows in entries.items()},
            np.array(rows, np.int64),
        )

    def matching(self, leaf: Leaf) -> Positions | None:
        """Find the rows for which a test holds, ascending; of `IsNull` those where it doesn't.

        Returns:
            None if the index can't tell.
        """
        match leaf:
            case IsNull():
                return self.rows
            case Compare(_, operator, value):
                return self.compared(operator, value)
            case IsIn(_, values):
                parts = [self.compared("==", value) for value in values]
                known = [rows for rows in parts if rows is not None]
                return join_rows(known) if len(known) == len(parts) else None
            case Contains(_, value):
                if is_beyond(value):
                    return None
                return self.entries.get(("list " + sort_of(value), plain(value)), NO_ROWS)
        return None

    def compared(self, operator: str, value: Value) -> Positions | None:
        """Find the rows whose value compares so; None if the index can't tell."""
        sort = sort_of(value)
        if is_beyond(value):
            return None
        if sort == "number":
            number = float(value)
            left = int(np.searchsorted(self.numbers, number, "left"))
            right = int(np.searchsorted(self.numbers, number, "right"))
            return np.sort(self.number_rows[span(operator, left, right, len(self.numbers))])
        if operator == "==":
            return self.entries.get((sort, value), NO_ROWS)
        if sort == "truth":
            return None
        place = bisect_left(self.texts, str(value))
        is_there = self.texts[place : place + 1] == [value]
        texts = self.texts[span(operator, place, place + is_there, len(self.texts))]
        return join_rows([self.entries["text", text] for text in texts])


def span(operator: str, left: int, right: int, n: int) -> slice:
    """Find which of n ascending values compare so with one that belongs from left to right."""
    return {
        "==": slice(left, right),
        "<": slice(0, left),
        "<=": slice(0, right),
        ">": slice(right, n),
        ">=": slice(left, n),
    }[operator]


def join_rows(parts: list[Positions]) -> Positions:
    """Join rows of several parts, ascending, each once."""
    return np.unique(np.concatenate([NO_ROWS, *parts]))


def plain(value: Value) -> Value:
    """Convert a value so that equal ones are equal keys."""
    return float(value) if sort_of(value) == "number" else value


def is_beyond(value: Value) -> bool:
    """Tell whether a value is an integer that no float may hold."""
    return isinstance(value, int) and abs(value) > EXACT_INTEGER


def keys_in(document: str) -> set[tuple[str, Value]]:
    """Make the keys of a list's values."""
    return {
        ("list " + sort_of(value), plain(value))
        for value in json.loads(document)
        if isinstance(value, str | int | float) and not is_beyond(value)
    }
