"""A part of a collection."""

import numpy as np
import pytest

from modalhash.data import Collection, load_collection
from modalhash.errors import InputError


def small() -> Collection:
    return Collection(
        name="small",
        item_ids=("a", "b", "c"),
        caption_ids=("a0", "b0", "b1", "c0", "c1", "c2"),
        caption_items=np.array([0, 1, 1, 2, 2, 2]),
        captions=("A", "B", "BB", "C", "CC", "CCC"),
        labels=np.array([[1, 0], [0, 1], [1, 1]], np.uint8),
        label_names=("x", "y"),
        metadata={"n": (1, 2, 3)},
        splits={"train": np.array([2, 0]), "test": np.array([1])},
        features={
            "image": np.arange(6, dtype=np.float32).reshape(3, 2),
            "text": np.arange(6, dtype=np.float32).reshape(6, 1),
        },
        split_note="by hand",
    )


def test_every_part_follows_the_items() -> None:
    part = small().subset(np.array([2, 1]))
    assert part.item_ids == ("c", "b")
    assert part.caption_ids == ("c0", "c1", "c2", "b0", "b1")
    assert part.caption_items.tolist() == [0, 0, 0, 1, 1]
    assert part.captions == ("C", "CC", "CCC", "B", "BB")
    assert part.labels is not None
    assert part.labels.tolist() == [[1, 1], [0, 1]]
    assert part.metadata == {"n": (3, 2)}
    assert {name: items.tolist() for name, items in part.splits.items()} == {
        "train": [0],
        "test": [1],
    }
    assert part.features["image"].tolist() == [[4, 5], [2, 3]]
    assert part.features["text"].tolist() == [[3], [4], [5], [1], [2]]
    assert part.split_note == "by hand"


def test_everything_is_the_same_collection() -> None:
    assert small().subset(np.arange(3)).fingerprint() == small().fingerprint()


def test_pictures_follow_too() -> None:
    scenes = load_collection("scenes:6")
    part = scenes.subset(np.array([4, 2])).subset(np.array([1]))
    assert scenes.pictures is not None
    assert part.pictures is not None
    assert part.pictures.open(0).tobytes() == scenes.pictures.open(2).tobytes()
    assert part.pictures.stamp(0) == scenes.pictures.stamp(2)
    assert part.pictures.digest(0) == scenes.pictures.digest(2)
    assert part.pictures.path(0) is None


def test_none_or_one_twice_is_refused() -> None:
    with pytest.raises(InputError, match="collection 'small' has no items"):
        small().subset(np.array([], np.int64))
    with pytest.raises(InputError, match="collection 'small' has duplicate ids"):
        small().subset(np.array([1, 1]))
