"""The contract of every index: ids and codes in, true Hamming distances out.

An index maps ids of the user's to packed codes and metadata, and finds the codes nearest to a
query. What holds for every kind:

- **Ids** are texts or integers (64 bits), one kind an index, distinct.
- **Distances** are true: the distance given with an id is the distance of its code. An exact kind
  gives the k smallest; an approximate kind says so and states its recall.
- **Order** is by distance, then by insertion: of two items at one distance, the one added first
  comes first. Adding in other chunks, saving and opening change no answer.
- **k is clipped** to the number of items, so there are no filler ids; an empty index gives no hits.
- **All or nothing**: an `add` or `delete` that raises has changed nothing.
- **Threads**: searches may run in many threads at once and while another thread changes the index;
  each sees the items as they were when it began.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, Distances, check_codes
from modalhash.errors import InputError, ShapeError

__all__ = ["HashIndex", "Hits", "IdArray", "IdKind", "Ids", "Metadata", "QueryHits", "RadiusHits"]

IdArray = NDArray[np.int64] | NDArray[np.object_]
"""Ids as an index gives them: int64, or objects that are all `str`."""
Ids = Sequence[str] | Sequence[int] | IdArray
"""Ids as an index takes them."""
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
    """

    ids: IdArray
    distances: Distances

    def __len__(self) -> int:
        """Return the number of hits."""
        return len(self.distances)


@dataclass(frozen=True)
class Hits:
    """The k nearest items of each query.

    Attributes:
        ids: (q, k) ids, nearest first.
        distances: (q, k) int32, ascending in each row; smaller is nearer.
    """

    ids: IdArray
    distances: Distances

    def __len__(self) -> int:
        """Return the number of queries."""
        return len(self.distances)

    def __getitem__(self, query: int) -> QueryHits:
        """Return the hits of one query, counted from 0."""
        return QueryHits(self.ids[query], self.distances[query])


@dataclass(frozen=True)
class RadiusHits:
    """All items within a radius of each query; some queries have more than others.

    Attributes:
        starts: (q + 1,) int64; the hits of query i are those from `starts[i]` up to
            `starts[i + 1]`.
        ids: (t,) ids of all queries' hits, nearest first within a query.
        distances: (t,) int32, ascending within a query.
    """

    starts: NDArray[np.int64]
    ids: IdArray
    distances: Distances

    def __len__(self) -> int:
        """Return the number of queries."""
        return len(self.starts) - 1

    def __getitem__(self, query: int) -> QueryHits:
        """Return the hits of one query, counted from 0."""
        if not -len(self) <= query < len(self):
            raise IndexError(f"query is {query}, there are {len(self)} queries")
        start, end = self.starts[query % len(self)], self.starts[query % len(self) + 1]
        return QueryHits(self.ids[start:end], self.distances[start:end])


class HashIndex(ABC):
    """Find the codes nearest to a query; the module's text says what holds for every kind.

    Attributes:
        kind: its name in the table of kinds.
        n_bits: bits of a code.
        model_fingerprint: says which model made the codes; "" if nobody said.
    """

    kind: ClassVar[str]
    n_bits: int
    model_fingerprint: str

    @classmethod
    @abstractmethod
    def build(
        cls,
        ids: Ids,
        codes: Codes,
        n_bits: int,
        *,
        metadata: Sequence[Metadata] | None = None,
        model_fingerprint: str = "",
    ) -> Self:
        """Make an index of some items; none are needed.

        Args:
            ids: n distinct ids, texts or integers.
            codes: (n, p) uint8, packed by `pack`; copied.
            n_bits: bits of a code, stored because the packed width doesn't tell.
            metadata: n mappings, one an item; None is the same as n empty ones.
            model_fingerprint: says which model made the codes.

        Raises:
            InputError: as `add` does, and if `n_bits` is not positive.
            ShapeError: as `add` does.
        """

    @classmethod
    @abstractmethod
    def open(cls, folder: str | Path, *, expect_model: str | None = None) -> Self:
        """Open a saved index; codes and ids are mapped, not read.

        Args:
            folder: what `save` wrote.
            expect_model: fingerprint of the model whose codes will be searched for; None asks
                nothing.

        Raises:
            ArtifactError: if the index is of another kind, or of another model than
                `expect_model`.
            DamagedArtifactError: if a file is missing, cut short or changed, naming it. Files of
                up to 64 MiB are read and compared with their checksums; of larger ones the size
                is compared, and `verify_index` reads them.
            NewerFormatError: if a newer modalhash wrote it.
            StorageError: if it can't be read.
        """

    @abstractmethod
    def save(self, folder: str | Path) -> None:
        """Write the index so that the folder holds the new state or the old one, never a mix.

        A kill at any moment leaves a folder that opens. One process may write a folder at a time;
        any number may read it meanwhile.

        Args:
            folder: made if missing; an index that is there is replaced.

        Raises:
            InputError: if the folder holds the manifest of something else.
            StorageError: if the file system refuses; the old state is kept.
        """

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
    def delete(self, ids: Ids) -> None:
        """Remove items; an id may be named twice.

        Raises:
            InputError: if an id isn't there, naming it. Nothing is deleted then.
        """

    @abstractmethod
    def search(self, codes: Codes, k: int) -> Hits:
        """Find the k nearest items of each query.

        Args:
            codes: (q, p) uint8 of queries, packed by `pack`.
            k: hits a query; clipped to the number of items.

        Returns:
            (q, min(k, len(self))) ids and distances, by distance, then by insertion.

        Raises:
            InputError: if `k` is less than 1.
            ShapeError: if the codes don't fit the index.
        """

    @abstractmethod
    def search_radius(self, codes: Codes, radius: int) -> RadiusHits:
        """Find all items at a distance of at most `radius` from each query.

        Args:
            codes: (q, p) uint8 of queries, packed by `pack`.
            radius: largest distance, included.

        Returns:
            Hits of each query, by distance, then by insertion. Memory grows with their number.

        Raises:
            InputError: if `radius` is negative.
            ShapeError: if the codes don't fit the index.
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
