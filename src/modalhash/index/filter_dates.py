"""Dates in filters: each is a period of time, which texts in ISO form begin with or lie beside.

`2021-07` is the month of July 2021. An item's text `2021-07-14T10:22:05` lies in it, since it
begins so; texts of one form are in the order of time, so all of a period lie between two texts, and
any database that compares texts finds them.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from modalhash.index.filter_tree import And, Compare, Field, Filter

__all__ = ["DATE_FORM", "DatePeriod", "compare_with_period", "is_year_of", "read_period"]

DATE_FORM: Final = "YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS"
"""How dates are written; the time may end after the hour or the minute."""
DATE_FIELDS: Final = frozenset({"taken"})
"""Fields that hold dates in any collection, so that a plain number beside them is a year."""
PERIOD: Final = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d)(?::(\d\d)(?::(\d\d))?)?)?)?)?")
AFTER_ALL: Final = "~"
"""Comes after every letter that may follow the beginning of a date in ISO form."""


@dataclass(frozen=True)
class DatePeriod:
    """A year, month, day, hour, minute or second.

    Attributes:
        text: what every text in the period begins with.
    """

    text: str

    @property
    def end(self) -> str:
        """The text that all of the period's texts come before."""
        return self.text + AFTER_ALL


def read_period(raw: str) -> DatePeriod | None:
    """Read a date; None if there is no such date.

    Example:
        >>> read_period("2021-07"), read_period("2021-13"), read_period("2023-02-29")
        (DatePeriod(text='2021-07'), None, None)
    """
    match = PERIOD.fullmatch(raw)
    if match is None:
        return None
    year, month, day, hour, minute, second = match.groups()
    try:
        datetime(
            int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0),
            int(second or 0),
        )  # fmt: skip
    except ValueError:
        return None
    return DatePeriod(raw)


def is_year_of(field: Field, value: object) -> bool:
    """Tell whether a number beside a field is a year.

    Example:
        >>> is_year_of(("taken",), 2021), is_year_of(("year",), 2021)
        (True, False)
    """
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return is_whole and field[-1] in DATE_FIELDS and 1000 <= int(str(value)) <= 9999


def compare_with_period(field: Field, operator: str, period: DatePeriod) -> Filter:
    """Write the comparison of a field's texts with a period.

    Args:
        field: of an item's metadata.
        operator: `==` for texts in the period; `<` before it, `<=` before it or in it; `>` after
            it, `>=` after it or in it.
        period: a year, month, day, ...

    Example:
        >>> compare_with_period(("taken",), "<=", DatePeriod("2021"))
        Compare(field=('taken',), operator='<', value='2021~')
    """
    match operator:
        case "<":
            return Compare(field, "<", period.text)
        case "<=":
            return Compare(field, "<", period.end)
        case ">":
            return Compare(field, ">=", period.end)
        case ">=":
            return Compare(field, ">=", period.text)
    bounds = Compare(field, ">=", period.text), Compare(field, "<", period.end)
    return And(bounds)
