import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal

from modalhash.errors import InputError, ShapeError
from modalhash.metrics import LabelRelevance, match_items
from modalhash.metrics.relevance import Labels, check_labels, check_targets
from tests.oracles import ranking

THRESHOLDS = [0.1, 1 / 3, 0.5, 0.57, 2 / 3, 1.0]


def labels_of(n_rows: int, n_classes: int) -> st.SearchStrategy[Labels]:
    return arrays(np.uint8, (n_rows, n_classes), elements=st.integers(0, 1))


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 70).flatmap(lambda c: st.tuples(labels_of(3, c), labels_of(5, c))),
    st.sampled_from(THRESHOLDS),
    st.booleans(),
)
def test_states_against_loops(pair: tuple[Labels, Labels], threshold: float, graded: bool) -> None:
    query_labels, database_labels = pair
    relevance = LabelRelevance(
        query_labels, database_labels, jaccard_threshold=threshold, is_graded=graded
    )
    states = relevance.states(slice(0, 3), slice(0, 5))
    for row, mine in enumerate(query_labels.tolist()):
        for column, theirs in enumerate(database_labels.tolist()):
            state, common = states[row, column], ranking.in_common(mine, theirs)
            assert relevance.is_shared[state] == (common > 0)
            assert relevance.is_jaccard[state] == (ranking.jaccard(mine, theirs) >= threshold)
            assert relevance.grades[state] == (common if graded else min(common, 1))


def test_a_block_is_a_part_of_the_whole() -> None:
    generator = np.random.default_rng(0)
    query_labels, database_labels = (
        (generator.random((n, 37)) < 0.2).astype(np.uint8) for n in (11, 13)
    )
    relevance = LabelRelevance(query_labels, database_labels, jaccard_threshold=0.3, is_graded=True)
    whole = relevance.states(slice(0, 11), slice(0, 13))
    assert_array_equal(relevance.states(slice(3, 7), slice(5, 12)), whole[3:7, 5:12])


def test_more_than_255_labels_of_one_item() -> None:
    full = np.ones((1, 300), np.uint8)
    relevance = LabelRelevance(full, full, jaccard_threshold=1.0, is_graded=True)
    state = relevance.states(slice(0, 1), slice(0, 1))[0, 0]
    assert relevance.grades[state] == 300
    assert relevance.is_jaccard[state]


def test_without_the_jaccard_rule() -> None:
    labels = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 0]], np.uint8)
    graded = LabelRelevance(labels, labels, jaccard_threshold=None, is_graded=True)
    states = graded.states(slice(0, 3), slice(0, 3))
    assert_array_equal(graded.grades[states], [[2, 1, 0], [1, 2, 0], [0, 0, 0]])
    plain = LabelRelevance(labels, labels, jaccard_threshold=None, is_graded=False)
    states = plain.states(slice(0, 3), slice(0, 3))
    assert_array_equal(plain.is_shared[states], [[1, 1, 0], [1, 1, 0], [0, 0, 0]])


def test_targets_of_several_captions() -> None:
    assert_array_equal(
        match_items([3, 5, 4], [5, 3, 5, 5, 3]), [[1, 4, -1], [0, 2, 3], [-1, -1, -1]]
    )
    assert_array_equal(match_items([0, 0], [1, 0]), [[1], [1]])
    assert match_items([0, 1], []).shape == (2, 0)
    with pytest.raises(ShapeError, match=re.escape("query_items has shape (1, 1), expected one")):
        match_items([[1]], [1])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 0], "labels has shape (2,), expected (n, c) with one class or more"),
        ([[], []], "labels has shape (2, 0), expected (n, c) with one class or more"),
        ([[1], [0], [1]], "labels has 3 rows for 2 codes: one row a code"),
        ([["a"], ["b"]], "labels is <U1, expected numbers 0 and 1"),
    ],
)
def test_labels_of_a_wrong_shape(labels: object, message: str) -> None:
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        check_labels(np.array(labels), 2)


@pytest.mark.parametrize(("value", "shown"), [(2, "2"), (-1, "-1"), (0.5, "0.5"), (np.nan, "nan")])
def test_labels_other_than_0_and_1(value: float, shown: str) -> None:
    message = (
        f"labels holds {shown} at row 1, column 0, expected only 0 and 1: "
        "turn class numbers into one column a class"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        check_labels(np.array([[1, 0], [value, 1]]), 2)


def test_labels_of_other_dtypes() -> None:
    for dtype in (bool, np.int64, np.float32):
        checked = check_labels(np.array([[1, 0]], dtype), 1)
        assert checked.dtype == np.uint8
        assert_array_equal(checked, [[1, 0]])


def test_labels_of_other_classes() -> None:
    message = (
        "query_labels has 2 classes, database_labels has 3: "
        "they must be the same classes in the same order"
    )
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        LabelRelevance(
            np.ones((1, 2), np.uint8),
            np.ones((1, 3), np.uint8),
            jaccard_threshold=None,
            is_graded=False,
        )


def test_targets_that_are_no_rows() -> None:
    with pytest.raises(
        InputError,
        match=re.escape(
            "query_targets of query 1 is [7], expected database rows from 0 to 4, or -1 to fill up"
        ),
    ):
        check_targets([0, 7], 2, 5)
    with pytest.raises(
        InputError, match=re.escape("query_targets of query 0 names a database row twice: [1 1]")
    ):
        check_targets([[1, 1], [-1, -1]], 2, 5)
    for wrong in ([0.5, 1.0], [0, 1, 2], [[[0]], [[1]]]):
        with pytest.raises(
            ShapeError, match=re.escape("expected integers of shape (2,) or (2, t)")
        ):
            check_targets(wrong, 2, 5)
