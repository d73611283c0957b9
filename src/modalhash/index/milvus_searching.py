"""How an index on Milvus searches, with the order of the contract.

Milvus breaks ties as it likes, so more hits are asked for than needed, until the last one is
farther than the k-th. Where even the most that Milvus gives doesn't reach that far, the items are
read and compared here.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from modalhash.codes import BitOrder, Codes, Queries, WeightedQueries
from modalhash.index.filter_tree import Filter
from modalhash.index.filters import parse_filter
from modalhash.index.hits import Hits, RadiusHits
from modalhash.index.milvus_collection import Row
from modalhash.index.milvus_filters import compile_filter
from modalhash.index.milvus_reading import METADATA, MilvusReader
from modalhash.index.milvus_rows import (
    metadata_of,
)
from modalhash.index.milvus_settings import MOST_LISTED
from modalhash.index.rescoring import search_radius_again, search_shortlist, shortlist_length
from modalhash.index.search_limits import check_limits, check_top_k
from modalhash.numpy_numbers import takes_numpy_numbers

__all__ = ["MilvusSearch"]

MOST_HITS: Final = 16_384
"""Hits a query that Milvus gives at most."""
MORE_HITS: Final = 32
QUERIES_A_CALL: Final = 1000
HITS_A_CALL: Final = 500_000
Found = list[tuple[int, int, Row]]
"""Distance, number and row of hits; sorting it gives the order of the contract."""


class MilvusSearch(MilvusReader):
    """Searches an index on Milvus, which ranks by Hamming distance.

    Items of relaxed queries are those of a shortlist, scored here; see `modalhash.index.rescoring`.
    """

    takes_relaxed = True

    @takes_numpy_numbers
    def search(
        self,
        queries: Queries,
        k: int,
        where: str | None = None,
        *,
        with_metadata: bool = False,
        bit_order: BitOrder | str = BitOrder.LITTLE,
    ) -> Hits:
        """Find the k best items of each query; see `HashIndex.search`."""
        check_top_k(k)
        searched = self.read_queries(queries, bit_order)
        if not isinstance(searched, WeightedQueries):
            return self._search_codes(searched, k, where, with_metadata=with_metadata)
        return search_shortlist(
            self,
            self._search_codes,
            searched,
            k,
            where,
            with_metadata=with_metadata,
            length=self.shortlist or min(shortlist_length(k), MOST_LISTED),
        )

    @takes_numpy_numbers
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
        """Find all items within a radius, or of a score; see `HashIndex.search_radius`."""
        check_limits(queries, radius, min_score)
        searched = self.read_queries(queries, bit_order)
        if not isinstance(searched, WeightedQueries):
            reach = self.n_bits if radius is None else radius
            return self._search_radius(searched, reach, where, with_metadata=with_metadata)
        return search_radius_again(
            self,
            self._search_radius,
            searched,
            radius,
            where,
            min_score=min_score,
            with_metadata=with_metadata,
        )

    def _search_codes(
        self, queries: Codes, k: int, where: str | None = None, *, with_metadata: bool = False
    ) -> Hits:
        """Find the k nearest items of packed codes."""
        results = self._nearest(queries, k, where, with_metadata=with_metadata)
        width = min((len(hits) for hits in results), default=0)
        if not len(queries) and self._find_id_kind() is not None:
            width = min(k, self._count(where))
        flat = [hit for hits in results for hit in hits[:width]]
        shape = (len(queries), width)
        metadata = None
        if with_metadata:
            metadata = [[metadata_of(row) for *_, row in hits[:width]] for hits in results]
        distances = np.array([hit[0] for hit in flat], np.int32).reshape(shape)
        return Hits(
            self._id_array([row["id"] for *_, row in flat]).reshape(shape), distances, metadata
        )

    def _search_radius(
        self, queries: Codes, radius: int, where: str | None = None, *, with_metadata: bool = False
    ) -> RadiusHits:
        """Find all items within a radius of packed codes."""
        results = self._nearest(queries, None, where, with_metadata=with_metadata, radius=radius)
        starts = np.zeros(len(queries) + 1, np.int64)
        np.cumsum([len(hits) for hits in results], out=starts[1:])
        flat = [hit for hits in results for hit in hits]
        return RadiusHits(
            starts,
            self._id_array([row["id"] for *_, row in flat]),
            np.array([hit[0] for hit in flat], np.int32),
            [metadata_of(row) for *_, row in flat] if with_metadata else None,
        )

    def _nearest(
        self,
        codes: Codes,
        k: int | None,
        where: str | None,
        *,
        with_metadata: bool,
        radius: int | None = None,
    ) -> list[Found]:
        """Find the hits of each query in order: the k nearest, or those within a radius."""
        self.check_query_codes(codes)
        tree = None if where is None else parse_filter(where)
        if self._find_id_kind() is None or not len(codes):
            return [[] for _ in codes]
        expression = compile_filter(tree, partition_field=self.settings.partition_field)
        fields = METADATA if with_metadata else ()
        results: list[Found | None] = [None] * len(codes)
        if expression.is_exact and (k is None or k < MOST_HITS):
            results = self._search_server(codes, k, expression.text, fields, radius)
        left = [query for query, hits in enumerate(results) if hits is None]
        if left:
            read = self._compared(codes[left], k, tree, fields, radius)
            for query, hits in zip(left, read, strict=True):
                results[query] = hits
        return [hits or [] for hits in results]

    def _search_server(
        self, codes: Codes, k: int | None, text: str, fields: Sequence[str], radius: int | None
    ) -> list[Found | None]:
        """Let Milvus search; None in the place of a query whose answer it can't give whole."""
        parameters: dict[str, Any] = {}
        is_flat, n_cells = self._index[0] == "BIN_FLAT", self._index[1]
        if not is_flat:
            parameters["nprobe"] = self._probes(text) if radius is None else n_cells
        elif radius is not None:
            parameters["radius"] = min(radius, self.n_bits) + 1  # Milvus means less than
        limit = MOST_HITS if k is None else min(k + max(k, MORE_HITS), MOST_HITS)
        results: list[Found | None] = [None] * len(codes)
        left = list(range(len(codes)))
        while left:
            answers = self._answers(codes[left], limit, text, fields, parameters)
            again = []
            for query, answer in zip(left, answers, strict=True):
                is_whole = len(answer) < limit and (is_flat or parameters["nprobe"] == n_cells)
                last = answer[-1][0] if answer else -1
                if k is None:
                    assert radius is not None
                    if is_whole or (not is_flat and last > radius):
                        results[query] = [hit for hit in answer if hit[0] <= radius]
                elif is_whole or (len(answer) > k and answer[k - 1][0] < last):
                    results[query] = answer[:k]
                else:
                    again.append(query)
            left = again
            if left and not is_flat and min(map(len, answers)) < limit:
                parameters["nprobe"] = n_cells  # too few in the cells that were looked into
            elif limit == MOST_HITS:
                break
            else:
                limit = min(8 * limit, MOST_HITS)
        return results

    def _answers(
        self,
        codes: Codes,
        limit: int,
        text: str,
        fields: Sequence[str],
        parameters: Mapping[str, Any],
    ) -> list[Found]:
        """Fetch what Milvus finds for each query, in the order of the contract."""
        step = max(1, min(QUERIES_A_CALL, HITS_A_CALL // limit))
        results: list[Found] = []
        for start in range(0, len(codes), step):
            answers = self.collection.search(
                [code.tobytes() for code in codes[start : start + step]],
                limit,
                text,
                ["number", *fields],
                parameters=parameters,
                consistency=self.settings.consistency,
            )
            results += [
                sorted(
                    ((distance, int(row["number"]), row) for distance, row in answer),
                    key=lambda hit: hit[:2],
                )
                for answer in answers
            ]
        return results

    def _probes(self, text: str) -> int:
        """Choose how many cells to look into for a filter."""
        share = 1.0
        if text:
            level = self.settings.consistency
            n_items = max(self.collection.count(consistency=level), 1)
            share = self.collection.count(text, consistency=level) / n_items
        return self.settings.probes(self._index[1], share)

    def _compared(
        self,
        codes: Codes,
        k: int | None,
        tree: Filter | None,
        fields: Sequence[str],
        radius: int | None,
    ) -> list[Found]:
        """Read the items that may count, and compare them here."""
        results: list[Found] = [[] for _ in codes]
        for rows, distances in self._read(codes, tree, fields):
            for query, query_distances in enumerate(distances):
                near = (
                    range(len(rows))
                    if radius is None
                    else np.flatnonzero(query_distances <= radius).tolist()
                )
                results[query] += [
                    (int(query_distances[place]), int(rows[place]["number"]), rows[place])
                    for place in near
                ]
                if k is not None:
                    results[query].sort(key=lambda hit: hit[:2])
                    del results[query][k:]
        for hits in results:
            hits.sort(key=lambda hit: hit[:2])
        return results
