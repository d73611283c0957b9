"""The fast scan finds exactly what comparing every code finds, and its proof holds."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from modalhash.codes import Codes, WeightedQueries, unpack
from modalhash.index import build_index
from modalhash.index.faiss_fast_scan import PACKED_ROWS, FastScan
from modalhash.index.faiss_ivf import IvfSearcher
from modalhash.index.searchers import NO_ROW

N_ROWS = 60_000


def uniform_codes(n: int, width: int, seed: int) -> Codes:
    return np.random.default_rng(seed).integers(0, 256, (n, width), dtype=np.uint8)


def repeated_codes(n: int, width: int, seed: int) -> Codes:
    """Draw codes of which some have thousands of copies and many have one."""
    generator = np.random.default_rng(seed)
    distinct = uniform_codes(500, width, seed + 1)
    weights = 1 / np.arange(1, 501)
    return distinct[generator.choice(500, n, p=weights / weights.sum())]


def queries_of(sort: str, n: int, n_bits: int, seed: int) -> WeightedQueries:
    generator = np.random.default_rng(seed)
    numbers = generator.standard_normal((n, n_bits))
    if sort == "skewed":
        numbers = numbers**5
    elif sort == "signs":
        numbers = np.sign(numbers)
    elif sort == "one large":
        numbers[:, 0] *= 1e6
    elif sort == "zeros":
        numbers[::2] = 0
    return WeightedQueries.of(numbers, n_bits)


def all_distances(queries: WeightedQueries, codes: Codes) -> NDArray[np.int64]:
    """Compute weighted distances by a product of whole numbers."""
    own = unpack(queries.codes, queries.n_bits).astype(np.int64) * queries.weights
    signs = unpack(codes, queries.n_bits).astype(np.int64)
    distances: NDArray[np.int64] = (queries.totals[:, None] - own @ signs.T) // 2
    return distances


SORTS = ["normal", "skewed", "signs", "one large", "zeros"]


@pytest.mark.parametrize("top_k", [1000, 1025, 1031, 1084, 1085])
def test_nearly_all_rows_may_be_searched_for(top_k: int) -> None:
    codes, queries = uniform_codes(1085, 8, 5), queries_of("normal", 200, 64, 6)
    nearest = FastScan(codes).nearest(queries, top_k)
    expected = np.sort(all_distances(queries, codes), axis=1)[:, :top_k]
    assert np.array_equal(nearest.distances, expected)


@pytest.mark.parametrize("n_rows", [2 * PACKED_ROWS - 1, 2 * PACKED_ROWS, 2 * PACKED_ROWS + 1])
def test_rows_at_the_ends_of_packed_parts_are_scanned(n_rows: int) -> None:
    codes = uniform_codes(n_rows, 2, 12)
    queries = queries_of("normal", 1, 16, 13)
    # Copies of the query's own signs, distance 0, at all ends.
    ends = np.unique(np.array([0, 95, 96, PACKED_ROWS - 1, PACKED_ROWS, n_rows - 1]))
    codes[(codes == queries.codes[0]).all(axis=1)] ^= 255
    codes[ends] = queries.codes[0]
    neighbours = FastScan(codes).nearest(queries, len(ends) + 1)
    np.testing.assert_array_equal(neighbours.positions[0, :-1], ends)
    assert (neighbours.distances[0, :-1] == 0).all()
    assert neighbours.distances[0, -1] > 0


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("make", [uniform_codes, repeated_codes])
def test_the_nearest_are_those_of_all_distances_ties_by_position(
    make: Callable[[int, int, int], Codes], sort: str
) -> None:
    for width, seed in ((8, 1), (3, 2)):
        codes, queries = make(N_ROWS + 5, width, seed), queries_of(sort, 4, 8 * width, seed + 9)
        expected = all_distances(queries, codes)
        order = np.argsort(expected, axis=1, kind="stable")
        neighbours = FastScan(codes).nearest(queries, 10)
        np.testing.assert_array_equal(neighbours.positions, order[:, :10])
        near = np.take_along_axis(expected, order[:, :10], axis=1)
        np.testing.assert_array_equal(neighbours.distances, near)
        assert neighbours.distances.dtype == np.int32
        limits = near[:, 9].astype(np.int64)
        limits[-1] = -1
        within = FastScan(codes).within(queries, limits)
        for query in range(4):
            n_near = int((expected[query] <= limits[query]).sum())
            start, end = within.starts[query : query + 2]
            np.testing.assert_array_equal(within.positions[start:end], order[query, :n_near])


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("width", [1, 5, 16])
def test_no_row_outside_of_a_shortlist_is_below_its_bound(sort: str, width: int) -> None:
    codes, queries = uniform_codes(5000, width, 3), queries_of(sort, 20, 8 * width, 4)
    distances = all_distances(queries, codes)
    rows, near, least = FastScan(codes).shortlist(queries, 40)
    for query in range(20):
        np.testing.assert_array_equal(near[query], distances[query, rows[query]])
        others = np.delete(distances[query], rows[query])
        assert others.min() >= least[query]
    if sort == "normal" and width == 16:
        # The bound is of use: a tenth of the shortlist is proven for nearly all queries.
        assert np.mean(near[:, 3] < least) >= 0.9


def test_a_shortlist_of_all_rows_has_no_others() -> None:
    codes, queries = uniform_codes(50, 2, 5), queries_of("normal", 3, 16, 6)
    rows, _, least = FastScan(codes).shortlist(queries, 50)
    assert (np.sort(rows, axis=1) == np.arange(50)).all()
    assert (least == np.inf).all()


@pytest.mark.parametrize("n_bits", [1, 12, 65, 1024, 1100])
def test_codes_of_any_width_are_scanned(n_bits: int) -> None:
    signs = np.random.default_rng(n_bits).choice(np.array([-1, 1], np.int8), (3000, n_bits))
    codes = np.packbits(signs > 0, axis=1, bitorder="little")
    queries = queries_of("normal", 40, n_bits, 7)
    neighbours = FastScan(codes).nearest(queries, 3)
    order = np.argsort(all_distances(queries, codes), axis=1, kind="stable")[:, :3]
    np.testing.assert_array_equal(neighbours.positions, order)


@pytest.mark.parametrize("kind", ["flat", "mih", "auto"])
def test_kinds_that_are_exact_equal_the_exact_kind(kind: str) -> None:
    """Many items, deleted ones, recent ones and filters."""
    codes = repeated_codes(N_ROWS, 4, 8)
    metadata = [{"row": row} for row in range(N_ROWS)]
    numbers = np.random.default_rng(9).standard_normal((5, 32)).astype(np.float32)
    parameters = {"distinct": True} if kind == "flat" else None
    made = [
        build_index(
            np.arange(N_ROWS),
            codes,
            32,
            metadata=metadata,
            kind=name,
            parameters=parameters if name == kind else None,
        )
        for name in (kind, "exact")
    ]
    for index in made:
        index.add(np.arange(N_ROWS, N_ROWS + 9000), codes[:9000])
        index.delete(np.arange(0, 9000, 3))
        assert index.is_exact_relaxed
    for where in (None, "row < 300", "row > 300"):
        ours, exact = (index.search(numbers, 20, where) for index in made)
        np.testing.assert_array_equal(ours.ids, exact.ids)
        np.testing.assert_array_equal(ours.distances, exact.distances)
        assert ours.scores is not None
        assert exact.scores is not None
        np.testing.assert_array_equal(ours.scores, exact.scores)
        limit = float(exact.scores[:, -1].max())
        near, exact_near = (
            index.search_radius(numbers, where=where, min_score=limit) for index in made
        )
        np.testing.assert_array_equal(near.starts, exact_near.starts)
        np.testing.assert_array_equal(near.ids, exact_near.ids)


def test_cells_give_true_weighted_distances_and_a_good_recall() -> None:
    generator = np.random.default_rng(10)
    centres = uniform_codes(60, 8, 11)
    flips = np.packbits(generator.random((N_ROWS, 64)) < 0.1, axis=1)
    codes = centres[generator.integers(0, 60, N_ROWS)] ^ flips
    searcher = IvfSearcher.build(codes, 64, parameters={"n_cells": 64, "n_probes": 4})
    signs = unpack(codes[::3000], 64).astype(np.float64)
    queries = WeightedQueries.of(signs * np.abs(generator.standard_normal(signs.shape)), 64)
    distances = all_distances(queries, codes)
    neighbours = searcher.nearest_relaxed(queries, 10)
    assert (neighbours.positions != NO_ROW).all()
    near = np.take_along_axis(distances, neighbours.positions, axis=1)
    np.testing.assert_array_equal(neighbours.distances, near)
    assert (np.diff(near, axis=1) >= 0).all()
    kth = np.sort(distances, axis=1)[:, 9]
    assert np.mean(near <= kth[:, None]) >= 0.9
    within = searcher.within_relaxed(queries, kth.astype(np.int64))
    query = np.repeat(np.arange(len(queries)), np.diff(within.starts))
    np.testing.assert_array_equal(within.distances, distances[query, within.positions])
    assert (within.distances <= kth[query]).all()
    assert len(within.positions) >= 0.9 * (distances <= kth[:, None]).sum()
    assert not searcher.is_exact_relaxed
