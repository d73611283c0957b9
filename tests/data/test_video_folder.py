import re
from pathlib import Path

import numpy as np
import pytest

from modalhash.data import (
    Collection,
    Frames,
    TokenArrays,
    check_collection,
    convert_collection,
    load_collection,
)
from modalhash.data.frames import choose_frames, frames_of
from modalhash.errors import CollectionError, ShapeError
from tests.oracles.coloured_videos import frame_colours, write_coloured_videos
from tests.oracles.official_layouts import write_msrvtt_features, write_msrvtt_frames


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_coloured_videos(tmp_path / "clips")


def videos_of(collection: Collection) -> Frames:
    assert isinstance(collection.pictures, Frames)
    return collection.pictures


def colours(pictures: Frames, position: int, most: int) -> list[tuple[int, ...]]:
    frames = pictures.frames(position, most)
    return [tuple(np.asarray(frame)[0, 0].tolist()) for frame in frames]


@pytest.mark.parametrize(
    ("n_frames", "most", "kept"),
    [
        (1, 12, [0]),
        (12, 12, list(range(12))),
        (4, 1, [2]),  # the middle, as the one picture of a video
        (5, 1, [2]),
        (10, 3, [1, 5, 8]),  # (i + 1/2) 10/3 = 1.67, 5, 8.33, rounded down
        (24, 12, list(range(1, 24, 2))),
    ],
)
def test_kept_frames_are_the_middles_of_equal_parts(
    n_frames: int, most: int, kept: list[int]
) -> None:
    assert choose_frames(n_frames, most).tolist() == kept


def test_kept_frames_are_distinct_and_in_order() -> None:
    for n_frames in range(1, 40):
        for most in range(1, 20):
            kept = choose_frames(n_frames, most)
            assert len(kept) == min(n_frames, most)
            assert (np.diff(kept) > 0).all()
            assert kept[0] >= 0
            assert kept[-1] < n_frames


def test_a_folder_of_videos_is_a_collection(folder: Path) -> None:
    collection = load_collection(folder)
    assert collection.n_items == 24
    assert collection.n_captions == 48
    assert collection.item_ids[3] == "clip03"
    assert collection.caption_ids[7] == "clip03#1"
    assert collection.metadata["length"][:4] == (1, 2, 3, 4)
    assert collection.labels is not None
    assert collection.labels[0].tolist() == [1, 1, 0, 0]  # from red to green
    assert len(collection.split("test")) == 6
    assert check_collection(folder).is_sound
    videos = videos_of(collection)
    for number in (0, 4, 6):
        expected = [tuple(colour) for colour in frame_colours(number, 1 + number % 7).tolist()]
        assert colours(videos, number, 12) == expected
    # Seven frames: three kept are numbers 1, 3 and 5; the middle one is number 3.
    seven = frame_colours(6, 7).tolist()
    assert colours(videos, 6, 3) == [tuple(seven[place]) for place in (1, 3, 5)]
    assert np.asarray(videos.open(6))[0, 0].tolist() == seven[3]
    assert videos.path(6) == folder / "videos" / "clip06" / "00004.png"


def test_some_videos_of_a_collection_stay_videos(folder: Path) -> None:
    part = load_collection(folder).subset(np.array([6, 2]))
    videos = videos_of(part)
    assert [len(videos.frames(position, 12)) for position in (0, 1)] == [7, 3]
    assert videos.path(0) == folder / "videos" / "clip06" / "00004.png"
    assert [path.name for path in videos.frame_paths(1)] == ["00001.png", "00002.png", "00003.png"]
    whole = videos_of(load_collection(folder))
    assert videos.stamp(0) == whole.stamp(6)
    assert videos.digest(0) == whole.digest(6)
    assert np.asarray(videos.open(1)).tolist() == np.asarray(whole.open(2)).tolist()


def test_a_change_in_any_frame_shows(folder: Path) -> None:
    videos = videos_of(load_collection(folder))
    stamp, digest = videos.stamp(6), videos.digest(6)
    frames = folder / "videos" / "clip06"
    (frames / "00001.png").write_bytes((frames / "00002.png").read_bytes())
    assert videos.stamp(6) != stamp
    assert videos.digest(6) != digest


def test_pictures_are_videos_of_one_frame(folder: Path) -> None:
    pictures = load_collection("scenes:20").pictures
    assert pictures is not None
    (frame,) = frames_of(pictures, 3, 12)
    assert np.array_equal(np.asarray(frame), np.asarray(pictures.open(3)))


def test_defects_of_videos_are_named(folder: Path) -> None:
    videos = folder / "videos"
    for frame in (videos / "clip01").iterdir():
        frame.unlink()
    for frame in (videos / "clip02").iterdir():
        frame.unlink()
    (videos / "clip02").rmdir()
    (videos / "clip02").write_bytes(b"not a folder")
    (videos / "clip03" / "00002.png").write_bytes(b"no picture")
    (videos / "clip99").mkdir()
    (videos / "clip99" / "1.jpg").write_bytes((videos / "clip00" / "00001.png").read_bytes())
    for name, row in (("captions", "clip77\ta dog\t1\n"), ("labels", "clip77\t0\t0\t0\t0\n")):
        with (folder / f"{name}.tsv").open("a", encoding="utf-8") as file:
            file.write(row)
    found = {defect.items: str(defect) for defect in check_collection(folder).defects}
    wanted = (
        "is no folder of frames (jpg, png or webp); cut some: "
        "ffmpeg -i VIDEO -vf fps=1 NAME/%05d.jpg"
    )
    assert f"video 'clip01' {wanted}" in found[("clip01",)]
    assert f"video 'clip02' {wanted}" in found[("clip02",)]
    assert "00002.png" in found[("clip03",)]
    assert "has no caption in captions.tsv" in found[("clip99",)]
    assert "video 'clip77' isn't in" in found[("clip77",)]
    left = load_collection(folder, skip_bad=True)
    assert left.n_items == 21
    assert "clip03" not in left.item_ids


def test_videos_may_lie_in_folders(folder: Path) -> None:
    videos = folder / "videos"
    (videos / "a").mkdir()
    for number in range(24):
        (videos / f"clip{number:02d}").rename(videos / "a" / f"clip{number:02d}")
    for name in ("captions.tsv", "labels.tsv", "splits/train.txt", "splits/test.txt"):
        file = folder / name
        text = file.read_text(encoding="utf-8")
        file.write_text(re.sub(r"^clip", "a/clip", text, flags=re.MULTILINE), encoding="utf-8")
    collection = load_collection(folder)
    assert collection.item_ids[6] == "a/clip06"
    assert len(videos_of(collection).frames(6, 12)) == 7


def test_a_video_column_needs_a_folder_of_videos(tmp_path: Path) -> None:
    write_coloured_videos(tmp_path / "clips")
    (tmp_path / "clips" / "videos").rename(tmp_path / "clips" / "images")
    with pytest.raises(CollectionError, match="image"):
        load_collection(tmp_path / "clips")


def test_msrvtt_frames_are_videos(tmp_path: Path) -> None:
    videos = videos_of(load_collection(f"msrvtt:{write_msrvtt_frames(tmp_path)}"))
    assert [path.name for path in videos.frame_paths(1)] == ["0000.jpg", "0001.jpg", "0002.jpg"]
    assert len(videos.frames(1, 2)) == 2


def test_features_of_frames_are_tokens_and_their_mean_is_pooled(tmp_path: Path) -> None:
    collection = load_collection(f"msrvtt:{write_msrvtt_features(tmp_path)}")
    for position, item in enumerate(collection.item_ids):
        own = np.atleast_2d(np.load(tmp_path / "features" / f"{item}.npy"))
        np.testing.assert_array_equal(collection.tokens["image"].of(position), own)
        np.testing.assert_allclose(
            collection.features["image"][position], own.mean(axis=0), rtol=0, atol=1e-6
        )
    part = collection.subset(np.array([2, 0]))
    np.testing.assert_array_equal(part.tokens["image"].of(0), collection.tokens["image"].of(2))
    np.testing.assert_array_equal(part.tokens["image"].of(1), collection.tokens["image"].of(0))


def test_tokens_and_their_ends_must_belong_together() -> None:
    message = "vectors (3, 2) and ends (2,) don't belong together"
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        TokenArrays(np.zeros((3, 2), np.float32), np.array([1, 2]))
    message = "item 1 has no vector, expected at least one"
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        TokenArrays(np.zeros((3, 2), np.float32), np.array([1, 1, 3]))


def test_converted_videos_are_the_same_videos(tmp_path: Path) -> None:
    before = load_collection(f"msrvtt:{write_msrvtt_frames(tmp_path / 'a')}")
    made = convert_collection(before, tmp_path / "b")
    after = load_collection(made.source)
    assert after.item_ids == before.item_ids
    assert after.captions == before.captions
    assert after.labels is not None
    assert before.labels is not None
    np.testing.assert_array_equal(after.labels, before.labels)
    for position in range(before.n_items):
        assert videos_of(after).digest(position) == videos_of(before).digest(position)
