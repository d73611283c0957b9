"""From a request to the code that is searched for: each part encoded, and the parts combined."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from os import PathLike
from typing import Final

import numpy as np
from numpy.typing import NDArray

from modalhash.artifacts import HashModel
from modalhash.codes import Codes, GradedBits, binarise, code_width, pack, unpack
from modalhash.codes.asymmetric import WeightedQueries
from modalhash.encoders import TowerOutput
from modalhash.errors import InputError, ShapeError, UnknownItemError
from modalhash.index import HashIndex
from modalhash.modalities import Modality, Side
from modalhash.search.parts import IndexParts
from modalhash.search.strength import direction_chances, score_chances
from modalhash.search_request import PartName, SearchRequest

__all__ = [
    "EncodedQuery",
    "combine_queries",
    "encode_output",
    "encode_part",
    "encode_request",
    "encode_text",
    "has_item",
    "is_bits_only",
    "query_modality",
    "query_of_code",
    "read_code",
]


ARTICLES: Final[Mapping[Modality, str]] = {"image": "an", "text": "a"}


@dataclass(frozen=True)
class EncodedQuery:
    """A query after the encoder.

    Attributes:
        stated: the query as answers state it, `{"text": ...}`.
        code: (1, p) uint8.
        relaxed: (1, b) float32; where only the code is known, its signs.
        modality: what asks; None if that isn't known, or it is a combination: how relevant items
            are at which distance isn't known then.
        output: what the encoder gave for a single text or picture; None for all else.
        item: the side and id of the item that asks, which is no hit of its own; None if none does.
        unknown: the texts of the query of which the text encoder knows no word; their codes say
            nothing.
        is_bits: whether only the code is known, of a stored item or given as bits: then both
            scorings rank alike, and the score follows from the distance.
        graded: what the bits of items stand for, where these aren't alike and the relaxed code
            holds the numbers that meet them.
    """

    stated: Mapping[str, str]
    code: Codes
    relaxed: NDArray[np.float32]
    modality: Modality | None = None
    output: TowerOutput | None = None
    item: tuple[Side, str | int] | None = None
    unknown: tuple[str, ...] = ()
    is_bits: bool = False
    graded: GradedBits | None = None

    @cached_property
    def weighted(self) -> WeightedQueries:
        """The relaxed code in whole units, as scores are computed.

        Raises:
            InputError: if a number isn't finite.
        """
        return WeightedQueries.of(self.relaxed, self.relaxed.shape[1], name="the query")

    @cached_property
    def score_chances(self) -> NDArray[np.float64]:
        """How probable it is that a random code scores at each level or better."""
        if self.graded is not None:
            return direction_chances(self.relaxed[0], self.graded)
        return score_chances(self.weighted)


def query_modality(index: IndexParts, request: SearchRequest) -> Modality | None:
    """Tell the modality of the only part of a query; None for a combination or a bare code."""
    match request.parts:
        case ("text",):
            return "text"
        case ("image",):
            return "image"
        case ("id",):
            return index.side_of_item(request).modality
        case ("code",) | ("features",) if request.modality is not None:
            return "image" if request.modality == "image" else "text"
    return None


def is_bits_only(index: IndexParts, request: SearchRequest) -> bool:
    """Tell whether a query is a code alone: a stored item, or bits that were given.

    Where bits are graded, a code stands for numbers, and these ask.
    """
    return index.model.graded_bits is None and request.parts in (("id",), ("code",))


def encode_request(index: IndexParts, request: SearchRequest) -> EncodedQuery:
    """Encode all parts of a query and combine them.

    Raises:
        FeatureError: if the model can't encode a part.
        InputError: if a picture can't be read, or the code is none of this index.
        UnknownItemError: if there is no item of the id.
    """
    return combine_queries(
        [(encode_part(index, request, part), request.weight(part)) for part in request.parts]
    )


def encode_part(index: IndexParts, request: SearchRequest, part: PartName) -> EncodedQuery:
    """Encode one part of a query; errors as in `encode_request`."""
    model = index.model
    if part == "id":
        assert request.id is not None
        return query_of_item(index, index.side_of_item(request), request.id)
    if part == "code":
        assert isinstance(request.code, str)
        code = read_code(bytes_of_hex(request.code), model.n_bits)
        return query_of_code(
            code,
            model.n_bits,
            {"code": request.code},
            query_modality(index, request),
            graded=model.graded_bits,
        )
    if part == "features":
        assert request.features is not None
        modality: Modality = "image" if request.modality == "image" else "text"
        stated = {"features": f"{request.features.size} numbers of {ARTICLES[modality]} {modality}"}
        return encode_output(model, TowerOutput(request.features), modality, stated)
    if part == "image":
        assert request.image is not None
        name = str(request.image) if isinstance(request.image, str | PathLike) else "a picture"
        return encode_output(model, model.image_output(request.image), "image", {"image": name})
    text = str(getattr(request, part))
    return encode_text(model, text, model.text_output(text), part)


def encode_text(
    model: HashModel, text: str, output: TowerOutput, part: str = "text"
) -> EncodedQuery:
    """Encode what the encoder gave for a text, and note if it knows no word of it."""
    query = encode_output(model, output, "text", {part: text})
    return query if model.encoder.text.knows(text) else replace(query, unknown=(text,))


def encode_output(
    model: HashModel, output: TowerOutput, modality: Modality, stated: Mapping[str, str]
) -> EncodedQuery:
    """Encode what the encoder gave for one text or picture."""
    relaxed = model.relaxed_features(
        output.pooled, modality, tokens=output.tokens, token_mask=output.token_mask
    )
    # A picture asks with what its bits leave over, so that its own code is nearest to it.
    graded = model.graded_bits if modality == "text" else None
    return EncodedQuery(stated, pack(binarise(relaxed)), relaxed, modality, output, graded=graded)


def query_of_code(
    code: Codes,
    n_bits: int,
    stated: Mapping[str, str],
    modality: Modality | None = None,
    *,
    graded: GradedBits | None = None,
) -> EncodedQuery:
    """Make the query of a code, (1, p) uint8.

    Args:
        code: of the query.
        n_bits: b.
        stated: the query as answers state it.
        modality: what asks.
        graded: what its bits stand for, if they aren't alike; these numbers ask then.

    Raises:
        ShapeError: if the code isn't one of this length.
    """
    if graded is not None:
        return EncodedQuery(stated, code, graded.query_numbers(code), modality, graded=graded)
    relaxed = unpack(code, n_bits).astype(np.float32)
    return EncodedQuery(stated, code, relaxed, modality, is_bits=True)


def query_of_item(index: IndexParts, side: Side, identity: str | int) -> EncodedQuery:
    """Make the query of an item of the index.

    Raises:
        UnknownItemError: if it isn't there.
    """
    if not has_item(index.sides[side], identity):
        raise UnknownItemError(identity, side)
    code = index.sides[side].reconstruct([identity])
    model, stated = index.model, {"id": str(identity)}
    query = query_of_code(code, model.n_bits, stated, side.modality, graded=model.graded_bits)
    return replace(query, item=(side, identity))


def has_item(index: HashIndex, identity: str | int) -> bool:
    """Tell whether an index has an item; one of another kind than its ids it hasn't."""
    try:
        return bool(index.contains([identity])[0])
    except InputError:
        return False


def bytes_of_hex(text: str, *, name: str = "code") -> bytes:
    """Read hexadecimal.

    Raises:
        InputError: if it is something else.
    """
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise InputError(f"{name} isn't hexadecimal") from None


def read_code(content: bytes, n_bits: int, *, name: str = "code") -> Codes:
    """Read one packed code, (1, p) uint8.

    Raises:
        InputError: if it isn't one of `n_bits`.
    """
    if len(content) != code_width(n_bits):
        raise InputError(
            f"{name} has {len(content)} bytes, codes of {n_bits} bits have {code_width(n_bits)}"
        )
    code = np.frombuffer(content, np.uint8).reshape(1, -1)
    try:
        unpack(code, n_bits)
    except ShapeError:
        raise InputError(f"{name} has bits set beyond {n_bits}") from None
    return code


def combine_queries(parts: Sequence[tuple[EncodedQuery, float]]) -> EncodedQuery:
    """Combine several queries into one: the signs of a weighted sum.

    The relaxed code of each part is divided by its Euclidean length, so that each counts by its
    weight alone; a part of zeros adds nothing.

    Args:
        parts: queries and weights; a negative weight leads away. A single part with a positive
            weight is returned as it is.

    Example:
        >>> dog, snow = (query_of_code(np.array([[byte]], np.uint8), 4, {}) for byte in (3, 5))
        >>> combine_queries([(dog, 1.0), (snow, -0.5)]).code.tolist()
        [[3]]
    """
    if len(parts) == 1 and parts[0][1] > 0:
        return parts[0][0]
    total = np.zeros_like(parts[0][0].relaxed)
    stated: dict[str, str] = {}
    for query, weight in parts:
        stated |= query.stated
        length = float(np.linalg.norm(query.relaxed))
        if length > 0:
            total += np.float32(weight / length) * query.relaxed
    item = next((query.item for query, _ in parts if query.item is not None), None)
    unknown = tuple(text for query, _ in parts for text in query.unknown)
    graded = parts[0][0].graded if all(query.graded for query, _ in parts) else None
    return EncodedQuery(
        stated, pack(binarise(total)), total, item=item, unknown=unknown, graded=graded
    )
