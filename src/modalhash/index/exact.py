"""The plain exact scan in NumPy: the reference that every other kind is compared with."""

from typing import final

import numpy as np

from modalhash.codes import Codes, hamming_distances
from modalhash.index.relaxed_scan import smallest
from modalhash.index.scan import ScanSearcher
from modalhash.index.searchers import Neighbours, RaggedNeighbours

__all__ = ["ExactSearcher"]

BLOCK_ITEMS = 1 << 16
BLOCK_QUERIES = 64


@final
class ExactSearcher(ScanSearcher):
    """Compare each query with each code, a block at a time.

    Example:
        >>> from modalhash.codes import pack
        >>> searcher = ExactSearcher(pack([[1, 1], [1, -1], [-1, -1]]))
        >>> searcher.nearest(pack([[1, 1]]), 2).distances
        array([[0, 1]], dtype=int32)
    """

    kind = "exact"

    def scan_nearest(self, database_codes: Codes, query_codes: Codes, top_k: int) -> Neighbours:
        """Find the nearest rows of each query; see `Searcher.nearest`."""
        n_items = len(database_codes)
        parts = []
        for first_query in range(0, len(query_codes), BLOCK_QUERIES):
            queries = query_codes[first_query : first_query + BLOCK_QUERIES]
            best = np.empty((len(queries), 0), np.int64)
            for start in range(0, n_items, BLOCK_ITEMS):
                block = database_codes[start : start + BLOCK_ITEMS]
                # One number that orders by distance, then by position; no two are equal.
                keys = hamming_distances(queries, block).astype(np.int64) * n_items
                keys += np.arange(start, start + len(block))
                best = smallest(np.concatenate([best, smallest(keys, top_k)], axis=1), top_k)
            parts.append(np.sort(best, axis=1))
        keys = np.concatenate(parts)
        return Neighbours(keys % n_items, (keys // n_items).astype(np.int32))

    def scan_within(
        self, database_codes: Codes, query_codes: Codes, radius: int
    ) -> RaggedNeighbours:
        """Find all rows within a radius of each query; see `Searcher.within`."""
        parts = []
        for first_query in range(0, len(query_codes), BLOCK_QUERIES):
            queries = query_codes[first_query : first_query + BLOCK_QUERIES]
            for start in range(0, len(database_codes), BLOCK_ITEMS):
                distances = hamming_distances(queries, database_codes[start : start + BLOCK_ITEMS])
                query, position = np.nonzero(distances <= radius)
                near = distances[query, position].astype(np.int64)
                parts.append(np.stack([query + first_query, near, position + start]))
        query, distance, position = np.concatenate(parts, axis=1)
        order = np.lexsort((position, distance, query))
        counts = np.bincount(query, minlength=len(query_codes))
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return RaggedNeighbours(starts, position[order], distance[order].astype(np.int32))
