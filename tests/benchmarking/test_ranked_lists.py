"""Measures of first items: those of the whole ranking, by the library's other way and by loops."""

import numpy as np
import pytest
from numpy.typing import NDArray

from modalhash.benchmarking.ranked_lists import (
    RankedLists,
    measure_labels,
    measure_nearest,
    measure_pairs,
)
from modalhash.benchmarking.vector_spaces import find_nearest_rows
from modalhash.metrics import evaluate_scores


def list_first(scores: NDArray[np.float32], k: int) -> RankedLists:
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return RankedLists(order, np.take_along_axis(scores, order, axis=1), scores.shape[1])


@pytest.mark.parametrize("levels", [5, 40, 100_000])
def test_measures_are_those_of_whole_rankings(levels: int) -> None:
    generator = np.random.default_rng(levels)
    scores = generator.integers(0, levels, (20, 300)).astype(np.float32)
    labels = (generator.random((320, 6)) < 0.3).astype(np.uint8)
    targets = generator.integers(0, 300, (20, 2))
    targets[3, 1] = -1
    report = evaluate_scores(
        scores, 20, 300, direction="text_to_image", query_labels=labels[:20],
        database_labels=labels[20:], query_targets=targets, top_k=[50], recall_at=[10],
    )  # fmt: skip
    lists = list_first(scores, 300)
    precision, gain = measure_labels(lists, labels[:20], labels[20:])
    expected = report.values("map", relevance="shared_label", k=50)
    np.testing.assert_allclose(precision, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        gain, report.values("ndcg", relevance="graded", k=50), rtol=0, atol=1e-9
    )
    expected = report.values("recall", relevance="pair", k=10)
    np.testing.assert_allclose(measure_pairs(lists, targets, 10), expected, rtol=0, atol=1e-12)


def test_a_short_list_gives_the_same_where_its_end_is_no_tie() -> None:
    generator = np.random.default_rng(1)
    scores = generator.random((10, 200)).astype(np.float32)
    labels = (generator.random((210, 4)) < 0.4).astype(np.uint8)
    whole, short = (
        measure_labels(list_first(scores, k), labels[:10], labels[10:]) for k in (200, 60)
    )
    for first, second in zip(whole, short, strict=True):
        np.testing.assert_allclose(first, second, rtol=0, atol=1e-12)


def test_shares_of_the_float_top_are_means_over_the_orders_of_ties() -> None:
    # items 0 and 1 first; then 2, 3, 4 tie for the third place, of which 4 belongs to the top 3
    lists = RankedLists(
        np.array([[0, 1, 2, 3, 4]]), np.array([[9, 8, 5, 5, 5]], np.float32), n_items=6
    )
    shares = measure_nearest(lists, np.array([[1, 4, 5]]), 3)
    np.testing.assert_allclose(shares[3], [(1 + 1 / 3) / 3], rtol=0, atol=1e-12)
    np.testing.assert_allclose(shares[1], [0.0], rtol=0, atol=1e-12)


def test_missing_rows_stand_behind_the_list() -> None:
    lists = RankedLists(np.array([[2, -1]]), np.array([[1.0, -np.inf]], np.float32), n_items=4)
    assert measure_pairs(lists, np.array([2]), 1).tolist() == [1.0]
    # the three others are behind, in any order: one of them is second with 1/3
    np.testing.assert_allclose(measure_pairs(lists, np.array([3]), 2), [1 / 3], rtol=0, atol=1e-12)


@pytest.mark.parametrize("metric", ["cosine", "inner product", "euclidean"])
def test_the_nearest_rows_are_those_of_a_loop(metric: str) -> None:
    generator = np.random.default_rng(2)
    items = generator.normal(size=(40, 5)).astype(np.float32)
    items[7] = items[3]  # a tie
    queries = generator.normal(size=(6, 5)).astype(np.float32)
    nearest = find_nearest_rows(queries, items, metric)
    for query, rows in zip(queries, nearest, strict=True):
        if metric == "euclidean":
            scores = [-float(np.square(query - item).sum()) for item in items]
        else:
            scores = [float(query @ item) for item in items]
        last = sorted(scores, reverse=True)[9]
        expected = {row for row, score in enumerate(scores) if score >= last - 1e-6}
        assert set(rows[rows >= 0].tolist()) == expected
