"""Numbers with everything that they mean written beside them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modalhash.choices import Scoring
from modalhash.errors import InputError

__all__ = ["Curve", "DirectionReport", "Measure"]

Floats = NDArray[np.float64]
HAMMING = Scoring.HAMMING.value


@dataclass(frozen=True)
class Measure:
    """One number.

    Attributes:
        measure: "map", "precision", "recall", "ndcg", "mean_rank", "median_rank" (of the nearest
            target, from 1), "lookup_precision", "lookup_recall", "lookup_f1", "lookup_empty"; of a
            run of TREC also "reciprocal_rank".
        value: the number; NaN if no query counts.
        direction: "image_to_text" and so on.
        k: cut-off as asked for; None for the whole list and for measures without one.
        convention: formula of average precision; "exponential" or "linear" gain of nDCG;
            "radius_2" (any number) of a lookup; else None.
        ties: the tie rule; "none" where the order of ties doesn't matter, "run_order" where a run's
            ranks count.
        relevance: "shared_label", "jaccard", "graded" or "pair"; "judged" by a file of TREC.
        n_queries: queries that count in the value.
        n_database: items that were ranked.
        interval: bootstrap interval of the value, if it was asked for.
        scoring: how items were ranked: "hamming"; "asymmetric", where the query keeps its numbers;
            "reranked", a shortlist by Hamming distance in a finer order; "scores", any others.
    """

    measure: str
    value: float
    direction: str
    k: int | None
    convention: str | None
    ties: str
    relevance: str
    n_queries: int
    n_database: int
    interval: tuple[float, float] | None = None
    scoring: str = HAMMING

    @property
    def effective_k(self) -> int:
        """Ranks that really count: `k`, or the whole database if it is smaller or `k` is None."""
        return self.n_database if self.k is None else min(self.k, self.n_database)


@dataclass(frozen=True)
class Curve:
    """Precision and recall over a cut-off, means over queries.

    Attributes:
        by: "rank" (precision@N and recall@N over N) or "radius" (of a hash lookup).
        relevance: the rule of relevance.
        ties: the tie rule; "none" for a radius.
        cutoffs: (points,) int64, ranks from 1 or radii from 0.
        precision: (points,) mean over all queries; a lookup that finds nothing counts 0.
        recall: (points,) mean over the queries that have something relevant.
    """

    by: str
    relevance: str
    ties: str
    cutoffs: NDArray[np.int64]
    precision: Floats
    recall: Floats


@dataclass(frozen=True)
class DirectionReport:
    """All measures of one direction.

    Attributes:
        direction: "image_to_text" and so on.
        n_bits: bits of a code; None for real-valued scores.
        n_queries: queries asked.
        n_database: items ranked.
        jaccard_threshold: smallest Jaccard that counts under the rule "jaccard".
        measures: the numbers.
        per_query: for each of `measures`, (n_queries,) values behind it, for bootstrap and
            comparison; NaN where the query doesn't count.
        curves: precision-recall curves.
        scoring: how items were ranked; see `Measure`.
    """

    direction: str
    n_bits: int | None
    n_queries: int
    n_database: int
    jaccard_threshold: float
    measures: tuple[Measure, ...]
    per_query: tuple[Floats, ...]
    curves: tuple[Curve, ...]
    scoring: str = HAMMING

    def find(
        self,
        measure: str,
        *,
        relevance: str | None = None,
        k: int | None = None,
        convention: str | None = None,
    ) -> Measure:
        """Find the one number that fits.

        Args:
            measure: its name.
            relevance: its rule of relevance, or None for any.
            k: its cut-off, None for the whole list (or no cut-off).
            convention: its convention, or None for any.

        Raises:
            InputError: if none fits, or more than one.
        """
        return self.measures[self.position(measure, relevance, k, convention)]

    def values(
        self,
        measure: str,
        *,
        relevance: str | None = None,
        k: int | None = None,
        convention: str | None = None,
    ) -> Floats:
        """Look up the (n_queries,) values behind the number that `find` would return.

        Raises:
            InputError: if none fits, or more than one.
        """
        return self.per_query[self.position(measure, relevance, k, convention)]

    def position(
        self, measure: str, relevance: str | None, k: int | None, convention: str | None
    ) -> int:
        """Find the place in `measures` of the one that fits."""
        fitting = [
            place
            for place, candidate in enumerate(self.measures)
            if (candidate.measure, candidate.k) == (measure, k)
            and relevance in (None, candidate.relevance)
            and convention in (None, candidate.convention)
        ]
        if len(fitting) != 1:
            places = ", ".join(
                sorted({f"{m.measure}@{m.k} {m.convention} {m.relevance}" for m in self.measures})
            )
            raise InputError(
                f"{len(fitting)} measures fit {measure!r} with k={k}, convention={convention}, "
                f"relevance={relevance}, expected one. There are: {places}"
            )
        return fitting[0]
