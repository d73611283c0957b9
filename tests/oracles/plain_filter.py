"""Filters by their meaning: one item, one test after the other."""

import re
from collections.abc import Mapping
from typing import Any

from modalhash.index.filter_tree import And, Compare, Contains, Filter, IsIn, IsNull, Like, Not, Or


def plain_holds(tree: Filter, document: Mapping[str, Any]) -> bool:
    """Say whether a filter holds for an item."""
    match tree:
        case And(terms):
            return all(plain_holds(term, document) for term in terms)
        case Or(terms):
            return any(plain_holds(term, document) for term in terms)
        case Not(term):
            return not plain_holds(term, document)
        case Compare(field, operator, value):
            return compare(entry(document, field), operator, value)
        case IsIn(field, values):
            return any(compare(entry(document, field), "==", value) for value in values)
        case Contains(field, value):
            held = entry(document, field)
            return isinstance(held, list) and any(compare(one, "==", value) for one in held)
        case Like(field, pattern):
            held = entry(document, field)
            return (
                isinstance(held, str) and re.fullmatch(expression(pattern), held, re.S) is not None
            )
        case IsNull(field):
            return entry(document, field) is None


def entry(document: Any, field: tuple[str, ...]) -> Any:
    """Return what stands under a field, None where nothing does."""
    for name in field:
        if not isinstance(document, Mapping) or name not in document:
            return None
        document = document[name]
    return document


def sort_of(value: Any) -> str:
    """Return the JSON sort of a value."""
    if isinstance(value, bool):
        return "truth"
    return {int: "number", float: "number", str: "text"}.get(type(value), "other")


def compare(held: Any, operator: str, value: Any) -> bool:
    """Compare two values of one sort; those of different sorts never compare."""
    if sort_of(held) != sort_of(value):
        return False
    return bool(
        {
            "==": held == value,
            "<": held < value,
            "<=": held <= value,
            ">": held > value,
            ">=": held >= value,
        }[operator]
    )


def expression(pattern: str) -> str:
    """Return a pattern of `like` as a regular expression."""
    parts, characters = [], iter(pattern)
    for character in characters:
        if character == "\\":
            parts.append(re.escape(next(characters, "\\")))
        else:
            parts.append({"%": ".*", "_": "."}.get(character) or re.escape(character))
    return "".join(parts)
