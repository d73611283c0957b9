"""Why a search index gives an item its place."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modalhash.codes import Codes
from modalhash.index.explanation import BitComparison, DistanceProfile, compare_bits
from modalhash.modalities import Side
from modalhash.search.answers import Explanation, plain_id
from modalhash.search.parts import IndexParts
from modalhash.search.queries import EncodedQuery
from modalhash.search.reranking import make_scorer
from modalhash.search_request import RerankBy, RerankScore

__all__ = ["explain_items", "measure_profile"]


def measure_profile(index: IndexParts, query: EncodedQuery, side: Side) -> DistanceProfile:
    """Count the items of a side at each distance from a query."""
    return DistanceProfile(index.sides[side].distance_histogram(query.code)[0])


def explain_items(
    index: IndexParts, ids: Sequence[str | int], query: EncodedQuery, side: Side
) -> tuple[Explanation, ...]:
    """Explain where items are for an encoded query; see `SearchIndex.explain`.

    Raises:
        InputError: if an id isn't there, naming it.
    """
    searched = index.sides[side]
    codes, documents = searched.reconstruct(ids), searched.metadata(ids)
    profile = measure_profile(index, query, side)
    curve = None if query.modality is None else index.curve(query.modality, side)
    probabilities = index.probabilities(curve, side)
    strengths = index.strengths(curve, side)
    compared = [
        compare_bits(query.code, codes[row : row + 1], index.model.n_bits)
        for row in range(len(codes))
    ]
    return tuple(
        Explanation(
            plain_id(identity),
            bits,
            profile,
            None if probabilities is None else round(probabilities[bits.distance], 6),
            None if curve is None else curve.rule.value,
            score,
            strengths[bits.distance],
        )
        for identity, bits, score in zip(
            ids, compared, local_scores(index, query, compared, documents, codes), strict=True
        )
    )


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
