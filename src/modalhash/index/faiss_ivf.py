"""Inverted lists by FAISS: codes lie in cells, a query looks into the nearest cells only.

How many cells it looks into is chosen at build time, so that a recall measured on the codes
themselves is reached. Cells keep the rows' positions as FAISS's own ids: an id map around them
(IDMap) would answer with other rows' ids after a removal.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, final

import faiss
import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, WeightedQueries
from modalhash.errors import DamagedArtifactError, StorageError
from modalhash.index.faiss_relaxed_cells import RelaxedCells
from modalhash.index.faiss_scan import (
    kernels,
    scan_nearest,
    scan_width,
    scan_within,
    threads_for,
    widen_codes,
)
from modalhash.index.folding import Folding, beyond
from modalhash.index.post_filter import PostFilterSearcher
from modalhash.index.recall_sample import RecallSample
from modalhash.index.relaxed_scan import scan_nearest_relaxed, scan_within_relaxed
from modalhash.index.searcher_settings import RecallTarget, check_flag, check_range
from modalhash.index.searchers import NO_ROW, Neighbours, RaggedNeighbours

__all__ = ["IvfSearcher", "IvfSettings", "read_faiss", "write_faiss"]

FILE = "cells.faiss"
MAX_CELLS = 1 << 16
ITERATIONS = 6
TRAINED_CODES_A_CELL = 40
ADDED_ROWS = 1 << 18
SPARE_RECALL = 0.2
"""Share of what the target leaves missing that is added to it when probes are chosen, so that
queries which were not in the sample reach it, too."""
LEAST_PROBED_SHARE = 1 / 128
"""At least this share of the cells is looked into, which costs little more than finding the nearest
cells: queries of another modality need twice the probes of items (measured on learned codes)."""
RADIUS_PROBES = 4
"""A radius search looks into so many times the cells of a search for the nearest."""
RELAXED_PROBES = 2
"""Relaxed queries look into so many times the cells of packed ones: the recall is the same then
(measured on learned codes)."""
PROBED_CODE_COST = 1.5
"""Cost of a code in a cell, against that of one in a scan."""
SEED = 21


@dataclass(frozen=True)
class IvfSettings(RecallTarget):
    """What a user may ask of cells.

    Attributes:
        recall: share of the 10 nearest that should be found, in (0, 1].
        n_cells: cells; by default the power of two nearest to the square root of the codes.
        n_probes: cells a query looks into; by default what reaches `recall` on a sample.
        distinct: index each distinct code once.
    """

    n_cells: int | None = None
    n_probes: int | None = None
    distinct: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_flag("distinct", self.distinct)
        check_range("n_cells", self.n_cells, 1, MAX_CELLS)
        check_range("n_probes", self.n_probes, 1, self.n_cells or MAX_CELLS)


@dataclass(frozen=True)
class TrainedCells:
    """Cells without codes yet, and what they promise.

    Attributes:
        cells: a trained FAISS index.
        n_probes: cells to look into.
        sample: what the recall is measured on; None if there is a single code.
    """

    cells: Any
    n_probes: int
    sample: RecallSample | None

    @classmethod
    def train(cls, codes: Codes, settings: IvfSettings) -> Self:
        """Make cells for codes and find out how many to look into.

        The recall of any number of probes is known before a code is added: a neighbour is found
        when its cell is among those that the query looks into.
        """
        n_cells = min(settings.n_cells or default_cells(len(codes)), len(codes))
        width = scan_width(codes.shape[1])
        quantizer = faiss.IndexBinaryFlat(8 * width)
        cells = faiss.IndexBinaryIVF(quantizer, 8 * width, n_cells)
        cells.cp.niter = ITERATIONS
        cells.cp.min_points_per_centroid = 1
        rows = training_rows(len(codes), TRAINED_CODES_A_CELL * n_cells)
        cells.train(widen_codes(np.ascontiguousarray(codes[rows]), width))
        if len(codes) == 1:
            return cls(cells, 1, None)
        sample = RecallSample.draw(codes)
        n_probes = settings.n_probes or probes_for(cells, codes, sample, settings.recall)
        return cls(cells, min(n_probes, n_cells), sample)

    @property
    def probed_share(self) -> float:
        """Share of the codes that a query is compared with."""
        return self.n_probes / int(self.cells.nlist)


@final
class IvfSearcher(PostFilterSearcher):
    """Search the cells nearest to a query; approximate, distances are true.

    `nearest` reaches the measured recall on queries like the items. `within` looks into four times
    as many cells and may miss rows all the same. Memory: a code and 8 bytes a row, mapped from the
    file when opened.

    Example:
        >>> codes = np.random.default_rng(0).integers(0, 256, (500, 8), dtype=np.uint8)
        >>> searcher = IvfSearcher.build(codes, 64, parameters={"recall": 0.9})
        >>> searcher.nearest(codes[7:8], 1).positions, searcher.parameters["measured"]["recall"] >= 0.9
        (array([[7]]), True)
    """  # noqa: E501

    kind = "ivf"
    settings = IvfSettings
    is_exact = False
    is_exact_relaxed = False

    def __init__(
        self, codes: Codes, folding: Folding | None, parameters: Mapping[str, Any], cells: Any
    ) -> None:
        super().__init__(codes, folding, parameters)
        self.cells, self.n_cells = cells, int(cells.nlist)
        self.width = int(cells.d) // 8
        self.n_probes: int = parameters["n_probes"]
        # A radius search takes no settings of its own, so the index's are those of radius searches.
        cells.nprobe = min(self.n_cells, RADIUS_PROBES * self.n_probes)
        self.usual_settings = kernels.SearchParametersIVF(nprobe=self.n_probes)
        self._relaxed_cells: RelaxedCells | None = None

    @classmethod
    def build(cls, codes: Codes, n_bits: int, *, parameters: Mapping[str, Any]) -> Self:
        """Train cells, choose how many to look into, add the codes and measure."""
        settings = IvfSettings.of(cls.kind, parameters)
        folding = Folding.of(codes) if settings.distinct else None
        searched = codes if folding is None else folding.codes
        return cls.filled(codes, folding, TrainedCells.train(searched, settings), settings)

    @classmethod
    def filled(
        cls, codes: Codes, folding: Folding | None, trained: TrainedCells, settings: IvfSettings
    ) -> Self:
        """Add the codes to trained cells and measure the recall."""
        cells, searched = trained.cells, codes if folding is None else folding.codes
        width = int(cells.d) // 8
        for start in range(0, len(searched), ADDED_ROWS):
            cells.add(
                widen_codes(np.ascontiguousarray(searched[start : start + ADDED_ROWS]), width)
            )
        stated: dict[str, Any] = {
            "recall": settings.recall,
            "n_cells": int(cells.nlist),
            "n_probes": trained.n_probes,
            "distinct": settings.distinct,
            "distinct_codes": None if folding is None else len(folding),
        }
        searcher = cls(codes, folding, stated, cells)
        if trained.sample is not None:
            searcher.measure(trained.sample, settings)
        return searcher

    def measure(self, sample: RecallSample, settings: IvfSettings) -> None:
        """State the recall, after raising the probes as long as it is below the target."""

        def find(query_codes: Codes, top_k: int) -> Neighbours:
            return self.find_nearest(query_codes, top_k, effort=1)

        recall = sample.recall(find)
        while (
            settings.n_probes is None and recall < settings.recall and self.n_probes < self.n_cells
        ):
            self.n_probes = min(self.n_cells, self.n_probes + max(1, self.n_probes // 4))
            self.usual_settings = kernels.SearchParametersIVF(nprobe=self.n_probes)
            self.cells.nprobe = min(self.n_cells, RADIUS_PROBES * self.n_probes)
            recall = sample.recall(find)
        measured = sample.statement(recall)
        self.parameters = {**self.parameters, "n_probes": self.n_probes, "measured": measured}

    def find_nearest(self, query_codes: Codes, top_k: int, *, effort: float) -> Neighbours:
        """Look into the nearest cells; see `PostFilterSearcher.find_nearest`."""
        n_rows = len(self.searched)
        n_probes = min(self.n_cells, int(np.ceil(self.n_probes * effort)))
        if 2 * top_k > n_rows * n_probes / self.n_cells:
            return scan_nearest(self.searched, query_codes, top_k)
        settings = (
            self.usual_settings if effort == 1 else kernels.SearchParametersIVF(nprobe=n_probes)
        )
        queries = widen_codes(query_codes, self.width)
        with threads_for(len(queries), n_rows * self.width * n_probes // self.n_cells):
            distances, positions = self.cells.search(queries, top_k, params=settings)
        # FAISS's distance beside -1 is the largest int32: such places stay last.
        keys = distances * np.int64(n_rows) + positions
        keys.sort(axis=1)
        near, rows = np.divmod(keys, n_rows)
        if positions.min() == NO_ROW:
            is_row = near < beyond(self.searched)
            rows = np.where(is_row, rows, NO_ROW)
            near = np.where(is_row, near, beyond(self.searched))
        return Neighbours(rows, near.astype(np.int32))

    def find_within(self, query_codes: Codes, radius: int) -> RaggedNeighbours:
        """Look into the nearest cells for rows within a radius."""
        if self.n_probes * RADIUS_PROBES >= self.n_cells:
            return scan_within(self.searched, query_codes, radius)
        queries = widen_codes(query_codes, self.width)
        n_bytes = len(self.searched) * self.width * self.cells.nprobe // self.n_cells
        with threads_for(len(queries), n_bytes):
            # FAISS means distances below its radius.
            lims, near, rows = self.cells.range_search(queries, radius + 1)
        starts = lims.astype(np.int64)
        query = np.repeat(np.arange(len(queries)), np.diff(starts))
        order = np.lexsort((rows, near, query))
        return RaggedNeighbours(starts, rows[order].astype(np.int64), near[order].astype(np.int32))

    def relaxed_cells(self) -> RelaxedCells:
        """Give what searches the same lists for relaxed queries; made in a moment, of no codes."""
        if self._relaxed_cells is None:
            self._relaxed_cells = RelaxedCells(self.cells)
        return self._relaxed_cells

    def find_nearest_relaxed(
        self, queries: WeightedQueries, top_k: int, *, effort: float
    ) -> Neighbours:
        """Look into the best cells; see `PostFilterSearcher.find_nearest_relaxed`."""
        n_probes = min(self.n_cells, int(np.ceil(self.n_probes * effort * RELAXED_PROBES)))
        if 2 * top_k > len(self.searched) * n_probes / self.n_cells:
            return scan_nearest_relaxed(self.searched, queries, top_k)
        return self.relaxed_cells().nearest(queries, top_k, n_probes)

    def find_within_relaxed(
        self, queries: WeightedQueries, limits: NDArray[np.int64]
    ) -> RaggedNeighbours:
        """Look into the best cells for rows within a weighted distance."""
        n_probes = int(np.ceil(self.n_probes * RADIUS_PROBES * RELAXED_PROBES))
        if n_probes >= self.n_cells:
            return scan_within_relaxed(self.searched, queries, limits)
        return self.relaxed_cells().within(queries, limits, n_probes)

    def codes_compared(self, effort: float) -> float:
        """Estimate how many codes a query is compared with."""
        share = min(1.0, effort * self.n_probes / self.n_cells)
        return self.n_cells + PROBED_CODE_COST * share * len(self.searched)

    def write(self, folder: Path) -> Sequence[str]:
        """Write the cells, and the distinct codes if there are; see `Searcher.write`."""
        write_faiss(folder / FILE, self.cells)
        return [FILE, *(() if self.folding is None else self.folding.write(folder))]

    @classmethod
    def open(
        cls, folder: Path, codes: Codes, n_bits: int, *, parameters: Mapping[str, Any]
    ) -> Self:
        """Map the cells; see `Searcher.open`."""
        folding = Folding.open(folder, codes) if parameters["distinct"] else None
        n_rows = len(codes) if folding is None else len(folding)
        width = scan_width(codes.shape[1])
        return cls(codes, folding, parameters, read_faiss(folder / FILE, n_rows, width))


def default_cells(n_codes: int) -> int:
    """Choose the power of two nearest to the square root, on a logarithmic scale.

    Example:
        >>> default_cells(1_000_000), default_cells(10_000_000)
        (1024, 4096)
    """
    return min(MAX_CELLS, 1 << round(math.log2(n_codes) / 2))


def training_rows(n_codes: int, n_wanted: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Choose rows to train on, ascending; the same ones for the same numbers."""
    if n_codes <= n_wanted:
        return np.arange(n_codes)
    generator = np.random.default_rng(SEED)
    return np.sort(generator.choice(n_codes, n_wanted, replace=False, shuffle=False))


def probes_for(cells: Any, codes: Codes, sample: RecallSample, recall: float) -> int:
    """Count the cells to look into for a recall on a sample.

    A neighbour is found by so many probes as its cell's rank for the query says, and `top_k`
    neighbours a query are needed.
    """
    width, n_cells = int(cells.d) // 8, int(cells.nlist)
    cells_in_order = cells.quantizer.search(widen_codes(sample.query_codes, width), n_cells)[1]
    rank_of_cell = np.empty_like(cells_in_order)
    ranks = np.broadcast_to(np.arange(n_cells), cells_in_order.shape)
    np.put_along_axis(rank_of_cell, cells_in_order, ranks, axis=1)
    neighbours = widen_codes(np.ascontiguousarray(codes[sample.neighbours.ravel()]), width)
    cell = cells.quantizer.search(neighbours, 1)[1].reshape(sample.neighbours.shape)
    rank = np.where(sample.is_relevant, np.take_along_axis(rank_of_cell, cell, axis=1), n_cells)
    needed = np.sort(np.sort(rank, axis=1)[:, : sample.top_k].ravel())
    aim = recall + SPARE_RECALL * (1 - recall)
    least = math.ceil(LEAST_PROBED_SHARE * n_cells)
    return int(min(n_cells, max(least, 1 + needed[math.ceil(aim * len(needed)) - 1])))


def write_faiss(path: Path, index: Any) -> None:
    """Write a FAISS index and flush it to disk.

    Raises:
        StorageError: if the file system refuses.
    """
    try:
        faiss.write_index_binary(index, str(path))
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    except RuntimeError as error:
        raise StorageError(f"can't write {path}: FAISS says {error}") from error
    except OSError as error:
        raise StorageError(f"can't write {path}: {error.strerror or error}") from error


def read_faiss(path: Path, n_rows: int, width: int) -> Any:
    """Open a FAISS index, mapped; nothing may be added to it: FAISS would end the process.

    Mapped as FAISS's on-disk lists (IO_FLAG_MMAP), each search would start threads that read ahead,
    which takes ten times as long as the search.

    Raises:
        DamagedArtifactError: if it can't be read, or isn't of `n_rows` codes of `width` bytes.
    """
    try:
        index = faiss.read_index_binary(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise DamagedArtifactError(
            f"{path} is damaged: FAISS can't read it; make the index again"
        ) from error
    if index.ntotal != n_rows or index.d != 8 * width:
        raise DamagedArtifactError(
            f"{path} is damaged: it holds {index.ntotal} codes of {index.d} bits, expected "
            f"{n_rows} of {8 * width}; make the index again"
        )
    return index
