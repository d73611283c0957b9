"""The filter language: what it reads, what it refuses, what it means."""

import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modalhash.errors import FilterError, InputError
from modalhash.index import build_index
from modalhash.index.fields import FieldIndex
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
    leaves,
)
from modalhash.index.filters import parse_filter
from modalhash.index.items import ItemStore
from tests.oracles.plain_filter import plain_holds

YEAR, TAG = ("year",), ("tag",)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("year >= 2020", Compare(YEAR, ">=", 2020)),
        ("year=2020", Compare(YEAR, "==", 2020)),
        ("year != -1.5e2", Not(Compare(YEAR, "==", -150.0))),
        ("year < .5 OR year > 3.", Or((Compare(YEAR, "<", 0.5), Compare(YEAR, ">", 3.0)))),
        ("is_new == TRUE", Compare(("is_new",), "==", True)),
        ('tag in ("dog", "cat",)', IsIn(TAG, ("dog", "cat"))),
        ("tag not in ('it\\'s')", Not(IsIn(TAG, ("it's",)))),
        ('"dog" in tags', Contains(("tags",), "dog")),
        ("3 not in tags", Not(Contains(("tags",), 3))),
        ("tag like 'a\\%\\_\\\\b%_\\n'", Like(TAG, "a\\%\\_\\\\b%_\n")),
        ("tag == 'a\\\\%'", Compare(TAG, "==", "a\\%")),
        ("tag not like '%'", Not(Like(TAG, "%"))),
        ("score is null", IsNull(("score",))),
        ("score IS NOT NULL", Not(IsNull(("score",)))),
        ("camera.maker == 'x'", Compare(("camera", "maker"), "==", "x")),
        ("`Exif ISO`.`a.b` == 1", Compare(("Exif ISO", "a.b"), "==", 1)),
        ("größe == 1", Compare(("größe",), "==", 1)),
        ("`in` == 1", Compare(("in",), "==", 1)),
        (
            "a == 1 or b == 2 and not c == 3",
            Or(
                (
                    Compare(("a",), "==", 1),
                    And((Compare(("b",), "==", 2), Not(Compare(("c",), "==", 3)))),
                )
            ),
        ),
        (
            "(a == 1 or b == 2) and\n c == 3",
            And(
                (
                    Or((Compare(("a",), "==", 1), Compare(("b",), "==", 2))),
                    Compare(("c",), "==", 3),
                )
            ),
        ),
    ],
)
def test_filters_are_read(text: str, tree: Filter) -> None:
    assert parse_filter(text) == tree


@pytest.mark.parametrize(
    ("text", "position", "problem"),
    [
        ("", 0, "it is empty"),
        ("  ", 2, "it is empty"),
        ("year >= ", 8, 'expected a value: a number, "text", true or false, not the end'),
        ("year => 3", 6, "expected a value: a number, \"text\", true or false, not '>'"),
        ("year == null", 8, "expected a value (for null: is null), not 'null'"),
        ("year", 4, "expected a comparison, in, like or between, or is null, not the end"),
        ("year not 3", 9, "expected in, like or between, not '3'"),
        ("tag in ()", 8, "expected a value: a number, \"text\", true or false, not ')'"),
        ("tag in true", 7, "expected ( and values, or a date, not 'true'"),
        ('tag in ("a" "b")', 12, "expected a comma or a closing ), not '\"b\"'"),
        ("tag like 3", 9, "expected a pattern in quotes, such as \"North%\", not '3'"),
        ("a is 3", 5, "expected null, not '3'"),
        ("a. == 3", 3, "expected a name after the dot, not '=='"),
        ('"x" == a', 4, "expected in and a field (a comparison begins with the field), not '=='"),
        ("1 in 2", 5, "expected a field, not '2'"),
        ("(a == 1", 7, "expected a closing ), not the end"),
        ("a == 1 b == 2", 7, "expected and, or, or the end, not 'b'"),
        ("and a == 1", 0, "expected a field, a value, not, or (, not 'and'"),
        ("a == 'abc", 5, "the text that begins with ' has no end"),
        ("a == 12abc", 5, "this is no number"),
        ("a == 1; drop table items", 6, "';' has no meaning here"),
        ("a == 9223372036854775808", 5, "9223372036854775808 is beyond 64 bits"),
        ("a == 1e999", 5, "1e999 is too large"),
        ("`` == 1", 0, '`` is no name: it is empty, or holds ", \\ or a tab'),
        ('`a"b` == 1', 0, '`a"b` is no name: it is empty, or holds ", \\ or a tab'),
        ("a == '\ud800'", 5, "the text is no valid Unicode"),
        ("not " * 101 + "a == 1", 400, "it is nested over 100 deep"),
    ],
)
def test_what_cannot_be_understood_is_marked(text: str, position: int, problem: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse_filter(text)
    assert (caught.value.position, caught.value.problem) == (position, problem)
    first, line, caret = str(caught.value).split("\n")
    assert first == f"the filter can't be understood at character {position + 1}: {problem}"
    assert line == f"  {text}"
    assert caret == "  " + " " * position + "^"


def test_the_line_of_the_trouble_is_shown() -> None:
    with pytest.raises(FilterError) as caught:
        parse_filter("year > 3 and\nyear >> 4 and\na == 1")
    assert str(caught.value).endswith("\n  year >> 4 and\n        ^")


def test_a_filter_is_a_text_of_bounded_length() -> None:
    with pytest.raises(InputError, match=f"^{re.escape('where is of type int, expected a text')}$"):
        parse_filter(3)  # type: ignore[arg-type]
    with pytest.raises(FilterError, match=re.escape("it has 70000 characters, 65536 are the most")):
        parse_filter("a" * 70_000)


# --- meaning -----------------------------------------------------------------------------------

TEXTS = st.sampled_from(["", "a", "A", "ab", "a%", "a_", "*", "[x]", "é", "犬", "a'b", "1", "a\nb"])
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([0.0, 0.5, 2.0, -2.5, 2**53 + 1, 2**62, -(2**63), 1e300]),
)
SCALARS = st.one_of(TEXTS, NUMBERS, st.booleans())
ENTRIES = st.one_of(
    SCALARS, st.none(), st.lists(st.one_of(SCALARS, st.none()), max_size=3), st.just({"a": 1})
)
DOCUMENTS = st.dictionaries(st.sampled_from(["a", "b", "c d"]), ENTRIES, max_size=3)
FIELDS = st.sampled_from([("a",), ("b",), ("c d",), ("a", "a"), ("missing",)])
PATTERNS = st.text("ab%_*?[]\\é\n", max_size=4).filter(lambda text: not text.endswith("\\"))
LEAVES = st.one_of(
    st.builds(Compare, FIELDS, st.sampled_from(["==", "<", "<=", ">", ">="]), SCALARS),
    st.builds(IsIn, FIELDS, st.lists(SCALARS, min_size=1, max_size=3).map(tuple)),
    st.builds(Contains, FIELDS, SCALARS),
    st.builds(Like, FIELDS, PATTERNS),
    st.builds(IsNull, FIELDS),
)
TREES = st.recursive(
    LEAVES,
    lambda trees: st.one_of(
        st.builds(Not, trees),
        st.builds(And, st.lists(trees, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(trees, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=5,
)


def written(tree: Filter) -> str:
    """Write a tree in the language."""
    match tree:
        case Not(term):
            return f"not ({written(term)})"
        case And(terms):
            return " and ".join(f"({written(term)})" for term in terms)
        case Or(terms):
            return " or ".join(f"({written(term)})" for term in terms)
        case Compare(field, operator, value):
            return f"{name(field)} {operator} {literal(value)}"
        case IsIn(field, values):
            return f"{name(field)} in ({', '.join(map(literal, values))})"
        case Contains(field, value):
            return f"{literal(value)} in {name(field)}"
        case Like(field, pattern):
            return f"{name(field)} like '{pattern}'"
        case IsNull(field):
            return f"{name(field)} is null"


def name(field: tuple[str, ...]) -> str:
    return ".".join(f"`{part}`" for part in field)


def literal(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


@settings(max_examples=200, deadline=None)
@given(tree=TREES)
def test_what_is_written_is_read_again(tree: Filter) -> None:
    def normal(tree: Filter) -> Any:
        if isinstance(tree, Like):  # an escape of what has no meaning says nothing
            return Like(tree.field, re.sub(r"\\([^%_\\n])", r"\1", tree.pattern))
        return tree

    read = parse_filter(written(tree))
    assert list(map(repr, map(normal, leaves(read)))) == list(map(repr, map(normal, leaves(tree))))


@pytest.mark.parametrize("indexed_rows", [0, 4096])
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    documents=st.lists(DOCUMENTS, min_size=1, max_size=8),
    trees=st.lists(TREES, min_size=1, max_size=4),
)
def test_filters_mean_what_the_plain_test_says(
    indexed_rows: int,
    monkeypatch: pytest.MonkeyPatch,
    documents: list[dict[str, Any]],
    trees: list[Filter],
) -> None:
    """In a segment, in recent rows, when both are asked again, and by an index of a field."""
    monkeypatch.setattr("modalhash.index.rows.INDEXED_ROWS", indexed_rows)
    n, half = len(documents), len(documents) // 2
    codes = np.zeros((n, 1), np.uint8)
    index = build_index(range(half), codes[:half], 8, metadata=documents[:half])
    index.add(range(half, n), codes[half:], documents[half:])
    for tree in trees * 2:
        text = written(tree)
        passing = [row for row, one in enumerate(documents) if plain_holds(parse_filter(text), one)]
        assert index.select(text).tolist() == passing, text
        assert index.search(codes[:1], n, text).ids.tolist() == [passing]


def test_numbers_truths_and_texts_are_not_mixed_up() -> None:
    documents: list[dict[str, Any]] = [{"x": 1}, {"x": True}, {"x": "1"}, {"x": 1.0}, {"x": [1]}]
    index = build_index(range(5), np.zeros((5, 1), np.uint8), 8, metadata=documents)
    for text, ids in (
        ("x == 1", [0, 3]),
        ("x == true", [1]),
        ('x == "1"', [2]),
        ("x in (1, true)", [0, 1, 3]),
        ("1 in x", [4]),
        ("true in x", []),
        ("x != 1", [1, 2, 4]),
        ("x >= 0 or x == false", [0, 3]),
    ):
        assert index.select(text).tolist() == ids, text


def test_items_without_metadata_have_no_fields() -> None:
    index = build_index([1, 2, 3], np.zeros((3, 1), np.uint8), 8, metadata=[{"a": 1}, {}, {"b": 1}])
    assert index.select("a is null").tolist() == [2, 3]
    assert index.select("a is not null").tolist() == [1]
    assert index.select("a != 1").tolist() == [2, 3]


def test_a_field_is_indexed_when_it_is_tested_for_the_second_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("modalhash.index.rows.INDEXED_ROWS", 3)
    documents = [{"a": row, "b": f"{row}", "c": 2**53 + row} for row in range(4)]
    index = build_index(range(4), np.zeros((4, 1), np.uint8), 8, metadata=documents)
    reads = []
    matching = ItemStore.matching

    def watched(store: ItemStore, leaf: Leaf, first: int, end: int) -> Any:
        reads.append(leaf)
        return matching(store, leaf, first, end)

    monkeypatch.setattr(ItemStore, "matching", watched)
    for text, ids, is_read in (
        ("a > 1", [2, 3], True),
        ("a > 1", [2, 3], False),
        ("a <= 1", [0, 1], False),
        ("a in (0, 3.0, 'x')", [0, 3], False),
        ("b < '2'", [0, 1], True),
        ("b >= '2'", [2, 3], False),
        ("b like '1%'", [1], True),
        ("c == 9007199254740993", [1], True),
        ("c == 9007199254740992", [0], True),
        ("a == 9007199254740993", [], True),
    ):
        reads.clear()
        assert index.select(text).tolist() == ids, text
        assert bool(reads) == is_read, text


def test_a_field_of_too_many_texts_has_no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modalhash.index.fields.MOST_TEXTS", 2)
    assert FieldIndex.of([(0, "text", "a"), (1, "text", "b")]) is not None
    assert FieldIndex.of([(0, "text", "a"), (1, "array", '["b", "c"]')]) is None
