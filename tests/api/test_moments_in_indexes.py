"""Moments of videos through find, index, add, sync, search and delete."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modalhash as mh
from modalhash.api import syncing
from modalhash.api.syncing import SyncCounts
from modalhash.errors import UnknownNameError
from modalhash.search import SearchIndex, Side
from tests.oracles.command_line import CommandLine
from tests.oracles.drawn_videos import draw_scenes, write_scenes

pytest.importorskip("av")
pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")

A = ["a.mp4", "a.mp4#t=0,3", "a.mp4#t=3,7"]
B = ["sub/a.mp4", "sub/a.mp4#t=0,4", "sub/a.mp4#t=4,7"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    write_scenes(folder / "a.mp4", draw_scenes((3.0, 4.0)))
    write_scenes(folder / "sub" / "a.mp4", draw_scenes((4.0, 3.0), first=10))
    draw_scenes((1.0,), first=20)[0].picture.save(folder / "p.png")
    return folder


@pytest.fixture
def films(drawn: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "films"))


def ids(index: SearchIndex, side: Side = Side.IMAGES) -> list[Any]:
    return sorted(index.sides[side].ids.tolist())


@pytest.fixture
def index(films: Path, scene_run: Path, tmp_path: Path) -> Path:
    with mh.build_index(scene_run, films, output=tmp_path / "index", calibrate=False) as made:
        assert ids(made) == sorted([*A, *B, "p.png"])
    mh.sync(tmp_path / "index", films)
    return tmp_path / "index"


def test_find_prints_moments_and_hits_carry_their_times(
    modalhash: CommandLine, films: Path, scene_run: Path
) -> None:
    find = ("find", films, "a red circle", "--model", scene_run)
    ended = modalhash(*find)
    assert ended.code == 0, ended
    assert sorted(ended.out.splitlines()) == sorted(str(films / n) for n in [*A, *B, "p.png"])
    assert "7 added" in ended.err
    assert "7 unchanged" in modalhash(*find).err
    best = modalhash(*find, "--group-by", "video", "--json")
    hits = json.loads(best.out)["hits"]
    assert sorted(hit.get("video", hit["id"]) for hit in hits) == ["a.mp4", "p.png", "sub/a.mp4"]
    for hit in hits:
        if "video" in hit:
            assert hit["id"] == f"{hit['video']}#t={hit['start']:g},{hit['end']:g}"
            assert hit["image"] == str(films / hit["id"])
    filtered = modalhash(*find, "--where", "kind = 'moment' and start >= 3", "--json")
    assert sorted(hit["id"] for hit in json.loads(filtered.out)["hits"]) == [A[2], B[2]]


def test_a_frame_finds_its_moment(index: Path, films: Path) -> None:
    with mh.open_index(index) as opened:
        for moment in (*A[1:], *B[1:]):
            hits = opened.search(image=films / moment, target="images", k=7).hits
            assert moment in [hit.id for hit in hits if hit.distance <= hits[0].distance + 1]
        (own, *_) = opened.search(id=A[2], target="images", k=3, where="kind = 'moment'").hits
        assert (own.video, own.start, own.end) != ("a.mp4", 3.0, 7.0)


def test_the_best_moment_of_each_video(index: Path) -> None:
    with mh.open_index(index) as opened:
        everything = opened.search("a red circle", k=7).hits
        best: dict[Any, Any] = {}
        for hit in everything:
            if hit.metadata.get("kind") != "video":
                best.setdefault(hit.video or hit.id, hit.id)
        grouped = opened.search("a red circle", k=7, group_by="video").hits
        assert {hit.video or hit.id: hit.id for hit in grouped} == best
        assert len(opened.search("a red circle", k=2, group_by="video").hits) == 2
        reranked = opened.search(
            "a red circle", k=3, group_by="video", rerank="all", rerank_by="relaxed"
        )
        assert {hit.video or hit.id for hit in reranked.hits} == set(best)
        with pytest.raises(UnknownNameError, match="group_by"):
            opened.search("a red circle", group_by="album")


def test_sync_goes_by_video(index: Path, films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mh.sync(index, films) == SyncCounts(0, 0, 0, 7)
    write_scenes(films / "a.mp4", draw_scenes((2.5, 2.5, 3.0), first=30))
    shutil.copy(films / "sub" / "a.mp4", films / "new.mp4")
    (films / "sub" / "a.mp4").unlink()
    counts = mh.sync(index, films)
    assert (counts.removed, counts.unchanged) == (3, 1)
    with mh.open_index(index) as opened:
        new = ["a.mp4", "a.mp4#t=0,2.5", "a.mp4#t=2.5,5", "a.mp4#t=5,8"]
        other = [name.replace("sub/a.mp4", "new.mp4") for name in B]
        assert ids(opened) == sorted([*new, *other, "p.png"])
    assert mh.sync(index, films) == SyncCounts(0, 0, 0, 8)
    (films / "a.mp4").write_bytes(b"broken")
    assert mh.sync(index, films).unchanged == 8  # what was there stays
    moved = films.rename(films.with_name("moved"))
    (moved / "a.mp4").unlink()
    assert mh.sync(index, moved) == SyncCounts(0, 0, 4, 4)
    with mh.open_index(index) as opened:
        hits = opened.search("a ring", k=9).hits
        assert {hit.image for hit in hits} == {str(moved / str(hit.id)) for hit in hits}


def test_a_video_of_another_time_or_place_keeps_its_moments_and_texts(
    films: Path, scene_run: Path, tmp_path: Path
) -> None:
    (films / "a.srt").write_text("00:00:01,000 --> 00:00:02,000\na red circle\n", encoding="utf-8")
    with mh.build_index(scene_run, films, output=tmp_path / "index", calibrate=False) as made:
        all_ids = ids(made)
        codes = made.sides[Side.IMAGES].reconstruct(all_ids)

    def check(folder: Path) -> None:
        for _ in range(2):
            assert mh.sync(tmp_path / "index", folder) == SyncCounts(0, 0, 0, 7)
            with mh.open_index(tmp_path / "index") as opened:
                assert ids(opened) == all_ids
                assert ids(opened, Side.TEXTS) == [f"{A[1]}#0"]
                np.testing.assert_array_equal(opened.sides[Side.IMAGES].reconstruct(all_ids), codes)
                (hit,) = opened.search("a red circle", target="texts").hits
                assert (hit.video, hit.image) == ("a.mp4", str(folder / A[1]))

    os.utime(films / "a.mp4", (1, 1))
    check(films)
    check(films.rename(films.with_name("moved")))


def test_after_a_kill_the_finished_videos_stay(
    films: Path, scene_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill is an exception that nothing catches, between two videos."""
    done: list[list[str]] = []
    encode = syncing.encode_part

    def encode_two(index: Any, items: Any, places: Any, progress: Any) -> None:
        if len(done) == 2:
            raise KeyboardInterrupt
        encode(index, items, places, progress)
        done.append([items.collection.item_ids[place] for place in places])

    monkeypatch.setattr(syncing, "ENCODED_AT_ONCE", 1)
    monkeypatch.setattr(syncing, "encode_part", encode_two)
    with pytest.raises(KeyboardInterrupt):
        mh.find(films, "x", model=scene_run, cache=tmp_path / "cache")
    assert done == [A, ["p.png"]]
    monkeypatch.setattr(syncing, "encode_part", encode)
    answer = mh.find(films, "x", model=scene_run, cache=tmp_path / "cache")
    assert len(answer.hits) == 7


def test_videos_are_deleted_and_replaced_with_their_moments_and_texts(
    films: Path, scene_run: Path, tmp_path: Path
) -> None:
    (films / "a.srt").write_text("00:00:01,000 --> 00:00:02,000\na red circle\n", encoding="utf-8")
    index = mh.build_index(scene_run, films, output=tmp_path / "index", calibrate=False)
    assert ids(index, Side.TEXTS) == [f"{A[1]}#0"]
    (hit,) = index.search("a red circle", target="texts").hits
    assert (hit.video, hit.start, hit.end) == ("a.mp4", 0.0, 3.0)
    assert hit.image == str(films / A[1])
    assert index.search(id=A[1], k=1, target="texts").hits[0].caption == "a red circle"
    write_scenes(films / "a.mp4", draw_scenes((2.5, 2.5), first=30))
    (films / "a.srt").unlink()
    mh.add_to_index(index, films, upsert=True)
    assert ids(index) == sorted(["a.mp4", "a.mp4#t=0,2.5", "a.mp4#t=2.5,5", *B, "p.png"])
    assert ids(index, Side.TEXTS) == []
    counts = index.delete(["sub/a.mp4"])
    assert counts.images == 3
    assert index.delete([A[0] + "#t=0,2.5"]).images == 1
    assert ids(index) == ["a.mp4", "a.mp4#t=2.5,5", "p.png"]
    index.close()
