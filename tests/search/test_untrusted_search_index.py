"""A search index from somebody else changes nothing but itself."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from modalhash.bridges.contents import open_source
from modalhash.errors import DamagedArtifactError, ModalhashError
from modalhash.files import sealed
from modalhash.search import open_search_index
from modalhash.search.repairing import repair_search_index, verify_search_index

pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")


@pytest.fixture
def folder(scene_index: Path, tmp_path: Path) -> Path:
    shutil.copytree(scene_index, tmp_path / "copy")
    return tmp_path / "copy"


def test_pictures_behind_a_link_are_never_removed(folder: Path, tmp_path: Path) -> None:
    album = tmp_path / "album"
    shutil.move(folder / "pictures", album)
    Image.new("RGB", (8, 8)).save(album / "holiday.png")
    (folder / "pictures").symlink_to(album)
    before = sorted(album.iterdir())
    message = re.escape(
        f"{folder.resolve() / 'pictures'} is damaged: it is a link, which no file of ours is"
    )
    with open_search_index(folder) as index:
        with pytest.raises(DamagedArtifactError, match=f"^{message}$"):
            index.compact()
        with pytest.raises(DamagedArtifactError, match=f"^{message}$"):
            index.delete(["scene-0-0000000"])
    assert sorted(album.iterdir()) == before


@pytest.mark.parametrize("side", ["images", "texts"])
def test_a_side_that_is_a_link_is_not_opened(folder: Path, tmp_path: Path, side: str) -> None:
    shutil.move(folder / side, tmp_path / "other")
    (folder / side).symlink_to(tmp_path / "other")
    with pytest.raises(DamagedArtifactError, match=r"it is a link, which no file of ours is$"):
        open_search_index(folder)
    with pytest.raises(DamagedArtifactError, match=r"it is a link, which no file of ours is$"):
        open_source(folder, side)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "other").rglob("*")}
    for work in (verify_search_index, repair_search_index):
        with pytest.raises(DamagedArtifactError, match=r"it is a link, which no file of ours is$"):
            work(folder)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "other").rglob("*")}


def rewrite(path: Path, **entries: Any) -> None:
    document = json.loads(path.read_text())
    path.write_text(json.dumps(sealed(document | entries)))


@pytest.mark.parametrize("sides", [["../other"], ["/etc"], [".."], [1], [[]], [None], []])
def test_a_side_elsewhere_is_not_opened(folder: Path, sides: list[Any]) -> None:
    shutil.copytree(folder / "images", folder.parent / "other")
    rewrite(folder / "manifest.json", sides=sides)
    with pytest.raises(DamagedArtifactError, match=r"its manifest\.json is of another sort"):
        open_search_index(folder)
    with pytest.raises(ModalhashError):
        open_source(folder, None)
