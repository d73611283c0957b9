"""Why a search index gives a hit its place."""

from dataclasses import dataclass
from typing import Any

from modalhash.index.explanation import BitComparison, DistanceProfile, chance_within

__all__ = ["Explanation"]


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
