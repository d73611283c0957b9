import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from modalhash.codes import hamming_distances, pack
from modalhash.errors import InputError, ShapeError
from modalhash.index.rerank import (
    ByteFeatures,
    FeatureScorer,
    FineBooks,
    FineScorer,
    RelaxedScorer,
    RerankScore,
    Scorer,
    default_shortlist,
    rerank,
    shortlist_length,
)

Floats = NDArray[np.float32]


def normal(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def made_books(**changes: Any) -> FineBooks:
    values: dict[str, Any] = {"code_weight": 0.25, "fine_weight": 0.75, "n_parts": 2}
    return FineBooks(normal(6, 5, 3, seed=9), **(values | changes))


def made_fine(n: int, seed: int = 1) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 5, (n, 6)).astype(np.uint8)


def hamming_order(
    query: NDArray[Any], codes: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    distances = hamming_distances(query, codes)[0]
    order = np.argsort(distances, kind="stable")
    return order, distances[order]


def test_tables_give_the_inner_product_with_the_decoded_vector() -> None:
    books, queries, fine = made_books(n_parts=1), normal(4, 6, 3), made_fine(20)
    decoded = books.decode(fine)
    for query in range(4):
        found = books.similarity(books.tables(queries[query : query + 1])[0], fine)
        for item in range(20):
            plain = sum(
                float(queries[query, s, w]) * float(decoded[item, s, w])
                for s in range(6)
                for w in range(3)
            )
            assert_allclose(found[item], plain, rtol=0, atol=1e-5)


def test_the_fused_score_by_hand() -> None:
    books = FineBooks(
        np.array([[[1.0, 0.0], [0.0, 2.0]], [[3.0, 0.0], [0.0, 4.0]]], np.float32),
        code_weight=0.2,
        fine_weight=0.8,
        n_parts=2,
    )
    queries = np.array([[[1.0, 10.0], [100.0, 1000.0]]], np.float32)
    fine = np.array([[0, 1], [1, 0]], np.uint8)
    items, distances = np.array([0, 1]), np.array([0, 4], np.int32)
    local = np.array([(1 + 4000) / 2, (20 + 300) / 2])
    scores = FineScorer(books, queries, fine, n_bits=16, score=RerankScore.LOCAL)
    assert_allclose(scores(0, items, distances), local, rtol=1e-6)
    fused = FineScorer(books, queries, fine, n_bits=16)
    expected = 0.2 * np.array([1, 1 - 8 / 16]) + 0.8 * local
    assert_allclose(fused(0, items, distances), expected, rtol=1e-6)
    assert books.n_bits == 2
    assert made_books().n_bits == 6 * 3  # five codewords take three bits


@pytest.mark.parametrize("length", [0, 1, 3, 7, 12])
def test_only_the_first_positions_are_permuted(length: int) -> None:
    codes, query = pack(np.sign(normal(12, 11) + 1e-9)), pack(np.sign(normal(1, 11, seed=3)))
    scorer = FineScorer(made_books(), normal(1, 6, 3, seed=4), made_fine(12), n_bits=11)
    order, distances = hamming_order(query, codes)
    found, scores = rerank(order[:length], distances[:length], scorer)
    assert sorted(found) == sorted(order[:length])
    assert_array_equal(scores, np.sort(scores)[::-1])
    if length == 12:
        everything = scorer(0, np.arange(12), hamming_distances(query, codes)[0])
        assert_array_equal(found, np.argsort(-everything, kind="stable"))


def test_equal_scores_keep_the_order_of_distance() -> None:
    def level(query: int, items: NDArray[np.int64], distances: NDArray[np.int32]) -> Floats:
        return np.zeros(len(items), np.float32)

    items = np.array([5, 2, 9, 0])
    found, _ = rerank(items, np.array([0, 1, 1, 3], np.int32), level)
    assert_array_equal(found, items)


@pytest.mark.parametrize(
    ("wanted", "n_items", "expected"),
    [
        ("auto", 100, 100),
        ("auto", 6_000, 500),
        ("auto", 40_000, 2_000),
        ("auto", 10**6, 5_000),
        ("all", 77, 77),
        (0, 10, 0),
        ("25", 10, 10),
        (7, 10, 7),
    ],
)
def test_shortlists(wanted: int | str, n_items: int, expected: int) -> None:
    assert shortlist_length(wanted, n_items) == expected
    assert default_shortlist(n_items) >= 500


@pytest.mark.parametrize("wanted", [-1, "many", 0.5, "-3"])
def test_what_is_no_shortlist(wanted: Any) -> None:
    message = f"rerank is {wanted!r}, expected a number of items, 0 or more, or auto, or all"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        shortlist_length(wanted, 10)


@given(
    n_bits=st.integers(1, 40),
    n_items=st.integers(1, 12),
    offset=st.integers(0, 3),
    seed=st.integers(0, 1000),
)
def test_relaxed_queries_against_loops(n_bits: int, n_items: int, offset: int, seed: int) -> None:
    signs = np.where(normal(n_items + offset, n_bits, seed=seed) >= 0, 1, -1)
    codes = pack(signs)[offset:]  # rows that don't begin where the array does
    query = normal(1, n_bits, seed=seed + 1)
    items = np.random.default_rng(seed).permutation(n_items)
    found = RelaxedScorer(query, codes, n_bits)(0, items, np.zeros(n_items, np.int32))
    plain = [
        sum(float(query[0, b]) * int(signs[offset + item, b]) for b in range(n_bits))
        for item in items
    ]
    assert_allclose(found, plain, rtol=1e-4, atol=1e-4)


@given(n_bits=st.integers(1, 40), seed=st.integers(0, 1000))
def test_a_relaxed_query_of_signs_ranks_as_hamming_distance_does(n_bits: int, seed: int) -> None:
    codes = pack(np.where(normal(15, n_bits, seed=seed) >= 0, 1, -1))
    signs = np.where(normal(1, n_bits, seed=seed + 1) >= 0, 1, -1)
    order, distances = hamming_order(pack(signs), codes)
    scorer = RelaxedScorer(signs.astype(np.float32), codes, n_bits)
    found, scores = rerank(order, distances, scorer)
    assert_array_equal(found, order)
    assert_array_equal(scores, n_bits - 2 * distances)


@given(
    width=st.integers(1, 19),
    scale=st.floats(1e-3, 1e3),
    offset=st.integers(0, 3),
    seed=st.integers(0, 1000),
)
def test_bytes_are_within_half_a_step_of_features(
    width: int, scale: float, offset: int, seed: int
) -> None:
    rows = (scale * normal(8, width, seed=seed)).astype(np.float32)[offset:]
    stored = ByteFeatures.of(rows)
    gaps = np.abs(stored[np.arange(len(rows))] - rows)
    assert (gaps <= 0.5001 * stored.scales[:, None] + 1e-12).all()
    assert np.abs(stored.values).max() == 127
    assert len(stored) == 8 - offset


@given(scale=st.floats(1e-2, 1e2), seed=st.integers(0, 1000))
def test_cosines_do_not_depend_on_scales(scale: float, seed: int) -> None:
    rows, query, items = normal(9, 7, seed=seed), normal(1, 7, seed=seed + 1), np.arange(9)
    nothing = np.zeros(9, np.int32)
    one = FeatureScorer(query, rows)(0, items, nothing)
    other = FeatureScorer(
        (scale * query).astype(np.float32), (rows / np.float32(scale)).astype(np.float32)
    )(0, items, nothing)
    assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("is_cosine", [True, False])
@pytest.mark.parametrize("form", ["float32", "float16", "int8"])
def test_feature_scores_against_loops(form: str, is_cosine: bool) -> None:
    rows, queries = normal(10, 6), normal(3, 6, seed=2)
    rows[4] = 0
    features: Any = ByteFeatures.of(rows) if form == "int8" else rows.astype(form)
    scorer: Scorer = FeatureScorer(queries, features, is_cosine=is_cosine)
    items = np.array([4, 0, 9, 3])
    found = scorer(1, items, np.zeros(4, np.int32))
    assert found.dtype == np.float32
    for place, item in enumerate(items):
        product = sum(float(a) * float(b) for a, b in zip(queries[1], rows[item], strict=True))
        if is_cosine:
            lengths = np.linalg.norm(queries[1]) * np.linalg.norm(rows[item])
            product = product / float(lengths) if lengths else 0.0
        # int8 rounds each number by up to half a step of 1 / 127 of the row's largest.
        assert_allclose(found[place], product, rtol=0, atol={"int8": 0.06}.get(form, 5e-3))


def test_what_does_not_fit_is_refused() -> None:
    books = made_books()
    cases: list[tuple[Any, type[Exception], str]] = [
        (
            lambda: FineScorer(books, normal(1, 6, 3), made_fine(2)[:, :4], n_bits=8),
            ShapeError,
            (
                "finer codes are uint8 of shape (2, 4), expected uint8 of shape (n, 6): they come "
                "from another model than the codewords"
            ),
        ),
        (
            lambda: FineScorer(books, normal(1, 6, 2), made_fine(2), n_bits=8),
            ShapeError,
            (
                "query sub-vectors have shape (0, 6, 2), expected (q, 6, 3): they come from "
                "another model than the codewords"
            ),
        ),
        (
            lambda: FineScorer(books, normal(1, 6, 3), made_fine(2) + np.uint8(9), n_bits=8),
            InputError,
            (
                f"a finer code is {made_fine(2).max() + 9}, but there are 5 codewords: the codes "
                "are damaged or of another model"
            ),
        ),
        (
            lambda: FineBooks(normal(6, 300, 3)),
            ShapeError,
            (
                "codewords have shape (6, 300, 3), expected (sub-spaces, codewords, width) with "
                "1 to 256 codewords"
            ),
        ),
        (
            lambda: FeatureScorer(normal(1, 5), normal(3, 6)),
            ShapeError,
            "queries have 5 numbers a row, stored features 6: they come from another encoder",
        ),
        (
            lambda: RelaxedScorer(normal(1, 5), pack([[1] * 8]), 8),
            ShapeError,
            "relaxed queries have 5 numbers a row, the codes 8 bits",
        ),
        (
            lambda: ByteFeatures.of(np.array([[0.0], [np.nan]])),
            InputError,
            "features hold NaN or infinity, first in row 1",
        ),
        (
            lambda: rerank(np.arange(2), np.zeros(2, np.int32), lambda *_: normal(3)),
            ShapeError,
            "scores have shape (3,), expected (2,)",
        ),
    ]
    for call, kind, message in cases:
        with pytest.raises(kind, match=f"^{re.escape(message)}$"):
            call()
