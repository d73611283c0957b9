"""What every kind of index must do with relaxed queries, which keep their numbers."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from modalhash.codes import Codes, Signs, binarise, pack, unpack
from modalhash.errors import InputError, ShapeError
from modalhash.index import HashIndex, Hits, RadiusHits, open_index
from modalhash.index import build_index as build_index_of_kind
from tests.oracles.contract_kinds import APPROXIMATE, INDEX_KINDS
from tests.oracles.plain_relaxed_search import plain_relaxed_ranking, plain_score, plain_units
from tests.oracles.plain_search import plain_distance

pytestmark = pytest.mark.parametrize("kind", INDEX_KINDS)

PARAMETERS: dict[str, dict[str, Any]] = {"ivf": {"n_cells": 2, "n_probes": 2}}
"""With these, a kind that is approximate by default misses nothing."""
ROUNDING = 512 / 2**24
"""Scores are of numbers that were rounded to units; of up to 512 bits here."""
BITS = [1, 2, 7, 8, 9, 12, 16, 31, 32, 33, 64, 65, 100, 128, 256, 511, 512]


def build_index(ids: Any, codes: Codes, n_bits: int, *, kind: str, **given: Any) -> HashIndex:
    """Build an index of a kind so that it misses nothing."""
    return build_index_of_kind(
        ids, codes, n_bits, kind=kind, parameters=PARAMETERS.get(kind), **given
    )


def random_signs(n: int, n_bits: int, seed: int, n_distinct: int | None = None) -> Signs:
    generator = np.random.default_rng(seed)
    distinct = generator.choice(np.array([-1, 1], np.int8), size=(n_distinct or n, n_bits))
    return distinct if n_distinct is None else distinct[generator.integers(0, n_distinct, n)]


def random_queries(n: int, n_bits: int, seed: int) -> NDArray[np.float32]:
    """Draw numbers of which some are much larger than others."""
    generator = np.random.default_rng(seed)
    numbers = generator.standard_normal((n, n_bits)) ** 3
    return numbers.astype(np.float32)


def assert_same(kind: str, hits: Hits | RadiusHits, others: Hits | RadiusHits) -> None:
    """Compare answers; approximate kinds promise no order among items of one score."""
    assert hits.scores is not None
    assert others.scores is not None
    np.testing.assert_array_equal(hits.scores, others.scores)
    if kind not in APPROXIMATE:
        np.testing.assert_array_equal(hits.ids, others.ids)
        np.testing.assert_array_equal(hits.distances, others.distances)
    if isinstance(hits, RadiusHits) and isinstance(others, RadiusHits):
        np.testing.assert_array_equal(hits.starts, others.starts)


# --- right answers -----------------------------------------------------------------------------


def test_answers_worked_out_by_hand(kind: str) -> None:
    codes = pack([[1, 1, 1, 1], [1, 1, 1, -1], [-1, -1, -1, -1], [1, 1, -1, 1]])
    index = build_index(["all", "last", "none", "third"], codes, 4, kind=kind)
    # Of 16 units the last bit has 8, as many as the other three together.
    hits = index.search(np.array([[2.0, 4.0, 2.0, 8.0], [0.0, -4.0, -4.0, -8.0]]), 3)
    assert hits.ids.tolist() == [["all", "third", "last"], ["none", "last", "third"]]
    assert hits.distances.tolist() == [[0, 1, 1], [1, 2, 2]]
    assert hits.scores is not None
    assert hits.scores.dtype == np.float32
    expected = [[1, 1 - 2 * 2 / 16, 1 - 2 * 8 / 16], [1, 1 - 2 * 8 / 16, 1 - 2 * 12 / 16]]
    np.testing.assert_allclose(hits.scores, expected, rtol=0, atol=4 / 2**24)
    near = index.search_radius(np.array([[2.0, 4.0, 2.0, 8.0]]), min_score=0.7)
    assert (near.starts.tolist(), near.ids.tolist()) == ([0, 2], ["all", "third"])
    assert near.distances.tolist() == [0, 1]


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 40),
    n_queries=st.integers(1, 4),
    n_bits=st.sampled_from(BITS),
    n_distinct=st.sampled_from([None, 1, 3]),
    k=st.integers(1, 50),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_the_plain_search_ids_included(
    kind: str, n: int, n_queries: int, n_bits: int, n_distinct: int | None, k: int, seed: int
) -> None:
    codes = pack(random_signs(n, n_bits, seed, n_distinct))
    queries = random_queries(n_queries, n_bits, seed + 1)
    ids = [f"item {row}" for row in range(n)][::-1]
    index = build_index(ids, codes, n_bits, kind=kind)
    hits = index.search(queries, k)
    assert hits.distances.shape == hits.ids.shape == (n_queries, min(k, n))
    assert hits.distances.dtype == np.int32
    for query in range(n_queries):
        ranking_of_all = plain_relaxed_ranking(queries[query], codes)
        ranking = ranking_of_all[:k]
        positions = [position for _, position in ranking]
        if index.is_exact_relaxed:
            assert hits.ids[query].tolist() == [ids[position] for position in positions]
        else:  # of items of one score, a shortlist keeps those of the smaller Hamming distance
            units = {ids[position]: unit for unit, position in ranking_of_all}
            assert [units[item_id] for item_id in hits.ids[query]] == [u for u, _ in ranking]
            positions = [ids.index(item_id) for item_id in hits.ids[query].tolist()]
        signs = pack(binarise(queries[query : query + 1]))[0]
        distances = [plain_distance(signs, codes[position]) for position in positions]
        assert hits.distances[query].tolist() == distances
        scores = [plain_score(queries[query], codes[position]) for position in positions]
        one = hits[query]
        assert one.scores is not None
        assert one.scores.dtype == np.float32
        np.testing.assert_allclose(one.scores, scores, rtol=0, atol=ROUNDING)


@settings(max_examples=8, deadline=None)
@given(
    n_bits=st.sampled_from(BITS),
    radius=st.integers(0, 40),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_score_that_an_item_has_includes_it_and_all_better_ones(
    kind: str, n_bits: int, radius: int, share: float, seed: int
) -> None:
    codes = pack(random_signs(30, n_bits, seed, n_distinct=20))
    queries = random_queries(3, n_bits, seed + 1)
    index = build_index(np.arange(30), codes, n_bits, kind=kind)
    hits = index.search(queries, 30)
    assert hits.scores is not None
    limit = float(hits.scores[0, int(share * 29)])
    near = index.search_radius(queries, min_score=limit)
    both = index.search_radius(queries, radius, min_score=limit)
    ball = index.search_radius(queries, radius)
    for query in range(3):
        is_good, is_near = hits.scores[query] >= limit, hits.distances[query] <= radius
        for one, is_hit in ((near, is_good), (both, is_good & is_near), (ball, is_near)):
            assert one[query].ids.tolist() == hits.ids[query][is_hit].tolist()
            assert one[query].distances.tolist() == hits.distances[query][is_hit].tolist()
            scores = one[query].scores
            assert scores is not None
            assert scores.tolist() == hits.scores[query][is_hit].tolist()
    assert len(index.search_radius(queries, min_score=1.01).ids) == 0
    assert len(index.search_radius(queries, min_score=-1).ids) == 3 * 30


# --- laws --------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(n_bits=st.sampled_from(BITS), seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([1, 7]))
def test_signs_as_relaxed_queries_rank_as_hamming_does(
    kind: str, n_bits: int, seed: int, scale: int
) -> None:
    codes = pack(random_signs(60, n_bits, seed, n_distinct=40))
    signs = random_signs(4, n_bits, seed + 1)
    index = build_index(np.arange(60), codes, n_bits, kind=kind)
    relaxed, packed = (
        index.search(scale * signs.astype(np.float32), 60),
        index.search(pack(signs), 60),
    )
    np.testing.assert_array_equal(relaxed.ids, packed.ids)
    np.testing.assert_array_equal(relaxed.distances, packed.distances)
    assert packed.scores is None
    assert packed[0].scores is None
    assert relaxed.scores is not None
    np.testing.assert_array_equal(
        relaxed.scores, ((n_bits - 2 * packed.distances) / n_bits).astype(np.float32)
    )


@settings(max_examples=8, deadline=None)
@given(n_bits=st.sampled_from([5, 8, 24, 64, 77]), seed=st.integers(0, 2**32 - 1))
def test_flipping_bits_and_signs_permuting_bits_and_doubling_change_nothing(
    kind: str, n_bits: int, seed: int
) -> None:
    signs, queries = random_signs(60, n_bits, seed), random_queries(5, n_bits, seed + 1)
    mask = random_signs(1, n_bits, seed + 2)
    order = np.random.default_rng(seed).permutation(n_bits)
    plain = build_index(np.arange(60), pack(signs), n_bits, kind=kind)
    flipped = build_index(np.arange(60), pack(signs * mask), n_bits, kind=kind)
    permuted = build_index(np.arange(60), pack(signs[:, order]), n_bits, kind=kind)
    hits = plain.search(queries, 20)
    assert_same(kind, hits, flipped.search(queries * mask, 20))
    assert_same(kind, hits, permuted.search(queries[:, order], 20))
    assert_same(kind, hits, plain.search(queries * 2.0**-30, 20))
    assert_same(kind, hits, plain.search(queries.astype(np.float64) * 2.0**300, 20))


def test_zeros_score_nothing_and_come_in_order_of_insertion(kind: str) -> None:
    codes = pack([[1, 1, 1], [1, 1, 1], [-1, -1, -1]])
    index = build_index(["a", "b", "c"], codes, 3, kind=kind)
    hits = index.search(np.zeros((1, 3), np.float32), 3)
    assert (hits.ids.tolist(), hits.distances.tolist()) == ([["a", "b", "c"]], [[0, 0, 3]])
    assert hits.scores is not None
    assert hits.scores.tolist() == [[0, 0, 0]]
    one_number = index.search(np.array([[0.0, -0.0, -1e-300]]), 3)
    assert (one_number.ids.tolist(), one_number.distances.tolist()) == (
        [["c", "a", "b"]],
        [[2, 1, 1]],
    )
    assert one_number.scores is not None
    assert one_number.scores.tolist() == [[1, -1, -1]]


def test_one_query_answers_as_in_a_batch(kind: str) -> None:
    codes = pack(random_signs(3000, 16, 3, n_distinct=40))
    queries = random_queries(20, 16, 4)
    index = build_index(np.arange(3000), codes, 16, kind=kind)
    exact = build_index(np.arange(3000), codes, 16, kind="exact")
    batch = index.search(queries, 25)
    assert batch.scores is not None
    if index.is_exact_relaxed:
        assert_same(kind, batch, exact.search(queries, 25))
    for query in range(20):
        one = index.search(queries[query : query + 1], 25)
        if kind not in APPROXIMATE:
            np.testing.assert_array_equal(one.ids[0], batch.ids[query])
        assert one.scores is not None
        np.testing.assert_array_equal(one.scores[0], batch.scores[query])


@settings(max_examples=8, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 30), max_size=4),
    gone=st.sets(st.integers(0, 29), max_size=20),
    changed=st.sets(st.integers(0, 29), max_size=5),
    seed=st.integers(0, 2**32 - 1),
)
def test_chunks_deletions_and_upserts_equal_a_rebuild(
    kind: str, cuts: list[int], gone: set[int], changed: set[int], seed: int
) -> None:
    codes = pack(random_signs(30, 20, seed, n_distinct=10))
    queries = random_queries(4, 20, seed + 1)
    index = build_index([], codes[:0], 20, kind=kind)
    for start, end in pairwise([0, *sorted(cuts), 30]):
        index.add(list(range(start, end)), codes[start:end])
    index.delete(sorted(gone))
    renewed = sorted(changed - gone)
    if renewed:
        index.upsert(renewed, codes[::-1][renewed])
    kept = [row for row in range(30) if row not in gone and row not in renewed]
    current = np.concatenate([codes[kept], codes[::-1][renewed]])
    rebuilt = build_index([*kept, *renewed], current, 20, kind=kind)
    if len(rebuilt):
        assert_same(kind, index.search(queries, 12), rebuilt.search(queries, 12))
        near = index.search_radius(queries, min_score=0.2)
        assert_same(kind, near, rebuilt.search_radius(queries, min_score=0.2))
    else:
        hits = index.search(queries, 12)
        assert hits.scores is not None
        assert hits.ids.shape == hits.scores.shape == (4, 0)


def test_filters_answer_as_an_index_of_the_items_that_pass(kind: str, tmp_path: Path) -> None:
    codes = pack(random_signs(200, 24, 5, n_distinct=90))
    metadata = [{"year": 2000 + row % 10, "row": row} for row in range(200)]
    queries = random_queries(6, 24, 6)
    index = build_index(np.arange(200), codes, 24, metadata=metadata, kind=kind)
    index.delete([3, 13])
    index.save(tmp_path)
    for years in ({2003}, {2001, 2003, 2004, 2005, 2006, 2007, 2008, 2009}):
        rows = [row for row in range(200) if 2000 + row % 10 in years and row not in {3, 13}]
        passing = build_index(rows, codes[rows], 24, kind=kind)
        where = " or ".join(f"year = {year}" for year in sorted(years))
        for one in (index, open_index(tmp_path)):
            hits = one.search(queries, 7, where, with_metadata=True)
            assert_same(kind, hits, passing.search(queries, 7))
            assert hits.metadata is not None
            assert [[found["row"] for found in row] for row in hits.metadata] == hits.ids.tolist()
            near = one.search_radius(queries, where=where, min_score=0.3, with_metadata=True)
            assert_same(kind, near, passing.search_radius(queries, min_score=0.3))
            assert near.metadata is not None
            assert [found["row"] for found in near.metadata] == near.ids.tolist()


def test_saved_and_opened_it_answers_alike(kind: str, tmp_path: Path) -> None:
    codes = pack(random_signs(500, 37, 7, n_distinct=300))
    queries = random_queries(5, 37, 8)
    index = build_index(np.arange(300), codes[:300], 37, kind=kind)
    index.save(tmp_path)
    with open_index(tmp_path) as opened:
        assert_same(kind, opened.search(queries, 9), index.search(queries, 9))
        for one in (index, opened):
            one.add(np.arange(300, 500), codes[300:])
            one.delete([7, 8, 400])
        assert_same(kind, opened.search(queries, 9), index.search(queries, 9))
    with open_index(tmp_path) as again:
        assert_same(kind, again.search(queries, 9), index.search(queries, 9))
        near = again.search_radius(queries, min_score=0.4)
        assert_same(kind, near, index.search_radius(queries, min_score=0.4))


def test_equal_units_are_equal_scores_and_fall_to_insertion(kind: str) -> None:
    """Copies of few codes: an exact kind orders them by insertion, wherever they were added."""
    signs = random_signs(400, 9, 9, n_distinct=6)
    queries = random_queries(3, 9, 10)
    index = build_index(np.arange(250), pack(signs[:250]), 9, kind=kind)
    index.add(np.arange(250, 400), pack(signs[250:]))
    hits = index.search(queries, 399)
    for query in range(0 if kind in APPROXIMATE else 3):
        ranking = plain_relaxed_ranking(queries[query], pack(signs), plain_units(queries[query]))
        assert hits.ids[query].tolist() == [position for _, position in ranking[:399]]


# --- empty and edge ----------------------------------------------------------------------------


def test_empty_indexes_and_no_queries(kind: str) -> None:
    empty = build_index([], np.empty((0, 2), np.uint8), 12, kind=kind)
    hits = empty.search(np.ones((3, 12), np.float32), 5)
    assert hits.scores is not None
    assert hits.ids.shape == hits.distances.shape == hits.scores.shape == (3, 0)
    near = empty.search_radius(np.ones((3, 12)), min_score=0)
    assert near.starts.tolist() == [0, 0, 0, 0]
    index = build_index([1, 2], pack(random_signs(2, 12, 1)), 12, kind=kind)
    nothing = index.search(np.ones((0, 12)), 5)
    assert nothing.scores is not None
    assert nothing.ids.shape == nothing.scores.shape == (0, 2)
    assert index.search_radius(np.ones((0, 12)), min_score=0).starts.tolist() == [0]


def test_queries_may_be_any_view_and_any_precision(kind: str) -> None:
    codes = pack(random_signs(50, 24, 10))
    index = build_index(np.arange(50), codes, 24, kind=kind)
    queries = random_queries(10, 24, 11)
    assert_same(
        kind, index.search(np.asfortranarray(queries)[::-2], 3), index.search(queries[::-2], 3)
    )
    halves = queries.astype(np.float16)
    assert_same(kind, index.search(halves, 3), index.search(halves.astype(np.float64), 3))  # type: ignore[arg-type]
    before = queries.copy()
    index.search(queries, 3)
    np.testing.assert_array_equal(queries, before)


# --- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("queries", "error", "message"),
    [
        (
            np.ones((2, 16), np.float32),
            ShapeError,
            (
                "queries have 16 numbers a row, the codes have 128 bits: encode with a model of "
                "128 bits, or take its first 128 numbers if its codes were cut so"
            ),
        ),
        (
            np.ones(128),
            ShapeError,
            "queries is float64 of shape (128,), expected floats of shape (q, 128)",
        ),
        (
            np.concatenate([np.ones((1, 128)), np.full((1, 128), np.nan)]),
            InputError,
            (
                "queries hold NaN or infinity, first in row 1: check the features and the model, "
                "or search with packed codes"
            ),
        ),
        (
            np.full((1, 128), -np.inf),
            InputError,
            (
                "queries hold NaN or infinity, first in row 0: check the features and the model, "
                "or search with packed codes"
            ),
        ),
    ],
)
def test_queries_that_do_not_fit_are_refused(
    kind: str, queries: NDArray[Any], error: type[Exception], message: str
) -> None:
    index = build_index(["a", "b", "c"], pack(random_signs(3, 128, 11)), 128, kind=kind)
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        index.search(queries, 1)
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        index.search_radius(queries, min_score=0.5)


def test_limits_that_a_search_cannot_have_are_refused(kind: str) -> None:
    index = build_index(["a"], pack([[1, 1, 1]]), 3, kind=kind)
    relaxed, packed = np.ones((1, 3)), pack([[1, 1, 1]])
    message = "k is 0, expected at least 1"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        index.search(relaxed, 0)
    message = "radius is -1, expected 0 or more"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        index.search_radius(relaxed, -1)
    message = (
        "min_score is 0.5, but the queries are packed codes, which have distances and no scores: "
        "give a radius, or relaxed queries (q, n_bits) of floats"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        index.search_radius(packed, 1, min_score=0.5)
    message = "min_score is nan, expected a number from -1 to 1"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        index.search_radius(relaxed, min_score=float("nan"))
    for queries, ways in ((packed, "a radius"), (relaxed, "a radius or a min_score")):
        message = f"the search has no limit: give {ways}, or search for the k nearest"
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            index.search_radius(queries)


def test_the_codes_of_hits_have_the_distances_and_scores_that_are_stated(kind: str) -> None:
    signs = random_signs(2000, 48, 12)
    queries = random_queries(5, 48, 13)
    index = build_index(np.arange(2000), pack(signs), 48, kind=kind)
    hits = index.search(queries, 10)
    assert hits.scores is not None
    assert (np.diff(hits.scores, axis=1) <= 0).all()
    for query in range(5):
        codes = index.reconstruct(hits.ids[query])
        own = unpack(codes, 48).astype(np.float64)
        numbers = queries[query].astype(np.float64)
        np.testing.assert_allclose(
            hits.scores[query], own @ numbers / np.abs(numbers).sum(), rtol=0, atol=ROUNDING
        )
        differing = (own != binarise(queries[query : query + 1])).sum(axis=1)
        assert hits.distances[query].tolist() == differing.tolist()
