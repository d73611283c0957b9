"""Every rival's number is that of FAISS called directly; ours is that of our own searches."""

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

import modalhash as mh
from modalhash.benchmarking import (
    ArrayInputs,
    QuantizerRow,
    quantizer_searches,
    quantizer_tasks,
)
from modalhash.benchmarking.faiss_quantizers import FAISS_QUANTIZERS
from modalhash.benchmarking.vector_inputs import read_array_space
from modalhash.benchmarking.vector_spaces import VectorSpace
from modalhash.progress import silent

kernels: Any = faiss
Floats = NDArray[np.float32]
IP, L2 = kernels.METRIC_INNER_PRODUCT, kernels.METRIC_L2
D, N_ITEMS, N_QUERIES = 32, 500, 60
RECALL = "recall@10 of the float top 10 query_to_item"


def make_vectors(seed: int) -> tuple[Floats, Floats]:
    """Make items around centres, and queries near some of them; widths of dimensions fall."""
    generator = np.random.default_rng(seed)
    widths = 1 / np.sqrt(1 + np.arange(D))
    centres = generator.normal(size=(60, D)) * widths
    items = centres[generator.integers(0, 60, N_ITEMS)] + generator.normal(size=(N_ITEMS, D)) / 8
    queries = items[:N_QUERIES] + generator.normal(size=(N_QUERIES, D)) / 8
    return queries.astype(np.float32), items.astype(np.float32)


@pytest.fixture(autouse=True)
def quick_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure rates on few items and for a moment only."""
    monkeypatch.setattr(quantizer_tasks, "RATE_ITEMS", 1000)
    monkeypatch.setattr(quantizer_searches, "RATE_SECONDS", 0.001)


@pytest.fixture(scope="module")
def inputs() -> ArrayInputs:
    return ArrayInputs(*make_vectors(0))


@pytest.fixture(scope="module")
def space(inputs: ArrayInputs) -> VectorSpace:
    """As the board reads it: of length 1, items shuffled."""
    return read_array_space(inputs, "made")


def measure(inputs: ArrayInputs, folder: Path, names: str, **options: Any) -> list[QuantizerRow]:
    options = {"sizes": [8], "seeds": [0], **options}
    board = mh.bench_quantizers(inputs, output=folder, quantizers=names, progress=silent, **options)
    return list(board.rows)


def recall_by_hand(space: VectorSpace, ranks: NDArray[np.int64]) -> float:
    """Count how many of the ten nearest float items are among the first ten ranks."""
    scores = space.queries["query"] @ space.items["item"].T
    nearest = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    shares = [len(set(a) & set(b)) / 10 for a, b in zip(ranks[:, :10], nearest, strict=True)]
    return float(np.mean(shares))


def permuted(items: Floats) -> Floats:
    """Order training rows as seed 0 does."""
    return np.ascontiguousarray(items[np.random.default_rng(0).permutation(len(items))])


def rotated(index: Any, d: int) -> Any:
    rotation = kernels.RandomRotationMatrix(d, d)
    rotation.init(1234)
    return kernels.IndexPreTransform(rotation, index)


def product(d: int, m: int, bits: int = 8, kind: str = "IndexPQ") -> Any:
    index = getattr(kernels, kind)(d, m, bits, IP)
    index.pq.cp.seed, index.pq.cp.min_points_per_centroid = 1234, 1
    return index


def optimised() -> Any:
    codes = kernels.ProductQuantizer(D, 8, 8)
    codes.cp.seed, codes.cp.min_points_per_centroid = 1234, 1
    rotation = kernels.OPQMatrix(D, 8)
    rotation.pq, rotation.referenced_objects = codes, [codes]
    return kernels.IndexPreTransform(rotation, product(D, 8))


def residual(kind: str) -> Any:
    index = getattr(kernels, kind)(D, 2, 8, IP, kernels.AdditiveQuantizer.ST_LUT_nonorm)
    if kind == "IndexResidualQuantizer":
        index.rq.cp.seed, index.rq.cp.min_points_per_centroid = 1234, 1
    else:
        index.lsq.random_seed = 1234
    return index


DIRECT: dict[str, tuple[int, Callable[[], Any]]] = {
    "float32": (4 * D, lambda: kernels.IndexFlat(D, IP)),
    "float16": (2 * D, lambda: kernels.index_factory(D, "SQfp16", IP)),
    "int8": (D, lambda: kernels.index_factory(D, "SQ8", IP)),
    "int6": (24, lambda: kernels.index_factory(D, "SQ6", IP)),
    "int4": (16, lambda: kernels.index_factory(D, "SQ4", IP)),
    "pq": (8, lambda: product(D, 8)),
    "opq": (8, optimised),
    "pq-4bit": (8, lambda: product(D, 16, 4, "IndexPQFastScan")),
    "rabitq-1": (12, lambda: rotated(kernels.IndexRaBitQ(D, IP, 1), D)),
    "residual": (2, lambda: residual("IndexResidualQuantizer")),
    "local-search": (2, lambda: residual("IndexLocalSearchQuantizer")),
}


@pytest.mark.parametrize("name", sorted(DIRECT))
def test_a_rival_finds_what_faiss_finds(
    name: str, inputs: ArrayInputs, space: VectorSpace, tmp_path: Path
) -> None:
    size, make = DIRECT[name]
    rows = measure(inputs, tmp_path, name, sizes=[size])
    row = next(row for row in rows if row.scoring == "float query" and not row.error)
    index = make()
    index.train(permuted(space.items["item"]))
    index.add(space.items["item"])
    _, ranks = index.search(space.queries["query"], 10)
    assert row.n_bytes == row.total_bytes == size
    np.testing.assert_allclose(row.values[RECALL], recall_by_hand(space, ranks), rtol=0, atol=1e-3)


def reduced(kept: int, index: Any, space: VectorSpace) -> Any:
    """Put the first principal components before an index, without their mean, and fill it."""
    training = permuted(space.items["item"])
    components = kernels.PCAMatrix(D, kept)
    components.train(training)
    kernels.copy_array_to_vector(np.zeros(kept, np.float32), components.b)
    whole = kernels.IndexPreTransform(components, index)
    whole.train(training)
    whole.add(space.items["item"])
    return whole


FITTING = {1: (11, 24), 2: (26, 24), 4: (32, 24)}
"""Bits a dimension to a size and the dimensions that fit it."""


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_the_factors_of_rabitq_count_and_dimensions_fit_beside_them(
    bits: int, inputs: ArrayInputs, space: VectorSpace, tmp_path: Path
) -> None:
    size, kept = FITTING[bits]
    rows = measure(inputs, tmp_path, f"rabitq-{bits}", sizes=[4, size, 256])
    row = next(row for row in rows if row.asked_bytes == size and row.scoring == "float query")
    assert row.n_bytes == size == kernels.IndexRaBitQ(kept, IP, bits).code_size
    assert kernels.IndexRaBitQ(kept + 8, IP, bits).code_size > size
    index = reduced(kept, rotated(kernels.IndexRaBitQ(kept, IP, bits), kept), space)
    # asked for few, FAISS skips items by a bound that holds with high probability only
    _, ranks = index.search(space.queries["query"], N_ITEMS)
    np.testing.assert_allclose(row.values[RECALL], recall_by_hand(space, ranks), rtol=0, atol=1e-3)
    reasons = {row.asked_bytes: row.error for row in rows if row.error}
    assert "its factors leave no room: 8 dimensions take" in reasons[4]
    assert f"all {D} dimensions take" in reasons[256]


def sign_transform(name: str) -> Any:
    if name == "pca-signs":
        return kernels.PCAMatrix(D, 16)
    if name == "itq":
        transform = kernels.ITQTransform(D, 16, True)
        transform.itq.seed = 1234
        return transform
    rotation = kernels.RandomRotationMatrix(D, 16)
    rotation.init(1234)
    return rotation


@pytest.mark.parametrize("name", ["pca-signs", "itq", "random-signs"])
def test_signs_have_the_distances_of_faiss(
    name: str, inputs: ArrayInputs, space: VectorSpace, tmp_path: Path
) -> None:
    rows = measure(inputs, tmp_path, name, sizes=[2])
    row = next(row for row in rows if row.scoring == "hamming")
    mean = space.items["item"].mean(axis=0)
    index = kernels.IndexPreTransform(sign_transform(name), kernels.IndexLSH(16, 16, False, False))
    index.train(permuted(space.items["item"]) - mean)
    index.add(space.items["item"] - mean)
    distances, ranks = index.search(space.queries["query"] - mean, N_ITEMS)
    # the expectation over the orders of ties, by a plain loop
    scores = space.queries["query"] @ space.items["item"].T
    nearest = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    shares = []
    for own, ids, near in zip(distances, ranks, nearest, strict=True):
        last = np.sort(own)[9]
        is_near = np.isin(ids, near)
        tied = own == last
        before = int((own < last).sum())
        hits = is_near[own < last].sum() + (10 - before) * is_near[tied].sum() / tied.sum()
        shares.append(hits / 10)
    np.testing.assert_allclose(row.values[RECALL], np.mean(shares), rtol=0, atol=1e-3)


def test_rescoring_is_that_of_faiss_and_its_bytes_count(
    inputs: ArrayInputs, space: VectorSpace, tmp_path: Path
) -> None:
    rows = measure(inputs, tmp_path, "pq", sizes=[4], shortlist=60)
    row = next(row for row in rows if row.scoring == "rescored")
    assert (row.n_bytes, row.total_bytes) == (4, 4 + D)
    index = kernels.IndexRefine(product(D, 4), kernels.index_factory(D, "SQ8", IP))
    index.train(permuted(space.items["item"]))
    index.add(space.items["item"])
    index.k_factor = 6
    _, ranks = index.search(space.queries["query"], 10)
    np.testing.assert_allclose(row.values[RECALL], recall_by_hand(space, ranks), rtol=0, atol=1e-3)


def test_queries_that_keep_their_numbers_are_ranked_by_products_with_signs(
    inputs: ArrayInputs, space: VectorSpace, tmp_path: Path
) -> None:
    rows = measure(inputs, tmp_path, "pca-signs", sizes=[4])
    row = next(row for row in rows if row.scoring == "float query")
    mean = space.items["item"].mean(axis=0)
    components = kernels.PCAMatrix(D, 32)
    components.train(permuted(space.items["item"]) - mean)
    queries, items = (
        components.apply(np.ascontiguousarray(part - mean))
        for part in (space.queries["query"], space.items["item"])
    )
    scores = queries @ np.where(items >= 0, 1, -1).T
    ranks = np.argsort(-scores, axis=1, kind="stable")
    np.testing.assert_allclose(row.values[RECALL], recall_by_hand(space, ranks), rtol=0, atol=2e-3)


def test_float_vectors_find_all_again(inputs: ArrayInputs, tmp_path: Path) -> None:
    for metric in ("cosine", "inner product", "euclidean"):
        changed = ArrayInputs(inputs.queries, inputs.items, metric=metric)
        (row,) = measure(changed, tmp_path / metric, "float32", sizes=[4 * D])
        assert row.values[RECALL] == 1.0


def test_every_row_of_faiss_is_compared_or_is_a_product_of_those() -> None:
    rest = set(FAISS_QUANTIZERS) - set(DIRECT)
    assert rest == {
        "rabitq-2", "rabitq-4", "pca-int8", "pca-int4", "product-residual", "product-local-search",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["product-residual", "product-local-search"])
def test_products_of_additive_quantisers_find_what_faiss_finds(
    name: str, inputs: ArrayInputs, space: VectorSpace, tmp_path: Path
) -> None:
    row, *_ = measure(inputs, tmp_path, name, sizes=[4])
    kind = {"product-residual": "Residual", "product-local-search": "LocalSearch"}[name]
    index = getattr(kernels, f"IndexProduct{kind}Quantizer")(
        D, 2, 2, 8, IP, kernels.AdditiveQuantizer.ST_LUT_nonorm
    )
    parts = index.prq if kind == "Residual" else index.plsq
    for part in range(2):
        quantizer = kernels.downcast_AdditiveQuantizer(parts.subquantizer(part))
        if kind == "Residual":
            quantizer.cp.seed, quantizer.cp.min_points_per_centroid = 1234, 1
        else:
            quantizer.random_seed = 1234
    index.train(permuted(space.items["item"]))
    index.add(space.items["item"])
    _, ranks = index.search(space.queries["query"], 10)
    np.testing.assert_allclose(row.values[RECALL], recall_by_hand(space, ranks), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "factory", "kept"), [("pca-int8", "SQ8", 8), ("pca-int4", "SQ4", 16)]
)
def test_reduced_integers_find_what_faiss_finds(
    name: str, factory: str, kept: int, inputs: ArrayInputs, space: VectorSpace, tmp_path: Path
) -> None:
    row, *_ = measure(inputs, tmp_path, name, sizes=[8])
    index = reduced(kept, kernels.index_factory(kept, factory, IP), space)
    _, ranks = index.search(space.queries["query"], 10)
    np.testing.assert_allclose(row.values[RECALL], recall_by_hand(space, ranks), rtol=0, atol=1e-3)


def test_a_rate_is_measured_though_other_threads_use_up_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = itertools.count(0.0, 10.0)  # each look at the clock is 10 seconds later
    monkeypatch.setattr(time, "process_time", lambda: next(clock))
    batches: list[int] = []

    def search(batch: NDArray[np.float32]) -> None:
        batches.append(len(batch))

    rate = quantizer_searches.measure_rate(search, np.zeros((3, 4), np.float32), 1000)
    n_queries = batches[0]
    assert batches == [n_queries] * 2  # one before the clock starts, one that counts
    assert rate == round(n_queries * 1000 / 20)
