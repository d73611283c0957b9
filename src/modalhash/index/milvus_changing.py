"""How an index on Milvus changes: batch by batch, under the lock of its folder."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from modalhash.codes import Codes
from modalhash.errors import (
    IndexServerError,
)
from modalhash.index.hits import IdKind
from modalhash.index.ids import IdColumn
from modalhash.index.item_changes import ItemChange, Operation
from modalhash.index.lock import WriterLock
from modalhash.index.milvus_filters import id_list
from modalhash.index.milvus_reading import IDS_A_CALL
from modalhash.index.milvus_rows import (
    Item,
    first_free_number,
    row_of,
)
from modalhash.index.milvus_searching import MilvusSearch

__all__ = ["MilvusWriter"]


class MilvusWriter(MilvusSearch):
    """Changes an index on Milvus."""

    def _create(self, kind: IdKind, n_rows: int) -> None:
        """Make the collection for ids of a kind."""
        description = {
            "n_bits": self.n_bits,
            "model_fingerprint": self.model_fingerprint,
            "partition_field": self.settings.partition_field,
        }
        self.collection.create(description, is_text=kind is IdKind.TEXT, n_rows=n_rows)
        self._kind, self._next_number = kind, 0
        self._index = self.collection.index_type()
        if self.folder is not None:
            self.save(self.folder)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock of the folder, as far as there is one; the server has none.

        Raises:
            IndexLockedError: if another process of this machine changes the index.
        """
        with self._writing:
            is_outermost = self.folder is not None and self._lock is None
            if is_outermost and self.folder is not None:
                self._lock = WriterLock(self.folder)
            try:
                yield
            finally:
                if is_outermost and self._lock is not None:
                    self._lock.release()
                    self._lock = None

    def checkpoint(self) -> None:
        """Ask the server to seal what was written; it does so by itself."""
        if self._find_id_kind() is not None:
            self.collection.flush()

    def compact(self) -> None:
        """Ask the server to give back the room of deleted items, in its own time."""
        if self._find_id_kind() is not None:
            self.collection.compact()

    def apply_changes(self, changes: Sequence[ItemChange]) -> None:
        """Carry out checked changes; see `HashIndex.apply_changes`.

        More than `batch_rows` items go in several requests: if the server goes in the middle,
        those that were acknowledged stay, and the error says how many.
        """
        for change in changes:
            if change.operation is Operation.DELETE:
                self._delete(change.ids)
            else:
                self._put(change.column, change.codes, change.documents)

    def _put(self, column: IdColumn, codes: Codes, documents: Sequence[str | None] | None) -> None:
        """Write items in batches, each acknowledged as a whole."""
        n, field = len(column), self.settings.partition_field
        documents_or_none = documents or [None] * n
        if self._find_id_kind() is None:
            self._create(column.kind, n)
        if self._next_number is None:
            self._next_number = first_free_number(self.collection, self._hint)
        for start in range(0, n, self.settings.batch_rows):
            end = min(start + self.settings.batch_rows, n)
            numbers = range(self._next_number, self._next_number + end - start)
            ids = column.take(np.arange(start, end)).tolist()
            try:
                rows = [
                    row_of(Item(value, code.tobytes(), document), number, field)
                    for value, code, document, number in zip(
                        ids, codes[start:end], documents_or_none[start:end], numbers, strict=True
                    )
                ]
                if field:
                    # A row of another partition isn't replaced by one of the same id.
                    self.collection.remove(id_list([row["id"] for row in rows]))
                self.collection.put(rows)
            except IndexServerError as error:
                last = (
                    ""
                    if not start
                    else f", up to {column.take(np.array([start - 1])).tolist()[0]!r},"
                )
                raise IndexServerError(
                    f"{error}. {start} of {n} items{last} were acknowledged and are kept; whether "
                    f"the {end - start} after them were written isn't known: upsert the items from "
                    f"number {start} on (counted from 0), or all of them again",
                    n_acknowledged=start,
                ) from error
            finally:
                # Numbers that were perhaps used aren't used again.
                self._next_number += end - start

    def delete_where(self, where: str) -> int:
        """Remove the items that pass a filter, asked for with "Strong"."""
        with self.changing():
            return self.delete(self._select(where, "Strong"))

    def _delete(self, ids: Sequence[Any]) -> None:
        """Remove items that are there."""
        for start in range(0, len(ids), IDS_A_CALL):
            try:
                self.collection.remove(id_list(ids[start : start + IDS_A_CALL]))
            except IndexServerError as error:
                raise IndexServerError(
                    f"{error}. {start} of {len(ids)} deletions were acknowledged: delete all of "
                    "them again, missing ones ignored",
                    n_acknowledged=start,
                ) from error
