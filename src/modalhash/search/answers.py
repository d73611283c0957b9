"""What a search finds: an answer, its hits, and why they are where they are."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from modalhash.index.explanation import BitComparison, DistanceProfile, chance_within
from modalhash.modalities import Side

__all__ = ["Answer", "Explanation", "Hit", "ItemCounts", "plain_id"]


@dataclass(frozen=True)
class ItemCounts:
    """How many pictures and texts a change adds or removes.

    Attributes:
        images: pictures, or codes of them.
        texts: texts.

    Example:
        >>> str(ItemCounts(1, 5)), str(ItemCounts(0, 2)), str(ItemCounts(0, 0))
        ('1 item (1 picture, 5 texts)', '2 texts', '0 items')
    """

    images: int
    texts: int

    @property
    def n_codes(self) -> int:
        """Pictures and texts together."""
        return self.images + self.texts

    def __str__(self) -> str:
        if not self.n_codes:
            return "0 items"
        texts = write_count(self.texts, "text")
        if not self.images:
            return texts
        return (
            f"{write_count(self.images, 'item')} ({write_count(self.images, 'picture')}, {texts})"
        )


def write_count(count: int, noun: str) -> str:
    """Write a number with its noun."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


@dataclass(frozen=True)
class Hit:
    """One answer.

    Attributes:
        id: of the picture or the text.
        distance: differing bits; smaller is nearer.
        score: share of agreeing bits, in [0, 1]; of a reranked search what the second stage
            scored. Larger is better.
        caption: the text, or the picture's first one.
        image: the picture's file, or None.
        metadata: what else the collection says of it.
        relevance: probability that a random item at this distance is relevant; None if the model
            isn't calibrated for this direction.
    """

    id: str | int
    distance: int
    score: float
    caption: str
    image: str | None
    metadata: Mapping[str, Any]
    relevance: float | None = None


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
        """Write the document of one explained item in `search --explain --json`."""
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


@dataclass(frozen=True)
class Answer:
    """What a search found.

    Attributes:
        query: `{"text": ...}` or `{"image": ...}`.
        target: what was searched.
        n_bits: bits of a code.
        hits: nearest first.
        relevance_rule: what `relevance` of a hit means: that it shares a label with the query
            (`shared_label`), or is its own item (`pair`); None if it isn't known.
        reranked_by: what put the hits in order, see `RerankBy`; None if Hamming distance did.
        profile: how far all items are from the query, where an explanation is wanted.
        explanations: one a hit, where they are wanted; empty if a hit was deleted meanwhile.
        unknown: the texts of the query of which the text encoder knows no word: other scripts,
            emoji, words outside a vocabulary. The hits say nothing about them.
        near_chance: whether random codes would be as near as the nearest hits, so that these say
            little: a model of icons on photos, or nothing of the kind in the index. Codes of fewer
            than 32 bits and answers to a filter don't tell; then it is False.
    """

    query: Mapping[str, str]
    target: Side
    n_bits: int
    hits: tuple[Hit, ...]
    relevance_rule: str | None = None
    reranked_by: str | None = None
    profile: DistanceProfile | None = None
    explanations: tuple[Explanation, ...] = ()
    unknown: tuple[str, ...] = ()
    near_chance: bool = False

    def to_json(self) -> dict[str, Any]:
        """Write the document that `search --json` prints."""
        document: dict[str, Any] = {
            "format": 1,
            "query": dict(self.query),
            "target": str(self.target),
            "n_bits": self.n_bits,
            "relevance_rule": self.relevance_rule,
            "hits": [asdict(hit) for hit in self.hits],
        }
        if self.unknown:
            document["unknown"] = list(self.unknown)
        if self.near_chance:
            document["near_chance"] = True
        if self.profile is not None:
            document["explanations"] = [explanation.to_json() for explanation in self.explanations]
        return document


def plain_id(identity: Any) -> str | int:
    """Convert an id to Python's own text or integer."""
    return identity if isinstance(identity, str) else int(identity)
