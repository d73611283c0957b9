"""Pixels in memory as pictures."""

import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from modalhash.errors import InputError
from modalhash.picture_arrays import picture_from_array

PIXELS = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def test_rows_are_rows_and_columns_columns() -> None:
    picture = picture_from_array(PIXELS[..., :3])
    assert (picture.size, picture.mode) == ((3, 2), "RGB")
    assert picture.getpixel((2, 1)) == (20, 21, 22)


@pytest.mark.parametrize(
    ("pixels", "mode"),
    [(PIXELS, "RGBA"), (PIXELS[..., 0], "L"), (PIXELS[..., :1], "L"), (PIXELS[::-1, :, :3], "RGB")],
)
def test_grey_and_opacity_are_understood(pixels: NDArray[np.uint8], mode: str) -> None:
    picture = picture_from_array(pixels)
    assert picture.mode == mode
    np.testing.assert_array_equal(
        np.asarray(picture), pixels[..., 0] if mode == "L" and pixels.ndim == 3 else pixels
    )


EXPECTED = "expected uint8 of shape (height, width, 3), or (height, width) for grey"


@pytest.mark.parametrize(
    ("pixels", "came", "way_out"),
    [
        (
            PIXELS / 255,
            "array of float64 and of shape (2, 3, 4)",
            "; numbers from 0 to 1 become (255 * pixels).round().astype(np.uint8)",
        ),
        (PIXELS.astype(np.int64), "array of int64 and of shape (2, 3, 4)", ""),
        (
            np.zeros((3, 8, 9), np.uint8),
            "array of shape (3, 8, 9)",
            "; np.moveaxis(pixels, 0, -1) puts the channels last",
        ),
        (
            np.zeros((5, 8, 9, 3), np.uint8),
            "array of shape (5, 8, 9, 3)",
            "; give one picture at a time",
        ),
        (np.zeros((0, 9, 3), np.uint8), "array of shape (0, 9, 3)", ""),
        (np.zeros(9, np.uint8), "array of shape (9,)", ""),
    ],
)
def test_other_arrays_are_refused_with_the_way_out(
    pixels: NDArray[Any], came: str, way_out: str
) -> None:
    message = f"the picture is an {came}, {EXPECTED}{way_out}"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        picture_from_array(pixels)
