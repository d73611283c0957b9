"""Say what an unknown file or folder holds, which layout it is likely to be, and how to load it."""

import json
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.data.array_errors import ARRAY_ERRORS, read_error
from modalhash.data.arrays import read_arrays
from modalhash.data.arrow_tables import open_arrow
from modalhash.data.hdf5_files import is_matlab_hdf5, matlab_class, open_hdf5
from modalhash.data.layouts import likely_layouts, table_layout
from modalhash.data.pickled_files import holds_objects, read_object_npy, read_pickled_file
from modalhash.data.table_collections import find_pair_tables
from modalhash.data.table_columns import LIKELY_COLUMNS
from modalhash.data.table_formats import SEPARATORS, find_format
from modalhash.data.tables import read_table
from modalhash.errors import CollectionError, Defect, MissingExtraError
from modalhash.files import check_regular_file, map_array, read_regular_text

__all__ = ["Entry", "Inspection", "inspect_file"]

_SAMPLED_ROWS: Final = 1000
_SHOWN_ENTRIES: Final = 60
_PICTURES: Final = "pictures"
_TABLES: Final = (".parquet", ".arrow", ".csv", ".tsv", ".txt", ".jsonl", ".ndjson")


@dataclass(frozen=True)
class Entry:
    """One thing in a file or folder.

    Attributes:
        name: an array's, a key's or a file's.
        shape: of an array; the length of a list; empty if it has none.
        dtype: of the numbers, or what kind of thing it is ("texts", "folder").
        low: smallest number; None for other things.
        high: largest number.
        note: what stands out ("0 and 1 only", "of the first 1,000 rows", "3 rows are all zero").
    """

    name: str
    shape: tuple[int, ...] = ()
    dtype: str = ""
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        path: what was looked at.
        kind: what it is ("MATLAB 7.3 file (HDF5, dimensions turned around)").
        entries: what it holds.
        layouts: how it can be loaded, the likeliest first: source to reason.
        notes: what else is worth knowing.
    """

    path: Path
    kind: str
    entries: tuple[Entry, ...]
    layouts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def commands(self) -> tuple[str, ...]:
        """The command that checks each likely layout."""
        return tuple(f"modalhash data check {source}" for source in self.layouts)


def inspect_file(path: Path | str) -> Inspection:
    """Look into a .mat, .h5, .npy, .npz, .pkl, .tar, .json, .parquet or text table, or a folder.

    Nothing in it is run: pickles are looked at only. Large HDF5 arrays are sampled.

    Args:
        path: the file or folder.

    Returns:
        Its entries, and the layouts it is likely to be.

    Raises:
        CollectionError: if there is no such file, or it can't be read.
        MissingExtraError: if reading it needs a package that isn't installed.
    """
    path = Path(path)
    if not path.exists():
        raise _fault(path, "there is no such file or folder; check the path")
    if path.is_dir():
        entries = tuple(_folder_entries(path))
        kind = "folder"
    else:
        suffixes = "".join(path.suffixes[-2:]).lower()
        reader = _READERS.get(suffixes) or _READERS.get(path.suffix.lower())
        if reader is None:
            known = ", ".join(_READERS)
            raise _fault(path, f"isn't a folder or one of {known}: its kind isn't known")
        try:
            check_regular_file(path)
            kind, entries = reader(path)
        except MissingExtraError:
            raise
        except (*ARRAY_ERRORS, tarfile.TarError) as error:
            raise read_error(path, error) from error
    names = [entry.name for entry in entries]
    layouts = likely_layouts(path, names)
    if path.is_dir() and not layouts and (tables := find_pair_tables(path)):
        layouts = {f"table:{path}": f"it has {', '.join(table.name for table in tables)}"}
    if path.suffix.lower() in _TABLES:
        layouts |= table_layout(
            path, names, [entry.name for entry in entries if entry.note == _PICTURES]
        )
    listed = entries[:_SHOWN_ENTRIES]
    more = len(entries) - len(listed)
    notes: tuple[str, ...] = (f"and {more} entries more",) if more else ()
    if path.suffix.lower() in _TABLES and not layouts and len(entries) > 1:
        columns = f"--columns image={names[0]},caption={names[-1]}"
        notes += (f"name its columns: modalhash data check table:{path} {columns}",)
    return Inspection(path, kind, listed, layouts, notes)


def _fault(path: Path, problem: str) -> CollectionError:
    return CollectionError([Defect("unreadable-file", str(path), problem)])


def _describe(name: str, array: NDArray[Any], note: str = "") -> Entry:
    """Describe an array by its shape, range and what stands out."""
    if array.dtype.kind not in "fiub":
        kind = "texts" if array.dtype.kind in "SU" else str(array.dtype)
        return Entry(name, array.shape, kind, note=note)
    if not array.size:
        return Entry(name, array.shape, str(array.dtype), note="empty")
    notes = [note] if note else []
    n_odd = int((~np.isfinite(array)).sum()) if array.dtype.kind == "f" else 0
    if n_odd:
        notes.append(f"{n_odd:,} numbers aren't finite")
    numbers = array[np.isfinite(array)] if n_odd else array
    if not numbers.size:
        return Entry(name, array.shape, str(array.dtype), note="; ".join(notes))
    low, high = float(numbers.min()), float(numbers.max())
    if not n_odd and (low, high) == (0, 1) and np.isin(array, (0, 1)).all():
        notes.append("0 and 1 only")
    if array.ndim == 2 and 1 not in array.shape and (empty := int((~array.any(axis=1)).sum())):
        notes.append(f"{empty:,} rows are all zero")
    return Entry(name, array.shape, str(array.dtype), low, high, "; ".join(notes))


def _read_mat(path: Path) -> tuple[str, tuple[Entry, ...]]:
    by_matlab = is_matlab_hdf5(path)
    if by_matlab is None:
        arrays = read_arrays(path)
        entries = [_describe(name, array) for name, array in arrays.items()]
        entries += [Entry(name, note=reason) for name, reason in arrays.unread.items()]
        return "MATLAB file", tuple(entries)
    kind = "MATLAB 7.3 file (HDF5, dimensions turned around)" if by_matlab else "HDF5 file"
    return kind, tuple(_hdf5_entries(path))


def _hdf5_entries(path: Path) -> Iterator[Entry]:
    objects: list[tuple[str, Any]] = []
    with open_hdf5(path) as file:
        file.visit(lambda name, item: objects.append((name, item)))
        sparse = file.sparse_shapes()
        yield from (Entry(name, shape, "sparse matrix") for name, shape in sparse.items())
        for name, item in objects:
            if name.partition("/")[0] in sparse:
                continue
            if matlab_class(item) == "char":
                yield Entry(name, item.shape or (), "texts")
            elif file.h5py.check_ref_dtype(item.dtype):
                yield Entry(name, item.shape, "cells")
            elif file.h5py.check_string_dtype(item.dtype):
                yield Entry(name, item.shape, "texts")
            elif item.dtype.kind not in "biuf" or item.shape is None:
                yield Entry(name, item.shape or (), str(item.dtype))
            elif item.ndim and len(item) > _SAMPLED_ROWS:
                sample = _describe(name, item[:_SAMPLED_ROWS])
                note = f"of the first {_SAMPLED_ROWS:,} rows"
                note = f"{sample.note}; {note}" if sample.note else note
                yield Entry(name, item.shape, sample.dtype, sample.low, sample.high, note)
            else:
                yield _describe(name, file.take(item, name))


def _read_h5(path: Path) -> tuple[str, tuple[Entry, ...]]:
    return "HDF5 file", tuple(_hdf5_entries(path))


def _read_npz(path: Path) -> tuple[str, tuple[Entry, ...]]:
    arrays = read_arrays(path)
    return "NumPy archive", tuple(_describe(name, array) for name, array in arrays.items())


def _read_npy(path: Path) -> tuple[str, tuple[Entry, ...]]:
    if holds_objects(path):
        array = read_object_npy(path)
        return "NumPy array of arrays", (_describe(path.stem, array, "rows of all its arrays"),)
    array = map_array(path)
    return "NumPy array", (_describe(path.stem, array),)


def _read_pickle(path: Path) -> tuple[str, tuple[Entry, ...]]:
    value = read_pickled_file(path)
    members = value.items() if isinstance(value, dict) else [(path.stem, value)]
    entries = [
        _describe(str(name), member)
        if isinstance(member, np.ndarray)
        else Entry(str(name), _length(member), type(member).__name__)
        for name, member in members
    ]
    return "pickle (looked at, not run)", tuple(entries)


def _read_text_table(path: Path) -> tuple[str, tuple[Entry, ...]]:
    """Describe the columns of a text table; a text without separators is a list of lines."""
    table_format = find_format(path, likely_columns=LIKELY_COLUMNS)
    table = read_table(path, lambda header: header[:1], table_format=table_format)
    if not table.columns and table.defects:
        raise CollectionError(table.defects)
    entries = [_describe_column(name, cells) for name, cells in table.columns.items()]
    if table.defects:
        entries.append(Entry("rows that can't be read", (len(table.defects),), "defects"))
    if not table_format.is_text:
        return "JSON Lines table", tuple(entries)
    separator = next(name for name, sign in SEPARATORS.items() if sign == table_format.separator)
    encoding = "UTF-8" if table_format.encoding == "utf-8-sig" else table_format.encoding
    kind = "text, a line an entry" if len(entries) == 1 else f"text table, separator: {separator}"
    return f"{kind}, {encoding}", tuple(entries)


def _describe_column(name: str, cells: list[Any]) -> Entry:
    filled = [cell for cell in cells if cell is not None and cell != ""]
    kinds = sorted({type(cell).__name__ for cell in filled})
    dtype = "texts" if kinds == ["str"] else " and ".join(kinds) or "empty"
    notes = [f"{len(cells) - len(filled):,} are empty"] if len(filled) < len(cells) else []
    first = str(filled[0]) if filled else ""
    notes += [f"first: {first if len(first) <= 40 else first[:37] + '...'}"] if first else []
    return Entry(name, (len(cells),), dtype, note="; ".join(notes))


def _read_json(path: Path) -> tuple[str, tuple[Entry, ...]]:
    document = json.loads(read_regular_text(path))
    members = document.items() if isinstance(document, dict) else [("", document)]
    entries = [
        Entry(str(name), _length(member), type(member).__name__, note=_keys_of_first(member))
        for name, member in members
    ]
    return "JSON file", tuple(entries)


def _keys_of_first(member: Any) -> str:
    first = member[0] if isinstance(member, list) and member else None
    return f"each with {', '.join(map(str, first))}" if isinstance(first, dict) else ""


def _length(member: Any) -> tuple[int, ...]:
    return (len(member),) if isinstance(member, list | dict | tuple) else ()


def _read_tar(path: Path) -> tuple[str, tuple[Entry, ...]]:
    with tarfile.open(path, "r:*") as tar:
        suffixes = Counter(Path(entry.name).suffix or "no suffix" for entry in tar)
    entries = [Entry(suffix, (count,), "files") for suffix, count in suffixes.most_common()]
    return "tar", tuple(entries)


def _read_arrow(path: Path) -> tuple[str, tuple[Entry, ...]]:
    kind = path.suffix.lower().lstrip(".")
    file = open_arrow(path, kind)
    n_rows = sum(file.lengths)
    columns = [
        Entry(name, (n_rows,), str(file.types[name]), note=_PICTURES if pictures else "")
        for name in file.names
        for pictures in (file.holds_pictures(name),)
    ]
    return f"{kind.capitalize()} table", tuple(columns)


def _folder_entries(folder: Path) -> Iterator[Entry]:
    """Describe the arrays of a folder, name its other files, and count those of a kind."""
    suffixes: Counter[str] = Counter()
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            yield Entry(path.name, (sum(1 for _ in path.iterdir()),), "folder")
        elif path.suffix == ".npy":
            try:
                [entry] = _read_npy(path)[1]
                yield replace(entry, name=path.name)
            except (OSError, ValueError, EOFError) as error:
                yield Entry(path.name, (), "NumPy array", note=f"can't be read: {error}")
        else:
            suffixes[path.suffix] += 1
            if suffixes[path.suffix] <= 3 or path.suffix in _NAMED_SUFFIXES:
                yield Entry(path.name, (path.stat().st_size,), "bytes")
    for suffix, count in suffixes.items():
        if count > 3 and suffix not in _NAMED_SUFFIXES:
            yield Entry(f"*{suffix}", (count,), "files")


_READERS: Final[Mapping[str, Callable[[Path], tuple[str, tuple[Entry, ...]]]]] = {
    ".mat": _read_mat,
    ".h5": _read_h5,
    ".hdf5": _read_h5,
    ".h5py": _read_h5,
    ".npz": _read_npz,
    ".npy": _read_npy,
    ".pkl": _read_pickle,
    ".pt": _read_pickle,
    ".pth": _read_pickle,
    ".pickle": _read_pickle,
    ".json": _read_json,
    ".tar": _read_tar,
    ".tar.gz": _read_tar,
    ".tgz": _read_tar,
    ".parquet": _read_arrow,
    ".arrow": _read_arrow,
    ".csv": _read_text_table,
    ".tsv": _read_text_table,
    ".txt": _read_text_table,
    ".token": _read_text_table,
    ".jsonl": _read_text_table,
    ".ndjson": _read_text_table,
}
_NAMED_SUFFIXES: Final = frozenset(_READERS) - {".txt"}
"""Files of a folder that are named one by one; of others, the first few."""
