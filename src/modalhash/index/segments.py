"""Segments are made of views, in memory or in a folder, and opened again."""

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, code_width
from modalhash.errors import DamagedArtifactError, InputError, StorageError
from modalhash.files import own_path, write_array
from modalhash.index.folder import (
    check_file,
    file_record,
    flush_file,
    read_array,
    write_codes,
)
from modalhash.index.hits import IdKind
from modalhash.index.ids import IdColumn, IdLookup, IntegerIds, TextIds, id_column
from modalhash.index.items import ItemStore, write_items
from modalhash.index.manifest import SegmentRecord
from modalhash.index.retired_kinds import is_retired, scan_retired
from modalhash.index.rows import Segment
from modalhash.index.searcher_table import searcher_class
from modalhash.index.searchers import Searcher
from modalhash.index.views import View

__all__ = ["ID_PARTS", "ITEMS", "check_ids", "merge_segments", "open_segment", "write_segment"]

BLOCK: Final = 1 << 18
CHECKED_ROWS: Final = 1 << 23
"""Ids of more rows are checked where they are read, so that opening them stays quick."""
PART_TYPES: Final[Mapping[str, tuple[type[np.generic], ...]]] = {
    "codes": (np.uint8,),
    "ids": (np.int64,),
    "id_ends": (np.int64,),
    "id_text": (np.uint8,),
    "id_order": (np.int64,),
    "id_keys": (np.uint64, np.int64),
}
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
    """Take the ids of the rows that are there."""
    if isinstance(view.source, Segment):
        ids = view.source.ids
        return ids.keep(view.alive()) if view.n_dead else ids
    column = id_column(view.source.take_ids(view.alive_rows()))
    assert column is not None
    return column


def merge_ids(views: Sequence[View]) -> IdColumn:
    """Join the ids of the rows that are there, one view after the other."""
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


def merge_segments(
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
    ids, items = merge_ids(views), ItemStore.empty()
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
    ids = merge_ids(views)
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
    place = own_path(folder, record.name)
    paths = {file.name: check_file(place, file) for file in record.files}

    def load(part: str) -> NDArray[Any]:
        if f"{part}.npy" not in paths:
            raise DamagedArtifactError(f"{place} is damaged: its manifest lists no {part}.npy")
        array = read_array(paths[f"{part}.npy"])
        if array.dtype not in PART_TYPES[part] or not array.flags.c_contiguous:
            raise DamagedArtifactError(f"{place} is damaged: {part}.npy holds {array.dtype}")
        return array

    codes = load("codes")
    column, parts = ID_PARTS[id_kind]
    arrays = [load(part) for part in parts]
    order = load("id_order") if "id_order.npy" in paths else None
    if any(array.ndim != 1 for array in (*arrays, *(() if order is None else (order,)))):
        raise DamagedArtifactError(f"{place} is damaged: its arrays don't have the stated shapes")
    ids: IdColumn = column(*arrays)
    if len(ids) == record.n_rows:
        check_ids(place, ids, order)
    keys = load("id_keys") if "id_keys.npy" in paths else ids.keys()
    lengths = {len(ids), len(keys), len(keys if order is None else order)}
    is_flat = keys.ndim == 1
    if (
        codes.shape != (record.n_rows, code_width(n_bits))
        or lengths != {record.n_rows}
        or not is_flat
    ):
        raise DamagedArtifactError(f"{place} is damaged: its arrays don't have the stated shapes")
    searcher = open_searcher(place, record, codes, n_bits)
    if ITEMS not in paths:
        raise DamagedArtifactError(f"{place} is damaged: its manifest lists no {ITEMS}")
    items = ItemStore.open(paths[ITEMS])
    return Segment(codes, ids, IdLookup(keys, order), items, searcher, name=record.name)


def open_searcher(place: Path, record: SegmentRecord, codes: Codes, n_bits: int) -> Searcher:
    """Open the searcher of a segment; codes of a retired kind are scanned.

    Raises:
        DamagedArtifactError: if its files or its parameters aren't what a writer writes.
    """
    if is_retired(record.searcher):
        return scan_retired(record.searcher, codes, n_bits)
    try:
        return searcher_class(record.searcher, from_file=True).open(
            place, codes, n_bits, parameters=record.parameters
        )
    except (InputError, LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DamagedArtifactError(
            f"{place} is damaged: its searcher of kind {record.searcher!r} can't be opened "
            f"({error}); make the index again"
        ) from error


def check_ids(place: Path, ids: IdColumn, order: NDArray[Any] | None) -> None:
    """Refuse ids whose arrays don't fit together, as far as that is quick to see.

    Raises:
        DamagedArtifactError: if ends of texts or rows lie outside of their arrays.
    """
    is_good = True
    n_rows = len(ids)
    if isinstance(ids, TextIds) and n_rows and n_rows <= CHECKED_ROWS:
        ends = ids.id_ends
        is_good = bool(
            ends[0] >= 0 and ends[-1] == len(ids.id_text) and (ends[1:] >= ends[:-1]).all()
        )
    if order is not None and n_rows and n_rows <= CHECKED_ROWS:
        is_good = is_good and bool(order.min() >= 0 and order.max() < n_rows)
    if not is_good:
        raise DamagedArtifactError(f"{place} is damaged: its ids don't fit together")
