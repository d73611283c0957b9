"""Picture files: open them as encoders want them, and say what is wrong with those that fail."""

import os
import struct
import unicodedata
import zlib
from collections.abc import Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from modalhash.data.collection import Collection, Frames
from modalhash.data.picture_opening import open_header
from modalhash.data.raw_pictures import RAW_SUFFIXES, can_read_raw, is_raw_name, open_raw
from modalhash.errors import CollectionError, Defect, InputError, ModalhashError, StorageError
from modalhash.files import file_stamp, open_regular_file, sha256_of_file
from modalhash.progress import Progress, silent
from modalhash.videos import is_video_name, open_video, parse_moment, read_frame

__all__ = [
    "PICTURE_FORMATS",
    "PICTURE_SUFFIXES",
    "WEB_FORMATS",
    "WEB_SUFFIXES",
    "PictureFiles",
    "find_picture_defects",
    "is_safe_name",
    "read_header",
    "read_picture",
    "upright_rgb",
]

WEB_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp")
"""How the name of a picture ends that any browser shows, in lower case."""

PICTURE_SUFFIXES: Final = (
    *WEB_SUFFIXES, ".gif", ".bmp", ".tif", ".tiff", ".jfif", ".avif", ".heic", ".heif",
    *(RAW_SUFFIXES if can_read_raw() else ()),
)  # fmt: skip
"""How a picture file's name ends, in lower case; raw files count where they can be read."""

WEB_FORMATS: Final = ("JPEG", "PNG", "WEBP")
"""What Pillow may take a picture for that a client sends."""

PICTURE_FORMATS: Final = (*WEB_FORMATS, "GIF", "BMP", "TIFF", "AVIF", "HEIF")
"""What Pillow may take a picture file for."""

SCALED_MARGIN: Final = 2
"""A JPEG file is decoded smaller only where so many times the needed pixels are left a side."""
_SPELT: Final = {"WEBP": "WebP"}

_DAMAGE: Final = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
"""What Pillow's decoders raise on damaged files."""
_CHECKED_AT_ONCE: Final = 512
_UNSAFE_LETTERS: Final = frozenset(("Cc", "Cs", "Zl", "Zp"))
"""Unicode's classes of control characters, halves of characters and line separators."""


def is_safe_name(name: str) -> bool:
    """Tell whether a picture's name stays inside the folder it is looked up in.

    Absolute names, drive letters, `..`, control characters and line separators are not safe, on any
    system; spaces of any kind are.

    Example:
        >>> [is_safe_name(name) for name in ("a/b.jpg", "../b.jpg", "/b.jpg", "C:b.jpg")]
        [True, False, False, False]
    """
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    return (
        not any(unicodedata.category(letter) in _UNSAFE_LETTERS for letter in name)
        and not (posix.is_absolute() or windows.anchor)
        and ".." not in {*posix.parts, *windows.parts}
        and bool(posix.parts)
    )


def read_picture(
    path: Path,
    *,
    formats: tuple[str, ...] = PICTURE_FORMATS,
    content: IO[bytes] | None = None,
    side: int | None = None,
) -> Image.Image:
    """Open a picture file as RGB: turned upright by its EXIF, transparency laid on white.

    Args:
        path: a picture file; the content decides, not the name, except of a camera's raw file, of
            which the picture in it is read. Of a video file, or of a moment
            of one (`a.mp4#t=12,17.5`), the frame in the middle is read.
        formats: what Pillow may take it for.
        content: read the picture from here; `path` only names it in messages.
        side: pixels that its shorter side is needed with. A JPEG file of at least 4 times as many
            is decoded at 1/2, 1/4 or 1/8 of its size, whichever is the least that leaves
            `SCALED_MARGIN` times as many; that is quicker. None decodes in full.

    Returns:
        The picture, RGB; of an animation the first frame.

    Raises:
        CollectionError: if it is missing (missing-picture), no picture or not readable
            (unreadable-picture), cut off or damaged (truncated-picture), or larger than
            MODALHASH_MAX_MEGAPIXELS or else Pillow's limit against decompression bombs
            (too-large-picture).
    """
    try:
        if content is not None:
            return _decode(content, path, formats, side)
        if (time := _find_middle(path)) is not None:
            return read_frame(*time)
        with open_regular_file(path) as file:
            return _decode(file, path, formats, side)
    except ModalhashError:
        raise
    except FileNotFoundError as error:
        raise _fault("missing-picture", path, "there is no such picture") from error
    except UnidentifiedImageError as error:
        raise _fault(
            "unreadable-picture", path, f"isn't a {_either(formats)} picture; convert it"
        ) from error
    except _DAMAGE as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise _fault("unreadable-picture", path, f"can't be read: {reason}") from error


def _find_middle(path: Path) -> tuple[Path, float] | None:
    """Find the video that a path means, and the middle of the moment or video in seconds.

    Returns:
        None if it means no video.
    """
    span = parse_moment(str(path))
    if span is not None and not path.exists():
        return Path(span.video), (span.start + span.end) / 2
    if not is_video_name(path.name) or path.is_dir():
        return None
    with open_video(path) as video:
        return path, video.facts.duration / 2


def _decode(file: IO[bytes], path: Path, formats: tuple[str, ...], side: int | None) -> Image.Image:
    """Decode a picture that is open.

    Raises:
        CollectionError: if it is too large, cut off or damaged.
    """
    with _open_undecoded(file, path, formats) as picture:
        try:
            least = SCALED_MARGIN * side if side is not None else 0
            if least and min(picture.size) >= 2 * least and isinstance(picture, ImageFile):
                picture.draft(None, (least, least))
            picture.load()
            _turn_upright(picture)
            return _as_rgb(picture)
        except _DAMAGE as error:
            problem = f"is cut off or damaged ({error}); copy it again"
            raise _fault("truncated-picture", path, problem) from error


def _open_undecoded(file: IO[bytes], path: Path, formats: tuple[str, ...]) -> Image.Image:
    is_raw = formats == PICTURE_FORMATS and is_raw_name(path.name)
    return open_raw(file, path) if is_raw else open_header(file, path, formats)


def read_header(path: Path) -> tuple[str, int]:
    """Read of a picture file its format, as Pillow calls it, and how many pixels it has.

    Of a camera's raw file those of the picture in it count.

    Raises:
        CollectionError: if it is missing, no picture or too large.
    """
    try:
        with open_regular_file(path) as file:
            picture = _open_undecoded(file, path, PICTURE_FORMATS)
            return picture.format or "", picture.width * picture.height
    except ModalhashError:
        raise
    except _DAMAGE as error:
        raise _fault("unreadable-picture", path, f"can't be read: {error}") from error


def upright_rgb(picture: Image.Image) -> Image.Image:
    """Copy an opened picture as `read_picture` would give it.

    Raises:
        InputError: if it can't be decoded.
    """
    try:
        upright = picture.copy()
        _turn_upright(upright)
        return _as_rgb(upright)
    except _DAMAGE as error:
        raise InputError(f"the picture is cut off or damaged ({error})") from error


def _either(formats: tuple[str, ...]) -> str:
    names = WEB_FORMATS if formats == PICTURE_FORMATS else formats
    *first, last = (_SPELT.get(name, name) for name in names)
    return f"{', '.join(first)} or {last}" if first else last


def _fault(kind: str, path: Path, problem: str) -> CollectionError:
    return CollectionError([Defect(kind, str(path), problem)])


def _turn_upright(picture: Image.Image) -> None:
    # Damaged EXIF says nothing about the orientation; the picture itself is fine.
    with suppress(*_DAMAGE, KeyError, TypeError, ZeroDivisionError, Warning):
        ImageOps.exif_transpose(picture, in_place=True)


def _as_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16 bits a sample, which Pillow would clip instead of scale
        samples = np.asarray(picture).astype(np.uint32) >> 8
        picture = Image.fromarray(samples.astype(np.uint8))
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        ground = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(ground, layer).convert("RGB")
    return picture.convert("RGB")


@dataclass(frozen=True)
class PictureFiles:
    """Pictures that are files of one folder.

    Attributes:
        folder: where they are; a relative one is meant from the current folder of now.
        names: their names, relative to `folder`, in item order.
        formats: what Pillow may take them for.
    """

    folder: Path
    names: Sequence[str]
    formats: tuple[str, ...] = PICTURE_FORMATS

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", self.folder.absolute())

    def open(self, position: int) -> Image.Image:
        """Open the picture; see `Pictures.open`."""
        return read_picture(self.path(position), formats=self.formats)

    def open_scaled(self, position: int, side: int) -> Image.Image:
        """Open the picture, smaller where that is quicker; see `ScalablePictures.open_scaled`."""
        return read_picture(self.path(position), formats=self.formats, side=side)

    def stamp(self, position: int) -> str:
        """Combine the file's size and times; see `Pictures.stamp`.

        Raises:
            CollectionError: if the file is gone.
        """
        path = self.path(position)
        try:
            return file_stamp(path)
        except OSError as error:
            raise _fault("missing-picture", path, f"{error.strerror or error}") from error

    def digest(self, position: int) -> str:
        """Compute the SHA-256 of the file; see `Pictures.digest`."""
        path = self.path(position)
        try:
            return sha256_of_file(path)
        except StorageError as error:
            raise _fault("unreadable-picture", path, str(error)) from error

    def path(self, position: int) -> Path:
        """Give the picture's file."""
        return self.folder / self.names[position]


def find_picture_defects(
    collection: Collection, *, without: Container[str] = (), progress: Progress = silent
) -> list[Defect]:
    """Decode the pictures of a collection and list those that fail, in item order.

    Args:
        collection: what to look at; without pictures there is nothing to find.
        without: ids of items whose pictures are known to be bad already.
        progress: is told of the stage "check pictures".

    Returns:
        One defect a picture that fails; its `items` name the item.
    """
    pictures, n_items = collection.pictures, collection.n_items
    if pictures is None:
        return []

    def check(position: int) -> Iterator[Defect]:
        if collection.item_ids[position] in without:
            return
        try:
            if isinstance(pictures, Frames):
                for path in pictures.frame_paths(position):
                    read_picture(path).close()
            else:
                pictures.open(position).close()
        except CollectionError as error:
            for defect in error.defects:
                yield replace(defect, items=(collection.item_ids[position],))

    defects: list[Defect] = []
    progress("check pictures", 0, n_items)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, n_items, _CHECKED_AT_ONCE):
            stop = min(start + _CHECKED_AT_ONCE, n_items)
            batches = pool.map(lambda position: list(check(position)), range(start, stop))
            defects.extend(chain.from_iterable(batches))
            progress("check pictures", stop, n_items)
    return defects
