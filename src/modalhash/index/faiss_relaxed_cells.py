"""Relaxed queries in FAISS's cells, over the very lists of the binary index.

A product quantizer of eight bits for every eight dimensions, whose 256 centroids are all patterns
of eight signs, has our packed bytes as its codes. So an `IndexIVFPQ` can search the inverted lists
of an `IndexBinaryIVF`: no code is kept twice, and mapped lists stay mapped. Its inner products are
sums of whole units below 2^24, which float32 adds exactly: scores inside the cells are exact.

A query looks into the cells whose centres have the largest inner product with it.
"""

from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from modalhash.codes import WeightedQueries, unpack
from modalhash.index.faiss_fast_scan import pad_bits, set_sign_centroids
from modalhash.index.faiss_scan import kernels, threads_for
from modalhash.index.relaxed_scan import BEYOND_UNITS, sorted_hits
from modalhash.index.searchers import NO_ROW, Neighbours, RaggedNeighbours

__all__ = ["RelaxedCells"]


class RelaxedCells:
    """Searches the inverted lists of a binary index for relaxed queries.

    Args:
        cells: FAISS's `IndexBinaryIVF`; it must live as long.
    """

    def __init__(self, cells: Any) -> None:
        self.cells, self.width, self.n_rows = cells, int(cells.d) // 8, int(cells.ntotal)
        centres = faiss.vector_to_array(kernels.downcast_IndexBinary(cells.quantizer).xb)
        signs = unpack(centres.reshape(-1, self.width), 8 * self.width).astype(np.float32)
        self.quantizer = kernels.IndexFlatIP(8 * self.width)
        self.quantizer.add(signs)
        self.index = kernels.IndexIVFPQ(
            self.quantizer, 8 * self.width, cells.nlist, self.width, 8, faiss.METRIC_INNER_PRODUCT
        )
        self.index.by_residual = False
        set_sign_centroids(self.index.pq, 8)
        self.index.is_trained = True
        self.index.replace_invlists(cells.invlists, False)
        self.index.ntotal = cells.ntotal

    def nearest(self, queries: WeightedQueries, top_k: int, n_probes: int) -> Neighbours:
        """Find the best rows of the cells that are looked into.

        Args:
            queries: one at least.
            top_k: between 1 and the number of codes.
            n_probes: cells a query looks into.

        Returns:
            (q, top_k) by weighted distance, then by position; `NO_ROW` where the cells had no more.
        """
        signed = pad_bits(queries.signed_weights, self.width)
        n_bytes = self.n_rows * self.width * n_probes // self.index.nlist
        settings = kernels.SearchParametersIVF(nprobe=n_probes)
        with threads_for(len(signed), n_bytes):
            products, rows = self.index.search(signed, top_k, params=settings)
        weighted = (queries.totals[:, None] - products.astype(np.float64)) / 2
        distances = np.where(rows == NO_ROW, BEYOND_UNITS, weighted).astype(np.int64)
        # `NO_ROW` is behind every row, as its distance is above all.
        keys = distances * (self.n_rows + 1) + rows + 1
        keys.sort(axis=1)
        positions = keys % (self.n_rows + 1) - 1
        return Neighbours(positions, (keys // (self.n_rows + 1)).astype(np.int32))

    def within(
        self, queries: WeightedQueries, limits: NDArray[np.int64], n_probes: int
    ) -> RaggedNeighbours:
        """Find the rows within a weighted distance in the cells that are looked into."""
        signed = pad_bits(queries.signed_weights, self.width)
        n_bytes = self.n_rows * self.width * n_probes // self.index.nlist
        settings = kernels.SearchParametersIVF(nprobe=n_probes)
        parts = [np.empty((3, 0), np.int64)]
        for query in range(len(signed)):
            # FAISS means products above its limit, which are whole numbers here.
            least = float(queries.totals[query] - 2 * limits[query]) - 0.5
            with threads_for(1, n_bytes):
                _, products, rows = self.index.range_search(
                    signed[query : query + 1], least, params=settings
                )
            weighted = (queries.totals[query] - products.astype(np.int64)) // 2
            parts.append(np.stack([np.full(len(rows), query), weighted, rows]))
        query_numbers, near, positions = np.concatenate(parts, axis=1)
        return sorted_hits(query_numbers, near.astype(np.int32), positions, len(queries))
