"""What is particular to one kind."""

import faiss
import numpy as np
import pytest

from modalhash.index import build_index
from tests.oracles.plain_search import plain_search, plain_search_radius


@pytest.mark.parametrize("n_items", [1, 7, 8, 9, 23])
def test_the_exact_scan_does_not_depend_on_its_blocks(
    n_items: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modalhash.index.exact.BLOCK_ITEMS", 8)
    monkeypatch.setattr("modalhash.index.exact.BLOCK_QUERIES", 3)
    generator = np.random.default_rng(0)
    codes = generator.integers(0, 4, (n_items, 1), dtype=np.uint8)
    queries = generator.integers(0, 4, (7, 1), dtype=np.uint8)
    index = build_index(np.arange(n_items), codes, 8, kind="exact")
    for k in (1, 5, 30):
        hits = index.search(queries, k)
        assert [
            list(zip(*pair, strict=True))
            for pair in zip(hits.distances.tolist(), hits.ids.tolist(), strict=True)
        ] == plain_search(queries, codes, k)
    near = index.search_radius(queries, 1)
    assert [
        list(zip(near[query].distances.tolist(), near[query].ids.tolist(), strict=True))
        for query in range(7)
    ] == plain_search_radius(queries, codes, 1)


@pytest.mark.parametrize("limit", [0, 1 << 23])
def test_searching_leaves_the_number_of_faiss_threads_alone(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modalhash.index.faiss_scan.ONE_THREAD_BYTES", limit)
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(2)
    try:
        index = build_index(np.arange(9), np.arange(9, dtype=np.uint8).reshape(9, 1), 8)
        for n_queries in (1, 3):
            hits = index.search(np.zeros((n_queries, 1), np.uint8), 3)
            assert hits.distances.tolist() == [[0, 1, 1]] * n_queries
            assert hits.ids.tolist() == [[0, 1, 2]] * n_queries
            index.search_radius(np.zeros((n_queries, 1), np.uint8), 3)
        assert faiss.omp_get_max_threads() == 2
    finally:
        faiss.omp_set_num_threads(before)


@pytest.mark.parametrize("n_bits", [8, 24, 64, 200])
def test_flat_returns_the_distances_of_faiss_itself(n_bits: int) -> None:
    generator = np.random.default_rng(1)
    codes = generator.integers(0, 256, (5000, n_bits // 8), dtype=np.uint8)
    bare = faiss.IndexBinaryFlat(n_bits)
    bare.add(codes)
    distances, positions = bare.search(codes[:50], 20)
    hits = build_index(np.arange(5000), codes, n_bits).search(codes[:50], 20)
    np.testing.assert_array_equal(hits.distances, distances)
    np.testing.assert_array_equal(np.sort(hits.ids, axis=1), np.sort(positions, axis=1))
