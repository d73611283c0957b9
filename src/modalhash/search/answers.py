"""What a search finds: an answer and its hits."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from modalhash.modalities import Side

__all__ = ["Answer", "Hit"]


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
class Answer:
    """What a search found.

    Attributes:
        query: `{"text": ...}` or `{"image": ...}`.
        target: what was searched.
        n_bits: bits of a code.
        hits: nearest first.
        relevance_rule: what `relevance` of a hit means: that it shares a label with the query
            (`shared_label`), or is its own item (`pair`); None if it isn't known.
    """

    query: Mapping[str, str]
    target: Side
    n_bits: int
    hits: tuple[Hit, ...]
    relevance_rule: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the document that `search --json` prints."""
        return {
            "format": 1,
            "query": dict(self.query),
            "target": str(self.target),
            "n_bits": self.n_bits,
            "relevance_rule": self.relevance_rule,
            "hits": [asdict(hit) for hit in self.hits],
        }
