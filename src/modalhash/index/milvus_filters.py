"""Filters as boolean expressions of Milvus.

Milvus takes an expression as a text. Templates with parameters exist only in newer servers, so
values are written as literals, and every literal is made by `literal`, which escapes all that could
end it. Field names are in quotes, too; one with a character that Milvus's own reading of paths
trips over isn't sent at all.

What Milvus can't say exactly (a pattern with a wildcard before its end, an odd field name) becomes
a weaker expression that every item of the filter passes. The index then reads those items and tests
them itself, see `holds`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from modalhash.index.filter_tests import compares
from modalhash.index.filter_tree import (
    And,
    Compare,
    Contains,
    Filter,
    IsIn,
    IsNull,
    Leaf,
    Like,
    Not,
    Or,
    Value,
)

__all__ = ["Expression", "compile_filter", "fields_of", "id_list", "literal", "partition_of"]

FIELDS: Final = "fields"
PARTITION: Final = "partition"
ODD_NAME: Final = re.compile(r"""[\[\]'"\\/~]|[\x00-\x1f]""")
EXACT_FLOAT: Final = 2**53


@dataclass(frozen=True)
class Expression:
    """What Milvus is asked.

    Attributes:
        text: the expression; "" lets all items pass.
        is_exact: whether exactly the items of the filter pass; otherwise all of them and others.
    """

    text: str
    is_exact: bool = True


EVERYTHING: Final = Expression("", is_exact=False)


def literal(value: Value) -> str:
    r"""Write a value as Milvus reads it; nothing in a text can end the literal.

    Example:
        >>> print(literal('5" \\'), literal(True), literal(0.5))
        "5\" \\" true 0.5
    """
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return '"' + "".join(map(escaped, value)) + '"'
    return repr(value)


def escaped(character: str) -> str:
    """Write a character as it stands between the quotes of a literal."""
    if character in '"\\':
        return "\\" + character
    return f"\\u{ord(character):04x}" if ord(character) < 32 or character == "\x7f" else character


def id_list(ids: Sequence[str] | Sequence[int]) -> str:
    r"""Write the expression that the items of some ids pass.

    Example:
        >>> print(id_list(["a", 'b"']))
        id in ["a", "b\""]
    """
    return f"id in [{', '.join(map(literal, ids))}]"


def compile_filter(tree: Filter | None, *, partition_field: str = "") -> Expression:
    """Translate a filter to an expression.

    Args:
        tree: the filter; None lets all items pass.
        partition_field: the metadata field whose values are the collection's partition key.

    Example:
        >>> from modalhash.index.filters import parse_filter
        >>> compile_filter(parse_filter('year >= 2020 and "dog" in tags')).text
        '(fields["year"] >= 2020) and (json_contains(fields["tags"], "dog"))'
        >>> compile_filter(parse_filter('place like "%way"'))
        Expression(text='', is_exact=False)
    """
    if tree is None:
        return Expression("")
    result = expression(tree, is_wanted=True)
    keys = partition_keys(tree, partition_field) if partition_field else None
    if keys is None:
        return result
    narrowed = f"{PARTITION} in [{', '.join(map(literal, keys))}]"
    text = f"({narrowed}) and ({result.text})" if result.text else narrowed
    return Expression(text, result.is_exact)


def expression(tree: Filter, *, is_wanted: bool) -> Expression:
    """Write the expression of a filter, or of its opposite; `not` moves down to the tests."""
    match tree:
        case Not(term):
            return expression(term, is_wanted=not is_wanted)
        case And(terms) | Or(terms):
            parts = [expression(term, is_wanted=is_wanted) for term in terms]
            is_and = isinstance(tree, And) == is_wanted
            return both(parts) if is_and else either(parts)
    positive = leaf_expression(tree)
    if is_wanted or positive is EVERYTHING:
        return positive
    if not positive.is_exact:
        return EVERYTHING  # the opposite of what is too weak is too strong
    if isinstance(tree, IsNull):
        return Expression(f"exists {path_of(tree.field)}")
    # Servers differ in what a test of a missing field is, and so what `not` makes of it.
    return Expression(f"(not ({positive.text})) or (not exists {path_of(tree.field)})")


def both(parts: Sequence[Expression]) -> Expression:
    """Write the expression that all parts pass; what is too weak in one stays too weak."""
    texts = [part.text for part in parts if part.text]
    text = (
        " and ".join(f"({part_text})" for part_text in texts) if len(texts) > 1 else "".join(texts)
    )
    return Expression(text, all(part.is_exact for part in parts))


def either(parts: Sequence[Expression]) -> Expression:
    """Write the expression that any part passes."""
    if not all(part.text for part in parts):
        return EVERYTHING
    text = " or ".join(f"({part.text})" for part in parts)
    return Expression(text, all(part.is_exact for part in parts))


def path_of(field: tuple[str, ...]) -> str:
    """Name a field as Milvus does."""
    return FIELDS + "".join(f'["{name}"]' for name in field)


def leaf_expression(leaf: Leaf) -> Expression:  # noqa: PLR0911 - one for each sort of test
    """Write the expression of one test."""
    if any(ODD_NAME.search(name) for name in leaf.field):
        return EVERYTHING
    path = path_of(leaf.field)
    match leaf:
        case Compare(_, operator, bool() as value):
            truths = [truth for truth in (False, True) if compares(truth, operator, value)]
            return Expression(one_of(path, truths))
        case Compare(_, operator, value):
            return Expression(f"{path} {operator} {literal(value)}", is_safe(value))
        case IsIn(_, values):
            return Expression(one_of(path, values), all(map(is_safe, values)))
        case Contains(_, value):
            texts = [literal(value)]
            if type(value) in {int, float} and is_safe(value) and value == int(value):
                texts = [literal(int(value)), literal(float(value))]  # told apart in lists
            parts = [Expression(f"json_contains({path}, {text})") for text in texts]
            return replace(either(parts) if len(parts) > 1 else parts[0], is_exact=is_safe(value))
        case Like(_, pattern):
            return begins(path, pattern)
    return Expression(f"not exists {path}")


def is_safe(value: Value) -> bool:
    """Tell whether Milvus compares a value exactly: beyond 2^53 it may go through floats."""
    return isinstance(value, str | bool) or abs(value) <= EXACT_FLOAT


def one_of(path: str, values: Sequence[Value]) -> str:
    """Write the expression of a field that equals one of some values; none is never."""
    texts = [literal(value) for value in values if isinstance(value, str)]
    parts = [f"{path} == {literal(value)}" for value in values if not isinstance(value, str)]
    if texts:
        parts.append(f"{path} in [{', '.join(texts)}]")
    if not parts:
        return f"(exists {path}) and (not exists {path})"
    return " or ".join(f"({part})" for part in parts) if len(parts) > 1 else parts[0]


def begins(path: str, pattern: str) -> Expression:
    """Write the expression of a pattern: exact if its only wildcard is a `%` at the end."""
    plain, rest = re.match(r"((?:[^%_\\]|\\.)*)(.*)", pattern, re.DOTALL).groups()  # type: ignore[union-attr]
    start = re.sub(r"\\(.)", r"\1", plain, flags=re.DOTALL)
    if not rest:
        return Expression(f"{path} == {literal(start)}")
    if not start or re.search(r"[%_\\]", start):
        return EVERYTHING
    return Expression(f"{path} like {literal(start + '%')}", rest.strip("%") == "")


def partition_keys(tree: Filter, field: str) -> list[str] | None:
    """List the partition keys that items of a filter can have; None if it doesn't say."""
    match tree:
        case Compare((name,), "==", value) if name == field:
            return [partition_of(value)]
        case IsIn((name,), values) if name == field:
            return list(dict.fromkeys(map(partition_of, values)))
        case And(terms):
            named = [keys for term in terms if (keys := partition_keys(term, field)) is not None]
            return min(named, key=len) if named else None
    return None


def partition_of(value: object) -> str:
    """Compute the partition key of a field's value; equal values have the same.

    Example:
        >>> partition_of("dog"), partition_of(7.0), partition_of(True), partition_of(None)
        ('text dog', 'number 7', 'truth True', '')
    """
    match value:
        case bool():
            return f"truth {value}"
        case str():
            return f"text {value}"
        case int() | float():
            return f"number {int(value) if value == int(value) else value!r}"
    return ""


def fields_of(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what filters see of metadata: no nulls, no integers that Milvus's JSON can't hold.

    Example:
        >>> fields_of({"a": None, "b": {"c": None, "d": 1}, "e": [None], "f": 2**70})
        {'b': {'d': 1}, 'e': [None], 'f': 1.1805916207174113e+21}
    """
    return {name: seen(value) for name, value in metadata.items() if value is not None}


def seen(value: Any) -> Any:
    """Convert a JSON value to what filters see of it."""
    match value:
        case Mapping():
            return fields_of(value)
        case list() | tuple():
            return [seen(entry) for entry in value]
        case bool():
            return value
        case int() if not -(2**63) <= value < 2**63:
            return json.loads(f"{value}.0")
    return value
