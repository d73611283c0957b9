"""Tables that people write: TSV, CSV, JSON Lines and Parquet, read with their line numbers."""

import csv
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from modalhash.data.collection import Value
from modalhash.data.json_tables import read_json_lines, read_json_rows
from modalhash.data.table_contents import ColumnChoice, Table, divide_columns, is_header_usable
from modalhash.data.table_formats import SEPARATOR_LINE, TableFormat, default_format, plain_values
from modalhash.data.text_lines import (
    DIRTY,
    dirt_of,
    open_text,
)
from modalhash.errors import CollectionError, InputError

__all__ = [
    "TABLE_SUFFIXES",
    "read_table",
    "typed_values",
]


_WHOLE: Final = re.compile(r"-?(0|[1-9]\d{0,17})")
_NUMBER: Final = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,17})?([eE][+-]?\d{1,2})?")


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


def _fill(
    table: Table,
    rows: Iterator[tuple[int, list[str]]],
    required: Sequence[str] | ColumnChoice,
    split_hint: str,
) -> None:
    """Take the header and the rows of a TSV or CSV file."""
    line, header = next(rows, (1, []))
    if SEPARATOR_LINE.match(table.format.separator.join(header)):
        line, header = next(rows, (1, []))
    if not header:
        first = "image" if callable(required) else required[0]
        table.add_defect("empty-file", None, f"is empty; start it with a header: {first} ...")
        return
    dirty = next((column for column in header if DIRTY.search(column)), None)
    if dirty is not None:
        table.add_defect("bad-encoding", line, dirt_of(dirty))
        return
    header, required = divide_columns(header, required)
    if not is_header_usable(table, header, required, line):
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


def _read_arrow(table: Table, required: Sequence[str] | ColumnChoice) -> None:
    from modalhash.data.arrow_tables import open_arrow

    try:
        file = open_arrow(table.path, table.format.kind)
        header, required = divide_columns(file.names, required)
        if not is_header_usable(table, header, required, None):
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
    "jsonl": read_json_lines,
    "json": read_json_rows,
    "parquet": _read_arrow,
    "arrow": _read_arrow,
}
TABLE_SUFFIXES: Final = (".tsv", ".csv", ".jsonl", ".parquet")
"""How the name of a captions file may end."""
