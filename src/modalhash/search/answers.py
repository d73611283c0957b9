"""What a search finds: an answer, its hits, and why they are where they are."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

from PIL import Image

from modalhash.choices import Scoring
from modalhash.data.pictures import read_picture
from modalhash.index.explanation import BitComparison, DistanceProfile, chance_within
from modalhash.modalities import Side
from modalhash.notebook_html import (
    MOST_CARDS,
    THUMBNAIL,
    PictureCard,
    escape_text,
    join_parts,
    make_card,
    make_gallery,
)
from modalhash.search.picture_files import find_picture_file
from modalhash.search.strength import Strength

NEAR_CHANCE: Final = "Even the nearest are no nearer than random codes would be."
UNKNOWN: Final = "The text encoder knows no word of this query."

__all__ = ["Answer", "Explanation", "Hit", "ItemCounts", "WeighedItem", "plain_id"]


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
        score: larger is better. By asymmetric scoring in [-1, 1], 1 where every bit agrees with the
            query; by Hamming distance the share of agreeing bits, in [0, 1]; of a reranked search
            what the second stage scored.
        caption: the text, or the picture's first one.
        image: the picture's file, or None.
        metadata: what else the collection says of it.
        relevance: probability that a random item at this distance, or of this score, is relevant;
            None if the model isn't calibrated for this direction and scoring.
        strength: how much its place speaks for it: strong, fair or weak, see `Strength`; None if
            the model isn't calibrated and has codes of fewer than 32 bits.
    """

    id: str | int
    distance: int
    score: float
    caption: str
    image: str | None
    metadata: Mapping[str, Any]
    relevance: float | None = None
    strength: Strength | None = None

    @property
    def video(self) -> str | int | None:
        """The id of the video that it is, or that it is a moment of; None if it is neither."""
        kind, video = self.metadata.get("kind"), self.metadata.get("video")
        if read_seconds(self.metadata, "end") is None:
            return None
        if kind == "moment":
            return video if isinstance(video, str) else None
        return self.metadata.get("item", self.id) if kind == "video" else None

    @property
    def start(self) -> float | None:
        """Where it begins in its video, in seconds; None if it is no moment and no video."""
        return None if self.video is None else read_seconds(self.metadata, "start") or 0.0

    @property
    def end(self) -> float | None:
        """Where it ends in its video, in seconds; None if it is no moment and no video."""
        return None if self.video is None else read_seconds(self.metadata, "end")

    def to_json(self) -> dict[str, Any]:
        """Write the document of a hit; of a moment or video, with `video`, `start` and `end`."""
        document = asdict(self)
        if self.video is not None:
            document |= {"video": self.video, "start": self.start, "end": self.end}
        return document


@dataclass(frozen=True)
class WeighedItem:
    """How an item scores for a query that keeps its numbers.

    Attributes:
        score: in [-1, 1], the sum of what the bits add.
        contributions: what each bit adds, from bit 0; positive where it agrees with the query.
        ranks: first and last rank, from 1, of items of this score; None if they are those of the
            distance, because the query is a code alone.
        chance: how probable it is that a random code scores as much; None as for `ranks`.
    """

    score: float
    contributions: tuple[float, ...]
    ranks: tuple[int, int] | None = None
    chance: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Write the entries of an explanation that there are by asymmetric scoring only."""
        return {"score": self.score, "contributions": list(self.contributions)}


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
        strength: how much its place speaks for it: strong, fair or weak, see `Strength`.
        weighed: its asymmetric score, and what each bit adds to it; None by Hamming distance.
    """

    id: str | int
    bits: BitComparison
    profile: DistanceProfile
    relevance: float | None = None
    relevance_rule: str | None = None
    local_score: float | None = None
    strength: Strength | None = None
    weighed: WeighedItem | None = None

    @property
    def distance(self) -> int:
        """Number of differing bits."""
        return self.bits.distance

    @property
    def ranks(self) -> tuple[int, int]:
        """First and last rank, from 1, that items at its distance, or of its score, share."""
        if self.weighed is not None and self.weighed.ranks is not None:
            return self.weighed.ranks
        return self.profile.ranks(self.distance)

    @property
    def percentile(self) -> float:
        """Share of the items that rank behind it, in percent; of those of its ranks, half."""
        if self.weighed is None or self.weighed.ranks is None:
            return self.profile.percentile(self.distance)
        (first, last), n_items = self.weighed.ranks, self.profile.n_items
        return 100 * (n_items - last + (last - first + 1) / 2) / n_items

    @property
    def chance(self) -> float:
        """How probable it is that a random code is as near, or scores as much."""
        if self.weighed is not None and self.weighed.chance is not None:
            return self.weighed.chance
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
            "strength": self.strength,
            "local_score": self.local_score,
            **({} if self.weighed is None else self.weighed.to_json()),
            "distances": self.profile.counts.tolist(),
        }


@dataclass(frozen=True)
class Answer:
    """What a search found.

    Attributes:
        query: `{"text": ...}` or `{"image": ...}`.
        target: what was searched.
        n_bits: bits of a code.
        hits: best first.
        relevance_rule: what `relevance` of a hit means: that it shares a label with the query
            (`shared_label`), or is its own item (`pair`); None if it isn't known.
        reranked_by: what put the hits in order, see `RerankBy`; None if `scoring` did.
        profile: how far all items are from the query, where an explanation is wanted.
        explanations: one a hit, where they are wanted; empty if a hit was deleted meanwhile.
        unknown: the texts of the query of which the text encoder knows no word: other scripts,
            emoji, words outside a vocabulary. The hits say nothing about them.
        near_chance: whether random codes would be as near as the nearest hits, so that these say
            little: a model of icons on photos, or nothing of the kind in the index. Codes of fewer
            than 32 bits and answers to a filter don't tell; then it is False.
        scoring: what ranked the items, "asymmetric" or "hamming", before any reranking.
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
    scoring: str = Scoring.HAMMING.value

    def __repr__(self) -> str:
        nearest = f", nearest {self.hits[0].id!r} at {self.hits[0].distance}" if self.hits else ""
        query = ", ".join(f"{part} {value!r}" for part, value in self.query.items())
        return f"<Answer: {len(self.hits)} {self.target} for {query}{nearest}>"

    def _repr_html_(self) -> str:
        """Write what notebooks show: the nearest hits, with pictures, texts and their scores."""
        query = ", ".join(f"{part}: {value}" for part, value in self.query.items())
        doubts = [UNKNOWN] if self.unknown else [NEAR_CHANCE] if self.near_chance else []
        cards = [make_hit_card(hit, self) for hit in self.hits[:MOST_CARDS]]
        n_left = len(self.hits) - len(cards)
        notes = [*doubts, *([f"{n_left:,} more hits aren't shown"] if n_left else [])]
        return join_parts(
            f"{len(self.hits):,} {self.target} for {query}",
            make_gallery(cards),
            *(f"<div>{escape_text(note)}</div>" for note in notes),
        )

    def to_json(self) -> dict[str, Any]:
        """Write the document that `search --json` prints."""
        document: dict[str, Any] = {
            "format": 1,
            "query": dict(self.query),
            "target": str(self.target),
            "n_bits": self.n_bits,
            "scoring": self.scoring,
            "relevance_rule": self.relevance_rule,
            "hits": [hit.to_json() for hit in self.hits],
        }
        if self.unknown:
            document["unknown"] = list(self.unknown)
        if self.near_chance:
            document["near_chance"] = True
        if self.profile is not None:
            document["explanations"] = [explanation.to_json() for explanation in self.explanations]
        return document


def make_hit_card(hit: Hit, answer: Answer) -> PictureCard:
    """Make the card of a hit: its picture, its text or else its id, and what put it there."""
    is_by_distance = answer.scoring == Scoring.HAMMING and answer.reranked_by is None
    rank = f"{hit.distance} of {answer.n_bits} bits differ"
    lines = [hit.caption or hit.id, rank if is_by_distance else f"score {hit.score:.3f}"]
    if hit.strength is not None:
        lines.append(hit.strength.value)
    return make_card(partial(open_hit_picture, hit), lines)


def make_item_card(hit: Hit) -> PictureCard:
    """Make the card of an item that isn't a hit: its picture, and its text or else its id."""
    return make_card(partial(open_hit_picture, hit), [hit.caption or hit.id])


def open_hit_picture(hit: Hit) -> Image.Image | None:
    """Open the picture of a hit; None where it has none that may be shown."""
    file = find_picture_file(hit.image)
    return None if file is None else read_picture(file, side=THUMBNAIL)


def read_seconds(metadata: Mapping[str, Any], name: str) -> float | None:
    """Read a number of seconds of an item's metadata; None if it is no number."""
    value = metadata.get(name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and value is not None and math.isfinite(value) else None


def plain_id(identity: Any) -> str | int:
    """Convert an id to Python's own text or integer."""
    return identity if isinstance(identity, str) else int(identity)
