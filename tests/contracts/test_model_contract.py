"""What every model keeps to, whatever method made it: strictly one modality, one item at a time.

A code may depend on the item alone: not on the other modality, the size of the batch, the other
items of it, or the item's place.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import modalhash as mh
from modalhash.artifacts import CollectionCodes, HashModel
from modalhash.codes import unpack
from modalhash.data import Collection, Modality
from modalhash.layers import ModalityFeatures
from modalhash.methods import METHODS, method_class
from modalhash.methods.base import Needs
from tests.oracles.method_cases import PACKAGE

N_ITEMS, N_BITS = 80, 10
SIDES: tuple[tuple[Modality, int], ...] = (("image", 11), ("text", 13))
Floats = NDArray[np.float32]


def pairs() -> Collection:
    """Return pairs of features that share a hidden cause, two texts an item."""
    rng = np.random.default_rng(3)
    causes = rng.normal(size=(N_ITEMS, 6))
    items = np.repeat(np.arange(N_ITEMS), 2)
    image = causes @ rng.normal(size=(6, 11)) + rng.normal(size=(N_ITEMS, 11)) / 10
    text = causes[items] @ rng.normal(size=(6, 13)) + rng.normal(size=(2 * N_ITEMS, 13)) / 10
    return Collection(
        "pairs",
        tuple(f"item{item}" for item in range(N_ITEMS)),
        tuple(f"item{item}#{k}" for item in range(N_ITEMS) for k in range(2)),
        items,
        labels=(causes[:, :3] > 0).astype(np.uint8),
        label_names=("a", "b", "c"),
        splits={"train": np.arange(N_ITEMS, dtype=np.int64)},
        features={"image": image.astype(np.float32), "text": text.astype(np.float32)},
    )


ON_POOLED = sorted(
    name
    for name in METHODS
    if Needs.TOKENS not in method_class(name).needs and name != "feature-sign"
)
"""Those that read tokens, and what takes only modalities of one space, are held to the same by the
contract of methods."""


THIRD_PARTY = f"{PACKAGE}.partial_least_squares:PartialLeastSquares"
"""A method of another package, named as one that nobody registered."""


@pytest.fixture(scope="module", params=[*ON_POOLED, THIRD_PARTY])
def model(request: pytest.FixtureRequest) -> HashModel:
    """A model of each method that works on pooled features."""
    return mh.train(
        pairs(),
        method=request.param,
        n_bits=N_BITS,
        encoder="precomputed",
        settings={"epochs": 1},
        device="cpu",
    )


def features_of(modality: Modality, n_rows: int) -> Floats:
    rng = np.random.default_rng(9)
    return rng.normal(size=(n_rows, dict(SIDES)[modality])).astype(np.float32)


@pytest.mark.parametrize("modality", [side for side, _ in SIDES])
def test_a_code_depends_on_its_item_alone(model: HashModel, modality: Modality) -> None:
    features = features_of(modality, 600)
    codes = model.encode_features(features, modality)
    relaxed = model.relaxed_features(features, modality)
    for size in (1, 2, 7, 255, 256, 257, 599):
        parts = [features[start : start + size] for start in range(0, 600, size)]
        if size == 1:
            parts = parts[:60]
        again = np.concatenate([model.encode_features(part, modality) for part in parts])
        np.testing.assert_array_equal(again, codes[: len(again)])
        floats = np.concatenate([model.relaxed_features(part, modality) for part in parts])
        np.testing.assert_array_equal(floats, relaxed[: len(floats)])
    order = np.random.default_rng(1).permutation(600)
    np.testing.assert_array_equal(model.encode_features(features[order], modality), codes[order])
    mates = features.copy()
    mates[1:] = 1e6
    np.testing.assert_array_equal(model.encode_features(mates, modality)[0], codes[0])


@pytest.mark.parametrize("modality", [side for side, _ in SIDES])
def test_heads_use_nothing_but_exact_arithmetic(
    model: HashModel, modality: Modality, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(features: ModalityFeatures, place: int) -> ModalityFeatures:
        raise AssertionError(f"row {place} of {len(features)} is computed by itself")

    monkeypatch.setattr(ModalityFeatures, "row", refuse)
    model.encode_features(features_of(modality, 3), modality)


@pytest.mark.parametrize("modality", [side for side, _ in SIDES])
def test_a_code_needs_nothing_of_the_other_modality(
    model: HashModel, modality: Modality, tmp_path: Path
) -> None:
    from modalhash.artifacts import load_model, save_model

    features = features_of(modality, 30)
    codes = model.encode_features(features, modality)
    save_model(model, tmp_path / "run")
    lamed = load_model(tmp_path / "run")
    other = lamed.hasher_in_torch.text if modality == "image" else lamed.hasher_in_torch.image
    with torch.no_grad():
        for tensor in [*other.parameters(), *other.buffers()]:
            tensor.fill_(float("nan") if tensor.is_floating_point() else -1)
    np.testing.assert_array_equal(lamed.encode_features(features, modality), codes)


def test_inputs_arent_changed(model: HashModel) -> None:
    for modality, _ in SIDES:
        features = features_of(modality, 20)
        before = features.copy()
        model.encode_features(features, modality)
        np.testing.assert_array_equal(features, before)
        model.encode_features(before.astype(np.float64), modality)
        features.flags.writeable = False
        model.encode_features(features, modality)


def test_codes_are_the_signs_of_the_relaxed_values(model: HashModel) -> None:
    for modality, _ in SIDES:
        features = features_of(modality, 40)
        signs = unpack(model.encode_features(features, modality), N_BITS)
        relaxed = model.relaxed_features(features, modality)
        assert relaxed.shape == (40, N_BITS)
        np.testing.assert_array_equal(signs == 1, relaxed >= 0)


def test_encoding_leaves_no_trace_in_the_model(model: HashModel) -> None:
    before = model.fingerprint
    fresh = HashModel(model.hasher, model.record)
    for modality, _ in SIDES:
        first = model.encode_features(features_of(modality, 10), modality)
        np.testing.assert_array_equal(
            model.encode_features(features_of(modality, 10), modality), first
        )
    assert fresh.fingerprint == before


@pytest.fixture(scope="module")
def offline_model(tmp_path_factory: pytest.TempPathFactory) -> HashModel:
    """A model on the true encoder, trained on 20 scenes."""
    return mh.train(
        "scenes:20",
        method="cca-sign",
        n_bits=N_BITS,
        encoder="offline",
        cache=tmp_path_factory.mktemp("cache"),
        device="cpu",
    )


def test_codes_of_a_collection_are_those_of_its_pictures_and_texts_one_by_one(
    offline_model: HashModel, tmp_path: Path
) -> None:
    collection = mh.load_collection("scenes:20")
    codes = CollectionCodes(offline_model, collection, cache_folder=tmp_path)
    assert collection.pictures is not None
    assert collection.captions is not None
    pictures: list[Path | str | Image.Image] = [
        collection.pictures.open(item) for item in range(20)
    ]
    np.testing.assert_array_equal(offline_model.encode_images(pictures), codes.image(np.arange(20)))
    np.testing.assert_array_equal(
        offline_model.encode_texts(collection.captions), codes.text(np.arange(100))
    )
    np.testing.assert_array_equal(
        offline_model.encode_texts(collection.captions[:1]), codes.text(np.arange(1))
    )
