"""Columns of ids."""

import numpy as np
import pytest

from modalhash.index.hits import IdKind
from modalhash.index.ids import IdColumn, IdLookup, IntegerIds, TextIds, id_column

COLUMNS = [
    (IntegerIds(np.array([5, -3, 2**40, 0])), [5, -3, 2**40, 0]),
    (TextIds.of(["", "犬", "", "abc"]), ["", "犬", "", "abc"]),
]


@pytest.mark.parametrize(("column", "values"), COLUMNS)
def test_columns_are_sequences_of_their_ids(column: IdColumn, values: list[object]) -> None:
    assert len(column) == 4
    assert list(column) == values
    places = np.array([[3, 0], [1, 1]])
    taken = column.take(places)
    assert taken.shape == (2, 2)
    assert taken.tolist() == [[values[3], values[0]], [values[1], values[1]]]
    assert column.take(np.empty((3, 0), np.int64)).shape == (3, 0)


@pytest.mark.parametrize(("column", "values"), COLUMNS)
def test_keeping_and_extending_make_new_columns(column: IdColumn, values: list[object]) -> None:
    kept = column.keep(np.array([False, True, False, True]))
    assert list(kept) == [values[1], values[3]]
    assert list(kept.extended(column)) == [values[1], values[3], *values]
    assert list(column) == values
    assert not list(column.keep(np.zeros(4, np.bool_)))


@pytest.mark.parametrize(("column", "values"), COLUMNS)
def test_the_arrays_make_the_column_again(column: IdColumn, values: list[object]) -> None:
    assert list(type(column)(**column.arrays())) == values


def test_texts_lie_one_after_the_other_in_utf8() -> None:
    column = TextIds.of(["ab", "é", ""])
    assert column.id_ends.tolist() == [2, 4, 4]
    assert bytes(column.id_text) == b"ab\xc3\xa9"


def test_many_ids_are_read_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modalhash.index.ids.BLOCK", 3)
    assert list(IntegerIds(np.arange(8))) == list(range(8))


def test_no_ids_have_no_kind() -> None:
    assert id_column([]) is None
    assert id_column(np.empty(0, np.int64)) is None
    column = id_column(["a"])
    assert column is not None
    assert column.kind is IdKind.TEXT


@pytest.mark.parametrize(
    ("column", "wanted", "rows"),
    [
        (IntegerIds(np.array([5, -3, 2**40, 0])), [0, 7, 5, -4, -3], [3, -1, 0, -1, 1]),
        (IntegerIds(np.array([1, 4, 9])), [9, 2, 1, 10], [2, -1, 0, -1]),
        (TextIds.of(["b", "", "é", "a"]), ["é", "x", "", "a", "b"], [2, -1, 1, 3, 0]),
    ],
)
def test_ids_are_looked_up(column: IdColumn, wanted: list[object], rows: list[int]) -> None:
    other = id_column(wanted)  # type: ignore[arg-type]
    assert other is not None
    assert IdLookup.of(column).rows(column, other).tolist() == rows
    assert IdLookup.of(column).duplicates(column) == []


def test_ascending_integers_need_no_lookup_of_their_own() -> None:
    column = IntegerIds(np.arange(5))
    assert IdLookup.of(column).arrays(column) == {}


def test_texts_of_the_same_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """All texts of one length share a key here."""
    monkeypatch.setattr(
        TextIds, "keys", lambda self: np.diff(self.id_ends, prepend=0).astype(np.uint64)
    )
    column, wanted = TextIds.of(["aa", "b", "cc", "d", "ee"]), TextIds.of(["ee", "cc", "x", "d"])
    lookup = IdLookup.of(column)
    assert lookup.rows(column, wanted).tolist() == [4, 2, -1, 3]
    assert lookup.duplicates(column) == []
    twice = TextIds.of(["aa", "b", "cc", "aa", "d"])
    assert IdLookup.of(twice).duplicates(twice) == ["aa"]


def test_a_range_is_made_an_array_at_once() -> None:
    column = id_column(range(10, 0, -3))
    assert isinstance(column, IntegerIds)
    assert column.ids.tolist() == [10, 7, 4, 1]
