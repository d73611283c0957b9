"""The SQL statements that answer the tests of filters over metadata."""

import json
from collections.abc import Iterator
from typing import Any, Final

from modalhash.index.filter_tree import Compare, Contains, IsIn, IsNull, Leaf, Like, sort_of

__all__ = ["VALUES", "WITH_NUL", "make_statements", "name_json_path"]

RANGE: Final = "SELECT number FROM items WHERE number >= :first AND number < :end AND "
TYPES: Final = {
    "number": "json_type(metadata, :path) IN ('integer', 'real') AND ",
    "text": "json_type(metadata, :path) = 'text' AND ",
    "truth": "json_type(metadata, :path) IN ('true', 'false') AND ",
}
ENTRY_TYPES: Final = {
    "number": "type IN ('integer', 'real')",
    "text": "type = 'text'",
    "truth": "type IN ('true', 'false')",
}
# Every statement there is; fields and values of users are parameters.
# ruff: noqa: S608 - the statements are put together of this file's constants only.
COMPARE: Final = {
    (sort, operator): f"{RANGE}{check}json_extract(metadata, :path) {operator} :value"
    for sort, check in TYPES.items()
    for operator in ("==", "<", "<=", ">", ">=")
}
IS_IN: Final = {
    sort: RANGE + check + "json_extract(metadata, :path) IN (SELECT value FROM json_each(:value))"
    for sort, check in TYPES.items()
}
CONTAINS: Final = {
    sort: RANGE
    + "json_type(metadata, :path) = 'array' AND EXISTS "
    + f"(SELECT 1 FROM json_each(metadata, :path) WHERE {check} AND value = :value)"
    for sort, check in ENTRY_TYPES.items()
}
LIKE: Final = f"{RANGE}{TYPES['text']}json_extract(metadata, :path) GLOB :value"
VALUES: Final = (
    "SELECT number, json_type(metadata, :path), json_extract(metadata, :path) FROM items "
    "WHERE number < :end AND json_type(metadata, :path) IS NOT NULL ORDER BY number"
)
NOT_NULL: Final = f"{RANGE}json_type(metadata, :path) <> 'null'"
WITH_NUL: Final = (
    "SELECT number, metadata FROM items WHERE number >= :first AND number < :end "
    "AND instr(metadata, '\\u0000')"
)
GLOB: Final = {"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"}


def make_statements(leaf: Leaf) -> Iterator[tuple[str, Any]]:
    """Yield the statements of a test, each with its value; rows of any match.

    They are for rows without NUL characters. No such row has a name, an entry or a whole text with
    one, and SQLite would read the name or the text only up to it.
    """
    if any("\0" in name for name in leaf.field):
        return
    match leaf:
        case Compare(_, operator, value):
            yield COMPARE[sort_of(value), operator], value
        case IsIn(_, values):
            for sort, statement in IS_IN.items():
                values_of_sort = [value for value in values if sort_of(value) == sort]
                values_of_sort = [value for value in values_of_sort if "\0" not in str(value)]
                if values_of_sort:
                    yield statement, json.dumps(values_of_sort)
        case Contains(_, value):
            yield CONTAINS[sort_of(value)], value
        case Like(_, pattern) if "\0" not in pattern:
            yield LIKE, convert_to_glob(pattern)
        case IsNull():
            yield NOT_NULL, None


def name_json_path(field: tuple[str, ...]) -> str:
    """Name a field as SQLite's JSON functions do; names hold neither " nor backslash."""
    return "$" + "".join(f'."{name}"' for name in field)


def convert_to_glob(pattern: str) -> str:
    """Convert a pattern of `like` to one of GLOB, which minds upper and lower case."""
    parts, characters = [], iter(pattern)
    for character in characters:
        if character == "\\":
            literal = next(characters, "\\")
            parts.append(GLOB[literal] if literal in "*?[" else literal)
        else:
            parts.append(GLOB.get(character, character))
    return "".join(parts)
