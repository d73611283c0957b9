"""Tables in JSON: one object a line, a list of objects, or an object of names and texts."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from modalhash.data.table_contents import ColumnChoice, Table, divide_columns
from modalhash.data.text_lines import (
    DIRTY,
    ENCODING_PROBLEM,
    HALF_PROBLEM,
    NUL_PROBLEM,
    ascii_if_broken,
    open_text,
)
from modalhash.files import open_regular_file

__all__ = ["read_json_lines", "read_json_rows"]


def read_json_lines(table: Table, required: Sequence[str] | ColumnChoice) -> None:
    """Take one object a line; empty lines are nothing."""
    with open_text(table.path, table.format.encoding) as file:
        for line, text in enumerate(file, start=1):
            if text.strip():
                required = _read_json_line(table, line, text, required)


def read_json_rows(table: Table, required: Sequence[str] | ColumnChoice) -> None:
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
    _, required = divide_columns(list(values), required)
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
