"""Cameras' raw files: the picture that the camera put into them, for its screen, is what is read.

Only where there is none is the raw picture itself developed, at half its size.
"""

import io
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Final

from PIL import Image

from modalhash.data.picture_opening import check_pixels, open_header
from modalhash.errors import CollectionError, Defect, MissingExtraError
from modalhash.extras import import_optional

__all__ = ["RAW_SUFFIXES", "can_read_raw", "is_raw_name", "open_raw"]

RAW_SUFFIXES: Final = (
    ".arw", ".cr2", ".cr3", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".srw"
)  # fmt: skip
"""How the name of a raw file ends, in lower case; most begin as TIFF files do."""
TURNS: Final = {
    3: Image.Transpose.ROTATE_180,
    5: Image.Transpose.ROTATE_90,
    6: Image.Transpose.ROTATE_270,
}
"""What the decoder's number for how the camera was held means for a picture."""


def can_read_raw() -> bool:
    """Tell whether the package that reads raw files is installed."""
    return find_spec("rawpy") is not None


def is_raw_name(name: str) -> bool:
    """Tell whether a file's name is that of a raw file.

    Example:
        >>> is_raw_name("DSC_0001.NEF"), is_raw_name("scan.tif")
        (True, False)
    """
    return name.lower().endswith(RAW_SUFFIXES)


def open_raw(file: IO[bytes], path: Path) -> Image.Image:
    """Open the picture in a raw file.

    Args:
        file: the raw file, which stays open.
        path: names it in messages.

    Returns:
        The picture, not yet decoded where it is a JPEG.

    Raises:
        CollectionError: if it can't be read, or the package for it isn't installed.
    """
    try:
        rawpy: Any = import_optional("rawpy", extra="raw", feature="reading cameras' raw files")
    except MissingExtraError as error:
        raise fault(path, f"is a camera's raw file: {error}") from error
    try:
        with rawpy.imread(file) as raw:
            try:
                preview = raw.extract_thumb()
            except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
                sizes = raw.sizes
                check_pixels(path, sizes.raw_width * sizes.raw_height)
                return Image.fromarray(raw.postprocess(half_size=True, use_camera_wb=True))
            if preview.format == rawpy.ThumbFormat.JPEG:
                # The decoder gives it Exif that says how the camera was held.
                return open_header(io.BytesIO(preview.data), path, ("JPEG",))
            picture = Image.fromarray(preview.data)
            turn = TURNS.get(raw.sizes.flip)
            return picture if turn is None else picture.transpose(turn)
    except rawpy.LibRawError as error:
        reason = error.args[0] if error.args else error
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise fault(path, f"can't be read as a camera's raw file: {text}") from error


def fault(path: Path, problem: str) -> CollectionError:
    """Make the error of a raw file that can't be read."""
    return CollectionError([Defect("unreadable-picture", str(path), problem)])
