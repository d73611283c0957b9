"""What finds near rows among codes that never change; `searcher_table` lists the kinds.

An embedded index holds its items in segments: runs of rows that are written once. Each segment has
a searcher over its codes. A searcher knows nothing of ids, metadata, changes or folders; it answers
in positions, and `allowed` says which rows count (filters, deleted rows). The index around it adds
recent rows, leaves out deleted ones and merges segments.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, Distances, WeightedQueries
from modalhash.index.searcher_settings import SearcherSettings

__all__ = [
    "NO_ROW",
    "Allowed",
    "Neighbours",
    "Positions",
    "RaggedNeighbours",
    "RelaxedSearcher",
    "Searcher",
    "stated_choice",
]

Positions = NDArray[np.int64]
"""Places of rows, counted from 0 in the order of insertion."""
Allowed = NDArray[np.bool_]
"""(m,) which rows count."""
NO_ROW = -1
"""The position that fills a place for which no row was found."""


@dataclass(frozen=True)
class Neighbours:
    """The k nearest rows of each query.

    Attributes:
        positions: (q, k) int64 rows of the database codes; `NO_ROW` at a row's end where an
            approximate searcher, or one whose `allowed` leaves fewer than k, found no more.
        distances: (q, k) int32; by distance, then by position. Beside `NO_ROW`, above every bit.
            Of relaxed queries, weighted distances; beside `NO_ROW`, above `QUERY_UNITS`.
    """

    positions: Positions
    distances: Distances


@dataclass(frozen=True)
class RaggedNeighbours:
    """All rows within a radius of each query.

    Attributes:
        starts: (q + 1,) int64, as in `RadiusHits`.
        positions: (t,) int64 rows of the database codes.
        distances: (t,) int32; within a query by distance, then by position. Of relaxed queries,
            weighted distances.
    """

    starts: NDArray[np.int64]
    positions: Positions
    distances: Distances


class Searcher(ABC):
    """Finds near rows of codes that never change; may be used in many threads at once.

    Attributes:
        kind: its name in the table of searchers.
        settings: what `build` may be asked; by default nothing.
        is_exact: whether `nearest` and `within` miss nothing, as built.
        parameters: JSON values that the manifest states and `open` gets back: what was chosen
            (cells, probes) and what was measured (recall).
    """

    kind: ClassVar[str]
    settings: ClassVar[type[SearcherSettings]] = SearcherSettings
    is_exact: bool
    parameters: Mapping[str, Any]

    @classmethod
    @abstractmethod
    def build(cls, codes: Codes, n_bits: int, *, parameters: Mapping[str, Any]) -> Self:
        """Make a searcher of codes, which the caller never changes and keeps.

        Args:
            codes: (m, p) uint8, contiguous, one row at least; may be mapped from a file.
            n_bits: bits of a code.
            parameters: what the user asked for, by name; what is left out is chosen here.

        Raises:
            SettingError: if a parameter is unknown or out of its range.
        """

    @abstractmethod
    def nearest(
        self, query_codes: Codes, top_k: int, *, allowed: Allowed | None = None
    ) -> Neighbours:
        """Find the `top_k` nearest rows of each query.

        Args:
            query_codes: (q, p) uint8, contiguous, one at least.
            top_k: between 1 and m.
            allowed: (m,) rows that count; None is all.

        Returns:
            (q, top_k) positions and distances, by distance, then by position.
        """

    @abstractmethod
    def within(
        self, query_codes: Codes, radius: int, *, allowed: Allowed | None = None
    ) -> RaggedNeighbours:
        """Find the rows at a distance of at most `radius` from each query.

        Args:
            query_codes: (q, p) uint8, contiguous, one at least.
            radius: between 0 and the number of bits, included.
            allowed: (m,) rows that count; None is all.
        """

    def write(self, folder: Path) -> Sequence[str]:
        """Write what can't be made again cheaply into an empty folder; not the codes.

        Files are flushed to disk. The index records their sizes and checksums.

        Returns:
            The names of the files that were written; none by default.

        Raises:
            StorageError: if the file system refuses.
        """
        return ()

    @classmethod
    def open(
        cls, folder: Path, codes: Codes, n_bits: int, *, parameters: Mapping[str, Any]
    ) -> Self:
        """Make the searcher again that `write` wrote.

        Args:
            folder: what `write` filled; the files were compared with their checksums.
            codes: the codes it was built of, mapped.
            n_bits: bits of a code.
            parameters: those of the searcher that was written.

        Raises:
            DamagedArtifactError: if a file can't be used, naming it.
        """
        return cls.build(codes, n_bits, parameters=parameters)


class RelaxedSearcher(Searcher):
    """A searcher that also takes queries that keep their numbers.

    Codes of a searcher that doesn't are scanned for such queries, which is exact, and slow.

    Attributes:
        is_exact_relaxed: whether `nearest_relaxed` and `within_relaxed` miss nothing.
    """

    is_exact_relaxed: bool

    @abstractmethod
    def nearest_relaxed(
        self, queries: WeightedQueries, top_k: int, *, allowed: Allowed | None = None
    ) -> Neighbours:
        """Find the `top_k` rows of the smallest weighted distances from each query.

        Args:
            queries: one at least.
            top_k: between 1 and m.
            allowed: (m,) rows that count; None is all.

        Returns:
            (q, top_k) positions and weighted distances, by distance, then by position; `NO_ROW`
            where no more were found.
        """

    @abstractmethod
    def within_relaxed(
        self,
        queries: WeightedQueries,
        limits: NDArray[np.int64],
        *,
        allowed: Allowed | None = None,
    ) -> RaggedNeighbours:
        """Find the rows whose weighted distance is at most the limit of each query.

        Args:
            queries: one at least.
            limits: (q,) largest weighted distance, included; -1 finds nothing.
            allowed: (m,) rows that count; None is all.
        """


def stated_choice(kind: str, parameters: Mapping[str, Any]) -> str:
    """Say in words what a searcher states: its kind, why it was chosen, the recall measured.

    Example:
        >>> stated_choice("auto", {"chosen": {"kind": "flat", "parameters": {}}, "reason": "few"})
        'flat (few)'
    """
    chosen = parameters.get("chosen", {"kind": kind, "parameters": parameters})
    notes = [str(parameters["reason"])] if "reason" in parameters else []
    if measured := chosen["parameters"].get("measured"):
        notes.append(
            f"measured recall {measured['recall']:.3f} of the {measured['top_k']} nearest, "
            f"on {measured['queries']} items"
        )
    return f"{chosen['kind']} ({'; '.join(notes)})" if notes else str(chosen["kind"])
