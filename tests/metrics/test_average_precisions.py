import itertools
import re
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.metrics import average_precision_score  # type: ignore[import-untyped]

from modalhash.errors import InputError, ShapeError, UnknownNameError
from modalhash.metrics import Convention, TieGroups, Ties, average_precision
from modalhash.metrics.hypergeometric import hits_among_drawn
from modalhash.metrics.tie_groups import Counts
from tests.oracles import ranking

CONVENTIONS = [convention.value for convention in Convention]
POLICIES = [ties.value for ties in Ties]


def groups_of(distances: list[int], relevant: list[bool]) -> TieGroups:
    """Tie groups of one query, with empty groups for the distances nobody has."""
    sizes = np.bincount(distances, minlength=6)
    hits = np.bincount(distances, weights=relevant, minlength=6).astype(np.int64)
    return TieGroups(sizes[None], hits[None])


def in_stable_order(distances: list[int], relevant: list[bool]) -> TieGroups:
    order = sorted(range(len(distances)), key=lambda item: distances[item])
    return TieGroups.from_ranking([[relevant[item] for item in order]])


def value_of(
    distances: list[int], relevant: list[bool], top_k: int | None, convention: str, ties: str
) -> float:
    is_stable = ties == "database_order"
    groups = (in_stable_order if is_stable else groups_of)(distances, relevant)
    return float(average_precision(groups, top_k=top_k, convention=convention, ties=ties)[0])


def oracle_of(
    distances: list[int], relevant: list[bool], top_k: int | None, convention: str, ties: str
) -> float:
    def measure(order: list[float]) -> float:
        return ranking.average_precision([item > 0 for item in order], top_k, convention)

    return ranking.under_ties(distances, [float(flag) for flag in relevant], ties, measure)


@pytest.mark.parametrize(
    ("convention", "top_k", "expected"),
    [
        ("truncated", 5, 1 / 1),
        ("answerable", 5, 1 / 1),
        ("first_k_relevant", 5, (1 / 1 + 2 / 10) / 2),
        ("standard", 5, (1 / 1) / 2),
        ("first_k_relevant", 1, 1 / 1),
        ("truncated", None, (1 / 1 + 2 / 10) / 2),
        ("standard", None, (1 / 1 + 2 / 10) / 2),
        ("standard", 10, (1 / 1 + 2 / 10) / 2),
        ("standard", 9, (1 / 1) / 2),
    ],
)
def test_relevant_at_ranks_1_and_10(convention: str, top_k: int | None, expected: float) -> None:
    ranked = TieGroups.from_ranking([[1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]])
    for ties in POLICIES:
        value = average_precision(ranked, top_k=top_k, convention=convention, ties=ties)
        assert_allclose(value, [expected], rtol=1e-12, atol=0)


def test_relevance_1_0_1_0_0_1() -> None:
    ranked = TieGroups.from_ranking([[1, 0, 1, 0, 0, 1]])
    at_5, standard_5, whole = (
        average_precision(ranked, top_k=top_k, convention=convention)
        for top_k, convention in ((5, "truncated"), (5, "standard"), (None, "truncated"))
    )
    assert_allclose(at_5, [(1 + 2 / 3) / 2], rtol=1e-12, atol=0)
    assert_allclose(standard_5, [(1 + 2 / 3) / 3], rtol=1e-12, atol=0)
    assert_allclose(whole, [(1 + 2 / 3 + 3 / 6) / 3], rtol=1e-12, atol=0)


def test_two_tied_items_of_which_one_is_relevant() -> None:
    # Either order is as likely: (1 + 1/2) / 2. With a cut at 1, half of the orders hit.
    tied = TieGroups(np.array([[2]]), np.array([[1]]))
    assert_allclose(average_precision(tied), [(1 + 1 / 2) / 2], rtol=1e-12, atol=0)
    assert_allclose(average_precision(tied, top_k=1), [1 / 2], rtol=1e-12, atol=0)
    assert_allclose(average_precision(tied, ties="optimistic"), [1], rtol=1e-12, atol=0)
    assert_allclose(average_precision(tied, ties="pessimistic"), [1 / 2], rtol=1e-12, atol=0)


def test_a_late_hit_lowers_the_truncated_value() -> None:
    # Rank 1 is a hit; ranks 2 to 4 are irrelevant; rank 5 is one of two tied items, one relevant.
    # With the hit inside the cut: (1 + 2/5) / 2; without: 1. The best order leaves it out.
    groups = TieGroups(np.array([[1, 3, 2]]), np.array([[1, 0, 1]]))
    best, worst = (
        average_precision(groups, top_k=5, ties=ties) for ties in ("optimistic", "pessimistic")
    )
    assert_allclose(best, [1.0], rtol=1e-12, atol=0)
    assert_allclose(worst, [(1 + 2 / 5) / 2], rtol=1e-12, atol=0)


@pytest.mark.parametrize("ties", POLICIES)
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_every_small_ranking_against_all_its_orders(convention: str, ties: str) -> None:
    # Tie groups of 2, 1, 3 (and none at distances 0 and 3), in a database order that mixes them.
    distances = [4, 1, 4, 2, 1, 4]
    for relevant in itertools.product([False, True], repeat=6):
        for top_k in (1, 2, 3, 4, 5, 6, 7, None):
            assert_allclose(
                value_of(distances, list(relevant), top_k, convention, ties),
                oracle_of(distances, list(relevant), top_k, convention, ties),
                rtol=1e-12,
                atol=1e-14,
                err_msg=f"{relevant} at {top_k}",
            )


rankings = st.integers(1, 7).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 5), min_size=n, max_size=n),
        st.lists(st.booleans(), min_size=n, max_size=n),
        st.one_of(st.none(), st.integers(1, n + 2)),
    )
)


@settings(deadline=None, max_examples=60)
@given(rankings, st.sampled_from(CONVENTIONS), st.sampled_from(POLICIES))
def test_any_small_ranking_against_all_its_orders(
    case: tuple[list[int], list[bool], int | None], convention: str, ties: str
) -> None:
    distances, relevant, top_k = case
    assert_allclose(
        value_of(distances, relevant, top_k, convention, ties),
        oracle_of(distances, relevant, top_k, convention, ties),
        rtol=1e-12,
        atol=1e-14,
    )


many_groups = st.integers(1, 6).flatmap(
    lambda g: st.lists(
        st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=g, max_size=g
    ).filter(lambda pairs: sum(size + hits for size, hits in pairs) > 0)
)


@settings(deadline=None)
@given(many_groups, st.one_of(st.none(), st.integers(1, 300)), st.sampled_from(CONVENTIONS))
def test_expectation_lies_between_the_extremes(
    pairs: list[tuple[int, int]], top_k: int | None, convention: str
) -> None:
    hits = np.array([[hits for _, hits in pairs]])
    groups = TieGroups(np.array([[others for others, _ in pairs]]) + hits, hits)
    low, mean, high = (
        average_precision(groups, top_k=top_k, convention=convention, ties=ties)[0]
        for ties in ("pessimistic", "expected", "optimistic")
    )
    if np.isnan(mean):
        assert convention == "answerable"
        assert hits.sum() == 0
        return
    assert -1e-15 <= low <= mean + 1e-12
    assert mean <= high + 1e-12
    assert high <= 1 + 1e-12


def walked(sizes: list[int], hits: list[int], top_k: int, convention: str) -> float:
    """Expected value by walking through the groups with the plain oracle."""
    start, earlier, before, n_relevant = 0, 0, 0.0, sum(hits)
    for size, inside in zip(sizes, hits, strict=True):
        at_rank = top_k - start if convention != "first_k_relevant" else None
        at_hit = min(top_k, n_relevant) - earlier if convention == "first_k_relevant" else None
        is_whole = (at_rank is None or at_rank >= size) and (at_hit is None or at_hit >= inside)
        ways = ranking.expected_in_group(
            size,
            inside,
            start=start,
            earlier_hits=earlier,
            stop_at_rank=None if is_whole else at_rank,
            stop_at_hit=None if is_whole else at_hit,
        )
        if not is_whole:
            if convention in ("truncated", "answerable"):
                return sum(
                    (before * chance + total) / (earlier + count)
                    for count, (chance, total) in ways.items()
                    if earlier + count
                )
            before += sum(total for _, total in ways.values())
            break
        before += sum(total for _, total in ways.values())
        start, earlier = start + size, earlier + inside
    else:
        return before / n_relevant
    return before / min(top_k, n_relevant)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("top_k", [1, 7, 60, 130, 131, 132, 300, 401])
def test_larger_groups_against_a_walk_through_them(convention: str, top_k: int) -> None:
    sizes, hits = [7, 0, 124, 270], [2, 0, 31, 150]
    value = average_precision(
        TieGroups(np.array([sizes]), np.array([hits])), top_k=top_k, convention=convention
    )
    assert_allclose(value, [walked(sizes, hits, top_k, convention)], rtol=1e-12, atol=0)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize(
    ("sizes", "hits", "top_k"),
    [
        ([100_000, 2_000], [60_000, 900], 100_700),
        ([100_000, 2_000], [60_000, 900], 60_500),
        ([10, 2_500], [3, 1_100], 700),
        ([10, 2_500], [3, 2], 700),
        ([10, 2_500], [0, 2_499], 2_000),
        ([10, 2_500], [3, 600], 50),
    ],
)
def test_windows_leave_nothing_out(
    convention: str, sizes: list[int], hits: list[int], top_k: int
) -> None:
    # The first group goes through the oracle's walk as single items: its order is made fixed.
    value = average_precision(
        TieGroups(
            np.array([[hits[0], sizes[0] - hits[0], sizes[1]]]), np.array([[hits[0], 0, hits[1]]])
        ),
        top_k=top_k,
        convention=convention,
    )
    n_relevant, is_by_hit = sum(hits), convention == "first_k_relevant"
    if is_by_hit and top_k <= hits[0]:
        assert_allclose(value, [1.0], rtol=1e-12, atol=0)
        return
    ways = fast_walk(
        sizes[1],
        hits[1],
        start=sizes[0],
        earlier_hits=hits[0],
        n_steps=sizes[1] if is_by_hit else max(0, top_k - sizes[0]),
        stop_at_hit=min(top_k, n_relevant) - hits[0] if is_by_hit else sizes[1],
    )
    # All of the first group's hits come first, at precision 1.
    chances, totals = ways
    first = min(hits[0], top_k)
    if convention in ("truncated", "answerable"):
        counts = first + np.arange(len(chances))
        expected = ((first * chances + totals) / np.maximum(counts, 1)).sum()
    else:
        expected = (first + totals.sum()) / min(top_k, n_relevant)
    assert_allclose(value, [expected], rtol=1e-10, atol=0)


def fast_walk(
    size: int, hits: int, *, start: int, earlier_hits: int, n_steps: int, stop_at_hit: int
) -> tuple[np.ndarray, np.ndarray]:
    """The oracle's walk, with all numbers of hits in one array."""
    chances, totals = np.zeros(hits + 1), np.zeros(hits + 1)
    chances[0] = 1.0
    count = np.arange(hits + 1)
    for position in range(n_steps):
        share = np.clip((hits - count) / (size - position), 0, 1) * (count < stop_at_hit)
        gain = (earlier_hits + count + 1) / (start + position + 1)
        up_chances, up_totals = chances * share, (totals + chances * gain) * share
        chances, totals = chances * (1 - share), totals * (1 - share)
        chances[1:] += up_chances[:-1]
        totals[1:] += up_totals[:-1]
    return chances, totals


def test_the_walks_agree() -> None:
    plain = ranking.expected_in_group(9, 4, start=3, earlier_hits=2, stop_at_rank=6, stop_at_hit=3)
    chances, totals = fast_walk(9, 4, start=3, earlier_hits=2, n_steps=6, stop_at_hit=3)
    for count in range(4):
        expected = plain.get(count, (0.0, 0.0))
        assert_allclose((chances[count], totals[count]), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("size", "hits", "drawn"), [(9, 4, 5), (60, 1, 59), (40, 40, 13), (8, 3, 0)]
)
def test_hits_among_drawn_are_hypergeometric(size: int, hits: int, drawn: int) -> None:
    counts, chances = hits_among_drawn(np.array([size]), np.array([hits]), np.array([drawn]))
    expected = [
        comb(hits, count) * comb(size - hits, drawn - count) / comb(size, drawn)
        for count in counts[0].tolist()
    ]
    assert_allclose(chances[0], expected, rtol=1e-12, atol=0)
    assert_allclose(chances.sum(), 1, rtol=1e-12, atol=0)


def test_whole_list_without_ties_equals_scikit_learn() -> None:
    generator = np.random.default_rng(3)
    relevant = generator.random((11, 37)) < 0.3
    relevant[:, 5] = True
    expected = [average_precision_score(row, -np.arange(37)) for row in relevant]
    values = average_precision(TieGroups.from_ranking(relevant), convention="standard")
    assert_allclose(values, expected, rtol=1e-12, atol=0)


def test_queries_without_relevant_items() -> None:
    nothing = TieGroups(np.array([[2, 3]]), np.array([[0, 0]]))
    for convention, expected in zip(CONVENTIONS, [0.0, 0.0, 0.0, np.nan], strict=True):
        for ties in ("expected", "optimistic", "pessimistic"):
            value = average_precision(nothing, top_k=3, convention=convention, ties=ties)
            assert_allclose(value, [expected], rtol=0, atol=0)


def test_queries_dont_influence_each_other() -> None:
    generator = np.random.default_rng(5)
    sizes: Counts = generator.multinomial(90, np.ones(7) / 7, size=13)
    hits = generator.integers(0, sizes + 1)
    together = TieGroups(sizes, hits)
    for convention, ties, top_k in itertools.product(
        CONVENTIONS, ("expected", "optimistic", "pessimistic"), (3, 31, None)
    ):
        alone = [
            average_precision(
                TieGroups(sizes[[row]], hits[[row]]), top_k=top_k, convention=convention, ties=ties
            )[0]
            for row in range(13)
        ]
        values = average_precision(together, top_k=top_k, convention=convention, ties=ties)
        assert_allclose(values, alone, rtol=1e-13, atol=0)


def test_refusals() -> None:
    tied = TieGroups(np.array([[2]]), np.array([[1]]))
    with pytest.raises(InputError, match=re.escape("top_k is 0, expected a positive number")):
        average_precision(tied, top_k=0)
    with pytest.raises(
        InputError,
        match=re.escape("ties is database_order, but groups has ties and doesn't know the order"),
    ):
        average_precision(tied, ties="database_order")
    with pytest.raises(
        UnknownNameError,
        match=re.escape(
            "unknown convention 'standart': did you mean 'standard'? Known: answerable, "
            "first_k_relevant, standard, truncated"
        ),
    ):
        average_precision(tied, convention="standart")
    with pytest.raises(ShapeError, match=re.escape("sizes has shape (1, 2), hits has (1, 1)")):
        TieGroups(np.array([[2, 1]]), np.array([[1]]))
    with pytest.raises(InputError, match=re.escape("sizes has rows of different sums")):
        TieGroups(np.array([[2], [3]]), np.array([[1], [1]]))
    with pytest.raises(ShapeError, match=re.escape("is_relevant has shape (2,), expected two")):
        TieGroups.from_ranking([1, 0])
