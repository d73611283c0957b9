"""What the tables of a folder share: what its items are called, and how a table is found."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

from modalhash.data.table_columns import LIKELY_COLUMNS, find_column
from modalhash.data.table_contents import Table
from modalhash.data.table_formats import (
    TableFormat,
    default_format,
    find_format,
    folded_column,
    read_header,
)
from modalhash.data.tables import TABLE_SUFFIXES, read_table
from modalhash.errors import CollectionError, Defect, InputError

__all__ = [
    "PICTURES",
    "VIDEOS",
    "ItemKind",
    "find_table",
    "plain_name",
    "type_name",
    "with_plain_names",
]


@dataclass(frozen=True)
class ItemKind:
    """What the items of a folder are.

    Attributes:
        column: the column that names them.
        folder: the folder they are in.
        noun: what messages call one.
        file: what one is on disk.
        requirement: what it must be, and what to do about another.
    """

    column: str
    folder: str
    noun: str
    file: str
    requirement: str


PICTURES: Final = ItemKind(
    "image", "images", "picture", "file", "is no jpg, png or webp; convert it"
)
VIDEOS: Final = ItemKind(
    "video",
    "videos",
    "video",
    "folder",
    "is no folder of frames (jpg, png or webp); cut some: ffmpeg -i VIDEO -vf fps=1 NAME/%05d.jpg",
)


def find_table(folder: Path, name: str, required: Sequence[str]) -> tuple[Table | None, str]:
    """Read the table of a name in any of the formats.

    Its columns may be spelt in any case, or be called by usual names (`filename`, `text`).

    Args:
        folder: that holds it.
        name: of the file, without its suffix.
        required: columns that must be there; the table that is returned calls them so.

    Returns:
        The table, or None if there is none; and what is wrong if there are several.
    """
    files = folder.iterdir() if folder.is_dir() else ()
    tables = [
        path
        for path in files
        if path.stem == name and path.suffix.lower() in TABLE_SUFFIXES and not path.is_dir()
    ]
    tables.sort(key=lambda path: TABLE_SUFFIXES.index(path.suffix.lower()))
    if len(tables) > 1:
        names = " and ".join(path.name for path in tables)
        return None, f"has {names}: it isn't clear which one counts; keep one"
    if not tables:
        return None, ""
    try:
        columns = frozenset(map(folded_column, required)) | LIKELY_COLUMNS
        table_format = find_format(tables[0], likely_columns=columns)
    except CollectionError:  # reading it says why
        table_format = default_format(tables[0])
    try:
        spelt = [find_column(list_columns(tables[0], table_format), role) for role in required]
    except CollectionError:
        spelt = []
    own_names = {
        role: column for role, column in zip(required, spelt, strict=False) if column is not None
    }
    if len({*own_names.values()}) < len(own_names):  # one for two roles: an error says what misses
        own_names = {}
    table = read_table(
        tables[0], [own_names.get(role, role) for role in required], table_format=table_format
    )
    roles = {column: role for role, column in own_names.items()}
    table.columns = {roles.get(column, column): cells for column, cells in table.columns.items()}
    return table, ""


def list_columns(path: Path, table_format: TableFormat) -> list[str]:
    """List the columns of a table without its rows; none if they can't be told.

    Raises:
        CollectionError: if the file can't be read.
    """
    if table_format.kind not in ("parquet", "arrow"):
        return read_header(path, table_format)
    from modalhash.data.arrow_tables import open_arrow

    try:
        return list(open_arrow(path, table_format.kind).names)
    except (InputError, ImportError, OSError, ValueError):  # reading it says why
        return []


def with_plain_names(defect: Defect) -> Defect:
    """Rename the items of a defect to the names that the collection gives them."""
    return replace(defect, items=tuple(map(plain_name, defect.items)))


def plain_name(name: str) -> str:
    """Convert `./a//b.jpg` to `a/b.jpg`, so that one picture has one name everywhere."""
    return PurePosixPath(name).as_posix() if name else name


def type_name(value: Any) -> str:
    """Name the type of a cell as messages do."""
    return "nothing" if value is None else f"of type {type(value).__name__}"
