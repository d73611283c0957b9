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
    look = modalhash("delete", folder, "--where", where, "--dry-run")
    assert look.out == f"1 item (1 picture, 2 texts) would be removed from {folder}\n"
    delete = modalhash("delete", folder, "--where", where)
    assert (delete.code, delete.out) == (0, look.out.replace("would be removed", "removed"))
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


def test_more_than_half_is_removed_only_with_a_yes(modalhash: CommandLine, folder: Path) -> None:
    everything = ("delete", folder, "--where", "n_objects > 0")
    refused = modalhash(*everything)
    assert (refused.code, refused.out) == (1, "")
    assert "60 items (60 pictures, 300 texts) are 100% of the index: nothing was" in refused.err
    look = modalhash(*everything, "--dry-run")
    assert (look.code, look.out) == (
        0, f"60 items (60 pictures, 300 texts) would be removed from {folder}\n",
    )  # fmt: skip
    assert modalhash("compact", folder).out == f"60 images and 300 texts in {folder}\n"
    done = modalhash(*everything, "--yes")
    assert done.out == f"60 items (60 pictures, 300 texts) removed from {folder}\n"
    assert modalhash("compact", folder).out == f"0 images and 0 texts in {folder}\n"


def test_a_delete_of_nothing_says_so(modalhash: CommandLine, folder: Path) -> None:
    done = modalhash("delete", folder, "--where", "n_objects == 99")
    assert (done.code, done.out) == (0, f"0 items removed from {folder}\n")


def test_a_search_without_hits_says_why(modalhash: CommandLine, folder: Path) -> None:
    search = modalhash("search", folder, "--text", "a ring", "--where", "n_objects == 99")
    assert (search.code, search.out) == (
        0,
        (
            "images for text 'a ring', asymmetric: none\n"
            "no item passes --where n_objects == 99: choose a looser limit\n"
        ),
    )
    search = modalhash("search", folder, "--text", "a ring", "--where", 'labels == "red ring"')
    assert search.out.endswith('none\nlabels holds lists: write "red ring" in labels\n')
    modalhash("delete", folder, "--where", "n_objects > 0", "--yes")
    search = modalhash("search", folder, "--text", "a ring")
    assert "the searched side of this index has no items" in search.out


@pytest.mark.parametrize("test", ["n_object > 2", "n_object != 2", "not (n_object == 2)"])
def test_a_field_that_no_item_has_is_an_error_with_the_nearest_name(
    modalhash: CommandLine, folder: Path, test: str
) -> None:
    place = test.index("n_object")
    for arguments in (("search", folder, "--text", "a"), ("delete", folder)):
        ended = modalhash(*arguments, "--where", test)
        assert (ended.code, ended.out) == (1, "")
        assert ended.err.splitlines()[-3:] == [
            (
                f"modalhash: the filter can't be understood at character {place + 1}: no item has "
                "a field 'n_object': did you mean n_objects?"
            ),
            f"  {test}",
            f"  {' ' * place}^",
        ]
    assert modalhash("compact", folder).out == f"60 images and 300 texts in {folder}\n"


def test_fields_of_every_index_and_of_mappings_are_known(
    modalhash: CommandLine, folder: Path
) -> None:
    import modalhash as mh
    from modalhash.search import NewItem, NewText, contents_of_items

    with mh.open_index(folder) as index:
        item = NewItem("x", texts=[NewText("x#0", "a dog")], metadata={"camera": {"maker": "L"}})
        contents, pictures = contents_of_items(index, [item])
        index.add(contents, pictures=pictures)
    search = ("search", folder, "--text", "a dog", "--target", "texts", "--where")
    for known in ("image is null", 'camera.maker == "L"', 'camera.maker == "N"', 'item == "q"'):
        assert modalhash(*search, known).code == 0
    wrong = modalhash(*search, 'camera.make == "L"')
    assert "no item has a field 'camera.make': did you mean camera.maker?" in wrong.err
