"""Routes that say what there is: the server, indexes, models, items, pictures."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BeforeValidator
from starlette.responses import Response

import modalhash
from modalhash.errors import UnknownItemError
from modalhash.index import IdKind
from modalhash.search import Side, make_hit
from modalhash.search.picture_files import find_picture_file
from modalhash.service.answers import ERRORS, answer_with_json, write_code
from modalhash.service.documents import describe_hit
from modalhash.service.facts import collect_model_facts
from modalhash.service.hosting import IndexHandle
from modalhash.service.queries import check_items, find_side
from modalhash.service.schemas import IndexFacts, IndexList, Item, ModelList, ServiceFacts
from modalhash.service.state import Service
from modalhash.service.thumbnails import (
    no_picture,
    read_picture_version,
    write_anew,
)

__all__ = ["collect_facts", "make_info_routes"]

FOR_EVER, A_MINUTE = 31_536_000, 60
INTEGER = re.compile(r"-?[0-9]{1,19}")
SideName = Literal["images", "texts"]
IdText = Annotated[str, Query(min_length=1, max_length=1024)]


def as_number(text: object) -> object:
    """Convert digits to a number; an address holds only texts."""
    return int(text) if isinstance(text, str) and text.isdecimal() and len(text) < 10 else text


ThumbnailSize = Annotated[Literal[64, 128, 256, 512, 1024], BeforeValidator(as_number)]


def make_info_routes(service: Service) -> APIRouter:
    """Make the routes of a server that describe its indexes and items."""
    routes = APIRouter(prefix="/v1", responses=ERRORS, tags=["facts"])
    engine, settings = service.engine, service.settings

    @routes.get("", response_model=ServiceFacts)
    async def facts() -> Response:
        """Say what the server is and allows."""
        return answer_with_json(
            {
                "service": "modalhash",
                "version": modalhash.__version__,
                "auth": "none" if service.keys is None else "key",
                "writable": settings.writable,
                "limits": {
                    "body_bytes": settings.body_bytes,
                    "pixels": settings.pixels,
                    "text_length": settings.text_length,
                    "filter_length": settings.filter_length,
                    "k": settings.k,
                    "rerank": settings.rerank,
                    "batch": settings.batch,
                    "hits": settings.hits,
                    "filter_conditions": settings.filter_conditions,
                    "pixels_together": settings.picture_memory,
                    "timeout_seconds": settings.timeout,
                },
            }
        )

    @routes.get("/indexes", response_model=IndexList)
    async def indexes() -> Response:
        """List the indexes, what they hold and can do."""
        facts = [await collect_facts(service, name) for name in service.host.hosted]
        return answer_with_json({"indexes": facts})

    @routes.get("/indexes/{name}", response_model=IndexFacts)
    async def index(name: str) -> Response:
        """Say what one index holds and can do."""
        return answer_with_json(await collect_facts(service, name))

    @routes.get("/models", response_model=ModelList)
    async def models() -> Response:
        """List the models behind the indexes."""
        names: dict[str, list[str]] = {}
        for name, hosted in service.host.hosted.items():
            names.setdefault(hosted.current.index.model.fingerprint, []).append(name)
        return answer_with_json(
            {
                "models": [
                    collect_model_facts(service.host.hosted[used[0]].current.index.model, used)
                    for used in names.values()
                ]
            }
        )

    @routes.get("/indexes/{name}/items", response_model=Item)
    async def item(name: str, identity: Annotated[IdText, Query(alias="id")],
                   side: SideName = "images") -> Response:  # fmt: skip
        """Give one item by its id."""
        with service.hold_index(name) as handle:
            return answer_with_json(
                await engine.look_up(describe_item, handle, find_side(handle, side), identity)
            )

    @routes.get(
        "/indexes/{name}/thumbnail",
        response_class=Response,
        responses={200: {"content": {"image/webp": {}}}, 304: {"description": "As it was."}},
    )
    async def thumbnail(
        name: str,
        request: Request,
        *,
        identity: Annotated[IdText, Query(alias="id")],
        side: SideName = "images",
        size: ThumbnailSize = 256,
        v: Annotated[str | None, Query(max_length=64)] = None,
    ) -> Response:
        """Give an item's picture, made small."""
        thumbnails, engine = service.thumbnails, service.engine
        async with find_shown_picture(service, name, side, identity) as (path, version):
            headers = make_picture_headers(service, f"{version}-{size}", is_of_version=v == version)
            if headers["ETag"] in request.headers.get("if-none-match", ""):
                return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
            content = thumbnails.find(version, size)
            if content is None:
                async with engine.pixels.hold(
                    await engine.make_small(thumbnails.count_pixels, path)
                ):
                    content = await engine.make_small(thumbnails.make, path, version, size)
            return Response(content, media_type="image/webp", headers=headers)

    @routes.get(
        "/indexes/{name}/picture",
        response_class=Response,
        responses={
            200: {"content": {"image/jpeg": {}, "image/png": {}}},
            304: {"description": "As it was."},
        },
    )
    async def picture(
        name: str,
        request: Request,
        *,
        identity: Annotated[IdText, Query(alias="id")],
        side: SideName = "images",
        v: Annotated[str | None, Query(max_length=64)] = None,
    ) -> Response:
        """Give an item's picture at its full size, written anew."""
        engine = service.engine
        async with find_shown_picture(service, name, side, identity) as (path, version):
            headers = make_picture_headers(service, f"{version}-full", is_of_version=v == version)
            if headers["ETag"] in request.headers.get("if-none-match", ""):
                return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
            pixels = await engine.make_small(service.thumbnails.count_pixels, path)
            async with engine.pixels.hold(pixels):
                content, kind = await engine.make_small(write_anew, path)
            return Response(content, media_type=kind, headers=headers)

    return routes


@asynccontextmanager
async def find_shown_picture(
    service: Service, name: str, side: str, identity: str
) -> AsyncIterator[tuple[Path, str]]:
    """Find the picture of an item that may be shown, and its version; the index is held meanwhile.

    Raises:
        RefusedError: if there is no such item, or it has no picture here.
    """
    with service.hold_index(name) as handle:
        side_index = find_side(handle, side)
        path, version = await service.engine.look_up(find_picture, handle, side_index, identity)
        if path is None or version is None:
            raise no_picture("this item has no picture here")
        yield path, version


def make_picture_headers(service: Service, tag: str, *, is_of_version: bool) -> dict[str, str]:
    """Make the headers of a picture: how long it may be kept, and by whom."""
    whose = "public" if service.keys is None else "private"
    lifetime = f"max-age={FOR_EVER}, immutable" if is_of_version else f"max-age={A_MINUTE}"
    return {"ETag": f'"{tag}"', "Cache-Control": f"{whose}, {lifetime}"}


async def collect_facts(service: Service, name: str) -> dict[str, Any]:
    """Collect what an index states of itself."""
    with service.hold_index(name) as handle:
        facts = await service.engine.look_up(handle.facts)
        return facts | {"writable": service.settings.writable}


def read_id(handle: IndexHandle, side: Side, text: str) -> str | int:
    """Convert an id of an address to an id of the index.

    Raises:
        UnknownItemError: if it can't be one.
    """
    if handle.index.sides[side].id_kind is not IdKind.INTEGER:
        return text
    if not INTEGER.fullmatch(text):
        raise UnknownItemError(text, side)
    return int(text)


def find_picture(handle: IndexHandle, side: Side, identity: str) -> tuple[Path | None, str | None]:
    """Find the file of an item's picture, as its metadata names it, and the file's version.

    Raises:
        UnknownItemError: if there is no such item.
    """
    known = read_id(handle, side, identity)
    check_items(handle, side, [known])
    index: Any = handle.index.sides[side]
    path = find_picture_file(make_hit(handle.index, known, 0, index.metadata([known])[0]).image)
    return path, None if path is None else read_picture_version(path)


def describe_item(handle: IndexHandle, side: Side, identity: str) -> dict[str, Any]:
    """Describe an item as a document.

    Raises:
        UnknownItemError: if there is none of that id.
    """
    known = read_id(handle, side, identity)
    check_items(handle, side, [known])
    index: Any = handle.index.sides[side]
    hit = make_hit(handle.index, known, 0, index.metadata([known])[0])
    document = describe_hit(handle, side, hit)
    for name in ("distance", "score", "relevance", "strength"):
        del document[name]
    return document | {"side": str(side), "code": write_code(index.reconstruct([known]))}
