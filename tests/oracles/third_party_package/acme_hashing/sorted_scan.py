"""A kind of index that compares a query with every code."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from modalhash.codes import Codes, hamming_distances
from modalhash.index.searchers import NO_ROW, Allowed, Neighbours, RaggedNeighbours, Searcher


class SortedScan(Searcher):
    """All distances of a query, sorted."""

    kind = "sorted-scan"
    is_exact = True

    def __init__(self, codes: Codes, n_bits: int) -> None:
        self.codes, self.n_bits = codes, n_bits
        self.parameters: Mapping[str, Any] = {}

    @classmethod
    def build(cls, codes: Codes, n_bits: int, *, parameters: Mapping[str, Any]) -> Self:
        """Keep the codes."""
        return cls(codes, n_bits)

    def distances(self, query_codes: Codes, allowed: Allowed | None) -> np.ndarray[Any, Any]:
        """Return all distances; rows that don't count are farther than any code."""
        found = hamming_distances(query_codes, self.codes)
        return found if allowed is None else np.where(allowed, found, self.n_bits + 1)

    def nearest(
        self, query_codes: Codes, top_k: int, *, allowed: Allowed | None = None
    ) -> Neighbours:
        """Return the first of each query's sorted distances."""
        distances = self.distances(query_codes, allowed)
        order = np.argsort(distances, axis=1, kind="stable")[:, :top_k]
        near = np.take_along_axis(distances, order, axis=1).astype(np.int32)
        return Neighbours(np.where(near > self.n_bits, NO_ROW, order).astype(np.int64), near)

    def within(
        self, query_codes: Codes, radius: int, *, allowed: Allowed | None = None
    ) -> RaggedNeighbours:
        """Return the sorted distances up to a radius."""
        distances = self.distances(query_codes, allowed)
        order = np.argsort(distances, axis=1, kind="stable")
        near = np.take_along_axis(distances, order, axis=1)
        starts = np.concatenate([[0], np.cumsum((near <= radius).sum(axis=1))]).astype(np.int64)
        return RaggedNeighbours(
            starts, order[near <= radius].astype(np.int64), near[near <= radius].astype(np.int32)
        )
