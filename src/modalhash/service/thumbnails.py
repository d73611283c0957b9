"""Small pictures of an index's items.

A client names an item, never a file. The item's metadata names the file, and that must still be the
one that was indexed: a path without symbolic links, inside the index folder where it is relative.
What is sent is never the file but a picture written anew.
"""

import io
import os
import threading
from collections import OrderedDict
from hashlib import blake2b
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import quote

from PIL import Image

from modalhash.data.pictures import read_header, read_picture
from modalhash.errors import CollectionError, MissingExtraError
from modalhash.service.refusals import RefusedError
from modalhash.videos import is_video_name, open_video, parse_moment

__all__ = [
    "SIZES",
    "Thumbnails",
    "describe_picture",
    "read_picture_version",
    "write_anew",
]

SIZES: Final = (64, 128, 256, 512, 1024)
"""Longer sides that can be asked for; few, so that each is made once."""
KEPT_BYTES: Final = 64 << 20
QUALITY: Final = 80
FULL_QUALITY: Final = 95
JPEG_FORMATS: Final = ("JPEG", "MPO", "HEIF", "AVIF")
"""Formats that lose detail, which a JPEG file does no harm."""
UNREADABLE: Final = (
    CollectionError, MissingExtraError, OSError, ValueError, SyntaxError,
    Image.DecompressionBombError,
)  # fmt: skip


def read_picture_version(path: str | Path) -> str | None:
    """Read what changes when a file does: its path, size and times of change; None if gone.

    Of a moment of a video, the video's file counts.
    """
    span = parse_moment(str(path))
    try:
        status = os.stat(path if span is None else span.video)  # noqa: PTH116 - for every hit
    except (OSError, ValueError):
        return None
    stamp = f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}"
    return blake2b(stamp.encode(errors="surrogateescape"), digest_size=8).hexdigest()


def describe_picture(
    index: str, side: str, identity: str | int, path: str | None, *, shown_path: str | None = None
) -> dict[str, str | None] | None:
    """Describe an item's picture for answers; None if there is none.

    Args:
        index: its name.
        side: of the item.
        identity: of the item.
        path: of the picture's file.
        shown_path: what clients may know of that.
    """
    version = read_picture_version(path) if path else None
    if path is None or version is None:
        return None
    where = f"side={side}&id={quote(str(identity), safe='')}&v={version}"
    name = name_picture(path).encode(errors="replace").decode()
    return {
        "file_name": name,
        "path": shown_path and shown_path.encode(errors="replace").decode(),
        "thumbnail": f"/v1/indexes/{quote(index)}/thumbnail?{where}",
    }


def name_picture(path: str) -> str:
    """Name the file of a picture; of a frame of a video, after the video and the second."""
    span = parse_moment(path)
    name = (path if span is None else span.video).rpartition(os.sep)[2]
    if span is not None:
        return f"{name}-{span.start:g}s.jpg"
    return f"{name}.jpg" if is_video_name(name) else name


class Thumbnails:
    """Makes small pictures, and keeps those asked for last. Used from several threads."""

    def __init__(self, most_pixels: int) -> None:
        self._most_pixels = most_pixels
        self._kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def find(self, version: str, size: int) -> bytes | None:
        """Find a small picture that was made before; None if it wasn't."""
        key = (version, size)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def count_pixels(self, path: Path) -> int:
        """Count the pixels of a picture by its header.

        Raises:
            RefusedError: if the file is gone, no picture any more, or too large.
        """
        try:
            pixels = count_frame_pixels(path)
            if pixels is None:
                pixels = read_header(path)[1]
        except UNREADABLE:
            raise no_picture("the item's picture is gone, or damaged") from None
        if pixels > self._most_pixels:
            raise no_picture("the item's picture is too large to be made small")
        return pixels

    def make(self, path: Path, version: str, size: int) -> bytes:
        """Make a picture small, and keep it.

        Args:
            path: of the picture.
            version: of the file.
            size: of the longer side at most; a picture is never enlarged.

        Returns:
            A WebP file.

        Raises:
            RefusedError: if the file is gone or no picture any more.
        """
        self.count_pixels(path)
        try:
            picture = read_picture(path, side=size)
        except UNREADABLE:
            raise no_picture("the item's picture is gone, or damaged") from None
        picture.thumbnail((size, size))
        written = io.BytesIO()
        picture.save(written, "WEBP", quality=QUALITY)
        content = written.getvalue()
        self._keep((version, size), content)
        return content

    def _keep(self, key: tuple[str, int], content: bytes) -> None:
        """Remember a picture, and forget the oldest where there are too many."""
        with self._lock:
            self._bytes += len(content) - len(self._kept.pop(key, b""))
            self._kept[key] = content
            while self._bytes > KEPT_BYTES:
                self._bytes -= len(self._kept.popitem(last=False)[1])


def count_frame_pixels(path: Path) -> int | None:
    """Count the pixels of a frame of a video or a moment; None of a picture.

    Raises:
        CollectionError: if it can't be read.
    """
    span = parse_moment(str(path))
    if span is None and not is_video_name(path.name):
        return None
    with open_video(path if span is None else Path(span.video)) as video:
        return video.facts.width * video.facts.height


def write_anew(path: Path) -> tuple[bytes, str]:
    """Write a picture anew at its full size, without anything else that its file holds.

    Returns:
        A JPEG file of `JPEG_FORMATS`, a PNG file of others; and its media type.

    Raises:
        RefusedError: if the file is gone or no picture any more.
    """
    try:
        is_jpeg = count_frame_pixels(path) is not None
        if not is_jpeg:
            is_jpeg = read_header(path)[0] in JPEG_FORMATS
        picture = read_picture(path)
    except UNREADABLE:
        raise no_picture("the item's picture is gone, or damaged") from None
    written = io.BytesIO()
    if is_jpeg:
        picture.save(written, "JPEG", quality=FULL_QUALITY)
        return written.getvalue(), "image/jpeg"
    picture.save(written, "PNG", compress_level=3)
    return written.getvalue(), "image/png"


def no_picture(message: str) -> RefusedError:
    """Describe the refusal of a picture that can't be shown."""
    return RefusedError(HTTPStatus.NOT_FOUND, "no_picture", message)
