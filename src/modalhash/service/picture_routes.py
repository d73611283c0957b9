"""Routes that send pictures of items: small ones, and whole ones written anew."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BeforeValidator
from starlette.responses import Response

from modalhash.search import Side, make_hit
from modalhash.search.picture_files import find_picture_file
from modalhash.service.answers import ERRORS
from modalhash.service.hosting import IndexHandle
from modalhash.service.info_routes import IdText, SideName, read_id
from modalhash.service.queries import check_items, find_side
from modalhash.service.state import Service
from modalhash.service.thumbnails import no_picture, read_picture_version, write_anew

__all__ = ["find_shown_picture", "make_picture_routes", "make_thumbnail"]

FOR_EVER, A_MINUTE = 31_536_000, 60


def as_number(text: object) -> object:
    """Convert digits to a number; an address holds only texts."""
    return int(text) if isinstance(text, str) and text.isdecimal() and len(text) < 10 else text


ThumbnailSize = Annotated[Literal[64, 128, 256, 512, 1024], BeforeValidator(as_number)]


def make_picture_routes(service: Service) -> APIRouter:
    """Make the routes of a server that send pictures of items."""
    routes = APIRouter(prefix="/v1", responses=ERRORS, tags=["facts"])

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
        async with find_shown_picture(service, name, side, identity) as (path, version):
            headers = make_picture_headers(service, f"{version}-{size}", is_of_version=v == version)
            if headers["ETag"] in request.headers.get("if-none-match", ""):
                return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
            content = await make_thumbnail(service, path, version, size)
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


async def make_thumbnail(service: Service, path: Path, version: str, size: int) -> bytes:
    """Make a picture small, or take the one that was made before.

    Args:
        service: of the server.
        path: of the picture, as `find_shown_picture` gives it.
        version: of its file.
        size: of the longer side at most, one of `SIZES`.

    Returns:
        A WebP file.

    Raises:
        RefusedError: if the file is gone, no picture any more, or too large.
    """
    thumbnails, engine = service.thumbnails, service.engine
    content = thumbnails.find(version, size)
    if content is None:
        async with engine.pixels.hold(await engine.make_small(thumbnails.count_pixels, path)):
            content = await engine.make_small(thumbnails.make, path, version, size)
    return content


def make_picture_headers(service: Service, tag: str, *, is_of_version: bool) -> dict[str, str]:
    """Make the headers of a picture: how long it may be kept, and by whom."""
    whose = "public" if service.keys is None else "private"
    lifetime = f"max-age={FOR_EVER}, immutable" if is_of_version else f"max-age={A_MINUTE}"
    return {"ETag": f'"{tag}"', "Cache-Control": f"{whose}, {lifetime}"}


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
