"""From a collection to codes and to an index: with pictures, with arrays, with bags of words."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modalhash as mh
from modalhash.errors import FeatureError, InputError, UnknownNameError
from tests.oracles.photo_folder import write_folder

pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")


def load(folder: Path, name: str) -> Any:
    return np.load(folder / f"{name}.npy", allow_pickle=False)


def test_codes_of_a_split_and_what_is_said_of_them(scene_run: Path, tmp_path: Path) -> None:
    collection = mh.load_collection("scenes:60")
    written = mh.encode(scene_run, collection, tmp_path, split="test")
    items = collection.split("test").tolist()
    assert (written.folder, written.n_bits, written.n_images, written.n_texts) == (
        tmp_path, 12, 6, 30,
    )  # fmt: skip
    model = mh.load_model(scene_run)
    assert collection.captions is not None
    assert collection.labels is not None
    texts = [collection.captions[5 * item + k] for item in items for k in range(5)]
    np.testing.assert_array_equal(load(tmp_path, "text_codes"), model.encode_texts(texts))
    assert load(tmp_path, "image_codes").shape == (6, 2)
    np.testing.assert_array_equal(load(tmp_path, "labels"), collection.labels[items])
    document = json.loads((tmp_path / "codes.json").read_text("utf-8"))
    assert document["format"] == 1
    assert document["n_bits"] == 12
    assert document["bit_order"] == "little"
    assert document["model_fingerprint"] == model.fingerprint
    assert document["image_ids"] == [collection.item_ids[item] for item in items]
    assert document["text_ids"] == [f"{one}#{k}" for one in document["image_ids"] for k in range(5)]
    assert document["text_images"] == [place for place in range(6) for _ in range(5)]
    assert document["label_names"] == list(collection.label_names)


def test_new_codes_take_the_place_of_old_ones(scene_run: Path, tmp_path: Path) -> None:
    mh.encode(scene_run, "scenes:60", tmp_path)
    assert (tmp_path / "labels.npy").exists()
    photos = write_folder(tmp_path / "photos")
    mh.encode(scene_run, photos, tmp_path)
    assert not (tmp_path / "labels.npy").exists()
    assert json.loads((tmp_path / "codes.json").read_text("utf-8"))["image_ids"] == [
        "a.jpg", "b.jpg",
    ]  # fmt: skip


def test_a_broken_off_encoding_leaves_no_description(
    scene_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mh.encode(scene_run, "scenes:60", tmp_path)

    def no_space(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space left on device"):
        mh.encode(scene_run, "scenes:60", tmp_path, split="dev")
    assert not (tmp_path / "codes.json").exists()


def test_pictures_of_a_folder_stay_where_they_are(scene_run: Path, tmp_path: Path) -> None:
    captions = "image\tcaption\tyear\na.jpg\ta red square\t1999\nb.jpg\ta blue square\t2001\n"
    photos = write_folder(tmp_path / "photos", captions=captions)
    with mh.build_index(scene_run, photos, output=tmp_path / "index", kind="exact") as index:
        hits = index.search(text="a blue square", k=9).hits
        assert {hit.id: (hit.image, hit.caption, dict(hit.metadata)) for hit in hits} == {
            f"{name}.jpg": (
                str(photos / "images" / f"{name}.jpg"), f"a {colour} square", {"year": year},
            )
            for name, colour, year in (("a", "red", 1999), ("b", "blue", 2001))
        }  # fmt: skip
        assert not (tmp_path / "index" / "pictures").exists()
        found = index.search(image=photos / "images" / "b.jpg", k=2, target="images").hits[0]
        assert (found.id, found.distance, found.score) == ("b.jpg", 0, 1.0)


def test_an_existing_folder_is_refused_before_features_are_made(
    scene_run: Path, tmp_path: Path
) -> None:
    told: list[str] = []

    def note(stage: str, done: int, total: int, values: object = None) -> None:
        told.append(stage)

    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "notes.txt").touch()
    message = f"{tmp_path / 'index'} exists already and is no search index: choose another folder"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        mh.build_index(
            scene_run, "scenes:61", output=tmp_path / "index", overwrite=True, progress=note
        )
    assert told == []


def test_a_split_without_items_is_no_index(scene_run: Path, tmp_path: Path) -> None:
    message = "split 'dev' of scenes has no items to index"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        mh.build_index(scene_run, "scenes:2", output=tmp_path / "index", split="dev")
    with pytest.raises(UnknownNameError, match="unknown split of scenes 'val'"):
        mh.build_index(scene_run, "scenes:2", output=tmp_path / "index", split="val")


@pytest.fixture
def wiki_like(tmp_path: Path) -> Path:
    """A folder of features in two parts, with classes and texts, as Wiki comes."""
    rng = np.random.default_rng(4)
    folder = tmp_path / "wikilike"
    folder.mkdir()
    centres = rng.normal(size=(3, 5))
    maps = {"image": rng.normal(size=(5, 6)), "text": rng.normal(size=(5, 4))}
    for part, n_items in (("train", 40), ("test", 12)):
        classes = np.arange(n_items) % 3
        causes = centres[classes] + rng.normal(size=(n_items, 5)) / 5
        np.save(folder / f"labels_{part}.npy", classes)
        for side, mapping in maps.items():
            np.save(folder / f"{side}_{part}.npy", causes @ mapping)
    captions = [f"article {row} of class {row % 3}" for row in [*range(40), *range(12)]]
    (folder / "captions.txt").write_text("\n".join(captions) + "\n", encoding="utf-8")
    return folder


def test_features_made_elsewhere_go_all_the_way(wiki_like: Path, tmp_path: Path) -> None:
    source = f"features:{wiki_like}"
    model = mh.train(
        source, output=tmp_path / "run", method="cca-sign", n_bits=4, encoder="precomputed"
    )
    assert model.record.encoder["image_state"] == {"width": 6}
    report = mh.evaluate(tmp_path / "run", top_k=(5,))
    assert report.value("map", "image_to_text", relevance="shared_label", k=5) > 0.7
    mh.encode(tmp_path / "run", source, tmp_path / "codes", split="test")
    test_features = np.load(wiki_like / "image_test.npy", allow_pickle=False)
    np.testing.assert_array_equal(
        load(tmp_path / "codes", "image_codes"), model.encode_features(test_features, "image")
    )
    mh.build_index(tmp_path / "run", output=tmp_path / "index").close()
    with mh.open_index(tmp_path / "index") as index:
        code = index.model.encode_features(test_features[:1], "image")
        answer = index.search(code=code, modality="image", k=3, target="texts")
        assert answer.hits[0].caption.startswith("article ")
        assert answer.hits[0].image is None
        with pytest.raises(FeatureError, match="the precomputed encoder can't encode texts"):
            index.search(text="an article")


@pytest.mark.parametrize(
    ("source", "encoder"), [("scenes:60", "tiny+bow"), ("scenes:20", "offline+bow")]
)
def test_words_of_a_bag_travel_with_the_model(source: str, encoder: str, tmp_path: Path) -> None:
    model = mh.train(source, output=tmp_path / "run", method="cca-sign", n_bits=8, encoder=encoder)
    collection = mh.load_collection(source)
    assert collection.captions is not None
    words = model.record.encoder["text_state"]["vocabulary"]
    assert {"red", "blue", "circle", "star"} <= set(words)
    assert words == sorted(words)
    train = set(collection.split("train").tolist())
    for word in words:  # only words of the training texts are known
        assert any(
            word in collection.captions[5 * item + k].lower() for item in train for k in range(5)
        )
    mh.build_index(tmp_path / "run", output=tmp_path / "index").close()
    (tmp_path / "run").rename(tmp_path / "gone")
    with mh.open_index(tmp_path / "index") as index:
        text = "a red circle and a blue star"
        np.testing.assert_array_equal(index.model.encode_texts([text]), model.encode_texts([text]))
        assert len(index.search(text=text, k=5).hits) == 5


def test_arrays_of_pictures_pair_with_words(wiki_like: Path, tmp_path: Path) -> None:
    source = f"features:{wiki_like}"
    model = mh.train(
        source, output=tmp_path / "run", method="cca-sign", n_bits=3, encoder="precomputed+bow"
    )
    assert model.record.encoder["image_state"] == {"width": 6}
    assert "article" in model.record.encoder["text_state"]["vocabulary"]
    with mh.build_index(tmp_path / "run", output=tmp_path / "index") as index:
        assert len(index.search(text="article of class 1", k=2).hits) == 2


def test_features_are_made_once(tmp_path: Path) -> None:
    told: list[str] = []

    def note(stage: str, done: int, total: int, values: object = None) -> None:
        told.append(stage)

    first = mh.extract_features("scenes:12", "tiny", cache=tmp_path, progress=note)
    assert set(told) == {"image features", "text features"}
    told.clear()
    second = mh.extract_features("scenes:12", "tiny", cache=str(tmp_path), progress=note)
    assert told == []
    rows = np.arange(12)
    np.testing.assert_array_equal(first.image.pooled(rows), second.image.pooled(rows))
    assert (len(second.image), second.image.width, second.image.dtype) == (12, 12, "float16")
    assert (len(second.text), second.text.width) == (60, 16)


def test_a_kind_and_its_recall_reach_both_sides(scene_run: Path, tmp_path: Path) -> None:
    output = tmp_path / "index"
    with mh.build_index(scene_run, "scenes:60", output=output, kind="ivf", recall=0.8) as index:
        assert list(index.choices) == list(index.sides)
        for side, choice in index.choices.items():
            stated = index.sides[side].searcher_parameters
            assert stated["recall"] == 0.8
            assert stated["measured"]["recall"] >= 0.8
            assert choice == (
                f"ivf (measured recall {stated['measured']['recall']:.3f} of the 10 nearest, "
                f"on {stated['measured']['queries']} items)"
            )


def test_a_recall_for_a_kind_that_misses_nothing_is_refused_first(
    scene_run: Path, tmp_path: Path
) -> None:
    message = "an index of kind 'flat' takes distinct; got recall"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        mh.build_index(scene_run, "no such", output=tmp_path / "x", kind="flat", recall=0.9)
