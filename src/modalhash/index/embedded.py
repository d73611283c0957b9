"""What indexes inside one process have in common: ids, metadata, changes and persistence.

A kind adds how it finds near codes; see `exact` and `faiss_flat`. Items are rows of arrays in
insertion order. The arrays are never written into: a change replaces them, so that a search in
another thread goes on with those it began with.
"""

import threading
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, check_codes, code_width
from modalhash.errors import (
    ArtifactError,
    DamagedArtifactError,
    InputError,
    ShapeError,
    StorageError,
)
from modalhash.index.base import (
    HashIndex,
    Hits,
    IdArray,
    IdKind,
    Ids,
    Metadata,
    RadiusHits,
    check_radius,
    check_top_k,
)
from modalhash.index.folder import (
    FileRecord,
    Manifest,
    part_path,
    read_array,
    read_manifest,
    write_folder,
)
from modalhash.index.ids import IdColumn, IntegerIds, Positions, TextIds, id_column
from modalhash.index.items import ItemStore, shown
from modalhash.index.searchers import Neighbours, RaggedNeighbours

__all__ = ["EmbeddedIndex"]

OPENING_TRIES = 5
ID_COLUMNS: Mapping[IdKind, tuple[type[IdColumn], tuple[str, ...]]] = {
    IdKind.INTEGER: (IntegerIds, ("ids",)),
    IdKind.TEXT: (TextIds, ("id_ends", "id_text")),
}


@dataclass(frozen=True)
class Rows:
    """All items in insertion order; replaced as a whole by a change.

    Attributes:
        codes: (n, p) uint8, contiguous; may be mapped from a file.
        numbers: (n,) int64, the items' numbers in the store, ascending.
        ids: n ids; None if there were never any.
    """

    codes: Codes
    numbers: NDArray[np.int64]
    ids: IdColumn | None

    def __len__(self) -> int:
        return len(self.numbers)

    def take_ids(self, positions: Positions) -> IdArray:
        """Return the ids at some positions, in the shape of `positions`."""
        if self.ids is None:
            return np.empty(positions.shape, np.object_)
        return self.ids.take(positions)

    def extended(self, codes: Codes, ids: IdColumn, first_number: int) -> "Rows":
        """Return these rows followed by new ones."""
        numbers = np.arange(first_number, first_number + len(codes))
        return Rows(
            np.concatenate([self.codes, codes]),
            np.concatenate([self.numbers, numbers]),
            ids if self.ids is None else self.ids.extended(ids),
        )

    def without(self, numbers: NDArray[np.int64]) -> "Rows":
        """Return these rows without those of some numbers."""
        is_kept = np.ones(len(self), np.bool_)
        is_kept[np.searchsorted(self.numbers, numbers)] = False
        ids = None if self.ids is None else self.ids.keep(is_kept)
        return Rows(self.codes[is_kept], self.numbers[is_kept], ids)


class EmbeddedIndex(HashIndex):
    """An index inside one process.

    Args:
        n_bits: bits of a code.
        model_fingerprint: says which model makes the codes; "" says nothing.

    Raises:
        InputError: if `n_bits` is not positive.
    """

    def __init__(self, n_bits: int, *, model_fingerprint: str = "") -> None:
        self.n_bits, self.model_fingerprint = n_bits, model_fingerprint
        no_codes = np.empty((0, code_width(n_bits)), np.uint8)
        self._rows = Rows(no_codes, np.empty(0, np.int64), None)
        self._items = ItemStore.empty()
        self._writing = threading.RLock()

    @abstractmethod
    def nearest(self, database_codes: Codes, query_codes: Codes, top_k: int) -> Neighbours:
        """Find the `top_k` nearest rows of each query.

        Args:
            database_codes: (m, p) uint8, contiguous.
            query_codes: (q, p) uint8, contiguous, at least one.
            top_k: between 1 and m.
        """

    @abstractmethod
    def within(self, database_codes: Codes, query_codes: Codes, radius: int) -> RaggedNeighbours:
        """Find all rows at a distance of at most `radius` from each query.

        Args:
            database_codes: (m, p) uint8, contiguous, at least one row.
            query_codes: (q, p) uint8, contiguous, at least one.
            radius: between 0 and `n_bits`.
        """

    @classmethod
    def build(
        cls,
        ids: Ids,
        codes: Codes,
        n_bits: int,
        *,
        metadata: Sequence[Metadata] | None = None,
        model_fingerprint: str = "",
    ) -> Self:
        """Make an index of some items; see `HashIndex.build`."""
        index = cls(n_bits, model_fingerprint=model_fingerprint)
        index.add(ids, codes, metadata)
        return index

    def add(self, ids: Ids, codes: Codes, metadata: Sequence[Metadata] | None = None) -> None:
        """Add items; see `HashIndex.add`. The cost grows with the whole index: add in batches."""
        check_codes(codes, self.n_bits)
        if len(ids) != len(codes):
            raise ShapeError(f"{len(ids)} ids for {len(codes)} codes: each item has one of both")
        if metadata is not None and len(metadata) != len(codes):
            raise ShapeError(f"metadata has {len(metadata)} mappings for {len(codes)} items")
        column = id_column(ids)
        if column is None:
            return
        with self._writing:
            rows = self._rows
            self._check_kind(column)
            first_number = int(rows.numbers[-1]) + 1 if len(rows) else 0
            extended = rows.extended(codes, column, first_number)
            self._items.add(first_number, column, metadata)
            self._rows = extended

    def delete(self, ids: Ids) -> None:
        """Remove items; see `HashIndex.delete`. The cost grows with the whole index."""
        with self._writing:
            numbers = self._numbers(ids, outcome=": nothing was deleted")
            if len(numbers):
                without = self._rows.without(numbers)
                self._items.delete(numbers.tolist())
                self._rows = without

    def search(self, codes: Codes, k: int) -> Hits:
        """Find the k nearest items of each query; see `HashIndex.search`."""
        check_top_k(k)
        self.check_query_codes(codes)
        rows = self._rows
        top_k = min(k, len(rows))
        if not top_k or not len(codes):
            nothing = np.empty((len(codes), top_k), np.int64)
            return Hits(rows.take_ids(nothing), nothing.astype(np.int32))
        found = self.nearest(rows.codes, np.ascontiguousarray(codes), top_k)
        return Hits(rows.take_ids(found.positions), found.distances)

    def search_radius(self, codes: Codes, radius: int) -> RadiusHits:
        """Find all items within a radius of each query; see `HashIndex.search_radius`."""
        check_radius(radius)
        self.check_query_codes(codes)
        rows = self._rows
        if not len(rows) or not len(codes):
            nothing = np.empty(0, np.int64)
            starts = np.zeros(len(codes) + 1, np.int64)
            return RadiusHits(starts, rows.take_ids(nothing), nothing.astype(np.int32))
        found = self.within(rows.codes, np.ascontiguousarray(codes), min(radius, self.n_bits))
        return RadiusHits(found.starts, rows.take_ids(found.positions), found.distances)

    def reconstruct(self, ids: Ids) -> Codes:
        """Return the codes of items; see `HashIndex.reconstruct`."""
        with self._writing:
            rows, numbers = self._rows, self._numbers(ids)
        codes: Codes = np.array(rows.codes[np.searchsorted(rows.numbers, numbers)])
        return codes

    def metadata(self, ids: Ids) -> list[dict[str, Any]]:
        """Return the metadata of items; see `HashIndex.metadata`."""
        values = self._values(ids)
        found = self._items.metadata(values)
        self._check_known(values, found)
        return [document for document in found if document is not None]

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def ids(self) -> IdArray:
        """All ids in the order of insertion."""
        rows = self._rows
        return rows.take_ids(np.arange(len(rows)))

    @property
    def id_kind(self) -> IdKind | None:
        """What the ids are; None until the first item was added."""
        return None if self._rows.ids is None else self._rows.ids.kind

    def close(self) -> None:
        """Let go of the database; the index can't be used afterwards."""
        self._items.close()

    def save(self, folder: str | Path) -> None:
        """Write the index; see `HashIndex.save`."""
        with self._writing:
            rows = self._rows
            arrays: dict[str, NDArray[Any]] = {"codes": rows.codes, "numbers": rows.numbers}
            if rows.ids is not None:
                arrays |= rows.ids.arrays()
            write_folder(Path(folder), self._describe, arrays=arrays, write_items=self._items.write)

    @classmethod
    def open(cls, folder: str | Path, *, expect_model: str | None = None) -> Self:
        """Open a saved index; see `HashIndex.open`."""
        folder = Path(folder)
        manifest = read_manifest(folder)
        for _ in range(OPENING_TRIES):
            try:
                return cls._load(folder, manifest, expect_model)
            except (DamagedArtifactError, StorageError):
                # A save in another process may have removed the generation we were reading.
                seen, manifest = manifest, read_manifest(folder)
                if manifest == seen:
                    raise
        return cls._load(folder, manifest, expect_model)

    @classmethod
    def _load(cls, folder: Path, manifest: Manifest, expect_model: str | None) -> Self:
        """Open the generation that a manifest describes."""
        if manifest.kind != cls.kind:
            raise ArtifactError(
                f"{folder} holds an index of kind {manifest.kind!r}, not {cls.kind!r}: "
                "open it with open_index"
            )
        check_model(folder, manifest.model_fingerprint, expect_model)
        rows = load_rows(folder, manifest)
        items = ItemStore.open(part_path(folder, manifest, "items"))
        index = cls(manifest.n_bits, model_fingerprint=manifest.model_fingerprint)
        index._items.close()
        index._items = items
        index._rows = rows
        return index

    def _describe(self, generation: int, files: Mapping[str, FileRecord]) -> Manifest:
        """Make the manifest of the present state."""
        return Manifest(
            kind=self.kind,
            generation=generation,
            n_bits=self.n_bits,
            n_items=len(self),
            id_kind=self.id_kind,
            model_fingerprint=self.model_fingerprint,
            files=files,
        )

    def _check_kind(self, column: IdColumn) -> None:
        """Refuse ids of another kind than the index's."""
        if self.id_kind is not None and column.kind != self.id_kind:
            raise InputError(
                f"ids are of kind {column.kind.value}, the index has {self.id_kind.value} ids: "
                "an index has one kind"
            )

    def _values(self, ids: Ids) -> list[Any]:
        """Return ids as Python values of the index's kind."""
        column = id_column(ids)
        if column is None:
            return []
        self._check_kind(column)
        return list(column)

    def _numbers(self, ids: Ids, *, outcome: str = "") -> NDArray[np.int64]:
        """Return the numbers of items that must be there."""
        values = self._values(ids)
        numbers = self._items.numbers(values)
        self._check_known(values, numbers, outcome)
        return np.array(numbers, np.int64)

    def _check_known(
        self, values: Sequence[Any], found: Sequence[object], outcome: str = ""
    ) -> None:
        """Refuse ids that were not found, naming them."""
        unknown = [value for value, item in zip(values, found, strict=True) if item is None]
        if unknown:
            raise InputError(
                f"the index has no item {shown(list(dict.fromkeys(unknown)))}{outcome}"
            )


def check_model(folder: Path, written: str, expected: str | None) -> None:
    """Refuse an index of another model.

    Raises:
        ArtifactError: if the fingerprints differ.
    """
    if expected is None or written == expected:
        return
    made_by = f"were made by model {written}" if written else "don't say which model made them"
    raise ArtifactError(
        f"the codes of the index {folder} {made_by}, the queries come from model {expected}: "
        "search with the index's model, or build the index again with this one"
    )


def load_rows(folder: Path, manifest: Manifest) -> Rows:
    """Map the rows of an index folder.

    Raises:
        DamagedArtifactError: if a part is missing or damaged, or doesn't have the shape that the
            manifest states.
    """

    def load(part: str) -> NDArray[Any]:
        return read_array(part_path(folder, manifest, part))

    ids = None
    if manifest.id_kind is not None:
        column, parts = ID_COLUMNS[IdKind(manifest.id_kind)]
        ids = column(*map(load, parts))
    rows = Rows(load("codes"), load("numbers"), ids)
    expected = (manifest.n_items, code_width(manifest.n_bits))
    if rows.codes.shape != expected or rows.numbers.shape != expected[:1]:
        raise DamagedArtifactError(f"{folder} is damaged: its arrays don't have the stated shapes")
    return rows
