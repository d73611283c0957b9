import re
from typing import Any

import numpy as np
import pytest

from modalhash.errors import InputError, ShapeError
from modalhash.metrics import read_labels

ONE_HOT_QUERIES = [[0, 0, 1], [1, 0, 0]]
ONE_HOT_DATABASE = [[0, 1, 0], [1, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("queries", "database"),
    [
        ([7, 1], [3, 1, 7]),
        (np.array([7.0, 1.0]), np.array([3, 1, 7], np.uint8)),
        ([[7], [1]], [[3], [1], [7]]),  # as MATLAB stores a vector
        (["sea", "art"], ["cat", "art", "sea"]),
    ],
)
def test_one_class_a_row_becomes_columns(queries: Any, database: Any) -> None:
    found = read_labels(queries, database, n_queries=2, n_database=3)
    assert found[0].tolist() == ONE_HOT_QUERIES
    assert found[1].tolist() == ONE_HOT_DATABASE
    assert found[2] == "one class a row, 3 classes"


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float64])
def test_columns_stay(dtype: Any) -> None:
    queries, database, form = read_labels(
        np.array(ONE_HOT_QUERIES, dtype), np.array(ONE_HOT_DATABASE, dtype), n_queries=2,
        n_database=3,
    )  # fmt: skip
    assert (queries.tolist(), database.tolist()) == (ONE_HOT_QUERIES, ONE_HOT_DATABASE)
    assert form == "one column a class, 3 classes"


def test_one_concept_as_booleans_stays_one_column() -> None:
    queries, _, form = read_labels([[True]], [[False], [True]], n_queries=1, n_database=2)
    assert (queries.tolist(), form) == ([[1]], "one column a class, 1 classes")


@pytest.mark.parametrize(
    ("queries", "database", "error", "message"),
    [
        (
            [[1], [0]], [3, 1, 7], InputError,
            ("query_labels is a single column of 0 and 1, which may be two classes or one concept: "
            "give a flat array for classes, booleans for a concept"),
        ),
        (
            [7, 1], ONE_HOT_DATABASE, ShapeError,
            ("query_labels has one class a row, database_labels one column a class: give both in "
            "the same form"),
        ),
        (
            ONE_HOT_QUERIES, [[0, 1], [1, 0], [1, 1]], ShapeError,
            ("query_labels has 3 classes, database_labels has 2: they must be the same classes in "
            "the same order"),
        ),
        (
            ONE_HOT_QUERIES, [[0, 1, 0], [1, 0, 0], [0, 0, 2]], InputError,
            ("database_labels holds 2 at row 2, column 2, expected only 0 and 1: turn class "
            "numbers into one column a class"),
        ),
        ([7, 1, 2], [3, 1, 7], ShapeError, "query_labels has 3 rows for 2 codes: one row a code"),
        (
            [7, -1], [3, 1, 7], InputError,
            ("query_labels holds -1 at row 1, expected class numbers from 0 up (or (n, c) of 0 "
            "and 1): leave rows without a class out"),
        ),
        (
            [7.0, 1.5], [3, 1, 7], InputError,
            ("query_labels holds 1.5 at row 1, expected class numbers from 0 up (or (n, c) of 0 "
            "and 1): leave rows without a class out"),
        ),
        (
            [7.0, float("inf")], [3, 1, 7], InputError,
            ("query_labels holds inf at row 1, expected class numbers from 0 up (or (n, c) of 0 "
            "and 1): leave rows without a class out"),
        ),
        (
            [7, 1], ["a", "b", "c"], ShapeError,
            ("query_labels is int64, database_labels <U1: give both as class numbers, or both as "
            "names"),
        ),
        (
            [[[1]]], [3, 1, 7], ShapeError,
            "query_labels is int64 of shape (1, 1, 1), expected (n, c) of 0 and 1, or (n,) classes",
        ),
    ],
)  # fmt: skip
def test_what_is_no_label_is_refused(
    queries: Any, database: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        read_labels(queries, database, n_queries=2, n_database=3)
