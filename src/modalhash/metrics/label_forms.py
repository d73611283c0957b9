"""Labels as other programs write them: one column a class, or the class of each row."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modalhash.errors import InputError, ShapeError
from modalhash.metrics.relevance import Labels, check_labels

__all__ = ["read_labels"]


def read_labels(
    query_labels: ArrayLike, database_labels: ArrayLike, *, n_queries: int, n_database: int
) -> tuple[Labels, Labels, str]:
    """Read labels of queries and database that any program made.

    Two forms are told apart: one column of 0 and 1 a class; or one class a row, by number or by
    name, as a flat array or a single column.

    Args:
        query_labels: (q, c) of 0 and 1; or (q,) or (q, 1) classes.
        database_labels: the same for the database.
        n_queries: q, the rows there should be.
        n_database: m.

    Returns:
        (q, c) and (m, c) uint8 of 0 and 1, and what was found, for people.

    Raises:
        ShapeError: if rows or classes differ in number, or the two are of different forms.
        InputError: if columns hold anything but 0 and 1, a class is no whole number from 0 up, or
            a single column of 0 and 1 may mean either.

    Example:
        >>> queries, database, form = read_labels([7], [3, 7], n_queries=1, n_database=2)
        >>> queries.tolist(), database.tolist(), form
        ([[0, 1]], [[1, 0], [0, 1]], 'one class a row, 2 classes')
    """
    queries = read_form(query_labels, "query_labels")
    database = read_form(database_labels, "database_labels")
    if queries.ndim != database.ndim:
        forms = {1: "one class a row", 2: "one column a class"}
        raise ShapeError(
            f"query_labels has {forms[queries.ndim]}, database_labels {forms[database.ndim]}: "
            "give both in the same form"
        )
    if queries.ndim == 2:
        columns = (
            check_labels(queries, n_queries, name="query_labels"),
            check_labels(database, n_database, name="database_labels"),
        )
        if queries.shape[1] != database.shape[1]:
            raise ShapeError(
                f"query_labels has {queries.shape[1]} classes, database_labels has "
                f"{database.shape[1]}: they must be the same classes in the same order"
            )
        return *columns, f"one column a class, {queries.shape[1]} classes"
    for name, values, n_rows in (
        ("query_labels", queries, n_queries),
        ("database_labels", database, n_database),
    ):
        if len(values) != n_rows:
            raise ShapeError(f"{name} has {len(values)} rows for {n_rows} codes: one row a code")
    if (queries.dtype.kind == "U") != (database.dtype.kind == "U"):
        raise ShapeError(
            f"query_labels is {queries.dtype}, database_labels {database.dtype}: give both as "
            "class numbers, or both as names"
        )
    classes = np.unique(np.concatenate([queries, database]))
    one_hot = [(values[:, None] == classes).astype(np.uint8) for values in (queries, database)]
    return one_hot[0], one_hot[1], f"one class a row, {len(classes)} classes"


def read_form(labels: ArrayLike, name: str) -> NDArray[Any]:
    """Read (n,) classes or (n, c) columns.

    Raises:
        ShapeError: if it has neither one nor two axes, or holds neither numbers nor texts.
        InputError: if a class is no whole number from 0 up, or the form can't be told.
    """
    values: NDArray[Any] = np.asarray(labels)
    if values.ndim not in (1, 2) or values.dtype.kind not in "buifU" or 0 in values.shape[1:]:
        raise ShapeError(
            f"{name} is {values.dtype} of shape {values.shape}, expected (n, c) of 0 and 1, or "
            "(n,) classes"
        )
    if values.ndim == 2 and (values.shape[1] > 1 or values.dtype.kind == "b"):
        return values
    if values.ndim == 2:
        if values.dtype.kind != "U" and np.isin(values, (0, 1)).all():
            raise InputError(
                f"{name} is a single column of 0 and 1, which may be two classes or one concept: "
                "give a flat array for classes, booleans for a concept"
            )
        values = values[:, 0]
    if values.dtype.kind == "U":
        return values
    is_class = np.isfinite(values) & (values >= 0)
    is_class[is_class] = values[is_class] == np.floor(values[is_class])
    if not is_class.all():
        row = int(np.flatnonzero(~is_class)[0])
        raise InputError(
            f"{name} holds {values[row]} at row {row}, expected class numbers from 0 up (or (n, c) "
            "of 0 and 1): leave rows without a class out"
        )
    return values.astype(np.int64)
