"""Facets: which values fields have, in how many items each, for people who narrow a search down.

Counting reads metadata item by item, so it is bounded: at most `MOST_ITEMS` items are read, for at
most `MOST_SECONDS`. What was read is part of the answer, so that a count of a part isn't taken for
one of all.
"""

import time
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

from modalhash.index import HashIndex
from modalhash.index.interruption import check_interruption
from modalhash.search.filter_fields import check_filter_fields
from modalhash.service.facts import DATE, iterate_fields

__all__ = ["FacetCache", "count_facets"]

MOST_ITEMS: Final = 100_000
MOST_SECONDS: Final = 3.0
ITEMS_AT_ONCE: Final = 1000
MOST_VALUES: Final = 50
"""Values of a field in an answer."""
MOST_DISTINCT: Final = 2000
"""A field with more values is no facet: nobody chooses among so many."""
LONGEST_VALUE: Final = 200
KEPT_ANSWERS: Final = 64


@dataclass
class Counts:
    """What was counted of one field.

    Attributes:
        present: items that have it.
        values: items by value; None where there are too many values, or they are long.
        dates: items whose value is a date.
        earliest: of the dates.
        latest: of the dates.
        has_fractions: whether a value is a number that isn't whole, as of a place on a map.
    """

    present: int = 0
    values: Counter[str | bool | int] | None = field(default_factory=Counter)
    dates: int = 0
    years: Counter[str] = field(default_factory=Counter)
    earliest: str = ""
    latest: str = ""
    has_fractions: bool = False

    def take(self, value: Any) -> None:
        """Take note of an item's value."""
        self.present += 1
        if isinstance(value, str) and DATE.fullmatch(value):
            self.dates += 1
            self.years[value[:4]] += 1
            self.earliest = min(self.earliest or value, value)
            self.latest = max(self.latest, value)
        self.has_fractions |= isinstance(value, float) and not value.is_integer()
        if self.values is None:
            return
        for entry in set(iterate_values(value)):
            self.values[entry] += 1
        if len(self.values) > MOST_DISTINCT and self.dates < self.present:
            self.values = None

    def document(self, name: str, n_items: int) -> dict[str, Any] | None:
        """Describe the field as a facet; None if it is none."""
        facet = {"name": name, "missing": n_items - self.present}
        if self.dates == self.present:
            years = sorted(self.years.items(), reverse=True)
            return facet | {
                "kind": "year",
                "values": describe_values(years[:MOST_VALUES]),
                "more": max(0, len(years) - MOST_VALUES),
                "earliest": self.earliest,
                "latest": self.latest,
            }
        if not self.values or self.has_fractions or not self._is_choice():
            return None
        # The commonest first; of equally common ones in the order of the alphabet.
        ordered = sorted(self.values.items(), key=lambda pair: (-pair[1], str(pair[0])))
        return facet | {
            "kind": "value",
            "values": describe_values(ordered[:MOST_VALUES]),
            "more": max(0, len(ordered) - MOST_VALUES),
            "earliest": None,
            "latest": None,
        }

    def _is_choice(self) -> bool:
        """Tell whether values repeat, so that choosing one narrows down."""
        assert self.values is not None
        return len(self.values) <= MOST_VALUES or 2 * len(self.values) <= self.present


def iterate_values(value: Any) -> Iterator[str | bool | int]:
    """Yield the values of a field that can be chosen: texts, truths, whole numbers, entries."""
    for entry in value if isinstance(value, list) else [value]:
        if isinstance(entry, str):
            if 0 < len(entry) <= LONGEST_VALUE:
                yield entry
        elif isinstance(entry, bool | int):
            yield entry
        elif isinstance(entry, float) and entry.is_integer() and abs(entry) < 2**53:
            yield int(entry)


def describe_values(pairs: Sequence[tuple[str | bool | int, int]]) -> list[dict[str, Any]]:
    """Describe values and their counts."""
    return [{"value": value, "count": count} for value, count in pairs]


def count_facets(index: HashIndex, where: str | None) -> dict[str, Any]:
    """Count the values of the fields of a side's items.

    Args:
        index: one side.
        where: a filter, of which items count; None is all.

    Returns:
        Items that count, items that were read, and the facets in the order of their names.

    Raises:
        FilterError: if the filter can't be understood, or names a field that no item has.
        SearchStoppedError: if the filter takes too long, or nobody waits for the answer.
    """
    if where is None:
        n_items, parts = len(index), read_all(index)
    else:
        check_filter_fields(index, where)
        ids = index.select(where)
        n_items, parts = len(ids), read_some(index, ids)
    end = time.monotonic() + MOST_SECONDS
    counts: dict[str, Counts] = {}
    n_read = 0
    for documents in parts:
        for document in documents[: MOST_ITEMS - n_read]:
            for name, value in iterate_fields(document):
                counts.setdefault(name, Counts()).take(value)
        n_read = min(n_read + len(documents), MOST_ITEMS)
        check_interruption()
        if n_read >= MOST_ITEMS or time.monotonic() > end:
            break
    described = (counts[name].document(name, n_read) for name in sorted(counts))
    return {
        "of": n_items,
        "counted": n_read,
        "facets": [facet for facet in described if facet is not None],
    }


def read_all(index: HashIndex) -> Iterator[Sequence[Mapping[str, Any]]]:
    """Yield the metadata of all items in parts."""
    for block in index.blocks(ITEMS_AT_ONCE):
        yield block.metadata


def read_some(index: HashIndex, ids: Any) -> Iterator[Sequence[Mapping[str, Any]]]:
    """Yield the metadata of some items in parts."""
    for start in range(0, len(ids), ITEMS_AT_ONCE):
        yield index.metadata(ids[start : start + ITEMS_AT_ONCE])


class FacetCache:
    """The answers of one index asked for last, until it changes. Used from several threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Any, ...], dict[str, Any]] = OrderedDict()
        self._lock = Lock()

    def count(self, side: str, index: HashIndex, where: str | None) -> dict[str, Any]:
        """Count the facets of a side, or give those of an equal request; see `count_facets`."""
        version = index.version
        key = (side, version, len(index), where)
        with self._lock:
            if version is not None and key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        counted = count_facets(index, where)
        with self._lock:
            self._kept[key] = counted
            while len(self._kept) > KEPT_ANSWERS:
                self._kept.popitem(last=False)
        return counted
