"""Rows in the order of insertion: segments that never change, and recent ones that grow.

Both hand out what a search needs for their first `n` rows; rows are never changed or moved, so what
was handed out stays right while more are added. Which rows are deleted is the snapshot's business.
"""

import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, code_width
from modalhash.index.fields import FieldIndex
from modalhash.index.filter_tree import And, Filter, IsNull, Leaf, Not, Or
from modalhash.index.hits import IdArray, IdKind
from modalhash.index.ids import IdColumn, IdLookup
from modalhash.index.items import ItemStore
from modalhash.index.searchers import NO_ROW, Allowed, Positions, Searcher

__all__ = ["RecentRows", "RowSource", "Segment"]

REMEMBERED_TESTS: Final = 32
"""Tests of filters whose rows are kept, each source's last used."""
FIRST_ROWS: Final = 64
INDEXED_ROWS: Final = 4096
"""Fields of fewer rows have no index: testing them all costs a few milliseconds."""
REMEMBERED_FIELDS: Final = 8


class RowSource(ABC):
    """Rows with codes, ids and metadata.

    Attributes:
        items: the metadata.
    """

    items: ItemStore

    def __init__(self) -> None:
        self._tests: OrderedDict[str, tuple[int, Positions]] = OrderedDict()
        self._testing = threading.Lock()

    def renew(self) -> None:
        """Replace in a forked child what belongs to the parent."""
        self._testing = threading.Lock()
        self.items.renew()

    @abstractmethod
    def codes(self, n: int) -> Codes:
        """Give the codes of the first `n` rows, (n, p) uint8, contiguous."""

    @abstractmethod
    def searcher(self, n: int) -> Searcher:
        """Give a searcher of the first `n` rows; `n` is positive."""

    @abstractmethod
    def take_ids(self, rows: Positions) -> IdArray:
        """Look up the ids of some rows, in the shape of `rows`."""

    @abstractmethod
    def find(self, column: IdColumn, n: int) -> Positions:
        """Look up the last row of each id among the first `n`, `NO_ROW` where there is none."""

    def holds(self, tree: Filter, n: int) -> Allowed:
        """Test for which of the first `n` rows a filter holds, (n,) bool."""
        match tree:
            case Not(term):
                return ~self.holds(term, n)
            case And(terms):
                is_passing = self.holds(terms[0], n)
                for term in terms[1:]:
                    is_passing &= self.holds(term, n)
                return is_passing
            case Or(terms):
                is_passing = self.holds(terms[0], n)
                for term in terms[1:]:
                    is_passing |= self.holds(term, n)
                return is_passing
        is_null = isinstance(tree, IsNull)
        is_passing = np.full(n, is_null)
        is_passing[self.select_by_test(tree, n)] = not is_null
        return is_passing

    def select_by_test(self, leaf: Leaf, n: int) -> Positions:
        """List the rows that the store finds for a test, of those up to `n`.

        What was found for fewer rows is kept, so that only those since then are read.
        """
        key = repr(leaf)  # tells 1 from True, which are equal
        with self._testing:
            done, rows = self._tests.pop(key, (0, np.empty(0, np.int64)))
            if done < n:
                tested_rows = self.look_up_in_field(leaf, n) if not done else None
                if tested_rows is None:
                    tested_rows = np.concatenate([rows, self.items.matching(leaf, done, n)])
                rows, done = tested_rows, n
            self._tests[key] = done, rows
            while len(self._tests) > REMEMBERED_TESTS:
                self._tests.popitem(last=False)
        return rows if done == n else rows[: np.searchsorted(rows, n)]

    def look_up_in_field(self, leaf: Leaf, n: int) -> Positions | None:
        """Look up the rows of a test by an index of its field; None if there is no index."""
        return None


class Segment(RowSource):
    """Rows that never change, mapped from files or in memory.

    Args:
        codes: (m, p) uint8, contiguous.
        ids: m ids.
        lookup: of the ids.
        items: metadata.
        searcher: of the codes.
        name: of its folder; "" in memory.
    """

    def __init__(
        self,
        codes: Codes,
        ids: IdColumn,
        lookup: IdLookup,
        items: ItemStore,
        searcher: Searcher,
        *,
        name: str = "",
    ) -> None:
        super().__init__()
        self._codes, self.ids, self.lookup = codes, ids, lookup
        self.items, self._searcher, self.name = items, searcher, name
        self._fields: OrderedDict[tuple[str, ...], FieldIndex | None] = OrderedDict()
        self._requested_fields: set[tuple[str, ...]] = set()

    def __len__(self) -> int:
        return len(self._codes)

    def codes(self, n: int) -> Codes:
        """Give the codes; see `RowSource.codes`."""
        return self._codes

    def searcher(self, n: int) -> Searcher:
        """Give the searcher; see `RowSource.searcher`."""
        return self._searcher

    def take_ids(self, rows: Positions) -> IdArray:
        """Look up the ids of some rows, in the shape of `rows`."""
        return self.ids.take(rows)

    def look_up_in_field(self, leaf: Leaf, n: int) -> Positions | None:
        """Look up the rows of a test by an index of its field, made when it is asked for twice."""
        field = leaf.field
        if field not in self._fields:
            if n < INDEXED_ROWS or field not in self._requested_fields:
                self._requested_fields.add(field)
                return None
            self._fields[field] = self.items.field(field, n)
            if len(self._fields) > REMEMBERED_FIELDS:
                self._fields.popitem(last=False)
        self._fields.move_to_end(field)
        index = self._fields[field]
        return None if index is None else index.matching(leaf)

    def find(self, column: IdColumn, n: int) -> Positions:
        """Look up the row of each id; see `RowSource.find`."""
        if column.kind != self.ids.kind:
            return np.full(len(column), NO_ROW, np.int64)
        return self.lookup.rows(self.ids, column)


class RecentRows(RowSource):
    """Rows that came since the last checkpoint, in memory; one thread at a time adds.

    Args:
        n_bits: bits of a code.
        scan: what searches them.
    """

    def __init__(self, n_bits: int, scan: type[Searcher]) -> None:
        super().__init__()
        self.n_bits, self.scan, self.items = n_bits, scan, ItemStore.empty()
        self._codes: Codes = np.empty((FIRST_ROWS, code_width(n_bits)), np.uint8)
        self._ids: list[Any] = []
        # A scan may hold a second copy of the codes, worth keeping between two changes.
        self._scanner: tuple[int, Searcher | None] = (0, None)
        self._last: dict[Any, int] = {}
        # The row before that had the same id, for those who look at fewer rows.
        self._before: list[int] = []

    def __len__(self) -> int:
        return len(self._ids)

    def codes(self, n: int) -> Codes:
        """Give the codes of the first `n` rows; see `RowSource.codes`."""
        return self._codes[:n]

    def searcher(self, n: int) -> Searcher:
        """Make a scan of the first `n` rows, or give the last one; see `RowSource.searcher`."""
        n_scanned, searcher = self._scanner
        if searcher is None or n_scanned != n:
            searcher = self.scan.build(self.codes(n), self.n_bits, parameters={})
            self._scanner = n, searcher
        return searcher

    def take_ids(self, rows: Positions) -> IdArray:
        """Look up the ids of some rows, in the shape of `rows`."""
        ids = [self._ids[row] for row in rows.ravel().tolist()]
        if ids and not isinstance(ids[0], str):
            return np.array(ids, np.int64).reshape(rows.shape)
        values = np.empty(len(ids), np.object_)
        values[:] = ids
        return values.reshape(rows.shape)

    def find(self, column: IdColumn, n: int) -> Positions:
        """Look up the last row of each id among the first `n`; see `RowSource.find`."""
        return np.fromiter(
            (self.last_before(value, n) for value in column), np.int64, count=len(column)
        )

    def last_before(self, value: Any, n: int) -> int:
        """Find the last row of an id among the first `n`, or `NO_ROW`."""
        row = self._last.get(value, NO_ROW)
        while row >= n:
            row = self._before[row]
        return row

    def append(
        self, ids: Sequence[Any], codes: Codes, documents: Sequence[str | None] | None
    ) -> None:
        """Add rows.

        Raises:
            StorageError: if the temporary database can't be written; nothing is added then.
        """
        first, end = len(self), len(self) + len(ids)
        if end > len(self._codes):
            grown = np.empty((max(end, 2 * len(self._codes)), self._codes.shape[1]), np.uint8)
            grown[:first] = self._codes[:first]
            self._codes = grown
        self._codes[first:end] = codes
        if documents is not None:
            self.items.append(documented(first, ids, documents))
        for row, value in enumerate(ids, first):
            self._before.append(self._last.get(value, NO_ROW))
            self._ids.append(value)
            self._last[value] = row

    def take_back(self, n: int) -> None:
        """Remove the rows from `n` on, which nobody has been told of."""
        self._scanner = 0, None
        for _ in range(len(self) - n):
            value, before = self._ids.pop(), self._before.pop()
            if before == NO_ROW:
                del self._last[value]
            else:
                self._last[value] = before
        self.items.take_back(n)


def documented(
    first: int, ids: Sequence[Any], documents: Sequence[str | None]
) -> Iterator[tuple[int, Any, str]]:
    """Yield number, id and metadata of the rows that have metadata."""
    for row, (value, document) in enumerate(zip(ids, documents, strict=True), first):
        if document is not None:
            yield row, value, document


def empty_ids(kind: IdKind | None) -> NDArray[Any]:
    """Make an array of no ids of a kind."""
    return np.empty(0, np.int64 if kind is IdKind.INTEGER else np.object_)
