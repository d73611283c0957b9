"""Which database items are relevant to which queries, block by block.

Nothing here holds a value for every query-item pair: labels are packed into machine words, and the
relation of a block of queries to a block of items is worked out when it is asked for.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modalhash.errors import InputError, ShapeError

__all__ = [
    "LabelRelevance",
    "Labels",
    "Targets",
    "check_labels",
    "check_own_rows",
    "check_targets",
    "match_items",
]

Labels = NDArray[np.uint8]
"""(n, c) uint8 of 0 and 1."""
Targets = NDArray[np.int64]
"""(q, t) int64, database rows that answer each query, filled up with -1."""


def check_labels(labels: ArrayLike, n_rows: int, *, name: str = "labels") -> Labels:
    """Check labels, and convert them to uint8; anything but 0 and 1 is refused.

    Args:
        labels: (n_rows, c) numbers or booleans.
        n_rows: how many rows there should be.
        name: the argument's name, for the message.

    Raises:
        ShapeError: if it isn't two-dimensional with `n_rows` rows and at least one column.
        InputError: if it holds anything but 0 and 1, NaN included.
    """
    values: NDArray[Any] = np.asarray(labels)
    if values.ndim != 2 or values.shape[1] < 1:
        raise ShapeError(f"{name} has shape {values.shape}, expected (n, c) with one class or more")
    if len(values) != n_rows:
        raise ShapeError(f"{name} has {len(values)} rows for {n_rows} codes: one row a code")
    if values.dtype.kind not in "buif":
        raise ShapeError(f"{name} is {values.dtype}, expected numbers 0 and 1")
    is_wrong = (values != 0) & (values != 1)
    if is_wrong.any():
        row, column = np.argwhere(is_wrong)[0]
        raise InputError(
            f"{name} holds {values[row, column]} at row {row}, column {column}, expected only "
            "0 and 1: turn class numbers into one column a class"
        )
    return values.astype(np.uint8)


def check_targets(targets: ArrayLike, n_queries: int, n_database: int) -> Targets:
    """Check targets, and convert them to (q, t) int64; rows outside the database are refused.

    Args:
        targets: (q,) or (q, t) integers, database rows; -1 fills up shorter rows.
        n_queries: q.
        n_database: rows there are.

    Raises:
        ShapeError: if it has other than q rows, or isn't of integers.
        InputError: if a row number is out of range, or a query names the same row twice.
    """
    values: NDArray[Any] = np.asarray(targets)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or values.dtype.kind not in "iu" or len(values) != n_queries:
        raise ShapeError(
            f"query_targets is {values.dtype} of shape {np.shape(targets)}, expected integers of "
            f"shape ({n_queries},) or ({n_queries}, t)"
        )
    values = values.astype(np.int64)
    is_wrong = (values < -1) | (values >= n_database)
    if is_wrong.any():
        row = int(np.argwhere(is_wrong)[0, 0])
        raise InputError(
            f"query_targets of query {row} is {values[row].tolist()}, expected database rows "
            f"from 0 to {n_database - 1}, or -1 to fill up"
        )
    ordered = np.sort(values, axis=1)
    is_twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if is_twice.any():
        row = int(np.argwhere(is_twice)[0, 0])
        raise InputError(f"query_targets of query {row} names a database row twice: {values[row]}")
    return values


def check_own_rows(own_rows: ArrayLike, n_queries: int, n_database: int) -> NDArray[np.int64]:
    """Check the database rows that are the queries themselves, and convert them to (q,) int64.

    Raises:
        ShapeError: if there isn't one integer a query.
        InputError: if a row number is out of range, or nothing is left to rank.
    """
    rows: NDArray[Any] = np.asarray(own_rows)
    if rows.shape != (n_queries,) or rows.dtype.kind not in "iu":
        raise ShapeError(
            f"own_rows is {rows.dtype} of shape {rows.shape}, expected integers of shape "
            f"({n_queries},)"
        )
    if n_queries and not (int(rows.min()) >= 0 and int(rows.max()) < n_database):
        raise InputError(f"own_rows holds {rows.min()} to {rows.max()}, expected database rows")
    if n_database < 2:
        raise InputError("the database holds nothing but the query itself: give more items")
    return rows.astype(np.int64)


def match_items(query_items: ArrayLike, database_items: ArrayLike) -> Targets:
    """Find, for each query, the database rows that belong to the same item.

    Args:
        query_items: (q,) integers, the item behind each query.
        database_items: (m,) integers, the item behind each database row.

    Returns:
        (q, t) int64, rows in database order, filled up with -1; t is the most that any query has.

    Raises:
        ShapeError: if either isn't one-dimensional.

    Example:
        One picture with two captions, one with a single caption.

        >>> match_items([7, 8], [7, 7, 8])
        array([[ 0,  1],
               [ 2, -1]])
    """
    queries, items = np.asarray(query_items), np.asarray(database_items)
    for name, values in (("query_items", queries), ("database_items", items)):
        if values.ndim != 1:
            raise ShapeError(f"{name} has shape {values.shape}, expected one axis")
    order = np.argsort(items, kind="stable")
    ordered = items[order]
    first = np.searchsorted(ordered, queries, side="left")
    n_each = np.searchsorted(ordered, queries, side="right") - first
    offsets = np.arange(int(n_each.max(initial=0)))
    rows = np.minimum(first[:, None] + offsets, max(0, len(items) - 1))
    if not len(items):
        return np.zeros((len(queries), 0), np.int64)
    return np.where(offsets < n_each[:, None], order[rows], -1).astype(np.int64)


class LabelRelevance:
    """How the labels of queries and items relate, as one small number a pair: its state.

    A state stands for what the wanted rules can tell apart; the arrays say what it means.

    Attributes:
        n_states: how many states there are; 0 is "nothing in common".
        is_shared: (n_states,) bool, under `shared_label`.
        is_jaccard: (n_states,) bool, under `jaccard`.
        grades: (n_states,) int64, labels in common; 1 for all that share if not `is_graded`.

    Args:
        query_labels: (q, c) uint8 of 0 and 1.
        database_labels: (m, c) uint8 of 0 and 1.
        jaccard_threshold: smallest Jaccard that counts, or None if the rule isn't wanted.
        is_graded: whether the number of common labels is wanted.

    Raises:
        ShapeError: if the two have different numbers of classes.

    Example:
        >>> labels = np.array([[1, 1, 0], [0, 1, 1]], np.uint8)
        >>> relevance = LabelRelevance(labels[:1], labels, jaccard_threshold=0.5, is_graded=True)
        >>> states = relevance.states(slice(0, 1), slice(0, 2))[0]
        >>> relevance.grades[states].tolist(), relevance.is_jaccard[states].tolist()
        ([2, 1], [True, False])
    """

    def __init__(
        self,
        query_labels: Labels,
        database_labels: Labels,
        *,
        jaccard_threshold: float | None,
        is_graded: bool,
    ) -> None:
        if query_labels.shape[1] != database_labels.shape[1]:
            raise ShapeError(
                f"query_labels has {query_labels.shape[1]} classes, database_labels has "
                f"{database_labels.shape[1]}: they must be the same classes in the same order"
            )
        self.is_graded = is_graded
        self.query_words, self.database_words = label_words(query_labels, database_labels)
        query_counts = query_labels.sum(axis=1, dtype=np.int64)
        database_counts = database_labels.sum(axis=1, dtype=np.int64)
        most = int(min(query_counts.max(initial=0), database_counts.max(initial=0)))
        self.dtype: type[np.uint8 | np.uint16] = np.uint8 if 2 * most + 1 <= 0xFF else np.uint16
        self.needed: NDArray[np.uint8 | np.uint16] | None = None
        if jaccard_threshold is not None:
            each, self.query_kinds = np.unique(query_counts, return_inverse=True)
            needed = needed_in_common(each[:, None], database_counts, jaccard_threshold)
            # More than anyone has in common can't be reached: cut it to what the dtype holds.
            self.needed = np.minimum(needed, most + 1).astype(self.dtype)
        # States: (in common) * 2 + jaccard | (in common) | (shares) + jaccard, which implies it.
        if is_graded and self.needed is not None:
            states = np.arange(2 * most + 2)
            self.grades, self.is_jaccard = states // 2, states % 2 == 1
        elif is_graded:
            self.grades = np.arange(most + 1)
            self.is_jaccard = np.zeros(most + 1, bool)
        else:
            self.grades, self.is_jaccard = np.array([0, 1, 1]), np.array([False, False, True])
        self.is_shared: NDArray[np.bool_] = self.grades > 0
        self.n_states = len(self.grades)

    def states(self, queries: slice, items: slice) -> NDArray[np.uint8 | np.uint16]:
        """Compute the state of each query of one block with each item of another.

        Args:
            queries: rows of the query labels.
            items: rows of the database labels.

        Returns:
            (rows, columns) uint8 or uint16 in [0, n_states).
        """
        query_words, database_words = self.query_words[queries], self.database_words[items]
        common: NDArray[Any] = np.bitwise_count(
            query_words[:, 0, None] & database_words[None, :, 0]
        ).astype(self.dtype, copy=False)
        for word in range(1, query_words.shape[1]):
            common += np.bitwise_count(query_words[:, word, None] & database_words[None, :, word])
        states: NDArray[Any] = common if self.is_graded else (common > 0).astype(self.dtype)
        if self.needed is None:
            return states
        is_jaccard: NDArray[np.bool_] = common >= self.needed[:, items][self.query_kinds[queries]]
        if self.is_graded:
            states += states
        states += is_jaccard
        return states


def label_words(
    query_labels: Labels, database_labels: Labels
) -> tuple[NDArray[np.unsignedinteger[Any]], NDArray[np.unsignedinteger[Any]]]:
    """Pack labels into the smallest machine words that hold a row: (n, words) unsigned."""
    width = -(-query_labels.shape[1] // 8)
    size = next((size for size in (1, 2, 4) if width <= size), 8)
    packed = [np.packbits(labels, axis=1) for labels in (query_labels, database_labels)]
    words = [
        np.ascontiguousarray(np.pad(bits, ((0, 0), (0, -width % size)))).view(f"u{size}")
        for bits in packed
    ]
    return words[0], words[1]


def needed_in_common(
    query_counts: NDArray[np.int64], database_counts: NDArray[np.int64], threshold: float
) -> NDArray[np.int64]:
    """Compute how many common labels make the Jaccard of two items reach `threshold`.

    Exact to the last digit of the comparison `common / either >= threshold`; never 0.

    Args:
        query_counts: labels of each query; broadcasts with `database_counts`.
        database_counts: labels of each item.
        threshold: in (0, 1].

    Returns:
        The smallest number s >= 1 with s / (query + database - s) >= threshold.
    """
    both = query_counts + database_counts

    def is_enough(common: NDArray[np.int64]) -> NDArray[np.bool_]:
        is_reached: NDArray[np.bool_] = common / np.maximum(both - common, 1) >= threshold
        return is_reached & (common > 0)

    needed: NDArray[np.int64] = np.ceil(threshold * both / (1 + threshold)).astype(np.int64)
    needed = np.where(is_enough(needed - 1), needed - 1, needed)
    needed = np.where(is_enough(needed), needed, needed + 1)
    return np.maximum(needed, 1)
