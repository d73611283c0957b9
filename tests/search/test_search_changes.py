"""A search index changes on both sides or on none, also when a kill comes between."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import modalhash as mh
from modalhash.errors import FilterError, IndexLockedError, InputError, StorageError
from modalhash.files import exchange, sealed
from modalhash.index import ItemChange, open_index
from modalhash.index.embedded import EmbeddedIndex
from modalhash.search import ItemCounts, Side, SideContent, open_search_index
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
        assert index.delete(["x", "y#0"]) == ItemCounts(images=1, texts=3)
        assert ids_of(folder) == ([*images, "y"], texts)
        assert index.delete_where('caption == "y"') == ItemCounts(images=1, texts=0)
        assert ids_of(folder) == (images, texts)
        assert index.delete([images[0]]) == ItemCounts(images=1, texts=5)
        assert ids_of(folder) == (images[1:], texts[5:])
        with pytest.raises(InputError, match=re.escape(f"the index has no item {images[0]!r}: no")):
            index.delete([images[1], images[0]])
        assert index.delete([images[1], images[0]], missing="ignore") == ItemCounts(1, 5)
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
import json, os, shutil, sys
from pathlib import Path
import numpy as np
from PIL import Image
from modalhash.search import Side, SideContent, changing
from modalhash.search.pending_changes import finish_pending, writing
from modalhash.index import open_index
from tests.oracles.kill_steps import kill_at

whole, place, what = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]

class Parts:
    folder = place
    def __init__(self):
        self.sides = {side: open_index(place / side) for side in Side}

def die_at(step):
    # Every call that changes the folder is a step; the process is killed before or after one.
    watched = kill_at(step)
    for name in ("fsync", "fdatasync", "write", "replace", "unlink", "ftruncate"):
        setattr(os, name, watched(getattr(os, name)))
    Path.replace, Path.unlink = watched(Path.replace), watched(Path.unlink)

def content(ids, documents):
    return SideContent(ids, np.ones((len(ids), 2), np.uint8), documents)

def change(parts):
    if what == "delete":
        changing.delete_items(parts, ["old"])
        return
    changing.add_contents(parts, {
        Side.IMAGES: content(["old", "y"], [{"image": "pictures/new.png"}, {"n": 1}]),
        Side.TEXTS: content(["x#0", "y#0"], [{"item": "old"}, {"item": "y"}]),
    }, pictures=[("new.png", Image.new("RGB", (4, 4), "blue"))], upsert=True)

outcomes, step, finished = [], 0, False
while not finished:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(whole, place, ignore=shutil.ignore_patterns("model"))
    child = os.fork()
    if child == 0:
        parts = Parts()
        die_at(step)
        change(parts)
        os._exit(0)
    finished = os.waitpid(child, 0)[1] == 0
    parts = Parts()
    with writing(parts.sides):
        finish_pending(place, parts.sides)
    for index in parts.sides.values():
        index.close()
    assert not (place / "pending.json").exists(), step
    parts = Parts()
    pictures = [path.name for path in (place / "pictures").iterdir()]
    outcomes.append([
        parts.sides[Side.IMAGES].ids.tolist(),
        parts.sides[Side.TEXTS].ids.tolist(),
        sorted(name for name in pictures if not name.endswith(".part")),
    ])
    step += 1
print(json.dumps(outcomes))
"""


def state_of(folder: Path) -> list[list[str]]:
    """Return the ids of both sides, and the pictures that lie there."""
    return [*ids_of(folder), sorted(path.name for path in (folder / "pictures").iterdir())]


def folder_with_picture(folder: Path) -> None:
    """Add an item whose picture the index keeps."""
    with open_search_index(folder) as index:
        image = SideContent(["old"], np.zeros((1, 2), np.uint8), [{"image": "pictures/old.png"}])
        texts = content(["old#0", "old#1"], ["old", "old"])
        picture = Image.new("RGB", (4, 4), "red")
        index.add({Side.IMAGES: image, Side.TEXTS: texts}, pictures=[("old.png", picture)])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked child")
@pytest.mark.parametrize("what", ["upsert", "delete"])
def test_killed_at_any_step_a_change_of_both_sides_and_pictures_happens_or_not(
    what: str, folder: Path, tmp_path: Path
) -> None:
    images, texts, pictures = state_of(folder)
    folder_with_picture(folder)
    before = state_of(folder)
    assert before == [
        [*images, "old"],
        [*texts, "old#0", "old#1"],
        sorted([*pictures, "old.png"]),
    ]
    after = [images, texts, pictures]
    if what == "upsert":
        after = [[*images, "old", "y"], [*texts, "x#0", "y#0"], sorted([*pictures, "new.png"])]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder), str(tmp_path / "try"), what],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout)
    n_before = outcomes.count(before)
    assert outcomes == [before] * n_before + [after] * (len(outcomes) - n_before)
    assert n_before >= 10
    assert len(outcomes) - n_before >= 4


def test_a_full_disk_between_the_sides_changes_neither(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, texts = ids_of(folder)
    apply_changes = EmbeddedIndex.apply_changes

    def full(self: EmbeddedIndex, changes: Sequence[ItemChange]) -> None:
        if "#" in changes[0].ids[0]:
            raise StorageError("can't write: No space left on device")
        apply_changes(self, changes)

    new = {Side.IMAGES: content(["x"]), Side.TEXTS: content(["x#0"], ["x"])}
    with open_search_index(folder) as index, open_search_index(folder) as reader:
        monkeypatch.setattr(EmbeddedIndex, "apply_changes", full)
        with pytest.raises(StorageError, match=re.escape("No space left on device")):
            index.add(new)
        monkeypatch.undo()
        assert ids_of(folder) == (images, texts)
        assert len(index) == len(reader) == len(images) + len(texts)
        assert not (folder / "pending.json").exists()
        index.add({Side.IMAGES: content(["z"]), Side.TEXTS: content(["z#0"], ["z"])})
        assert reader.sides[Side.IMAGES].ids.tolist() == [*images, "z"]
        index.delete([images[0]])
    assert ids_of(folder) == ([*images[1:], "z"], [*texts[5:], "z#0"])


def test_a_pending_change_of_format_1_is_still_finished(folder: Path) -> None:
    """As the version before wrote it: images are changed already, texts not yet."""
    images, texts = ids_of(folder)
    code = base64.b64encode(bytes(2)).decode()
    with open_index(folder / "images") as side, open_index(folder / "texts") as other:
        versions = side.version, other.version
        side.add(["x"], np.zeros((1, 2), np.uint8), [{"n": 1}])
    add = {"operation": "add", "codes": code}
    document = {
        "format": 1,
        "changes": [
            {"side": "images", "version": versions[0], **add, "ids": ["x"], "metadata": [{"n": 1}]},
            {"side": "texts", "version": versions[1], **add, "ids": ["x#0"], "metadata": [{}]},
            {
                "side": "texts",
                "version": (versions[1] or 0) + 1,
                "operation": "delete",
                "ids": [texts[0]],
                "codes": None,
                "metadata": [],
            },
        ],
    }
    (folder / "pending.json").write_text(json.dumps(sealed(document)))
    open_search_index(folder).close()
    assert ids_of(folder) == ([*images, "x"], [*texts[1:], "x#0"])
    assert not (folder / "pending.json").exists()


def test_a_picture_is_never_overwritten(folder: Path) -> None:
    folder_with_picture(folder)
    path = folder / "pictures" / "old.png"
    before = path.read_bytes()
    with open_search_index(folder) as index:
        code = np.zeros((1, 2), np.uint8)
        images = SideContent(["old"], code, [{"image": "pictures/old.png"}])
        blue = Image.new("RGB", (4, 4), "blue")
        with pytest.raises(InputError, match=re.escape("picture 'old.png' has no place")):
            index.add({Side.IMAGES: images}, pictures=[("old.png", blue)], upsert=True)
        assert path.read_bytes() == before
        refused = SideContent(["old"], code, [{"image": "pictures/new.png", "bad": {1}}])
        with pytest.raises(InputError, match="can't be stored as JSON"):
            index.add({Side.IMAGES: refused}, pictures=[("new.png", blue)], upsert=True)
        assert path.read_bytes() == before
        assert not (folder / "pictures" / "new.png").exists()
        index.add({Side.IMAGES: images}, upsert=True)  # the same picture again
        assert path.read_bytes() == before
        index.add({Side.IMAGES: SideContent(["old"], code, [{}])}, upsert=True)
        assert not path.exists()
        (folder / "pictures" / "left.png").write_bytes(b"of an earlier version")
        index.compact()
        assert not (folder / "pictures" / "left.png").exists()


def test_metadata_never_make_a_delete_remove_another_file(folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim.png"
    names = ["../../victim.png", str(victim), "..", "../images/manifest.json", "a/../../b", "\0"]
    victim.write_text("precious")
    with open_search_index(folder) as index:
        rows = [{"image": f"pictures/{name}"} for name in names]
        ids = [f"evil {number}" for number in range(len(names))]
        index.add({Side.IMAGES: SideContent(ids, np.zeros((len(ids), 2), np.uint8), rows)})
        index.delete(ids)
        index.compact()
    assert victim.read_text() == "precious"
    with open_search_index(folder) as index:
        assert len(index.sides[Side.IMAGES]) == 60


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
    assert mh.add_to_index(folder, photos) == ItemCounts(images=2, texts=3)
    assert ids_of(folder)[0] == [*images, "a.jpg", "b.jpg"]
    with pytest.raises(InputError, match=re.escape("the index already has 'a.jpg', 'b.jpg'")):
        mh.add_to_index(folder, photos)
    with mh.open_index(folder) as index:
        assert mh.add_to_index(index, photos, upsert=True) == ItemCounts(2, 3)
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
