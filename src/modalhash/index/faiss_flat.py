"""The exact scan by FAISS, the default kind: as the reference, many times faster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, WeightedQueries
from modalhash.errors import DamagedArtifactError
from modalhash.files import write_array
from modalhash.index.faiss_fast_scan import FastScan
from modalhash.index.faiss_scan import scan_nearest, scan_width, scan_within, widen_codes
from modalhash.index.folder import read_array
from modalhash.index.folding import Folding
from modalhash.index.post_filter import PostFilterSearcher
from modalhash.index.searcher_settings import SearcherSettings, check_flag
from modalhash.index.searchers import Neighbours, RaggedNeighbours

__all__ = ["FlatSearcher", "FlatSettings"]

FILE = "wide_codes.npy"


@dataclass(frozen=True)
class FlatSettings(SearcherSettings):
    """What a user may ask of the scan.

    Attributes:
        distinct: scan each distinct code once; worth its memory (4 bytes a row, a code and 4 bytes
            a distinct code) where less than half of the codes are distinct.
    """

    distinct: bool = False

    def __post_init__(self) -> None:
        check_flag("distinct", self.distinct)


@final
class FlatSearcher(PostFilterSearcher):
    """Scan codes with the kernels of FAISS's `IndexBinaryFlat`.

    The kernels run on our own array, so that the codes of an opened index stay mapped and exist
    once; those of a width that FAISS scans slowly are kept a second time with zero bytes added.
    Their heaps keep the first-added items of the last tie, so ids equal the reference's, too; a
    contract test holds them to it. Batches use FAISS's threads (`faiss.omp_set_num_threads`).
    Relaxed queries are scanned for by `FastScan`, whose copy of the codes is made when the first
    one comes: memory of one more time the codes, which queries of bits never take.

    Args:
        codes: (m, p) uint8 of all rows.
        folding: their distinct codes, if only these are scanned.
        parameters: see `Searcher`.
        scanned: the codes to scan, in a quick width; by default those of the rows as they are.

    Example:
        >>> from modalhash.codes import pack
        >>> searcher = FlatSearcher(pack([[1, 1], [1, -1], [-1, -1]]))
        >>> searcher.nearest(pack([[1, 1]]), 2).distances
        array([[0, 1]], dtype=int32)
    """

    kind = "flat"
    settings = FlatSettings
    is_exact = True
    is_exact_relaxed = True

    def __init__(
        self,
        codes: Codes,
        folding: Folding | None = None,
        parameters: Mapping[str, Any] | None = None,
        scanned: Codes | None = None,
    ) -> None:
        super().__init__(codes, folding, parameters or {})
        self.scanned = self.searched if scanned is None else scanned
        self.fast_scan = FastScan(self.searched)

    @classmethod
    def build(cls, codes: Codes, n_bits: int, *, parameters: Mapping[str, Any]) -> Self:
        """Make a searcher; costs nothing unless codes are folded or widened."""
        settings = FlatSettings.of(cls.kind, parameters)
        if settings.distinct:
            return cls.folded(codes, Folding.of(codes))
        return cls(codes, scanned=widen_codes(codes, scan_width(codes.shape[1])))

    @classmethod
    def folded(cls, codes: Codes, folding: Folding) -> Self:
        """Make a searcher of codes that are folded already."""
        stated = {"distinct": True, "distinct_codes": len(folding)}
        scanned = widen_codes(folding.codes, scan_width(codes.shape[1]))
        return cls(codes, folding, stated, scanned)

    def find_nearest(self, query_codes: Codes, top_k: int, *, effort: float) -> Neighbours:
        """Scan for the nearest; see `PostFilterSearcher.find_nearest`."""
        return scan_nearest(self.scanned, widen_codes(query_codes, self.scanned.shape[1]), top_k)

    def find_within(self, query_codes: Codes, radius: int) -> RaggedNeighbours:
        """Scan for the codes within a radius."""
        return scan_within(self.scanned, widen_codes(query_codes, self.scanned.shape[1]), radius)

    def find_nearest_relaxed(
        self, queries: WeightedQueries, top_k: int, *, effort: float
    ) -> Neighbours:
        """Scan for relaxed queries; see `PostFilterSearcher.find_nearest_relaxed`."""
        return self.fast_scan.nearest(queries, top_k)

    def find_within_relaxed(
        self, queries: WeightedQueries, limits: NDArray[np.int64]
    ) -> RaggedNeighbours:
        """Scan for the codes within a weighted distance."""
        return self.fast_scan.within(queries, limits)

    def codes_compared(self, effort: float) -> float:
        """Count the codes that a query is compared with: all."""
        return len(self.scanned)

    def write(self, folder: Path) -> Sequence[str]:
        """Write the distinct and the widened codes, if there are any; see `Searcher.write`."""
        names = [] if self.folding is None else self.folding.write(folder)
        if self.scanned.shape[1] != self.codes.shape[1]:
            write_array(folder / FILE, self.scanned)
            names.append(FILE)
        return names

    @classmethod
    def open(
        cls, folder: Path, codes: Codes, n_bits: int, *, parameters: Mapping[str, Any]
    ) -> Self:
        """Map what was written; see `Searcher.open`."""
        folding = Folding.open(folder, codes) if parameters.get("distinct") else None
        searched = codes if folding is None else folding.codes
        width = scan_width(codes.shape[1])
        if width == codes.shape[1]:
            return cls(codes, folding, parameters)
        scanned = read_array(folder / FILE)
        if scanned.shape != (len(searched), width):
            raise DamagedArtifactError(
                f"{folder / FILE} is damaged: it doesn't fit the codes; make the index again"
            )
        return cls(codes, folding, parameters, scanned)
