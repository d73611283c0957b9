"""From what a client asks to what an index is asked: parts checked, encoded and put together."""

import asyncio
import base64
import binascii
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from modalhash.codes import Codes, code_width
from modalhash.errors import InputError, ShapeError
from modalhash.index.filters import leaves, parse_filter
from modalhash.metrics import Direction
from modalhash.search import EncodedQuery, Side, combined_query, query_of_code
from modalhash.search.reranking import SecondStage, chosen_stage
from modalhash.service.engine import Engine, SideRequest, SideResult, Stages
from modalhash.service.hosting import IndexHandle
from modalhash.service.refusals import beyond_limit, invalid, not_available, unknown_item
from modalhash.service.schemas import PlainCode, QueryParts, SearchQuery
from modalhash.service.settings import ServiceSettings

__all__ = [
    "check_batch",
    "check_encodes",
    "check_filter",
    "check_hits",
    "check_items",
    "check_text",
    "encode_query",
    "has_item",
    "plan_sides",
    "read_code",
    "search_sides",
    "side_named",
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


def read_code(code: PlainCode, n_bits: int, *, name: str) -> Codes:
    """Return a code, (1, p) uint8.

    Raises:
        RefusedError: if it isn't one of `n_bits`.
    """
    try:
        content = (
            bytes.fromhex(code.hex)
            if code.hex is not None
            else base64.b64decode(code.base64 or "", validate=True)
        )
    except (binascii.Error, ValueError):
        form = "hexadecimal" if code.hex is not None else "base 64"
        raise invalid(f"{name} isn't {form}") from None
    if len(content) != code_width(n_bits):
        raise invalid(
            f"{name} has {len(content)} bytes, codes of {n_bits} bits have {code_width(n_bits)}"
        )
    read = np.frombuffer(content, np.uint8).reshape(1, -1)
    try:
        query_of_code(read, n_bits, {})
    except ShapeError:
        raise invalid(f"{name} has bits set beyond {n_bits}") from None
    return read


def side_named(handle: IndexHandle, name: str) -> Side:
    """Return a side of an index.

    Raises:
        RefusedError: if it hasn't that side.
    """
    side = Side(name)
    if side not in handle.index.sides:
        raise not_available(f"the index {handle.name} holds no {name}")
    return side


def has_item(handle: IndexHandle, side: Side, identity: str | int) -> bool:
    """Return whether a side has an item; one of another kind than its ids it hasn't."""
    try:
        return bool(handle.index.sides[side].contains(cast("Any", [identity]))[0])
    except InputError:
        return False


def check_items(handle: IndexHandle, side: Side, ids: list[str | int]) -> None:
    """Refuse ids that aren't there.

    Raises:
        RefusedError: if one isn't, naming it.
    """
    for identity in ids:
        if not has_item(handle, side, identity):
            raise unknown_item(identity, side)


def id_side(handle: IndexHandle, parts: QueryParts) -> Side:
    """Return the side that the query's id is on."""
    if parts.id_side is not None:
        return side_named(handle, parts.id_side)
    return Side.IMAGES if Side.IMAGES in handle.index.sides else Side.TEXTS


async def encode_query(
    handle: IndexHandle,
    parts: QueryParts,
    engine: Engine,
    stages: Stages,
    *,
    picture: bytes | None = None,
) -> EncodedQuery:
    """Encode the parts of a query and put them together.

    Args:
        handle: of the index.
        parts: what was asked.
        engine: encodes.
        stages: is told how long it took.
        picture: the file of one that came with it.

    Raises:
        RefusedError: if a part can't be used, or there is none.
    """
    settings, weights = engine.settings, parts.weights
    for name in ("text", "minus_text"):
        text = getattr(parts, name)
        if text is not None:
            check_text(text, settings, name=name)
            check_encodes(handle, "text")
    if picture is not None:
        check_encodes(handle, "picture")
    found: list[tuple[EncodedQuery, float]] = []
    if parts.id is not None:
        query = await engine.look_up(query_of_item, handle, id_side(handle, parts), parts.id)
        found.append((query, weights.id))
    if parts.code is not None:
        code = read_code(parts.code, handle.index.model.n_bits, name="code")
        stated = {"code": code.tobytes().hex()}
        query = query_of_code(code, handle.index.model.n_bits, stated, parts.code.modality)
        found.append((query, weights.code))
    began, model = time.perf_counter(), handle.index.model
    encoding = []
    if parts.text is not None:
        encoding.append((engine.text_query(model, parts.text), weights.text))
    if picture is not None:
        encoding.append((engine.picture_query(model, picture, stages, name="image"), weights.image))
    if not (found or encoding):
        raise invalid("give a text, an id, a code or a picture to search for")
    if parts.minus_text is not None:
        encoding.append((engine.text_query(model, parts.minus_text), -weights.minus_text))
    encoded = await asyncio.gather(*(one for one, _ in encoding))
    stages.encode += time.perf_counter() - began
    if parts.minus_text is not None:
        minus = encoded[-1]
        encoded[-1] = EncodedQuery({"minus_text": parts.minus_text}, minus.code, minus.relaxed)
    found += zip(encoded, (weight for _, weight in encoding), strict=True)
    return combined_query(found)


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


def query_of_item(handle: IndexHandle, side: Side, identity: str | int) -> EncodedQuery:
    """Return the query of an item of the index.

    Raises:
        RefusedError: if it isn't there.
    """
    check_items(handle, side, [identity])
    code = handle.index.sides[side].reconstruct(cast("Any", [identity]))
    modality = "image" if side is Side.IMAGES else "text"
    n_bits = handle.index.model.n_bits
    return query_of_code(code, n_bits, {"id": str(identity)}, cast("Any", modality))


def count_wanted_hits(query: SearchQuery, settings: ServiceSettings) -> int:
    """Count the hits that a search may give, of all sides together."""
    return choose_k(query, settings) * (2 if query.target == "both" else 1)


def choose_k(query: SearchQuery, settings: ServiceSettings) -> int:
    """Return how many hits of a side a search gives at most."""
    is_cut_off = query.radius is not None or query.min_relevance is not None
    return query.k or (settings.k if is_cut_off else min(10, settings.k))


def check_hits(queries: Sequence[SearchQuery], settings: ServiceSettings) -> None:
    """Refuse searches that may give too many hits together.

    Raises:
        RefusedError: if they may.
    """
    count = sum(count_wanted_hits(query, settings) for query in queries)
    if count > settings.hits:
        raise beyond_limit(
            f"the queries ask for up to {count} hits together, {settings.hits} are the most: send "
            "them in several requests, or with a smaller k"
        )


def plan_sides(
    handle: IndexHandle, query: SearchQuery, settings: ServiceSettings, *, is_picture_alone: bool
) -> list[SideRequest]:
    """Return what is wanted of each side that is searched, checked.

    Raises:
        RefusedError: if it is beyond a limit, or this index can't do it.
        FilterError: if the filter can't be understood.
    """
    if query.k is not None and query.k > settings.k:
        raise beyond_limit(f"k is {query.k}, {settings.k} are the most")
    if query.filter is not None:
        check_filter(query.filter, settings)
    k = choose_k(query, settings)
    if query.target == "both":
        sides = list(handle.index.sides)
    else:
        usual = Side.TEXTS if is_picture_alone else Side.IMAGES
        if query.target is None and usual not in handle.index.sides:
            usual = next(iter(handle.index.sides))
        sides = [side_named(handle, query.target or usual)]
    for side in sides:
        check_rerank(handle, side, query.rerank, settings)
    return [
        SideRequest(
            side,
            k,
            query.filter,
            query.radius,
            query.min_relevance,
            query.rerank,
            query.rerank_by,
        )
        for side in sides
    ]


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
    handle: IndexHandle,
    parts: SearchQuery,
    engine: Engine,
    stages: Stages,
    *,
    picture: bytes | None = None,
) -> tuple[EncodedQuery, list[SideResult]]:
    """Search all sides that are wanted, side by side.

    A search by id leaves that item out.

    Returns:
        The query, and what was found on each side.

    Raises:
        RefusedError: if the query can't be answered.
        FilterError: if the filter can't be understood.
    """
    is_picture_alone = picture is not None and not (
        parts.text or parts.minus_text or parts.code or parts.id is not None
    )
    wanted = plan_sides(handle, parts, engine.settings, is_picture_alone=is_picture_alone)
    query = await encode_query(handle, parts, engine, stages, picture=picture)
    for one in wanted:
        check_relevance(handle, query, one)
        check_stage(handle, query, one)
    began = time.perf_counter()
    itself = (id_side(handle, parts), parts.id) if parts.id is not None else None
    found = await asyncio.gather(
        *(
            search_one(handle, query, one, engine, is_explained=parts.explain, itself=itself)
            for one in wanted
        )
    )
    stages.rerank += max(one.rerank_seconds for one in found)
    stages.search += time.perf_counter() - began - stages.rerank
    return query, found


async def search_one(
    handle: IndexHandle,
    query: EncodedQuery,
    wanted: SideRequest,
    engine: Engine,
    *,
    is_explained: bool,
    itself: tuple[Side, str | int] | None,
) -> SideResult:
    """Search one side, without the item that asks."""
    if itself is None or itself[0] is not wanted.side:
        return await engine.search(handle, query, wanted, is_explained=is_explained)
    more = replace(wanted, k=wanted.k + 1)
    found = await engine.search(handle, query, more, is_explained=is_explained)
    kept = [place for place, hit in enumerate(found.answer.hits) if hit.id != itself[1]]
    kept = kept[: wanted.k]
    hits = tuple(found.answer.hits[place] for place in kept)
    explanations = tuple(found.explanations[place] for place in kept if found.explanations)
    return replace(found, answer=replace(found.answer, hits=hits), explanations=explanations)


def check_relevance(handle: IndexHandle, query: EncodedQuery, wanted: SideRequest) -> None:
    """Refuse to cut off by a relevance that isn't known.

    Raises:
        RefusedError: if it isn't.
    """
    if wanted.min_relevance is None:
        return
    if query.modality is None:
        raise not_available(
            "relevance is known for single texts and pictures, not for combinations or codes of "
            "unknown modality: cut off by a radius"
        )
    if handle.index.curve(query.modality, wanted.side) is None:
        direction = Direction(f"{query.modality}_to_{wanted.side.value.removesuffix('s')}")
        raise not_available(
            f"the index {handle.name} isn't calibrated for {direction}: cut off by a radius"
        )


def check_stage(handle: IndexHandle, query: EncodedQuery, wanted: SideRequest) -> None:
    """Refuse a second stage that isn't there.

    Raises:
        RefusedError: if it isn't.
    """
    if not wanted.rerank:
        return
    target = "image" if wanted.side is Side.IMAGES else "text"
    try:
        chosen_stage(
            SecondStage(wanted.rerank_by),
            handle.index.model,
            keeps_features=handle.index.keeps_features,
            asked=query.modality if query.output is not None else None,
            target=cast("Any", target),
        )
    except InputError as error:
        raise not_available(str(error)) from error
