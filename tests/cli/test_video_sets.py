"""MSR-VTT and MSVD from their video files, as typed: text-video measures, and a search."""

import json
import pickle
import re
from pathlib import Path

import pytest

from modalhash.data import load_collection
from modalhash.errors import CollectionError
from tests.oracles.command_line import CommandLine
from tests.oracles.official_layouts import (
    N_ITEMS,
    msvd_name,
    text_of,
    write_msrvtt_videos,
    write_msvd,
    write_msvd_videos,
)

pytest.importorskip("av")
pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")


def test_msrvtt_is_checked_trained_measured_and_searched(
    modalhash: CommandLine, tmp_path: Path
) -> None:
    collection = f"msrvtt:{write_msrvtt_videos(tmp_path / 'data')}"
    assert modalhash("-q", "data", "check", collection).code == 0
    run, index = tmp_path / "run", tmp_path / "index"
    trained = modalhash(
        "-q", "train", collection, "-o", run, "--method", "cca-sign", "--bits", "4", "--encoder",
        "tiny", "--frames", "3",
    )  # fmt: skip
    assert trained.code == 0, trained
    measured = modalhash("-q", "evaluate", run, "--json")
    assert measured.code == 0, measured
    names = [
        (measure["measure"], measure["k"])
        for measure in json.loads(measured.out)["measures"]
        if measure["direction"] == "text_to_image"
    ]
    assert {("recall", 1), ("recall", 5), ("recall", 10), ("median_rank", None)} <= set(names)
    assert "map" in {name for name, _ in names}
    assert modalhash("-q", "index", run, "-o", index).code == 0
    found = modalhash("-q", "search", index, "--text", text_of(3), "-k", "30", "--json")
    hits = {hit["id"]: hit for hit in json.loads(found.out)["hits"]}
    assert len(hits) == N_ITEMS
    assert hits["video3"]["image"].endswith("Video/video3.mp4")
    by_frame = modalhash(
        "-q", "search", index, "--image", hits["video3"]["image"], "--target", "images", "--json"
    )
    assert json.loads(by_frame.out)["hits"][0]["distance"] == 0


def test_pickled_captions_say_what_the_list_says(tmp_path: Path) -> None:
    videos = load_collection(f"msvd:{write_msvd_videos(tmp_path / 'a')}")
    listed = load_collection(f"msvd:{write_msvd(tmp_path / 'b')}")
    assert videos.item_ids == listed.item_ids
    assert videos.captions == listed.captions
    assert {name: items.tolist() for name, items in videos.splits.items()} == {
        name: items.tolist() for name, items in listed.splits.items()
    }


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"a": 3}, "entry 'a' is no list of captions, each a list of words"),
        ([1, 2], "holds no dict of a video's name to its captions"),
        ({"a": [["b", 1]]}, "entry 'a' is no list of captions, each a list of words"),
        ({"a": Path("b")}, "pathlib"),
    ],
)
def test_other_pickles_are_refused(tmp_path: Path, document: object, message: str) -> None:
    (tmp_path / "raw-captions.pkl").write_bytes(pickle.dumps(document))
    with pytest.raises(CollectionError, match=re.escape(message)):
        load_collection(f"msvd:{tmp_path}")


def test_a_missing_video_is_named(tmp_path: Path) -> None:
    write_msvd_videos(tmp_path)
    (tmp_path / "YouTubeClips" / f"{msvd_name(5)}.avi").unlink()
    with pytest.raises(CollectionError, match=re.escape(f"'videos/{msvd_name(5)}.mp4' isn't in")):
        load_collection(f"msvd:{tmp_path}")


def test_a_folder_of_video_files_with_captions_is_a_collection_of_whole_videos(
    tmp_path: Path,
) -> None:
    write_msrvtt_videos(tmp_path / "a")
    (tmp_path / "a" / "TrainValVideo").rename(tmp_path / "videos")
    names = sorted(file.name for file in (tmp_path / "videos").iterdir())
    rows = [f"{name}\ta {name} clip" for name in names]
    (tmp_path / "captions.tsv").write_text("video\tcaption\n" + "\n".join(rows) + "\n", "utf-8")
    (tmp_path / "a" / "MSRVTT_data.json").unlink()
    collection = load_collection(tmp_path)
    assert collection.item_ids == tuple(names)
    assert collection.pictures is not None
    assert collection.pictures.path(2) == tmp_path / "videos" / names[2]
    assert collection.pictures.open(2).size == (64, 48)
