"""Relaxed queries for an index that knows only codes: a shortlist by Hamming, scored again here.

An index of another package, or a server, may rank by Hamming distance alone. For a relaxed query it
is asked for a shortlist by the query's signs; the shortlist's codes are looked up, and scored with
the query's numbers. So a hit's score and distance are true, but items that aren't in the shortlist
are missed: the longer it is, the fewer.

A search for all items of a score misses nothing: the score says how many bits may differ at most,
and all items within that radius are scored.
"""

from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, WeightedQueries, pairwise_distances
from modalhash.errors import InputError
from modalhash.index.hits import Hits, IdArray, Ids, RadiusHits
from modalhash.index.relaxed_scan import sorted_hits

__all__ = [
    "RECALL_MEASURED",
    "SHORTLIST",
    "SHORTLIST_SHARE",
    "CodeIndex",
    "SearchCodes",
    "SearchRadius",
    "search_radius_again",
    "search_shortlist",
    "shortlist_length",
]

SHORTLIST: Final = 500
"""Items in a shortlist, at least."""
SHORTLIST_SHARE: Final = 20
"""A shortlist has so many items for each hit, at least."""
RECALL_MEASURED: Final = (
    "500 items hold .998 of the 10 best of 35,455 learned codes of 64 bits, .951 of a million; "
    "docs/index-kinds.md has other lengths"
)
"""The recall of shortlists, by `benchmarks/index/shortlist.py`."""
ATTEMPTS: Final = 3


class CodeIndex(Protocol):
    """What is asked of the index."""

    n_bits: int

    def reconstruct(self, ids: Ids) -> Codes:
        """Look up the codes of items."""


class SearchCodes(Protocol):
    """A search for the items nearest to packed codes."""

    def __call__(
        self, queries: Codes, k: int, where: str | None = None, *, with_metadata: bool = False
    ) -> Hits:
        """Find the k nearest items of each query."""


class SearchRadius(Protocol):
    """A search for the items within a radius of packed codes."""

    def __call__(
        self, queries: Codes, radius: int, where: str | None = None, *, with_metadata: bool = False
    ) -> RadiusHits:
        """Find all items within a radius of each query."""


def shortlist_length(k: int, stated: int | None = None) -> int:
    """Compute how many items the shortlist of k hits has.

    Args:
        k: hits of a query.
        stated: what a user asked for; None chooses.

    Example:
        >>> shortlist_length(10), shortlist_length(100), shortlist_length(10, 40)
        (500, 2000, 40)
    """
    return max(k, SHORTLIST, SHORTLIST_SHARE * k) if stated is None else max(k, stated)


def search_shortlist(
    index: CodeIndex,
    search: SearchCodes,
    queries: WeightedQueries,
    k: int,
    where: str | None = None,
    *,
    with_metadata: bool = False,
    length: int | None = None,
) -> Hits:
    """Find the k best items of each query in a shortlist by Hamming distance.

    Args:
        index: whose codes are looked up.
        search: its search for packed codes.
        queries: relaxed ones.
        k: hits a query.
        where: a filter; None counts all items.
        with_metadata: give the hits' metadata, too.
        length: of the shortlist; None chooses.

    Returns:
        (q, min(k, number of items that count)) by score, then by Hamming distance, then as the
        index orders items of one distance.

    Raises:
        InputError: if items of the shortlist are deleted meanwhile, again and again.
    """
    for attempt in range(1, ATTEMPTS + 1):
        shortlist = search(
            queries.codes, shortlist_length(k, length), where, with_metadata=with_metadata
        )
        try:
            codes, rows = look_up_codes(index, shortlist.ids.ravel())
        except InputError:  # somebody has deleted one of the items since
            if attempt == ATTEMPTS:
                raise
            continue
        break
    n_queries, width = shortlist.distances.shape
    query = np.repeat(np.arange(n_queries), width)
    weighted = queries.paired_distances(codes[rows], query).reshape(n_queries, width)
    order = np.argsort(weighted, axis=1, kind="stable")[:, :k]
    metadata = None
    if shortlist.metadata is not None:
        metadata = [
            [documents[place] for place in places]
            for documents, places in zip(shortlist.metadata, order.tolist(), strict=True)
        ]
    ids: Any = np.take_along_axis(shortlist.ids, order, axis=1)
    return Hits(
        ids,
        np.take_along_axis(shortlist.distances, order, axis=1),
        metadata,
        queries.scores(np.take_along_axis(weighted, order, axis=1)),
    )


def search_radius_again(
    index: CodeIndex,
    search: SearchRadius,
    queries: WeightedQueries,
    radius: int | None,
    where: str | None = None,
    *,
    min_score: float | None = None,
    with_metadata: bool = False,
) -> RadiusHits:
    """Find all items within a radius, or of a score, and score them; misses no more than `search`.

    Args:
        index: whose codes are looked up.
        search: its radius search for packed codes.
        queries: relaxed ones.
        radius: largest Hamming distance, included; None is the largest that `min_score` allows.
        where: a filter; None counts all items.
        min_score: smallest score, included; None is any.
        with_metadata: give the hits' metadata, too.

    Raises:
        InputError: if hits are deleted meanwhile, again and again.
    """
    limits = queries.totals if min_score is None else queries.limits(min_score)
    most = int(most_differing(queries, limits).max(initial=0))
    reach = most if radius is None else min(radius, most)
    for attempt in range(1, ATTEMPTS + 1):
        hits = search(queries.codes, reach, where, with_metadata=with_metadata)
        try:
            codes, rows = look_up_codes(index, hits.ids)
        except InputError:
            if attempt == ATTEMPTS:
                raise
            continue
        break
    query = np.repeat(np.arange(len(queries)), np.diff(hits.starts))
    weighted = queries.paired_distances(codes[rows], query)
    is_kept = weighted <= limits[query]
    # The place among the hits orders items of one score.
    scored = sorted_hits(query[is_kept], weighted[is_kept], np.flatnonzero(is_kept), len(queries))
    metadata = None
    if hits.metadata is not None:
        metadata = [hits.metadata[place] for place in scored.positions.tolist()]
    own = np.repeat(np.arange(len(queries)), np.diff(scored.starts))
    return RadiusHits(
        scored.starts,
        hits.ids[scored.positions],
        pairwise_distances(codes[rows[scored.positions]], queries.codes[own]),
        metadata,
        queries.scores(scored.distances, own),
    )


def look_up_codes(index: CodeIndex, ids: IdArray) -> tuple[Codes, NDArray[np.int64]]:
    """Look up codes, each id once.

    Returns:
        (u, p) codes of the distinct ids, and (t,) which of them each id has.
    """
    places: dict[Any, int] = {}
    rows = np.fromiter(
        (places.setdefault(value, len(places)) for value in ids.tolist()), np.int64, len(ids)
    )
    return index.reconstruct(list(places)), rows


def most_differing(queries: WeightedQueries, limits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count how many bits may differ at most within a weighted distance: the lightest ones.

    Returns:
        (q,) int64; 0 where the limit is -1.

    Example:
        >>> queries = WeightedQueries.of(np.array([[4.0, 1.0, 2.0]]), 3)
        >>> most_differing(queries, queries.limits(0.1))
        array([2])
    """
    sums = np.cumsum(np.sort(queries.weights, axis=1), axis=1, dtype=np.int64)
    counts: NDArray[np.int64] = (sums <= limits[:, None]).sum(axis=1)
    return counts
