"""Routes that change an index, or open it anew."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from modalhash.errors import InputError
from modalhash.index import IdKind
from modalhash.search import NewItem, NewText, Side, contents_of_items, has_item, read_code
from modalhash.service.answers import ERRORS, answer_with_json
from modalhash.service.hosting import IndexHandle
from modalhash.service.info_routes import collect_facts
from modalhash.service.keys import Role
from modalhash.service.openapi import json_body
from modalhash.service.queries import (
    check_batch,
    check_encodes,
    check_filter,
    check_text,
    decode_code,
    find_side,
)
from modalhash.service.refusals import RefusedError, beyond_limit, invalid, not_available
from modalhash.service.schemas import AddedItems, AddItems, DeletedItems, DeleteItems, IndexFacts
from modalhash.service.schemas import NewItem as NewItemBody
from modalhash.service.settings import ServiceSettings
from modalhash.service.state import Service
from modalhash.service.uploads import count_pixels, decode_base64, open_upload

__all__ = ["make_change_routes"]

OWN: Final = ("caption", "image", "item")


def make_change_routes(service: Service) -> APIRouter:
    """Make the routes of a server that change an index."""
    routes = APIRouter(prefix="/v1/indexes/{name}", responses=ERRORS, tags=["changes"])
    engine, settings = service.engine, service.settings

    @routes.post("/items", response_model=AddedItems, openapi_extra=json_body(AddItems))
    async def add(name: str, request: Request) -> Response:
        """Add items, all or none; they are on disk when the answer comes."""
        return await add_items(name, request, is_upsert=False)

    @routes.put("/items", response_model=AddedItems, openapi_extra=json_body(AddItems))
    async def upsert(name: str, request: Request) -> Response:
        """Add items in the place of others, with all their texts."""
        return await add_items(name, request, is_upsert=True)

    async def add_items(name: str, request: Request, *, is_upsert: bool) -> Response:
        service.require_writable(request)
        with service.hold_index(name) as handle:
            addition = await service.read_document(request, AddItems)
            check_items(addition, settings)
            uploads = await engine.convert(decode_pictures, addition.items)
            pixels = await engine.decode(count_all_pixels, uploads, settings.pixels)
            async with engine.pixels.hold(pixels):
                items = [
                    await engine.decode(read_item, handle, item, upload, settings, place)
                    for place, (item, upload) in enumerate(
                        zip(addition.items, uploads, strict=True)
                    )
                ]
                sides, drawn = await engine.decode(contents_of_items, handle.index, items)

                def put() -> None:
                    if not is_upsert:
                        refuse_known(
                            handle, {side: list(content.ids) for side, content in sides.items()}
                        )
                    handle.index.add(sides, pictures=drawn, upsert=is_upsert)

                await engine.write(put)
            images, texts = (len(sides[side].ids) if side in sides else 0 for side in Side)
            return answer_with_json({"images": images, "texts": texts})

    @routes.post(
        "/items/delete",
        response_model=DeletedItems,
        openapi_extra=json_body(DeleteItems),
    )
    async def delete(name: str, request: Request) -> Response:
        """Remove items by their ids, or those that pass a filter."""
        service.require_writable(request)
        with service.hold_index(name) as handle:
            deletion = await service.read_document(request, DeleteItems)
            if deletion.filter is not None:
                check_filter(deletion.filter, settings)
            check_batch(len(deletion.ids or ()), settings, name="ids")
            removed = await engine.select(delete_items, handle, deletion)
            return answer_with_json({"removed": removed})

    @routes.post("/reload", response_model=IndexFacts)
    async def reload(name: str, request: Request) -> Response:
        """Open the index anew; requests that are under way end with what they began with."""
        service.require(request, Role.WRITE)
        with service.hold_index(name):
            await service.reload(name)
        return answer_with_json(await collect_facts(service, name, request))

    return routes


def check_items(addition: AddItems, settings: ServiceSettings) -> None:
    """Refuse too many items, texts that are too long, and metadata that is ours.

    Raises:
        RefusedError: if there are any.
    """
    count = sum(max(1, len(item.texts)) for item in addition.items)
    if count > settings.batch:
        raise beyond_limit(f"items holds {count} items or texts, {settings.batch} are the most")
    for place, item in enumerate(addition.items):
        for row, text in enumerate(item.texts):
            check_text(text.text, settings, name=f"items[{place}].texts[{row}].text")
        for name in item.metadata:
            if name in OWN or name.startswith("_"):
                raise invalid(f"items[{place}].metadata.{name} can't be set: the index keeps it")


def decode_pictures(items: Sequence[NewItemBody]) -> list[bytes | None]:
    """Decode the files of items' pictures, which come as base 64; None where there is none.

    Raises:
        RefusedError: if one isn't base 64.
    """
    return [
        None if item.image is None else decode_base64(item.image, name=f"items[{place}].image")
        for place, item in enumerate(items)
    ]


def count_all_pixels(uploads: Sequence[bytes | None], most_pixels: int) -> int:
    """Count the pixels of all pictures together.

    Raises:
        RefusedError: if one is no picture, or too large.
    """
    return sum(
        count_pixels(upload, most_pixels, name=f"items[{place}].image")
        for place, upload in enumerate(uploads)
        if upload is not None
    )


def read_item(
    handle: IndexHandle,
    item: NewItemBody,
    upload: bytes | None,
    settings: ServiceSettings,
    number: int,
) -> NewItem:
    """Open the picture of an item and read its codes.

    Args:
        handle: of the index.
        item: as it was sent.
        upload: the file of its picture.
        settings: of the server.
        number: of the item in the request.

    Raises:
        RefusedError: if a part of it can't be used.
    """
    place = f"items[{number}]"
    if item.image is not None and item.image_code is not None:
        raise invalid(f"{place} has both an image and an image_code: give one of them")
    if item.image is None and item.image_code is None and not item.texts:
        raise invalid(f"{place} has neither a picture nor texts: give one of them")
    kinds = {side_index.id_kind for side_index in handle.index.sides.values()} - {None}
    own = IdKind.TEXT if isinstance(item.id, str) else IdKind.INTEGER
    if kinds and own not in kinds:
        raise invalid(f"{place}.id is {item.id!r}, ids of this index are {kinds.pop()}s")
    n_bits = handle.index.model.n_bits
    picture = code = None
    if item.image is not None or item.image_code is not None:
        find_side(handle, Side.IMAGES)
    if upload is not None:
        check_encodes(handle, "picture")
        picture = open_upload(upload, settings.pixels, name=f"{place}.image")
    if item.image_code is not None:
        name = f"{place}.image_code"
        code = read_code(decode_code(item.image_code, name=name), n_bits, name=name)
        refuse_bare_code(handle, place)
    texts = []
    for row, text in enumerate(item.texts):
        where = f"{place}.texts[{row}]"
        find_side(handle, Side.TEXTS)
        text_code = None
        if text.code is None:
            check_encodes(handle, "text")
        else:
            content = decode_code(text.code, name=f"{where}.code")
            text_code = read_code(content, n_bits, name=f"{where}.code")
            refuse_bare_code(handle, where)
        identity = text.id
        if identity is None:
            if handle.index.sides[Side.TEXTS].id_kind is IdKind.INTEGER:
                raise invalid(f"{where} needs an id: ids of this index are integers")
            identity = f"{item.id}#{row}"
        texts.append(NewText(identity, text.text, text_code))
    return NewItem(item.id, picture, code, texts, item.metadata)


def refuse_bare_code(handle: IndexHandle, place: str) -> None:
    """Refuse a code where items of the index keep more, to rerank by.

    Raises:
        RefusedError: if they do.
    """
    if handle.index.model.has_fine_codes or handle.index.keeps_features:
        raise not_available(
            f"{place} comes as a code, but items of this index keep more, to rerank by: give the "
            "picture or text itself"
        )


def refuse_known(handle: IndexHandle, ids: dict[Side, list[Any]]) -> None:
    """Refuse to add what is there.

    Raises:
        RefusedError: if something is, naming it.
    """
    for side, identities in ids.items():
        for identity in identities:
            if has_item(handle.index.sides[side], identity):
                raise RefusedError(
                    HTTPStatus.CONFLICT,
                    "already_there",
                    f"there is an item {identity!r} among the {side} already: nothing was added; "
                    "PUT takes its place",
                )


def delete_items(handle: IndexHandle, deletion: DeleteItems) -> int:
    """Remove items, and return how many codes.

    Raises:
        RefusedError: if an id isn't there, unless that is allowed.
        IndexLockedError: if somebody else changes the index.
    """
    if deletion.filter is not None:
        return handle.index.delete_where(deletion.filter).n_codes
    assert deletion.ids is not None
    known: list[Any] = []
    for identity in deletion.ids:
        if any(has_item(side, identity) for side in handle.index.sides.values()):
            known.append(identity)
        elif deletion.missing == "error":
            raise RefusedError(
                HTTPStatus.NOT_FOUND,
                "unknown_item",
                f"there is no item {identity!r}: nothing was deleted",
            )
    try:
        return handle.index.delete(known, missing=deletion.missing).n_codes if known else 0
    except InputError as error:
        raise RefusedError(HTTPStatus.NOT_FOUND, "unknown_item", str(error)) from error
