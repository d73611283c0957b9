"""Cameras' raw files: the picture in them is read, upright, and by its date."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modalhash.data import (
    check_collection,
    load_collection,
    picture_collections,
    read_picture,
)
from modalhash.data.file_metadata import read_file_metadata
from modalhash.errors import CollectionError
from tests.oracles.raw_files import write_dng


@pytest.fixture(autouse=True)
def decoder() -> None:
    pytest.importorskip("rawpy")


def two_colours(size: tuple[int, int] = (96, 64)) -> Image.Image:
    """Make a picture that is red at the left and blue at the right."""
    picture = Image.new("RGB", size, (220, 20, 20))
    picture.paste((20, 20, 220), (size[0] // 2, 0, *size))
    return picture


@pytest.mark.parametrize(
    ("orientation", "size", "red"),
    [
        (1, (96, 64), (10, 32)),
        (3, (96, 64), (86, 32)),
        (6, (64, 96), (32, 10)),
        (8, (64, 96), (32, 86)),
    ],
)
def test_the_picture_in_the_file_is_read_upright(
    orientation: int, size: tuple[int, int], red: tuple[int, int], tmp_path: Path
) -> None:
    path = write_dng(tmp_path / "a.DNG", two_colours(), orientation=orientation)
    opened = read_picture(path)
    assert (opened.mode, opened.size) == ("RGB", size)
    pixels = np.asarray(opened, np.int16)
    np.testing.assert_allclose(pixels[red[1], red[0]], (220, 20, 20), rtol=0, atol=12)


def test_a_large_picture_in_it_is_decoded_smaller(tmp_path: Path) -> None:
    path = write_dng(tmp_path / "a.dng", two_colours((512, 256)))
    assert read_picture(path, side=32).size == (128, 64)


def test_without_a_picture_the_raw_one_is_developed(tmp_path: Path) -> None:
    path = write_dng(tmp_path / "a.dng", None, size=(64, 48))
    opened = read_picture(path)
    assert (opened.mode, opened.size) == ("RGB", (32, 24))
    pixels = np.asarray(opened, np.int16)
    assert np.ptp(pixels.reshape(-1, 3), axis=0).max() <= 2  # all samples of the mosaic are equal


def test_the_date_and_the_camera_are_known(tmp_path: Path) -> None:
    path = write_dng(tmp_path / "a.dng", two_colours())
    assert read_file_metadata(path) == {"taken": "2021-07-14T10:22:05", "camera": "Acme Raw 1"}


def test_a_folder_of_raw_files_is_a_collection(tmp_path: Path) -> None:
    write_dng(tmp_path / "b.dng", two_colours())
    two_colours().save(tmp_path / "a.jpg")
    collection = load_collection(tmp_path)
    assert collection.item_ids == ("a.jpg", "b.dng")
    (tmp_path / "c.nef").write_bytes(b"nothing")
    [defect] = check_collection(tmp_path).defects
    assert defect.kind == "unreadable-picture"
    assert "c.nef" in defect.where
    assert "can't be read as a camera's raw file" in defect.problem
    assert read_file_metadata(tmp_path / "c.nef") == {}


def test_raw_files_that_are_passed_over_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    two_colours().save(tmp_path / "a.jpg")
    write_dng(tmp_path / "b.dng", two_colours())
    monkeypatch.setattr(picture_collections, "can_read_raw", lambda: False)
    suffixes = tuple(name for name in picture_collections.FILE_SUFFIXES if name != ".dng")
    monkeypatch.setattr(picture_collections, "FILE_SUFFIXES", suffixes)
    assert load_collection(tmp_path).item_ids == ("a.jpg",)
    assert "1 cameras' raw files" in caplog.text
    assert "pip install 'modalhash[raw]' reads them" in caplog.text


def test_a_cut_raw_file_is_a_defect(tmp_path: Path) -> None:
    path = write_dng(tmp_path / "a.dng", two_colours())
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(CollectionError, match="can't be read as a camera's raw file"):
        read_picture(path)


def test_the_pixel_limit_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODALHASH_MAX_MEGAPIXELS", "0.001")
    for preview in (two_colours(), None):
        path = write_dng(tmp_path / "a.dng", preview)
        with pytest.raises(CollectionError, match="decompression bomb"):
            read_picture(path)


def test_without_the_package_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_dng(tmp_path / "a.dng", two_colours())
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(CollectionError, match=r"is a camera's raw file: .*modalhash\[raw\]"):
        read_picture(path)
