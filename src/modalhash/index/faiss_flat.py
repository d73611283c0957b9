"""The exact scan by FAISS, the default kind: as the reference, many times faster."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import faiss
import numpy as np

from modalhash.codes import Codes
from modalhash.index.embedded import EmbeddedIndex
from modalhash.index.scan import ScanSearcher
from modalhash.index.searchers import Neighbours, RaggedNeighbours

__all__ = ["FaissFlatIndex", "FlatSearcher", "threads_for"]

ONE_THREAD_BYTES = 1 << 23
"""Scans of up to so many bytes (about a millisecond) are left to one thread."""

kernels: Any = faiss  # what SWIG makes has no types


@final
class FlatSearcher(ScanSearcher):
    """Scan all codes with the kernels of FAISS's `IndexBinaryFlat`.

    The kernels run on our own array, so that the codes of an opened index stay mapped and exist
    once. Their heaps keep the first-added items of the last tie, so ids equal the reference's, too;
    a contract test holds them to it. Batches use FAISS's threads (`faiss.omp_set_num_threads`).

    Example:
        >>> from modalhash.codes import pack
        >>> searcher = FlatSearcher(pack([[1, 1], [1, -1], [-1, -1]]))
        >>> searcher.nearest(pack([[1, 1]]), 2).distances
        array([[0, 1]], dtype=int32)
    """

    kind = "flat"

    def scan_nearest(self, database_codes: Codes, query_codes: Codes, top_k: int) -> Neighbours:
        """Find the nearest rows of each query; see `Searcher.nearest`."""
        with threads_for(query_codes, database_codes):
            distances, positions = faiss.knn_hamming(query_codes, database_codes, top_k)
        # FAISS orders by distance and promises nothing within a tie.
        keys = np.sort(distances * np.int64(len(database_codes)) + positions, axis=1)
        return Neighbours(
            keys % len(database_codes), (keys // len(database_codes)).astype(np.int32)
        )

    def scan_within(
        self, database_codes: Codes, query_codes: Codes, radius: int
    ) -> RaggedNeighbours:
        """Find all rows within a radius of each query; see `Searcher.within`."""
        n_queries = len(query_codes)
        found = faiss.RangeSearchResult(n_queries)
        with threads_for(query_codes, database_codes):
            kernels.hamming_range_search(
                faiss.swig_ptr(query_codes),
                faiss.swig_ptr(database_codes),
                n_queries,
                len(database_codes),
                radius + 1,  # FAISS means distances below its radius
                database_codes.shape[1],
                found,
            )
        starts = faiss.rev_swig_ptr(found.lims, n_queries + 1).astype(np.int64)
        n_hits = int(starts[-1])
        positions = faiss.rev_swig_ptr(found.labels, n_hits).astype(np.int64)
        distances = faiss.rev_swig_ptr(found.distances, n_hits).astype(np.int32)
        queries = np.repeat(np.arange(n_queries), np.diff(starts))
        order = np.lexsort((positions, distances, queries))
        return RaggedNeighbours(starts, positions[order], distances[order])


@contextmanager
def threads_for(query_codes: Codes, database_codes: Codes) -> Iterator[None]:
    """Keep FAISS to one thread for one query, which it doesn't split, and for small scans.

    A second thread would only be waited for, on a busy machine a hundred times longer than the scan
    takes. The number of threads is a setting of the calling thread, so that searches in several
    don't disturb each other.
    """
    if len(query_codes) > 1 and len(query_codes) * database_codes.size > ONE_THREAD_BYTES:
        yield
        return
    n_threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(n_threads)


@final
class FaissFlatIndex(EmbeddedIndex):
    """An index of one segment that is searched so."""

    kind = "flat"

    def nearest(self, database_codes: Codes, query_codes: Codes, top_k: int) -> Neighbours:
        """Find the nearest rows of each query; see `EmbeddedIndex.nearest`."""
        return FlatSearcher(database_codes).nearest(query_codes, top_k)

    def within(self, database_codes: Codes, query_codes: Codes, radius: int) -> RaggedNeighbours:
        """Find all rows within a radius of each query; see `EmbeddedIndex.within`."""
        return FlatSearcher(database_codes).within(query_codes, radius)
