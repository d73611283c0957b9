"""Picture files: what encoders get to see, and what is said of those that fail."""

import io
import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modalhash.data.collection import Pictures
from modalhash.data.pictures import PictureFiles, is_safe_name, read_picture
from modalhash.errors import CollectionError, SettingError
from tests.oracles.photo_folder import write_picture


def noise(side: int = 64) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def fault_of(path: Path) -> tuple[str, str]:
    with pytest.raises(CollectionError) as caught:
        read_picture(path)
    [defect] = caught.value.defects
    assert defect.where == str(path)
    return defect.kind, defect.problem


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.webp"])
def test_every_format_opens_as_rgb(name: str, tmp_path: Path) -> None:
    picture = read_picture(write_picture(tmp_path / name, "lime"))
    assert (picture.mode, picture.size) == ("RGB", (8, 8))
    np.testing.assert_allclose(np.asarray(picture)[4, 4], [0, 255, 0], rtol=0, atol=3)


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    write_picture(tmp_path / "x.png", "red").rename(tmp_path / "x.jpg")
    assert read_picture(tmp_path / "x.jpg").getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),  # 255 * (1 - 51 / 255)
        ("LA", (0, 51), (204, 204, 204)),
        ("L", 7, (7, 7, 7)),
        ("1", 1, (255, 255, 255)),
        ("I;16", 0x80FF, (128, 128, 128)),  # the upper 8 of 16 bits
    ],
)
def test_modes_become_rgb_on_white(
    mode: str, colour: int | tuple[int, ...], expected: tuple[int, ...], tmp_path: Path
) -> None:
    Image.new(mode, (4, 4), colour).save(tmp_path / "x.png")
    assert read_picture(tmp_path / "x.png").getpixel((2, 2)) == expected


def test_a_palette_with_transparency_lies_on_white(tmp_path: Path) -> None:
    picture = Image.new("P", (4, 4), 0)
    picture.putpalette([0, 0, 255, 255, 0, 0])
    picture.putpixel((1, 1), 1)
    picture.save(tmp_path / "x.png", transparency=0)
    opened = read_picture(tmp_path / "x.png")
    assert opened.getpixel((0, 0)) == (255, 255, 255)
    assert opened.getpixel((1, 1)) == (255, 0, 0)


def test_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 0, 0, 0)).save(tmp_path / "x.jpg")
    assert read_picture(tmp_path / "x.jpg").getpixel((2, 2)) == (255, 255, 255)


def test_exif_turns_the_picture_upright(tmp_path: Path) -> None:
    picture = Image.new("RGB", (16, 8), "white")
    picture.paste("black", (0, 0, 8, 8))  # black on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise: left becomes top
    picture.save(tmp_path / "x.png", exif=exif)
    opened = read_picture(tmp_path / "x.png")
    assert opened.size == (8, 16)
    assert opened.getpixel((4, 2)) == (0, 0, 0)
    assert opened.getpixel((4, 13)) == (255, 255, 255)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_does_no_harm(tmp_path: Path) -> None:
    picture = noise()
    content = io.BytesIO()
    picture.save(content, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff broken")
    (tmp_path / "x.jpg").write_bytes(content.getvalue())
    assert read_picture(tmp_path / "x.jpg").size == (64, 64)


def test_an_animation_shows_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    path = tmp_path / "x.webp"
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    assert read_picture(path).getpixel((0, 0)) == (255, 0, 0)


def test_an_animated_png_shows_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "x.png", save_all=True, append_images=frames[1:])
    assert read_picture(tmp_path / "x.png").getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("name", ["x.png", "x.jpg"])
def test_a_picture_cut_off_is_truncated(name: str, tmp_path: Path) -> None:
    noise().save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) * 2 // 3])
    kind, problem = fault_of(tmp_path / name)
    assert kind == "truncated-picture"
    assert re.fullmatch(r"is cut off or damaged \(.+\); copy it again", problem)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n", b"GIF89a....."])
def test_what_is_no_picture_is_unreadable(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(content)
    problem = "isn't a JPEG, PNG or WebP picture; convert it"
    assert fault_of(tmp_path / "x.jpg") == ("unreadable-picture", problem)


def test_a_cut_webp_is_a_defect(tmp_path: Path) -> None:
    noise().save(tmp_path / "x.webp")
    content = (tmp_path / "x.webp").read_bytes()
    (tmp_path / "x.webp").write_bytes(content[: len(content) // 2])
    assert fault_of(tmp_path / "x.webp")[0] in ("unreadable-picture", "truncated-picture")


def test_a_missing_picture(tmp_path: Path) -> None:
    assert fault_of(tmp_path / "x.jpg") == ("missing-picture", "there is no such picture")


def test_a_folder_is_no_picture(tmp_path: Path) -> None:
    problem = "can't be read: Is a directory"
    assert fault_of(tmp_path) == ("unreadable-picture", problem)


def png_that_claims(width: int, height: int) -> bytes:
    """Return a PNG with a valid header of that size and hardly any data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [10_000, 40_000])  # Pillow warns of the first, refuses the second
def test_a_decompression_bomb_is_not_decoded(side: int, tmp_path: Path) -> None:
    """No warning of Pillow's comes along: warnings are errors here."""
    (tmp_path / "x.png").write_bytes(png_that_claims(side, side))
    kind, problem = fault_of(tmp_path / "x.png")
    assert kind == "too-large-picture"
    assert problem == (
        f"has {side * side} pixels, more than 89478485; it may be a decompression bomb: reduce it, "
        f"or set MODALHASH_MAX_MEGAPIXELS={side * side // 10**6} (--largest-picture)"
    )


def test_the_limit_of_pixels_can_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.png"
    Image.new("1", (10_000, 10_000)).save(path)
    monkeypatch.setenv("MODALHASH_MAX_MEGAPIXELS", "100")
    assert read_picture(path).size == (10_000, 10_000)
    monkeypatch.setenv("MODALHASH_MAX_MEGAPIXELS", "99.9")
    assert fault_of(path)[0] == "too-large-picture"
    monkeypatch.setenv("MODALHASH_MAX_MEGAPIXELS", "many")
    message = "MODALHASH_MAX_MEGAPIXELS is 'many', expected a number of megapixels"
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        read_picture(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no FIFOs")
def test_a_fifo_in_place_of_a_picture_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    kind, problem = fault_of(tmp_path / "x.png")
    assert (kind, problem) == (
        "unreadable-picture",
        "can't be read: is no regular file (a FIFO, a device or a socket), so it isn't read",
    )


@pytest.mark.parametrize(
    ("name", "is_safe"),
    [
        ("a.jpg", True),
        ("deep/er/ä b.jpg", True),
        ("..a.jpg", True),
        ("./a.jpg", True),
        ("", False),
        (".", False),
        ("..", False),
        ("a/../../b.jpg", False),
        ("a\\..\\b.jpg", False),
        ("/a.jpg", False),
        ("\\\\server\\share\\a.jpg", False),
        ("C:\\a.jpg", False),
        ("a\n.jpg", False),
        ("a\0.jpg", False),
        ("\ud800.jpg", False),
        ("a\u2028.jpg", False),
        ("a\x85.jpg", False),
        ("Screenshot at 9.41.00\u202fAM.jpg", True),
        ("\u5199\u771f\u3000\u4e00.jpg", True),
        ("\u0645\u06cc\u200c\u062e.jpg", True),
        ("v\u00a013.jpg", True),
        ("\U0001f468\u200d\U0001f469.jpg", True),
    ],
)
def test_safe_names(name: str, is_safe: bool) -> None:
    assert is_safe_name(name) is is_safe


def test_stamp_and_digest_change_with_the_file(tmp_path: Path) -> None:
    path = write_picture(tmp_path / "x.png", "red")
    pictures: Pictures = PictureFiles(tmp_path, ("x.png",))
    stamp, digest = pictures.stamp(0), pictures.digest(0)
    assert (pictures.stamp(0), pictures.digest(0)) == (stamp, digest)
    os.utime(path, ns=(1, 1))
    assert pictures.stamp(0) != stamp
    status = path.stat()
    changed = pictures.stamp(0)
    path.write_bytes(path.read_bytes()[::-1])  # of the same size, and its time is set back
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert pictures.stamp(0) != changed
    write_picture(path, "red")
    assert pictures.digest(0) == digest
    write_picture(path, "blue")
    assert pictures.digest(0) != digest
    path.unlink()
    for ask in (pictures.stamp, pictures.digest, pictures.open):
        with pytest.raises(CollectionError, match=re.escape(f"{path}: ")):
            ask(0)
