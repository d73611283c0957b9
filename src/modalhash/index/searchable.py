"""The half of the contract of every index that reads: searches, filters, and what is in it.

`modalhash.index.base` holds the other half, and says what both promise.

Every index takes relaxed queries. A class that knows only packed codes says nothing, and gets no
floats: its `search` and `search_radius` are wrapped when the class is made, so that they answer
relaxed queries by a shortlist, see `modalhash.index.rescoring`. A class whose own methods take
relaxed queries says `takes_relaxed = True` in its body.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from numbers import Integral, Real
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, Queries, WeightedQueries, check_codes
from modalhash.errors import InputError, ShapeError
from modalhash.index.hits import Hits, IdArray, IdKind, Ids, ItemBlock, RadiusHits
from modalhash.index.relaxed_scan import SearchedQueries
from modalhash.index.rescoring import search_radius_again, search_shortlist

__all__ = [
    "SearchableIndex",
    "check_limits",
    "check_min_score",
    "check_radius",
    "check_top_k",
    "is_relaxed",
]


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
        if cls.__dict__.get("takes_relaxed", False):
            return
        for name, wrap in (("search", rescored_search), ("search_radius", rescored_radius)):
            method: Any = cls.__dict__.get(name)
            if method is not None and not getattr(method, "__isabstractmethod__", False):
                setattr(cls, name, wrap(method))
                cls.takes_relaxed = False

    @abstractmethod
    def search(
        self, queries: Queries, k: int, where: str | None = None, *, with_metadata: bool = False
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

    def read_queries(self, queries: Queries) -> SearchedQueries:
        """Check queries of either sort.

        Returns:
            Packed codes as they are, contiguous; relaxed queries in whole units.

        Raises:
            InputError: if a number isn't finite.
            ShapeError: if they don't fit the index.
        """
        if is_relaxed(queries):
            relaxed: Any = queries
            return WeightedQueries.of(relaxed, self.n_bits)
        self.check_query_codes(queries)
        return np.ascontiguousarray(queries)

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


def check_min_score(min_score: float) -> None:
    """Refuse a score that is no number.

    Raises:
        InputError: if it isn't a finite number.
    """
    value: Any = min_score
    if isinstance(value, bool) or not isinstance(value, Real) or not np.isfinite(float(value)):
        raise InputError(f"min_score is {min_score!r}, expected a number from -1 to 1")


def check_limits(queries: Queries, radius: int | None, min_score: float | None) -> None:
    """Refuse a radius search without a limit, or with one that its queries can't have.

    Raises:
        InputError: if there is neither a radius nor a score, if packed codes come with a score, or
            if either is out of range.
    """
    if radius is not None:
        check_radius(radius)
    if min_score is not None:
        check_min_score(min_score)
        if not is_relaxed(queries):
            raise InputError(
                f"min_score is {min_score}, but the queries are packed codes, which have distances "
                "and no scores: give a radius, or relaxed queries (q, n_bits) of floats"
            )
    if radius is None and min_score is None:
        ways = "a radius or a min_score" if is_relaxed(queries) else "a radius"
        raise InputError(f"the search has no limit: give {ways}, or search for the k nearest")


def is_relaxed(queries: object) -> bool:
    """Tell whether queries are floats, which keep their numbers.

    Example:
        >>> is_relaxed(np.zeros((1, 8), np.float32)), is_relaxed(np.zeros((1, 1), np.uint8))
        (True, False)
    """
    return isinstance(queries, np.ndarray) and queries.dtype.kind == "f"


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
    ) -> Hits:
        weighted = self.read_queries(queries) if is_relaxed(queries) else None
        if not isinstance(weighted, WeightedQueries):
            return method(self, queries, k, where, with_metadata=with_metadata)
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
    ) -> RadiusHits:
        check_limits(queries, radius, min_score)
        weighted = self.read_queries(queries) if is_relaxed(queries) else None
        if not isinstance(weighted, WeightedQueries):
            return method(self, queries, radius, where, with_metadata=with_metadata)
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
