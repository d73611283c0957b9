"""Columns of ids."""

import numpy as np
import pytest

from modalhash.index.base import IdKind
from modalhash.index.ids import IdColumn, IntegerIds, TextIds, id_column

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
