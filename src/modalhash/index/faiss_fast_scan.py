"""Relaxed queries by FAISS's fast scan, exact: bits as they are, scored four at a time.

A product quantizer of four bits for every four dimensions, whose 16 centroids are all patterns of
four signs, holds packed codes bit for bit. FAISS scores 32 of them at a time by looking sums up in
registers, which takes less than half of the time of a Hamming scan at 64 bits.

Its tables are rounded to bytes, so its order is nearly right only. It becomes exact so: FAISS gives
a shortlist, the best by rounded scores, and its items are scored exactly. An item that is not in
the shortlist has a rounded score of at most the last one's; each of the t tables is wrong by at
most half a step of its bytes, so the item's true score is at most

    last rounded score + t * step / 2,    step = largest span of a table / 255.

If the k-th exact score is above that, the k best are proven to be the k best, in the right order.
For queries that can't be proven, the shortlist grows. Where that doesn't help, since thousands of
codes are equal, distinct codes are scanned once each from then on; and queries that aren't proven
even then are compared with every code.

FAISS's copy of the bits is made when relaxed queries first come, in about 10 ms a million codes of
64 bits, and takes as much memory as the codes. Mapped codes stay on the disk beside it, but for the
rows of shortlists.
"""

import mmap
import threading
from typing import Any, Final

import faiss
import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, WeightedQueries
from modalhash.index.faiss_scan import kernels, threads_for
from modalhash.index.folding import Folding, distinct_share
from modalhash.index.forking import renew_in_children
from modalhash.index.relaxed_scan import (
    BEYOND_UNITS,
    scan_nearest_relaxed,
    scan_within_relaxed,
    sorted_hits,
)
from modalhash.index.searchers import Neighbours, Positions, RaggedNeighbours

__all__ = ["FastScan", "pad_bits", "set_sign_centroids"]

FEW_PAIRS: Final = 1 << 15
"""Up to so many pairs of a query and a code are compared one by one."""
BLOCK_ROWS: Final = 96
"""Codes that lie together in FAISS's layout; with its usual 32 a scan takes 1.2 times as long."""
PACKED_ROWS: Final = 340 * BLOCK_ROWS
MOST_TABLES: Final = 256
"""FAISS sums bytes of so many tables without an overflow: 1,024 bits."""
SPARE_ITEMS: Final = 30
"""Items in a shortlist beside the k best: at k = 10 enough to prove nearly all answers."""
FIRST_WITHIN: Final = 256
GROWTH: Final = 8
LISTED_SHARE: Final = 32
"""A shortlist has at most this part of the codes; beyond, all are compared."""
FOLDED_ROWS: Final = 50_000
FOLDED_SHARE: Final = 0.5
"""Codes are folded from so many rows on, where at most this share of them is distinct."""
SLACK: Final = 128
"""Units that float32 may lose in a rounded score and its bound."""
TWICE: Final = np.full(4, 2, np.float32)
"""A table's span is twice the sum of its four weights."""
BLOCK_LISTED: Final = 1 << 19
"""Items of shortlists that are scored at a time."""


class FastScan:
    """Scans codes for relaxed queries; may be used in many threads at once.

    Args:
        codes: (m, p) uint8, contiguous, one row at least; never changed.

    Example:
        >>> from modalhash.codes import pack
        >>> scan = FastScan(pack([[1, 1, 1, 1], [1, -1, 1, 1], [-1, -1, -1, 1]]))
        >>> scan.nearest(WeightedQueries.of(np.array([[0.1, -3, 1, 1]]), 4), 2).positions
        array([[1, 2]])
    """

    def __init__(self, codes: Codes) -> None:
        self.codes = codes
        self._index: Any = None
        self._folding: Folding | None = None
        self._folded_scan: FastScan | None = None
        self._may_fold = len(codes) >= FOLDED_ROWS
        self._building = threading.Lock()
        renew_in_children(self)

    def after_fork(self) -> None:
        """Renew the lock in a forked child; a thread of the parent may hold it."""
        self._building = threading.Lock()

    def index(self) -> Any:
        """Give FAISS's index of the codes, made at the first call."""
        with self._building:
            if self._index is None:
                self._index = pack_fast_scan(self.codes)
        return self._index

    def fold(self) -> bool:
        """Scan each distinct code once from now on, if at most half of the codes are distinct.

        Returns:
            Whether codes were folded.
        """
        with self._building:
            if self._may_fold and distinct_share(self.codes) <= FOLDED_SHARE:
                self._folding = Folding.of(self.codes)
                self._folded_scan = FastScan(self._folding.codes)
                self._index = None
            self._may_fold = False
        return self._folded_scan is not None

    def nearest(self, queries: WeightedQueries, top_k: int) -> Neighbours:
        """Find the rows of the smallest weighted distances; exact, ties by position.

        Args:
            queries: one at least.
            top_k: between 1 and m.

        Returns:
            (q, top_k) positions and weighted distances.
        """
        if self._folded_scan is not None and self._folding is not None:
            n_found = min(top_k, len(self._folding))
            folded = self._folded_scan.nearest(queries, n_found)
            return self._folding.expand_nearest(folded, top_k, farthest=BEYOND_UNITS)
        n_rows, n_queries = len(self.codes), len(queries)
        most = min(n_rows, max(2 * top_k, n_rows // LISTED_SHARE))
        if self._is_small(n_queries) or top_k + SPARE_ITEMS > most:
            return scan_nearest_relaxed(self.codes, queries, top_k)
        n_listed = min(n_rows, top_k + max(SPARE_ITEMS, top_k // 4))
        rows, near, least = self.shortlist(queries, n_listed)
        positions, distances = rows[:, :top_k], near[:, :top_k].astype(np.int32)
        (left,) = (distances[:, -1] >= least).nonzero()
        while len(left) and (n_listed := GROWTH * n_listed) <= most:
            rows, near, least = self.shortlist(queries.take(left), n_listed)
            is_proven = near[:, top_k - 1] < least
            proven = left[is_proven]
            positions[proven] = rows[is_proven, :top_k]
            distances[proven] = near[is_proven, :top_k]
            left = left[~is_proven]
        if len(left):
            if self.fold():
                return self.nearest(queries, top_k)
            scanned = scan_nearest_relaxed(self.codes, queries.take(left), top_k)
            positions[left], distances[left] = scanned.positions, scanned.distances
        return Neighbours(positions, distances)

    def within(self, queries: WeightedQueries, limits: NDArray[np.int64]) -> RaggedNeighbours:
        """Find the rows within a weighted distance of each query; exact.

        Args:
            queries: one at least.
            limits: (q,) largest weighted distance, included.
        """
        if self._folded_scan is not None and self._folding is not None:
            return self._folding.expand_within(self._folded_scan.within(queries, limits))
        left, n_queries = np.arange(len(queries)), len(queries)
        parts: list[NDArray[np.int64]] = [np.empty((3, 0), np.int64)]
        n_listed = FIRST_WITHIN
        if self._is_small(n_queries):
            n_listed = len(self.codes)
        while len(left) and n_listed <= len(self.codes) // LISTED_SHARE:
            rows, near, least = self.shortlist(queries.take(left), n_listed)
            is_proven = limits[left] < least
            query, place = np.nonzero((near <= limits[left, None]) & is_proven[:, None])
            parts.append(np.stack([left[query], near[query, place], rows[query, place]]))
            left = left[~is_proven]
            n_listed *= GROWTH
        if len(left):
            scanned = scan_within_relaxed(self.codes, queries.take(left), limits[left])
            query = np.repeat(left, np.diff(scanned.starts))
            parts.append(np.stack([query, scanned.distances, scanned.positions]))
        query, near, rows = np.concatenate(parts, axis=1)
        return sorted_hits(query, near.astype(np.int32), rows, n_queries)

    def _is_small(self, n_queries: int) -> bool:
        """Tell whether comparing one by one is as quick, or the codes are too wide."""
        tables = 2 * self.codes.shape[1]
        return len(self.codes) * n_queries <= FEW_PAIRS or tables > MOST_TABLES

    def shortlist(
        self, queries: WeightedQueries, n_listed: int
    ) -> tuple[Positions, NDArray[np.int64], NDArray[np.float64]]:
        """Find the best rows by rounded scores, and score them exactly.

        Args:
            queries: q of them.
            n_listed: rows a query, at most m.

        Returns:
            (q, n_listed) rows, by weighted distance, then by position; (q, n_listed) int64 their
            weighted distances; and (q,) what the weighted distance of every other row is above or
            equal to, -inf where nothing is known.
        """
        signed, n_rows = pad_bits(queries.signed_weights, self.codes.shape[1]), len(self.codes)
        with threads_for(len(queries), self.codes.size):
            rounded, rows = self.index().search(signed, n_listed)
        # Weighted distance = (total - product) / 2. Sums of units are exact in float32.
        error_share = signed.shape[1] // 4 * (1 + 1e-5) / (2 * 255)
        if len(queries) == 1:  # plain numbers: arrays of one take longer, beside few codes much
            weights = queries.weights[0].tolist()
            span = 2 * max(sum(weights[bit : bit + 4]) for bit in range(0, len(weights), 4))
            total = sum(weights)
            bound = (total - SLACK - float(rounded[0, -1]) - span * error_share) * 0.5
            least = np.array([bound])
            is_known = total > 0 and rows[0, -1] >= 0
        else:
            totals = queries.totals
            spans = np.abs(signed).reshape(len(signed), -1, 4) @ TWICE
            last = rounded[:, -1].astype(np.float64)
            least = (totals - SLACK - last - spans.max(axis=1) * error_share) * 0.5
            is_known = totals.min() > 0 and rows[:, -1].min() >= 0
        if not is_known:
            # FAISS divides by a query's largest span: of a query of zeros it knows nothing.
            is_whole = (rows >= 0).all(axis=1) & (queries.totals > 0)
            least = np.where(is_whole, least, -np.inf)
            rows = np.where(is_whole[:, None], rows, np.arange(n_listed))
        if n_listed == n_rows:
            least[:] = np.inf
        keys = self.score_listed(queries, rows) * np.int64(n_rows) + rows
        keys.sort(axis=1)
        near, rows = np.divmod(keys, n_rows)
        return rows, near, least

    def score_listed(self, queries: WeightedQueries, rows: Positions) -> NDArray[np.int32]:
        """Compute the weighted distances of (q, l) rows, (q, l) int32."""
        if len(rows) == 1:
            listed = self.codes.take(rows[0], axis=0)
            return queries.paired_distances(listed, np.zeros(len(listed), np.int64))[None]
        weighted = np.empty(rows.shape, np.int32)
        step = max(1, BLOCK_LISTED // rows.shape[1])
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            query = np.repeat(np.arange(start, start + len(block)), block.shape[1])
            listed = queries.paired_distances(self.codes[block.ravel()], query)
            weighted[start : start + step] = listed.reshape(block.shape)
        return weighted


def pad_bits(signed: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Add weights of 0 up to `width` bytes of bits, (q, 8 * width) float32, contiguous."""
    missing = 8 * width - signed.shape[1]
    return np.ascontiguousarray(np.pad(signed, ((0, 0), (0, missing))) if missing else signed)


def pack_fast_scan(codes: Codes) -> Any:
    """Make FAISS's index of codes, in its layout for registers.

    Args:
        codes: (m, p) uint8; may be mapped.

    Returns:
        An `IndexPQFastScan` whose inner products are of signs.
    """
    n_rows, width = codes.shape
    whole = empty_fast_scan(width)
    bytes_a_block = BLOCK_ROWS * width
    whole.codes.resize(-(-n_rows // BLOCK_ROWS) * bytes_a_block)
    target = kernels.rev_swig_ptr(whole.codes.get(), whole.codes.size())
    for start in range(0, n_rows, PACKED_ROWS):
        block = np.ascontiguousarray(codes[start : start + PACKED_ROWS])
        plain = sign_quantizer(width)
        plain.add_sa_codes(block)
        part = kernels.IndexPQFastScan(plain, BLOCK_ROWS)
        packed = kernels.rev_swig_ptr(part.codes.get(), part.codes.size())
        first = start // BLOCK_ROWS * bytes_a_block
        target[first : first + len(packed)] = packed
    release_pages(codes)
    whole.ntotal = n_rows
    whole.ntotal2 = -(-n_rows // BLOCK_ROWS) * BLOCK_ROWS
    return whole


def release_pages(codes: Codes) -> None:
    """Let go of the pages of codes that are mapped from a file read only, until they are read."""
    part: Any = codes
    while isinstance(part, np.ndarray) and not isinstance(part, np.memmap):
        part = part.base
    if not isinstance(part, np.memmap) or part.mode != "r":
        return
    while isinstance(part, np.ndarray):
        part = part.base
    if isinstance(part, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        part.madvise(mmap.MADV_DONTNEED)


def sign_quantizer(width: int) -> Any:
    """Make FAISS's product quantizer whose codes are our bytes: patterns of four signs."""
    plain = kernels.IndexPQ(8 * width, 2 * width, 4, faiss.METRIC_INNER_PRODUCT)
    set_sign_centroids(plain.pq, 4)
    plain.is_trained = True
    return plain


def empty_fast_scan(width: int) -> Any:
    """Make FAISS's fast scan of no codes."""
    return kernels.IndexPQFastScan(sign_quantizer(width), BLOCK_ROWS)


def set_sign_centroids(quantizer: Any, n_bits: int) -> None:
    """Make the centroids of a product quantizer all patterns of some signs, the low bit first."""
    numbers = np.arange(1 << n_bits)[:, None]
    patterns = ((numbers >> np.arange(n_bits)) & 1).astype(np.float32) * 2 - 1
    centroids = np.tile(patterns.ravel(), quantizer.M)
    faiss.copy_array_to_vector(centroids, quantizer.centroids)
    quantizer.sync_transposed_centroids()
