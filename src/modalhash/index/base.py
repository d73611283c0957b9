"""The contract of every index: ids and codes in, true Hamming distances out.

An index maps ids of the user's to packed codes and metadata, and finds the codes nearest to a
query. What holds for every kind:

- **Ids** are texts or integers (64 bits), one kind an index, distinct.
- **Distances** are true: the distance given with an id is the distance of its code. An exact kind
  gives the k smallest; an approximate kind says so and states its recall.
- **Order** is by distance, then by insertion: of two items at one distance, the one added first
  comes first. An item that `upsert` replaces counts as inserted anew. Adding in other chunks,
  saving and opening change no answer.
- **k is clipped** to the number of items that count, so there are no filler ids; an empty index
  gives no hits.
- **Filters** are texts of a small language, see `modalhash.index.filters`; a search with one
  answers as an index of the items that pass it.
- **All or nothing**: an `add`, `upsert` or `delete` that raises has changed nothing.
- **Threads**: searches may run in many threads at once and while another thread changes the index;
  each sees the items as they were at one moment between its beginning and its end.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, Distances, check_codes
from modalhash.errors import InputError, ShapeError

__all__ = [
    "HashIndex",
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
        """Return the number of hits."""
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
        """Return the number of queries."""
        return len(self.distances)

    def __getitem__(self, query: int) -> QueryHits:
        """Return the hits of one query, counted from 0."""
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
        """Return the number of queries."""
        return len(self.starts) - 1

    def __getitem__(self, query: int) -> QueryHits:
        """Return the hits of one query, counted from 0."""
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
        """Return the number of items."""
        return len(self.codes)


class HashIndex(ABC):
    """Find the codes nearest to a query; the module's text says what holds for every kind.

    Attributes:
        kind: its name in the table of kinds.
        n_bits: bits of a code.
        model_fingerprint: says which model made the codes; "" if nobody said.
    """

    kind: str
    n_bits: int
    model_fingerprint: str

    @abstractmethod
    def add(self, ids: Ids, codes: Codes, metadata: Sequence[Metadata] | None = None) -> None:
        """Add items; they come after those that are there.

        Args:
            ids: n ids, new and distinct, of the index's kind (the first `add` decides it).
            codes: (n, p) uint8, packed by `pack`; copied.
            metadata: n mappings of names to JSON values; None is the same as n empty ones.

        Raises:
            InputError: if an id is there already, comes twice, or isn't a text or a 64-bit
                integer; if kinds are mixed; if metadata can't be stored as JSON. Nothing is
                added then.
            ShapeError: if the codes don't fit the index, or the numbers of ids, codes and
                metadata differ. Nothing is added then.
        """

    @abstractmethod
    def upsert(self, ids: Ids, codes: Codes, metadata: Sequence[Metadata] | None = None) -> int:
        """Add items, in the place of those of the same ids.

        A replaced item keeps nothing: its metadata is what is given now, and it comes last among
        items at one distance.

        Args:
            ids: n distinct ids, of the index's kind.
            codes: (n, p) uint8, packed by `pack`; copied.
            metadata: n mappings of names to JSON values; None is the same as n empty ones.

        Returns:
            How many items were replaced.

        Raises:
            InputError: as `add` does, but not for ids that are there.
            ShapeError: as `add` does.
        """

    @abstractmethod
    def delete(self, ids: Ids, *, missing: str = "error") -> int:
        """Remove items; an id may be named twice.

        Args:
            ids: of the items.
            missing: "error", or "ignore" to pass over ids that aren't there.

        Returns:
            How many items were removed.

        Raises:
            InputError: if an id isn't there, naming it. Nothing is deleted then.
            UnknownNameError: if `missing` is neither.
        """

    @abstractmethod
    def delete_where(self, where: str) -> int:
        """Remove the items that pass a filter, and return how many.

        Raises:
            FilterError: if the filter can't be understood, marking the place.
        """

    @abstractmethod
    def search(
        self, codes: Codes, k: int, where: str | None = None, *, with_metadata: bool = False
    ) -> Hits:
        """Find the k nearest items of each query.

        Args:
            codes: (q, p) uint8 of queries, packed by `pack`.
            k: hits a query; clipped to the number of items that count.
            where: a filter; None counts all items.
            with_metadata: give the hits' metadata, too, of the same moment.

        Returns:
            (q, min(k, number of items that count)) by distance, then by insertion.

        Raises:
            InputError: if `k` is less than 1.
            FilterError: if the filter can't be understood, marking the place.
            ShapeError: if the codes don't fit the index.
        """

    @abstractmethod
    def search_radius(
        self, codes: Codes, radius: int, where: str | None = None, *, with_metadata: bool = False
    ) -> RadiusHits:
        """Find all items at a distance of at most `radius` from each query.

        Args:
            codes: (q, p) uint8 of queries, packed by `pack`.
            radius: largest distance, included.
            where: a filter; None counts all items.
            with_metadata: give the hits' metadata, too, of the same moment.

        Returns:
            Hits of each query, by distance, then by insertion. Memory grows with their number.

        Raises:
            InputError: if `radius` is negative.
            FilterError: if the filter can't be understood, marking the place.
            ShapeError: if the codes don't fit the index.
        """

    @abstractmethod
    def distance_histogram(self, codes: Codes, where: str | None = None) -> NDArray[np.int64]:
        """Count the items at each distance from each query; always exact.

        Args:
            codes: (q, p) uint8 of queries, packed by `pack`.
            where: a filter; None counts all items.

        Returns:
            (q, n_bits + 1) int64: how many items are at distance 0, 1, ...

        Raises:
            FilterError: if the filter can't be understood, marking the place.
            ShapeError: if the codes don't fit the index.
        """

    @abstractmethod
    def select(self, where: str) -> IdArray:
        """Return the ids of the items that pass a filter, in the order of insertion.

        Raises:
            FilterError: if the filter can't be understood, marking the place.
        """

    @abstractmethod
    def reconstruct(self, ids: Ids) -> Codes:
        """Return the codes of items, (n, p) uint8, in the order asked for.

        Raises:
            InputError: if an id isn't there, naming it.
        """

    @abstractmethod
    def metadata(self, ids: Ids) -> list[dict[str, Any]]:
        """Return the metadata of items in the order asked for; empty where none was given.

        Raises:
            InputError: if an id isn't there, naming it.
        """

    @abstractmethod
    def blocks(self, n_rows: int = 4096) -> Iterator[ItemBlock]:
        """Yield all items in the order of insertion, without ever holding more than a block.

        All blocks are of the moment of the call, whatever is changed meanwhile; of an index on a
        server, each block is of its own moment.

        Args:
            n_rows: items a block at most.
        """

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of items."""

    @property
    @abstractmethod
    def ids(self) -> IdArray:
        """All ids in the order of insertion."""

    @property
    @abstractmethod
    def id_kind(self) -> IdKind | None:
        """What the ids are; None until the first item was added."""

    @property
    def searcher_parameters(self) -> Mapping[str, Any]:
        """What its search states of itself: what was chosen and measured; nothing by default."""
        return {}

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections; the index can't be used afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def check_query_codes(self, codes: Codes) -> None:
        """Refuse queries that don't fit the index.

        Raises:
            ShapeError: if they are not (q, p) uint8 of the index's width.
        """
        width = -(-self.n_bits // 8)
        if codes.ndim == 2 and codes.dtype == np.uint8 and codes.shape[1] != width:
            raise ShapeError(
                f"query codes have {codes.shape[1]} bytes per row, the index has {width}: "
                f"encode with {self.n_bits} bits"
            )
        check_codes(codes, self.n_bits, name="query codes")


def check_top_k(k: int) -> None:
    """Refuse a k below 1.

    Raises:
        InputError: if it is.
    """
    if k < 1:
        raise InputError(f"k is {k}, expected at least 1")


def check_radius(radius: int) -> None:
    """Refuse a negative radius.

    Raises:
        InputError: if it is.
    """
    if radius < 0:
        raise InputError(f"radius is {radius}, expected 0 or more")
