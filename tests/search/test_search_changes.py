"""A search index changes on both sides or on none, also when a kill comes between."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import modalhash as mh
from modalhash.errors import FilterError, IndexLockedError, InputError, StorageError
from modalhash.files import exchange, sealed
from modalhash.index import open_index
from modalhash.index.embedded import EmbeddedIndex
from modalhash.search import Side, SideContent, open_search_index
from tests.oracles.photo_folder import write_folder

pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")


@pytest.fixture
def folder(scene_index: Path, tmp_path: Path) -> Path:
    """A copy of the index that may be changed."""
    shutil.copytree(scene_index, tmp_path / "copy")
    return tmp_path / "copy"


def content(ids: Sequence[str], items: Sequence[str] | None = None) -> SideContent:
    generator = np.random.default_rng(len(ids))
    codes = generator.integers(0, 16, (len(ids), 2), dtype=np.uint8)
    entries = [{"caption": one, "image": None} for one in ids]
    if items is not None:
        entries = [{**one, "item": item} for one, item in zip(entries, items, strict=True)]
    return SideContent(ids, codes, entries)


def ids_of(folder: Path) -> tuple[list[str], list[str]]:
    with open_index(folder / "images") as images, open_index(folder / "texts") as texts:
        return images.ids.tolist(), texts.ids.tolist()


def test_items_are_added_replaced_and_deleted_on_both_sides(folder: Path) -> None:
    images, texts = ids_of(folder)
    with open_search_index(folder) as index:
        index.add(
            {
                Side.IMAGES: content(["x", "y"]),
                Side.TEXTS: content(["x#0", "x#1", "y#0"], ["x", "x", "y"]),
            }
        )
        assert ids_of(folder) == ([*images, "x", "y"], [*texts, "x#0", "x#1", "y#0"])
        index.add(
            {Side.IMAGES: content(["x"]), Side.TEXTS: content(["x#0", "x#2"], ["x", "x"])},
            upsert=True,
        )
        assert ids_of(folder) == ([*images, "y", "x"], [*texts, "y#0", "x#0", "x#2"])
        assert index.delete(["x", "y#0"]) == 4
        assert ids_of(folder) == ([*images, "y"], texts)
        assert index.delete_where('caption == "y"') == 1
        assert ids_of(folder) == (images, texts)
        assert index.delete([images[0]]) == 6
        assert ids_of(folder) == (images[1:], texts[5:])
        with pytest.raises(InputError, match=re.escape(f"the index has no item {images[0]!r}: no")):
            index.delete([images[1], images[0]])
        assert index.delete([images[1], images[0]], missing="ignore") == 6
        index.compact()
        assert ids_of(folder) == (images[2:], texts[10:])
    assert not (folder / "pending.json").exists()


def test_pictures_of_deleted_items_are_deleted(folder: Path) -> None:
    before = len(list((folder / "pictures").iterdir()))
    with open_search_index(folder) as index:
        hit = index.search(text="a circle", k=1).hits[0]
        assert Path(str(hit.image)).is_file()
        index.delete([str(hit.id)])
        assert not Path(str(hit.image)).exists()
    assert len(list((folder / "pictures").iterdir())) == before - 1


def test_what_cannot_be_added_changes_neither_side(folder: Path) -> None:
    before = ids_of(folder)
    with open_search_index(folder) as index:
        new = content(["x"])
        for texts, message in (
            (content(["x#0", "x#0"]), "ids holds 'x#0' more than once: nothing was added"),
            (
                content(["x#0", before[1][0]]),
                (
                    f"the index already has {before[1][0]!r}: nothing was added; take their place "
                    "with upsert (on the command line --upsert), or leave them out"
                ),
            ),
        ):
            with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
                index.add({Side.IMAGES: new, Side.TEXTS: texts})
            assert ids_of(folder) == before
        for codes, entry, message in (
            (np.zeros((1, 9), np.uint8), {}, "codes has 9 bytes per row"),
            (np.zeros((1, 2), np.uint8), {"x": {1}}, "can't be stored as JSON"),
        ):
            with pytest.raises(InputError, match=re.escape(message)):
                index.add({Side.IMAGES: new, Side.TEXTS: SideContent(["x#0"], codes, [entry])})
            assert ids_of(folder) == before
        assert not (folder / "pending.json").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from modalhash.search import pending_changes
from modalhash.search.pending_changes import SideChange, change_sides, finish_pending, writing
from modalhash.index import open_index

folder, step = Path(sys.argv[1]), int(sys.argv[2])
sides = {name: open_index(folder / name) for name in ("images", "texts")}
count = 0

def watched(call):
    def run(*arguments, **named):
        global count
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **named)
    return run

with writing(sides):
    finish_pending(folder, sides)
    for name in ("fsync", "fdatasync", "write", "replace", "unlink"):
        setattr(os, name, watched(getattr(os, name)))
    Path.replace, Path.unlink = watched(Path.replace), watched(Path.unlink)
    codes = np.zeros((2, 2), np.uint8)
    change_sides(folder, sides, [
        ("images", SideChange("add", ["x", "y"], codes, [{"n": 1}, {}])),
        ("texts", SideChange("delete", [sides["texts"].ids[0]])),
        ("texts", SideChange("upsert", ["x#0", "y#0"], codes, [{"item": "x"}, {"item": "y"}])),
    ])
print(count)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is of POSIX")
def test_killed_at_any_step_the_next_to_open_finishes_the_change(
    folder: Path, tmp_path: Path
) -> None:
    images, texts = ids_of(folder)
    after = ([*images, "x", "y"], [*texts[1:], "x#0", "y#0"])
    outcomes, step = [], 0
    while True:
        step += 1
        shutil.rmtree(tmp_path / "try", ignore_errors=True)
        shutil.copytree(folder, tmp_path / "try")
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(tmp_path / "try"), str(step)],
            capture_output=True,
            text=True,
            check=False,
        )
        open_search_index(tmp_path / "try").close()
        found = ids_of(tmp_path / "try")
        assert found in ((images, texts), after), step
        assert not (tmp_path / "try" / "pending.json").exists()
        outcomes.append(found == after)
        if done.returncode == 0:
            break
        assert done.returncode == -9, done.stderr
    assert outcomes == sorted(outcomes)
    assert outcomes.count(False) >= 2
    assert outcomes.count(True) >= 5


def test_a_full_disk_between_the_sides_is_finished_later(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, texts = ids_of(folder)
    add = EmbeddedIndex.add

    def full(self: EmbeddedIndex, ids: list[str], *rest: object) -> None:
        if "#" in ids[0]:
            raise StorageError("can't write: No space left on device")
        add(self, ids, *rest)  # type: ignore[arg-type]

    new = {Side.IMAGES: content(["x"]), Side.TEXTS: content(["x#0"], ["x"])}
    monkeypatch.setattr(EmbeddedIndex, "add", full)
    with open_search_index(folder) as index:
        with pytest.raises(StorageError, match=re.escape("No space left on device")):
            index.add(new)
        monkeypatch.undo()
        assert ids_of(folder) == ([*images, "x"], texts)
        index.delete([images[0]])
    assert ids_of(folder) == ([*images[1:], "x"], [*texts[5:], "x#0"])


def test_a_change_that_is_under_way_elsewhere_is_left_alone(folder: Path) -> None:
    document = {"format": 1, "changes": []}
    (folder / "pending.json").write_text(json.dumps(sealed(document)))
    with open_index(folder / "images") as images, images.writing():
        with open_search_index(folder) as index:
            assert len(index) == 360
            with pytest.raises(IndexLockedError):
                index.delete(["x"], missing="ignore")
        assert (folder / "pending.json").exists()
    open_search_index(folder).close()
    assert not (folder / "pending.json").exists()


def test_filters_are_checked_before_a_query_is_encoded(folder: Path) -> None:
    with open_search_index(folder) as index:
        ids = {hit.id for hit in index.search(text="a circle", k=60).hits}
        some = sorted(map(str, ids))[:2]
        where = "caption is not null and image like '%/%'"
        assert len(index.search(text="a circle", k=60, where=where).hits) == 60
        texts = index.search(text="a", k=99, target="texts", where=f'item == "{some[0]}"').hits
        assert len(texts) == 5
        with pytest.raises(FilterError, match=re.escape("at character 7: expected a value")):
            index.search(text="a circle", where="item =")


def test_a_collection_is_added_by_the_verb(folder: Path, tmp_path: Path) -> None:
    photos = write_folder(tmp_path / "photos")
    images, _ = ids_of(folder)
    assert mh.add_to_index(folder, photos) == (2, 3)
    assert ids_of(folder)[0] == [*images, "a.jpg", "b.jpg"]
    with pytest.raises(InputError, match=re.escape("the index already has 'a.jpg', 'b.jpg'")):
        mh.add_to_index(folder, photos)
    with mh.open_index(folder) as index:
        assert mh.add_to_index(index, photos, upsert=True) == (2, 3)
        assert len(index) == 365
        hit = index.search(text="a circle", k=62, where='image like "%a.jpg"').hits[0]
        assert hit.image == str(photos / "images" / "a.jpg")


def test_folders_change_places_with_and_without_the_systems_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for path in (one, other):
        path.mkdir()
        (path / "name").write_text(path.name)
    exchange(one, other)
    assert ((one / "name").read_text(), (other / "name").read_text()) == ("other", "one")
    monkeypatch.setattr("modalhash.files.swap", lambda path, other: False)
    exchange(one, other)
    assert ((one / "name").read_text(), (other / "name").read_text()) == ("one", "other")
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "missing", other)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["one", "other"]
