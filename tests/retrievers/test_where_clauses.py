"""Filters of other programs: what they select is compared with plain tests of the metadata."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from modalhash.errors import InputError, UnknownNameError
from modalhash.index import build_index
from modalhash.retrievers.where_clauses import write_like, write_where

ROWS: list[dict[str, Any]] = [
    {"year": 2019, "tag": "dog", "tags": ["snow", "dog"], "camera": {"maker": "Leica"}},
    {"year": 2020, "tag": "cat", "tags": [], "good": True, "100% `ok`": 1},
    {"year": 2021.5, "tag": 'a "quoted" one', "tags": ["snow"], "good": False},
    {"tag": "50%_off\\now", "year": None},
    {},
]
Test = Callable[[Mapping[str, Any]], bool]
CASES: list[tuple[Mapping[str, Any], Test]] = [
    ({"year": 2020}, lambda row: row.get("year") == 2020),
    ({"year": {"$ne": 2020}}, lambda row: row.get("year") != 2020),
    ({"year": None}, lambda row: row.get("year") is None),
    ({"year": {"$ne": None}}, lambda row: row.get("year") is not None),
    ({"year": {"$gte": 2020, "$lt": 2021}}, lambda row: 2020 <= (row.get("year") or 0) < 2021),
    ({"year": {"$gt": 2019}, "tag": "cat"},
     lambda row: (row.get("year") or 0) > 2019 and row.get("tag") == "cat"),
    ({"year": {"$lte": 2020}}, lambda row: (row.get("year") or 3000) <= 2020),
    ({"tag": {"$in": ["dog", 'a "quoted" one']}},
     lambda row: row.get("tag") in ("dog", 'a "quoted" one')),
    ({"tag": {"$nin": ["dog"]}}, lambda row: row.get("tag") != "dog"),
    ({"tag": {"$in": []}}, lambda row: False),
    ({"tag": {"$nin": []}}, lambda row: True),
    ({"tags": {"$contains": "snow"}}, lambda row: "snow" in row.get("tags", [])),
    ({"good": {"$exists": True}}, lambda row: "good" in row),
    ({"good": {"$exists": False}}, lambda row: "good" not in row),
    ({"good": True}, lambda row: row.get("good") is True),
    ({"camera.maker": "Leica"}, lambda row: row.get("camera") == {"maker": "Leica"}),
    ({"$or": [{"year": 2020}, {"tag": "dog", "year": 2019}]},
     lambda row: row.get("year") in (2019, 2020)),
    ({"$and": [{"$or": [{"year": 2019}, {"year": 2020}]}, {"tag": "cat"}], "good": True},
     lambda row: row.get("year") == 2020),
    ({"$not": {"$or": [{"year": 2019}, {"tag": "cat"}]}},
     lambda row: row.get("year") != 2019 and row.get("tag") != "cat"),
]  # fmt: skip


@pytest.fixture(scope="module")
def index() -> Any:
    codes = np.zeros((len(ROWS), 1), np.uint8)
    return build_index(range(len(ROWS)), codes, 8, metadata=ROWS)


@pytest.mark.parametrize(
    ("clauses", "is_selected"), CASES, ids=[str(clauses)[:60] for clauses, _ in CASES]
)
def test_a_mapping_selects_what_a_plain_test_selects(
    index: Any, clauses: Mapping[str, Any], is_selected: Test
) -> None:
    where = write_where(clauses)
    assert where is not None
    assert index.select(where).tolist() == [n for n, row in enumerate(ROWS) if is_selected(row)]


@pytest.mark.parametrize("part", ["dog", "%_off", "\\now", '"quoted"', "50%_off\\now", "x"])
def test_a_part_of_a_text_is_taken_literally(index: Any, part: str) -> None:
    expected = [n for n, row in enumerate(ROWS) if part in row.get("tag", "")]
    assert index.select(write_like("`tag`", part)).tolist() == expected


def test_a_text_and_nothing_stay_what_they_are() -> None:
    assert write_where("year >= 2020") == "year >= 2020"
    assert write_where(None) is None
    assert write_where({}) is None


@pytest.mark.parametrize(
    ("clauses", "message"),
    [
        ({"tag": ["dog"]}, "the filter compares with ['dog'], expected a text, a number or true"),
        ({"year": float("inf")}, "the filter compares with inf, expected a text, a number or true"),
        ({"tag": {"$in": "dog"}}, "the filter of `tag` is 'dog', expected a list of values"),
        ({"tag": {}}, "the filter of 'tag' is empty: give a value or an operator"),
        ({"$or": {"a": 1}}, "$or in the filter is {'a': 1}, expected a list of mappings"),
        ({"$and": [{}]}, "a part of the filter is empty: leave it out"),
        ({"a`b": 1}, "'a`b' can't be a field of a filter: name it without ` and empty parts"),
        ([("a", 1)], "filter is of type list, expected a mapping of fields to values"),
    ],
)
def test_what_is_no_filter_is_refused(clauses: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        write_where(clauses)


def test_unknown_operators_are_named_with_the_known() -> None:
    with pytest.raises(UnknownNameError, match=re.escape("$regex")):
        write_where({"tag": {"$regex": "d.*"}})
    with pytest.raises(UnknownNameError, match=re.escape("$nor")):
        write_where({"$nor": []})
