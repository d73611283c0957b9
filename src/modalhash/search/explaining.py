"""Why a search index gives an item its place."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modalhash.choices import Scoring
from modalhash.codes import Codes
from modalhash.codes.asymmetric import Scores
from modalhash.index import HashIndex, QueryHits
from modalhash.index.explanation import (
    BitComparison,
    DistanceProfile,
    compare_bits,
    weigh_bits,
)
from modalhash.metrics import score_levels
from modalhash.modalities import Side
from modalhash.search.answers import Explanation, WeighedItem, plain_id
from modalhash.search.grading import grade_hits
from modalhash.search.parts import IndexParts
from modalhash.search.queries import EncodedQuery
from modalhash.search.reranking import make_scorer
from modalhash.search_request import RerankBy, RerankScore

__all__ = ["explain_items", "measure_profile"]


def measure_profile(index: IndexParts, query: EncodedQuery, side: Side) -> DistanceProfile:
    """Count the items of a side at each distance from a query."""
    return DistanceProfile(index.sides[side].distance_histogram(query.code)[0])


def explain_items(
    index: IndexParts,
    ids: Sequence[str | int],
    query: EncodedQuery,
    side: Side,
    *,
    scoring: Scoring = Scoring.ASYMMETRIC,
) -> tuple[Explanation, ...]:
    """Explain where items are for an encoded query; see `SearchIndex.explain`.

    Raises:
        InputError: if an id isn't there, naming it.
    """
    searched, n_bits = index.sides[side], index.model.n_bits
    codes, documents = searched.reconstruct(ids), searched.metadata(ids)
    profile = measure_profile(index, query, side)
    compared = [compare_bits(query.code, codes[row : row + 1], n_bits) for row in range(len(codes))]
    scores: Scores | None = None
    weighed: list[WeighedItem | None] = [None] * len(codes)
    if scoring is Scoring.ASYMMETRIC:
        scores = score_codes(query, codes)
        weighed = weigh_items(searched, query, codes, scores)
    distances = np.array([bits.distance for bits in compared], np.int32)
    ranked = QueryHits(np.asarray(ids), distances, scores=None if query.is_bits else scores)
    grading = grade_hits(index, query, scoring, side, ranked)
    finer = local_scores(index, query, compared, documents, codes)
    return tuple(
        Explanation(
            plain_id(identity),
            bits,
            profile,
            None if grading.relevance is None else round(grading.relevance[row], 6),
            None if grading.curve is None else grading.curve.rule.value,
            finer[row],
            grading.strengths[row],
            weighed[row],
        )
        for row, (identity, bits) in enumerate(zip(ids, compared, strict=True))
    )


def score_codes(query: EncodedQuery, codes: Codes) -> Scores:
    """Compute the (n,) asymmetric scores of some codes."""
    which = np.zeros(len(codes), np.int64)
    return query.weighted.scores(query.weighted.paired_distances(codes, which), which)


def weigh_items(
    searched: HashIndex, query: EncodedQuery, codes: Codes, scores: Scores
) -> list[WeighedItem | None]:
    """Weigh the bits of items, and rank the items by their scores among all that are searched."""
    n_bits = searched.n_bits
    every = np.zeros(0, np.float32)
    if len(scores) and not query.is_bits:
        hits = searched.search_radius(query.relaxed, min_score=float(scores.min()))
        assert hits.scores is not None
        every = np.sort(hits.scores)
    weighed: list[WeighedItem | None] = []
    for row, score in enumerate(scores):
        bits = weigh_bits(query.relaxed, codes[row : row + 1], n_bits)
        ranks = chance = None
        if not query.is_bits:
            better = len(every) - int(np.searchsorted(every, score, "right"))
            as_good = len(every) - int(np.searchsorted(every, score, "left"))
            ranks = better + 1, max(as_good, better + 1)
            chance = float(query.score_chances[score_levels(score, n_bits)])
        contributions = tuple(round(value, 9) for value in bits.values.tolist())
        weighed.append(WeighedItem(float(score), contributions, ranks, chance))
    return weighed


def local_scores(
    index: IndexParts,
    query: EncodedQuery,
    compared: Sequence[BitComparison],
    documents: Sequence[Mapping[str, Any]],
    codes: Codes,
) -> Sequence[float | None]:
    """Score items by finer codes alone; None each, where the model or the query has none."""
    if not (index.model.has_fine_codes and query.output is not None and compared):
        return [None] * len(compared)
    scorer = make_scorer(
        RerankBy.FINE,
        index.model,
        query,
        documents=documents,
        codes=codes,
        score=RerankScore.LOCAL,
    )
    distances = np.array([bits.distance for bits in compared], np.int32)
    return [float(score) for score in scorer(0, np.arange(len(compared)), distances)]
