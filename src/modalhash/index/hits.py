"""What an index takes and gives: ids, metadata, hits and blocks of items."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, Distances, Scores

__all__ = [
    "Hits",
    "IdArray",
    "IdKind",
    "Ids",
    "ItemBlock",
    "Metadata",
    "QueryHits",
    "RadiusHits",
]

IdArray = NDArray[np.int64] | NDArray[np.object_]
"""Ids as an index gives them: int64, or objects that are all `str`."""
Ids = Sequence[str] | Sequence[int] | Sequence[str | int] | IdArray
"""Ids as an index takes them: all texts or all integers."""
Metadata = Mapping[str, Any]
"""What is known of an item besides its code: names to JSON values (caption, picture, year)."""


class IdKind(StrEnum):
    """What the ids of an index are."""

    TEXT = "text"
    INTEGER = "integer"


@dataclass(frozen=True)
class QueryHits:
    """The hits of one query.

    Attributes:
        ids: (k,) ids, best first.
        distances: (k,) int32 Hamming distances; ascending where the query was packed.
        metadata: k mappings, as the search saw them; None unless it was asked for them.
        scores: (k,) float32 in [-1, 1], descending; None where the query was packed.
    """

    ids: IdArray
    distances: Distances
    metadata: Sequence[Metadata] | None = None
    scores: Scores | None = None

    def __len__(self) -> int:
        """Count the hits."""
        return len(self.distances)


@dataclass(frozen=True)
class Hits:
    """The k nearest items of each query.

    Attributes:
        ids: (q, k) ids, best first.
        distances: (q, k) int32 Hamming distances, of relaxed queries those of their signs;
            ascending in each row where the queries were packed.
        metadata: q rows of k mappings; None unless the search was asked for them.
        scores: (q, k) float32 in [-1, 1], descending in each row; +1 where every bit agrees with
            the query. None where the queries were packed.
    """

    ids: IdArray
    distances: Distances
    metadata: Sequence[Sequence[Metadata]] | None = None
    scores: Scores | None = None

    def __len__(self) -> int:
        """Count the queries."""
        return len(self.distances)

    def __getitem__(self, query: int) -> QueryHits:
        """Take the hits of one query, counted from 0."""
        metadata = None if self.metadata is None else self.metadata[query]
        scores = None if self.scores is None else self.scores[query]
        return QueryHits(self.ids[query], self.distances[query], metadata, scores)


@dataclass(frozen=True)
class RadiusHits:
    """All items within a radius of each query; some queries have more than others.

    Attributes:
        starts: (q + 1,) int64; the hits of query i are those from `starts[i]` up to
            `starts[i + 1]`.
        ids: (t,) ids of all queries' hits, best first within a query.
        distances: (t,) int32 Hamming distances; ascending within a query where the queries were
            packed.
        metadata: t mappings; None unless the search was asked for them.
        scores: (t,) float32 in [-1, 1], descending within a query; None where the queries were
            packed.
    """

    starts: NDArray[np.int64]
    ids: IdArray
    distances: Distances
    metadata: Sequence[Metadata] | None = None
    scores: Scores | None = None

    def __len__(self) -> int:
        """Count the queries."""
        return len(self.starts) - 1

    def __getitem__(self, query: int) -> QueryHits:
        """Take the hits of one query, counted from 0."""
        if not -len(self) <= query < len(self):
            raise IndexError(f"query is {query}, there are {len(self)} queries")
        start, end = self.starts[query % len(self)], self.starts[query % len(self) + 1]
        metadata = None if self.metadata is None else self.metadata[start:end]
        scores = None if self.scores is None else self.scores[start:end]
        return QueryHits(self.ids[start:end], self.distances[start:end], metadata, scores)


@dataclass(frozen=True)
class ItemBlock:
    """Some items of an index, as `HashIndex.blocks` reads them.

    Attributes:
        ids: (n,) ids.
        codes: (n, p) uint8, packed.
        metadata: n mappings, empty where none was given.
    """

    ids: IdArray
    codes: Codes
    metadata: Sequence[Metadata]

    def __len__(self) -> int:
        """Count the items."""
        return len(self.codes)
