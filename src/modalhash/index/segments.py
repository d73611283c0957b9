"""Segments are made of views, in memory or in a folder, and opened again."""

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, code_width
from modalhash.errors import DamagedArtifactError, StorageError
from modalhash.files import write_array
from modalhash.index.folder import (
    SegmentRecord,
    checked_path,
    file_record,
    flush_file,
    read_array,
    write_codes,
)
from modalhash.index.hits import IdKind
from modalhash.index.ids import IdColumn, IdLookup, IntegerIds, TextIds, id_column
from modalhash.index.items import ItemStore, write_items
from modalhash.index.rows import Segment
from modalhash.index.searchers import searcher_class
from modalhash.index.snapshot import View

__all__ = ["ID_PARTS", "merged_segment", "open_segment", "write_segment"]

BLOCK: Final = 1 << 18
CODES, ITEMS = "codes.npy", "items.sqlite"
ID_PARTS: Final[Mapping[IdKind, tuple[type[IdColumn], tuple[str, ...]]]] = {
    IdKind.INTEGER: (IntegerIds, ("ids",)),
    IdKind.TEXT: (TextIds, ("id_ends", "id_text")),
}


def blocks_of(views: Sequence[View]) -> Iterator[Codes]:
    """Yield the codes of the rows that are there, a block at a time."""
    for view in views:
        codes = view.codes
        rows = view.alive_rows() if view.n_dead else None
        for start in range(0, len(view), BLOCK):
            span = slice(start, start + BLOCK)
            yield codes[span] if rows is None else codes[rows[span]]


def ids_of(view: View) -> IdColumn:
    """Return the ids of the rows that are there."""
    if isinstance(view.source, Segment):
        ids = view.source.ids
        return ids.keep(view.alive()) if view.n_dead else ids
    column = id_column(view.source.take_ids(view.alive_rows()))
    assert column is not None
    return column


def merged_ids(views: Sequence[View]) -> IdColumn:
    """Return the ids of the rows that are there, one view after the other."""
    columns = [ids_of(view) for view in views if len(view)]
    return reduce(lambda column, other: column.extended(other), columns)


def items_of(views: Sequence[View]) -> Iterator[tuple[int, Any, str]]:
    """Yield new row, id and metadata of the rows that are there and have metadata."""
    start = 0
    for view in views:
        new_rows = np.cumsum(view.alive()) - 1 + start if view.n_dead else None
        for row, value, document in view.source.items.rows(0, view.n_rows):
            if new_rows is None:
                yield row + start, value, document
            elif not view.is_dead(np.array([row]))[0]:
                yield int(new_rows[row]), value, document
        start += len(view)


def merged_segment(
    views: Sequence[View], n_bits: int, kind: str, parameters: Mapping[str, Any]
) -> Segment:
    """Make one segment in memory of the rows that are there, one at least.

    Args:
        views: in order.
        n_bits: bits of a code.
        kind: of its searcher.
        parameters: of its searcher.
    """
    codes: Codes = np.concatenate(list(blocks_of(views)))
    ids, items = merged_ids(views), ItemStore.empty()
    items.append(items_of(views))
    searcher = searcher_class(kind).build(codes, n_bits, parameters=parameters)
    return Segment(codes, ids, IdLookup.of(ids), items, searcher)


def write_segment(
    folder: Path,
    name: str,
    views: Sequence[View],
    *,
    n_bits: int,
    kind: str,
    parameters: Mapping[str, Any],
) -> SegmentRecord:
    """Write one segment of the rows that are there, one at least.

    Args:
        folder: of the index.
        name: of the segment's folder, which is made.
        views: in order.
        n_bits: bits of a code.
        kind: of its searcher.
        parameters: of its searcher.

    Raises:
        StorageError: if the file system refuses.
    """
    place, n_rows = folder / name, sum(len(view) for view in views)
    try:
        place.mkdir(parents=True)
    except OSError as error:
        raise StorageError(f"can't write {place}: {error.strerror or error}") from error
    write_codes(place / CODES, lambda: blocks_of(views), n_rows, code_width(n_bits))
    ids = merged_ids(views)
    arrays = {**ids.arrays(), **IdLookup.of(ids).arrays(ids)}
    for part, array in arrays.items():
        write_array(place / f"{part}.npy", array)
    write_items(place / ITEMS, items_of(views))
    flush_file(place / ITEMS)
    codes = read_array(place / CODES)
    searcher = searcher_class(kind).build(codes, n_bits, parameters=parameters)
    names = [CODES, *(f"{part}.npy" for part in arrays), ITEMS, *searcher.write(place)]
    files = [file_record(place, file) for file in names]
    return SegmentRecord(name, n_rows, 0, kind, dict(searcher.parameters), files)


def open_segment(folder: Path, record: SegmentRecord, n_bits: int, id_kind: IdKind) -> Segment:
    """Open a segment; codes and ids are mapped, not read.

    Raises:
        DamagedArtifactError: if a file is missing or damaged, or doesn't have the shape that the
            manifest states.
        StorageError: if it can't be read.
    """
    place = folder / record.name
    paths = {file.name: checked_path(place, file) for file in record.files}

    def load(part: str) -> NDArray[Any]:
        if f"{part}.npy" not in paths:
            raise DamagedArtifactError(f"{place} is damaged: its manifest lists no {part}.npy")
        return read_array(paths[f"{part}.npy"])

    codes = load("codes")
    column, parts = ID_PARTS[id_kind]
    ids: IdColumn = column(*map(load, parts))
    order = load("id_order") if "id_order.npy" in paths else None
    keys = load("id_keys") if "id_keys.npy" in paths else ids.keys()
    lengths = {len(ids), len(keys), len(keys if order is None else order)}
    if codes.shape != (record.n_rows, code_width(n_bits)) or lengths != {record.n_rows}:
        raise DamagedArtifactError(f"{place} is damaged: its arrays don't have the stated shapes")
    searcher = searcher_class(record.searcher).open(
        place, codes, n_bits, parameters=record.parameters
    )
    if ITEMS not in paths:
        raise DamagedArtifactError(f"{place} is damaged: its manifest lists no {ITEMS}")
    items = ItemStore.open(paths[ITEMS])
    return Segment(codes, ids, IdLookup(keys, order), items, searcher, name=record.name)
