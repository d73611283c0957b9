"""The measures page's worked examples, against the formulas they print and against the code."""

import re
from pathlib import Path

import numpy as np
import pytest

from modalhash.metrics import Convention, TieGroups, Ties, average_precision

PAGE = (Path(__file__).parents[2] / "docs" / "measures.md").read_text(encoding="utf-8")
SHOWN = {
    name: float(value)
    for name, value in re.findall(r"^\| `(\w+)` \|[^|]*\| (\d\.\d+) \|$", PAGE, re.MULTILINE)
}


def mean_precision(ranks: list[int], divisor: int) -> float:
    """Average the precisions at the ranks of relevant items over a divisor, by a plain loop."""
    return sum((place + 1) / rank for place, rank in enumerate(ranks)) / divisor


@pytest.mark.parametrize(
    ("convention", "by_hand"),
    [
        (Convention.TRUNCATED, mean_precision([1], 1)),
        (Convention.FIRST_K_RELEVANT, mean_precision([1, 10], 2)),
        (Convention.STANDARD, mean_precision([1], 2)),
        (Convention.ANSWERABLE, mean_precision([1], 1)),
    ],
)
def test_the_example_of_conventions(convention: Convention, by_hand: float) -> None:
    ranking = TieGroups.from_ranking([[1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]])
    measured = average_precision(ranking, top_k=5, convention=convention)
    np.testing.assert_allclose(measured, [by_hand], rtol=1e-12, atol=0)
    np.testing.assert_allclose(SHOWN[convention.value], by_hand, rtol=0, atol=0.005)
    whole_list = average_precision(ranking, convention=convention)
    np.testing.assert_allclose(whole_list, [(1 / 1 + 2 / 10) / 2], rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("ties", "by_hand"),
    [
        (Ties.EXPECTED, (1 / 1 + 1 / 2 + 1 / 3) / 3),
        (Ties.OPTIMISTIC, 1 / 1),
        (Ties.PESSIMISTIC, 1 / 3),
    ],
)
def test_the_example_of_ties(ties: Ties, by_hand: float) -> None:
    three_at_two_one_at_five = TieGroups(np.array([[3, 1]]), np.array([[1, 0]]))
    measured = average_precision(three_at_two_one_at_five, ties=ties)
    np.testing.assert_allclose(measured, [by_hand], rtol=1e-12, atol=0)
    np.testing.assert_allclose(SHOWN[ties.value], by_hand, rtol=0, atol=0.0005)


def test_the_example_of_ties_in_database_order() -> None:
    stored_order = TieGroups.from_ranking([[0, 1, 0, 0]])
    measured = average_precision(stored_order, ties=Ties.DATABASE_ORDER)
    np.testing.assert_allclose(measured, [1 / 2], rtol=1e-12, atol=0)
    np.testing.assert_allclose(SHOWN["database_order"], 1 / 2, rtol=0, atol=0.0005)


def test_every_convention_and_tie_rule_has_its_example() -> None:
    assert set(SHOWN) == {*map(str, Convention), *map(str, Ties)}
