"""Small and whole pictures of every format that an index can hold, not of the web's only."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modalhash.service.refusals import RefusedError
from modalhash.service.thumbnails import Thumbnails, write_anew
from tests.oracles.raw_files import write_dng

COLOUR = (200, 60, 20)


def write_picture(path: Path) -> Path:
    """Write a picture of one colour, 300 x 200, in the format that the name says."""
    picture = Image.new("RGB", (300, 200), COLOUR)
    if path.suffix == ".dng":
        pytest.importorskip("rawpy")
        return write_dng(path, picture)
    if path.suffix == ".heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
        picture.save(path, "HEIF")
    else:
        picture.save(path)
    return path


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("a.jpg", "JPEG"), ("a.png", "PNG"), ("a.webp", "PNG"), ("a.tif", "PNG"), ("a.gif", "PNG"),
        ("a.bmp", "PNG"), ("a.avif", "JPEG"), ("a.heic", "JPEG"), ("a.dng", "JPEG"),
    ],
)  # fmt: skip
def test_every_format_is_shown(name: str, whole: str, tmp_path: Path) -> None:
    path = write_picture(tmp_path / name)
    thumbnails = Thumbnails(most_pixels=100_000)
    assert thumbnails.count_pixels(path) == 300 * 200
    with Image.open(io.BytesIO(thumbnails.make(path, "version", 64))) as small:
        assert (small.format, small.size) == ("WEBP", (64, 43))
        pixel = np.asarray(small.convert("RGB"), np.int16)[20, 30]
        np.testing.assert_allclose(pixel, COLOUR, rtol=0, atol=16)
    content, media_type = write_anew(path)
    with Image.open(io.BytesIO(content)) as anew:
        assert (anew.format, anew.size) == (whole, (300, 200))
        assert media_type == f"image/{whole.lower()}"


def test_a_large_photo_is_made_as_small_as_asked(tmp_path: Path) -> None:
    Image.new("RGB", (2400, 1600), COLOUR).save(tmp_path / "a.jpg")
    content = Thumbnails(most_pixels=10_000_000).make(tmp_path / "a.jpg", "version", 256)
    with Image.open(io.BytesIO(content)) as small:
        assert small.size == (256, 171)


def test_what_cannot_be_shown_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for name in ("text.jpg", "cut.png", "missing.jpg"):
        with pytest.raises(RefusedError):
            Thumbnails(most_pixels=10).count_pixels(tmp_path / name)
        with pytest.raises(RefusedError):
            write_anew(tmp_path / name)
    path = write_picture(tmp_path / "a.tif")
    with pytest.raises(RefusedError, match="too large"):
        Thumbnails(most_pixels=10).count_pixels(path)
