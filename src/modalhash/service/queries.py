"""From what a client asks to what an index is asked: parts checked, encoded and put together."""

import asyncio
import base64
import binascii
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from modalhash.choices import reverse_bits
from modalhash.errors import UnknownItemError
from modalhash.index.filter_tree import leaves
from modalhash.index.filters import parse_filter
from modalhash.modalities import Direction, Side
from modalhash.search import (
    EncodedQuery,
    combine_queries,
    has_item,
    is_bits_only,
    plan_search,
    query_modality,
)
from modalhash.search_request import Scoring, SearchRequest
from modalhash.service.engine import Engine, SideResult, Stages
from modalhash.service.hosting import IndexHandle
from modalhash.service.refusals import beyond_limit, invalid, not_available
from modalhash.service.schemas import PlainCode, QueryParts
from modalhash.service.settings import ServiceSettings

__all__ = [
    "build_request",
    "check_batch",
    "check_encodes",
    "check_filter",
    "check_hits",
    "check_items",
    "check_text",
    "decode_code",
    "encode_query",
    "find_side",
    "search_sides",
]


def check_text(text: str, settings: ServiceSettings, *, name: str) -> None:
    """Refuse a text that is empty or too long.

    Raises:
        RefusedError: if it is.
    """
    if len(text) > settings.text_length:
        raise beyond_limit(
            f"{name} has {len(text)} characters, {settings.text_length} are the most"
        )
    if not text.strip():
        raise invalid(f"{name} is empty: give at least one word")


def check_batch(count: int, settings: ServiceSettings, *, name: str) -> None:
    """Refuse a list that is too long.

    Raises:
        RefusedError: if it is.
    """
    if count > settings.batch:
        raise beyond_limit(f"{name} has {count} entries, {settings.batch} are the most")


def check_filter(text: str, settings: ServiceSettings) -> None:
    """Refuse a filter that is too long, has too many conditions or can't be understood.

    Raises:
        RefusedError: if it is too long, or has too many conditions.
        FilterError: if it can't be understood.
    """
    if len(text) > settings.filter_length:
        raise beyond_limit(
            f"filter has {len(text)} characters, {settings.filter_length} are the most"
        )
    count = sum(1 for _ in leaves(parse_filter(text)))
    if count > settings.filter_conditions:
        raise beyond_limit(
            f"filter has {count} conditions, {settings.filter_conditions} are the most"
        )


def decode_code(code: PlainCode, *, name: str) -> bytes:
    """Read the bytes of a code that is written as text, in our bit order.

    Raises:
        RefusedError: if it is neither hexadecimal nor base 64.
    """
    try:
        if code.hex is not None:
            content = bytes.fromhex(code.hex)
        else:
            content = base64.b64decode(code.base64 or "", validate=True)
    except (binascii.Error, ValueError):
        form = "hexadecimal" if code.hex is not None else "base 64"
        raise invalid(f"{name} isn't {form}") from None
    return reverse_bits(content) if code.bit_order == "big" else content


def find_side(handle: IndexHandle, name: str) -> Side:
    """Find a side of an index.

    Raises:
        RefusedError: if it hasn't that side.
    """
    side = Side(name)
    if side not in handle.index.sides:
        raise not_available(f"the index {handle.name} holds no {name}")
    return side


def check_items(handle: IndexHandle, side: Side, ids: Sequence[str | int]) -> None:
    """Refuse ids that aren't there.

    Raises:
        UnknownItemError: if one isn't, naming it.
    """
    for identity in ids:
        if not has_item(handle.index.sides[side], identity):
            raise UnknownItemError(identity, side)


def build_request(
    handle: IndexHandle, parts: QueryParts, settings: ServiceSettings, picture: bytes | None = None
) -> SearchRequest:
    """Build the request of what a client sent, within this server's limits.

    Args:
        handle: of the index.
        parts: what the client sent.
        settings: the limits.
        picture: the file of one that came with it.

    Raises:
        RefusedError: if it is beyond a limit, or the index lacks what is asked for.
        InputError: if there is nothing to search for.
        FilterError: if the filter can't be understood.
    """
    for name in ("text", "minus_text"):
        text = getattr(parts, name)
        if text is not None:
            check_text(text, settings, name=name)
            check_encodes(handle, "text")
    if picture is not None:
        check_encodes(handle, "picture")
    request = SearchRequest(image=picture, **collect_request_fields(parts))
    for side in (request.target, request.id_side):
        if side in list(Side):
            find_side(handle, str(side))
    if request.target is None and request.usual_target not in handle.index.sides:
        request = replace(request, target=next(iter(handle.index.sides)))
    return limit_request(handle, request, settings)


def collect_request_fields(parts: QueryParts) -> dict[str, Any]:
    """Collect the fields of a `SearchRequest` that a client sent."""
    names = SearchRequest.__dataclass_fields__.keys() & parts.model_fields_set
    values = {name: getattr(parts, name) for name in names}
    if parts.code is not None:
        values |= {"code": decode_code(parts.code, name="code"), "modality": parts.code.modality}
    if "weights" in values:
        values["weights"] = parts.weights.model_dump(exclude_unset=True)
    return values


def limit_request(
    handle: IndexHandle, request: SearchRequest, settings: ServiceSettings
) -> SearchRequest:
    """Limit a request to as many hits as the server gives.

    Raises:
        RefusedError: if it asks for more than the server allows.
        FilterError: if the filter can't be understood.
    """
    if request.k is not None and request.k > settings.k:
        raise beyond_limit(f"k is {request.k}, {settings.k} are the most")
    if request.where is not None:
        check_filter(request.where, settings)
    for side in handle.index.sides_to_search(request):
        check_rerank(handle, side, request.rerank, settings)
        check_relevance(handle, request, side)
    return replace(request, k=choose_k(request, settings))


def choose_k(request: SearchRequest, settings: ServiceSettings) -> int:
    """Choose how many hits of a side a search gives at most."""
    hits = request.hits_at_most
    return settings.k if hits is None else min(hits, settings.k)


async def encode_query(
    handle: IndexHandle, request: SearchRequest, engine: Engine, stages: Stages
) -> EncodedQuery:
    """Encode the parts of a query side by side, and combine them.

    Args:
        handle: of the index.
        request: what is searched for.
        engine: encodes.
        stages: is told how long it took.

    Raises:
        RefusedError: if a picture can't be used.
        InputError: if the code is none of this index.
        UnknownItemError: if there is no item of the id.
    """
    began = time.perf_counter()
    encoded = await asyncio.gather(
        *(engine.encode_part(handle.index, request, part, stages) for part in request.parts)
    )
    stages.encode += time.perf_counter() - began
    weights = [request.weight(part) for part in request.parts]
    return combine_queries(list(zip(encoded, weights, strict=True)))


def check_encodes(handle: IndexHandle, kind: str) -> None:
    """Refuse what the index's model can't encode.

    Raises:
        RefusedError: if it can't.
    """
    if not handle.encodes[kind]:
        raise not_available(
            f"the model of {handle.name} can't encode a {kind}, its features were made elsewhere: "
            "search by id or by code"
        )


def check_hits(
    handle: IndexHandle, requests: Sequence[SearchRequest], settings: ServiceSettings
) -> None:
    """Refuse searches that may give too many hits together.

    Raises:
        RefusedError: if they may.
    """
    count = sum(
        choose_k(request, settings) * len(handle.index.sides_to_search(request))
        for request in requests
    )
    if count > settings.hits:
        raise beyond_limit(
            f"the queries ask for up to {count} hits together, {settings.hits} are the most: send "
            "them in several requests, or with a smaller k"
        )


def check_rerank(
    handle: IndexHandle, side: Side, rerank: int | str, settings: ServiceSettings
) -> None:
    """Refuse to put too many items in order.

    Raises:
        RefusedError: if there are too many.
    """
    count = rerank if isinstance(rerank, int) else 0
    if rerank == "all":
        count = len(handle.index.sides[side])
    if count > settings.rerank:
        raise beyond_limit(f"rerank takes in {count} items, {settings.rerank} are the most")


async def search_sides(
    handle: IndexHandle, request: SearchRequest, engine: Engine, stages: Stages
) -> tuple[EncodedQuery, list[SideResult]]:
    """Search all sides that are wanted, side by side.

    Returns:
        The query, and what was found on each side.

    Raises:
        RefusedError: if a picture can't be used.
        UnavailableError: if the index lacks what is wanted.
        UnknownItemError: if there is no item of the id.
    """
    plans = plan_search(handle.index, request)
    query = await encode_query(handle, request, engine, stages)
    began = time.perf_counter()
    results = await asyncio.gather(*(engine.search(handle, query, plan) for plan in plans))
    stages.rerank += max(result.rerank_seconds for result in results)
    stages.search += time.perf_counter() - began - stages.rerank
    return query, results


def check_relevance(handle: IndexHandle, request: SearchRequest, side: Side) -> None:
    """Refuse to cut off by a relevance that isn't known for a direction.

    Raises:
        RefusedError: if it isn't.
    """
    modality = query_modality(handle.index, request)
    if request.min_relevance is None or modality is None:
        return
    scoring = Scoring(request.scoring)
    if is_bits_only(handle.index, request):
        scoring = Scoring.HAMMING
    if handle.index.curve(modality, side, scoring) is None:
        direction = Direction.between(modality, side.modality)
        raise not_available(
            f"the index {handle.name} isn't calibrated for {direction} by {scoring} scoring: "
            "calibrate it anew, cut off by a radius, or choose the other scoring"
        )
