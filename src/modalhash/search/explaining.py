"""Why a search index gives a hit its place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modalhash.index.explanation import (
    BitComparison,
    DistanceProfile,
    chance_within,
    compare_bits,
)
from modalhash.index.rerank import RerankScore
from modalhash.modalities import Side
from modalhash.search.parts import IndexParts
from modalhash.search.queries import EncodedQuery
from modalhash.search.reranking import SecondStage, scorer_of
from modalhash.search.searching import rule_of

__all__ = ["Explanation", "explain_items"]


@dataclass(frozen=True)
class Explanation:
    """Why an item is where it is for a query.

    Attributes:
        id: of the item.
        bits: where its code and the query's agree.
        profile: how far all items of the index are from the query.
        relevance: probability that a random item at this distance is relevant; None if the model
            isn't calibrated for this direction.
        relevance_rule: what relevant means, `shared_label` or `pair`.
        local_score: similarity by finer codes, if the model makes them.
    """

    id: str | int
    bits: BitComparison
    profile: DistanceProfile
    relevance: float | None = None
    relevance_rule: str | None = None
    local_score: float | None = None

    @property
    def distance(self) -> int:
        """Number of differing bits."""
        return self.bits.distance

    @property
    def ranks(self) -> tuple[int, int]:
        """First and last rank, from 1, that items at its distance share."""
        return self.profile.ranks(self.distance)

    @property
    def percentile(self) -> float:
        """Share of the items that are farther, in percent; of those as far, half."""
        return self.profile.percentile(self.distance)

    @property
    def chance(self) -> float:
        """How probable it is that two random codes are as near."""
        return chance_within(self.distance, self.profile.n_bits)

    def to_json(self) -> dict[str, Any]:
        """Return the document of one explained item in `search --explain --json`."""
        first, last = self.ranks
        return {
            "id": self.id,
            "distance": self.distance,
            "n_bits": self.profile.n_bits,
            "agreeing_bits": list(self.bits.agreeing),
            "differing_bits": list(self.bits.differing),
            "rank": {"first": first, "last": last, "of": self.profile.n_items},
            "percentile": self.percentile,
            "mean_distance": self.profile.mean,
            "expected_distance": self.profile.expected,
            "chance_of_random": self.chance,
            "relevance": self.relevance,
            "relevance_rule": self.relevance_rule,
            "local_score": self.local_score,
            "distances": self.profile.counts.tolist(),
        }


def explain_items(
    index: IndexParts, ids: Sequence[str | int], query: EncodedQuery, side: Side
) -> tuple[Explanation, ...]:
    """Say why items are where they are for an encoded query; see `SearchIndex.explain`.

    Raises:
        InputError: if an id isn't there, naming it.
    """
    searched = index.sides[side]
    codes, documents = searched.reconstruct(list(ids)), searched.metadata(list(ids))
    profile = DistanceProfile(searched.distance_histogram(query.code)[0])
    curve = None if query.modality is None else index.curve(query.modality, side)
    probabilities = index.probabilities(curve, side)
    compared = [
        compare_bits(query.code, codes[row : row + 1], index.model.n_bits)
        for row in range(len(codes))
    ]
    distances = np.array([bits.distance for bits in compared], np.int32)
    local: list[float | None] = [None] * len(compared)
    if index.model.has_fine_codes and query.output is not None and compared:
        scorer = scorer_of(
            SecondStage.FINE,
            index.model,
            query,
            documents=documents,
            codes=codes,
            score=RerankScore.LOCAL,
        )
        local = list(map(float, scorer(0, np.arange(len(compared)), distances)))
    return tuple(
        Explanation(
            identity if isinstance(identity, str) else int(identity),
            bits,
            profile,
            None if probabilities is None else round(probabilities[bits.distance], 6),
            rule_of(curve),
            score,
        )
        for identity, bits, score in zip(ids, compared, local, strict=True)
    )
