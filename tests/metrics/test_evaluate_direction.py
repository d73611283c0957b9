import itertools
import json
import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from modalhash.codes import pack
from modalhash.errors import InputError, SettingError, ShapeError, UnknownNameError
from modalhash.metrics import (
    Convention,
    DirectionReport,
    Measure,
    RelevanceRule,
    Ties,
    evaluate_direction,
    evaluate_scores,
    match_items,
    tallies,
)
from tests.oracles import ranking

CONVENTIONS = tuple(convention.value for convention in Convention)
TOP_K = (1, 3, 5, 50, None)


class Made:
    """A small made retrieval problem: signs, labels and targets."""

    def __init__(self, *, n_bits: int, n_queries: int = 5, n_items: int = 7, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        self.n_bits, self.n_queries, self.n_items = n_bits, n_queries, n_items
        # Copies with one bit changed make ties and near neighbours.
        centres = generator.choice([-1, 1], (3, n_bits))
        self.query_signs = centres[generator.integers(0, 3, n_queries)]
        self.database_signs = centres[generator.integers(0, 3, n_items)]
        self.database_signs[np.arange(n_items), generator.integers(0, n_bits, n_items)] *= -1
        self.query_labels = (generator.random((n_queries, 4)) < 0.4).astype(np.uint8)
        self.database_labels = (generator.random((n_items, 4)) < 0.5).astype(np.uint8)
        self.query_labels[-1] = 0
        self.targets = match_items(np.arange(n_queries), generator.integers(0, n_queries, n_items))

    def evaluate(self, **choices: Any) -> DirectionReport:
        return evaluate_direction(
            pack(self.query_signs),
            pack(self.database_signs),
            self.n_bits,
            direction="image_to_text",
            query_labels=self.query_labels,
            database_labels=self.database_labels,
            query_targets=self.targets,
            **choices,
        )

    def distances(self, query: int) -> list[int]:
        mine = self.query_signs[query].tolist()
        return [ranking.hamming(mine, theirs) for theirs in self.database_signs.tolist()]

    def items(self, query: int, relevance: str) -> list[float]:
        """What each database item is to a query: relevant (1) or not, or its gain."""
        mine = self.query_labels[query].tolist()
        if relevance == "pair":
            return [float(row in self.targets[query].tolist()) for row in range(self.n_items)]
        judge: Callable[[list[int]], float] = {
            "shared_label": lambda theirs: float(ranking.in_common(mine, theirs) > 0),
            "jaccard": lambda theirs: float(ranking.jaccard(mine, theirs) >= 0.5),
            "graded": lambda theirs: 2.0 ** ranking.in_common(mine, theirs) - 1,
        }[relevance]
        return [judge(theirs) for theirs in self.database_labels.tolist()]

    def oracle(self, measure: Measure, query: int) -> float:
        """The value of one query by plain loops over every tie order."""
        k = measure.k
        sign = -1.0 if measure.measure in ("mean_rank", "median_rank") else 1.0

        def flags(order: list[float]) -> list[bool]:
            return [item > 0 for item in order]

        plain: dict[str, Callable[[list[float]], float]] = {
            "map": lambda order: ranking.average_precision(
                flags(order), k, str(measure.convention)
            ),
            "precision": lambda order: ranking.precision(flags(order), k or 0),
            "recall": lambda order: (
                ranking.recall(flags(order), k or 0)
                if measure.relevance != "pair"
                else float(any(order[:k]))
                if any(order)
                else float("nan")
            ),
            "ndcg": lambda order: ranking.normalised_gain(order, k),
            "mean_rank": lambda order: -ranking.first_rank(flags(order)),
            "median_rank": lambda order: -ranking.first_rank(flags(order)),
        }
        return sign * ranking.under_ties(
            self.distances(query),
            self.items(query, measure.relevance),
            measure.ties,
            plain[measure.measure],
        )

    def lookup_oracle(self, measure: Measure, query: int) -> float:
        radius = int(str(measure.convention).removeprefix("radius_"))
        items = self.items(query, measure.relevance)
        found = [i for i, d in zip(items, self.distances(query), strict=True) if d <= radius]
        precision = sum(found) / len(found) if found else 0.0
        recall = sum(found) / sum(items) if any(items) else float("nan")
        both = precision + recall
        return {
            "lookup_precision": precision,
            "lookup_recall": recall,
            "lookup_f1": 2 * precision * recall / both if both else 0.0,
            "lookup_empty": float(not found),
        }[measure.measure]


@pytest.mark.parametrize("ties", list(Ties))
@pytest.mark.parametrize("n_bits", [1, 7, 11, 64, 70])
def test_every_number_against_plain_loops(n_bits: int, ties: str) -> None:
    made = Made(n_bits=n_bits, seed=n_bits)
    report = made.evaluate(ties=ties, top_k=TOP_K, conventions=CONVENTIONS, radius=2)
    assert {measure.relevance for measure in report.measures} == {
        rule.value for rule in RelevanceRule
    }
    for measure, values in zip(report.measures, report.per_query, strict=True):
        is_lookup = measure.measure.startswith("lookup")
        assert measure.ties == ("none" if is_lookup else ties)
        oracle = made.lookup_oracle if is_lookup else made.oracle
        expected = np.array([oracle(measure, query) for query in range(made.n_queries)])
        assert_allclose(values, expected, rtol=1e-9, atol=1e-12, err_msg=str(measure))
        counted = expected[~np.isnan(expected)]
        assert measure.n_queries == len(counted)
        middle = np.median if measure.measure == "median_rank" else np.mean
        assert_allclose(measure.value, middle(counted), rtol=1e-9, atol=1e-12)


def test_the_whole_is_the_same_in_any_blocks_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(n_bits=19, n_queries=23, n_items=101)
    for ties in Ties:
        whole = made.evaluate(ties=ties, conventions=CONVENTIONS, top_k=TOP_K, n_threads=1)
        with monkeypatch.context() as patch:
            patch.setattr(tallies, "TILE_PAIRS", 37)
            patch.setattr(tallies, "MOST_BLOCK_ROWS", 3)
            blocked = made.evaluate(ties=ties, conventions=CONVENTIONS, top_k=TOP_K, n_threads=3)
        for mine, theirs in zip(blocked.per_query, whole.per_query, strict=True):
            assert_allclose(mine, theirs, rtol=1e-13, atol=0)


def test_threads_change_no_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(n_bits=19, n_queries=23, n_items=101)
    monkeypatch.setattr(tallies, "MOST_BLOCK_ROWS", 3)
    alone, together = (made.evaluate(conventions=CONVENTIONS, n_threads=n) for n in (1, 3))
    assert alone.measures == together.measures


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 33), st.randoms(use_true_random=False))
def test_the_order_of_the_database_changes_nothing_under_expectation(
    seed: int, n_bits: int, shuffler: Any
) -> None:
    made = Made(n_bits=n_bits, n_items=17, seed=seed)
    report = made.evaluate(conventions=CONVENTIONS, top_k=TOP_K)
    order = list(range(17))
    shuffler.shuffle(order)
    place = np.argsort(order)
    made.database_signs = made.database_signs[order]
    made.database_labels = made.database_labels[order]
    made.targets = np.where(made.targets >= 0, place[made.targets], -1)
    shuffled = made.evaluate(conventions=CONVENTIONS, top_k=TOP_K)
    for mine, theirs in zip(shuffled.per_query, report.per_query, strict=True):
        assert_allclose(mine, theirs, rtol=1e-12, atol=0)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 17))
def test_every_number_lies_between_its_extremes(seed: int, n_bits: int) -> None:
    made = Made(n_bits=n_bits, n_items=29, seed=seed)
    reports = [
        made.evaluate(ties=ties, conventions=CONVENTIONS, top_k=TOP_K)
        for ties in ("pessimistic", "expected", "database_order", "optimistic")
    ]
    for place, measure in enumerate(reports[0].measures):
        values = [report.per_query[place] for report in reports]
        if "rank" in measure.measure:
            values = [-ranks for ranks in values]
        low, mean, stable, high = (np.nan_to_num(array) for array in values)
        assert (low <= mean + 1e-12).all()
        assert (mean <= high + 1e-12).all()
        assert (low <= stable + 1e-12).all()
        assert (stable <= high + 1e-12).all()


def test_flipping_a_bit_of_every_code_changes_nothing() -> None:
    made = Made(n_bits=12)
    report = made.evaluate()
    made.query_signs[:, 5] *= -1
    made.database_signs[:, 5] *= -1
    assert made.evaluate().measures == report.measures


def test_curves_are_the_measures_at_each_cutoff() -> None:
    made = Made(n_bits=9, n_items=31)
    for ties in Ties:
        report = made.evaluate(ties=ties)
        by_rank = {curve.relevance: curve for curve in report.curves if curve.by == "rank"}
        by_radius = {curve.relevance: curve for curve in report.curves if curve.by == "radius"}
        assert set(by_rank) == set(by_radius) == {"shared_label", "jaccard", "pair"}
        assert by_rank["jaccard"].cutoffs.tolist() == [*range(1, 11), 20, 30, 31]
        assert by_radius["jaccard"].cutoffs.tolist() == list(range(10))
        for place, k in enumerate(by_rank["jaccard"].cutoffs.tolist()):
            at_k = made.evaluate(ties=ties, top_k=(k,))
            for name in ("precision", "recall"):
                assert_allclose(
                    getattr(by_rank["jaccard"], name)[place],
                    at_k.find(name, k=k, relevance="jaccard").value,
                    rtol=1e-12,
                    atol=0,
                )
    for radius in range(10):
        at_radius = made.evaluate(radius=radius)
        for name in ("precision", "recall"):
            assert_allclose(
                getattr(by_radius["shared_label"], name)[radius],
                at_radius.find(f"lookup_{name}", relevance="shared_label").value,
                rtol=1e-12,
                atol=0,
            )
        assert by_radius["shared_label"].ties == "none"


def test_a_cutoff_beyond_the_database_is_the_whole_list() -> None:
    report = Made(n_bits=8).evaluate(top_k=(5000, None), relevances=["shared_label"])
    beyond, whole = report.find("map", k=5000), report.find("map")
    assert (beyond.k, beyond.effective_k, whole.k, whole.effective_k) == (5000, 7, None, 7)
    assert beyond.value == whole.value


def test_exact_codes_find_their_pair_first() -> None:
    signs = [[1, 1, 1, 1], [1, -1, 1, -1], [-1, -1, 1, 1]]
    report = evaluate_direction(
        pack(signs), pack(signs), 4, direction="text_to_image", query_targets=[0, 1, 2]
    )
    assert [m.measure for m in report.measures] == [
        *["map"] * 3,
        *["recall"] * 3,
        "median_rank",
        "mean_rank",
    ]
    assert [m.value for m in report.measures] == [1.0] * 8
    assert {m.relevance for m in report.measures} == {"pair"}
    assert {(m.direction, m.n_queries, m.n_database) for m in report.measures} == {
        ("text_to_image", 3, 3)
    }


def test_queries_without_targets_leave_recall_by_pair() -> None:
    signs = [[1, 1], [-1, -1]]
    report = evaluate_direction(
        pack(signs), pack(signs), 2, direction="image_to_text", query_targets=[[0], [-1]]
    )
    assert report.find("recall", k=1).n_queries == 1
    assert report.find("recall", k=1).value == 1.0
    assert report.find("mean_rank").value == 1.0


def test_nothing_relevant_at_all() -> None:
    signs, labels = [[1, 1], [-1, -1]], [[0], [0]]
    report = evaluate_direction(
        pack(signs),
        pack(signs),
        2,
        direction="image_to_image",
        query_labels=labels,
        database_labels=labels,
        conventions=CONVENTIONS,
        n_resamples=10,
        top_k=(1, None),
    )
    assert report.find("map", relevance="jaccard", convention="standard").value == 0
    answerable = report.find("map", relevance="jaccard", convention="answerable")
    assert np.isnan(answerable.value)
    assert answerable.n_queries == 0
    assert np.isnan(report.find("recall", relevance="jaccard", k=1).value)
    assert report.find("ndcg").value == 0


def test_scores_give_what_codes_give() -> None:
    made = Made(n_bits=10, n_queries=13, n_items=37)
    distances = np.array([made.distances(query) for query in range(made.n_queries)])
    for ties in Ties:
        report = made.evaluate(ties=ties, conventions=CONVENTIONS, top_k=TOP_K)
        for scores in (-distances, lambda queries: -0.5 * distances[queries]):
            ranked = evaluate_scores(
                scores,
                made.n_queries,
                made.n_items,
                direction="image_to_text",
                query_labels=made.query_labels,
                database_labels=made.database_labels,
                query_targets=made.targets,
                ties=ties,
                conventions=CONVENTIONS,
                top_k=TOP_K,
            )
            assert ranked.n_bits is None
            there = [m for m in report.measures if not m.measure.startswith("lookup")]
            assert len(ranked.measures) == len(there)
            for measure, values in zip(ranked.measures, ranked.per_query, strict=True):
                assert_allclose(
                    values,
                    report.values(
                        measure.measure,
                        relevance=measure.relevance,
                        k=measure.k,
                        convention=measure.convention,
                    ),
                    rtol=1e-12,
                    atol=1e-15,
                )
            assert [curve.by for curve in ranked.curves] == ["rank"] * 3


def test_scores_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(0).normal(size=(11, 13))
    whole = evaluate_scores(scores, 11, 13, direction="text_to_text", query_targets=range(11))
    monkeypatch.setattr(tallies, "SORTED_PAIRS", 2 * 13)
    blocked = evaluate_scores(scores, 11, 13, direction="text_to_text", query_targets=range(11))
    assert blocked.measures == whole.measures


def test_scores_of_any_real_dtype() -> None:
    for dtype in (np.uint8, np.int16, np.float32):
        scores = np.array([[2, 9, 0], [7, 0, 1]], dtype)
        report = evaluate_scores(scores, 2, 3, direction="text_to_text", query_targets=[2, 0])
        assert_allclose(report.values("mean_rank"), [3, 1], rtol=0, atol=0)


def test_bad_scores() -> None:
    choices: dict[str, Any] = {"direction": "text_to_text", "query_targets": [0, 1]}
    with pytest.raises(
        ShapeError,
        match=re.escape(
            "scores has shape (2, 4), expected (n_queries, n_database), which is (2, 3)"
        ),
    ):
        evaluate_scores(np.ones((2, 4)), 2, 3, **choices)
    with pytest.raises(
        ShapeError,
        match=re.escape(
            "scores of queries 0 to 2 are float64 of shape (3, 2), "
            "expected real numbers of shape (2, 3)"
        ),
    ):
        evaluate_scores(lambda queries: np.ones((3, 2)), 2, 3, **choices)
    with pytest.raises(
        InputError, match=re.escape("scores of queries 0 to 1 hold NaN, which has no rank")
    ):
        evaluate_scores([[np.nan]], 1, 1, direction="text_to_text", query_targets=[0])


def test_intervals_hold_the_value_and_come_back_with_the_seed() -> None:
    made = Made(n_bits=16, n_queries=40, n_items=50)
    first, again = (made.evaluate(n_resamples=200, seed=3) for _ in range(2))
    other = made.evaluate(n_resamples=200, seed=4)
    assert first.measures == again.measures
    assert first.measures != other.measures
    for measure in first.measures:
        assert measure.interval is not None
        assert measure.interval[0] <= measure.value <= measure.interval[1]
    assert made.evaluate().measures[0].interval is None


def test_a_measure_becomes_json() -> None:
    measure = Made(n_bits=8).evaluate(top_k=(50,), relevances=["pair"]).measures[0]
    assert json.loads(json.dumps(asdict(measure))) == {
        "measure": "map",
        "value": measure.value,
        "direction": "image_to_text",
        "k": 50,
        "convention": "truncated",
        "ties": "expected",
        "relevance": "pair",
        "n_queries": measure.n_queries,
        "n_database": 7,
        "interval": None,
        "scoring": "hamming",
    }


def test_finding_a_number() -> None:
    report = Made(n_bits=8).evaluate(top_k=(3,), relevances=["shared_label", "jaccard"])
    found = report.find("precision", k=3, relevance="jaccard")
    assert (found.measure, found.k, found.relevance) == ("precision", 3, "jaccard")
    with pytest.raises(
        InputError,
        match=re.escape("2 measures fit 'precision' with k=3, convention=None, relevance=None"),
    ):
        report.find("precision", k=3)
    with pytest.raises(InputError, match=re.escape("0 measures fit 'map' with k=50")):
        report.find("map", k=50)


def test_inputs_are_not_changed() -> None:
    made = Made(n_bits=9)
    kept: list[NDArray[Any]] = [made.query_labels.copy(), made.database_labels.copy()]
    kept.append(made.targets.copy())
    made.evaluate()
    for mine, before in zip(
        (made.query_labels, made.database_labels, made.targets), kept, strict=True
    ):
        assert_array_equal(mine, before)


CODES = pack([[1, 1, 1], [1, -1, 1]])


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        (
            {"query_codes": CODES[:0], "query_targets": np.zeros(0, int)},
            InputError,
            "there are 0 queries and 2 database items, expected one of each at least",
        ),
        (
            {"n_bits": 12},
            ShapeError,
            (
                "query_codes has 1 bytes per row, 12 bits take 2: "
                "check the number of bits it was made with"
            ),
        ),
        (
            {"database_codes": np.array([[255]], np.uint8)},
            ShapeError,
            (
                "database_codes has bits set beyond 3: "
                "it was packed from the high end, or made with more bits"
            ),
        ),
        (
            {"query_targets": None},
            InputError,
            "nothing says what is relevant: give labels, or query_targets, or both",
        ),
        (
            {"query_labels": [[1], [0]]},
            InputError,
            "query_labels is given without database_labels: relevance by labels needs both",
        ),
        (
            {"database_labels": [[1], [0]]},
            InputError,
            "database_labels is given without query_labels: relevance by labels needs both",
        ),
        (
            {"relevances": ["jaccard"]},
            InputError,
            "relevance 'jaccard' needs labels, which aren't given",
        ),
        (
            {
                "query_targets": None,
                "query_labels": [[1], [0]],
                "database_labels": [[1], [1]],
                "relevances": ["pair"],
            },
            InputError,
            "relevance 'pair' needs query_targets, which aren't given",
        ),
        (
            {"direction": "image2text"},
            UnknownNameError,
            (
                "unknown direction 'image2text': did you mean 'image_to_text'? "
                "Known: image_to_image, image_to_text, text_to_image, text_to_text"
            ),
        ),
        (
            {"ties": "stable"},
            UnknownNameError,
            "unknown tie rule 'stable'; known: database_order, expected, optimistic, pessimistic",
        ),
        ({"top_k": (0,)}, SettingError, "top_k is (0,), expected positive numbers or None"),
        (
            {"top_k": (10**23,)},
            SettingError,
            f"top_k is ({10**23},), expected 2147483647 at most, or None for the whole list",
        ),
        ({"n_resamples": 10**20}, SettingError, f"n_resamples is {10**20}, expected 0 to 1000000"),
        ({"seed": -1}, SettingError, "seed is -1, expected 0 to 4294967295"),
        ({"radius": -1}, SettingError, "radius is -1, expected 0 or more"),
        (
            {"jaccard_threshold": 0.0},
            SettingError,
            "jaccard_threshold is 0.0, expected in (0, 1]",
        ),
        (
            {"topk": (1,)},
            UnknownNameError,
            (
                "unknown measure setting 'topk': did you mean 'top_k'? Known: conventions, gain, "
                "jaccard_threshold, level, n_resamples, n_threads, radius, recall_at, relevances, "
                "seed, ties, top_k"
            ),
        ),
    ],
)
def test_refusals(changes: dict[str, Any], kind: type[Exception], message: str) -> None:
    arguments: dict[str, Any] = {
        "query_codes": CODES,
        "database_codes": CODES,
        "n_bits": 3,
        "direction": "image_to_text",
        "query_targets": [0, 1],
    }
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        evaluate_direction(**(arguments | changes))


def test_the_four_formulas_and_tie_rules_differ_where_they_should() -> None:
    made = Made(n_bits=5, n_queries=11, n_items=61)
    values = {
        (convention, ties): made.evaluate(
            ties=ties, conventions=[convention], top_k=(30,), relevances=["shared_label"]
        )
        .find("map", k=30)
        .value
        for convention, ties in itertools.product(CONVENTIONS, Ties)
    }
    assert len({round(value, 9) for value in values.values()}) == len(values)
