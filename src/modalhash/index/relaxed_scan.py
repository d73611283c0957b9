"""Searches for queries that keep their numbers, by plain scan: the reference of all others."""

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, WeightedQueries, weighted_distances
from modalhash.codes.asymmetric import QUERY_UNITS
from modalhash.index.searchers import (
    NO_ROW,
    Allowed,
    Neighbours,
    RaggedNeighbours,
    RelaxedSearcher,
    Searcher,
)

__all__ = [
    "BEYOND_UNITS",
    "SearchedQueries",
    "find_nearest",
    "find_within",
    "scan_nearest_relaxed",
    "scan_within_relaxed",
    "smallest",
    "sorted_hits",
    "take_queries",
]

SearchedQueries = Codes | WeightedQueries
"""(q, p) packed codes, or queries that keep their numbers."""
BEYOND_UNITS = QUERY_UNITS + 1
"""The weighted distance that stands beside `NO_ROW`."""
BLOCK_ITEMS = 1 << 16
BLOCK_QUERIES = 64


def take_queries(queries: SearchedQueries, rows: NDArray[np.bool_]) -> SearchedQueries:
    """Take some queries of either sort."""
    if isinstance(queries, WeightedQueries):
        return queries.take(rows)
    return np.ascontiguousarray(queries[rows])


def find_nearest(
    searcher: Searcher,
    codes: Codes,
    queries: SearchedQueries,
    top_k: int,
    *,
    allowed: Allowed | None = None,
) -> Neighbours:
    """Ask a searcher for the nearest rows; where it can't take the queries, scan its codes."""
    if not isinstance(queries, WeightedQueries):
        return searcher.nearest(queries, top_k, allowed=allowed)
    if isinstance(searcher, RelaxedSearcher):
        return searcher.nearest_relaxed(queries, top_k, allowed=allowed)
    return scan_nearest_relaxed(codes, queries, top_k, allowed=allowed)


def find_within(
    searcher: Searcher,
    codes: Codes,
    queries: SearchedQueries,
    limit: int | NDArray[np.int64],
    *,
    allowed: Allowed | None = None,
) -> RaggedNeighbours:
    """Ask a searcher for the rows within a radius or within limits; see `find_nearest`."""
    if isinstance(queries, WeightedQueries):
        limits = np.broadcast_to(np.asarray(limit, np.int64), (len(queries),))
        if isinstance(searcher, RelaxedSearcher):
            return searcher.within_relaxed(queries, limits, allowed=allowed)
        return scan_within_relaxed(codes, queries, limits, allowed=allowed)
    assert isinstance(limit, int)
    return searcher.within(queries, limit, allowed=allowed)


def scan_nearest_relaxed(
    codes: Codes, queries: WeightedQueries, top_k: int, *, allowed: Allowed | None = None
) -> Neighbours:
    """Compare each query with each code; see `RelaxedSearcher.nearest_relaxed`."""
    rows = None if allowed is None else np.flatnonzero(allowed)
    n_items = len(codes) if rows is None else len(rows)
    positions = np.full((len(queries), top_k), NO_ROW, np.int64)
    distances = np.full(positions.shape, BEYOND_UNITS, np.int32)
    n_found = min(top_k, n_items)
    for first in range(0, len(queries) if n_found else 0, BLOCK_QUERIES):
        span = slice(first, first + BLOCK_QUERIES)
        block_queries = queries.take(span)
        best = np.empty((len(block_queries), 0), np.int64)
        for start in range(0, n_items, BLOCK_ITEMS):
            end = min(start + BLOCK_ITEMS, n_items)
            block = codes[start:end] if rows is None else codes[rows[start:end]]
            # One number that orders by distance, then by position; no two are equal.
            keys = weighted_distances(block_queries, block).astype(np.int64) * n_items
            keys += np.arange(start, end)
            best = smallest(np.concatenate([best, smallest(keys, n_found)], axis=1), n_found)
        best.sort(axis=1)
        places = best % n_items
        positions[span, :n_found] = places if rows is None else rows[places]
        distances[span, :n_found] = best // n_items
    return Neighbours(positions, distances)


def scan_within_relaxed(
    codes: Codes,
    queries: WeightedQueries,
    limits: NDArray[np.int64],
    *,
    allowed: Allowed | None = None,
) -> RaggedNeighbours:
    """Compare each query with each code; see `RelaxedSearcher.within_relaxed`."""
    rows = None if allowed is None else np.flatnonzero(allowed)
    n_items = len(codes) if rows is None else len(rows)
    parts = [np.empty((3, 0), np.int64)]
    for first in range(0, len(queries), BLOCK_QUERIES):
        block_queries = queries.take(slice(first, first + BLOCK_QUERIES))
        block_limits = limits[first : first + BLOCK_QUERIES, None]
        for start in range(0, n_items, BLOCK_ITEMS):
            end = min(start + BLOCK_ITEMS, n_items)
            block = codes[start:end] if rows is None else codes[rows[start:end]]
            distances = weighted_distances(block_queries, block)
            query, place = np.nonzero(distances <= block_limits)
            near = distances[query, place].astype(np.int64)
            parts.append(np.stack([query + first, near, place + start]))
    query, near, place = np.concatenate(parts, axis=1)
    position = place if rows is None else rows[place]
    return sorted_hits(query, near.astype(np.int32), position, len(queries))


def sorted_hits(
    query: NDArray[np.int64],
    distances: NDArray[np.int32],
    positions: NDArray[np.int64],
    n_queries: int,
) -> RaggedNeighbours:
    """Put hits in order: by query, then by distance, then by position."""
    order = np.lexsort((positions, distances, query))
    counts = np.bincount(query, minlength=n_queries)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return RaggedNeighbours(starts, positions[order], distances[order])


def smallest(keys: NDArray[np.int64], top_k: int) -> NDArray[np.int64]:
    """Find the `top_k` smallest of each row in any order, or all if there are no more."""
    if keys.shape[1] <= top_k:
        return keys
    return np.partition(keys, top_k - 1, axis=1)[:, :top_k]
