"""The half of the contract of every index that reads: searches, filters, and what is in it.

`modalhash.index.base` holds the other half, and says what both promise.

Every index takes relaxed queries. A class that knows only packed codes says nothing, and gets no
floats: its `search` and `search_radius` are wrapped when the class is made, so that they answer
relaxed queries by a shortlist, see `modalhash.index.rescoring`. A class whose own methods take
relaxed queries says `takes_relaxed = True` in its body.

Every method that takes or gives packed codes takes `bit_order`, too. Methods of a class that don't
name it are wrapped, and get and give our own order.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import (
    BitOrder,
    Codes,
    Queries,
    WeightedQueries,
    check_codes,
    to_little,
)
from modalhash.errors import ShapeError
from modalhash.index.bit_orders import wrap_for_bit_orders
from modalhash.index.hits import Hits, IdArray, IdKind, Ids, ItemBlock, RadiusHits
from modalhash.index.relaxed_scan import SearchedQueries
from modalhash.index.rescoring import search_radius_again, search_shortlist
from modalhash.index.search_limits import check_limits, check_top_k, is_relaxed

__all__ = ["SearchableIndex"]


class SearchableIndex(ABC):
    """Find the codes nearest to a query, and read items.

    Attributes:
        n_bits: bits of a code.
        takes_relaxed: whether the methods in the body of this very class take relaxed queries;
            those of a class that doesn't say so are wrapped.
        shortlist: items that are scored for a relaxed query by a class that only knows packed
            codes; None chooses by the number of hits.
    """

    n_bits: int
    takes_relaxed: ClassVar[bool] = False
    shortlist: int | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        wrap_for_bit_orders(cls)
        if cls.__dict__.get("takes_relaxed", False):
            return
        for name, wrap in (("search", rescored_search), ("search_radius", rescored_radius)):
            method: Any = cls.__dict__.get(name)
            if method is not None and not getattr(method, "__isabstractmethod__", False):
                setattr(cls, name, wrap(method))
                cls.takes_relaxed = False

    @abstractmethod
    def search(
        self,
        queries: Queries,
        k: int,
        where: str | None = None,
        *,
        with_metadata: bool = False,
        bit_order: BitOrder | str = BitOrder.LITTLE,
    ) -> Hits:
        """Find the k best items of each query.

        Packed codes are ranked by Hamming distance. Relaxed queries keep their numbers: items are
        ranked by `score = sum_i x_i s_i / sum_i |x_i|`, where x are the numbers of the query and s
        the signs of the item; see `modalhash.codes.asymmetric`.

        Args:
            queries: (q, p) uint8 packed by `pack`, or (q, n_bits) float32 or float64, finite. A
                relaxed query of zeros scores all items 0.
            k: hits a query; clipped to the number of items that count.
            where: a filter; None counts all items.
            with_metadata: give the hits' metadata, too, of the same moment.
            bit_order: of packed queries, "little" (ours) or "big".

        Returns:
            (q, min(k, number of items that count)) by distance, or by score where the queries are
            relaxed, then by insertion. Hits of relaxed queries have `scores` beside the distances.

        Raises:
            InputError: if `k` is less than 1, or a number of a query isn't finite.
            FilterError: if the filter can't be understood, marking the place.
            ShapeError: if the queries don't fit the index.
        """

    @abstractmethod
    def search_radius(
        self,
        queries: Queries,
        radius: int | None = None,
        where: str | None = None,
        *,
        min_score: float | None = None,
        with_metadata: bool = False,
        bit_order: BitOrder | str = BitOrder.LITTLE,
    ) -> RadiusHits:
        """Find all items within a Hamming radius of each query, or of a score.

        Args:
            queries: as `search` takes them.
            radius: largest Hamming distance, included, of relaxed queries from their signs; None
                is any, which relaxed queries with a `min_score` may ask for.
            where: a filter; None counts all items.
            min_score: smallest score, included; only relaxed queries have scores. With a radius,
                too, an item must be within both.
            with_metadata: give the hits' metadata, too, of the same moment.
            bit_order: of packed queries, "little" (ours) or "big".

        Returns:
            Hits of each query, by distance, or by score where the queries are relaxed, then by
            insertion. Memory grows with their number.

        Raises:
            InputError: if `radius` is negative; if there is neither a radius nor a score; if packed
                codes come with a score; or if a number isn't finite.
            FilterError: if the filter can't be understood, marking the place.
            ShapeError: if the queries don't fit the index.
        """

    @abstractmethod
    def distance_histogram(
        self,
        codes: Codes,
        where: str | None = None,
        *,
        bit_order: BitOrder | str = BitOrder.LITTLE,
    ) -> NDArray[np.int64]:
        """Count the items at each distance from each query; always exact.

        Args:
            codes: (q, p) uint8 of queries, packed by `pack`.
            where: a filter; None counts all items.
            bit_order: of the codes, "little" (ours) or "big".

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
    def reconstruct(self, ids: Ids, *, bit_order: BitOrder | str = BitOrder.LITTLE) -> Codes:
        """Look up the codes of items, (n, p) uint8, in the order asked for.

        Args:
            ids: of the items.
            bit_order: of the result, "little" (ours) or "big".

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
    def blocks(
        self, n_rows: int = 4096, *, bit_order: BitOrder | str = BitOrder.LITTLE
    ) -> Iterator[ItemBlock]:
        """Yield all items in the order of insertion, without ever holding more than a block.

        All blocks are of the moment of the call, whatever is changed meanwhile; of an index on a
        server, each block is of its own moment.

        Args:
            n_rows: items a block at most.
            bit_order: of the codes, "little" (ours) or "big".
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
        """Whether a search for packed codes misses nothing."""

    @property
    def is_exact_relaxed(self) -> bool:
        """Whether a search for relaxed queries misses nothing; by default it may."""
        return False

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

    def read_queries(
        self, queries: Queries, bit_order: BitOrder | str = BitOrder.LITTLE
    ) -> SearchedQueries:
        """Check queries of either sort.

        Args:
            queries: packed or relaxed.
            bit_order: of packed ones.

        Returns:
            Packed codes as they are, contiguous; relaxed queries in whole units.

        Raises:
            InputError: if a number isn't finite.
            ShapeError: if they don't fit the index.
        """
        if is_relaxed(queries):
            relaxed: Any = queries
            return WeightedQueries.of(relaxed, self.n_bits)
        codes: Codes = to_little(queries, bit_order)
        self.check_query_codes(codes)
        return np.ascontiguousarray(codes)

    def check_query_codes(self, codes: Any) -> None:
        """Refuse packed queries that don't fit the index.

        Raises:
            ShapeError: if they are not (q, p) uint8 of the index's width.
        """
        if not isinstance(codes, np.ndarray):
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


def rescored_search(method: Callable[..., Hits]) -> Callable[..., Hits]:
    """Wrap a search that knows only packed codes: relaxed queries are answered by a shortlist."""

    @wraps(method)
    def search(
        self: SearchableIndex,
        queries: Queries,
        k: int,
        where: str | None = None,
        *,
        with_metadata: bool = False,
        bit_order: BitOrder | str = BitOrder.LITTLE,
    ) -> Hits:
        weighted = self.read_queries(queries) if is_relaxed(queries) else None
        if not isinstance(weighted, WeightedQueries):
            return method(self, queries, k, where, with_metadata=with_metadata, bit_order=bit_order)
        check_top_k(k)
        return search_shortlist(
            self,
            method.__get__(self),
            weighted,
            k,
            where,
            with_metadata=with_metadata,
            length=self.shortlist,
        )

    return search


def rescored_radius(method: Callable[..., RadiusHits]) -> Callable[..., RadiusHits]:
    """Wrap a radius search that knows only packed codes: it scores what is near enough."""

    @wraps(method)
    def search_radius(
        self: SearchableIndex,
        queries: Queries,
        radius: int | None = None,
        where: str | None = None,
        *,
        min_score: float | None = None,
        with_metadata: bool = False,
        bit_order: BitOrder | str = BitOrder.LITTLE,
    ) -> RadiusHits:
        check_limits(queries, radius, min_score)
        weighted = self.read_queries(queries) if is_relaxed(queries) else None
        if not isinstance(weighted, WeightedQueries):
            return method(
                self, queries, radius, where, with_metadata=with_metadata, bit_order=bit_order
            )
        return search_radius_again(
            self,
            method.__get__(self),
            weighted,
            radius,
            where,
            min_score=min_score,
            with_metadata=with_metadata,
        )

    return search_radius
