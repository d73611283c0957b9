"""Filters tested on one item at a time, where a database can't do it."""

import re
from collections.abc import Mapping
from typing import Any

from modalhash.index.filter_tree import And, Compare, Contains, Filter, IsIn, Like, Not, Or, Value

__all__ = ["compares", "holds"]


def holds(tree: Filter, metadata: Mapping[str, Any]) -> bool:  # noqa: PLR0911 - as above
    """Tell whether a filter holds for an item's metadata.

    Example:
        >>> from modalhash.index.filters import parse_filter
        >>> holds(parse_filter('place like "N%way"'), {"place": "Norway"})
        True
    """
    match tree:
        case Not(term):
            return not holds(term, metadata)
        case And(terms):
            return all(holds(term, metadata) for term in terms)
        case Or(terms):
            return any(holds(term, metadata) for term in terms)
    value: Any = metadata
    for name in tree.field:
        value = value.get(name) if isinstance(value, Mapping) else None
    match tree:
        case Compare(_, operator, wanted):
            return compares(value, operator, wanted)
        case IsIn(_, values):
            return any(compares(value, "==", entry) for entry in values)
        case Contains(_, wanted):
            return isinstance(value, list) and any(compares(entry, "==", wanted) for entry in value)
        case Like(_, pattern):
            return isinstance(value, str) and matches(pattern, value)
    return value is None


def compares(value: object, operator: str, constant: Value) -> bool:
    """Tell whether a comparison holds; between values of two sorts none does."""
    if sort(value) != sort(constant):
        return False
    left: Any = value
    match operator:
        case "==":
            return bool(left == constant)
        case "<":
            return bool(left < constant)
        case "<=":
            return bool(left <= constant)
        case ">":
            return bool(left > constant)
    return bool(left >= constant)


def sort(value: object) -> type | None:
    """Name the sort of a JSON value as far as it can be compared."""
    match value:
        case bool():
            return bool
        case str():
            return str
        case int() | float():
            return float
    return None


def matches(pattern: str, text: str) -> bool:
    """Tell whether a text is of a pattern of `like`."""
    parts, characters = [], iter(pattern)
    for character in characters:
        match character:
            case "%":
                parts.append(".*")
            case "_":
                parts.append(".")
            case "\\":
                parts.append(re.escape(next(characters, "\\")))
            case _:
                parts.append(re.escape(character))
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None
