"""A model is saved and loaded without a change; what is damaged, newer or unfinished says so."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modalhash.artifacts import HashModel, load_model, model_card, save_model
from modalhash.errors import ArtifactError, DamagedArtifactError, NewerFormatError, StorageError
from modalhash.files import sealed
from tests.oracles.plain_model import linear_tower, plain_model
from tests.oracles.tiny_encoder import TinyTextTower

TEXTS = ["a red circle", "two blue squares on black"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved model of two bits on two features."""
    tower = linear_tower([[1, 0], [0, -1]], [0, 0.5])
    save_model(plain_model(tower, tower), tmp_path / "run")
    return tmp_path / "run"


def record_of(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    return document


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object], *, seal: bool = True) -> None:
    document = record_of(folder)
    change(document)
    content = sealed(document) if seal else document
    (folder / "model.json").write_text(json.dumps(content), encoding="utf-8")


def test_a_loaded_model_gives_the_same_codes(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    image = linear_tower(rng.normal(size=(12, 4)).tolist(), rng.normal(size=12).tolist())
    text = linear_tower(rng.normal(size=(12, 3)).tolist(), rng.normal(size=12).tolist())
    saved = save_model(plain_model(image, text), tmp_path / "run")
    loaded = load_model(tmp_path / "run")
    for width, modality in ((4, "image"), (3, "text")):
        features = rng.normal(size=(50, width)).astype(np.float32)
        np.testing.assert_array_equal(
            loaded.encode_features(features, modality),  # type: ignore[arg-type]
            saved.encode_features(features, modality),  # type: ignore[arg-type]
        )
    assert loaded.record == saved.record
    assert loaded.fingerprint == saved.fingerprint


@pytest.mark.usefixtures("tiny_encoder")
def test_a_loaded_model_encodes_texts_and_pictures(scene_run: Path, tmp_path: Path) -> None:
    loaded = load_model(scene_run)
    again = save_model(loaded, tmp_path / "copy")
    picture = tmp_path / "red.png"
    red_picture(picture)
    np.testing.assert_array_equal(again.encode_texts(TEXTS), loaded.encode_texts(TEXTS))
    np.testing.assert_array_equal(again.encode_images([picture]), loaded.encode_images([picture]))
    assert loaded.encode_texts(TEXTS).shape == (2, 2)  # 12 bits in two bytes
    for name in ("model.safetensors", "model.json", "README.md"):
        assert (tmp_path / "copy" / name).read_bytes() == (scene_run / name).read_bytes()


def red_picture(path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8), "red").save(path)


def test_codes_are_those_worked_out_by_hand(folder: Path) -> None:
    # bit 0 is 1 where x >= 0, bit 1 where 0.5 - y >= 0
    codes = load_model(folder).encode_features(np.array([[1, 1], [-1, 0], [0, 0.5]]), "text")
    assert codes.tolist() == [[0b01], [0b10], [0b11]]


def test_the_fingerprint_is_the_hash_of_the_weights_saved_or_not(tmp_path: Path) -> None:
    tower = linear_tower([[1.0]], [0.0])
    model = plain_model(tower, tower)
    assert model.record.weights_sha256 == ""
    saved = save_model(model, tmp_path)
    content = (tmp_path / "model.safetensors").read_bytes()
    assert hashlib.sha256(content).hexdigest() == model.fingerprint == saved.fingerprint
    other = plain_model(linear_tower([[2.0]], [0.0]), tower)
    assert other.fingerprint != model.fingerprint


def test_the_record_says_everything_about_the_model(folder: Path) -> None:
    document = record_of(folder)
    assert document["format"] == 1
    assert document["n_bits"] == 2
    assert document["method"] == "cca-sign"
    assert document["seed"] == 7
    assert document["encoder"]["identity"]["image"]["width"] == 2
    assert document["towers"]["text"]["head"] == {"kind": "linear", "in_width": 2, "n_bits": 2}
    assert set(document) == {
        "format", "method", "title", "n_bits", "settings", "training", "seed", "encoder",
        "feature_dtype", "trained_on", "towers", "preset", "results", "modalhash",
        "weights_sha256", "checksum",
    }  # fmt: skip


def test_the_card_tells_people(folder: Path) -> None:
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith("# CCA + sign, 2 bits, trained on pairs\n")
    for line in (
        "| collection | pairs |",
        "| split | train |",
        "| method | CCA + sign (`cca-sign`) |",
        "| encoder | `precomputed` |",
        "| seed | 7 |",
        "| best_epoch | 3 |",
        "| ridge | 0.5 |",
        "| epochs | 20 |",
    ):
        assert f"\n{line}\n" in card
    assert "2 bits (1 bytes)" in card
    assert "None." in model_card(record_of(folder) | {"settings": {}})


@pytest.mark.parametrize("place", [0, 8, 100, -1])
def test_any_flipped_byte_of_the_weights_is_found(folder: Path, place: int) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)
    message = (
        f"{path} is damaged: its checksum isn't the one in model.json; "
        "take it from a backup, or train again"
    )
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        load_model(folder)


def test_missing_weights_are_said(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.unlink()
    message = f"can't read {path}: No such file or directory; take it from a backup, or train again"
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        load_model(folder)


def test_a_changed_record_is_found(folder: Path) -> None:
    rewrite(folder, lambda document: document.update(seed=8), seal=False)
    message = f"{folder / 'model.json'} is damaged: it was changed; make the model again"
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        load_model(folder)


def test_a_cut_record_is_found(folder: Path) -> None:
    path = folder / "model.json"
    path.write_text(path.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    with pytest.raises(
        DamagedArtifactError, match=f"^{re.escape(str(path))} is damaged: not valid JSON"
    ):
        load_model(folder)


def test_missing_and_unknown_entries_are_named(folder: Path) -> None:
    rewrite(folder, lambda document: (document.pop("seed"), document.update(colour="red")))
    message = f"{folder / 'model.json'} is damaged: missing or unknown entries: colour, seed"
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        load_model(folder)


def test_a_newer_format_is_refused_by_version(folder: Path) -> None:
    rewrite(folder, lambda document: document.update(format=2, modalhash="9.1"), seal=False)
    message = (
        f"{folder / 'model.json'} has format 2 (written by modalhash 9.1); this version reads "
        "model formats up to 1: upgrade modalhash"
    )
    with pytest.raises(NewerFormatError, match=f"^{re.escape(message)}$"):
        load_model(folder)


def test_towers_that_dont_fit_the_weights_are_refused(folder: Path) -> None:
    def widen(document: dict[str, Any]) -> None:
        document["towers"]["image"]["head"]["in_width"] = 3

    rewrite(folder, widen)
    with pytest.raises(
        DamagedArtifactError,
        match=re.escape(f"{folder / 'model.safetensors'} doesn't fit the towers in model.json: "),
    ):
        load_model(folder)


def test_a_head_of_an_unknown_kind_is_refused(folder: Path) -> None:
    def invent(document: dict[str, Any]) -> None:
        document["towers"]["image"]["head"] = {"kind": "spiral"}

    rewrite(folder, invent)
    message = "the model describes a hash head this version can't build: {'kind': 'spiral'}"
    with pytest.raises(ArtifactError, match=f"^{re.escape(message)}$"):
        load_model(folder)


def test_a_folder_without_a_model_is_said(tmp_path: Path) -> None:
    message = f"{tmp_path} is no model folder: it has no model.json"
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        load_model(tmp_path)


def test_an_unfinished_run_names_the_way_on(folder: Path) -> None:
    (folder / "model.json").unlink()
    (folder / "checkpoint").mkdir()
    message = (
        f"{folder} holds a run that isn't finished: go on with the `modalhash train` command it "
        "was started with, and --resume"
    )
    with pytest.raises(ArtifactError, match=f"^{re.escape(message)}$"):
        load_model(folder)


@pytest.mark.usefixtures("tiny_encoder")
def test_an_encoder_that_changed_is_refused(
    scene_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(scene_run)
    then = model.record.encoder["identity"]
    monkeypatch.setattr(TinyTextTower, "version", 2)
    now = {**then, "text": {**then["text"], "version": 2}}
    message = (
        f"the encoder 'tiny' isn't the one this model was trained with: now {now}, then {then}; "
        "install the same version, or train again"
    )
    with pytest.raises(ArtifactError, match=f"^{re.escape(message)}$"):
        model.encode_texts(["a"])


def test_a_full_disk_leaves_the_old_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    copy = folder.parent / "copy"
    shutil.copytree(folder, copy)

    def no_space(handle: int) -> None:
        raise OSError(28, "No space left on device")

    model: HashModel = load_model(folder)
    monkeypatch.setattr("os.fsync", no_space)
    message = (
        f"can't write {copy / 'model.safetensors'}: No space left on device; free some space or "
        "choose another folder, then run the same command again: what was finished is kept"
    )
    with pytest.raises(StorageError, match=f"^{re.escape(message)}$"):
        save_model(model, copy)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
