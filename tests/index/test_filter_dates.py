"""Dates in filters: periods of time, compared with texts in ISO form."""

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from modalhash.errors import FilterError
from modalhash.index import build_index
from modalhash.index.filter_tests import holds
from modalhash.index.filter_tree import And, Compare, Filter, IsIn, Not, Or
from modalhash.index.filters import parse_filter
from modalhash.index.milvus_filters import compile_filter

TAKEN = ("taken",)
JULY = And((Compare(TAKEN, ">=", "2021-07"), Compare(TAKEN, "<", "2021-07~")))


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("taken = 2021-07", JULY),
        ("taken in 2021-07", JULY),
        ("taken != 2021-07", Not(JULY)),
        ("taken not in 2021-07", Not(JULY)),
        ("taken >= 2021-07", Compare(TAKEN, ">=", "2021-07")),
        ("taken > 2021-07", Compare(TAKEN, ">=", "2021-07~")),
        ("taken < 2021-07-14T10", Compare(TAKEN, "<", "2021-07-14T10")),
        ("taken <= 2021-07-14T10:22:05", Compare(TAKEN, "<", "2021-07-14T10:22:05~")),
        ("taken >= 2021", Compare(TAKEN, ">=", "2021")),
        ("exif.taken < 2021", Compare(("exif", "taken"), "<", "2021")),
        ("taken >= 21", Compare(TAKEN, ">=", 21)),
        ("year >= 2021", Compare(("year",), ">=", 2021)),
        ('taken < "2022-01-01"', Compare(TAKEN, "<", "2022-01-01")),
        ("day in 2021", And((Compare(("day",), ">=", "2021"), Compare(("day",), "<", "2021~")))),
        ('taken in (2021-07, "x")', Or((IsIn(TAKEN, ("x",)), JULY))),
        ("taken in (2021-07,)", JULY),
        (
            "taken between 2020 and 2021-07",
            And((Compare(TAKEN, ">=", "2020"), Compare(TAKEN, "<", "2021-07~"))),
        ),
        (
            "x BETWEEN 1 and 2.5",
            And((Compare(("x",), ">=", 1), Compare(("x",), "<=", 2.5))),
        ),
        (
            "x not between 'a' and 'b'",
            Not(And((Compare(("x",), ">=", "a"), Compare(("x",), "<=", "b")))),
        ),
        ("between == 3", Compare(("between",), "==", 3)),
        (
            "between between 1 and 2 and a == 3",
            And(
                (
                    And((Compare(("between",), ">=", 1), Compare(("between",), "<=", 2))),
                    Compare(("a",), "==", 3),
                )
            ),
        ),
    ],
)
def test_dates_are_read(text: str, tree: Filter) -> None:
    assert parse_filter(text) == tree


FORMS = "write YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS"


@pytest.mark.parametrize(
    ("text", "position", "problem"),
    [
        ("taken >= 2021-7", 9, f"2021-7 is no date: {FORMS}"),
        ("taken >= 2021-13", 9, f"2021-13 is no date: {FORMS}"),
        ("taken = 2023-02-29", 8, f"2023-02-29 is no date: {FORMS}"),
        ("taken = 2021-07-14T25", 8, f"2021-07-14T25 is no date: {FORMS}"),
        ("taken = 0000-01", 8, f"0000-01 is no date: {FORMS}"),
        ("day in 21", 7, f"in needs a date or values in (): {FORMS}"),
        (
            "2021-07 in day",
            0,
            "expected a field before a date, as in taken >= 2021-07, not '2021-07'",
        ),
        ("x between 1", 11, "expected and, with the upper bound, not the end"),
        ("x between 1 and 'a'", 10, "the bounds of between must be of one sort"),
        ("taken between 2021-07 and 'a'", 14, "the bounds of between must be of one sort"),
        ("x between 1 and", 15, 'expected a value: a number, "text", true or false, not the end'),
    ],
)  # fmt: skip
def test_what_is_no_date_is_marked(text: str, position: int, problem: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse_filter(text)
    assert (caught.value.position, caught.value.problem) == (position, problem)


def period_of(text: str, moment: datetime) -> tuple[int, ...]:
    """Cut a moment to the parts that a date names: its year, or year and month, ..."""
    n_parts = len(text.replace("T", "-").replace(":", "-").split("-"))
    return moment.timetuple()[:n_parts]


def test_dates_mean_what_a_calendar_says() -> None:
    generator = random.Random(0)
    start = datetime(2020, 11, 28)
    moments = [start + timedelta(seconds=generator.randrange(40_000_000)) for _ in range(150)]
    moments += [datetime(2021, 1, 1), datetime(2020, 12, 31, 23, 59, 59), datetime(2021, 7, 31)]
    documents: list[dict[str, Any]] = [{"taken": moment.isoformat()} for moment in moments]
    documents += [{}, {"taken": 2021}, {"taken": None}]
    index = build_index(
        range(len(documents)), np.zeros((len(documents), 1), np.uint8), 8, metadata=documents
    )
    tests: dict[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
        "==": lambda mine, asked: mine == asked,
        "<": lambda mine, asked: mine < asked,
        "<=": lambda mine, asked: mine <= asked,
        ">": lambda mine, asked: mine > asked,
        ">=": lambda mine, asked: mine >= asked,
    }
    dates = ["2021", "2020-12", "2021-07", "2021-01-01", "2020-12-31T23", "2021-07-31T00:00:00"]
    dates += [moment.isoformat() for moment in moments[:5]]
    for date in dates:
        asked = tuple(int(part) for part in date.replace("T", "-").replace(":", "-").split("-"))
        for operator, compare in tests.items():
            text = f"taken {operator} {date}"
            passing = [
                place
                for place, moment in enumerate(moments)
                if compare(period_of(date, moment), asked)
            ]
            assert index.select(text).tolist() == passing, text
            tree = parse_filter(text)
            one_by_one = [place for place, row in enumerate(documents) if holds(tree, row)]
            assert one_by_one == passing, text
    between = [
        place
        for place, moment in enumerate(moments)
        if (2020, 12) <= (moment.year, moment.month) <= (2021, 3)
    ]
    assert index.select("taken between 2020-12 and 2021-03").tolist() == between
    assert len(between) > 20


def test_milvus_compares_texts() -> None:
    expression = compile_filter(parse_filter("taken in 2021-07"))
    assert expression.is_exact
    assert expression.text == ('(fields["taken"] >= "2021-07") and (fields["taken"] < "2021-07~")')
