"""Filters as other programs say them, written in our filter language.

Mappings are those that vector stores of LangChain commonly take: `{"year": 2020}`, `{"year":
{"$gte": 2020}}`, `{"$or": [...]}`. What our language can say besides (`like`, dates) is said in it:
a text is a filter of ours as it stands.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from modalhash.errors import InputError, UnknownNameError
from modalhash.index.filter_tree import quoted

__all__ = ["join_clauses", "write_field", "write_like", "write_value", "write_where"]

COMPARISONS: Final = {
    "$eq": "==", "$ne": "!=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="
}  # fmt: skip
JOINS: Final = {"$and": "and", "$or": "or"}


def write_where(clauses: Mapping[str, Any] | str | None) -> str | None:
    """Write a filter of ours.

    Args:
        clauses: a filter of ours already, or a mapping of fields to values or to operators (`$eq`,
            `$ne`, `$gt`, `$gte`, `$lt`, `$lte`, `$in`, `$nin`, `$contains`, `$exists`), which must
            all hold; `$and` and `$or` take lists of such mappings, `$not` takes one. `a.b` is the
            entry `b` of the mapping `a`. None filters nothing.

    Raises:
        InputError: if a value can't be compared with, or the filter is neither mapping nor text.
        UnknownNameError: if there is no such operator.

    Example:
        >>> write_where({"year": {"$gte": 2020, "$lt": 2022}, "tag": "dog"})
        '`year` >= 2020 and `year` < 2022 and `tag` == "dog"'
        >>> write_where({"$or": [{"place": None}, {"tags": {"$contains": "snow"}}]})
        '((`place` is null) or ("snow" in `tags`))'
        >>> write_where('place like "North%"')
        'place like "North%"'
    """
    if clauses is None or isinstance(clauses, str):
        return clauses
    if not isinstance(clauses, Mapping):
        raise InputError(
            f"filter is of type {type(clauses).__name__}, expected a mapping of fields to values "
            "or a filter as a text ('year >= 2020')"
        )
    return join_clauses([write_clause(name, value) for name, value in clauses.items()], "and")


def join_clauses(clauses: Sequence[str], word: str) -> str | None:
    """Join clauses by a word, `and` or `or`; None where there are none.

    Example:
        >>> join_clauses(["a == 1", "b == 2"], "or"), join_clauses([], "and")
        ('(a == 1 or b == 2)', None)
    """
    if not clauses:
        return None
    text = f" {word} ".join(clauses)
    return f"({text})" if word == "or" and len(clauses) > 1 else text


def write_clause(name: str, value: Any) -> str:
    """Write one entry of a mapping."""
    if name in JOINS:
        if not isinstance(value, Sequence) or isinstance(value, str) or not value:
            raise InputError(f"{name} in the filter is {value!r}, expected a list of mappings")
        joined = join_clauses([f"({write_some(part)})" for part in value], JOINS[name])
        assert joined is not None
        return joined
    if name == "$not":
        return f"not ({write_some(value)})"
    if name.startswith("$"):
        raise UnknownNameError("operator of a filter", name, [*JOINS, "$not"])
    field = write_field(name)
    if not isinstance(value, Mapping):
        return write_test(field, "$eq", value)
    if not value:
        raise InputError(f"the filter of {name!r} is empty: give a value or an operator")
    return " and ".join(write_test(field, operator, own) for operator, own in value.items())


def write_some(clauses: Any) -> str:
    """Write a part of a filter that mustn't be empty."""
    text = write_where(clauses)
    if not text:
        raise InputError("a part of the filter is empty: leave it out")
    return text


def write_test(field: str, operator: str, value: Any) -> str:
    """Write one test of a field."""
    if operator not in TESTS:
        raise UnknownNameError("operator of a filter", operator, list(TESTS))
    return TESTS[operator](field, value)


def write_comparison(sign: str) -> Callable[[str, Any], str]:
    """Make what writes a comparison by a sign; equality with None is a test for null."""

    def write(field: str, value: Any) -> str:
        if value is None and sign in ("==", "!="):
            return f"{field} is null" if sign == "==" else f"{field} is not null"
        return f"{field} {sign} {write_value(value)}"

    return write


def write_membership(field: str, values: Any) -> str:
    """Write that a field is one of some values; of none it never is."""
    if isinstance(values, str) or not isinstance(values, Sequence | set | frozenset):
        raise InputError(f"the filter of {field} is {values!r}, expected a list of values")
    if not values:
        return f"({field} is null and {field} is not null)"
    return f"{field} in ({', '.join(write_value(value) for value in values)})"


def write_existence(field: str, value: Any) -> str:
    """Write that a field has a value, or that it has none."""
    return f"{field} is not null" if value else f"{field} is null"


TESTS: Final[Mapping[str, Callable[[str, Any], str]]] = {
    **{name: write_comparison(sign) for name, sign in COMPARISONS.items()},
    "$in": write_membership,
    "$nin": lambda field, values: f"not {write_membership(field, values)}",
    "$contains": lambda field, value: f"{write_value(value)} in {field}",
    "$exists": write_existence,
}


def write_field(name: str) -> str:
    """Write the name of a field, whatever characters it has; dots lead into mappings.

    Raises:
        InputError: if it is empty or has a backtick.

    Example:
        >>> write_field("camera.Exif ISO")
        '`camera`.`Exif ISO`'
    """
    parts = str(name).split(".")
    if "`" in str(name) or not all(parts):
        raise InputError(
            f"{name!r} can't be a field of a filter: name it without ` and empty parts"
        )
    return ".".join(f"`{part}`" for part in parts)


def write_value(value: Any) -> str:
    r"""Write a value as a filter says it.

    Raises:
        InputError: if it is no text, number or truth value.

    Example:
        >>> write_value(True), write_value(2.5), write_value('5" lens')
        ('true', '2.5', '"5\\" lens"')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return quoted(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    raise InputError(
        f"the filter compares with {value!r}, expected a text, a number or true or false"
    )


def write_like(field: str, part: str) -> str:
    r"""Write that a text has a part.

    Example:
        >>> print(write_like("`name`", "100%"))
        `name` like "%100\%%"
    """
    escaped = "".join(f"\\{letter}" if letter in '\\%_"' else letter for letter in part)
    return f'{field} like "%{escaped}%"'
