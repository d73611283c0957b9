"""find and sync, as typed."""

import json
import os
import re
import threading
import time
import webbrowser
from collections.abc import Iterator
from pathlib import Path

import pytest

import modalhash as mh
from modalhash.api import finding, syncing
from modalhash.cli import find_command
from modalhash.errors import InputError, LockedError
from modalhash.index.lock import ProcessLock
from modalhash.search import Side
from tests.oracles.command_line import CommandLine
from tests.oracles.official_layouts import draw

pytestmark = pytest.mark.usefixtures("tiny_encoder")
NAMES = ["a.jpg", "images/b.jpg", "summer 2024/c d.png", "summer 2024/été.jpg"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "My photos"
    for item, name in enumerate(NAMES):
        draw(folder / name, item)
    draw(folder / "@eaDir" / "a.jpg", 9)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODALHASH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def files_below(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_find_prints_paths_and_encodes_once(
    modalhash: CommandLine, photos: Path, scene_run: Path, cache: Path
) -> None:
    before = files_below(photos)
    first = modalhash("find", photos, "a", "red", "circle", "--model", scene_run)
    assert first.code == 0, first
    assert sorted(first.out.splitlines()) == sorted(str(photos / name) for name in NAMES)
    assert "encode pictures: 4 to do" in first.err
    assert f"{photos}: 4 added, 0 replaced, 0 removed, 0 unchanged" in first.err
    again = modalhash("find", photos, "a red circle", "--model", scene_run, "-k", "2")
    assert again.out.splitlines() == first.out.splitlines()[:2]
    assert "encode pictures" not in again.err
    assert "0 added, 0 replaced, 0 removed, 4 unchanged" in again.err
    assert files_below(photos) == before
    assert [path.name[:10] for path in (cache / "folders").iterdir() if path.is_dir()] == [
        "My-photos-"
    ]


def test_find_by_a_picture_as_json(
    modalhash: CommandLine, photos: Path, scene_run: Path, cache: Path
) -> None:
    picture = photos / NAMES[2]
    ended = modalhash("-q", "find", photos, "--image", picture, "--model", scene_run, "--json")
    assert ended.code == 0, ended
    document = json.loads(ended.out)
    assert document["target"] == "images"
    assert str(picture) in [hit["image"] for hit in document["hits"] if hit["distance"] == 0]
    assert "_file" not in ended.out


def test_find_follows_the_folder(
    modalhash: CommandLine, photos: Path, scene_run: Path, cache: Path
) -> None:
    find = ("find", photos, "circle", "--model", scene_run)
    modalhash(*find)
    draw(photos / "new.jpg", 20)
    (photos / NAMES[0]).unlink()
    ended = modalhash(*find)
    assert "1 added, 0 replaced, 1 removed, 3 unchanged" in ended.err
    expected = [*NAMES[1:], "new.jpg"]
    assert sorted(ended.out.splitlines()) == sorted(str(photos / name) for name in expected)


def test_a_damaged_index_in_the_cache_is_made_again(
    modalhash: CommandLine, photos: Path, scene_run: Path, cache: Path
) -> None:
    find = ("find", photos, "circle", "--model", scene_run)
    out = modalhash(*find).out
    (index,) = (path for path in (cache / "folders").iterdir() if path.is_dir())
    (index / "model" / "model.json").write_text("{")
    (index / "images" / "manifest.json").write_text("{")
    again = modalhash(*find)
    assert (again.code, again.out) == (0, out)
    assert "is damaged and is made again" in again.err


def test_bad_folders_are_refused_in_one_line(
    modalhash: CommandLine, scene_run: Path, cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    ended = modalhash("find", tmp_path / "empty", "x", "--model", scene_run)
    assert (ended.code, ended.out) == (1, "")
    assert f"modalhash: {tmp_path / 'empty'} holds no pictures and no videos, nor" in ended.err
    ended = modalhash("find", tmp_path / "nowhere", "x", "--model", scene_run)
    assert f"modalhash: there is no folder {tmp_path / 'nowhere'}" in ended.err
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.jpg").write_bytes(b"nothing")
    ended = modalhash("find", tmp_path / "bad", "x", "--model", scene_run)
    assert (ended.code, ended.out) == (1, "")
    assert f"none of the 1 pictures in {tmp_path / 'bad'} can be read" in ended.err
    assert modalhash("find", tmp_path, "--model", scene_run).code == 2


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (("--image", "none.jpg"), "none.jpg: there is no such picture"),
        (("words", "-k", "0"), "k is 0, expected at least 1"),
        (("words", "--where", "year >"), "the filter can't be understood"),
    ],
)
def test_a_query_is_checked_before_the_folder_is_encoded(
    modalhash: CommandLine, photos: Path, scene_run: Path, cache: Path,
    query: tuple[str, ...], message: str,
) -> None:  # fmt: skip
    ended = modalhash("find", photos, *query, "--model", scene_run, "--cache", cache)
    assert ended.code != 0
    assert message in ended.err
    assert not list(cache.rglob("*.index"))
    assert "added" not in ended.err


def test_a_find_without_hits_says_why(
    modalhash: CommandLine, photos: Path, scene_run: Path, cache: Path
) -> None:
    find = ("find", photos, "a ring", "--model", scene_run, "--cache", cache)
    ended = modalhash(*find, "--where", "image like 'nothing'")
    assert (ended.code, ended.out) == (0, "")
    assert "no picture passes the filter: choose a looser one" in ended.err


def test_another_process_makes_the_index(photos: Path, scene_run: Path, cache: Path) -> None:
    model = mh.load_model(scene_run)
    place = finding.index_place(photos.resolve(), model, None, file_metadata=True)
    place.parent.mkdir(parents=True)
    lock = ProcessLock(place.with_name(f"{place.name}.lock"), "busy")
    with pytest.raises(LockedError, match="is being brought up to date by process"):
        mh.find(photos, "circle", model=model)
    lock.release()
    assert len(mh.find(photos, "circle", model=model).hits) == 4
    draw(photos / "new.jpg", 20)
    lock = ProcessLock(place.with_name(f"{place.name}.lock"), "busy")
    assert len(mh.find(photos, "circle", model=model).hits) == 4
    lock.release()
    assert len(mh.find(photos, "circle", model=model).hits) == 5


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_cache_that_cannot_be_written(photos: Path, scene_run: Path, tmp_path: Path) -> None:
    (tmp_path / "readonly").mkdir(mode=0o500)
    with pytest.raises(OSError, match="name a folder that can be written"):
        mh.find(photos, "circle", model=scene_run, cache=tmp_path / "readonly" / "x")


def test_a_cache_that_is_a_file(photos: Path, scene_run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="name a folder that can be written with --cache"):
        mh.find(photos, "circle", model=scene_run, cache=tmp_path / "file")


def test_a_folder_that_vanishes_in_the_middle(
    photos: Path, scene_run: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mh.find(photos, "circle", model=scene_run)
    for item in range(4):
        draw(photos / f"new{item}.jpg", 30 + item)
    monkeypatch.setattr(syncing, "ENCODED_AT_ONCE", 2)
    encode = syncing.encode_part
    calls: list[int] = []

    def vanish(*arguments: object) -> None:
        calls.append(1)
        if len(calls) == 2:
            photos.rename(tmp_path / "gone")
        encode(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(syncing, "encode_part", vanish)
    with pytest.raises(InputError, match="vanished in the middle: what was encoded is kept"):
        mh.find(photos, "circle", model=scene_run)
    (tmp_path / "gone").rename(photos)
    monkeypatch.setattr(syncing, "encode_part", encode)
    with mh.open_folder_index(photos, model=scene_run) as index:
        assert len(index.sides[Side.IMAGES]) == 8


def test_the_page_is_opened_when_it_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        find_command.open_when_served("http://127.0.0.1/?q=a+dog", port)
    assert opened == ["http://127.0.0.1/?q=a+dog"]


def test_find_opens_the_page_of_its_index(
    modalhash: CommandLine,
    photos: Path,
    scene_run: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pages: list[tuple[str, str | None]] = []
    monkeypatch.setattr(find_command, "open_page", lambda *page: pages.append(page))
    ended = modalhash("find", photos, "a circle", "--model", scene_run, "--open")
    assert (ended.code, ended.out) == (0, "")
    ((index, text),) = pages
    assert text == "a circle"
    with mh.open_index(index) as opened:
        assert len(opened) == 4


def test_sync_says_what_changed(
    modalhash: CommandLine, photos: Path, scene_run: Path, cache: Path, tmp_path: Path
) -> None:
    index = tmp_path / "index"
    assert modalhash("index", scene_run, photos, "-o", index, "--no-calibrate").code == 0
    first = modalhash("sync", index, photos)
    assert first.out == f"{index}: 0 added, 0 replaced, 0 removed, 4 unchanged\n"
    draw(photos / "new.jpg", 20)
    dry = modalhash("sync", index, photos, "--dry-run")
    assert dry.out == f"{index}: would be 1 added, 0 replaced, 0 removed, 4 unchanged\n"
    done = modalhash("sync", index, photos, "--json")
    assert json.loads(done.out) == {
        "format": 1, "dry_run": False, "added": 1, "replaced": 0, "removed": 0, "unchanged": 4,
        "unreadable": 0, "elsewhere": 0, "missing": 0,
    }  # fmt: skip
    for name in NAMES:
        (photos / name).unlink()
    refused = modalhash("sync", index, photos)
    assert (refused.code, refused.out) == (1, "")
    assert re.search("4 of the index's 5 items are gone from .*--yes", refused.err)
    assert modalhash("sync", index, photos, "--yes").out.endswith("4 removed, 1 unchanged\n")
    assert modalhash("sync", index, photos, "--watch", "--dry-run").code == 2


def test_watching_syncs_again_after_a_change(photos: Path) -> None:
    def change() -> None:
        time.sleep(1)
        draw(photos / "new.jpg", 20)

    threading.Thread(target=change).start()
    changes: Iterator[None] = syncing.watch_folder(photos, seconds=0.1)
    assert next(changes) is None
    assert (photos / "new.jpg").exists()
    changes.close()  # type: ignore[attr-defined]


def test_a_search_names_pictures_where_they_lie_now(
    modalhash: CommandLine, photos: Path, scene_run: Path, cache: Path, tmp_path: Path
) -> None:
    index, moved = tmp_path / "index", tmp_path / "moved"
    assert modalhash("index", scene_run, photos, "-o", index, "--no-calibrate").code == 0
    photos.rename(moved)
    search = ("-q", "search", index, "--text", "circle", "--json", "--pictures")
    hits = json.loads(modalhash(*search, moved).out)["hits"]
    assert sorted(hit["image"] for hit in hits) == sorted(str(moved / name) for name in NAMES)
    refused = modalhash(*search, photos)
    assert (refused.code, refused.out) == (1, "")
    assert f"there is no folder {photos}: name where the pictures lie now" in refused.err
