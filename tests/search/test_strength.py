"""The words strong, fair and weak: bounds worked out by hand, and where they are shown."""

from math import comb

import numpy as np
import pytest

from modalhash.metrics import RelevanceCurve, RelevanceRule
from modalhash.search.strength import Strength, strengths_by_distance

STRONG, FAIR, WEAK = Strength.STRONG, Strength.FAIR, Strength.WEAK


def curve_of(probabilities: list[float], *, rule: RelevanceRule, base: float) -> RelevanceCurve:
    """A curve with these probabilities; of 1,000 pairs of 10 queries, a share is relevant."""
    pairs = np.zeros(len(probabilities), np.int64)
    relevant = pairs.copy()
    pairs[-1], relevant[-1] = 1000, round(1000 * base)
    return RelevanceCurve(rule, 10, pairs, relevant, np.array(probabilities))


def test_a_calibrated_distance_is_graded_by_its_odds() -> None:
    # Odds over all pairs are 1 : 3; ten times them are 10 : 3, three times are 1 : 1.
    curve = curve_of([0.95, 10 / 13, 0.76, 0.5, 0.49], rule=RelevanceRule.SHARED_LABEL, base=0.25)
    assert strengths_by_distance(curve, 4, 100) == (STRONG, STRONG, FAIR, FAIR, WEAK)


def test_a_perfect_hit_of_a_pair_is_strong_though_hardly_probable() -> None:
    # One of 100 is the query's own. Odds of 1 : 99; ten times them are 10 : 99.
    curve = curve_of([10 / 109, 0.09, 3 / 102, 0.02], rule=RelevanceRule.PAIR, base=0.01)
    assert strengths_by_distance(curve, 3, 100) == (STRONG, FAIR, FAIR, WEAK)


@pytest.mark.parametrize("n_items", [10, 100, 100_000])
def test_the_size_of_an_index_changes_probabilities_but_not_evidence(n_items: int) -> None:
    curve = curve_of([0.1, 0.05, 0.01], rule=RelevanceRule.PAIR, base=0.01)
    words = strengths_by_distance(curve, 2, n_items)
    if n_items >= 100:
        assert words == (STRONG, FAIR, WEAK)
    else:  # there a distance of 0 is the query's own with 55 %
        assert words[0] is STRONG


def test_where_most_is_relevant_a_probable_hit_is_not_called_weak() -> None:
    # Odds over all pairs are 4 : 1, so that no hit has three times them below 92 %.
    curve = curve_of([0.91, 0.85, 0.49], rule=RelevanceRule.SHARED_LABEL, base=0.8)
    assert strengths_by_distance(curve, 2, 100) == (STRONG, FAIR, WEAK)


def test_without_a_calibration_random_codes_are_the_measure() -> None:
    n_bits, n_items = 64, 1000

    def expected(distance: int) -> float:
        ways = sum(comb(n_bits, bits) for bits in range(distance + 1))
        return float(n_items * ways / 2**n_bits)

    words = strengths_by_distance(None, n_bits, n_items)
    assert len(words) == n_bits + 1
    for distance, word in enumerate(words):
        n_near = expected(distance)
        assert word is (STRONG if n_near <= 1e-4 else FAIR if n_near <= 0.1 else WEAK)
    assert (words[0], words[64]) == (STRONG, WEAK)


def test_short_codes_do_not_tell() -> None:
    assert strengths_by_distance(None, 31, 10) == (None,) * 32
