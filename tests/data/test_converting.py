"""Conversion: what was read in any layout reads the same from our own forms."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from modalhash.data import check_collection, convert_collection, load_collection
from modalhash.data.collection import Collection
from modalhash.errors import InputError
from tests.oracles import feature_layouts as made
from tests.oracles import official_layouts as official

PICTURES: tuple[tuple[str, Callable[[Path], str]], ...] = (
    ("coco", official.write_coco),
    ("flickr8k", official.write_flickr8k_json),
    ("iapr", official.write_iapr),
    ("msrvtt", official.write_msrvtt_frames),
    ("msvd", official.write_msvd),
    ("nuswide-10", official.write_nuswide),
    ("ucm", official.write_ucm),
    ("webdataset", made.write_tars),
)
FEATURES: tuple[tuple[str, Callable[[Path], str]], ...] = (
    ("clip-retrieval", made.write_clip_folder),
    ("coco-87k", made.write_coco_87k),
    ("dgcpn", made.write_dgcpn),
    ("msrvtt", official.write_msrvtt_features),
    ("nine-array", made.write_nine_array),
    ("ucmfh", made.write_ucmfh),
)


def same_rows(one: Collection, other: Collection) -> None:
    """Assert that texts, labels and splits agree, item by item."""
    assert other.captions == one.captions
    assert other.label_names == one.label_names
    assert (one.labels is None) == (other.labels is None)
    if one.labels is not None and other.labels is not None:
        np.testing.assert_array_equal(other.labels, one.labels)
    assert {name: items.tolist() for name, items in other.splits.items()} == {
        name: items.tolist() for name, items in one.splits.items()
    }


@pytest.mark.parametrize(("source", "write"), PICTURES)
def test_pictures_texts_labels_and_splits_come_back(
    source: str, write: Callable[[Path], str], tmp_path: Path
) -> None:
    collection = load_collection(f"{source}:{write(tmp_path / 'data')}")
    done = convert_collection(collection, tmp_path / "ours")
    assert check_collection(done.source).defects == ()
    again = load_collection(done.source)
    same_rows(collection, again)
    assert collection.pictures is not None
    assert again.pictures is not None
    for position in range(collection.n_items):
        first, second = collection.pictures.open(position), again.pictures.open(position)
        np.testing.assert_array_equal(np.asarray(second), np.asarray(first))
    assert again.metadata == collection.metadata
    is_file = source not in ("ucm", "webdataset")
    assert (done.n_copied, done.n_drawn) == ((24, 0) if is_file else (0, 24))


@pytest.mark.parametrize(("source", "write"), FEATURES)
def test_features_come_back(source: str, write: Callable[[Path], str], tmp_path: Path) -> None:
    collection = load_collection(f"{source}:{write(tmp_path / 'data')}")
    done = convert_collection(collection, tmp_path / "ours")
    assert check_collection(done.source).defects == ()
    again = load_collection(done.source)
    same_rows(collection, again)
    assert again.item_ids == collection.item_ids
    assert again.features.keys() == collection.features.keys()
    for side, array in collection.features.items():
        np.testing.assert_array_equal(again.features[side], array)


def test_names_that_are_no_file_names_become_numbers(tmp_path: Path) -> None:
    scenes = load_collection("scenes:4")
    named = replace(scenes, item_ids=("a/b", "A/B", "http://x/y.jpg", "../up"))
    convert_collection(named, tmp_path / "ours")
    again = load_collection(tmp_path / "ours")
    assert again.item_ids == ("a/b.png", "0000001.png", "0000002.png", "0000003.png")
    assert again.caption_ids == named.caption_ids


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    message = f"{tmp_path} isn't empty: name a new folder to convert into"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        convert_collection(load_collection("scenes:4"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_pictures_with_features_of_texts_fit_neither_form(tmp_path: Path) -> None:
    collection = load_collection(f"iall-yall-lall:{made.write_iall(tmp_path / 'data')}")
    message = (
        "mirflickr25k has pictures and features of its texts, but no texts as words: neither a "
        "folder of pictures nor one of features holds both"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        convert_collection(collection, tmp_path / "ours")


def test_half_a_conversion_is_no_collection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = load_collection("scenes:4")
    assert scenes.pictures is not None

    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("modalhash.data.converting._write_table", stop)
    with pytest.raises(KeyboardInterrupt):
        convert_collection(scenes, tmp_path / "ours")
    [defect] = check_collection(str(tmp_path / "ours")).defects
    assert defect.kind == "no-caption-file"
