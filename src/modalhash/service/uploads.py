"""Pictures that clients send: opened by what they hold, and only if they aren't too large."""

import base64
import binascii
import io
import warnings
from http import HTTPStatus
from pathlib import Path
from typing import Final

from PIL import Image

from modalhash.data.pictures import WEB_FORMATS, read_picture
from modalhash.errors import CollectionError
from modalhash.service.refusals import RefusedError

__all__ = ["count_pixels", "decode_base64", "open_upload"]

UNREADABLE: Final = "it isn't a JPEG, PNG or WebP picture, or it is cut off or damaged"


def count_pixels(content: bytes, most_pixels: int, *, name: str = "image") -> int:
    """Count the pixels of an uploaded picture by its header; nothing is decoded.

    Args:
        content: of the file.
        most_pixels: that it may have.
        name: of the part of the request, for messages.

    Raises:
        RefusedError: if it is no picture, damaged, or too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=WEB_FORMATS) as picture:
                pixels = picture.width * picture.height
    except Image.DecompressionBombError:
        raise too_large(name, f"has far more than {most_pixels} pixels") from None
    except Exception as error:  # a decoder may raise anything over a made-up file
        raise unreadable(name) from error
    if pixels > most_pixels:
        raise too_large(name, f"has {pixels} pixels, {most_pixels} are the most")
    return pixels


def open_upload(
    content: bytes, most_pixels: int, *, name: str = "image", side: int | None = None
) -> Image.Image:
    """Open an uploaded picture as those of collections are: upright, transparency on white.

    Its header says how large it is; one that is too large isn't decoded.

    Args:
        content: of the file.
        most_pixels: that it may have.
        name: of the part of the request, for messages.
        side: pixels that its shorter side is needed with; None for all there are.

    Raises:
        RefusedError: if it is no picture, damaged, or too large.
    """
    count_pixels(content, most_pixels, name=name)
    try:
        return read_picture(Path(name), content=io.BytesIO(content), side=side)
    except CollectionError as error:
        if error.defects[0].kind == "too-large-picture":
            raise too_large(name, "has too many pixels") from error
        raise unreadable(name) from error
    except Exception as error:  # a decoder may raise anything over a made-up file
        raise unreadable(name) from error


def decode_base64(text: str, *, name: str) -> bytes:
    """Decode the file of a picture that came as base 64.

    Raises:
        RefusedError: if it isn't base 64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RefusedError(
            HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", f"{name} isn't base 64"
        ) from None


def too_large(name: str, problem: str) -> RefusedError:
    """Describe the refusal of a picture with too many pixels."""
    return RefusedError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "picture_too_large", f"{name} {problem}"
    )


def unreadable(name: str) -> RefusedError:
    """Describe the refusal of a file that is no picture."""
    return RefusedError(
        HTTPStatus.UNPROCESSABLE_ENTITY, "unreadable_picture", f"{name} can't be read: {UNREADABLE}"
    )
