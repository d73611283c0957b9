"""Pictures of every format that is read: their colours, first frames, and packages that miss."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modalhash.data import check_collection, load_collection, read_picture
from modalhash.data.pictures import WEB_FORMATS
from modalhash.errors import CollectionError

COLOUR = (200, 60, 20)


def two_colours() -> Image.Image:
    picture = Image.new("RGB", (48, 32), COLOUR)
    picture.paste((10, 10, 200), (24, 0, 48, 32))
    return picture


def is_close(picture: Image.Image, tolerance: int) -> bool:
    difference = np.asarray(picture, np.int16) - np.asarray(two_colours(), np.int16)
    return float(np.abs(difference[:, 4:20]).max()) <= tolerance


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("a.gif", 0), ("a.bmp", 0), ("a.tif", 0), ("a.TIFF", 0), ("a.avif", 24), ("a.heic", 24),
        ("a.heif", 24), ("a.jfif", 24),
    ],
)  # fmt: skip
def test_each_format_is_a_picture_of_a_collection(
    name: str, tolerance: int, tmp_path: Path
) -> None:
    kind = {".heic": "HEIF", ".heif": "HEIF", ".jfif": "JPEG"}.get(Path(name).suffix.lower())
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    (tmp_path / "images").mkdir()
    two_colours().save(tmp_path / "images" / name, kind)
    (tmp_path / "captions.tsv").write_text(f"image\tcaption\n{name}\tone\n")
    assert check_collection(tmp_path).is_sound
    pictures = load_collection(tmp_path).pictures
    assert pictures is not None
    assert pictures.open(0).mode == "RGB"
    assert is_close(pictures.open(0), tolerance)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_is_read(kind: str, tmp_path: Path) -> None:
    others = [Image.new("RGB", (48, 32), "black")]
    path = tmp_path / "a"
    lossless = {"lossless": True} if kind == "WEBP" else {}
    two_colours().save(path, kind, save_all=True, append_images=others, **lossless)
    assert is_close(read_picture(path), 0)


def test_tiff_of_sixteen_bits_is_scaled(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 200 << 8, np.uint16)).save(tmp_path / "a.tif")
    assert read_picture(tmp_path / "a.tif").getpixel((3, 3)) == (200, 200, 200)


def test_heic_without_its_package_is_a_defect_that_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"\0\0\0\x18ftypheic" + bytes(64)
    (tmp_path / "a.heic").write_bytes(content)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(CollectionError, match=r"a\.heic: is a HEIC picture: .*modalhash\[heif\]"):
        read_picture(tmp_path / "a.heic")


def test_clients_send_formats_of_the_web_only() -> None:
    content = io.BytesIO()
    two_colours().save(content, "TIFF")
    with pytest.raises(CollectionError, match="isn't a JPEG, PNG or WebP picture; convert it"):
        read_picture(Path("sent"), formats=WEB_FORMATS, content=io.BytesIO(content.getvalue()))
