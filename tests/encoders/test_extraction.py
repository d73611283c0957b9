import logging
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from modalhash.data import load_collection
from modalhash.data.collection import Collection
from modalhash.encoders import (
    Encoder,
    FeatureStore,
    TowerOutput,
    default_cache_folder,
    extract_features,
    load_encoder,
    shard_making,
)
from modalhash.encoders import extraction as extraction_module
from modalhash.encoders.bow import BagOfWordsTower
from modalhash.errors import CollectionError, Defect, FeatureError, SettingError, StorageError
from tests.oracles.fake_encoder import (
    GreyPictures,
    GreyTower,
    LengthTower,
    grey_collection,
    grey_encoder,
)

N_ITEMS = 23


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction_module, "SHARD_ROWS", {"image": 10, "text": 16})


def grey_pictures(collection: Collection) -> GreyPictures:
    assert isinstance(collection.pictures, GreyPictures)
    return collection.pictures


def expected_pooled(collection: Collection) -> NDArray[np.float32]:
    values = np.array(grey_pictures(collection).values, np.float32)
    return np.stack([values, np.sqrt(values)], axis=1)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("batch_size", [None, 1, 3, 1000])
@pytest.mark.parametrize("workers", [1, 3])
def test_features_are_the_towers_in_the_order_of_the_rows(
    tmp_path: Path, batch_size: int | None, workers: int
) -> None:
    collection = grey_collection(N_ITEMS)
    features = extract_features(
        collection,
        grey_encoder(),
        cache_folder=tmp_path,
        with_tokens=True,
        dtype="float32",
        batch_size=batch_size,
        workers=workers,
    )
    rows = np.arange(N_ITEMS)
    np.testing.assert_allclose(features.image.pooled(rows), expected_pooled(collection), rtol=1e-6)
    tokens, mask = features.image.tokens(rows)
    np.testing.assert_array_equal(tokens[:, 0, 0], grey_pictures(collection).values)
    assert mask.all()
    assert collection.captions is not None
    lengths = [[float(len(text))] for text in collection.captions]
    np.testing.assert_array_equal(features.text.pooled(np.arange(2 * N_ITEMS)), lengths)
    tokens, mask = features.text.tokens(np.arange(2 * N_ITEMS))
    assert features.text.token_shape == (4, 1)
    for text, own, is_real in zip(collection.captions, tokens, mask, strict=True):
        assert own[is_real, 0].tolist() == [float(len(word)) for word in text.split()]
    assert features.encoder.image.identity() == {"name": "grey", "version": 1, "width": 2}
    assert features.encoder.text.identity()["name"] == "length"


def test_a_second_run_encodes_nothing_and_writes_nothing(tmp_path: Path) -> None:
    collection = grey_collection(N_ITEMS)
    extract_features(collection, grey_encoder(), cache_folder=tmp_path)
    before = files_of(tmp_path)
    encoder = grey_encoder()
    extract_features(collection, encoder, cache_folder=tmp_path)
    assert isinstance(encoder.image, GreyTower)
    assert encoder.image.batches == []
    assert files_of(tmp_path) == before


def test_only_shards_whose_content_changed_are_made_again(tmp_path: Path) -> None:
    collection = grey_collection(N_ITEMS)
    extract_features(collection, grey_encoder(), cache_folder=tmp_path)
    pictures = grey_pictures(collection)
    pictures.values[12] = 255
    pictures.opened.clear()
    features = extract_features(collection, grey_encoder(), cache_folder=tmp_path)
    assert sorted(pictures.opened) == list(range(10, 20))
    np.testing.assert_allclose(
        features.image.pooled(np.arange(N_ITEMS)), expected_pooled(collection), rtol=1e-3
    )


def test_a_new_stamp_on_the_same_content_costs_a_look_only(tmp_path: Path) -> None:
    collection = grey_collection(N_ITEMS)
    extract_features(collection, grey_encoder(), cache_folder=tmp_path)
    pictures = grey_pictures(collection)
    pictures.touched += 1
    for looked_at in (list(range(N_ITEMS)), []):  # the new stamps are noted
        pictures.opened.clear()
        pictures.digested.clear()
        extract_features(collection, grey_encoder(), cache_folder=tmp_path)
        assert pictures.opened == []
        assert sorted(pictures.digested) == looked_at


def test_changed_texts_are_encoded_again(tmp_path: Path) -> None:
    collection = replace(grey_collection(N_ITEMS), source="somewhere")
    extract_features(collection, grey_encoder(), cache_folder=tmp_path)
    assert collection.captions is not None
    captions = (*collection.captions[:-1], "entirely new")
    encoder = grey_encoder()
    features = extract_features(
        replace(collection, captions=captions), encoder, cache_folder=tmp_path
    )
    assert isinstance(encoder.text, LengthTower)
    assert encoder.text.encoded == list(captions[32:])
    assert features.text.pooled(np.array([45]))[0, 0] == len("entirely new")


def test_encoders_that_share_a_tower_share_its_features(tmp_path: Path) -> None:
    collection = grey_collection(N_ITEMS)
    extract_features(collection, grey_encoder(), cache_folder=tmp_path)
    pair = Encoder("grey+bow", GreyTower(), BagOfWordsTower(vocabulary=["word"]))
    features = extract_features(collection, pair, cache_folder=tmp_path)
    assert isinstance(pair.image, GreyTower)
    assert pair.image.batches == []
    assert features.text.width == 1


def test_a_store_with_tokens_serves_who_asks_for_none_once_it_is_finished(tmp_path: Path) -> None:
    collection = grey_collection(N_ITEMS)
    extract_features(collection, grey_encoder(), cache_folder=tmp_path, with_tokens=True)
    encoder = grey_encoder()
    features = extract_features(collection, encoder, cache_folder=tmp_path)
    assert isinstance(encoder.image, GreyTower)
    assert encoder.image.batches == []
    assert features.image.token_shape == (1, 1)
    grey_pictures(collection).values[0] = 77
    features = extract_features(collection, encoder, cache_folder=tmp_path)
    assert features.image.token_shape is None
    assert features.image.pooled(np.array([0]))[0, 0] == 77


def test_another_tower_has_its_own_store(tmp_path: Path) -> None:
    collection = grey_collection(N_ITEMS)
    extract_features(collection, grey_encoder(), cache_folder=tmp_path)
    other = Encoder("grey", GreyTower(version=2), LengthTower())
    extract_features(collection, other, cache_folder=tmp_path)
    assert isinstance(other.image, GreyTower)
    assert sum(other.image.batches) == N_ITEMS


class BrokenPictures(GreyPictures):
    def open(self, position: int) -> Image.Image:
        if position == 15:
            raise CollectionError([Defect("unreadable-picture", "img15.png", "no picture")])
        return super().open(position)


def test_an_unreadable_picture_stops_and_keeps_the_finished_shards(tmp_path: Path) -> None:
    collection = grey_collection(N_ITEMS)
    values = grey_pictures(collection).values
    broken = replace(collection, pictures=BrokenPictures(values))
    with pytest.raises(CollectionError, match=r"^img15\.png: no picture$"):
        extract_features(broken, grey_encoder(), cache_folder=tmp_path, batch_size=2)
    encoder = grey_encoder()
    extract_features(collection, encoder, cache_folder=tmp_path)
    assert isinstance(encoder.image, GreyTower)
    assert sum(encoder.image.batches) == N_ITEMS - 10
    assert max(encoder.image.batches) == 2  # the size the store was begun with


def test_batches_before_an_unreadable_picture_are_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_making, "encoding_lanes", lambda device: 50)  # all still under way
    values = grey_pictures(grey_collection(N_ITEMS)).values
    broken = replace(grey_collection(N_ITEMS), pictures=BrokenPictures(values))
    with pytest.raises(CollectionError):
        extract_features(broken, grey_encoder(), cache_folder=tmp_path, batch_size=2)
    assert len(list(tmp_path.rglob("pooled-00000-*.npy"))) == 1


class PoisonTower(GreyTower):
    """Gives one value for pictures of grey 16."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def encode(self, prepared: Sequence[NDArray[Any]], *, with_tokens: bool = False) -> TowerOutput:
        output = super().encode(prepared, with_tokens=with_tokens)
        output.pooled[output.pooled[:, 0] == 16] = self.value
        return output


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_name_the_item(tmp_path: Path, value: float) -> None:
    message = (
        "picture 'item15' of 'grey' has features that aren't finite (NaN or infinity): check it, "
        "or leave it out of the collection"
    )
    encoder = Encoder("poison", PoisonTower(value), LengthTower())
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        extract_features(grey_collection(N_ITEMS), encoder, cache_folder=tmp_path)


def test_features_too_large_for_half_precision_ask_for_single(tmp_path: Path) -> None:
    encoder = Encoder("poison", PoisonTower(-70000.0), LengthTower())
    message = (
        "picture 'item15' of 'grey' has a feature of size 70000, more than float16 holds (65504): "
        "extract with dtype='float32'"
    )
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        extract_features(grey_collection(N_ITEMS), encoder, cache_folder=tmp_path)
    features = extract_features(
        grey_collection(N_ITEMS), encoder, cache_folder=tmp_path, dtype="float32"
    )
    assert features.image.pooled(np.array([15])).tolist() == [[-70000.0, -70000.0]]


class SmallMemoryTower(GreyTower):
    """Runs out of memory above three pictures, in one of the ways libraries do."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def encode(self, prepared: Sequence[NDArray[Any]], *, with_tokens: bool = False) -> TowerOutput:
        if len(prepared) > 3:
            raise self.error
        return super().encode(prepared, with_tokens=with_tokens)


class OutOfMemoryError(RuntimeError):
    """Has the name of torch's own."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("CUDA says no"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_batches_shrink_when_memory_runs_out(
    tmp_path: Path, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    collection = grey_collection(N_ITEMS)
    encoder = Encoder("small", SmallMemoryTower(error), LengthTower())
    with caplog.at_level(logging.WARNING):
        features = extract_features(collection, encoder, cache_folder=tmp_path, batch_size=8)
    np.testing.assert_allclose(
        features.image.pooled(np.arange(N_ITEMS)), expected_pooled(collection), rtol=1e-3
    )
    assert caplog.messages[0].endswith("going on with batches of 4")
    assert caplog.messages[1].endswith("going on with batches of 2")
    grey_pictures(collection).values[0] += 1
    caplog.clear()
    extract_features(collection, encoder, cache_folder=tmp_path)
    assert caplog.messages == []  # the size that worked is remembered


def test_other_errors_of_a_tower_come_through(tmp_path: Path) -> None:
    encoder = Encoder("small", SmallMemoryTower(RuntimeError("broken")), LengthTower())
    with pytest.raises(RuntimeError, match=r"^broken$"):
        extract_features(grey_collection(N_ITEMS), encoder, cache_folder=tmp_path, batch_size=8)


def test_progress_counts_rows_and_starts_at_what_is_there(tmp_path: Path) -> None:
    collection = grey_collection(N_ITEMS)
    seen: list[tuple[str, int, int]] = []

    def watch(stage: str, done: int, total: int, values: Mapping[str, float] | None = None) -> None:
        seen.append((stage, done, total))

    extract_features(
        collection, grey_encoder(), cache_folder=tmp_path, batch_size=5, progress=watch
    )
    image = [done for stage, done, total in seen if stage == "image features"]
    assert image == [0, 5, 10, 15, 20, 23]
    assert seen[-1] == ("text features", 46, 46)
    grey_pictures(collection).values[22] = 9
    seen.clear()
    extract_features(collection, grey_encoder(), cache_folder=tmp_path, progress=watch)
    assert seen == [("image features", 20, 23), ("image features", 23, 23)]


def test_zero_features_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    encoder = Encoder("grey+bow", GreyTower(), BagOfWordsTower(vocabulary=["unicorn"]))
    with caplog.at_level(logging.WARNING):
        extract_features(grey_collection(2), encoder, cache_folder=tmp_path)
    assert caplog.messages == [
        "4 of 4 text rows have all-zero features, the first is text 'item0#0' of 'grey'"
    ]


def test_an_empty_text_is_named(tmp_path: Path) -> None:
    collection = grey_collection(2)
    captions = ("a", "b", " ", "c")
    message = "text 'item1#0' of 'grey' is empty: give it a word or leave it out"
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        extract_features(
            replace(collection, captions=captions), grey_encoder(), cache_folder=tmp_path
        )


def test_towers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    collection = grey_collection(2)
    unfitted = Encoder("grey+bow", GreyTower(), BagOfWordsTower())
    message = "the text tower isn't fitted yet: fit it to training texts"
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        extract_features(collection, unfitted, cache_folder=tmp_path)
    bow = Encoder("grey+bow", GreyTower(), BagOfWordsTower(vocabulary=["word"]))
    message = (
        "the text tower 'bow' has no content tokens: take an encoder that has them, such as "
        "'offline' or 'clip'"
    )
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        extract_features(collection, bow, cache_folder=tmp_path, with_tokens=True)


class WrongWidthTower(GreyTower):
    width = 3


def test_a_tower_that_lies_about_its_width_is_caught(tmp_path: Path) -> None:
    encoder = Encoder("wrong", WrongWidthTower(), LengthTower())
    message = "the image tower returned features of shape (2, 2), expected (2, 3)"
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        extract_features(grey_collection(2), encoder, cache_folder=tmp_path)


@pytest.mark.parametrize("name", ["batch_size", "workers"])
def test_counts_must_be_positive(name: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {name: 0}
    with pytest.raises(SettingError, match=f"^{name} is 0, expected at least 1$"):
        extract_features(grey_collection(2), grey_encoder(), cache_folder=tmp_path, **settings)


def features_only(image: NDArray[Any], text: NDArray[Any]) -> Collection:
    return Collection(
        "arrays", ("a", "b"), ("a#0", "b#0"), np.arange(2), features={"image": image, "text": text}
    )


def test_precomputed_features_are_the_arrays(tmp_path: Path) -> None:
    image, text = np.eye(2, 5, dtype=np.float32), np.eye(2, 3, dtype=np.float32)
    features = extract_features(
        features_only(image, text), load_encoder("precomputed"), cache_folder=tmp_path
    )
    np.testing.assert_array_equal(features.image.pooled(np.array([1, 0])), image[[1, 0]])
    np.testing.assert_array_equal(features.text.pooled(np.array([1])), text[1:])
    assert features.encoder.image.state() == {"width": 5}
    assert features.encoder.text.state() == {"width": 3}
    assert features.encoder.image.identity()["width"] == 5
    assert not list(tmp_path.iterdir())


def test_arrays_that_do_not_fit_the_model_are_refused() -> None:
    good = np.eye(2, dtype=np.float32)
    encoder = load_encoder("precomputed", image_state={"width": 4})
    message = (
        "the image features of collection 'arrays' have shape (2, 2), expected (2, 4): bring one "
        "row an item, of the width the model was trained on"
    )
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        extract_features(features_only(good, good), encoder)
    bad = good.copy()
    bad[1, 0] = np.nan
    message = (
        "text 'b#0' of 'arrays' has features that aren't finite (NaN or infinity): check it, or "
        "leave it out of the collection"
    )
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        extract_features(features_only(good, bad), load_encoder("precomputed"))


def test_an_encoder_the_collection_cannot_feed_names_the_one_it_can(tmp_path: Path) -> None:
    good = np.eye(2, dtype=np.float32)
    message = (
        "collection 'arrays' has no pictures: use the encoder 'precomputed', which reads the "
        "features it brings"
    )
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        extract_features(features_only(good, good), grey_encoder(), cache_folder=tmp_path)
    message = (
        "collection 'grey' brings no image features: use an encoder such as 'offline' or 'clip', "
        "or a pair such as 'precomputed+bow'"
    )
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        extract_features(grey_collection(2), load_encoder("precomputed"), cache_folder=tmp_path)


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"MODALHASH_CACHE": "C/own"}, "C/own/features"),
        ("linux", {"XDG_CACHE_HOME": "C/xdg"}, "C/xdg/modalhash/features"),
        ("linux", {}, "HOME/.cache/modalhash/features"),
        ("darwin", {}, "HOME/Library/Caches/modalhash/features"),
        ("win32", {"LOCALAPPDATA": "C/app"}, "C/app/modalhash/features"),
        ("win32", {}, "HOME/AppData/Local/modalhash/features"),
    ],
)
def test_the_cache_lies_where_the_platform_keeps_caches(
    platform: str, variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MODALHASH_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("HOME"))
    assert default_cache_folder() == Path(expected)


def test_collections_of_one_name_but_another_source_do_not_meet(tmp_path: Path) -> None:
    for source in ("first", "second"):
        collection = replace(grey_collection(3), source=source)
        extract_features(collection, grey_encoder(), cache_folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_stores_can_be_opened_on_their_own(tmp_path: Path) -> None:
    collection = grey_collection(N_ITEMS)
    features = extract_features(collection, grey_encoder(), cache_folder=tmp_path)
    assert isinstance(features.image, FeatureStore)
    again = FeatureStore(features.image.folder)
    again.verify()
    assert again.spec.tower == {"name": "grey", "version": 1, "width": 2}


def test_a_cache_that_cannot_be_written_says_how_to_name_another(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    collection = load_collection("scenes:3")
    with pytest.raises(StorageError, match="name a folder that can be written with --cache"):
        extract_features(
            collection, load_encoder("offline"), cache_folder=tmp_path / "file" / "cache"
        )
