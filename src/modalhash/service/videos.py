"""Videos that the page plays: where a hit's moment is, and ranges of bytes of a video's file."""

import os
import re
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from modalhash.search import Hit
from modalhash.service.refusals import RefusedError
from modalhash.videos import is_video_name, parse_moment

__all__ = [
    "LARGEST_PIECE",
    "ByteRange",
    "describe_moment",
    "find_video_file",
    "no_video",
    "read_piece",
    "read_range_header",
    "video_type",
]

LARGEST_PIECE: Final = 4 << 20
"""Bytes of an answer to a range at most; players ask for the rest."""
RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
TYPES: Final = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/mp4",  # the same boxes; browsers refuse its own type
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".avi": "video/x-msvideo",
    ".mpg": "video/mpeg",
    ".mpeg": "video/mpeg",
    ".mts": "video/mp2t",
}


@dataclass(frozen=True)
class ByteRange:
    """A part of a file.

    Attributes:
        start: of the first byte.
        stop: after the last byte.
        size: of the file.
    """

    start: int
    stop: int
    size: int

    @property
    def header(self) -> str:
        """What `Content-Range` says."""
        return f"bytes {self.start}-{self.stop - 1}/{self.size}"


def describe_moment(index: str, hit: Hit) -> dict[str, Any] | None:
    """Describe the moment of a hit for answers; None if it is none of a video that can be read."""
    if hit.video is None or hit.end is None or hit.image is None:
        return None
    address = f"/v1/indexes/{quote(index)}/video?id={quote(str(hit.video), safe='')}"
    return {"video": hit.video, "start": hit.start, "end": hit.end, "address": address}


def find_video_file(path: Path) -> Path:
    """Find the file of a video, of the path of the video or a moment.

    Raises:
        RefusedError: if it is no video.
    """
    span = parse_moment(str(path))
    file = path if span is None else Path(span.video)
    if not is_video_name(file.name):
        raise no_video("this item is no video")
    return file


def video_type(file: Path) -> str:
    """Look up the media type of a video by its suffix."""
    return TYPES.get(file.suffix.lower(), "application/octet-stream")


def read_range_header(header: str | None, size: int) -> ByteRange | None:
    """Read a `Range` header of one range.

    Args:
        header: of the request; None if there is none.
        size: of the file.

    Returns:
        The range, at most `LARGEST_PIECE` long; None if the whole file is wanted, or the header is
        of another form, which is to be ignored.

    Raises:
        RefusedError: if the range is outside of the file.

    Example:
        >>> read_range_header("bytes=2-5", 10), read_range_header("bytes=-3", 10)
        (ByteRange(start=2, stop=6, size=10), ByteRange(start=7, stop=10, size=10))
    """
    match = RANGE.fullmatch((header or "").strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), int(last) + 1 if last else size
    if first and last and int(last) < int(first):
        return None
    if start >= size or stop <= start:
        raise RefusedError(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            "no_such_range",
            f"the video has {size} bytes, and the range isn't in them",
        )
    return ByteRange(start, min(stop, size, start + LARGEST_PIECE), size)


def read_piece(file: Path, start: int, n_bytes: int) -> bytes:
    """Read a part of a video's file.

    Raises:
        RefusedError: if it is gone.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(descriptor, "rb") as opened:
            opened.seek(start)
            return opened.read(n_bytes)
    except OSError:
        raise no_video("the item's video is gone") from None


def no_video(message: str) -> RefusedError:
    """Describe the refusal of a video that can't be played."""
    return RefusedError(HTTPStatus.NOT_FOUND, "no_video", message)
