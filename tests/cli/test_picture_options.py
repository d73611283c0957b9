"""Options for pictures as people have them, as typed."""

import os
from pathlib import Path

import pytest
from PIL import Image

from tests.oracles.command_line import CommandLine
from tests.oracles.official_layouts import draw

pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    draw(tmp_path / "photos" / "a.jpg", 0)
    return tmp_path / "photos"


def test_larger_pictures_are_read_by_an_option(
    modalhash: CommandLine, photos: Path, scene_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    monkeypatch.delenv("MODALHASH_MAX_MEGAPIXELS", raising=False)
    refused = modalhash("data", "check", photos)
    assert refused.code == 1
    assert "or set MODALHASH_MAX_MEGAPIXELS=1 (--largest-picture)" in refused.out
    assert modalhash("data", "check", photos, "--largest-picture", "0.5").code == 0
    assert "MODALHASH_MAX_MEGAPIXELS" not in os.environ
    monkeypatch.setenv("MODALHASH_MAX_MEGAPIXELS", "0.0001")
    arguments = ("find", photos, "circle", "--model", scene_run)
    assert modalhash(*arguments).code == 1
    assert modalhash(*arguments, "--largest-picture", "1").out == f"{photos / 'a.jpg'}\n"
    assert os.environ["MODALHASH_MAX_MEGAPIXELS"] == "0.0001"


@pytest.mark.parametrize("number", ["0", "-1", "large", "nan"])
def test_what_is_no_number_of_megapixels(modalhash: CommandLine, photos: Path, number: str) -> None:
    ended = modalhash("data", "check", photos, "--largest-picture", number)
    assert ended.code == 2
    assert "--largest-picture" in ended.err


def test_a_filter_is_read_before_anything_is_encoded(
    modalhash: CommandLine, photos: Path, scene_run: Path
) -> None:
    ended = modalhash("find", photos, "x", "--model", scene_run, "--where", "taken >= 2021-7")
    assert (ended.code, ended.out) == (1, "")
    assert "2021-7 is no date: write YYYY, YYYY-MM, YYYY-MM-DD or" in ended.err
    assert "encode pictures" not in ended.err


def test_find_without_what_files_say(modalhash: CommandLine, photos: Path, scene_run: Path) -> None:
    exif = Image.Exif()
    exif[0x0110] = "D90"
    with Image.open(photos / "a.jpg") as picture:
        picture.load()
        picture.save(photos / "a.jpg", exif=exif)
    arguments = ("find", photos, "circle", "--model", scene_run, "--where", "camera = 'D90'")
    assert modalhash(*arguments).out == f"{photos / 'a.jpg'}\n"
    without = modalhash(*arguments, "--no-file-metadata")
    assert (without.code, without.out) == (1, "")
    assert "no item has a field 'camera'" in without.err
