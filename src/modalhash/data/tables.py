"""Tables that people write: TSV, CSV, JSON Lines and Parquet, read with their line numbers."""

import csv
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from modalhash.data.collection import Value
from modalhash.data.table_formats import TableFormat, default_format, plain_values
from modalhash.data.text_lines import (
    DIRTY,
    ENCODING_PROBLEM,
    HALF_PROBLEM,
    NUL_PROBLEM,
    ascii_if_broken,
    describe_lines,
    dirt_of,
    open_text,
)
from modalhash.errors import CollectionError, Defect, InputError
from modalhash.files import open_regular_file

__all__ = [
    "TABLE_SUFFIXES",
    "ColumnChoice",
    "Table",
    "read_table",
    "typed_values",
]

ColumnChoice = Callable[[Sequence[str]], Sequence[str]]
"""Takes the columns that a table has and returns those that every row must fill; the first of them
holds the items' ids."""

_WHOLE: Final = re.compile(r"-?(0|[1-9]\d{0,17})")
_NUMBER: Final = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,17})?([eE][+-]?\d{1,2})?")


@dataclass
class Table:
    """Rows of a table, column by column.

    Attributes:
        path: the file.
        format: how it is written.
        lines: the line of each row, counted from 1 with the header; in Parquet the row's number.
        columns: column name to one value a row, as the file types them (TSV and CSV: texts).
        defects: what is wrong; the rows concerned are not in `columns`. A defect without items
            means that the table can't be used.
    """

    path: Path
    format: TableFormat = field(default_factory=lambda: TableFormat("csv"))
    lines: list[int] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(default_factory=dict)
    defects: list[Defect] = field(default_factory=list)
    _dirty: dict[str, list[tuple[int, tuple[str, ...]]]] = field(default_factory=dict)

    @property
    def is_usable(self) -> bool:
        """Tell whether every defect can be cured by leaving items out."""
        return all(defect.items for defect in self.defects)

    def where(self, row: int) -> str:
        """Write the file and line of a row as defects give them."""
        return f"{self.path}:{self.lines[row]}"

    def add_defect(self, kind: str, line: int | None, problem: str, *items: str) -> None:
        """Note that something is wrong in a line, or in the whole file."""
        where = str(self.path) if line is None else f"{self.path}:{line}"
        self.defects.append(Defect(kind, where, problem, items))

    def add_dirty_line(self, line: int, problem: str, items: tuple[str, ...]) -> None:
        """Note that a line's characters can't be read; many such lines are one defect."""
        self._dirty.setdefault(problem, []).append((line, items))

    def close(self) -> None:
        """Make defects of the lines whose characters can't be read."""
        for problem, lines in self._dirty.items():
            names = [name for _, items in lines for name in items]
            is_curable = all(items for _, items in lines)
            description = describe_lines(problem, len(lines), self.path)
            self.add_defect(
                "bad-encoding", lines[0][0], description, *(names if is_curable else ())
            )
        self._dirty.clear()

    def add_row(self, line: int, values: Mapping[str, Any]) -> None:
        """Append a row; what it doesn't say is None, and so are new columns in earlier rows."""
        for column in values:
            if column not in self.columns:
                self.columns[column] = [None] * len(self.lines)
        self.lines.append(line)
        for column, cells in self.columns.items():
            cells.append(values.get(column))


def read_table(
    path: Path,
    required: Sequence[str] | ColumnChoice,
    *,
    table_format: TableFormat | None = None,
) -> Table:
    """Read a table; its suffix says which format it is, unless that is given.

    TSV is plain: a tab ends a value, nothing is quoted. CSV is what the csv module reads. JSON
    Lines has one object a line. Text is UTF-8, with or without a byte order mark, and lines may
    end in CR LF; empty lines are nothing.

    Args:
        path: a file with one of `TABLE_SUFFIXES`, or of the given format.
        required: columns that must be there; the first one holds the items' ids. Or a function
            that chooses them among those that are there; columns without a name are then numbered.
        table_format: how the file is written; by default what its suffix stands for.

    Returns:
        The table, with its defects.

    Raises:
        MissingExtraError: if it is Parquet and pyarrow isn't installed.
        InputError: if the function that chooses columns finds none.
    """
    table = Table(path, table_format or default_format(path))
    try:
        _READERS[table.format.kind](table, required)
    except OSError as error:
        table.add_defect("unreadable-file", None, f"can't be read: {error.strerror or error}")
    table.close()
    if table.is_usable and not table.lines and not table.defects:
        table.add_defect("empty-file", None, "has no rows; write one for each picture")
    return table


def typed_values(texts: Iterable[Value]) -> tuple[Value, ...]:
    """Turn a column's values into one type: all int, else all float, else as they are.

    Texts count as numbers only where nothing is lost: "007", "+1" or a number of 20 digits keep a
    column textual. Empty texts beside numbers are None, and so are infinite numbers. Values of
    mixed types become texts.

    Example:
        >>> typed_values(["1", "20", ""]), typed_values(["1", "0.5"]), typed_values(["1", "x"])
        ((1, 20, None), (1.0, 0.5), ('1', 'x'))
    """
    values = tuple(
        None if isinstance(value, float) and not math.isfinite(value) else value for value in texts
    )
    filled = [value for value in values if value is not None and value != ""]
    kinds = {type(value) for value in filled}
    if kinds == {str}:
        for pattern, number in ((_WHOLE, int), (_NUMBER, float)):
            if all(pattern.fullmatch(str(value)) for value in filled):
                return tuple(
                    None if value in (None, "") else number(str(value)) for value in values
                )
        return values
    if kinds == {int, float}:
        return tuple(None if value in (None, "") else float(str(value)) for value in values)
    if len(kinds) > 1:
        return tuple(None if value is None else str(value) for value in values)
    return values


def _divide_columns(
    header: Sequence[str], required: Sequence[str] | ColumnChoice
) -> tuple[list[str], Sequence[str]]:
    """List the columns, and those that are required."""
    if not callable(required):
        return list(header), required
    named = [name.strip() or f"column {place}" for place, name in enumerate(header, start=1)]
    return named, required(named)


def _is_header_usable(
    table: Table, header: Sequence[str], required: Sequence[str], line: int | None
) -> bool:
    """Check column names; what is wrong goes to the table's defects."""
    for column in dict.fromkeys(header):
        if header.count(column) > 1 or not column.strip():
            problem = f"the column {column!r} comes {header.count(column)} times; rename the others"
            if not column.strip():
                problem = "a column has no name; give it one"
            table.add_defect("wrong-column", line, problem)
    for column in required:
        if column not in header:
            close = get_close_matches(column, header, n=1)
            hint = f"rename {close[0]!r}" if close else "add it"
            names = ", ".join(map(repr, header)) or "nothing"
            problem = f"has no column {column!r}, only {names}; {hint}"
            table.add_defect("wrong-column", line, problem)
    return table.is_usable


def _fill(
    table: Table,
    rows: Iterator[tuple[int, list[str]]],
    required: Sequence[str] | ColumnChoice,
    split_hint: str,
) -> None:
    """Take the header and the rows of a TSV or CSV file."""
    line, header = next(rows, (1, []))
    if not header:
        first = "image" if callable(required) else required[0]
        table.add_defect("empty-file", None, f"is empty; start it with a header: {first} ...")
        return
    dirty = next((column for column in header if DIRTY.search(column)), None)
    if dirty is not None:
        table.add_defect("bad-encoding", line, dirt_of(dirty))
        return
    header, required = _divide_columns(header, required)
    if not _is_header_usable(table, header, required, line):
        return
    key, width = header.index(required[0]), len(header)
    cells: list[list[Any]] = [[] for _ in header]
    for line, values in rows:
        name = values[key] if key < len(values) else ""
        items = (name,) if name and not DIRTY.search(name) else ()
        if DIRTY.search("\t".join(values)):
            table.add_dirty_line(line, dirt_of("\t".join(values)), items)
        elif len(values) != width:
            problem = f"has {len(values)} columns, the header has {width}; {split_hint}"
            table.add_defect("wrong-column", line, problem, *items)
        else:
            table.lines.append(line)
            for column, value in zip(cells, values, strict=True):
                column.append(value)
    table.columns = dict(zip(header, cells, strict=True))


def _read_plain(table: Table, required: Sequence[str] | ColumnChoice) -> None:
    separator = table.format.separator
    with open_text(table.path, table.format.encoding) as file:
        numbered = ((line, text.rstrip("\r\n")) for line, text in enumerate(file, start=1))
        rows = ((line, plain_values(text, separator)) for line, text in numbered if text)
        name = "a tab" if separator == "\t" else f"a {separator!r}"
        _fill(table, rows, required, f"is there {name} inside a text, or one missing?")


def _read_csv(table: Table, required: Sequence[str] | ColumnChoice) -> None:
    separator, encoding = table.format.separator, table.format.encoding
    with open_text(table.path, encoding, newline="") as file:
        reader = csv.reader(file, delimiter=separator, strict=True)

        def rows() -> Iterator[tuple[int, list[str]]]:
            line = 1
            for values in reader:
                if values:
                    yield line, values
                line = reader.line_num + 1  # a quoted value may span lines; the first one counts

        try:
            name = "a comma" if separator == "," else f"a {separator!r}"
            _fill(table, rows(), required, f"quote texts that hold {name}")
        except csv.Error as error:
            problem = f"isn't CSV from here on ({error}); is a quote missing?"
            table.add_defect("bad-csv", reader.line_num, problem)


def _read_json_lines(table: Table, required: Sequence[str] | ColumnChoice) -> None:
    with open_text(table.path, table.format.encoding) as file:
        for line, text in enumerate(file, start=1):
            if text.strip():
                required = _read_json_line(table, line, text, required)


def _read_json(table: Table, required: Sequence[str] | ColumnChoice) -> None:
    """Take the objects of a list, numbered from 1, or a picture's name to its texts."""
    try:
        with open_regular_file(table.path) as file:
            text = file.read().decode(table.format.encoding)
        document = json.loads(text, object_pairs_hook=_without_duplicates)
        rows = _json_rows(document)
    except (ValueError, RecursionError) as error:
        table.add_defect("bad-json", None, ascii_if_broken(f"isn't JSON of rows: {error}"))
        return
    for number, values in enumerate(rows, start=1):
        required = _add_json_row(table, number, values, required)


def _json_rows(document: Any) -> list[Any]:
    """Find the rows in a JSON document.

    Raises:
        ValueError: if it holds none.
    """
    if isinstance(document, list):
        return document
    members = document.items() if isinstance(document, dict) else ()
    lists: list[list[Any]] = [value for _, value in members if _is_list_of_objects(value)]
    if len(lists) == 1:
        return lists[0]
    if members and all(isinstance(value, str) or _is_list_of_texts(value) for _, value in members):
        return [{"image": name, "caption": texts} for name, texts in members]
    if members and all(isinstance(value, dict) for _, value in members):
        return [{"image": name, **values} for name, values in members]
    raise ValueError("expected a list of objects, or an object of picture names and texts")


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _read_json_line(
    table: Table, line: int, text: str, required: Sequence[str] | ColumnChoice
) -> Sequence[str] | ColumnChoice:
    """Take the object of a line; return the required columns, which the first one decides."""
    try:
        values = json.loads(
            text, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        problem = f"isn't JSON ({error}); write one object a line"
        table.add_defect("bad-json", line, ascii_if_broken(problem))
        return required
    return _add_json_row(table, line, values, required)


def _add_json_row(
    table: Table, line: int, values: Any, required: Sequence[str] | ColumnChoice
) -> Sequence[str] | ColumnChoice:
    if not isinstance(values, dict):
        table.add_defect("bad-json", line, "isn't a JSON object; write {...} in each line")
        return required
    _, required = _divide_columns(list(values), required)
    name = values.get(required[0])
    items = (name,) if isinstance(name, str) and name and not DIRTY.search(name) else ()
    missing = [column for column in required if column not in values]
    texts = [part for part in (*values, *values.values()) if isinstance(part, str)]
    if any(DIRTY.search(part) for part in texts):
        table.add_dirty_line(line, json_dirt(texts), items)
    elif missing:
        names = ", ".join(map(repr, values)) or "nothing"
        problem = f"has no {missing[0]!r}, only {names}; add it"
        table.add_defect("wrong-column", line, problem, *items)
    else:
        table.add_row(line, values)
    return required


def json_dirt(texts: Iterable[str]) -> str:
    """Say what is wrong with the characters of texts out of JSON.

    Bytes that aren't UTF-8 were decoded to U+DC80 to U+DCFF; other halves of characters are
    escapes.
    """
    whole = "".join(texts)
    if "\0" in whole:
        return NUL_PROBLEM
    halves = [ord(letter) for letter in whole if "\ud800" <= letter <= "\udfff"]
    is_escape = any(not 0xDC80 <= half <= 0xDCFF for half in halves)
    return HALF_PROBLEM if is_escape else ENCODING_PROBLEM


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key comes twice")
    return values


def _refuse_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON number; write null")


def _read_arrow(table: Table, required: Sequence[str] | ColumnChoice) -> None:
    from modalhash.data.arrow_tables import open_arrow

    try:
        file = open_arrow(table.path, table.format.kind)
        header, required = _divide_columns(file.names, required)
        if not _is_header_usable(table, header, required, None):
            return
        table.columns = {column: list(map(_plain, file.read_column(column))) for column in header}
    except InputError:
        raise
    except CollectionError as error:
        table.defects += error.defects
        return
    except ValueError as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        table.add_defect("unreadable-file", None, f"can't be read as Parquet: {reason}")
        return
    table.lines = list(range(1, len(table.columns[header[0]]) + 1))


def _plain(value: Any) -> Any:
    """Convert dates to ISO texts, decimals to numbers, NaN to None; the rest stays."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    number = float(value) if isinstance(value, Decimal) else value
    return None if number != number else number  # noqa: PLR0124 - only NaN differs from itself


_READERS: Final[Mapping[str, Callable[[Table, Sequence[str] | ColumnChoice], None]]] = {
    "plain": _read_plain,
    "csv": _read_csv,
    "jsonl": _read_json_lines,
    "json": _read_json,
    "parquet": _read_arrow,
    "arrow": _read_arrow,
}
TABLE_SUFFIXES: Final = (".tsv", ".csv", ".jsonl", ".parquet")
"""How the name of a captions file may end."""
