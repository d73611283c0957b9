"""Find out how a table is written: its kind, what separates its values, and its encoding."""

import codecs
import csv
import io
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from modalhash.data.text_encodings import guess_encoding
from modalhash.errors import CollectionError, Defect, InputError
from modalhash.files import open_regular_file

__all__ = [
    "SEPARATORS",
    "SEPARATOR_LINE",
    "TableFormat",
    "default_format",
    "find_format",
    "folded_column",
    "plain_values",
    "read_header",
]

SEPARATORS: Final = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
"""How a user names a separator."""
_TEXT_SUFFIXES: Final = {".csv": ",", ".tsv": "\t", ".txt": ",", ".tab": "\t"}
_KINDS: Final = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".parquet": "parquet", ".arrow": "arrow"
}  # fmt: skip
_BYTE_ORDER_MARKS: Final = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
SEPARATOR_LINE: Final = re.compile(r"sep=(.)\s*$", re.IGNORECASE | re.MULTILINE)
"""The line before the header by which spreadsheets are told the separator."""
_LOOKED_AT: Final = 65536
"""Bytes of a text table that are looked at to find its separator."""


@dataclass(frozen=True)
class TableFormat:
    """How a table is written.

    Attributes:
        kind: "csv" (a value may be quoted), "plain" (nothing is quoted), "jsonl" (an object a
            line), "json" (a list of objects), "parquet" or "arrow".
        separator: what stands between two values of a text table.
        encoding: of the text.
        is_guessed: whether the encoding was guessed, and nothing in the file says so.
    """

    kind: str
    separator: str = ","
    encoding: str = "utf-8-sig"
    is_guessed: bool = False

    @property
    def is_text(self) -> bool:
        """Tell whether lines hold values with separators between them."""
        return self.kind in ("csv", "plain")

    def describe_guess(self, path: Path) -> str | None:
        """Say which encoding of a file was guessed; None if none was."""
        if not self.is_guessed:
            return None
        name = "Windows-1252" if self.encoding == "cp1252" else self.encoding.upper()
        return (
            f"{path} isn't UTF-8 and is read as {name}: if its texts look wrong, save it as UTF-8, "
            "or name its encoding with --columns encoding=NAME"
        )

    def separated_by(self, separator: str) -> "TableFormat":
        """Change the separator of the format; commas and semicolons allow quotes."""
        kind = "csv" if separator in ",;" else "plain"
        return replace(self, kind=kind, separator=separator)


def default_format(path: Path) -> TableFormat:
    """Look up the format that the suffix of a file stands for."""
    suffix = path.suffix.lower()
    if suffix in _KINDS:
        return TableFormat(_KINDS[suffix])
    return TableFormat("csv").separated_by(_TEXT_SUFFIXES.get(suffix, ","))


def find_format(
    path: Path,
    *,
    separator: str | None = None,
    encoding: str | None = None,
    likely_columns: frozenset[str] = frozenset(),
) -> TableFormat:
    """Find the format of a table: from its suffix and, of a text table, from its first line.

    Args:
        path: the file.
        separator: what stands between two values; None to find it.
        encoding: of the text; None for UTF-8, or UTF-16 where a byte order mark says so, or what
            `guess_encoding` finds.
        likely_columns: folded names of columns that the table may have: the separator that gives
            the most of them is taken, and of equals the one that gives the most columns.

    Raises:
        CollectionError: if the file can't be read.
        InputError: if Python knows no such encoding.
    """
    table_format = default_format(path)
    if table_format.kind in ("parquet", "arrow"):
        return table_format
    start = _read_start(path)
    mark = next((name for mark, name in _BYTE_ORDER_MARKS.items() if start.startswith(mark)), None)
    table_format = replace(table_format, encoding=_codec_name(encoding or mark or "utf-8"))
    if encoding is None and mark is None and table_format.is_text:
        table_format = _guess(path, table_format)
    first_line = _first_line(start, table_format.encoding)
    if table_format.kind == "jsonl" or (table_format.is_text and first_line.startswith("{")):
        return replace(table_format, kind="jsonl")
    if table_format.kind == "json":
        text = start.decode(table_format.encoding, "replace").strip()
        is_lines = _is_an_object(first_line) and not _maps_names(text, likely_columns)
        return replace(table_format, kind="jsonl") if is_lines else table_format
    stated = SEPARATOR_LINE.match(start.decode(table_format.encoding, "replace").lstrip())
    if separator is None and stated is not None:
        separator = stated[1]
    if separator is not None:
        return table_format.separated_by(separator)

    def score(candidate: str) -> tuple[int, int, bool]:
        names = _split_line(first_line, table_format.separated_by(candidate))
        known = len({folded_column(name) for name in names} & likely_columns)
        return known, len(names), candidate == table_format.separator

    return table_format.separated_by(max(SEPARATORS.values(), key=score))


def read_header(path: Path, table_format: TableFormat) -> list[str]:
    """Read the columns of a text table, or the keys of the first object of JSON; no rows.

    Returns:
        The names; none if they can't be told.

    Raises:
        CollectionError: if the file can't be read.
    """
    first_line = _first_line(_read_start(path), table_format.encoding)
    if table_format.is_text:
        return _split_line(first_line, table_format)
    try:
        with open_regular_file(path) as file:
            whole = first_line.encode() if table_format.kind == "jsonl" else file.read()
        document = json.loads(whole)
    except (OSError, ValueError, RecursionError):
        return []
    first = document[0] if isinstance(document, list) and document else document
    return list(first) if isinstance(first, dict) else []


def folded_column(name: str) -> str:
    """Fold a column's name for comparisons: lower case, letters and digits only.

    Example:
        >>> folded_column("File_Name "), folded_column("image-path")
        ('filename', 'imagepath')
    """
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def plain_values(line: str, separator: str) -> list[str]:
    """Divide a line at its separators, nothing is quoted; blanks around `|` don't count.

    Example:
        >>> plain_values("1.jpg| 0| A dog .", "|")
        ['1.jpg', '0', 'A dog .']
    """
    values = line.split(separator)
    return [value.strip() for value in values] if separator == "|" else values


def _codec_name(encoding: str) -> str:
    """Normalise an encoding's name; of UTF-8 choose the one that skips a byte order mark."""
    try:
        name = codecs.lookup(encoding).name
    except LookupError as error:
        raise InputError(
            f"the encoding {encoding!r} isn't known: write utf-8, utf-16, cp1252, latin-1, ..."
        ) from error
    return "utf-8-sig" if name == "utf-8" else name


def _read_start(path: Path) -> bytes:
    try:
        with open_regular_file(path) as file:
            return file.read(_LOOKED_AT)
    except OSError as error:
        problem = f"can't be read: {error.strerror or error}"
        raise CollectionError([Defect("unreadable-file", str(path), problem)]) from error


def _guess(path: Path, table_format: TableFormat) -> TableFormat:
    """Guess the encoding of a text table."""
    try:
        encoding = guess_encoding(path)
    except OSError as error:
        problem = f"can't be read: {error.strerror or error}"
        raise CollectionError([Defect("unreadable-file", str(path), problem)]) from error
    if encoding is None:
        return table_format
    return replace(table_format, encoding=encoding, is_guessed=True)


def _first_line(start: bytes, encoding: str) -> str:
    lines = start.decode(encoding, "replace").split("\n")
    filled = (line.strip("\r") for line in lines if line.strip())
    return next((line for line in filled if not SEPARATOR_LINE.match(line)), "")


def _is_an_object(line: str) -> bool:
    """Tell whether a line is a whole JSON object, which other lines may follow."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and not any(
        isinstance(value, list | dict) for value in document.values()
    )


def _maps_names(text: str, likely_columns: frozenset[str]) -> bool:
    """Tell whether a text that begins with an object's line maps pictures' names to their texts.

    Otherwise the object is a row. No other line follows a map, its values are texts, and none of
    its keys is called after a column.
    """
    if "\n" in text or not likely_columns:
        return False
    members: dict[str, object] = json.loads(text)
    are_texts = all(isinstance(value, str) for value in members.values())
    return are_texts and likely_columns.isdisjoint(map(folded_column, members))


def _split_line(line: str, table_format: TableFormat) -> list[str]:
    if table_format.kind == "plain":
        return plain_values(line, table_format.separator)
    try:
        return next(csv.reader(io.StringIO(line), delimiter=table_format.separator), [])
    except csv.Error:
        return [line]
