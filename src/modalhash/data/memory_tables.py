"""Pictures and texts of a table in memory: a data frame, or a data set of Hugging Face.

Neither package is imported: a frame is what has `columns` and gives a column by its name, as those
of pandas and polars do; a data set is what has `column_names` and `features`, as those of
`datasets` do, one or several by the names of splits. Columns are recognised as those of tables in
files. Pictures are paths, the bytes of files, opened pictures or pixels; those of a data set stay
there until they are opened.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from PIL import Image

from modalhash.data.memory_pictures import DatasetPicture, MemoryPicture, PicturePath
from modalhash.data.pair_lists import PairList
from modalhash.data.picture_folders import PictureFolder
from modalhash.data.reading import Reading
from modalhash.data.table_collections import add_items, add_splits
from modalhash.data.table_columns import GivenColumns, find_roles
from modalhash.data.table_contents import Table
from modalhash.data.table_rows import SPLIT_NAMES, Item, RowReader, TableItems
from modalhash.errors import Defect, InputError

__all__ = ["Frame", "FrameDataset", "MemoryTable", "is_memory_table", "read_memory_table"]

ROWS_AT_ONCE = 1000
"""Rows of a data set whose pictures are looked at together."""


@runtime_checkable
class Frame(Protocol):
    """A data frame, as of pandas or polars."""

    @property
    def columns(self) -> Any:
        """Names of the columns."""

    def __getitem__(self, name: Any, /) -> Any:
        """Give a column."""


@runtime_checkable
class FrameDataset(Protocol):
    """A data set, as of the package `datasets`."""

    @property
    def column_names(self) -> Any:
        """Names of the columns."""

    @property
    def features(self) -> Any:
        """What each column holds."""

    def select_columns(self, column_names: Any) -> Any:
        """Select some columns."""

    def with_format(self, type: Any) -> Any:  # noqa: A002
        """Choose how rows are given."""


MemoryTable: TypeAlias = Frame | FrameDataset | Mapping[str, FrameDataset]
"""A table in memory."""


def is_memory_table(source: object) -> bool:
    """Tell whether something is a table in memory."""
    if isinstance(source, Mapping):
        return bool(source) and all(isinstance(part, FrameDataset) for part in source.values())
    return isinstance(source, FrameDataset | Frame)


def read_memory_table(
    source: MemoryTable, given_columns: GivenColumns, *, split_seed: int
) -> Reading:
    """Read a table in memory.

    Args:
        source: the table; of several, each is the split of its name.
        given_columns: what the user says of the columns; `images` is the folder of relative paths,
            by default the current one.
        split_seed: seed of the splits, where the table names none.

    Raises:
        InputError: if no column of pictures is recognised, or one that the user named isn't there.
    """
    parts = source if isinstance(source, Mapping) else {"": source}
    read = TableItems()
    for name, part in parts.items():
        read_part(part, name, given_columns, read)
    kind = "Dataset" if not isinstance(source, Frame) else "DataFrame"
    root = place_files(read, Path(given_columns.images or "."))
    pairs = PairList(kind, "", root, has_texts=read.has_texts)
    pairs.label_names = tuple(read.labels)
    pairs.defects, pairs.notes = read.defects, read.notes
    if not read.has_texts:
        pairs.notes.append("no column of texts is recognised, so there are no texts")
    if not read.items and not read.defects:
        read.defects.append(Defect("no-items", kind, "has no row"))
    add_items(read, pairs)
    add_splits(read, pairs, {})
    return pairs.reading(split_seed=split_seed)


def read_part(
    part: Frame | FrameDataset, name: str, given_columns: GivenColumns, read: TableItems
) -> None:
    """Add the rows of one table to the items; `name` is its split, or "".

    Raises:
        InputError: if no column of pictures is recognised.
    """
    is_dataset = isinstance(part, FrameDataset)
    names = list(map(str, part.column_names if isinstance(part, FrameDataset) else part.columns))
    if isinstance(part, FrameDataset):
        pictures = [column for column in names if is_picture_feature(part.features[column])]
        roles = find_roles(names, given_columns, pictures)
        plain = [column for column in names if column not in pictures]
        columns = read_dataset_columns(part, plain)
        is_stored = roles.image in pictures
        if is_stored:
            columns[roles.image] = list(list_dataset_pictures(part, roles.image, name))
        classes = class_names(part.features[roles.labels[0]]) if roles.labels else []
    else:
        columns = {column: list_cells(part, column) for column in names}
        pictures = [column for column in names if holds_pictures(columns[column])]
        roles = find_roles(names, given_columns, pictures)
        classes = []
    title = name or ("Dataset" if is_dataset else "DataFrame")
    columns[roles.image] = [
        read_picture_cell(cell, title, row) for row, cell in enumerate(columns[roles.image], 1)
    ]
    lines = list(range(1, len(columns[roles.image]) + 1))
    table = Table(Path(title), lines=lines, columns=columns)
    RowReader(table, roles, read, "", SPLIT_NAMES.get(name.lower(), name), classes).add_rows()


def is_picture_feature(feature: object) -> bool:
    """Tell whether a column of a data set holds pictures: `Image`, or bytes."""
    return type(feature).__name__ == "Image" or getattr(feature, "dtype", "") in (
        "binary",
        "large_binary",
    )


def class_names(feature: object) -> Sequence[str]:
    """List the names of the classes of a column of a data set; none if it has none."""
    inner = getattr(feature, "feature", feature)
    return [str(name) for name in getattr(inner, "names", None) or []]


def read_dataset_columns(dataset: FrameDataset, names: Sequence[str]) -> dict[str, list[Any]]:
    """Read columns of a data set as they are stored."""
    if not names:
        return {}
    table = dataset.select_columns(list(names)).with_format("arrow")[:]
    return {name: [plain_value(cell) for cell in table[name].to_pylist()] for name in names}


def list_dataset_pictures(
    dataset: FrameDataset, column: str, split: str
) -> Iterator[DatasetPicture | PicturePath | None]:
    """Yield the pictures of a column, each where it is stored; None where there is none."""
    cells = dataset.select_columns([column]).with_format("arrow")
    for start in range(0, len(cells), ROWS_AT_ONCE):
        values = cells[start : start + ROWS_AT_ONCE][column].combine_chunks()
        is_struct = hasattr(values.type, "get_field_index") and values.type.num_fields > 0
        has_bytes = (values.field("bytes") if is_struct else values).is_valid().to_pylist()
        paths = values.field("path").to_pylist() if is_struct else [None] * len(has_bytes)
        for row, (is_stored, path) in enumerate(zip(has_bytes, paths, strict=True), start):
            if is_stored:
                yield DatasetPicture(cells, column, row, split or "Dataset")
            else:
                yield None if path is None else PicturePath(path)


def list_cells(frame: Frame, column: str) -> list[Any]:
    """List the values of a column of a frame, as Python's own."""
    by_text = {str(name): name for name in frame.columns}
    values = frame[by_text[column]]
    if hasattr(values, "columns"):
        raise InputError(f"the column {column!r} comes several times: rename the others")
    return [plain_value(value) for value in values]


def plain_value(value: Any) -> Any:
    """Convert a value to Python's own; what is missing (NaN, NaT, NA) becomes None."""
    if isinstance(value, np.ndarray):
        return value if value.dtype == np.uint8 and value.ndim > 1 else value.tolist()
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value).__name__ == "NAType":
        return None
    if isinstance(value, float) and value != value:  # noqa: PLR0124 - NaN is unequal to itself
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat() if value == value else None  # noqa: PLR0124 - so is NaT
    return value


def holds_pictures(cells: Iterable[Any]) -> bool:
    """Tell whether a column of a frame holds pictures: opened ones, pixels, or bytes."""
    first = next((cell for cell in cells if cell is not None), None)
    if isinstance(first, dict):
        return "bytes" in first
    return isinstance(first, bytes | Image.Image | np.ndarray)


def read_picture_cell(cell: Any, title: str, row: int) -> Any:
    """Read a cell of pictures: a path, or a picture; what is neither stays as it is."""
    if isinstance(cell, dict) and "bytes" in cell:
        cell = cell["bytes"] if cell["bytes"] is not None else cell.get("path")
    if isinstance(cell, bytes | Image.Image | np.ndarray):
        return MemoryPicture(cell, f"{title}, row {row}")
    if isinstance(cell, os.PathLike):
        return os.fspath(cell)
    return cell.path if isinstance(cell, PicturePath) else cell


def place_files(read: TableItems, folder: Path) -> Path:
    """Find the one folder of all pictures that are files, and name these relative to it.

    Paths are relative to `folder`; where all are in it, it is that folder. A file that isn't there
    is a defect, and its item is left out.

    Returns:
        The folder.
    """
    base = folder.absolute()
    files = {
        name: Path(os.path.normpath(base / item.picture))  # "../a.jpg" is a name of its own folder
        for name, item in read.items.items()
        if isinstance(item.picture, str)
    }
    if not files:
        return base
    inside = all(file.is_relative_to(base) for file in files.values())
    root = base if inside else Path(os.path.commonpath([file.parent for file in files.values()]))
    pictures = PictureFolder(root)
    placed: dict[str, Item] = {}
    for name, item in read.items.items():
        new_name = name
        if name in files:
            relative = files[name].relative_to(root).as_posix()
            stored = pictures.find(relative)
            if stored is None:
                problem = f"there is no picture {files[name]}: correct the path"
                read.defects.append(Defect("missing-picture", item.where, problem, (name,)))
                continue
            new_name = relative if name == item.picture else name
            item.picture = stored
        placed[new_name] = item
    read.items = placed
    return root
