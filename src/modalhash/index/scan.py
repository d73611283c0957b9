"""What the scans have in common: rows that don't count are left out before scanning."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, WeightedQueries
from modalhash.errors import SettingError
from modalhash.index.relaxed_scan import scan_nearest_relaxed, scan_within_relaxed
from modalhash.index.searchers import (
    NO_ROW,
    Allowed,
    Neighbours,
    RaggedNeighbours,
    RelaxedSearcher,
)

__all__ = ["ScanSearcher", "refuse_parameters"]


class ScanSearcher(RelaxedSearcher):
    """Compares each query with every code that counts; building one costs nothing.

    Args:
        codes: (m, p) uint8, contiguous; may be mapped from a file.
    """

    is_exact = True
    is_exact_relaxed = True

    def __init__(self, codes: Codes) -> None:
        self.codes = codes
        self.parameters: Mapping[str, Any] = {}

    @classmethod
    def build(cls, codes: Codes, n_bits: int, *, parameters: Mapping[str, Any]) -> Self:
        """Make a searcher; see `Searcher.build`. There are no parameters."""
        refuse_parameters(cls.kind, parameters)
        return cls(codes)

    @abstractmethod
    def scan_nearest(self, database_codes: Codes, query_codes: Codes, top_k: int) -> Neighbours:
        """Find the `top_k` nearest of some codes; `top_k` is at most their number."""

    @abstractmethod
    def scan_within(
        self, database_codes: Codes, query_codes: Codes, radius: int
    ) -> RaggedNeighbours:
        """Find those of some codes, one at least, at a distance of at most `radius`."""

    def nearest(
        self, query_codes: Codes, top_k: int, *, allowed: Allowed | None = None
    ) -> Neighbours:
        """Find the nearest rows of each query; see `Searcher.nearest`."""
        if allowed is None:
            return self.scan_nearest(self.codes, query_codes, top_k)
        rows = np.flatnonzero(allowed)
        beyond = np.int32(8 * self.codes.shape[1] + 1)
        positions = np.full((len(query_codes), top_k), NO_ROW, np.int64)
        distances = np.full(positions.shape, beyond, np.int32)
        if n_found := min(top_k, len(rows)):
            neighbours = self.scan_nearest(self.codes[rows], query_codes, n_found)
            positions[:, :n_found] = rows[neighbours.positions]
            distances[:, :n_found] = neighbours.distances
        return Neighbours(positions, distances)

    def within(
        self, query_codes: Codes, radius: int, *, allowed: Allowed | None = None
    ) -> RaggedNeighbours:
        """Find the rows within a radius of each query; see `Searcher.within`."""
        if allowed is None:
            return self.scan_within(self.codes, query_codes, radius)
        rows = np.flatnonzero(allowed)
        if not len(rows):
            nothing = np.empty(0, np.int64)
            starts = np.zeros(len(query_codes) + 1, np.int64)
            return RaggedNeighbours(starts, nothing, nothing.astype(np.int32))
        neighbours = self.scan_within(self.codes[rows], query_codes, radius)
        return RaggedNeighbours(neighbours.starts, rows[neighbours.positions], neighbours.distances)

    def nearest_relaxed(
        self, queries: WeightedQueries, top_k: int, *, allowed: Allowed | None = None
    ) -> Neighbours:
        """Scan for relaxed queries; see `RelaxedSearcher.nearest_relaxed`."""
        return scan_nearest_relaxed(self.codes, queries, top_k, allowed=allowed)

    def within_relaxed(
        self,
        queries: WeightedQueries,
        limits: NDArray[np.int64],
        *,
        allowed: Allowed | None = None,
    ) -> RaggedNeighbours:
        """Scan for relaxed queries; see `RelaxedSearcher.within_relaxed`."""
        return scan_within_relaxed(self.codes, queries, limits, allowed=allowed)


def refuse_parameters(kind: str, parameters: Mapping[str, Any]) -> None:
    """Refuse parameters of a kind that takes none.

    Raises:
        SettingError: if there are any.
    """
    if parameters:
        names = ", ".join(sorted(parameters))
        raise SettingError(f"an index of kind {kind!r} takes no parameters, got {names}")
