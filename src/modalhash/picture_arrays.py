"""Pictures in memory: arrays of pixels become opened pictures."""

from os import PathLike
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from modalhash.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["PictureInput", "picture_from_array"]

PictureInput: TypeAlias = "str | PathLike[str] | bytes | Image | NDArray[np.uint8]"
"""A picture: a path, a file's bytes, an opened picture, or pixels as `picture_from_array` takes."""


def picture_from_array(pixels: NDArray[Any]) -> "Image":
    """Make a picture of pixels.

    Args:
        pixels: uint8, rows from the top: (h, w) or (h, w, 1) grey, (h, w, 3) red, green and blue,
            (h, w, 4) with opacity.

    Raises:
        InputError: if they are of another type or shape, saying how to convert them.

    Example:
        >>> picture_from_array(np.zeros((2, 3, 3), np.uint8)).size
        (3, 2)
    """
    from PIL import Image

    expected = "expected uint8 of shape (height, width, 3), or (height, width) for grey"
    shape = pixels.shape
    channels = shape[2] if len(shape) == 3 else 1
    if pixels.dtype != np.uint8:
        hint = (
            "; numbers from 0 to 1 become (255 * pixels).round().astype(np.uint8)"
            if pixels.dtype.kind == "f"
            else ""
        )
        raise InputError(
            f"the picture is an array of {pixels.dtype} and of shape {shape}, {expected}{hint}"
        )
    if len(shape) not in (2, 3) or channels not in (1, 3, 4) or 0 in shape:
        is_turned = len(shape) == 3 and shape[0] in (1, 3, 4)
        hint = "; np.moveaxis(pixels, 0, -1) puts the channels last" if is_turned else ""
        hint = "; give one picture at a time" if len(shape) == 4 else hint
        raise InputError(f"the picture is an array of shape {shape}, {expected}{hint}")
    grey = pixels[..., 0] if len(shape) == 3 and channels == 1 else pixels
    return Image.fromarray(np.ascontiguousarray(grey))
