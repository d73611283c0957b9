"""The kind "auto": the quickest kind that reaches a recall on these codes, by measurement.

In this order, each step for a measured reason:

1. Few codes are scanned: exact, and below a millisecond.
2. Codes of which less than half are distinct are folded: each distinct code is searched once. If
   that leaves few, they are scanned.
3. Cells (`ivf`) are trained, and the probes that a sample of the codes needs for the recall are
   counted. If that is a small share of the cells, the codes are put into them. If not, the codes
   are too random for any index: they are scanned, which is as quick and misses nothing.

Tables (`mih`) are never chosen: they are for near-duplicates, which only the user can know about.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, WeightedQueries
from modalhash.index.faiss_flat import FlatSearcher
from modalhash.index.faiss_ivf import IvfSearcher, IvfSettings, TrainedCells
from modalhash.index.folding import Folding, distinct_share
from modalhash.index.relaxed_scan import find_nearest, find_within
from modalhash.index.searcher_settings import RecallTarget
from modalhash.index.searcher_table import searcher_class
from modalhash.index.searchers import (
    Allowed,
    Neighbours,
    RaggedNeighbours,
    RelaxedSearcher,
    Searcher,
)

__all__ = ["AutoSearcher"]

SCANNED_CODES = 1_000_000
"""Up to so many (distinct) codes are scanned: about a millisecond a query on one core."""
FOLDED_SHARE = 0.5
"""Codes are folded when at most this share of them is distinct."""
FOLDED_ROWS = 50_000
"""Fewer codes are never folded: scanning them costs no more than expanding hits."""
PROBED_SHARE = 0.125
"""Cells must answer from at most this share of the codes: they cost more a code than a scan, and
with more the gain is below three times."""


@final
class AutoSearcher(RelaxedSearcher):
    """Search by the kind that was chosen; the parameters say which, and why.

    Example:
        >>> from modalhash.codes import pack
        >>> codes = pack([[1, 1], [1, -1], [-1, -1]])
        >>> searcher = AutoSearcher.build(codes, 2, parameters={"recall": 0.9})
        >>> searcher.parameters["chosen"], searcher.parameters["reason"]
        ({'kind': 'flat', 'parameters': {}}, '3 codes: few enough to scan')
    """

    kind = "auto"
    settings = RecallTarget

    def __init__(self, searcher: Searcher, parameters: Mapping[str, Any], codes: Codes) -> None:
        self.searcher, self.parameters, self.codes = searcher, parameters, codes
        self.is_exact = searcher.is_exact
        # Codes of a searcher that doesn't take relaxed queries are scanned.
        self.is_exact_relaxed = (
            not isinstance(searcher, RelaxedSearcher) or searcher.is_exact_relaxed
        )

    @classmethod
    def build(cls, codes: Codes, n_bits: int, *, parameters: Mapping[str, Any]) -> Self:
        """Choose a kind and its parameters and build it; see `Searcher.build`.

        Args:
            codes: (m, p) uint8.
            n_bits: bits of a code.
            parameters: `recall`, the share of the 10 nearest that should be found.
        """
        target = RecallTarget.of(cls.kind, parameters)
        searcher, reason = choose(codes, n_bits, target.recall)
        chosen = {"kind": searcher.kind, "parameters": dict(searcher.parameters)}
        stated = {"recall": target.recall, "chosen": chosen, "reason": reason}
        return cls(searcher, stated, codes)

    def nearest(
        self, query_codes: Codes, top_k: int, *, allowed: Allowed | None = None
    ) -> Neighbours:
        """Find the nearest rows of each query; see `Searcher.nearest`."""
        return self.searcher.nearest(query_codes, top_k, allowed=allowed)

    def within(
        self, query_codes: Codes, radius: int, *, allowed: Allowed | None = None
    ) -> RaggedNeighbours:
        """Find the rows within a radius of each query; see `Searcher.within`."""
        return self.searcher.within(query_codes, radius, allowed=allowed)

    def nearest_relaxed(
        self, queries: WeightedQueries, top_k: int, *, allowed: Allowed | None = None
    ) -> Neighbours:
        """Find the best rows of relaxed queries; see `RelaxedSearcher.nearest_relaxed`."""
        return find_nearest(self.searcher, self.codes, queries, top_k, allowed=allowed)

    def within_relaxed(
        self,
        queries: WeightedQueries,
        limits: NDArray[np.int64],
        *,
        allowed: Allowed | None = None,
    ) -> RaggedNeighbours:
        """Find rows within limits; see `RelaxedSearcher.within_relaxed`."""
        return find_within(self.searcher, self.codes, queries, limits, allowed=allowed)

    def write(self, folder: Path) -> Sequence[str]:
        """Write what was chosen; see `Searcher.write`."""
        return self.searcher.write(folder)

    @classmethod
    def open(
        cls, folder: Path, codes: Codes, n_bits: int, *, parameters: Mapping[str, Any]
    ) -> Self:
        """Open what was chosen; see `Searcher.open`."""
        chosen = parameters["chosen"]
        searcher = searcher_class(chosen["kind"], from_file=True).open(
            folder, codes, n_bits, parameters=chosen["parameters"]
        )
        return cls(searcher, parameters, codes)


def choose(codes: Codes, n_bits: int, recall: float) -> tuple[Searcher, str]:
    """Build the quickest searcher that reaches a recall.

    Returns:
        The searcher, and the reason in words.
    """
    n_rows = len(codes)
    share = distinct_share(codes) if n_rows > FOLDED_ROWS else 1.0
    folding = Folding.of(codes) if share <= FOLDED_SHARE else None
    n_searched = n_rows if folding is None else len(folding)
    described = (
        f"{n_rows:,} codes" if folding is None else f"{n_searched:,} distinct of {n_rows:,} codes"
    )
    if n_searched <= SCANNED_CODES:
        return flat(codes, n_bits, folding), f"{described}: few enough to scan"
    if recall >= 1:
        return flat(codes, n_bits, folding), f"{described}: only a scan promises a recall of 1"
    settings = IvfSettings(recall=recall, distinct=folding is not None)
    trained = TrainedCells.train(codes if folding is None else folding.codes, settings)
    if trained.probed_share > PROBED_SHARE:
        return flat(codes, n_bits, folding), (
            f"{described}: too random for cells, of which {100 * trained.probed_share:.0f} % "
            f"would have to be looked into for a recall of {recall}, so they are scanned"
        )
    searcher = IvfSearcher.filled(codes, folding, trained, settings)
    probed = 100 * searcher.n_probes / searcher.n_cells
    return searcher, f"{described}: looking into {probed:.1f} % of the cells reaches the recall"


def flat(codes: Codes, n_bits: int, folding: Folding | None) -> FlatSearcher:
    """Make a scan of codes that may be folded already."""
    if folding is None:
        return FlatSearcher.build(codes, n_bits, parameters={})
    return FlatSearcher.folded(codes, folding)
