"""Folders of video files as collections."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modalhash.data import check_collection, load_collection
from modalhash.data.collection import Collection, Moments
from modalhash.data.loading import read_source
from modalhash.data.pictures import read_picture
from modalhash.errors import CollectionError, MissingExtraError, SettingError
from tests.oracles.drawn_videos import DrawnScene, draw_scenes, write_scenes

pytest.importorskip("av")
pytestmark = pytest.mark.usefixtures("own_cache")

SCENES = {"a.mp4": (3.0, 4.0), "trip/a.mp4": (5.0,), "trip/b.webm": (2.5, 3.0, 2.5)}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[DrawnScene]]]:
    folder = tmp_path_factory.mktemp("films")
    scenes = {
        name: draw_scenes(seconds, first=3 * place)
        for place, (name, seconds) in enumerate(SCENES.items())
    }
    for name, own in scenes.items():
        codec = "libvpx-vp9" if name.endswith("webm") else "libx264"
        extra: dict[str, Any] = (
            {"deadline": "realtime", "cpu-used": "8"} if codec != "libx264" else {}
        )
        write_scenes(folder / name, own, codec=codec, **extra)
    scenes["a.mp4"][0].picture.save(folder / "trip" / "p.png")
    return folder, scenes


@pytest.fixture
def folder(drawn: tuple[Path, dict[str, list[DrawnScene]]], tmp_path: Path) -> Path:
    return Path(shutil.copytree(drawn[0], tmp_path / "films"))


def moments_of(collection: Collection) -> Moments:
    assert isinstance(collection.pictures, Moments)
    return collection.pictures


def test_items_are_videos_their_moments_and_pictures(
    drawn: tuple[Path, dict[str, list[DrawnScene]]],
) -> None:
    folder, scenes = drawn
    collection = load_collection(folder)
    columns = collection.metadata
    rows = dict(zip(collection.item_ids, zip(*columns.values(), strict=True), strict=True))
    assert list(columns) == ["kind", "video", "start", "end"]
    assert [item for item, row in rows.items() if row[0] == "video"] == list(SCENES)
    assert rows["trip/p.png"] == (None, None, None, None)
    for name, own in scenes.items():
        moments = [row for row in rows.values() if row[:2] == ("moment", name)]
        expected = [(scene.start, scene.end) for scene in own]
        np.testing.assert_allclose([row[2:] for row in moments], expected, rtol=0, atol=0.21)
        assert rows[name][3] == moments[-1][3]
    assert not collection.has_texts
    assert check_collection(folder).is_sound


def test_a_moment_shows_its_scene_and_a_whole_video_all_of_them(
    drawn: tuple[Path, dict[str, list[DrawnScene]]],
) -> None:
    folder, scenes = drawn
    collection = load_collection(folder)
    pictures = moments_of(collection)
    name = "trip/b.webm"
    places = [at for at, item in enumerate(collection.item_ids) if item.startswith(name)]
    whole, *moments = places

    def look(picture: object) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return np.asarray(picture.resize((20, 20)), np.float64)  # type: ignore[attr-defined]

    for place, scene in zip(moments, scenes[name], strict=True):
        seen = look(pictures.open(place))
        distances = [np.abs(seen - look(other.picture)).mean() for other in scenes[name]]
        assert scenes[name][int(np.argmin(distances))] is scene
        assert len(pictures.pooled_frames(place)) == 1
        assert len(pictures.frames(place, 4)) == 4
        path = folder / collection.item_ids[place]
        assert pictures.frame_paths(place) == [path]
        assert np.abs(look(read_picture(path)) - seen).mean() < 8
        assert pictures.owners[place] == whole
    assert len(pictures.pooled_frames(whole)) == 3
    digests = [pictures.digest(place) for place in places]
    assert len(set(digests)) == len(digests)
    part = moments_of(collection.subset(np.array([moments[1], whole])))
    assert part.digest(0) == digests[2]
    assert part.owners == (1, 1)


def test_subtitles_are_the_texts_of_moments_and_the_splits_hold_pairs(folder: Path) -> None:
    (folder / "a.srt").write_text(
        "1\n00:00:00,500 --> 00:00:02,000\nGood morning\n\n"
        "2\n00:00:04,000 --> 00:00:05,000\nA red\n\n3\n00:00:05,000 --> 00:00:06,000\nring\n",
        encoding="utf-8",
    )
    (folder / "trip" / "b.vtt").write_text("no subtitles", encoding="utf-8")
    reading = read_source(folder)
    collection = reading.collection
    assert collection is not None
    moments = [item for item in collection.item_ids if item.startswith("a.mp4#")]
    assert collection.captions == ("Good morning", "A red ring")
    owners = [collection.item_ids[item] for item in collection.caption_items]
    assert owners == moments
    assert collection.caption_ids == tuple(f"{item}#0" for item in moments)
    with_pairs = np.concatenate([*collection.splits.values()])
    assert sorted(collection.item_ids[item] for item in with_pairs) == sorted(moments)
    assert any("b.vtt: holds no subtitle" in note for note in reading.notes)
    last = np.array([collection.n_items - 1, *collection.caption_items[1:]])
    assert collection.subset(last).captions == ("A red ring",)


def test_bad_videos_are_defects_and_the_others_go_on(folder: Path) -> None:
    (folder / "bad.mp4").write_bytes(b"text")
    (folder / "trip" / "empty.mov").touch()
    with pytest.raises(CollectionError, match="is no video"):
        load_collection(folder)
    defects = read_source(folder).defects
    assert [(defect.kind, defect.items) for defect in defects] == [
        ("unreadable-video", ("bad.mp4",)),
        ("empty-video", ("trip/empty.mov",)),
    ]
    left = load_collection(folder, skip_bad=True)
    assert {item.partition("#")[0] for item in left.item_ids} == {*SCENES, "trip/p.png"}


def test_splits_divide_videos_not_moments(folder: Path) -> None:
    for number in range(8):
        shutil.copy(folder / "a.mp4", folder / f"copy{number}.mp4")
    collection = load_collection(folder)
    names = {
        split: {collection.item_ids[item].partition("#")[0] for item in items}
        for split, items in collection.splits.items()
    }
    assert all(names.values())
    assert sum(map(len, names.values())) == len(set().union(*names.values())) == 12


def test_without_the_extra_pictures_are_read_and_videos_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MissingExtraError("av", "video", "reading videos")

    monkeypatch.setattr("modalhash.videos.shot_lists.load_av", fail)
    reading = read_source(folder)
    assert reading.collection is not None
    assert reading.collection.item_ids == ("trip/p.png",)
    assert any("3 videos in" in note and "modalhash[video]" in note for note in reading.notes)
    (folder / "trip" / "p.png").unlink()
    with pytest.raises(MissingExtraError):
        load_collection(folder)


def test_a_file_in_the_folder_changes_how_its_videos_are_divided(folder: Path) -> None:
    (folder / "shots.json").write_text('{"longest": 4.0, "frames": 2}', encoding="utf-8")
    collection = load_collection(folder)
    pictures = moments_of(collection)
    place = collection.item_ids.index("trip/a.mp4#t=0,2.5")  # five seconds, divided evenly
    assert "trip/a.mp4#t=2.5,5" in collection.item_ids
    assert len(pictures.pooled_frames(place)) == 2
    for text, message in [
        ("[]", "says '': None"),
        (
            '{"longst": 3}',
            "says 'longst': 3, expected an object of numbers with the names shortest",
        ),
        ('{"frames": 1.5}', "says 'frames': 1.5"),
        ('{"longest": 1}', "shots.json: shortest is 2.0 and longest 1 seconds"),
        ("{", "can't be read"),
    ]:
        (folder / "shots.json").write_text(text, encoding="utf-8")
        with pytest.raises(SettingError, match=re.escape(message)):
            load_collection(folder)
