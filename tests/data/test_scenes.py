"""Drawn scenes: pictures, texts and labels say the same, and depend on seed and number alone."""

import re

import numpy as np
import pytest
from PIL import Image

from modalhash.data import load_collection
from modalhash.data.scenes import (
    COLOURS,
    GROUNDS,
    SHAPES,
    SceneObject,
    SceneSpec,
    draw_scene,
    make_scene,
)
from modalhash.errors import InputError


def test_counts_and_splits() -> None:
    scenes = load_collection("scenes")
    assert (scenes.n_items, scenes.n_captions) == (1000, 5000)
    assert {name: len(items) for name, items in scenes.splits.items()} == {
        "train": 800,
        "dev": 100,
        "test": 100,
    }
    assert scenes.source == "scenes:1000:0"
    assert load_collection(scenes.source).fingerprint() == scenes.fingerprint()


def test_a_larger_collection_starts_with_the_smaller_one() -> None:
    small, large = load_collection("scenes:7:3"), load_collection("scenes:30:3")
    assert small.captions is not None
    assert large.captions is not None
    assert large.captions[:35] == small.captions
    assert large.item_ids[:7] == small.item_ids
    assert small.labels is not None
    assert large.labels is not None
    assert large.labels[:7].tolist() == small.labels.tolist()
    assert load_collection("scenes:7:4").captions != small.captions


@pytest.mark.parametrize("number", range(60))
def test_texts_and_labels_say_what_is_in_the_scene(number: int) -> None:
    scenes = load_collection("scenes:60:5")
    scene = make_scene(5, number)
    names = {thing.name for thing in scene.objects}
    assert 1 <= len(scene.objects) <= 4
    assert len(names) == len(scene.objects)
    assert len({(thing.row, thing.column) for thing in scene.objects}) == len(scene.objects)
    assert scenes.captions is not None
    texts = scenes.captions[5 * number : 5 * number + 5]
    assert len(set(texts)) == 5
    mentioned = [
        set(re.findall(rf"(?:{'|'.join(COLOURS)}) (?:{'|'.join(SHAPES)})", text)) for text in texts
    ]
    assert all(found <= names for found in mentioned)
    assert sum(found == names for found in mentioned) >= 4  # the relation names two
    assert not any(re.search(r"\ba [aeiou]|\ban [^aeiou]|  ", text) for text in texts)
    assert sum(f"on a {scene.ground} background" in text for text in texts) == 1
    assert scenes.labels is not None
    given = {
        label
        for label, value in zip(scenes.label_names, scenes.labels[number], strict=True)
        if value
    }
    assert {label for label in given if " of " not in label and "above" not in label} == names
    for text in texts:
        relations = re.findall(r"an? (\w+ \w+) (to the left of|above) an? (.+)", text)
        for first, side, second in relations:
            relation = "above" if side == "above" else "left of"
            shapes = first.split()[1], second.split()[1]
            assert shapes[0] == shapes[1] or f"{shapes[0]} {relation} {shapes[1]}" in given
    assert scenes.metadata["n_objects"][number] == len(scene.objects)
    assert scenes.metadata["background"][number] == scene.ground


def test_relations_by_hand() -> None:
    def thing(shape: str, row: int, column: int) -> SceneObject:
        return SceneObject(shape, "red", "small", row, column, (0.0, 0.0), 10.0)

    scene = SceneSpec("white", (thing("star", 0, 2), thing("ring", 2, 0), thing("star", 2, 1)))
    assert scene.label_names() == {
        "red star",
        "red ring",
        "star above ring",
        "ring left of star",
    }


@pytest.mark.parametrize("shape", SHAPES)
def test_an_object_is_drawn_in_its_place_and_colour(shape: str) -> None:
    thing = SceneObject(shape, "red", "large", 1, 2, (180.0, 110.0), 30.0)
    picture = np.asarray(draw_scene(SceneSpec("white", (thing,))), np.int64)
    ink = np.abs(picture - 255).sum(axis=2) > 60
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    assert 78 <= rows.min() <= rows.max() <= 141
    assert 148 <= columns.min() <= columns.max() <= 211
    assert ink.sum() > 800
    red = np.abs(picture - COLOURS["red"]).sum(axis=2) == 0
    assert red.sum() > 0.8 * ink.sum()


def test_objects_never_touch_and_stay_inside() -> None:
    for number in range(300):
        objects = make_scene(1, number).objects
        for place, one in enumerate(objects):
            x, y = one.centre
            assert one.radius <= min(x, y, 224 - x, 224 - y)
            for other in objects[:place]:
                apart = max(abs(x - other.centre[0]), abs(y - other.centre[1]))
                assert apart >= one.radius + other.radius


def test_pictures_are_drawn_from_seed_and_number() -> None:
    pictures = load_collection("scenes:3:8").pictures
    assert pictures is not None
    picture = pictures.open(2)
    assert (picture.size, picture.mode) == ((224, 224), "RGB")
    assert picture.tobytes() == draw_scene(make_scene(8, 2)).tobytes()
    assert len({pictures.digest(number) for number in range(3)}) == 3
    assert pictures.path(0) is None


def test_grounds_are_seen() -> None:
    for name, rgb in GROUNDS.items():
        empty = draw_scene(SceneSpec(name, ()))
        assert empty.tobytes() == Image.new("RGB", (224, 224), rgb).tobytes()


@pytest.mark.parametrize("argument", ["0", "-3", "x", "5:", "5:x", "5:1:2", "5:-1", "1.5", "²"])
def test_wrong_counts_are_refused(argument: str) -> None:
    problem = (
        f"'scenes:{argument}' isn't COUNT or COUNT:SEED: write a positive whole number, and a seed "
        "from 0 on, such as scenes:500:3"
    )
    with pytest.raises(InputError, match=f"^{re.escape(problem)}$"):
        load_collection(f"scenes:{argument}")


def test_a_collection_is_shown_by_its_counts() -> None:
    shown = repr(load_collection("scenes:20"))
    assert shown == "<Collection 'scenes': 20 items, 100 texts, train 16, dev 2, test 2>"
