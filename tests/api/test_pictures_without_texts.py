"""Pictures without texts: checked, encoded, indexed, added, searched; what needs texts says so."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import modalhash as mh
from modalhash.data import check_collection, convert_collection, load_collection
from modalhash.errors import CollectionError, FeatureError
from modalhash.search import Side
from modalhash.search.answers import ItemCounts
from tests.oracles.command_line import CommandLine
from tests.oracles.official_layouts import draw, write_lines

pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")
NAMES = ("2024/a.jpg", "2024/summer/b.PNG", "c.jpeg")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for item, name in enumerate(NAMES):
        draw(folder / name, item)
    draw(folder / "@eaDir" / "a.jpg", 3)
    draw(folder / ".hidden" / "a.jpg", 3)
    write_lines(folder / "notes.md", ["no captions"])
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    mh.train("scenes:40", method="lsh", n_bits=16, encoder="tiny", output=tmp_path / "run")
    return tmp_path / "run"


def test_any_folder_of_pictures_is_a_collection(photos: Path) -> None:
    collection = load_collection(photos)
    assert collection.item_ids == NAMES
    assert (collection.captions, collection.n_captions, collection.has_texts) == ((), 0, False)
    assert sorted(np.concatenate(list(collection.splits.values())).tolist()) == [0, 1, 2]
    report = check_collection(photos)
    assert (report.n_items, report.n_captions, report.n_pictures) == (3, 0, 3)
    assert report.notes == (f"{photos} has 3 pictures and no captions file: there are no texts",)
    some = collection.subset(np.array([2, 0]))
    assert (some.item_ids, some.captions) == (("c.jpeg", "2024/a.jpg"), ())


def test_pictures_outside_of_images_count_as_well(photos: Path) -> None:
    draw(photos / "images" / "d.jpg", 4)
    assert set(load_collection(photos).item_ids) == {*NAMES, "images/d.jpg"}
    for name in NAMES:
        (photos / name).unlink()
    assert load_collection(photos).item_ids == ("d.jpg",)


def test_labels_and_splits_stand_beside_pictures(photos: Path) -> None:
    lines = ["image\tsky\tdog", *(f"{name}\t1\t0" for name in NAMES)]
    write_lines(photos / "labels.tsv", lines)
    write_lines(photos / "splits" / "test.txt", [NAMES[2]])
    collection = load_collection(photos)
    assert collection.labels is not None
    assert collection.labels.tolist() == [[1, 0]] * 3
    assert {name: items.tolist() for name, items in collection.splits.items()} == {"test": [2]}


def test_a_folder_without_pictures_is_still_a_defect(tmp_path: Path) -> None:
    write_lines(tmp_path / "notes.md", ["nothing"])
    with pytest.raises(CollectionError, match=r"has no captions file: write captions\.tsv"):
        load_collection(tmp_path)


def test_pictures_are_encoded_indexed_added_and_found(
    photos: Path, run: Path, tmp_path: Path, modalhash: CommandLine
) -> None:
    encoded = modalhash("-q", "encode", run, photos, "-o", tmp_path / "codes")
    assert encoded.code == 0, encoded
    assert "3 pictures and 0 texts" in encoded.out
    assert np.load(tmp_path / "codes" / "image_codes.npy").shape == (3, 2)
    assert json.loads((tmp_path / "codes" / "codes.json").read_text())["text_ids"] == []
    features = modalhash("-q", "features", photos, "--encoder", "tiny")
    assert features.code == 0, features
    index = tmp_path / "index"
    indexed = modalhash("-q", "index", run, photos, "-o", index)
    assert indexed.code == 0, indexed
    picture = photos / NAMES[0]
    hits = modalhash("-q", "search", index, "--image", picture, "-k", "1", "--json")
    assert hits.code == 0, hits
    assert NAMES[0] in hits.out
    asked = modalhash("-q", "search", index, "--text", "a red circle", "-k", "2", "--json")
    assert asked.code == 0, asked
    more = tmp_path / "more"
    draw(more / "d.jpg", 4)
    added = modalhash("-q", "add", index, more)
    assert added.code == 0, added
    with mh.open_index(index) as opened:
        assert len(opened.sides[Side.IMAGES]) == 4


def test_pictures_are_added_to_an_index_of_pairs(photos: Path, run: Path, tmp_path: Path) -> None:
    mh.build_index(run, "scenes:40", output=tmp_path / "index", calibrate=False)
    assert mh.add_to_index(tmp_path / "index", photos) == ItemCounts(3, 0)


def test_what_needs_texts_says_so_before_any_work(photos: Path, run: Path, tmp_path: Path) -> None:
    problem = "learns from pictures with texts, and photos has pictures only: write captions.tsv"
    with pytest.raises(FeatureError, match=re.escape(problem)):
        mh.train(photos, method="cfrh", n_bits=16, encoder="tiny", output=tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(
        FeatureError, match="these directions match pictures with texts, and photos"
    ):
        mh.evaluate(run, photos)


def test_a_conversion_keeps_pictures_without_texts(photos: Path, tmp_path: Path) -> None:
    convert_collection(load_collection(photos), tmp_path / "ours")
    again = load_collection(tmp_path / "ours")
    assert (again.n_items, again.captions) == (3, ())


def test_a_table_without_texts(photos: Path, tmp_path: Path) -> None:
    write_lines(photos / "list.csv", ["file,year", *(f"{name},2024" for name in NAMES)])
    collection = load_collection(f"table:{photos / 'list.csv'}")
    assert (collection.item_ids, collection.captions) == (NAMES, ())
    assert collection.metadata == {"year": (2024,) * 3}
