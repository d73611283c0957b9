"""Large JPEG files decoded smaller: how large they come, and what they look like."""

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from modalhash.data import Collection, load_collection, read_picture
from modalhash.data.collection import open_for_side
from modalhash.data.frames import FrameFolders, frames_of
from modalhash.data.pictures import PictureFiles
from modalhash.data.stored_pictures import FilePicture, StoredPictures


def smooth(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """Make a smooth picture, black at the left and white at the right, red below."""
    across = np.linspace(0, 255, size[0])[None, :]
    down = np.linspace(0, 255, size[1])[:, None]
    red = np.maximum(across, down)
    pixels = np.stack([red, across + 0 * down, across + 0 * down], axis=2)
    return Image.fromarray(pixels.astype(np.uint8)).convert(mode)


def expected_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Compute the decoded size: halve up to three times while 2 x side pixels are left."""
    scale = 1
    while scale < 8 and min(size) // (2 * scale) >= 2 * side:
        scale *= 2
    return -(-size[0] // scale), -(-size[1] // scale)


@pytest.mark.parametrize(
    "size", [(224, 224), (895, 1200), (896, 1200), (1000, 897), (1792, 1800), (4000, 900)]
)
def test_the_decoded_size_leaves_twice_what_is_needed(
    size: tuple[int, int], tmp_path: Path
) -> None:
    path = tmp_path / "a.jpg"
    smooth(size).save(path)
    assert read_picture(path, side=224).size == expected_size(size, 224)
    assert read_picture(path).size == size


def test_at_most_an_eighth_is_left_out(tmp_path: Path) -> None:
    smooth((800, 640)).save(tmp_path / "a.jpg")
    assert read_picture(tmp_path / "a.jpg", side=4).size == (100, 80)


@pytest.mark.parametrize("size", [(224, 224), (895, 1200)])
def test_below_four_times_what_is_needed_nothing_changes(
    size: tuple[int, int], tmp_path: Path
) -> None:
    path = tmp_path / "a.jpg"
    smooth(size).save(path, quality=90)
    assert read_picture(path, side=224).tobytes() == read_picture(path).tobytes()


def block_means(picture: Image.Image, scale: int) -> NDArray[np.float64]:
    """Compute the mean of each square of `scale` pixels a side."""
    pixels = np.asarray(picture, np.float64)
    height, width = pixels.shape[0] // scale, pixels.shape[1] // scale
    squares = pixels[: height * scale, : width * scale].reshape(height, scale, width, scale, 3)
    means: NDArray[np.float64] = squares.mean(axis=(1, 3))
    return means


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_the_smaller_picture_is_the_mean_of_squares(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    smooth((640, 512), mode).save(path, quality=95)
    small = np.asarray(read_picture(path, side=64), np.float64)
    assert small.shape == (128, 160, 3)
    np.testing.assert_allclose(small, block_means(read_picture(path), 4), rtol=0, atol=6)


def test_the_orientation_holds(tmp_path: Path) -> None:
    path, exif = tmp_path / "a.jpg", Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise: left becomes top
    smooth((800, 512)).save(path, exif=exif)
    opened = read_picture(path, side=64)
    assert opened.size == (128, 200)
    top, bottom = opened.getpixel((120, 5)), opened.getpixel((120, 195))
    assert isinstance(top, tuple)
    assert isinstance(bottom, tuple)
    assert top[1] < 40
    assert bottom[1] > 215


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "GIF"])
def test_other_formats_are_decoded_in_full(kind: str, tmp_path: Path) -> None:
    smooth((256, 256)).save(tmp_path / "a", kind)
    assert read_picture(tmp_path / "a", side=16).size == (256, 256)


def test_a_file_of_several_jpeg_pictures_shows_the_first(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    smooth((256, 256)).save(path, "MPO", save_all=True, append_images=[smooth((64, 64))])
    assert read_picture(path, side=32).size == (64, 64)


def test_pictures_of_a_collection_and_its_parts(tmp_path: Path) -> None:
    smooth((256, 256)).save(tmp_path / "a.jpg")
    smooth((256, 256)).save(tmp_path / "b.png")
    collection = load_collection(tmp_path)
    last = collection.subset(np.array([1, 0]))
    for part, place in ((collection, 0), (last, 1)):
        assert part.pictures is not None
        assert open_for_side(part.pictures, place, 32).size == (64, 64)
        assert open_for_side(part.pictures, place, None).size == (256, 256)
    stored = StoredPictures([FilePicture(tmp_path / "a.jpg")])
    assert open_for_side(stored, 0, 32).size == (64, 64)


def test_pictures_that_cannot_be_decoded_smaller_come_whole() -> None:
    collection = load_collection("icons")
    assert collection.pictures is not None
    whole = collection.pictures.open(0)
    assert open_for_side(collection.pictures, 0, 8).tobytes() == whole.tobytes()


def test_frames_of_videos(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    for name in ("1.jpg", "2.jpg"):
        smooth((256, 256)).save(tmp_path / "v" / name)
    videos = FrameFolders(tmp_path, [("v/1.jpg", "v/2.jpg")])
    assert [frame.size for frame in frames_of(videos, 0, 2, side=32)] == [(64, 64)] * 2
    assert open_for_side(videos, 0, 32).size == (64, 64)
    collection = Collection("v", ("v",), (), np.zeros(0, np.int64), (), pictures=videos)
    part = collection.subset(np.array([0]))
    assert part.pictures is not None
    assert [frame.size for frame in frames_of(part.pictures, 0, 2, side=32)] == [(64, 64)] * 2
    files = PictureFiles(tmp_path, ("v/1.jpg",))
    assert [frame.size for frame in frames_of(files, 0, 2, side=32)] == [(64, 64)]


def test_a_picture_in_memory(tmp_path: Path) -> None:
    content = io.BytesIO()
    smooth((256, 256)).save(content, "JPEG")
    opened = read_picture(tmp_path / "sent", content=io.BytesIO(content.getvalue()), side=32)
    assert opened.size == (64, 64)
