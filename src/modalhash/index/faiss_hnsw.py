"""A graph of near codes by FAISS (HNSW): for distinct, clustered codes where memory is plenty.

It needs 150 bytes a code and 25 times the build time of cells (`ivf`), which reach the same recall
at the same speed; so it is never chosen by itself. Equal codes break it (their links lead to each
other only), so it holds each distinct code once. On codes too random for it the codes are scanned.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, final

import faiss
import numpy as np

from modalhash.codes import Codes
from modalhash.index.faiss_ivf import read_faiss, write_faiss
from modalhash.index.faiss_scan import (
    kernels,
    scan_nearest,
    scan_width,
    scan_within,
    threads_for,
    widened,
)
from modalhash.index.folding import Folding, beyond
from modalhash.index.post_filter import PostFilterSearcher
from modalhash.index.recall_sample import RecallSample
from modalhash.index.searcher_settings import RecallTarget, check_range
from modalhash.index.searchers import NO_ROW, Neighbours, RaggedNeighbours

__all__ = ["HnswSearcher", "HnswSettings"]

FILE = "graph.faiss"
EFFORTS = (16, 32, 64, 128, 256, 512)
ADDED_ROWS = 1 << 16
COMPARED_PER_EFFORT = 100
"""Cost of one candidate of the search, in codes scanned."""


@dataclass(frozen=True)
class HnswSettings(RecallTarget):
    """What a user may ask of a graph.

    Attributes:
        recall: share of the 10 nearest that should be found, in (0, 1].
        n_links: links of a code, twice as many on the lowest level.
        build_effort: candidates a code is linked from.
        search_effort: candidates a search keeps; by default what reaches `recall` on a sample.
    """

    n_links: int = 16
    build_effort: int = 40
    search_effort: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("n_links", self.n_links, 2, 128)
        check_range("build_effort", self.build_effort, 1, 10_000)
        check_range("search_effort", self.search_effort, 1, 10_000)


@final
class HnswSearcher(PostFilterSearcher):
    """Walk a graph of the distinct codes; approximate, distances are true.

    If no effort reaches the recall that is aimed at, there is no graph: the codes are scanned, and
    the parameters say why. A radius search always scans: a graph has no answer to it.

    Example:
        >>> codes = np.random.default_rng(0).integers(0, 256, (500, 8), dtype=np.uint8)
        >>> searcher = HnswSearcher.build(codes, 64, parameters={"recall": 0.9})
        >>> searcher.nearest(codes[7:8], 1).positions, searcher.parameters["measured"]["recall"] >= 0.9
        (array([[7]]), True)
    """  # noqa: E501

    kind = "hnsw"
    settings = HnswSettings

    def __init__(
        self, codes: Codes, folding: Folding, parameters: Mapping[str, Any], graph: Any
    ) -> None:
        super().__init__(codes, folding, parameters)
        self.graph = graph
        self.is_exact = graph is None
        self.search_effort: int = parameters["search_effort"] or 0

    @classmethod
    def build(cls, codes: Codes, n_bits: int, *, parameters: Mapping[str, Any]) -> Self:
        """Link the distinct codes and choose the effort; see `Searcher.build`."""
        settings = HnswSettings.of(cls.kind, parameters)
        folding = Folding.of(codes)
        width = scan_width(codes.shape[1])
        graph = faiss.IndexBinaryHNSW(8 * width, settings.n_links)
        graph.hnsw.efConstruction = settings.build_effort
        for start in range(0, len(folding), ADDED_ROWS):
            graph.add(widened(folding.codes[start : start + ADDED_ROWS], width))
        stated: dict[str, Any] = {
            "recall": settings.recall,
            "n_links": settings.n_links,
            "build_effort": settings.build_effort,
            "search_effort": settings.search_effort or EFFORTS[0],
            "distinct_codes": len(folding),
        }
        searcher = cls(codes, folding, stated, graph)
        return searcher if len(folding) == 1 else searcher.tuned(settings)

    def tuned(self, settings: HnswSettings) -> Self:
        """Return the searcher with the least effort that reaches the recall, or without a graph."""
        sample = RecallSample.draw(self.searched)

        def find(query_codes: Codes, top_k: int) -> Neighbours:
            return self.find_nearest(query_codes, top_k, effort=1)

        recall = 0.0
        for effort in EFFORTS if settings.search_effort is None else (settings.search_effort,):
            self.search_effort = effort
            recall = sample.recall(find)
            if recall >= settings.recall:
                break
        measured = sample.statement(recall)
        stated = {**self.parameters, "search_effort": self.search_effort, "measured": measured}
        graph = self.graph
        if settings.search_effort is None and recall < settings.recall:
            graph = None
            stated["search_effort"] = None
            stated["reason"] = (
                f"scanned without a graph: the codes are too random, its recall is {recall:.3f} "
                f"at the largest effort, {EFFORTS[-1]}"
            )
        assert self.folding is not None
        return type(self)(self.codes, self.folding, stated, graph)

    def find_nearest(self, query_codes: Codes, top_k: int, *, effort: float) -> Neighbours:
        """Walk the graph; see `PostFilterSearcher.find_nearest`."""
        n_rows = len(self.searched)
        candidates = int(np.ceil(max(self.search_effort, top_k) * effort))
        if self.graph is None or 4 * candidates > n_rows:
            return scan_nearest(self.searched, query_codes, top_k)
        width = int(self.graph.d) // 8
        queries = widened(query_codes, width)
        settings = kernels.SearchParametersHNSW(efSearch=candidates)
        with threads_for(len(queries), candidates * COMPARED_PER_EFFORT * width):
            distances, positions = self.graph.search(queries, top_k, params=settings)
        is_row = positions != NO_ROW
        near = np.where(is_row, distances, beyond(self.searched)).astype(np.int32)
        order = np.lexsort((positions, near), axis=1)
        return Neighbours(
            np.take_along_axis(positions, order, axis=1), np.take_along_axis(near, order, axis=1)
        )

    def find_within(self, query_codes: Codes, radius: int) -> RaggedNeighbours:
        """Scan for the codes within a radius."""
        return scan_within(self.searched, query_codes, radius)

    def codes_compared(self, effort: float) -> float:
        """Return about how many codes a query is compared with."""
        if self.graph is None:
            return len(self.searched)
        return min(len(self.searched), self.search_effort * effort * COMPARED_PER_EFFORT)

    def write(self, folder: Path) -> Sequence[str]:
        """Write the graph, if there is one, and the distinct codes; see `Searcher.write`."""
        assert self.folding is not None
        names = self.folding.write(folder)
        if self.graph is None:
            return names
        write_faiss(folder / FILE, self.graph)
        return [FILE, *names]

    @classmethod
    def open(
        cls, folder: Path, codes: Codes, n_bits: int, *, parameters: Mapping[str, Any]
    ) -> Self:
        """Map the graph and the distinct codes; see `Searcher.open`."""
        folding = Folding.open(folder, codes)
        graph = None
        if parameters["search_effort"] is not None:
            width = scan_width(codes.shape[1])
            graph = read_faiss(folder / FILE, len(folding), width)
        return cls(codes, folding, parameters, graph)
