"""Open a picture file without decoding it, and refuse it if it has too many pixels.

Pillow warns of large pictures and refuses larger ones, by one number for the whole process; here a
limit can be set for these files alone.
"""

import os
import struct
from pathlib import Path
from typing import IO, Final

from PIL import Image, ImageFile, UnidentifiedImageError

from modalhash.errors import CollectionError, Defect, MissingExtraError, SettingError
from modalhash.extras import import_optional

__all__ = ["PIXELS_VARIABLE", "check_pixels", "open_header"]

AVIF_BRANDS: Final = (b"avif", b"avis")
"""What the first box of an AVIF picture says; other brands may be HEIC."""
PIXELS_VARIABLE: Final = "MODALHASH_MAX_MEGAPIXELS"
"""Environment variable that sets how many million pixels a picture may have."""


def open_header(file: IO[bytes], path: Path, formats: tuple[str, ...]) -> ImageFile.ImageFile:
    """Open a picture, which reads its header.

    Args:
        file: the picture file, which stays open.
        path: names it in messages.
        formats: what it may be, as Pillow calls them; the content decides.

    Raises:
        UnidentifiedImageError: if it is none of them.
        CollectionError: if it has more pixels than `PIXELS_VARIABLE` or Pillow allows.
        SettingError: if the variable isn't a positive number.
        OSError, ValueError, ...: what Pillow raises for a damaged header.
    """
    if not set(formats) <= set(Image.OPEN):
        Image.init()
    start = file.read(16)
    if start[4:8] == b"ftyp" and start[8:12] not in AVIF_BRANDS and "HEIF" in formats:
        register_heif(path)
    for name in formats:
        if name not in Image.OPEN:
            continue
        factory, accepts = Image.OPEN[name]
        if accepts is not None and accepts(start) is not True:
            continue
        file.seek(0)
        try:
            picture = factory(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue
        check_pixels(path, picture.width * picture.height)
        return picture
    raise UnidentifiedImageError(f"{path} is none of {', '.join(formats)}")


def register_heif(path: Path) -> None:
    """Let Pillow read HEIC pictures, as telephones write them.

    Raises:
        CollectionError: if the package for it isn't installed.
    """
    if "HEIF" in Image.OPEN:
        return
    try:
        pillow_heif = import_optional("pillow_heif", extra="heif", feature="reading HEIC pictures")
    except MissingExtraError as error:
        defect = Defect("unreadable-picture", str(path), f"is a HEIC picture: {error}")
        raise CollectionError([defect]) from error
    pillow_heif.register_heif_opener()


def check_pixels(path: Path, pixels: int) -> None:
    """Refuse a picture that has too many pixels.

    Raises:
        CollectionError: if it has.
    """
    limit = most_pixels()
    if limit is not None and pixels > limit:
        problem = (
            f"has {pixels} pixels, more than {limit}; it may be a decompression bomb: reduce it, "
            f"or set {PIXELS_VARIABLE}={-(-pixels // 10**6)} (--largest-picture)"
        )
        raise CollectionError([Defect("too-large-picture", str(path), problem)])


def most_pixels() -> int | None:
    """Read how many pixels a picture may have: as the variable says, else as Pillow does.

    Raises:
        SettingError: if the variable isn't a positive number.
    """
    stated = os.environ.get(PIXELS_VARIABLE)
    if not stated:
        return Image.MAX_IMAGE_PIXELS
    try:
        limit = int(float(stated) * 10**6)
    except (ValueError, OverflowError):
        limit = 0
    if limit <= 0:
        raise SettingError(f"{PIXELS_VARIABLE} is {stated!r}, expected a number of megapixels")
    return limit
