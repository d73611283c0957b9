"""The half of the contract of every index that reads: searches, filters, and what is in it.

`modalhash.index.base` holds the other half, and says what both promise.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from numbers import Integral
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, check_codes
from modalhash.errors import InputError, ShapeError
from modalhash.index.hits import Hits, IdArray, IdKind, Ids, ItemBlock, RadiusHits

__all__ = ["SearchableIndex", "check_radius", "check_top_k"]


class SearchableIndex(ABC):
    """Find the codes nearest to a query, and read items.

    Attributes:
        n_bits: bits of a code.
    """

    n_bits: int

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
        """List the ids of the items that pass a filter, in the order of insertion.

        Raises:
            FilterError: if the filter can't be understood, marking the place.
        """

    @abstractmethod
    def contains(self, ids: Ids) -> NDArray[np.bool_]:
        """Look which of some ids there are.

        Returns:
            (n,) bool, in the order asked for. Ids of another kind than the index's aren't there.

        Raises:
            InputError: if an id is of no kind, or kinds are mixed.
        """

    @abstractmethod
    def reconstruct(self, ids: Ids) -> Codes:
        """Look up the codes of items, (n, p) uint8, in the order asked for.

        Raises:
            InputError: if an id isn't there, naming it.
        """

    @abstractmethod
    def metadata(self, ids: Ids) -> list[dict[str, Any]]:
        """Look up the metadata of items in the order asked for; empty where none was given.

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
        """Count the items."""

    @property
    @abstractmethod
    def ids(self) -> IdArray:
        """All ids in the order of insertion."""

    @property
    @abstractmethod
    def id_kind(self) -> IdKind | None:
        """What the ids are; None until the first item was added."""

    @property
    @abstractmethod
    def is_exact(self) -> bool:
        """Whether a search misses nothing."""

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
        value: object = codes
        if not isinstance(value, np.ndarray):
            raise ShapeError(
                f"query codes are of type {type(codes).__name__}, expected an array (q, p) uint8"
            )
        width = -(-self.n_bits // 8)
        if codes.ndim == 2 and codes.dtype == np.uint8 and codes.shape[1] != width:
            raise ShapeError(
                f"query codes have {codes.shape[1]} bytes per row, the index has {width}: "
                f"encode with {self.n_bits} bits"
            )
        check_codes(codes, self.n_bits, name="query codes")


def check_whole_number(name: str, value: object) -> None:
    """Refuse what isn't a whole number, also a NumPy one.

    Raises:
        InputError: if it isn't.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputError(f"{name} is {value!r}, expected a whole number")


def check_top_k(k: int) -> None:
    """Refuse a k below 1.

    Raises:
        InputError: if it is, or isn't a whole number.
    """
    check_whole_number("k", k)
    if k < 1:
        raise InputError(f"k is {k}, expected at least 1")


def check_radius(radius: int) -> None:
    """Refuse a negative radius.

    Raises:
        InputError: if it is, or isn't a whole number.
    """
    check_whole_number("radius", radius)
    if radius < 0:
        raise InputError(f"radius is {radius}, expected 0 or more")
