"""What a server answers, as dataclasses.

A field that a newer server adds is passed over; one that is missing is an error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from modalhash.errors import ServiceError

__all__ = [
    "AddedItems",
    "Explained",
    "ExplanationAnswer",
    "Facet",
    "FacetList",
    "FacetValue",
    "FieldFacts",
    "HitRank",
    "HitReasons",
    "IndexFacts",
    "ItemFacts",
    "Limits",
    "ModelFacts",
    "PictureLink",
    "Profile",
    "Queries",
    "SearchAnswer",
    "ServedHit",
    "ServedMoment",
    "ServiceFacts",
    "SideFacts",
    "SideResult",
    "decode_answer",
]

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Limits:
    """The most that one request may ask for.

    Attributes:
        body_bytes: bytes of a request.
        pixels: pixels of a picture.
        text_length: characters of a text.
        k: hits of a side.
        batch: queries, texts, pictures or items at once.
        timeout_seconds: seconds until the server gives a request up.
    """

    body_bytes: int
    pixels: int
    text_length: int
    k: int
    batch: int
    timeout_seconds: float


@dataclass(frozen=True)
class ServiceFacts:
    """What a server is and allows.

    Attributes:
        service: "modalhash".
        version: of modalhash there.
        auth: "none" or "key".
        writable: whether items can be added and deleted.
        limits: the most that one request may ask for.
    """

    service: str
    version: str
    auth: str
    writable: bool
    limits: Limits


@dataclass(frozen=True)
class SideFacts:
    """One side of an index, pictures or texts.

    Attributes:
        count: items.
        kind: of the index.
        search: how it is searched, in words.
        id_kind: "text" or "integer"; None of an empty side.
    """

    count: int
    kind: str
    search: str
    id_kind: str | None


@dataclass(frozen=True)
class FieldFacts:
    """A field that a filter can test, as found in a sample of items.

    Attributes:
        name: as it stands in a filter.
        types: of text, number, truth, list, mapping.
        sides: that have it.
        count: items of the sample that have it.
        values: the distinct ones, if they are few.
        minimum: of its numbers.
        maximum: of its numbers.
    """

    name: str
    types: tuple[str, ...]
    sides: tuple[str, ...]
    count: int
    values: tuple[Any, ...]
    minimum: float | None
    maximum: float | None


@dataclass(frozen=True)
class Queries:
    """What a model can encode.

    Attributes:
        text: whether texts.
        picture: whether pictures.
    """

    text: bool
    picture: bool


@dataclass(frozen=True)
class IndexFacts:
    """What an index holds and can do.

    Attributes:
        name: by which requests name it.
        collection: that it was made of.
        split: of the collection.
        model: fingerprint of the model.
        n_bits: bits of a code.
        sides: what can be searched, by `images` and `texts`.
        fields: what a filter can test.
        queries: what can be searched with, beside ids and codes.
        captions: whether items have captions.
        pictures: whether items have picture files.
        relevance: direction to what relevant means; empty where the index isn't calibrated.
        rerank: direction to what a shortlist can be put in order by.
        writable: whether items can be added and deleted.
        opened_at: when, in UTC.
        reach: direction to the largest relevance that a hit can have.
        may_change: whether this client may add and delete items.
    """

    name: str
    collection: str
    split: str
    model: str
    n_bits: int
    sides: Mapping[str, SideFacts]
    fields: tuple[FieldFacts, ...]
    queries: Queries
    captions: bool
    pictures: bool
    relevance: Mapping[str, str]
    rerank: Mapping[str, tuple[str, ...]]
    writable: bool
    opened_at: str
    reach: Mapping[str, float] = field(default_factory=dict)
    may_change: bool = False


@dataclass(frozen=True)
class ModelFacts:
    """A model behind one or more indexes.

    Attributes:
        fingerprint: that tells models apart.
        method: by name.
        title: of the method.
        n_bits: bits of a code.
        encoder: by name.
        trained_on: collection, split and number of items.
        fine_codes: whether it makes finer codes.
        queries: what it can encode.
        indexes: names of the indexes that it answers for.
        modalhash: version that trained it.
    """

    fingerprint: str
    method: str
    title: str
    n_bits: int
    encoder: str
    trained_on: Mapping[str, Any]
    fine_codes: bool
    queries: Queries
    indexes: tuple[str, ...]
    modalhash: str


@dataclass(frozen=True)
class PictureLink:
    """A picture of an item.

    Attributes:
        file_name: of the file, without its folder.
        thumbnail: path of a small one on the server, for `Client.thumbnail`.
        path: of the file below the folder that was indexed, or the whole one, as the server shows
            it; None of a picture that the index keeps itself.
    """

    file_name: str
    thumbnail: str
    path: str | None = None


@dataclass(frozen=True)
class HitRank:
    """Ranks that items at one distance share, from 1.

    Attributes:
        first: of them.
        last: of them.
        of: items of the side.
    """

    first: int
    last: int
    of: int


@dataclass(frozen=True)
class HitReasons:
    """Why an item is where it is.

    Attributes:
        agreeing_bits: from 0.
        differing_bits: from 0; their number is the distance.
        rank: among all items of the side.
        percentile: share of the items that are farther, in percent; of those as far, half.
        chance_of_random: how probable it is that two random codes are as near.
        local_score: similarity by finer codes, if the model makes them.
        score: the asymmetric score; None by Hamming distance.
        contributions: what each bit adds to the score; None by Hamming distance.
    """

    agreeing_bits: tuple[int, ...]
    differing_bits: tuple[int, ...]
    rank: HitRank
    percentile: float
    chance_of_random: float
    local_score: float | None
    score: float | None = None
    contributions: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Profile:
    """How far all items of a side are from a query.

    Attributes:
        distances: how many items are at each distance, from 0 to the number of bits.
        n_items: of the side.
        mean_distance: of all items.
        expected_distance: of two random codes.
    """

    distances: tuple[int, ...]
    n_items: int
    mean_distance: float
    expected_distance: float


@dataclass(frozen=True)
class ServedMoment:
    """A moment of a video, or a whole video.

    Attributes:
        video: the id of the whole video.
        start: in seconds from the beginning of the video.
        end: in seconds.
        address: where the server sends the video's file, whole or in ranges.
    """

    video: str | int
    start: float
    end: float
    address: str


@dataclass(frozen=True)
class ServedHit:
    """One answer.

    Attributes:
        id: of the picture or the text.
        item: of a text, the id of its picture.
        distance: differing bits; smaller is nearer.
        score: larger is better: by asymmetric scoring from -1 to 1, by Hamming distance the share
            of agreeing bits; of a reranked search what the second stage scored.
        relevance: probability that an item at this distance is relevant; None if it isn't known.
        caption: the text, or the picture's first one.
        picture: its picture, if there is one.
        metadata: what else the collection says of it.
        explanation: why it is here, if that was asked for.
        strength: how much its distance speaks for it: "strong", "fair" or "weak"; None if neither a
            calibration nor the bits tell.
        moment: which part of which video it is; None for other items.
    """

    id: str | int
    item: str | int | None
    distance: int
    score: float
    relevance: float | None
    caption: str
    picture: PictureLink | None
    metadata: Mapping[str, Any]
    explanation: HitReasons | None = None
    strength: str | None = None
    moment: ServedMoment | None = None


@dataclass(frozen=True)
class SideResult:
    """What was found on one side.

    Attributes:
        target: `images` or `texts`.
        relevance_rule: what `relevance` of a hit means, `shared_label` or `pair`.
        reranked_by: what the nearest were put in order by, if anything.
        hits: nearest first.
        explanation: how far all items are, if that was asked for.
        near_chance: whether random codes would be as near as the nearest hits.
        scoring: what ranked the items, "asymmetric" or "hamming"; "hamming" of servers from before
            there was a choice.
    """

    target: str
    relevance_rule: str | None
    reranked_by: str | None
    hits: tuple[ServedHit, ...]
    explanation: Profile | None = None
    near_chance: bool = False
    scoring: str = "hamming"


@dataclass(frozen=True)
class SearchAnswer:
    """What a search found.

    Attributes:
        index: its name.
        query: what was searched for.
        code: of the query, in hexadecimal.
        n_bits: bits of a code.
        results: one a side; two of a search for both.
        timings: milliseconds of each stage on the server.
        unknown: texts of the query of which the text encoder knows no word; the hits say nothing
            about them.
    """

    index: str
    query: Mapping[str, Any]
    code: str
    n_bits: int
    results: tuple[SideResult, ...]
    timings: Mapping[str, float]
    unknown: tuple[str, ...] = ()

    @property
    def hits(self) -> tuple[ServedHit, ...]:
        """The hits of the only side, or of both: pictures, then texts."""
        return tuple(hit for result in self.results for hit in result.hits)


@dataclass(frozen=True)
class Explained:
    """Why an item is where it is for a query.

    Attributes:
        id: of the item.
        code: of the item, in hexadecimal.
        distance: differing bits.
        relevance: probability that an item at this distance is relevant; None if it isn't known.
        agreeing_bits: from 0.
        differing_bits: from 0.
        rank: among all items of the side.
        percentile: share of the items that are farther, in percent; of those as far, half.
        chance_of_random: how probable it is that two random codes are as near.
        local_score: similarity by finer codes, if the model makes them.
        strength: how much its distance speaks for it, as in `ServedHit`.
        score: the asymmetric score; None by Hamming distance.
        contributions: what each bit adds to the score; None by Hamming distance.
    """

    id: str | int
    code: str
    distance: int
    relevance: float | None
    agreeing_bits: tuple[int, ...]
    differing_bits: tuple[int, ...]
    rank: HitRank
    percentile: float
    chance_of_random: float
    local_score: float | None
    strength: str | None = None
    score: float | None = None
    contributions: tuple[float, ...] | None = None


@dataclass(frozen=True)
class ExplanationAnswer:
    """Why some items are where they are.

    Attributes:
        index: its name.
        code: of the query, in hexadecimal.
        n_bits: bits of a code.
        target: the side of the items.
        relevance_rule: what relevant means, `shared_label` or `pair`.
        explanation: how far all items are.
        items: in the order of the ids.
        scoring: as in `SideResult`.
    """

    index: str
    code: str
    n_bits: int
    target: str
    relevance_rule: str | None
    explanation: Profile
    items: tuple[Explained, ...]
    scoring: str = "hamming"


@dataclass(frozen=True)
class FacetValue:
    """A value of a field, and how many items have it.

    Attributes:
        value: of the field, or a year of its dates.
        count: items.
    """

    value: str | bool | int
    count: int


@dataclass(frozen=True)
class Facet:
    """A field by which a search can be narrowed down.

    Attributes:
        name: as a filter takes it.
        kind: `value`, or `year` of a field of dates.
        values: the commonest first; years the latest first.
        more: values that aren't listed.
        missing: items that were read and don't have the field.
        earliest: of dates.
        latest: of dates.
    """

    name: str
    kind: str
    values: tuple[FacetValue, ...]
    more: int
    missing: int
    earliest: str | None = None
    latest: str | None = None


@dataclass(frozen=True)
class FacetList:
    """The facets of one side's items.

    Attributes:
        side: `images` or `texts`.
        of: items that count.
        counted: items that were read; fewer than `of` where there are very many.
        facets: one a field.
    """

    side: str
    of: int
    counted: int
    facets: tuple[Facet, ...]


@dataclass(frozen=True)
class ItemFacts:
    """One item of an index.

    Attributes:
        id: of the item.
        side: `images` or `texts`.
        item: of a text, the id of its picture.
        code: in hexadecimal.
        caption: the text, or the picture's first one.
        picture: its picture, if there is one.
        metadata: what else the collection says of it.
        moment: which part of which video it is; None for other items.
    """

    id: str | int
    side: str
    item: str | int | None
    code: str
    caption: str
    picture: PictureLink | None
    metadata: Mapping[str, Any]
    moment: ServedMoment | None = None


@dataclass(frozen=True)
class AddedItems:
    """What was added.

    Attributes:
        images: codes of pictures.
        texts: codes of texts.
    """

    images: int
    texts: int


def decode_answer(kind: type[Answer], document: Any) -> Answer:
    """Make an answer of a JSON document.

    Args:
        kind: of the answer, a dataclass of this file.
        document: what the server sent.

    Raises:
        ServiceError: if a field is missing or of another type, naming it.

    Example:
        >>> decode_answer(AddedItems, {"images": 1, "texts": 2, "new": True})
        AddedItems(images=1, texts=2)
    """
    try:
        answer: Answer = decode_value(kind, document, "the answer")
    except TypeError as error:
        raise ServiceError(f"the server answered something else: {error}", code="bad_answer") from (
            error
        )
    return answer


@cache
def read_hints(kind: type) -> Mapping[str, Any]:
    """Read the types of a dataclass's fields."""
    return get_type_hints(kind)


def decode_value(kind: Any, value: Any, where: str) -> Any:
    """Convert a JSON value to the type asked for.

    Raises:
        TypeError: if it isn't of that type, naming the place.
    """
    if get_origin(kind) in (Union, UnionType):
        return decode_union(get_args(kind), value, where)
    if is_dataclass(kind):
        return decode_dataclass(kind, value, where)
    if get_origin(kind) is tuple and isinstance(value, list):
        (inner, _) = get_args(kind)
        return tuple(decode_value(inner, entry, f"{where}[{at}]") for at, entry in enumerate(value))
    if get_origin(kind) is Mapping and isinstance(value, dict):
        (_, inner) = get_args(kind)
        return {
            name: decode_value(inner, entry, f"{where}.{name}") for name, entry in value.items()
        }
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Any or type(value) is kind:
        return value
    raise TypeError(f"{where} is {value!r:.80}")


def decode_union(kinds: Sequence[Any], value: Any, where: str) -> Any:
    """Convert a value to the first of some types that it fits."""
    if value is None and NoneType in kinds:
        return None
    left = [kind for kind in kinds if kind is not NoneType]
    for kind in left[:-1]:
        if type(value) is kind:
            return value
    return decode_value(left[-1], value, where)


def decode_dataclass(kind: Any, value: Any, where: str) -> Any:
    """Convert a JSON object to a dataclass."""
    if not isinstance(value, dict):
        raise TypeError(f"{where} is {value!r:.80}")
    values: dict[str, Any] = {}
    for entry in fields(kind):
        if entry.name in value:
            hint = read_hints(kind)[entry.name]
            values[entry.name] = decode_value(hint, value[entry.name], f"{where}.{entry.name}")
        elif entry.default is MISSING and entry.default_factory is MISSING:
            raise TypeError(f"{where} has no {entry.name}")
    return kind(**values)
