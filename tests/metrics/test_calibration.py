"""Probabilities of relevance: falling fits by hand, counts by a plain loop, laws."""

import json
import re
from math import comb
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from modalhash.codes import hamming_distances, pack
from modalhash.errors import InputError, ShapeError
from modalhash.metrics import (
    Direction,
    DirectionCalibration,
    DistanceCounts,
    RelevanceCurve,
    RelevanceRule,
    calibrate_direction,
    count_pairs,
    fit_relevance,
)
from modalhash.metrics.calibration import falling_fit, measure_reliability

N_BITS = 11
"""Not a multiple of 8."""


@pytest.mark.parametrize(
    ("values", "weights", "expected"),
    [
        ([], [], []),
        ([4], [2], [4]),
        ([3, 2, 1], [1, 5, 1], [3, 2, 1]),
        ([1, 2, 3], [1, 1, 1], [2, 2, 2]),
        ([1, 2], [3, 1], [(3 * 1 + 1 * 2) / 4] * 2),
        # 5 | 1 4 make (1 + 4) / 2; 3 is above that: (1 + 4 + 3) / 3; 0.
        ([5, 1, 4, 3, 0], [1, 1, 1, 1, 1], [5, 8 / 3, 8 / 3, 8 / 3, 0]),
        # 6 pools back through all: (2 * 1 + 4 * 1 + 6 * 2) / 4.
        ([2, 4, 6], [1, 1, 2], [4.5, 4.5, 4.5]),
    ],
)
def test_falling_fits_by_hand(
    values: list[float], weights: list[float], expected: list[float]
) -> None:
    np.testing.assert_allclose(falling_fit(values, weights), expected, rtol=1e-15, atol=0)


def test_a_falling_fit_is_nearest_of_all_falling_sequences() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        values, weights = generator.normal(size=6), generator.uniform(0.1, 3, 6)
        fitted = falling_fit(values, weights)
        assert (np.diff(fitted) <= 0).all()
        np.testing.assert_allclose(
            (fitted * weights).sum(), (values * weights).sum(), rtol=1e-12, atol=1e-12
        )
        error = (weights * (values - fitted) ** 2).sum()
        for _ in range(50):
            other = np.sort(fitted + generator.normal(size=6) / 10)[::-1]
            assert error <= (weights * (values - other) ** 2).sum()


def test_what_cannot_be_fitted() -> None:
    with pytest.raises(InputError, match=r"^weights holds 0\.0, expected positive numbers$"):
        falling_fit([1, 2], [1, 0])
    message = "values is of shape (2,), weights of (3,): both are flat and equally long"
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        falling_fit([1, 2], [1, 1, 1])


class Made:
    """Items with one picture and one to three texts each, with codes and labels."""

    def __init__(self, n_items: int = 14, seed: int = 3) -> None:
        generator = np.random.default_rng(seed)
        self.owner = np.repeat(np.arange(n_items), 1 + np.arange(n_items) % 3)
        self.image = pack(generator.choice([-1, 1], (n_items, N_BITS)))
        self.text = pack(generator.choice([-1, 1], (len(self.owner), N_BITS)))
        self.labels = (generator.random((n_items, 5)) < 0.3).astype(np.uint8)
        self.labels[0] = 0
        self.items = np.arange(n_items)


def plain_counts(
    codes: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    items: tuple[NDArray[np.int64], NDArray[np.int64]],
    labels: NDArray[np.uint8] | None,
    *,
    is_within: bool,
) -> DistanceCounts:
    """Count pair by pair."""
    distances = hamming_distances(*codes)
    pairs = np.zeros((len(codes[0]), N_BITS + 1), np.int64)
    relevant = np.zeros_like(pairs)
    for query, query_item in enumerate(items[0].tolist()):
        for row, item in enumerate(items[1].tolist()):
            is_own = item == query_item
            if labels is not None and is_own:
                continue
            if labels is None and is_within and query == row:
                continue
            is_relevant = is_own
            if labels is not None:
                is_relevant = any(labels[query_item] & labels[item])
            pairs[query, distances[query, row]] += 1
            relevant[query, distances[query, row]] += is_relevant
    return DistanceCounts(pairs, relevant)


@pytest.mark.parametrize("with_labels", [True, False])
@pytest.mark.parametrize("direction", list(Direction))
def test_counts_equal_a_plain_loop(direction: Direction, with_labels: bool) -> None:
    made = Made()
    sides = {"image": (made.image, made.items), "text": (made.text, made.owner)}
    asked, _, answers = direction.partition("_to_")
    codes = sides[asked][0], sides[answers][0]
    items = sides[asked][1], sides[answers][1]
    labels = (made.labels[items[0]], made.labels[items[1]])
    found = count_pairs(
        *codes,
        N_BITS,
        query_items=items[0],
        database_items=items[1],
        labels=labels if with_labels else None,
        is_within=asked == answers,
    )
    expected = plain_counts(
        codes,
        items,
        made.labels if with_labels else None,
        is_within=asked == answers,
    )
    np.testing.assert_array_equal(found.pairs, expected.pairs)
    np.testing.assert_array_equal(found.relevant, expected.relevant)


def test_the_order_of_queries_and_items_changes_nothing() -> None:
    made, generator = Made(), np.random.default_rng(0)

    def curve(queries: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        counts = count_pairs(
            made.image[queries],
            made.text[rows],
            N_BITS,
            query_items=made.items[queries],
            database_items=made.owner[rows],
        )
        return fit_relevance(counts, RelevanceRule.PAIR).probabilities

    straight = curve(np.arange(len(made.items)), np.arange(len(made.owner)))
    mixed = curve(generator.permutation(len(made.items)), generator.permutation(len(made.owner)))
    np.testing.assert_array_equal(straight, mixed)


def test_rows_that_do_not_pair_up_are_refused() -> None:
    made = Made()
    for name, changes in (
        ("query_items", {"query_items": made.items[1:]}),
        ("query_labels", {"labels": (made.labels[1:], made.labels[made.owner])}),
    ):
        choices: dict[str, Any] = {
            "query_items": made.items,
            "database_items": made.owner,
            **changes,
        }
        message = f"{name} has 13 rows for 14 codes: one row a code"
        with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
            count_pairs(made.image, made.text, N_BITS, **choices)


def counts_of(pairs: list[list[int]], relevant: list[list[int]]) -> DistanceCounts:
    return DistanceCounts(np.array(pairs), np.array(relevant))


def test_probabilities_by_hand() -> None:
    # Seen: distances 1, 2 and 4; base rate 3 / 12. With a pair of the base rate added to each:
    # (2 + .25) / (3 + 1), (0 + .25) / (1 + 1), (1 + .25) / (8 + 1); the last two: 1.5 / 11.
    counts = counts_of(
        [[0, 2, 1, 0, 3, 0], [0, 1, 0, 0, 5, 0]], [[0, 1, 0, 0, 1, 0], [0, 1] + [0] * 4]
    )
    curve = fit_relevance(counts, RelevanceRule.SHARED_LABEL)
    near, far = 2.25 / 4, 1.5 / 11
    np.testing.assert_allclose(
        curve.probabilities, [near, near, far, far, far, far], rtol=1e-15, atol=0
    )
    assert (curve.base_rate, curve.n_items, curve.n_queries) == (0.25, 6.0, 2)
    assert [curve.radius(least) for least in (0.6, near, 0.2, far, 0.0)] == [None, 1, 1, 5, 5]
    assert curve.at(10**6) is curve.probabilities


def test_by_pair_the_odds_shrink_as_items_grow() -> None:
    counts = counts_of([[1, 0, 9], [1, 0, 9]], [[1, 0, 0], [0, 0, 1]])
    curve = fit_relevance(counts, RelevanceRule.PAIR)
    # Base 2 / 20; (1 + .1) / (2 + 1) and (1 + .1) / (18 + 1). One partner among 10, or 91 items:
    # 9 others, or 90.
    near, far = 1.1 / 3, 1.1 / 19
    np.testing.assert_allclose(curve.at(10), [near, far, far], rtol=1e-12, atol=0)
    odds = [one / (1 - one) * 9 / 90 for one in (near, far, far)]
    np.testing.assert_allclose(curve.at(91), [one / (1 + one) for one in odds], rtol=1e-12, atol=0)
    assert curve.radius(0.3, 10) == 0
    assert curve.radius(0.3, 91) is None


def test_in_a_larger_collection_the_moved_odds_are_true() -> None:
    """Partners at Binomial(8, 0.1), others at Binomial(8, 0.5): shares are known at any size."""
    at, n_queries = np.arange(9), 10**12
    ways = np.array([comb(8, distance) for distance in range(9)])
    partner, other = ways * 0.1**at * 0.9 ** (8 - at), ways * 0.5**8
    relevant = np.rint(n_queries * partner).astype(np.int64)
    pairs = relevant + np.rint(n_queries * 50 * other).astype(np.int64)
    curve = RelevanceCurve(RelevanceRule.PAIR, n_queries, pairs, relevant, relevant / pairs)
    for others in (50, 5000):
        expected = partner / (partner + others * other)
        np.testing.assert_allclose(curve.at(others + 1), expected, rtol=1e-3, atol=0)


def test_laws_of_a_fit() -> None:
    generator = np.random.default_rng(2)
    for _ in range(20):
        pairs = generator.integers(0, 5, (6, 9))
        pairs[:, 4] += 1
        relevant = generator.binomial(pairs, np.linspace(0.8, 0.1, 9))
        relevant[0, 4], relevant[1, 4] = 0, 1
        curve = fit_relevance(DistanceCounts(pairs, relevant), RelevanceRule.PAIR)
        for probabilities in (curve.probabilities, curve.at(3), curve.at(10**9)):
            assert ((probabilities > 0) & (probabilities < 1)).all()
            assert (np.diff(probabilities) <= 0).all()
        order = generator.permutation(6)
        mixed = fit_relevance(DistanceCounts(pairs[order], relevant[order]), RelevanceRule.PAIR)
        np.testing.assert_array_equal(mixed.probabilities, curve.probabilities)
        seen = pairs.sum(axis=0) > 0
        weights = pairs.sum(axis=0)[seen] + 1
        mean = (curve.probabilities[seen] * weights).sum() / weights.sum()
        np.testing.assert_allclose(mean, curve.base_rate, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("relevant", "n"), [([[0, 0]], 0), ([[2, 3]], 5)])
def test_nothing_to_tell_apart(relevant: list[list[int]], n: int) -> None:
    message = (
        f"{n} of 5 pairs are relevant: to calibrate takes relevant pairs and others; take more "
        "items"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        fit_relevance(counts_of([[2, 3]], relevant), RelevanceRule.PAIR)


@pytest.mark.parametrize("least", [-0.1, 1.5, float("nan")])
def test_a_cut_off_is_a_probability(least: float) -> None:
    curve = fit_relevance(counts_of([[2, 3]], [[1, 0]]), RelevanceRule.PAIR)
    message = f"min_relevance is {least}, expected a probability from 0 to 1"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        curve.radius(least)


def test_the_nearest_of_each_query_by_hand() -> None:
    # Of the first query all 2 at distance 0 and 1 of the 4 at distance 1, of which 3 are relevant;
    # the second has only two items.
    counts = counts_of([[2, 4, 9], [0, 0, 2]], [[1, 3, 0], [0, 0, 1]])
    pairs, relevant = counts.nearest(3)
    assert pairs.tolist() == [2, 1, 2]
    assert relevant.tolist() == [1, 3 / 4, 1]


def test_reliability_by_hand() -> None:
    measured = measure_reliability(
        [0.95, 0.91, 0.25, 1.0, 0.5], [10, 30, 50, 10, 0], [9, 21, 20, 10, 0]
    )
    assert measured.pairs == 100
    assert measured.base_rate == 0.6
    squares = (
        (9 * 0.05**2 + 1 * 0.95**2) + (21 * 0.09**2 + 9 * 0.91**2)
        + (20 * 0.75**2 + 30 * 0.25**2) + 10 * 0.0
    )  # fmt: skip
    np.testing.assert_allclose(measured.brier, squares / 100, rtol=1e-12, atol=0)
    np.testing.assert_allclose(measured.brier_of_base_rate, 0.6 * 0.4, rtol=1e-12, atol=0)
    low, high = measured.bins
    assert (low.low, low.pairs, low.predicted, low.observed) == (0.2, 50, 0.25, 0.4)
    assert (high.low, high.pairs, high.observed) == (0.9, 50, 40 / 50)
    predicted = (10 * 0.95 + 30 * 0.91 + 10 * 1.0) / 50
    np.testing.assert_allclose(high.predicted, predicted, rtol=1e-12, atol=0)
    error = (50 * abs(0.25 - 0.4) + 50 * abs(predicted - 0.8)) / 100
    np.testing.assert_allclose(measured.calibration_error, error, rtol=1e-12, atol=0)
    with pytest.raises(InputError, match=r"^there are no pairs to measure reliability on$"):
        measure_reliability([0.5], [0], [0])


def made_calibration() -> DirectionCalibration:
    counts = counts_of([[1, 9], [2, 8]], [[1, 0], [1, 1]])
    halves = np.array([True, False])
    return calibrate_direction(Direction.TEXT_TO_IMAGE, counts, RelevanceRule.PAIR, halves=halves)


def test_each_half_is_measured_by_the_other() -> None:
    found = made_calibration()
    # Half one: base 1 / 10; half two: base 2 / 10.
    first = [(1 + 0.1) / (1 + 1), (0 + 0.1) / (9 + 1)]
    second = [(1 + 0.2) / (2 + 1), (1 + 0.2) / (8 + 1)]
    expected = (
        (1 - second[0]) ** 2 + 9 * second[1] ** 2  # the first half by the second's curve
        + (1 - first[0]) ** 2 + first[0] ** 2 + (1 - first[1]) ** 2 + 7 * first[1] ** 2
    )  # fmt: skip
    np.testing.assert_allclose(found.all_pairs.brier, expected / 20, rtol=1e-12, atol=0)
    assert found.nearest == found.all_pairs  # each query has ten items
    together = [(2 + 0.15) / (3 + 1), (1 + 0.15) / (17 + 1)]
    np.testing.assert_allclose(found.curve.probabilities, together, rtol=1e-12, atol=0)


def test_a_calibration_survives_json() -> None:
    found = made_calibration()
    document = json.loads(json.dumps(found.to_json()))
    read = DirectionCalibration.from_json(document, 1)
    assert read.to_json() == found.to_json()
    np.testing.assert_array_equal(read.curve.probabilities, found.curve.probabilities)
    with pytest.raises(InputError, match=r"^a curve of relevance has other than 3 distances$"):
        DirectionCalibration.from_json(document, 2)
    message = "the probabilities of a curve of relevance rise, or aren't in (0, 1)"
    for wrong in ([0.1, 0.2], [1.0, 0.5], [0.5, 0.0]):
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            DirectionCalibration.from_json(document | {"probabilities": wrong}, 1)
