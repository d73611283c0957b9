"""An index that is brought up to date with its folder: only what changed is encoded."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import modalhash as mh
from modalhash.api import indexing, syncing
from modalhash.api.syncing import SyncCounts
from modalhash.errors import CollectionError, IndexLockedError, InputError
from modalhash.progress import Progress
from modalhash.search import SearchIndex, Side
from modalhash.search.file_records import FolderItems
from tests.oracles.official_layouts import draw
from tests.oracles.photo_folder import write_folder

pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")
NAMES = [f"20{year}/{name}.jpg" for year in (23, 24) for name in "abcde"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for item, name in enumerate(NAMES):
        draw(folder / name, item)
    return folder


@pytest.fixture
def index(photos: Path, scene_run: Path, tmp_path: Path) -> Path:
    mh.build_index(scene_run, photos, output=tmp_path / "index", calibrate=False).close()
    mh.sync(tmp_path / "index", photos)
    return tmp_path / "index"


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the items that are encoded."""
    ids: list[str] = []
    encode = syncing.encode_part

    def spy(index: SearchIndex, items: FolderItems, places: list[int], progress: Progress) -> None:
        encode(index, items, places, progress)
        ids.extend(items.collection.item_ids[place] for place in places)

    monkeypatch.setattr(syncing, "encode_part", spy)
    return ids


def contents(folder: Path) -> dict[str, tuple[bytes, str]]:
    """Code and picture of each item."""
    with mh.open_index(folder) as index:
        images = index.sides[Side.IMAGES]
        ids = images.ids.tolist()
        rows = images.metadata(ids)
        codes = images.reconstruct(ids)
    return {
        identity: (code.tobytes(), row["image"])
        for identity, code, row in zip(ids, codes, rows, strict=True)
    }


def test_only_what_changed_is_encoded(index: Path, photos: Path, encoded: list[str]) -> None:
    before = contents(index)
    assert mh.sync(index, photos) == SyncCounts(0, 0, 0, 10)
    draw(photos / "2025" / "new.jpg", 40)
    draw(photos / NAMES[3], 41)
    (photos / NAMES[0]).unlink()
    dry = mh.sync(index, photos, dry_run=True)
    assert contents(index) == before
    assert dry == SyncCounts(1, 1, 1, 8)
    assert encoded == []
    assert mh.sync(index, photos) == dry
    assert sorted(encoded) == [NAMES[3], "2025/new.jpg"]
    after = contents(index)
    assert set(after) == {*NAMES[1:], "2025/new.jpg"}
    assert {name for name in NAMES[1:] if after[name] != before[name]} <= {NAMES[3]}
    assert mh.sync(index, photos) == SyncCounts(0, 0, 0, 10)


def test_a_synced_index_equals_one_made_anew(
    index: Path, photos: Path, scene_run: Path, tmp_path: Path
) -> None:
    draw(photos / NAMES[3], 41)
    draw(photos / "new.png", 42)
    (photos / NAMES[7]).unlink()
    mh.sync(index, photos)
    mh.build_index(scene_run, photos, output=tmp_path / "anew", calibrate=False).close()
    assert contents(index) == contents(tmp_path / "anew")


def test_a_touched_file_is_not_encoded(index: Path, photos: Path, encoded: list[str]) -> None:
    os.utime(photos / NAMES[0], (1, 1))
    assert mh.sync(index, photos) == SyncCounts(0, 0, 0, 10)
    assert encoded == []
    assert mh.sync(index, photos) == SyncCounts(0, 0, 0, 10)


def test_a_change_that_keeps_size_and_time_is_seen(index: Path, photos: Path) -> None:
    path = photos / NAMES[0]
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert mh.sync(index, photos).replaced == 1


def test_a_moved_folder_keeps_its_codes(
    index: Path, photos: Path, encoded: list[str], tmp_path: Path
) -> None:
    before = contents(index)
    moved = tmp_path / "elsewhere"
    photos.rename(moved)
    (moved / NAMES[0]).unlink()
    assert mh.sync(index, moved) == SyncCounts(0, 0, 1, 9)
    assert encoded == []
    expected = {name: (before[name][0], str(moved / name)) for name in NAMES[1:]}
    assert contents(index) == expected


def test_the_first_sync_encodes_only_what_changed_since_the_index_was_made(
    photos: Path, scene_run: Path, tmp_path: Path, encoded: list[str]
) -> None:
    mh.build_index(scene_run, photos, output=tmp_path / "new", calibrate=False).close()
    assert mh.sync(tmp_path / "new", photos) == SyncCounts(0, 0, 0, 10)
    draw(photos / NAMES[3], 77)
    draw(photos / "more.jpg", 78)
    assert mh.sync(tmp_path / "new", photos) == SyncCounts(1, 1, 0, 9)
    assert sorted(encoded) == sorted([NAMES[3], "more.jpg"])


def test_an_index_made_earlier_is_encoded_once(
    photos: Path,
    scene_run: Path,
    tmp_path: Path,
    encoded: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(indexing, "record_files", lambda collection, items: [{} for _ in items])
        mh.build_index(scene_run, photos, output=tmp_path / "old", calibrate=False).close()
    before = contents(tmp_path / "old")
    assert mh.sync(tmp_path / "old", photos) == SyncCounts(0, 10, 0, 0)
    assert contents(tmp_path / "old") == before
    encoded.clear()
    assert mh.sync(tmp_path / "old", photos) == SyncCounts(0, 0, 0, 10)
    assert encoded == []


def test_texts_follow_their_table(scene_run: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "captioned")
    mh.build_index(scene_run, folder, output=tmp_path / "index", calibrate=False).close()
    mh.sync(tmp_path / "index", folder)
    assert mh.sync(tmp_path / "index", folder) == SyncCounts(0, 0, 0, 2)
    table = folder / "captions.tsv"
    (folder / "images" / "b.jpg").rename(tmp_path / "b.jpg")
    for dry_run in (True, False):
        counts = mh.sync(tmp_path / "index", folder, dry_run=dry_run)
        assert counts == SyncCounts(0, 0, 0, 2, missing=1)
    assert str(counts) == (
        "0 added, 0 replaced, 0 removed, 2 unchanged; of the unchanged, 1 lost the picture, but a "
        "table of the folder still names it: delete its rows there, and the next sync removes the "
        "item"
    )
    (tmp_path / "b.jpg").rename(folder / "images" / "b.jpg")
    lines = table.read_text().splitlines()
    changed = [line for line in lines if not line.startswith("b.jpg")]
    first = next(place for place, line in enumerate(changed) if line.startswith("a.jpg"))
    changed[first] = changed[first].replace("a.jpg\t", "a.jpg\tquite ")
    table.write_text("\n".join(changed) + "\n")
    (folder / "images" / "b.jpg").unlink()
    assert mh.sync(tmp_path / "index", folder) == SyncCounts(0, 1, 1, 0)
    with mh.open_index(tmp_path / "index") as index:
        texts = index.sides[Side.TEXTS]
        captions = [row["caption"] for row in texts.metadata(texts.ids.tolist())]
    assert len(captions) == sum(line.startswith("a.jpg") for line in changed)
    assert sum(caption.startswith("quite ") for caption in captions) == 1


def test_after_a_kill_the_next_sync_does_the_rest(
    index: Path, photos: Path, encoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for item in range(5):
        draw(photos / f"new{item}.jpg", 50 + item)
    monkeypatch.setattr(syncing, "ENCODED_AT_ONCE", 2)
    add = SearchIndex.add
    calls = []

    def fail_at_third(self: SearchIndex, *arguments: object, **options: object) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        add(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(SearchIndex, "add", fail_at_third)
    with pytest.raises(KeyboardInterrupt):
        mh.sync(index, photos)
    encoded.clear()
    assert mh.sync(index, photos) == SyncCounts(1, 0, 0, 14)
    assert encoded == ["new4.jpg"]


def test_unreadable_pictures_are_left_out_and_old_ones_stay(
    index: Path, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = contents(index)
    (photos / NAMES[0]).write_bytes(b"no picture")
    (photos / "bad.jpg").write_bytes(b"")
    draw(photos / "good.jpg", 60)
    counts = mh.sync(index, photos)
    assert counts == SyncCounts(1, 0, 0, 9, unreadable=2)
    assert str(counts) == "1 added, 0 replaced, 0 removed, 9 unchanged, 2 unreadable"
    assert contents(index)[NAMES[0]] == before[NAMES[0]]
    assert "left out: " in caplog.text
    assert "bad.jpg" in caplog.text


def test_nothing_is_removed_where_a_folder_is_gone_or_empty(index: Path, photos: Path) -> None:
    before = contents(index)
    keep = photos / "keep.jpg"
    shutil.rmtree(photos)
    draw(keep, 70)
    with pytest.raises(InputError, match=re.escape("10 of the index's 10 items are gone")):
        mh.sync(index, photos)
    keep.unlink()
    with pytest.raises(CollectionError, match="no captions file"):
        mh.sync(index, photos)
    photos.rmdir()
    with pytest.raises(InputError, match="there is no folder"):
        mh.sync(index, photos)
    assert contents(index) == before


def test_more_than_half_is_removed_when_confirmed(index: Path, photos: Path) -> None:
    for name in NAMES[:6]:
        (photos / name).unlink()
    with pytest.raises(InputError, match="nothing was changed"):
        mh.sync(index, photos)
    assert mh.sync(index, photos, confirmed=True) == SyncCounts(0, 0, 6, 4)


def test_items_of_other_folders_are_left_alone(index: Path, photos: Path, tmp_path: Path) -> None:
    draw(tmp_path / "other" / "x.jpg", 80)
    mh.add_to_index(index, tmp_path / "other")
    assert mh.sync(index, photos) == SyncCounts(0, 0, 0, 10, elsewhere=1)
    assert "x.jpg" in contents(index)
    draw(photos / "x.jpg", 81)
    draw(photos / "y.jpg", 81)
    with pytest.raises(InputError, match=re.escape("the index has an item 'x.jpg' whose picture")):
        mh.sync(index, photos)


def test_a_part_of_the_folder_is_refused(index: Path, photos: Path) -> None:
    with pytest.raises(InputError, match="is only a part of it: name the whole folder"):
        mh.sync(index, photos / "2023")


def test_two_syncs_at_once_are_refused(index: Path, photos: Path) -> None:
    with (
        mh.open_index(index) as first,
        first.sides[Side.IMAGES].writing(),
        pytest.raises(IndexLockedError, match="is being changed by"),
    ):
        mh.sync(index, photos)


def test_links_in_a_circle_and_broken_names(index: Path, photos: Path) -> None:
    (photos / "2023" / "loop").symlink_to(photos)
    broken = os.fsencode(photos) + b"/caf\xe9.jpg"
    Path(os.fsdecode(broken)).write_bytes((photos / NAMES[0]).read_bytes())
    counts = mh.sync(index, photos)
    assert counts == SyncCounts(0, 0, 0, 10)


def test_codes_are_those_of_the_whole_collection(
    index: Path, photos: Path, scene_run: Path, tmp_path: Path
) -> None:
    mh.encode(scene_run, photos, tmp_path / "codes")
    codes = np.load(tmp_path / "codes" / "image_codes.npy")
    stored = contents(index)
    assert [stored[name][0] for name in NAMES] == [code.tobytes() for code in codes]
