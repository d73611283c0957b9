"""Measures of queries that keep their numbers: a plain ranking, ties, own rows, and blocks."""

from typing import Any

import numpy as np
import pytest

from modalhash.codes import Codes, binarise, pack, unpack
from modalhash.errors import InputError, ShapeError
from modalhash.metrics import (
    DirectionReport,
    evaluate_asymmetric,
    evaluate_direction,
    evaluate_scores,
    rankings,
    tallies,
)

N_BITS, N_QUERIES, N_ITEMS = 12, 9, 40
generator = np.random.default_rng(5)
RELAXED = generator.standard_normal((N_QUERIES, N_BITS))
CODES = pack(binarise(generator.standard_normal((N_ITEMS, N_BITS))))
QUERY_LABELS = (generator.random((N_QUERIES, 4)) < 0.4).astype(np.int64)
ITEM_LABELS = (generator.random((N_ITEMS, 4)) < 0.4).astype(np.int64)
TARGETS = generator.integers(0, N_ITEMS, N_QUERIES)
LABELS: dict[str, Any] = {"query_labels": QUERY_LABELS, "database_labels": ITEM_LABELS}


def plain_scores(relaxed: np.ndarray, codes: Codes) -> np.ndarray:
    """Score every code for every query by a plain loop over the bits."""
    signs = unpack(codes, relaxed.shape[1])
    scores = np.zeros((len(relaxed), len(codes)))
    for query, numbers in enumerate(relaxed):
        for item, code in enumerate(signs):
            agreeing = sum(float(number) * int(sign) for number, sign in zip(numbers, code))  # noqa: B905
            scores[query, item] = agreeing / sum(abs(float(number)) for number in numbers)
    return scores


def compare(report: DirectionReport, expected: DirectionReport) -> None:
    """Check that two reports hold the same numbers, but for lookups by Hamming radius."""
    numbers = {
        (m.measure, m.k, m.relevance, m.convention, m.ties): m.value for m in expected.measures
    }
    assert report.measures
    for measure in report.measures:
        key = (measure.measure, measure.k, measure.relevance, measure.convention, measure.ties)
        np.testing.assert_allclose(measure.value, numbers[key], rtol=1e-12, err_msg=str(key))


@pytest.mark.parametrize("ties", ["expected", "database_order", "optimistic", "pessimistic"])
def test_numbers_are_those_of_a_plain_ranking_by_score(ties: str) -> None:
    doubled = np.concatenate([CODES, CODES[:13]])  # equal codes are exact ties
    labels: dict[str, Any] = {
        "query_labels": QUERY_LABELS,
        "database_labels": np.concatenate([ITEM_LABELS, ITEM_LABELS[3:16]]),
    }
    # Equal codes have equal plain scores too: each is summed in the same order.
    scores = plain_scores(RELAXED, doubled)
    shared: dict[str, Any] = {
        "direction": "image_to_text",
        "query_targets": TARGETS,
        "top_k": [5, None],
    }
    report = evaluate_asymmetric(RELAXED, doubled, N_BITS, ties=ties, **shared, **labels)
    n_queries, n_items = scores.shape
    expected = evaluate_scores(scores, n_queries, n_items, ties=ties, **shared, **labels)
    compare(report, expected)
    assert (report.scoring, report.n_bits) == ("asymmetric", N_BITS)
    assert {measure.scoring for measure in report.measures} == {"asymmetric"}
    assert {measure.scoring for measure in expected.measures} == {"scores"}
    assert not any(measure.measure.startswith("lookup") for measure in report.measures)


def test_queries_of_signs_are_measured_as_by_hamming_distance() -> None:
    signs = binarise(RELAXED)
    shared: dict[str, Any] = {"direction": "image_to_text", "query_targets": TARGETS, **LABELS}
    by_hamming = evaluate_direction(pack(signs), CODES, N_BITS, **shared)
    compare(evaluate_asymmetric(0.3 * signs, CODES, N_BITS, **shared), by_hamming)
    assert by_hamming.scoring == "hamming"


def test_queries_that_are_in_the_database_are_left_out() -> None:
    relaxed = generator.standard_normal((15, N_BITS))
    codes = pack(binarise(relaxed))
    labels = (generator.random((15, 3)) < 0.5).astype(np.int64)
    scores = plain_scores(relaxed, codes)
    report = evaluate_asymmetric(
        relaxed, codes, N_BITS, direction="text_to_text",
        query_labels=labels, database_labels=labels, own_rows=np.arange(15), top_k=[4, None],
    )  # fmt: skip
    for query in range(15):
        others = np.delete(np.arange(15), query)
        expected = evaluate_scores(
            scores[query : query + 1, others], 1, 14, direction="text_to_text",
            query_labels=labels[query : query + 1], database_labels=labels[others],
            top_k=[4, None],
        )  # fmt: skip
        for k in (4, None):
            found = report.values("map", relevance="shared_label", k=k)[query]
            wanted = expected.values("map", relevance="shared_label", k=k)[0]
            np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_blocks_and_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shared: dict[str, Any] = {"direction": "image_to_text", "query_targets": TARGETS, **LABELS}
    whole = evaluate_asymmetric(RELAXED, CODES, N_BITS, n_threads=1, **shared)
    monkeypatch.setattr(tallies, "SORTED_PAIRS", 2 * N_ITEMS)
    compare(evaluate_asymmetric(RELAXED, CODES, N_BITS, n_threads=2, **shared), whole)


def test_ties_keep_the_order_of_the_database() -> None:
    from modalhash.codes.asymmetric import WeightedQueries

    codes = pack([[1, 1], [-1, 1], [1, 1], [-1, 1], [1, -1]])
    queries = WeightedQueries.of(np.array([[2.0, 1.0], [0.0, 0.0]]), 2)
    order = rankings.WeightedRanking(queries, codes).order(slice(0, 2))
    assert order.rows.tolist() == [[0, 2, 4, 1, 3], [0, 1, 2, 3, 4]]
    assert order.is_new.tolist() == [[False, False, True, True, False], [False] * 5]


def test_unfit_queries_are_refused() -> None:
    shared: dict[str, Any] = {"direction": "image_to_text", "query_targets": TARGETS}
    with pytest.raises(ShapeError, match="relaxed_queries"):
        evaluate_asymmetric(RELAXED[:, :5], CODES, N_BITS, **shared)
    bad = RELAXED.copy()
    bad[3, 1] = np.nan
    with pytest.raises(InputError, match="relaxed_queries hold NaN or infinity, first in row 3"):
        evaluate_asymmetric(bad, CODES, N_BITS, **shared)
