"""FAISS's scan as plain functions, and what makes it quick: threads, row widths, taking rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import faiss
import numpy as np

from modalhash.codes import Codes
from modalhash.index.searchers import Neighbours, Positions, RaggedNeighbours

__all__ = [
    "kernels",
    "scan_nearest",
    "scan_width",
    "scan_within",
    "take_rows",
    "threads_for",
    "widen_codes",
]

ONE_THREAD_BYTES = 1 << 23
"""Scans of up to so many bytes (about a millisecond) are left to one thread."""
QUICK_WIDTHS = (4, 8, 16, 20, 32)
"""Bytes of a code for which FAISS has a kernel of its own.

It takes 1.9 (24 bytes) to 4.8 times (7 bytes) as long for others below, which adding zero bytes up
to the next of these wins back; above 32 nothing is won."""
WIDENED_ROWS = 1 << 16

kernels: Any = faiss  # what SWIG makes has no types


@contextmanager
def threads_for(n_queries: int, n_bytes: int) -> Iterator[None]:
    """Keep FAISS to one thread for one query, which it doesn't split, and for small scans.

    A second thread would only be waited for, on a busy machine a hundred times longer than the scan
    takes. The number of threads is a setting of the calling thread, so that searches in several
    don't disturb each other.

    Args:
        n_queries: queries of the call.
        n_bytes: bytes of codes that each is compared with.
    """
    if n_queries > 1 and n_queries * n_bytes > ONE_THREAD_BYTES:
        yield
        return
    n_threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(n_threads)


def scan_nearest(database_codes: Codes, query_codes: Codes, top_k: int) -> Neighbours:
    """Find the `top_k` nearest of some codes, which are at least as many."""
    n_rows = len(database_codes)
    with threads_for(len(query_codes), database_codes.size):
        distances, positions = faiss.knn_hamming(query_codes, database_codes, top_k)
    # Which of the last tie are found is FAISS's doing (the first added ones: its heaps keep what
    # they have); the order within a tie is not promised.
    keys = np.sort(distances * np.int64(n_rows) + positions, axis=1)
    return Neighbours(keys % n_rows, (keys // n_rows).astype(np.int32))


def scan_within(database_codes: Codes, query_codes: Codes, radius: int) -> RaggedNeighbours:
    """Find those of some codes, one at least, at a distance of at most `radius`."""
    n_queries = len(query_codes)
    result = faiss.RangeSearchResult(n_queries)
    with threads_for(n_queries, database_codes.size):
        kernels.hamming_range_search(
            faiss.swig_ptr(query_codes),
            faiss.swig_ptr(database_codes),
            n_queries,
            len(database_codes),
            radius + 1,  # FAISS means distances below its radius
            database_codes.shape[1],
            result,
        )
    starts = faiss.rev_swig_ptr(result.lims, n_queries + 1).astype(np.int64)
    n_hits = int(starts[-1])
    positions = faiss.rev_swig_ptr(result.labels, n_hits).astype(np.int64)
    distances = faiss.rev_swig_ptr(result.distances, n_hits).astype(np.int32)
    queries = np.repeat(np.arange(n_queries), np.diff(starts))
    order = np.lexsort((positions, distances, queries))
    return RaggedNeighbours(starts, positions[order], distances[order])


def scan_width(width: int) -> int:
    """Choose the bytes a code should have for a quick scan, at least `width`.

    Example:
        >>> scan_width(3), scan_width(8), scan_width(24), scan_width(48)
        (4, 8, 32, 48)
    """
    return next((quick for quick in QUICK_WIDTHS if width <= quick), width)


def widen_codes(codes: Codes, width: int) -> Codes:
    """Add zero bytes to codes up to `width`; codes that have it are returned as they are."""
    if codes.shape[1] == width:
        return codes
    wide = np.zeros((len(codes), width), np.uint8)
    for start in range(0, len(codes), WIDENED_ROWS):
        wide[start : start + WIDENED_ROWS, : codes.shape[1]] = codes[start : start + WIDENED_ROWS]
    return wide


def take_rows(codes: Codes, rows: Positions) -> Codes:
    """Copy some rows of contiguous codes; whole words at a time where they fit."""
    width = codes.shape[1]
    if width in (2, 4, 8):
        words = codes.view(f"u{width}").ravel()
        return np.take(words, rows).view(np.uint8).reshape(len(rows), width)
    if width % 8 == 0:
        words = codes.view(np.uint64)
        return np.take(words, rows, axis=0).view(np.uint8)
    return np.take(codes, rows, axis=0)
