"""Pictures and texts that tables list: `table:PATH`, `huggingface:PATH` and other sources.

PATH is a table (CSV, TSV, any text with `,`, `;`, `|` or tabs between values, JSON, JSON Lines,
Parquet, Arrow), a folder of tables, or a pattern such as `data/{train,test}.csv`. A row has a
picture and one text or more; rows of one picture belong together. Columns are recognised by their
usual names, in any case, or the user names them (`table_columns`).

Pictures are files, which are looked for beside the table and in the folders there; or they stand in
the table, as Hugging Face's datasets and img2dataset store them in Parquet. What else is read:

- a column `split`, or else files or folders that are called after splits (`train-00000-of-2...`);
- a column `label` or `labels`: a class, a list of classes, or their numbers;
- `status` of img2dataset: rows without a picture that aren't a success are left out and counted.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modalhash.data.arrow_tables import ArrowFile, open_arrow
from modalhash.data.pair_lists import PairList, missing_file
from modalhash.data.path_patterns import expand_pattern
from modalhash.data.pictures import PICTURE_SUFFIXES
from modalhash.data.reading import Reading
from modalhash.data.table_columns import (
    LIKELY_COLUMNS,
    ColumnRoles,
    GivenColumns,
    divide_source,
    find_roles,
)
from modalhash.data.table_contents import Table
from modalhash.data.table_formats import TableFormat, find_format, read_header
from modalhash.data.table_pictures import find_table_pictures, without_absolute_names
from modalhash.data.table_rows import SPLIT_NAMES, RowReader, TableItems, find_split_name
from modalhash.data.tables import read_table
from modalhash.data.text_lines import quote_text
from modalhash.errors import CollectionError, Defect, InputError

__all__ = [
    "TABLE_FILES",
    "add_items",
    "add_splits",
    "find_pair_tables",
    "read_huggingface",
    "read_table_collection",
    "read_tables",
]

TABLE_FILES: Final = (
    ".csv", ".tsv", ".tab", ".txt", ".jsonl", ".ndjson", ".json", ".parquet", ".arrow"
)  # fmt: skip
"""How the names of tables may end, in lower case."""
_NO_TABLES: Final = frozenset((
    "config.json", "dataset_dict.json", "dataset_info.json", "license.txt", "readme.txt",
    "requirements.txt", "state.json",
))  # fmt: skip
_BINARY: Final = (".parquet", ".arrow")
_CARELESS_ROW: Final = re.compile(r"(\d+)\s+(.+)")


def read_table_collection(argument: str, *, split_seed: int) -> Reading:
    """Read any table; see `SourceReader` and the module's description."""
    return _read_source("table", argument, split_seed)


def read_huggingface(argument: str, *, split_seed: int) -> Reading:
    """Read what Hugging Face's `datasets` reads or writes: the same tables, under its name."""
    return _read_source("huggingface", argument, split_seed)


def _read_source(source_name: str, argument: str, split_seed: int) -> Reading:
    path, columns = divide_source(argument)
    root, files = expand_pattern(path)
    if Path(path).is_dir():
        files = _find_tables(root, files)
    if not files or not files[0].exists():
        file = files[0] if files else Path(path)
        return missing_file(file, "a table (.csv, .tsv, .jsonl, .json, .parquet, ...)")
    if len(files) > 1 and not _belong_together(files):
        names = ", ".join(file.name for file in files[:4])
        problem = f"holds several tables ({names}): write {source_name}:{path}/NAME"
        return Reading(None, (Defect("two-tables", str(root), problem),))
    absolute = Path(path).absolute()
    pairs = PairList(
        absolute.stem if len(files) == 1 else absolute.name,
        f"{source_name}:{absolute}{_absolute_images(argument[len(path) :], columns, root)}",
        root,
    )
    return read_tables(files, columns, pairs, split_seed=split_seed)


def _absolute_images(suffix: str, columns: GivenColumns, root: Path) -> str:
    """Replace the folder of pictures in the user's columns by its absolute path."""
    if not columns.images or (root / columns.images).is_dir():
        return suffix
    return suffix.replace(f"images={columns.images}", f"images={Path(columns.images).absolute()}")


def _find_tables(root: Path, files: Sequence[Path]) -> list[Path]:
    """Find the tables of a folder: `metadata.*` anywhere, else Parquet or Arrow, else at the top.

    Args:
        root: the folder.
        files: all files below it.
    """
    tables = [
        file
        for file in files
        if file.suffix.lower() in TABLE_FILES
        and file.name.lower() not in _NO_TABLES
        and not file.name.startswith("cache-")
    ]
    metadata = [file for file in tables if file.stem.lower() == "metadata"]
    if metadata:
        return metadata
    top = [file for file in tables if file.parent == root]
    captions = [file for file in top if file.stem.lower() in ("captions", "results")]
    if len(captions) == 1:
        return captions
    return [file for file in tables if file.suffix.lower() in _BINARY] or top


def find_pair_tables(folder: Path) -> list[Path]:
    """Find the tables at the top of a folder that have columns of pictures and of texts."""
    tables = _find_tables(folder, sorted(path for path in folder.iterdir() if path.is_file()))
    return [table for table in tables if _lists_pairs(table)]


def _lists_pairs(table: Path) -> bool:
    try:
        table_format = find_format(table, likely_columns=LIKELY_COLUMNS)
        if table_format.kind in ("parquet", "arrow"):
            return False  # which `layouts` recognises
        roles = find_roles(read_header(table, table_format), GivenColumns())
    except InputError:
        return False
    return bool(roles.captions)


def _belong_together(files: Sequence[Path]) -> bool:
    """Tell whether tables are parts of one: binary ones, metadata, or called after splits."""
    suffixes = {file.suffix.lower() for file in files}
    return (len(suffixes) == 1 and suffixes <= set(_BINARY)) or all(
        file.stem.lower() == "metadata" or find_split_name([file.name]) for file in files
    )


def read_tables(
    files: Sequence[Path],
    given_columns: GivenColumns,
    pairs: PairList,
    *,
    split_seed: int,
    folders: Sequence[str] = (),
    split_lists: Mapping[str, Sequence[str]] | None = None,
) -> Reading:
    """Read tables that belong together.

    Args:
        files: the tables.
        given_columns: what the user says of their columns.
        pairs: where the items go; `pictures` is the folder in and below which the pictures are.
        split_seed: seed of the splits, where the tables name none.
        folders: names of the folders that are likely to hold the pictures.
        split_lists: split to its items, from files beside the tables.
    """
    root, read = pairs.pictures, TableItems(defects=pairs.defects, notes=pairs.notes)
    base = Path(os.path.commonpath([file.parent for file in files]))
    try:
        for file in files:
            _read_file(file, _Place(root, base), given_columns, read)
    except CollectionError as error:
        return Reading(None, error.defects)
    if read.n_without_picture:
        read.notes.append(
            f"{root}: {read.n_without_picture} rows have no picture and say so (status); left out"
        )
    incurable = tuple(defect for defect in read.defects if not defect.items)
    if incurable:
        return Reading(None, incurable, tuple(read.notes))
    pairs.label_names, pairs.has_texts = tuple(read.labels), read.has_texts
    if not read.has_texts:
        pairs.notes.append(f"{root}: no column of texts is recognised, so there are no texts")
    pairs.pictures = find_table_pictures(read.items, base, root, given_columns.images, folders)
    read.items = without_absolute_names(read.items, pairs.pictures)
    add_items(read, pairs)
    add_splits(read, pairs, split_lists or {})
    return pairs.reading(split_seed=split_seed)


@dataclass(frozen=True)
class _Place:
    """Where tables are.

    Attributes:
        root: the folder that was named.
        base: the folder of all of them; names of pictures are relative to each table's own folder.
    """

    root: Path
    base: Path


def _read_file(file: Path, place: _Place, columns: GivenColumns, read: TableItems) -> None:
    """Add the rows of a table to the items.

    Raises:
        CollectionError: if no picture column is there, or a column that the user named isn't.
    """
    likely = columns.likely_columns or LIKELY_COLUMNS
    table_format = find_format(
        file, separator=columns.separator, encoding=columns.encoding, likely_columns=likely
    )
    if (guess := table_format.describe_guess(file)) is not None:
        read.notes.append(guess)
    opened = _open_arrow(file, table_format)
    pictures = [name for name in opened.names if opened.holds_pictures(name)] if opened else []
    roles: list[ColumnRoles] = []

    def choose(header: Sequence[str]) -> list[str]:
        roles.append(find_roles(header, columns, pictures))
        return [roles[0].image]

    try:
        table = read_table(file, choose, table_format=table_format)
    except CollectionError:
        raise
    except InputError as error:
        raise CollectionError([Defect("wrong-column", str(file), str(error))]) from error
    if roles:
        _mend_rows(table, read)
    read.defects += table.defects
    if not roles or not table.columns:
        return
    folder = file.parent.relative_to(place.base).as_posix()
    label = roles[0].labels[0] if roles[0].labels else ""
    classes = opened.class_names.get(label, []) if opened else []
    split = _split_of(file, place.root)
    RowReader(table, roles[0], read, "" if folder == "." else folder, split, classes).add_rows()


def _open_arrow(file: Path, table_format: TableFormat) -> ArrowFile | None:
    """Open a Parquet or Arrow file; return None for tables of text.

    Raises:
        CollectionError: if it can't be read.
    """
    if table_format.kind not in ("parquet", "arrow"):
        return None
    try:
        return open_arrow(file, table_format.kind)
    except (OSError, ValueError) as error:
        problem = f"can't be read as {table_format.kind}: {' '.join(str(error).split())}"
        raise CollectionError([Defect("unreadable-file", str(file), problem)]) from error


def _mend_rows(table: Table, read: TableItems) -> None:
    """Accept the row of Kaggle's Flickr30k whose comment number isn't divided from the comment.

    It is `2199200615.jpg| 4   A dog runs across the grass .` under `image_name| comment_number|
    comment`; every copy of the file has it.
    """
    if table.format.separator != "|" or len(table.columns) != 3:
        return
    remaining = []
    for defect in table.defects:
        line = int(defect.where.rpartition(":")[2]) if defect.kind == "wrong-column" else 0
        values = _values_of_line(table, line)
        match = _CARELESS_ROW.fullmatch(values[1]) if len(values) == 2 else None
        if match is None:
            remaining.append(defect)
            continue
        place = sum(own < line for own in table.lines)
        table.lines.insert(place, line)
        for cells, value in zip(table.columns.values(), (values[0], *match.groups()), strict=True):
            cells.insert(place, value)
        read.notes.append(f"{table.path}:{line}: lacks a '|' behind {match[1]}; read as if it had")
    table.defects[:] = remaining


def _values_of_line(table: Table, line: int) -> list[str]:
    with table.path.open(encoding=table.format.encoding, errors="replace") as file:
        text = next((text for number, text in enumerate(file, start=1) if number == line), "")
    return [value.strip() for value in text.rstrip("\r\n").split("|")]


def _split_of(file: Path, root: Path) -> str:
    """Find the split that a table's file or one of its folders is called after; "" if none."""
    if (file.parent.parent / "dataset_dict.json").is_file():  # save_to_disk: a folder a split
        return SPLIT_NAMES.get(file.parent.name.lower(), file.parent.name)
    return find_split_name([file.name, *reversed(file.parent.relative_to(root).parts)])


def add_items(read: TableItems, pairs: PairList) -> None:
    """Add the items of tables to a list of pairs; a column that differs in an item is left out."""
    differing = {
        column: name
        for name, item in read.items.items()
        for column, values in item.metadata.items()
        if any(value != values[0] for value in values)
    }
    for column, name in differing.items():
        pairs.notes.append(
            f"column {column!r} is left out: it differs between the captions of "
            f"{quote_text(name)}, and metadata belongs to pictures"
        )
    for name, item in read.items.items():
        metadata = {
            column: values[0] for column, values in item.metadata.items() if column not in differing
        }
        pairs.add(
            item.picture,
            item.texts,
            where=item.where,
            item=name,
            labels=item.labels,
            metadata=metadata,
        )


def add_splits(read: TableItems, pairs: PairList, split_lists: Mapping[str, Sequence[str]]) -> None:
    """Give the pairs the splits that the tables name, and those of lists beside them."""
    splits: dict[str, list[str]] = {}
    for name, item in read.items.items():
        if item.split:
            splits.setdefault(item.split, []).append(name)
    if len(splits) == 1 and not split_lists:
        [(split, names)] = splits.items()
        pairs.notes.append(f"{len(names)} items are of the split {split}; no other split is named")
        return
    for split, listed in split_lists.items():
        splits[split] = [
            name if name in read.items or name.lower().endswith(PICTURE_SUFFIXES) else f"{name}.jpg"
            for name in listed
        ]
        for name in splits[split]:
            if name not in read.items:
                problem = f"{quote_text(name)} of split {split} has no caption; correct the list"
                where = str(pairs.pictures)
                pairs.defects.append(Defect("unknown-in-split", where, problem, (name,)))
    pairs.splits.update(splits)
