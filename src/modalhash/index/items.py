"""Ids and metadata of an index in SQLite.

Why SQLite: it is in the standard library, one file a generation, never corrupts by a kill, looks
an id up without reading the rest, and its JSON functions and expression indexes answer filters over
metadata. Codes and the ids of hits don't come from here but from mapped arrays, so that a search
never waits for it.
"""

import json
import sqlite3
import threading
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any, Self

from modalhash.errors import DamagedArtifactError, InputError, StorageError
from modalhash.index.base import Metadata
from modalhash.index.ids import IdColumn

__all__ = ["ItemStore"]

# `number` grows with each item added and is never changed, so that deleting moves no rows.
SCHEMA = "CREATE TABLE items (number INTEGER PRIMARY KEY, id NOT NULL UNIQUE, metadata TEXT)"
SHOWN_IDS = 5
CACHE_KIB = 65536


class ItemStore:
    """Items by number: id and metadata.

    A store lives in a temporary database that SQLite keeps in memory and spills to disk, or reads
    a saved file that it never changes: the first change copies it.

    Args:
        connection: an open database; the store closes it.
        path: the saved file it reads; None if it is a temporary one.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path | None = None) -> None:
        self.connection, self.path = connection, path
        self.lock = threading.RLock()
        self.closing = weakref.finalize(self, connection.close)

    @classmethod
    def empty(cls) -> Self:
        """Return a temporary store without items."""
        connection = temporary_database()
        connection.execute(SCHEMA)
        return cls(connection)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Return a store that reads a saved file.

        Raises:
            DamagedArtifactError: if it is no database of items.
        """
        uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
        connection = None
        try:
            connection = sqlite3.connect(
                uri, uri=True, isolation_level=None, check_same_thread=False
            )
            connection.execute("SELECT number, id, metadata FROM items LIMIT 1").fetchone()
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            raise damaged(path, error) from error
        return cls(connection, path)

    def close(self) -> None:
        """Close the database."""
        self.closing()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection; what SQLite can't read is a damaged file.

        Raises:
            DamagedArtifactError: if the saved file can't be read as a database.
            StorageError: if a temporary database fails.
        """
        with self.lock:
            try:
                yield self.connection
            except sqlite3.DatabaseError as error:
                if self.path is not None:
                    raise damaged(self.path, error) from error
                raise StorageError(f"the index's temporary database failed: {error}") from error

    @contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection for a change that happens wholly or not at all.

        Raises:
            StorageError: if SQLite can't write (disk full).
        """
        with self.lock:
            if self.path is not None:
                self.copy_out()
            with self.reading() as connection:
                connection.execute("BEGIN")
                try:
                    yield connection
                except BaseException:
                    if connection.in_transaction:  # a full disk has ended it already
                        connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")

    def copy_out(self) -> None:
        """Copy the saved file to a temporary database, which changes may touch."""
        copy = temporary_database()
        with self.reading() as saved:
            saved.backup(copy)
        self.closing()
        self.connection, self.path = copy, None
        self.closing = weakref.finalize(self, copy.close)

    def add(self, first_number: int, ids: IdColumn, metadata: Sequence[Metadata] | None) -> None:
        """Add items, numbered from `first_number`; as many mappings as ids, or None.

        Raises:
            InputError: if an id is there or comes twice, or metadata isn't JSON.
            StorageError: if SQLite can't write.
        """
        documents: Iterable[str | None] = (
            repeat(None) if metadata is None else map(to_json, ids, metadata)
        )
        with self.changing() as connection:
            before = connection.total_changes
            connection.executemany(
                "INSERT OR IGNORE INTO items VALUES (?, ?, ?)",
                zip(range(first_number, first_number + len(ids)), ids, documents, strict=False),
            )
            if connection.total_changes - before != len(ids):
                raise InputError(self.duplicates_message(ids, first_number))

    def duplicates_message(self, ids: IdColumn, first_number: int) -> str:
        """Say which ids can't be added; called within the change that is taken back."""
        twice = [value for value, count in Counter(ids).items() if count > 1]
        if twice:
            return f"ids holds {shown(twice)} more than once: nothing was added"
        there = [
            value
            for value, number in zip(ids, self.numbers(ids), strict=True)
            if number is not None and number < first_number
        ]
        return (
            f"the index already has {shown(there)}: nothing was added; "
            "delete them first, or leave them out"
        )

    def delete(self, numbers: Iterable[int]) -> None:
        """Remove items by number."""
        with self.changing() as connection:
            connection.executemany(
                "DELETE FROM items WHERE number = ?", ((number,) for number in numbers)
            )

    def numbers(self, ids: Iterable[Any]) -> list[int | None]:
        """Return the number of each id, None where there is no such item."""
        query = "SELECT number FROM items WHERE id = ?"
        with self.reading() as connection:
            rows = (connection.execute(query, (value,)).fetchone() for value in ids)
            return [None if row is None else row[0] for row in rows]

    def metadata(self, ids: Iterable[Any]) -> list[dict[str, Any] | None]:
        """Return the metadata of each id, None where there is no such item."""
        query = "SELECT coalesce(metadata, '{}') FROM items WHERE id = ?"
        with self.reading() as connection:
            rows = [connection.execute(query, (value,)).fetchone() for value in ids]
        return [None if row is None else json.loads(row[0]) for row in rows]

    def write(self, path: Path) -> None:
        """Write a compact copy to `path`, which must not exist or be empty.

        Raises:
            StorageError: if it can't be written.
        """
        with self.lock:
            try:
                self.connection.execute("VACUUM INTO ?", (str(path),))
            except sqlite3.OperationalError as error:
                raise StorageError(
                    f"can't write {path}: {error}; free some space or choose another folder, "
                    "then save again: the old state is kept"
                ) from error


def temporary_database() -> sqlite3.Connection:
    """Return a database that is in memory as far as it fits and gone when closed."""
    connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = MEMORY")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    return connection


def to_json(item_id: object, metadata: object) -> str:
    """Return metadata as a JSON object.

    Raises:
        InputError: if it isn't a mapping of names to JSON values, naming the item.
    """
    if not isinstance(metadata, Mapping):
        problem = f"it is of type {type(metadata).__name__}"
    elif odd := [name for name in metadata if not isinstance(name, str)]:
        problem = f"it has the name {odd[0]!r}"
    else:
        try:
            document = json.dumps(dict(metadata), ensure_ascii=False, allow_nan=False)
            document.encode()  # half of a surrogate pair shows here, not in the middle of a change
        except (TypeError, ValueError) as error:
            problem = str(error)
        else:
            return document
    raise InputError(
        f"metadata of item {item_id!r} can't be stored as JSON ({problem}): "
        "names are texts; values are texts, finite numbers, true, false, null, lists or mappings"
    )


def shown(ids: Sequence[Any]) -> str:
    """Return some ids as a reader would list them, and how many more there are."""
    more = len(ids) - SHOWN_IDS
    listed = ", ".join(repr(value) for value in ids[:SHOWN_IDS])
    return f"{listed} and {more} more" if more > 0 else listed


def damaged(path: Path, error: sqlite3.Error) -> DamagedArtifactError:
    """Return the error of a file that SQLite can't read."""
    return DamagedArtifactError(f"{path} is damaged: {error}; make the index again")
