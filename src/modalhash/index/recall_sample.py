"""Measure the recall of an approximate search on codes of the index itself.

Recall is tie-aware: with few bits many rows share the distance of the k-th, so a row that was found
counts when it is no further than the exact k-th. Each query is a row of the index that is left out
of its own answer. Queries from elsewhere (texts that search pictures) may be harder.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, Distances
from modalhash.index.faiss_scan import scan_nearest
from modalhash.index.searchers import Neighbours, Positions

__all__ = ["MEASURED_TOP_K", "RecallSample", "tie_aware_recall"]

MEASURED_TOP_K = 10
SAMPLE_QUERIES = 500
TIED_ROWS = 10
"""How many times `MEASURED_TOP_K` rows are kept of each query, for those tied with the last."""
SEED = 20


def tie_aware_recall(distances: Distances, kth_distances: Distances) -> float:
    """Compute the share of found rows that are no further than the exact k-th.

    Args:
        distances: (q, k) int32 of the rows that were found; above every bit where none was.
        kth_distances: (q,) int32, the exact distance of the k-th row.

    Example:
        >>> tie_aware_recall(np.array([[0, 2], [1, 5]]), np.array([2, 3]))
        0.75
    """
    return float(np.mean(distances <= kth_distances[:, None]))


@dataclass(frozen=True)
class RecallSample:
    """Rows to search for, and what an exact search finds.

    Attributes:
        query_codes: (s, p) uint8.
        rows: (s,) int64, the rows they are, which don't count as found.
        top_k: rows looked for a query.
        neighbours: (s, j) int64 nearest rows, j >= `top_k` so that ties of the last are among them.
        distances: (s, j) int32 of these.
    """

    query_codes: Codes
    rows: Positions
    top_k: int
    neighbours: Positions
    distances: Distances

    @classmethod
    def draw(cls, codes: Codes, n_queries: int = SAMPLE_QUERIES) -> Self:
        """Draw rows, the same ones for the same codes, and scan for their neighbours.

        Args:
            codes: (m, p) uint8, two rows at least.
            n_queries: rows to draw, fewer if there are fewer.
        """
        generator = np.random.default_rng(SEED)
        n_rows = len(codes)
        rows = np.sort(generator.choice(n_rows, min(n_queries, n_rows), replace=False))
        queries = np.ascontiguousarray(codes[rows])
        top_k = min(MEASURED_TOP_K, n_rows - 1)
        neighbours = scan_nearest(codes, queries, min(TIED_ROWS * top_k + 1, n_rows))
        others = drop_own_rows(neighbours, rows, neighbours.positions.shape[1] - 1)
        return cls(queries, rows, top_k, others.positions, others.distances)

    @property
    def kth_distances(self) -> Distances:
        """(s,) int32, the exact distance of the last row looked for."""
        kth: Distances = self.distances[:, self.top_k - 1]
        return kth

    @property
    def is_relevant(self) -> NDArray[np.bool_]:
        """(s, j) whether a neighbour is no further than the last row looked for."""
        return self.distances <= self.kth_distances[:, None]

    def recall(self, find_nearest: Callable[[Codes, int], Neighbours]) -> float:
        """Measure a search, which gets query codes and the number of rows wanted."""
        neighbours = drop_own_rows(
            find_nearest(self.query_codes, self.top_k + 1), self.rows, self.top_k
        )
        return tie_aware_recall(neighbours.distances, self.kth_distances)

    def statement(self, recall: float) -> dict[str, Any]:
        """Describe a measured recall for the manifest."""
        return {
            "recall": round(recall, 4),
            "top_k": self.top_k,
            "queries": len(self.rows),
            "drawn_from": "the items, each left out of its own answer",
        }


def drop_own_rows(neighbours: Neighbours, rows: Positions, top_k: int) -> Neighbours:
    """Keep the first `top_k` rows found that aren't the query's own."""
    is_own = neighbours.positions == rows[:, None]
    order = np.argsort(is_own, axis=1, kind="stable")[:, :top_k]
    return Neighbours(
        np.take_along_axis(neighbours.positions, order, axis=1),
        np.take_along_axis(neighbours.distances, order, axis=1),
    )
