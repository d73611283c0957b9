"""The route that plays videos of an index: whole files in ranges, and no other files."""

from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from modalhash.service.answers import ERRORS
from modalhash.service.picture_routes import find_shown_picture
from modalhash.service.state import Service
from modalhash.service.videos import (
    LARGEST_PIECE,
    find_video_file,
    no_video,
    read_piece,
    read_range_header,
    video_type,
)

__all__ = ["make_video_routes"]

IdText = Annotated[str, Query(min_length=1, max_length=1024)]


def make_video_routes(service: Service) -> APIRouter:
    """Make the route of a server that plays videos."""
    routes = APIRouter(prefix="/v1/indexes/{name}", responses=ERRORS, tags=["facts"])
    engine = service.engine

    @routes.get(
        "/video",
        response_class=Response,
        responses={
            200: {"content": {"video/mp4": {}}},
            206: {"description": "A range of it."},
            304: {"description": "As it was."},
        },
    )
    async def video(
        name: str, request: Request, *, identity: Annotated[IdText, Query(alias="id")]
    ) -> Response:
        """Give the file of a video, or the range of bytes that is range_header for."""
        async with find_shown_picture(service, name, "images", identity) as (path, version):
            file = find_video_file(path)
            tag = f'"{version}-video"'
            headers = {"ETag": tag, "Accept-Ranges": "bytes", "Cache-Control": "private, no-cache"}
            if tag in request.headers.get("if-none-match", ""):
                return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
            size = await engine.look_up(find_size, file)
            range_header = request.headers.get("range")
            if request.headers.get("if-range", tag) != tag:
                range_header = None
            part = read_range_header(range_header, size)
            if part is not None:
                content = await engine.look_up(read_piece, file, part.start, part.stop - part.start)
                headers["Content-Range"] = part.header
                return Response(
                    content,
                    HTTPStatus.PARTIAL_CONTENT,
                    headers=headers,
                    media_type=video_type(file),
                )
            headers["Content-Length"] = str(size)
            pieces = stream_file(file, size)
            return StreamingResponse(pieces, headers=headers, media_type=video_type(file))

    async def stream_file(file: Path, size: int) -> AsyncIterator[bytes]:
        """Yield a file in pieces; it ends where the file does."""
        for start in range(0, size, LARGEST_PIECE):
            n_bytes = min(LARGEST_PIECE, size - start)
            yield await engine.look_up(read_piece, file, start, n_bytes)

    return routes


def find_size(file: Path) -> int:
    """Find the size of a video's file.

    Raises:
        RefusedError: if it is gone.
    """
    try:
        return file.stat().st_size
    except OSError:
        raise no_video("the item's video is gone") from None
