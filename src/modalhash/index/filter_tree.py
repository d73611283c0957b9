"""What a filter is made of: a tree of tests of fields."""

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = [
    "And",
    "Compare",
    "Contains",
    "Field",
    "Filter",
    "IsIn",
    "IsNull",
    "Leaf",
    "Like",
    "Not",
    "Or",
    "Value",
    "leaves",
    "quoted",
    "sort_of",
]

Value = str | int | float | bool
Field = tuple[str, ...]


@dataclass(frozen=True)
class Compare:
    """A field beside a value.

    Attributes:
        field: names from the outermost mapping inwards.
        operator: one of `==`, `<`, `<=`, `>`, `>=`; `!=` is a `Not` around `==`.
        value: what it is compared with.
    """

    field: Field
    operator: str
    value: Value


@dataclass(frozen=True)
class IsIn:
    """A field equals one of some values."""

    field: Field
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Contains:
    """A field is a list that holds a value."""

    field: Field
    value: Value


@dataclass(frozen=True)
class Like:
    """A field is a text of a pattern; `%` any characters, `_` one, a backslash takes the next."""

    field: Field
    pattern: str


@dataclass(frozen=True)
class IsNull:
    """A field is missing or null."""

    field: Field


@dataclass(frozen=True)
class Not:
    """The opposite."""

    term: "Filter"


@dataclass(frozen=True)
class And:
    """All of some filters."""

    terms: tuple["Filter", ...]


@dataclass(frozen=True)
class Or:
    """Any of some filters."""

    terms: tuple["Filter", ...]


Leaf = Compare | IsIn | Contains | Like | IsNull
Filter = Leaf | Not | And | Or


def leaves(tree: Filter) -> Iterator[Leaf]:
    """Yield the tests of a filter from left to right."""
    match tree:
        case And(terms) | Or(terms):
            for term in terms:
                yield from leaves(term)
        case Not(term):
            yield from leaves(term)
        case _:
            yield tree


def sort_of(value: Value) -> str:
    """Name the sort of JSON value that a value is compared with: "truth", "text" or "number"."""
    match value:
        case bool():
            return "truth"
        case str():
            return "text"
    return "number"


def quoted(value: str | int) -> str:
    r"""Write a value as a filter says it.

    Example:
        >>> quoted('5" lens'), quoted(7)
        ('"5\\" lens"', '7')
    """
    if isinstance(value, int):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
