"""Searches of a board: what ranks items, rescoring by int8 copies, measures, and rates."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

from modalhash.benchmarking.quantizer_rows import MEASURES, value_name
from modalhash.benchmarking.ranked_lists import (
    RankedLists,
    measure_labels,
    measure_nearest,
    measure_pairs,
)
from modalhash.benchmarking.vector_inputs import name_direction
from modalhash.benchmarking.vector_spaces import FLOAT_TOP, Floats, VectorSpace

__all__ = [
    "DEPTH",
    "HAMMING_DEPTH",
    "Int8Copies",
    "QueryValues",
    "Search",
    "Searches",
    "measure_rate",
    "measure_searches",
]

kernels: Any = faiss  # what SWIG makes has no types
QueryValues = dict[str, NDArray[np.float32]]
"""For each value, by name, the (q,) values of its queries; NaN: doesn't count."""
DEPTH: Final = 512
"""First items that are looked at for ties, where scores are of floats."""
HAMMING_DEPTH: Final = 8192
"""The same by Hamming distance, which has many ties."""
BLOCK_CELLS: Final = 1 << 24
RATE_QUERIES, RATE_SECONDS = 64, 0.2


class Search(Protocol):
    """Ranks stored items."""

    @property
    def n_items(self) -> int:
        """Items that are searched."""

    @property
    def n_bytes(self) -> int:
        """Bytes that an item takes."""

    def search(self, queries: Floats, k: int) -> RankedLists:
        """Find the k best items of each query."""


class Int8Copies:
    """Copies of the vectors in 8 bits a dimension, by which a shortlist is ranked again.

    Args:
        training: (n, d) rows that the ranges of dimensions are taken from.
        items: (m, d) vectors.
        metric: as spaces name it.
    """

    def __init__(self, training: Floats, items: Floats, metric: str) -> None:
        self.metric = metric
        quantizer = kernels.IndexScalarQuantizer(training.shape[1], kernels.ScalarQuantizer.QT_8bit)
        quantizer.train(training)
        self.quantizer = quantizer
        self.codes = quantizer.sa_encode(items)

    @property
    def n_bytes(self) -> int:
        """Bytes that a copy takes."""
        return int(self.codes.shape[1])

    def rescore(self, lists: RankedLists, queries: Floats) -> RankedLists:
        """Rank the listed items again by the copies; items that aren't listed stay behind."""
        rows = np.maximum(lists.rows, 0)
        vectors = self.quantizer.sa_decode(self.codes[rows.ravel()]).reshape(*rows.shape, -1)
        scores = np.einsum("qd,qkd->qk", queries, vectors)
        if self.metric == "euclidean":
            squares = np.einsum("qkd,qkd->qk", vectors, vectors)
            scores = 2 * scores - squares - np.square(queries).sum(axis=1, keepdims=True)
        scores = np.where(lists.rows >= 0, scores, -np.inf).astype(np.float32)
        order = np.argsort(-scores, axis=1, kind="stable")
        return RankedLists(
            np.take_along_axis(lists.rows, order, axis=1),
            np.take_along_axis(scores, order, axis=1),
            lists.n_items,
        )


@dataclass(frozen=True)
class Searches:
    """The searches of one row of the board in one direction.

    Attributes:
        queries: (q, b) what the searches take: vectors, or numbers before the sign.
        items: of the stored items.
        pair_items: of the items of pairs, or None.
        copies: by which a shortlist of stored items is ranked again, or None.
        pair_copies: the same of the items of pairs.
        shortlist: items that are ranked again.
        depth: first items that are looked at.
    """

    queries: Floats
    items: Search
    pair_items: Search | None = None
    copies: Int8Copies | None = None
    pair_copies: Int8Copies | None = None
    shortlist: int = 100
    depth: int = DEPTH

    def lists(self, vectors: Floats, rows: slice, *, of_pairs: bool = False) -> RankedLists:
        """Rank items for some queries.

        Args:
            vectors: (q, d) float vectors of all queries, for rescoring.
            rows: the queries.
            of_pairs: whether the items of pairs are ranked.
        """
        search = self.pair_items if of_pairs else self.items
        copies = self.pair_copies if of_pairs else self.copies
        assert search is not None
        depth = self.depth if copies is None else self.shortlist
        lists = search.search(self.queries[rows], min(depth, search.n_items))
        return lists if copies is None else copies.rescore(lists, vectors[rows])


def measure_searches(
    searches: Searches, space: VectorSpace, direction: tuple[str, str]
) -> QueryValues:
    """Measure a row of the board in one direction.

    Returns:
        Every value by `value_name`, one number a query: how much of the float top is found again;
        under labels, if there are some and the sides differ, average precision and nDCG; with
        pairs, whether the own item is among the first 10.
    """
    name = name_direction(direction)
    vectors = space.queries[direction[0]]
    pair_measure, map_measure, gain_measure, recall_measure, first_measure = MEASURES
    blocks: dict[str, list[NDArray[np.float64]]] = {}
    n_rows = max(1, BLOCK_CELLS // max(1, searches.items.n_items))
    for start in range(0, len(vectors), n_rows):
        rows = slice(start, start + n_rows)
        lists = searches.lists(vectors, rows)
        shares = measure_nearest(lists, space.nearest[name][rows], FLOAT_TOP)
        found_again = {first_measure: shares[1], recall_measure: shares[max(shares)]}
        if direction[0] != direction[1] and space.query_labels is not None:
            assert space.item_labels is not None
            precision, gain = measure_labels(lists, space.query_labels[rows], space.item_labels)
            found_again |= {map_measure: precision, gain_measure: gain}
        if searches.pair_items is not None:
            own = searches.lists(vectors, rows, of_pairs=True)
            found_again[pair_measure] = measure_pairs(
                own, space.pairs[name].targets[rows], FLOAT_TOP
            )
        for measure, values in found_again.items():
            blocks.setdefault(value_name(measure, name), []).append(values)
    return {key: np.concatenate(parts).astype(np.float32) for key, parts in blocks.items()}


def measure_rate(search: Callable[[Floats], object], queries: Floats, n_items: int) -> float:
    """Measure how many items a CPU second of one thread scans for a query.

    Args:
        search: finds the ten best for a batch of queries.
        queries: (q, b).
        n_items: that are searched.
    """
    batch = np.resize(queries, (RATE_QUERIES, queries.shape[1]))
    n_threads = kernels.omp_get_max_threads()
    kernels.omp_set_num_threads(1)
    try:
        search(batch)  # tables and copies are made when the first queries come
        started, n_runs = time.process_time(), 0
        # Once at least: other threads of the process may use up the time before the first look.
        while not n_runs or time.process_time() - started < RATE_SECONDS:
            search(batch)
            n_runs += 1
        seconds = time.process_time() - started
    finally:
        kernels.omp_set_num_threads(n_threads)
    return round(n_runs * RATE_QUERIES * n_items / seconds)
