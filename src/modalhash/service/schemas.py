"""What requests and answers look like: the models behind the OpenAPI document.

Limits that a server sets (k, lengths, batch) aren't here but in `limits`: a client learns them from
`GET /v1`. What is here bounds the work of checking itself: every list has a maximum, and the first
wrong entry of a list ends its check.
"""

import json
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from modalhash.search_request import SearchRequest
from modalhash.service.settings import MOST_ENTRIES

__all__ = [
    "AddItems",
    "AddedItems",
    "BatchAnswer",
    "BatchSearch",
    "CodeList",
    "DeleteItems",
    "DeletedItems",
    "EncodeTexts",
    "ErrorBody",
    "ExplainAnswer",
    "ExplainQuery",
    "FacetList",
    "IndexFacts",
    "IndexList",
    "Item",
    "ItemId",
    "ModelList",
    "NewItem",
    "QueryCode",
    "QueryParts",
    "SearchAnswer",
    "SearchQuery",
    "ServiceFacts",
    "Status",
    "Weights",
]


DEEPEST: Final = 100
"""Mappings and lists within each other in metadata at most."""
LONGEST_ID: Final = 1024


def check_text(value: str) -> str:
    """Refuse half a character, which JSON can spell and UTF-8 can't.

    Raises:
        ValueError: if there is one.
    """
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"character {error.start + 1} is half of a surrogate pair "
            f"(\\u{ord(value[error.start]):04x}): write the whole character"
        ) from None
    return value


def check_document(value: dict[str, Any]) -> dict[str, Any]:
    """Refuse what can't be stored: NaN, infinity, half a character, too many levels.

    Raises:
        ValueError: if there is one.
    """
    if count_levels(value) > DEEPEST:
        raise ValueError(f"it is nested more than {DEEPEST} levels deep")
    check_text(json.dumps(value, ensure_ascii=False, allow_nan=False))
    return value


def count_levels(value: object) -> int:
    """Count the mappings and lists within each other; stop where there are too many."""
    levels, layer = 0, [value]
    while layer and levels <= DEEPEST:
        layer = [
            entry
            for parent in layer
            if isinstance(parent, dict | list)
            for entry in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(entry, dict | list)
        ]
        levels += 1
    return levels


def check_id(value: object) -> object:
    """Refuse what is no id.

    Raises:
        ValueError: if it is none.
    """
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if is_number and -(2**63) <= value < 2**63:  # type: ignore[operator]
        return value
    if isinstance(value, str) and 0 < len(value) <= LONGEST_ID:
        return check_text(value)
    raise ValueError(f"an id is a text of 1 to {LONGEST_ID} characters or a 64-bit integer")


def check_rerank(value: object) -> object:
    """Refuse what is no length of a shortlist.

    Raises:
        ValueError: if it is none.
    """
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if (is_number and value >= 0) or value in ("auto", "all"):  # type: ignore[operator]
        return value
    raise ValueError('expected a number from 0 on, "auto" or "all"')


Text = Annotated[str, AfterValidator(check_text)]
Document = Annotated[dict[str, Any], AfterValidator(check_document)]
ItemId = Annotated[
    str | int,
    BeforeValidator(check_id),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1, "maxLength": LONGEST_ID},
                {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
            ]
        }
    ),
]
"""An id as the index has them: a text or a 64-bit integer."""
Rerank = Annotated[
    int | str,
    BeforeValidator(check_rerank),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 0}, {"enum": ["auto", "all"], "type": "string"}]}
    ),
]
Entry = TypeVar("Entry")
Entries = Annotated[list[Entry], Field(max_length=MOST_ENTRIES, fail_fast=True)]
"""A list in a request."""
SideName = Literal["images", "texts"]
ModalityName = Literal["image", "text"]
Form = Literal["hex", "base64"]
BitOrderName = Literal["little", "big"]
Positive = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]


class Request(BaseModel):
    """A part of a request: unknown fields are refused, and no type is guessed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def keep_one_unknown_field(cls, value: Any) -> Any:
        """Leave one field that is unknown to be refused: thousands would take long to list."""
        if not isinstance(value, dict) or len(value) <= len(cls.model_fields):
            return value
        unknown = next(name for name in value if name not in cls.model_fields)
        known = {name: value[name] for name in cls.model_fields if name in value}
        return known | {unknown: value[unknown]}


class PlainCode(Request):
    """A packed code as text: in hexadecimal or in base 64, of the index's width.

    Its first bit is the low end of its first byte, unless `bit_order` is "big".
    """

    hex: Text | None = Field(None, max_length=4096, examples=["8f02a4417cc1903e"])
    base64: Text | None = Field(None, max_length=4096)
    bit_order: BitOrderName = "little"

    @model_validator(mode="after")
    def check_form(self) -> Self:
        """Refuse both forms or none."""
        if (self.hex is None) == (self.base64 is None):
            raise ValueError("give either hex or base64")
        return self


class QueryCode(PlainCode):
    """A code to search for, and what it is a code of, if that is known."""

    modality: ModalityName | None = None


class Weights(Request):
    """How much each part of a combination counts."""

    text: Positive = 1.0
    id: Positive = 1.0
    code: Positive = 1.0
    image: Positive = 1.0
    minus_text: Positive = 1.0


def search_field(name: str, **more: Any) -> Any:
    """Declare a field as `SearchRequest` has it: its default, its bounds and what it means."""
    field = SearchRequest.__dataclass_fields__[name]
    bounds = dict(field.metadata)
    return Field(field.default, description=bounds.pop("about"), **bounds, **more)


ScoringName = Literal["asymmetric", "hamming"]


class QueryParts(Request):
    """What is searched for; several parts make a combination."""

    text: Text | None = search_field("text", examples=["a cup of coffee"])
    id: ItemId | None = search_field("id")
    code: QueryCode | None = search_field("code")
    minus_text: Text | None = search_field("minus_text")
    id_side: SideName | None = search_field("id_side")
    weights: Weights = Field(Weights(), description="Of the parts of a combination.")


class SearchQuery(QueryParts):
    """A search: a `SearchRequest` as JSON; its `where` is called `filter`."""

    target: Literal["images", "texts", "both"] | None = search_field("target")
    k: int | None = search_field("k", examples=[12])
    where: Text | None = search_field("where", alias="filter", examples=['category == "food"'])
    scoring: ScoringName = search_field("scoring")
    radius: int | None = search_field("radius")
    min_score: float | None = search_field("min_score", allow_inf_nan=False)
    min_relevance: float | None = search_field("min_relevance", allow_inf_nan=False)
    rerank: Rerank = search_field("rerank")
    rerank_by: Literal["auto", "fine", "features", "relaxed"] = search_field("rerank_by")
    rerank_score: Literal["fused", "local"] = search_field("rerank_score")
    group_by: Literal["video"] | None = search_field("group_by")
    explain: bool = search_field("explain")


class BatchSearch(Request):
    """Searches made at once."""

    queries: Entries[SearchQuery] = Field(min_length=1)


class ExplainQuery(QueryParts):
    """A query, and items of one side, which needn't be hits."""

    target: SideName | None = None
    scoring: ScoringName = search_field("scoring")
    ids: Entries[ItemId] = Field(min_length=1)


class EncodeTexts(Request):
    """Texts to encode."""

    texts: Entries[Text] = Field(min_length=1, examples=[["a cup of coffee", "a dog"]])
    form: Form = "hex"
    bit_order: BitOrderName = "little"


class NewText(Request):
    """A text of an item to add."""

    text: Text
    id: ItemId | None = None
    code: PlainCode | None = Field(None, description="Its code, if it is made already.")


class NewItem(Request):
    """An item to add: a picture or its code, or texts, or both."""

    id: ItemId
    image: Text | None = Field(None, description="A JPEG, PNG or WebP file in base 64.")
    image_code: PlainCode | None = Field(None, description="The picture's code, if made already.")
    texts: Entries[NewText] = []
    metadata: Document = {}


class AddItems(Request):
    """Items to add, all or none."""

    items: Entries[NewItem] = Field(min_length=1)


class DeleteItems(Request):
    """Items to remove: by their ids, or those that pass a filter."""

    ids: Entries[ItemId] | None = Field(None, min_length=1)
    filter: Text | None = None
    missing: Literal["error", "ignore"] = "error"

    @model_validator(mode="after")
    def check_choice(self) -> Self:
        """Refuse both ways or none."""
        if (self.ids is None) == (self.filter is None):
            raise ValueError("give either ids or filter")
        return self


class Problem(BaseModel):
    """What went wrong."""

    code: str = Field(description="Stable, for programs.", examples=["invalid_filter"])
    message: str = Field(description="A describe_problems, for people.")
    request_id: str


class ErrorBody(BaseModel):
    """The body of every error."""

    error: Problem


class Status(BaseModel):
    """Whether the server is well."""

    status: str
    indexes: dict[str, int] | None = Field(None, description="Codes of each index.")


class Limits(BaseModel):
    """The most that one request may ask for."""

    body_bytes: int
    pixels: int
    text_length: int
    filter_length: int
    k: int
    rerank: int
    batch: int
    hits: int
    filter_conditions: int
    pixels_together: int
    timeout_seconds: float


class ServiceFacts(BaseModel):
    """What the server is and allows."""

    service: str
    version: str
    auth: Literal["none", "key"]
    writable: bool
    limits: Limits


class SideFacts(BaseModel):
    """One side of an index."""

    count: int
    sampled: int = Field(description="Items that `fields` were found in.")
    kind: str
    search: str
    id_kind: Literal["text", "integer"] | None


class FieldFacts(BaseModel):
    """A field that a filter can test."""

    name: str
    types: list[str]
    sides: list[SideName]
    count: int
    is_date: bool = Field(description="Whether all values of the sample are dates.")
    values: list[str | bool]
    minimum: float | None
    maximum: float | None


class Queries(BaseModel):
    """What the model can encode."""

    text: bool
    picture: bool


class IndexFacts(BaseModel):
    """What an index holds and can do."""

    name: str
    collection: str
    split: str
    model: str
    n_bits: int
    sides: dict[SideName, SideFacts]
    fields: list[FieldFacts]
    queries: Queries
    captions: bool
    pictures: bool
    relevance: dict[str, str]
    reach: dict[str, float] = Field(description="The largest relevance that is reached.")
    rerank: dict[str, list[str]]
    writable: bool
    may_change: bool = Field(description="Whether this client may add and delete items.")
    opened_at: str


class IndexList(BaseModel):
    """All indexes, the first of which a page opens with."""

    indexes: list[IndexFacts]


class ModelFacts(BaseModel):
    """A model behind one or more indexes."""

    fingerprint: str
    method: str
    title: str
    n_bits: int
    encoder: str
    trained_on: dict[str, Any]
    fine_codes: bool
    queries: Queries
    indexes: list[str]
    modalhash: str


class ModelList(BaseModel):
    """All models."""

    models: list[ModelFacts]


class FacetValue(BaseModel):
    """A value of a field, and how many items have it."""

    value: str | bool | int
    count: int


class Facet(BaseModel):
    """A field by which a search can be narrowed down."""

    name: str = Field(description="As a filter takes it.")
    kind: Literal["value", "year"]
    values: list[FacetValue] = Field(description="The commonest first; years the latest first.")
    more: int = Field(description="Values that aren't listed.")
    missing: int = Field(description="Items that were read and don't have the field.")
    earliest: str | None = Field(description="Of the dates of a field of years.")
    latest: str | None


class FacetList(BaseModel):
    """The facets of a side's items."""

    side: SideName
    of: int = Field(description="Items that count.")
    counted: int = Field(description="Items that were read; fewer than `of` where there are many.")
    facets: list[Facet]


class Picture(BaseModel):
    """A picture of an item."""

    file_name: str
    path: str | None = Field(
        description="Below the folder that was indexed; the whole path where the server shows it."
    )
    thumbnail: str = Field(description="Where a small one is; takes `&size=`.")


class Moment(BaseModel):
    """A moment of a video, or a whole video."""

    video: str | int = Field(description="The id of the whole video.")
    start: float = Field(description="Seconds from the beginning of the video.")
    end: float
    address: str = Field(description="Where the video's file is; answers to ranges of bytes.")


class ItemRank(BaseModel):
    """Ranks that items at one distance share, from 1."""

    first: int
    last: int
    of: int


class HitExplanation(BaseModel):
    """Why an item is where it is."""

    agreeing_bits: list[int]
    differing_bits: list[int]
    rank: ItemRank
    percentile: float
    chance_of_random: float
    local_score: float | None
    score: float | None = Field(description="Asymmetric score; null by Hamming distance.")
    contributions: list[float] | None = Field(
        description="What each bit adds to the score; null by Hamming distance."
    )


class Profile(BaseModel):
    """How far all items of a side are from the query."""

    distances: list[int]
    n_items: int
    mean_distance: float
    expected_distance: float


StrengthWord = Literal["strong", "fair", "weak"]
ABOUT_STRENGTH: Final = "How much the distance speaks for the item."


class Hit(BaseModel):
    """One answer."""

    id: str | int
    item: str | int | None
    distance: int
    score: float
    relevance: float | None
    strength: StrengthWord | None = Field(description=ABOUT_STRENGTH)
    caption: str
    picture: Picture | None
    metadata: dict[str, Any]
    explanation: HitExplanation | None
    moment: Moment | None = Field(None, description="Of a video; null for other items.")


class SideResult(BaseModel):
    """The hits of one side."""

    target: SideName
    scoring: ScoringName = Field(description="What ranked the items, before any reranking.")
    relevance_rule: str | None
    reranked_by: str | None
    near_chance: bool = Field(
        description="Whether random codes would be as near as the nearest hits."
    )
    hits: list[Hit]
    explanation: Profile | None


class SearchAnswer(BaseModel):
    """What a search found."""

    index: str
    query: dict[str, str]
    code: str
    n_bits: int
    unknown: list[str] = Field(
        description="Texts of the query of which the text encoder knows no word."
    )
    results: list[SideResult]
    timings: dict[str, float]


class BatchAnswer(BaseModel):
    """One answer a query, in order."""

    answers: list[SearchAnswer]


class ExplainedItem(HitExplanation):
    """An item and why it is where it is."""

    id: str | int
    code: str
    distance: int
    relevance: float | None
    strength: StrengthWord | None = Field(description=ABOUT_STRENGTH)


class ExplainAnswer(BaseModel):
    """Why items are where they are."""

    index: str
    code: str
    n_bits: int
    target: SideName
    scoring: ScoringName
    relevance_rule: str | None
    explanation: Profile
    items: list[ExplainedItem]


class CodeList(BaseModel):
    """Codes in the order asked for."""

    n_bits: int
    model: str
    form: Form
    bit_order: BitOrderName
    codes: list[str]


class Item(BaseModel):
    """One item of an index."""

    id: str | int
    side: SideName
    item: str | int | None
    code: str
    caption: str
    picture: Picture | None
    metadata: dict[str, Any]
    moment: Moment | None = Field(None, description="Of a video; null for other items.")


class AddedItems(BaseModel):
    """How many codes were added."""

    images: int
    texts: int


class DeletedItems(BaseModel):
    """How many codes were removed from both sides."""

    removed: int
