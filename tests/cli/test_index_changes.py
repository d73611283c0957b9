"""add, delete, compact and search --where, as typed."""

import shutil
from pathlib import Path

import pytest

from tests.oracles.command_line import CommandLine
from tests.oracles.photo_folder import write_folder

pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")


@pytest.fixture
def folder(scene_index: Path, tmp_path: Path) -> Path:
    shutil.copytree(scene_index, tmp_path / "copy")
    return tmp_path / "copy"


def test_an_index_is_changed_by_commands(
    modalhash: CommandLine, folder: Path, tmp_path: Path
) -> None:
    photos = write_folder(tmp_path / "photos")
    add = modalhash("add", folder, photos)
    assert (add.code, add.out) == (0, f"2 images and 3 texts added to {folder}\n")
    again = modalhash("add", folder, photos)
    assert (again.code, again.out) == (1, "")
    assert "the index already has 'a.jpg', 'b.jpg': nothing was added" in again.err
    assert modalhash("add", folder, photos, "--upsert").code == 0
    where = "image like '%a.jpg'"
    search = modalhash("search", folder, "--text", "a circle", "--where", where)
    assert (search.code, search.out.count(".jpg")) == (0, 1)
    delete = modalhash("delete", folder, "--where", where)
    assert delete.code == 0
    assert delete.out.endswith(f" codes removed from {folder}\n")
    missing = modalhash("delete", folder, "b.jpg", "nobody")
    assert missing.code == 1
    assert "the index has no item 'nobody': nothing was deleted" in missing.err
    assert modalhash("delete", folder, "b.jpg", "nobody", "--ignore-missing").code == 0
    compact = modalhash("compact", folder)
    assert (compact.code, compact.out) == (0, f"60 images and 300 texts in {folder}\n")


def test_the_place_in_a_filter_is_marked(modalhash: CommandLine, folder: Path) -> None:
    search = modalhash("search", folder, "--text", "x", "--where", "year >> 3")
    assert search.code == 1
    assert search.err.splitlines()[-3:] == [
        (
            "modalhash: the filter can't be understood at character 7: expected a value: a "
            "number, \"text\", true or false, not '>'"
        ),
        "  year >> 3",
        "        ^",
    ]


def test_delete_takes_ids_or_a_filter(modalhash: CommandLine, folder: Path) -> None:
    for arguments in ((), ("x", "--where", "a == 1")):
        wrong = modalhash("delete", folder, *arguments)
        assert wrong.code == 2
        assert "Give either IDs or --where." in wrong.err
