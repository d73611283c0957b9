"""What an index takes and gives: ids, metadata, hits and blocks of items."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, Distances

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
        ids: (k,) ids, nearest first.
        distances: (k,) int32, ascending; smaller is nearer.
        metadata: k mappings, as the search saw them; None unless it was asked for them.
    """

    ids: IdArray
    distances: Distances
    metadata: Sequence[Metadata] | None = None

    def __len__(self) -> int:
        """Count the hits."""
        return len(self.distances)


@dataclass(frozen=True)
class Hits:
    """The k nearest items of each query.

    Attributes:
        ids: (q, k) ids, nearest first.
        distances: (q, k) int32, ascending in each row; smaller is nearer.
        metadata: q rows of k mappings; None unless the search was asked for them.
    """

    ids: IdArray
    distances: Distances
    metadata: Sequence[Sequence[Metadata]] | None = None

    def __len__(self) -> int:
        """Count the queries."""
        return len(self.distances)

    def __getitem__(self, query: int) -> QueryHits:
        """Take the hits of one query, counted from 0."""
        metadata = None if self.metadata is None else self.metadata[query]
        return QueryHits(self.ids[query], self.distances[query], metadata)


@dataclass(frozen=True)
class RadiusHits:
    """All items within a radius of each query; some queries have more than others.

    Attributes:
        starts: (q + 1,) int64; the hits of query i are those from `starts[i]` up to
            `starts[i + 1]`.
        ids: (t,) ids of all queries' hits, nearest first within a query.
        distances: (t,) int32, ascending within a query.
        metadata: t mappings; None unless the search was asked for them.
    """

    starts: NDArray[np.int64]
    ids: IdArray
    distances: Distances
    metadata: Sequence[Metadata] | None = None

    def __len__(self) -> int:
        """Count the queries."""
        return len(self.starts) - 1

    def __getitem__(self, query: int) -> QueryHits:
        """Take the hits of one query, counted from 0."""
        if not -len(self) <= query < len(self):
            raise IndexError(f"query is {query}, there are {len(self)} queries")
        start, end = self.starts[query % len(self)], self.starts[query % len(self) + 1]
        metadata = None if self.metadata is None else self.metadata[start:end]
        return QueryHits(self.ids[start:end], self.distances[start:end], metadata)


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
