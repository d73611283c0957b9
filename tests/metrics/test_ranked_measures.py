import itertools
from collections.abc import Callable
from math import log2

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import ndcg_score  # type: ignore[import-untyped]

from modalhash.metrics import (
    Gain,
    TieGroups,
    Ties,
    first_target,
    hash_lookup,
    precision_at,
    recall_at,
)
from modalhash.metrics.ranked_measures import FirstTarget, gain_values, normalised_gain
from modalhash.metrics.tallies import gains_of, ideal_gains
from tests.oracles import ranking

DISTANCES = [3, 0, 3, 1, 0, 3]
SIZES = [2, 1, 0, 3]

RuleOrder = Callable[[TieGroups], TieGroups]
RULES: dict[str, RuleOrder] = {
    "expected": lambda groups: groups,
    "optimistic": lambda groups: groups.split(hits_first=True),
    "pessimistic": lambda groups: groups.split(hits_first=False),
}


def every_relevance() -> list[tuple[list[float], TieGroups]]:
    """All ways in which six items in tie groups of 2, 1, 0, 3 can be relevant."""
    cases = []
    for flags in itertools.product([0, 1], repeat=6):
        hits = np.bincount(DISTANCES, weights=flags, minlength=4).astype(np.int64)
        cases.append(([float(flag) for flag in flags], TieGroups(np.array([SIZES]), hits[None])))
    return cases


@pytest.mark.parametrize("ties", RULES)
def test_precision_and_recall_against_all_orders(ties: str) -> None:
    for items, groups in every_relevance():
        ordered = RULES[ties](groups)
        for top_k in range(1, 8):
            for measure, plain in (
                (precision_at, ranking.precision),
                (recall_at, ranking.recall),
            ):

                def of_order(order: list[float], k: int = top_k, plain=plain) -> float:  # type: ignore[no-untyped-def]
                    return float(plain([item > 0 for item in order], k))

                assert_allclose(
                    measure(ordered, top_k),
                    [ranking.under_ties(DISTANCES, items, ties, of_order)],
                    rtol=1e-12,
                    atol=1e-15,
                )


@pytest.mark.parametrize("ties", RULES)
def test_first_target_against_all_orders(ties: str) -> None:
    for items, groups in every_relevance():
        nearest = first_target(RULES[ties](groups))

        def better_rank(order: list[float]) -> float:
            return -ranking.first_rank([item > 0 for item in order])

        assert_allclose(
            nearest.rank(),
            [-ranking.under_ties(DISTANCES, items, ties, better_rank)],
            rtol=1e-12,
            atol=0,
        )
        for top_k in range(1, 8):

            def is_found(order: list[float], k: int = top_k) -> float:
                return float(any(order[:k])) if any(order) else float("nan")

            assert_allclose(
                nearest.is_within(top_k),
                [ranking.under_ties(DISTANCES, items, ties, is_found)],
                rtol=1e-12,
                atol=1e-15,
            )


def test_rank_of_one_target_in_a_tie_is_the_middle() -> None:
    # Ranks 11 to 15 are tied: the target's mean rank is 13, and it is in the first 12 in 2 of 5.
    nearest = FirstTarget(start=np.array([10]), size=np.array([5]), hits=np.array([1]))
    assert_allclose(nearest.rank(), [13.0], rtol=1e-12, atol=0)
    assert_allclose(nearest.is_within(12), [2 / 5], rtol=1e-12, atol=0)
    assert_allclose(nearest.is_within(10), [0.0], rtol=0, atol=1e-15)
    assert_allclose(nearest.is_within(15), [1.0], rtol=1e-12, atol=0)


def test_five_captions_of_a_picture_in_one_tie() -> None:
    # 5 of 20 tied texts are the picture's: none of the first three is, in 15/20 * 14/19 * 13/18.
    nearest = FirstTarget(start=np.array([0]), size=np.array([20]), hits=np.array([5]))
    missed = 15 / 20 * 14 / 19 * 13 / 18
    assert_allclose(nearest.is_within(3), [1 - missed], rtol=1e-12, atol=0)
    assert_allclose(nearest.rank(), [21 / 6], rtol=1e-12, atol=0)


def test_precision_and_recall_at_several_ranks_are_those_at_each() -> None:
    generator = np.random.default_rng(0)
    sizes = generator.multinomial(50, np.ones(9) / 9, size=7)
    groups = TieGroups(sizes, generator.integers(0, sizes + 1))
    for top_k in (1, 13, 49, 50, 51, None):
        alone = [
            precision_at(TieGroups(groups.sizes[[row]], groups.hits[[row]]), top_k)[0]
            for row in range(7)
        ]
        assert_allclose(precision_at(groups, top_k), alone, rtol=1e-13, atol=0)


def test_hash_lookup_by_hand() -> None:
    # Distances 0, 1, 2, 3 hold 0, 2, 2, 3 items, of which 0, 1, 2, 1 are relevant.
    groups = TieGroups(np.array([[0, 2, 2, 3]]), np.array([[0, 1, 2, 1]]))
    for radius, precision, recall in (
        (0, 0, 0),
        (1, 1 / 2, 1 / 4),
        (2, 3 / 4, 3 / 4),
        (9, 4 / 7, 1),
    ):
        lookup = hash_lookup(groups, radius)
        both = precision + recall
        assert_allclose(lookup.precision, [precision], rtol=1e-12, atol=0)
        assert_allclose(lookup.recall, [recall], rtol=1e-12, atol=0)
        assert_allclose(
            lookup.f1, [2 * precision * recall / both if both else 0], rtol=1e-12, atol=0
        )
        assert_allclose(lookup.is_empty, [float(radius == 0)], rtol=0, atol=0)
    several = hash_lookup(groups, np.array([0, 1, 2, 9]))
    assert_allclose(several.precision, [[0, 1 / 2, 3 / 4, 4 / 7]], rtol=1e-12, atol=0)
    assert_allclose(several.recall, [[0, 1 / 4, 3 / 4, 1]], rtol=1e-12, atol=0)


def test_a_lookup_without_anything_relevant() -> None:
    lookup = hash_lookup(TieGroups(np.array([[1, 2]]), np.array([[0, 0]])), 0)
    assert_allclose(lookup.precision, [0], rtol=0, atol=0)
    assert_allclose((lookup.recall, lookup.f1), [[np.nan], [np.nan]], rtol=0, atol=0)


@pytest.mark.parametrize("ties", ["expected", "optimistic", "pessimistic"])
@pytest.mark.parametrize("gain", list(Gain))
def test_graded_gain_against_all_orders(ties: str, gain: Gain) -> None:
    generator = np.random.default_rng(1)
    values = gain_values(np.arange(4), gain)
    for grades in generator.integers(0, 4, (20, 6)).tolist():
        counts = np.zeros((1, 4, 4), np.int64)
        for distance, grade in zip(DISTANCES, grades, strict=True):
            counts[0, distance, grade] += 1
        groups, ideal = gains_of(counts, values, Ties(ties)), ideal_gains(counts.sum(1), values)
        gains = [2.0**grade - 1 if gain is Gain.EXPONENTIAL else float(grade) for grade in grades]
        for top_k in (1, 2, 4, 6, 9, None):

            def of_order(order: list[float], k: int | None = top_k) -> float:
                return ranking.normalised_gain(order, k)

            assert_allclose(
                normalised_gain(groups.sizes, groups.sums, ideal.sizes, ideal.sums, top_k),
                [ranking.under_ties(DISTANCES, gains, ties, of_order)],
                rtol=1e-12,
                atol=0,
            )


def test_gain_by_hand() -> None:
    # Gains 1, 3 where 3, 1 is best: (1 + 3 / log2(3)) / (3 + 1 / log2(3)).
    untied = np.array([[1, 1]])
    value = normalised_gain(untied, np.array([[1.0, 3.0]]), untied, np.array([[3.0, 1.0]]), None)
    assert_allclose(value, [(1 + 3 / log2(3)) / (3 + 1 / log2(3))], rtol=1e-12, atol=0)


def test_no_gain_is_worth_nothing() -> None:
    untied, nothing = np.array([[1, 1]]), np.zeros((1, 2))
    assert_allclose(normalised_gain(untied, nothing, untied, nothing, 1), [0], rtol=0, atol=0)


@pytest.mark.parametrize("top_k", [1, 5, 23, None])
def test_graded_gain_equals_scikit_learn(top_k: int | None) -> None:
    # scikit-learn's nDCG averages over ties too (`ignore_ties=False`), with linear gains.
    generator = np.random.default_rng(2)
    grades, distances = generator.integers(0, 4, (9, 23)), generator.integers(0, 5, (9, 23))
    counts = np.zeros((9, 5, 4), np.int64)
    np.add.at(counts, (np.arange(9)[:, None], distances, grades), 1)
    values = gain_values(np.arange(4), Gain.LINEAR)
    groups, ideal = gains_of(counts, values, Ties.EXPECTED), ideal_gains(counts.sum(1), values)
    ours = normalised_gain(groups.sizes, groups.sums, ideal.sizes, ideal.sums, top_k)
    theirs = [ndcg_score(grades[[row]], -distances[[row]], k=top_k) for row in range(9)]
    assert_allclose(ours, theirs, rtol=1e-12, atol=0)
