import json
import logging
import re
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import modalhash as mh
from modalhash.artifacts import HashModel
from modalhash.codes import hamming_distances
from modalhash.encoders import load_encoder
from modalhash.encoders.network_towers import NetworkTower
from modalhash.errors import ArtifactError, ModelUnavailableError, SettingError
from tests.oracles.coloured_photos import write_coloured_photos
from tests.oracles.tiny_transformers import save_tiny_model

transformers: Any = import_module("transformers")
SETTINGS = {"epochs": 2, "batch_size": 8, "encoder_rate_scale": 10, "learning_rate": 0.003}
TEXTS = ["a red picture", "the blue dog runs"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verb")
    write_coloured_photos(folder / "photos")
    for kind in ("clip", "vit", "bert"):
        save_tiny_model(kind, folder / kind)
    return folder


def tuned(root: Path, output: Path | None, encoder: str = "", **options: Any) -> HashModel:
    merged: dict[str, Any] = {"settings": SETTINGS, "cache": root / "cache", "device": "cpu"}
    merged |= options
    return mh.train(
        root / "photos",
        output=output,
        n_bits=16,
        encoder=encoder or f"clip:{root / 'clip'}",
        tune_encoder=True,
        **merged,
    )


@pytest.fixture(scope="module")
def model(root: Path) -> HashModel:
    return tuned(root, root / "run")


def test_a_loaded_model_encodes_as_the_trained_one(model: HashModel, root: Path) -> None:
    loaded = mh.load_model(root / "run", device="cpu")
    assert loaded.encoder.identity() == model.encoder.identity()
    pictures = [root / "photos" / "images" / f"{number:03d}.png" for number in range(4)]
    np.testing.assert_array_equal(loaded.encode_texts(TEXTS), model.encode_texts(TEXTS))
    np.testing.assert_array_equal(loaded.encode_images(pictures), model.encode_images(pictures))


def test_the_record_says_what_was_tuned(model: HashModel, root: Path) -> None:
    document = json.loads((root / "run" / "model.json").read_text(encoding="utf-8"))
    before = load_encoder(f"clip:{root / 'clip'}")
    assert document["training"]["tune_encoder"] is True
    assert document["encoder"]["tuned"] == {"image": "encoder", "text": "encoder"}
    assert document["encoder"]["untuned_identity"] == before.identity()
    for side in ("image", "text"):
        now = document["encoder"]["identity"][side]
        assert now["weights"] != before.identity()[side]["weights"]
        assert {**now, "weights": ""} == {**before.identity()[side], "weights": ""}
    card = (root / "run" / "README.md").read_text(encoding="utf-8")
    assert "tuned; its weights are in encoder/" in card


def test_the_saved_encoder_is_an_ordinary_model_folder(model: HashModel, root: Path) -> None:
    folder = root / "run" / "encoder"
    assert not [path for path in folder.rglob("*") if path.suffix in (".bin", ".pkl", ".pt")]
    network = transformers.CLIPModel.from_pretrained(folder).eval()
    words = transformers.AutoTokenizer.from_pretrained(folder)(TEXTS[:1], return_tensors="pt")
    with torch.inference_mode():
        found = network.text_projection(network.text_model(**words).pooler_output)
    expected = model.encoder.text.encode(TEXTS[:1]).pooled
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=2e-5)
    again = load_encoder(f"clip:{folder}")
    assert again.image.fingerprint() == model.encoder.image.fingerprint()
    assert again.text.fingerprint() == model.encoder.text.fingerprint()


def test_features_of_tuned_and_frozen_towers_never_mix(model: HashModel, root: Path) -> None:
    collection = mh.load_collection(root / "photos")
    frozen = mh.extract_features(
        collection, f"clip:{root / 'clip'}", cache=root / "cache", device="cpu"
    )
    now = mh.extract_features(collection, model.encoder, cache=root / "cache")
    rows = np.arange(8)
    assert not np.allclose(frozen.image.pooled(rows), now.image.pooled(rows), atol=1e-3)
    assert not np.allclose(frozen.text.pooled(rows), now.text.pooled(rows), atol=1e-3)
    again = mh.extract_features(
        collection, f"clip:{root / 'clip'}", cache=root / "cache", device="cpu"
    )
    np.testing.assert_array_equal(again.image.pooled(rows), frozen.image.pooled(rows))


def test_an_index_answers_without_the_run_and_the_model_it_began_with(
    root: Path, tmp_path: Path
) -> None:
    shutil.copytree(root / "clip", tmp_path / "clip")
    model = tuned(root, tmp_path / "run", f"clip:{tmp_path / 'clip'}")
    report = mh.evaluate(tmp_path / "run", cache=root / "cache", device="cpu")
    assert report.n_bits == 16
    mh.build_index(
        tmp_path / "run", output=tmp_path / "index", cache=root / "cache", device="cpu"
    ).close()
    expected = model.encode_texts(TEXTS)
    for name in ("clip", "run"):
        shutil.rmtree(tmp_path / name)
    with mh.open_index(tmp_path / "index", device="cpu") as index:
        np.testing.assert_array_equal(index.model.encode_texts(TEXTS), expected)
        assert len(index.search(TEXTS[0], k=3).hits) == 3


def test_a_pair_of_towers_is_saved_side_by_side(root: Path, tmp_path: Path) -> None:
    name = f"vit:{root / 'vit'}+bert:{root / 'bert'}"
    model = tuned(root, tmp_path / "run", name)
    assert model.tuned_folders == {"image": "encoder/image", "text": "encoder/text"}
    loaded = mh.load_model(tmp_path / "run", device="cpu")
    assert loaded.encoder.identity() == model.encoder.identity()
    np.testing.assert_array_equal(loaded.encode_texts(TEXTS), model.encode_texts(TEXTS))


def test_beside_bags_of_words_only_the_image_tower_is_tuned(root: Path, tmp_path: Path) -> None:
    model = tuned(root, tmp_path / "run", f"clip:{root / 'clip'}+bow:20,min_count=1")
    assert model.tuned_folders == {"image": "encoder/image"}
    loaded = mh.load_model(tmp_path / "run", device="cpu")
    np.testing.assert_array_equal(loaded.encode_texts(TEXTS), model.encode_texts(TEXTS))
    assert loaded.encoder.identity() == model.encoder.identity()


def test_a_model_without_a_folder_works_and_can_be_saved(root: Path, tmp_path: Path) -> None:
    from modalhash.artifacts import save_model

    model = tuned(root, None)
    expected = model.encode_texts(TEXTS)
    saved = save_model(model, tmp_path / "late")
    np.testing.assert_array_equal(saved.encode_texts(TEXTS), expected)
    loaded = mh.load_model(tmp_path / "late", device="cpu")
    np.testing.assert_array_equal(loaded.encode_texts(TEXTS), expected)


def test_starting_anew_removes_the_tuned_weights_of_before(root: Path, tmp_path: Path) -> None:
    tuned(root, tmp_path / "run")
    mh.train(
        root / "photos",
        output=tmp_path / "run",
        n_bits=16,
        encoder=f"clip:{root / 'clip'}",
        settings={"epochs": 1, "batch_size": 8},
        overwrite=True,
        cache=root / "cache",
        device="cpu",
    )
    assert not (tmp_path / "run" / "encoder").exists()
    assert mh.load_model(tmp_path / "run").tuned_folders == {}


def test_other_weights_in_the_run_are_refused(model: HashModel, root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "run", tmp_path / "run")
    shutil.copy(root / "clip" / "model.safetensors", tmp_path / "run" / "encoder")
    loaded = mh.load_model(tmp_path / "run", device="cpu")
    with pytest.raises(ArtifactError, match="isn't the one this model was trained with"):
        loaded.encode_texts(TEXTS)


def test_missing_weights_are_said_and_not_looked_for_elsewhere(
    model: HashModel, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(root / "run", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "encoder")
    monkeypatch.chdir(tmp_path)
    loaded = mh.load_model("run", device="cpu")
    message = f"there is no model folder {tmp_path / 'run' / 'encoder'}: check the path"
    with pytest.raises(ModelUnavailableError, match=f"^{re.escape(message)}$"):
        loaded.encode_texts(TEXTS)


def test_an_encoder_that_cannot_be_tuned_is_refused_before_any_work(
    root: Path, tmp_path: Path
) -> None:
    message = (
        "tune_encoder is true, but the encoder 'precomputed+bow' has no tower that can be tuned: "
        "take clip:MODEL or vit:MODEL+bert:MODEL"
    )
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        tuned(root, tmp_path / "run", "precomputed+bow")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", ["hugging-hash", "hugging-hash-plus"])
def test_methods_of_tokens_are_tuned_without_stored_tokens(
    method: str, root: Path, tmp_path: Path
) -> None:
    model = tuned(root, tmp_path / "run", method=method, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("tokens-*"))
    loaded = mh.load_model(tmp_path / "run", device="cpu")
    assert loaded.encoder.identity() == model.encoder.identity()
    np.testing.assert_array_equal(loaded.encode_texts(TEXTS), model.encode_texts(TEXTS))


@pytest.mark.slow
def test_tuned_hugging_hash_tells_colours_apart(root: Path, tmp_path: Path) -> None:
    # Towers of random weights and photos of one of four colours, 24 to learn from.
    scaled = {"image_scaling": "centred_unit", "text_scaling": "centred_unit"}
    more = {"epochs": 15, "learning_rate": 0.001, "encoder_rate_scale": 25}
    model = tuned(root, None, method="hugging-hash", settings=SETTINGS | scaled | more)
    report = mh.evaluate(model, root / "photos", cache=root / "cache", device="cpu")
    found = [
        measure.value
        for direction in report.directions
        for measure in direction.measures
        if (measure.measure, measure.k, measure.relevance) == ("map", 50, "shared_label")
    ]
    assert len(found) == 2
    assert min(found) > 0.8  # chance gives .44, with two of the eight of each colour


def test_a_cpu_is_warned_of(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        tuned(root, None)
    assert "the encoder is tuned on the CPU, which is slow" in caplog.text


def test_checkpoints_hold_the_encoder(model: HashModel, root: Path) -> None:
    stored = load_file(root / "run" / "checkpoint" / "epoch-00002.safetensors")
    assert isinstance(model.encoder.image, NetworkTower)
    for name, value in model.encoder.image.network.state_dict().items():
        assert torch.equal(stored[f"parts.encoder.image.{name}"], value), name


def test_hugging_from_raw_pictures_takes_its_own_preset_and_finds_the_colours(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    model = tuned(root, None, method="hugging-hash", settings={"batch_size": 8, "epochs": 40})
    assert "preset finetuned, as the encoder is tuned (--preset names another)" in caplog.messages
    pictures = [root / "photos" / "images" / f"{number:03d}.png" for number in range(8)]
    texts = ["a red picture", "a green picture", "a blue picture", "a grey picture"]
    distances = hamming_distances(model.encode_texts(texts), model.encode_images(pictures))
    # Photos of the test split, whose colours alternate: each text is nearest to its two.
    assert [sorted(np.argsort(row, kind="stable")[:2] % 4) for row in distances] == [
        [number, number] for number in range(4)
    ]
