"""Metadata of rows in SQLite, and the tests of filters over it.

Why SQLite: it is in the standard library, one file a segment, mapped and read only there, its JSON
functions answer filters, and any other program can read the file. (DuckDB and Arrow scan columns
faster, but weigh tens of megabytes, and metadata of one item is looked up far more often than all
of it is scanned.) Codes and ids don't come from here but from mapped arrays, so that a search
without a filter never waits for it.
"""

import json
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from modalhash.errors import DamagedArtifactError, StorageError
from modalhash.index.fields import FieldIndex
from modalhash.index.filter_tests import holds
from modalhash.index.filter_tree import IsNull, Leaf
from modalhash.index.interruption import check_interruption, is_interrupted
from modalhash.index.item_statements import VALUES, WITH_NUL, make_statements, name_json_path
from modalhash.index.manifest import REPAIR_ADVICE
from modalhash.index.searchers import Positions

__all__ = ["ItemStore", "write_items"]

# Rows without metadata aren't here. `number` is the row in its segment.
SCHEMA: Final = "CREATE TABLE items (number INTEGER PRIMARY KEY, id, metadata TEXT NOT NULL)"
CACHE_KIB: Final = 16384
BLOCK: Final = 4096
SLICE: Final = 32768
"""Rows that a test of a filter reads before others may use the connection."""
INSTRUCTIONS: Final = 10_000
"""Steps of SQLite's between two looks whether the work should stop."""


class ItemStore:
    """Metadata by row: a temporary database that grows, or a saved file that never changes.

    Args:
        connection: an open database; the store closes it.
        path: the saved file it reads; None if it is a temporary one.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path | None = None) -> None:
        self.connection, self.path = connection, path
        self.lock = threading.RLock()
        self._connections = [connection]
        # Filters read a saved file through a connection of their own, so that looking up the
        # metadata of hits never waits for a filter that reads every row.
        self._scan_lock = self.lock if path is None else threading.RLock()
        self.closing = weakref.finalize(self, close_all, self._connections)

    @classmethod
    def empty(cls) -> Self:
        """Make a temporary store without rows, in memory as far as it fits."""
        connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute(SCHEMA)
        return cls(connection)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a store that reads a saved file.

        Raises:
            DamagedArtifactError: if it is no database of items.
        """
        connection = None
        try:
            connection = connect_read_only(path)
            objects = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchmany(2)
            if objects != [("table", "items", SCHEMA)]:
                raise sqlite3.DatabaseError("it isn't the one table of metadata")
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            raise damaged(path, error) from error
        return cls(connection, path)

    def renew(self) -> None:
        """Replace the connections in a forked child; the parent's are only read to copy rows."""
        if self.path is None:
            connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            self.connection.backup(connection)
        else:
            connection = connect_read_only(self.path)
        self.connection, self.lock = connection, threading.RLock()
        self._connections[:] = [connection]
        self._scan_lock = self.lock if self.path is None else threading.RLock()

    def close(self) -> None:
        """Close the database."""
        self.closing()

    @contextmanager
    def using(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection; what SQLite can't read is a damaged file.

        Raises:
            DamagedArtifactError: if the saved file can't be read as a database.
            StorageError: if a temporary database fails.
        """
        with self.lock, self.explained_errors():
            yield self.connection

    @contextmanager
    def scanning(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection that filters read through; long statements can be interrupted.

        Raises:
            SearchStoppedError: if the work should stop; see `interrupt_when`.
            DamagedArtifactError: if the saved file can't be read as a database.
            StorageError: if a temporary database fails.
        """
        with self._scan_lock, self.explained_errors():
            check_interruption()
            if self.path is not None and len(self._connections) == 1:
                self._connections.append(connect_read_only(self.path))
            connection = self._connections[-1]
            connection.set_progress_handler(is_interrupted, INSTRUCTIONS)
            try:
                yield connection
            except sqlite3.OperationalError:
                check_interruption()
                raise
            finally:
                connection.set_progress_handler(None, 0)

    @contextmanager
    def explained_errors(self) -> Iterator[None]:
        """Say of SQLite's errors what they mean for the index."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if self.path is not None:
                raise damaged(self.path, error) from error
            raise StorageError(f"the index's temporary database failed: {error}") from error

    def append(self, rows: Iterable[tuple[int, Any, str]]) -> None:
        """Put rows into a temporary store, in the place of those of the same number.

        Args:
            rows: number, id, and metadata as a JSON object.

        Raises:
            StorageError: if SQLite can't write (disk full).
        """
        with self.using() as connection:
            connection.execute("BEGIN")
            try:
                connection.executemany("INSERT OR REPLACE INTO items VALUES (?, ?, ?)", rows)
            finally:
                if connection.in_transaction:  # a full disk has ended it already
                    connection.execute("COMMIT")

    def take_back(self, n: int) -> None:
        """Remove the rows from `n` on from a temporary store."""
        with self.using() as connection:
            connection.execute("DELETE FROM items WHERE number >= ?", (n,))

    def rows(self, first: int, end: int) -> Iterator[tuple[int, Any, str]]:
        """Yield number, id and metadata of rows in order, a block at a time."""
        query = (
            "SELECT number, id, metadata FROM items WHERE number >= ? AND number < ? "
            "ORDER BY number LIMIT ?"
        )
        while True:
            with self.using() as connection:
                block = connection.execute(query, (first, end, BLOCK)).fetchall()
            yield from block
            if len(block) < BLOCK:
                return
            first = block[-1][0] + 1

    def metadata(self, rows: Iterable[int]) -> list[dict[str, Any]]:
        """Look up the metadata of each row, empty where there is none."""
        query = "SELECT metadata FROM items WHERE number = ?"
        with self.using() as connection:
            documents = [connection.execute(query, (row,)).fetchone() for row in rows]
        return [{} if document is None else self.parse(document[0]) for document in documents]

    def parse(self, document: Any) -> dict[str, Any]:
        """Read metadata of a row.

        Raises:
            DamagedArtifactError: if it isn't a JSON object.
        """
        try:
            metadata = json.loads(document)
            if isinstance(metadata, dict):
                return metadata
            problem = f"metadata of type {type(metadata).__name__}"
        except (TypeError, ValueError, RecursionError) as error:
            problem = str(error)
        raise damaged(self.path, problem)

    def field(self, field: tuple[str, ...], end: int) -> FieldIndex | None:
        """Make the index of a field over the rows up to `end`; None if it is worth none."""
        if any("\0" in name for name in field) or self.rows_with_nul({"first": 0, "end": end}):
            return None
        with self.scanning() as connection:
            values = {"path": name_json_path(field), "end": end}
            return FieldIndex.of(connection.execute(VALUES, values))

    def matching(self, leaf: Leaf, first: int, end: int) -> Positions:
        """Find the rows from `first` up to `end` for which a test holds.

        Of `IsNull` those for which it doesn't hold: rows without metadata aren't here.

        Returns:
            (r,) int64, ascending.
        """
        rows: list[int] = []
        for begin in range(first, end, SLICE):
            part = {"first": begin, "end": min(begin + SLICE, end)}
            odd = self.rows_with_nul(part)
            passing: set[int] = set()
            for statement, value in make_statements(leaf):
                values = {"path": name_json_path(leaf.field), "value": value}
                with self.scanning() as connection:
                    passing.update(row[0] for row in connection.execute(statement, values | part))
            is_null = isinstance(leaf, IsNull)
            passing -= odd.keys()
            rows += passing
            rows += [row for row, metadata in odd.items() if holds(leaf, metadata) != is_null]
        return np.unique(np.array(rows, np.int64))

    def rows_with_nul(self, part: Mapping[str, int]) -> dict[int, dict[str, Any]]:
        """Find the metadata of rows with a NUL character, where SQLite's JSON texts end."""
        with self.scanning() as connection:
            rows = connection.execute(WITH_NUL, part).fetchall()
        return {row: self.parse(document) for row, document in rows}


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Connect to a saved file, which never changes."""
    uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def close_all(connections: list[sqlite3.Connection]) -> None:
    """Close the connections of a store."""
    for connection in connections:
        connection.close()


def write_items(path: Path, rows: Iterable[tuple[int, Any, str]]) -> None:
    """Write metadata to a new database file, which `ItemStore.open` reads.

    Args:
        path: must not exist.
        rows: number, id, and metadata as a JSON object, ascending.

    Raises:
        StorageError: if it can't be written.
    """
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            # Nobody knows the file before it is whole, so a kill may leave anything.
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute(SCHEMA)
            connection.execute("BEGIN")
            connection.executemany("INSERT INTO items VALUES (?, ?, ?)", rows)
            connection.execute("COMMIT")
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StorageError(
            f"can't write {path}: {error}; free some space or choose another folder, then try "
            "again: the old state is kept"
        ) from error


def damaged(path: Path | None, error: object) -> DamagedArtifactError:
    """Make the error of a file that SQLite can't read."""
    return DamagedArtifactError(f"{path or 'metadata'} is damaged: {error}; {REPAIR_ADVICE}")
