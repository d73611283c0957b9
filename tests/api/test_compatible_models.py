"""A new model whose queries search what a former one stored, and what refuses other models."""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modalhash as mh
from modalhash.artifacts import CollectionCodes, load_model, save_model
from modalhash.codes import Codes, hamming_distances, unpack
from modalhash.data import Collection, load_collection
from modalhash.errors import ArtifactError, InputError, SettingError
from modalhash.modalities import Side
from tests.conftest import add_tiny_encoder
from tests.oracles.command_line import CommandLine
from tests.oracles.shard_files import write_shards

SCENES, N_BITS = "scenes:200", 24
NESTED: dict[str, Any] = {"shortest": 12, "hidden_width": 8, "epochs": 30}
pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, session_cache: Path) -> dict[str, Path]:
    """Runs by name: a former model, a new one with another encoder, a stranger and a third one."""
    folder = tmp_path_factory.mktemp("compatible")
    options: dict[str, Any] = {"method": "nested", "n_bits": N_BITS, "settings": NESTED}
    kinds: dict[str, Mapping[str, Any]] = {
        "former": {"encoder": "tiny", "seed": 1},
        "new": {"encoder": "tiny+bow:30", "compatible_with": folder / "former"},
        "stranger": {"encoder": "tiny+bow:30"},
        "third": {"encoder": "tiny", "compatible_with": folder / "new"},
    }
    with pytest.MonkeyPatch.context() as patch:
        add_tiny_encoder(patch)
        for name, kind in kinds.items():
            mh.train(SCENES, output=folder / name, cache=session_cache, **options, **kind)
    return {name: folder / name for name in kinds}


@pytest.fixture(scope="module")
def scenes() -> Collection:
    return load_collection(SCENES)


@pytest.fixture(scope="module")
def former_index(runs: dict[str, Path], session_cache: Path) -> Path:
    folder = runs["former"].parent / "former.index"
    with pytest.MonkeyPatch.context() as patch:
        add_tiny_encoder(patch)
        mh.build_index(
            runs["former"], SCENES, split="train", output=folder, calibrate=False,
            cache=session_cache,
        ).close()  # fmt: skip
    return folder


@pytest.fixture
def index_folder(former_index: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(former_index, tmp_path / "index"))


def codes_of(run: Path, scenes: Collection) -> dict[str, Codes]:
    codes = CollectionCodes(load_model(run), scenes, captions="first")
    items = scenes.split("test")
    return {"image": codes.image(items), "text": codes.text(codes.texts_of(items))}


def test_bits_are_those_of_the_former_model(runs: dict[str, Path], scenes: Collection) -> None:
    former, new, stranger = (codes_of(runs[name], scenes) for name in ("former", "new", "stranger"))
    for modality in ("image", "text"):
        bits = unpack(former[modality], N_BITS)
        agreement = np.mean(unpack(new[modality], N_BITS) == bits)
        assert agreement > np.mean(unpack(stranger[modality], N_BITS) == bits) + 0.1


def test_the_fingerprints_say_which_models_are_compatible(runs: dict[str, Path]) -> None:
    former, new, stranger, third = (
        load_model(runs[name]) for name in ("former", "new", "stranger", "third")
    )
    entry = {"n_bits": N_BITS, "fingerprint": former.fingerprint}
    assert json.loads((runs["new"] / "model.json").read_text("utf-8"))["compatible_with"] == [entry]
    assert "compatible_with" not in json.loads((runs["former"] / "model.json").read_text("utf-8"))
    assert new.compatible_fingerprints == (former.fingerprint,)
    assert new.searches_codes_of(former.fingerprint)
    assert not former.searches_codes_of(new.fingerprint)
    assert not new.searches_codes_of(stranger.fingerprint)
    assert third.compatible_fingerprints == (new.fingerprint, former.fingerprint)
    assert former.fingerprint in (runs["new"] / "README.md").read_text("utf-8")


def test_shortened_models_are_compatible_with_shortened_codes(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    former, new = (load_model(runs[name]) for name in ("former", "new"))
    assert new.shortened(12).searches_codes_of(former.shortened(12).fingerprint)
    assert not new.shortened(12).searches_codes_of(former.fingerprint)
    for name in ("former", "new"):
        mh.encode(runs[name], SCENES, tmp_path / name, split="test")
        mh.shorten_codes(tmp_path / name, tmp_path / f"{name}-12", n_bits=12)
    report = mh.score(tmp_path / "new-12", tmp_path / "former-12", pairs=True)
    assert report.n_bits == 12
    short = mh.train(
        SCENES, method="nested", n_bits=12, settings=NESTED | {"epochs": 1}, encoder="tiny",
        compatible_with=former.shortened(12),
    )  # fmt: skip
    assert short.searches_codes_of(former.shortened(12).fingerprint)


def test_an_index_takes_the_new_model_and_keeps_its_codes(
    runs: dict[str, Path], scenes: Collection, index_folder: Path
) -> None:
    with mh.open_index(index_folder) as index:
        before = {side: own.reconstruct(own.ids) for side, own in index.sides.items()}
    with mh.upgrade_index(index_folder, runs["new"]) as index:
        for side, codes in before.items():
            np.testing.assert_array_equal(
                index.sides[side].reconstruct(index.sides[side].ids), codes
            )
        new = load_model(runs["new"])
        assert index.model.fingerprint == new.fingerprint
        assert scenes.captions is not None
        words = scenes.captions[0]
        hits = index.search(text=words, k=5, scoring="hamming", target="images").hits
        distances = hamming_distances(new.encode_texts([words]), before[Side.IMAGES])[0]
        assert [hit.distance for hit in hits] == sorted(distances.tolist())[:5]
        added = mh.add_to_index(index, SCENES, split="test")
        assert added.images == len(scenes.split("test"))
        row = int(scenes.split("test")[0])
        np.testing.assert_array_equal(
            index.sides[Side.IMAGES].reconstruct([scenes.item_ids[row]]),
            CollectionCodes(new, scenes).image(np.array([row])),
        )
    assert mh.verify_index(index_folder).problems == ()
    mh.upgrade_index(index_folder, runs["third"]).close()
    mh.upgrade_index(index_folder, runs["third"]).close()  # once more is harmless


def test_an_upgrade_that_was_cut_off_opens_and_is_finished(
    runs: dict[str, Path], index_folder: Path
) -> None:
    new = load_model(runs["new"])
    shutil.rmtree(index_folder / "model")
    save_model(new, index_folder / "model")  # and the manifest still names the former model
    with mh.open_index(index_folder) as index:
        assert index.model.fingerprint == new.fingerprint
    mh.upgrade_index(index_folder, new).close()
    manifest = json.loads((index_folder / "manifest.json").read_text("utf-8"))
    assert manifest["model_fingerprint"] == new.fingerprint


def test_an_index_refuses_a_stranger_and_stays_as_it_was(
    runs: dict[str, Path], index_folder: Path
) -> None:
    before = {path: path.read_bytes() for path in index_folder.rglob("*.json")}
    with pytest.raises(ArtifactError, match="isn't compatible with the model"):
        mh.upgrade_index(index_folder, runs["stranger"])
    mh.upgrade_index(index_folder, runs["former"]).close()  # its own model is no change
    after = {path: path.read_bytes() for path in index_folder.rglob("*.json")}
    assert after.keys() == before.keys()
    mh.upgrade_index(index_folder, runs["new"]).close()
    with pytest.raises(ArtifactError, match="isn't compatible with the model"):
        mh.upgrade_index(index_folder, runs["former"])  # there is no way back
    shutil.rmtree(index_folder / "model")
    save_model(load_model(runs["stranger"]), index_folder / "model")
    with pytest.raises(ArtifactError, match="isn't the model this index was made with"):
        mh.open_index(index_folder)


def test_an_index_that_keeps_features_refuses_another_encoder(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    mh.build_index(
        runs["former"], SCENES, split="test", output=folder, keep_features="int8", calibrate=False
    ).close()
    with pytest.raises(InputError, match=re.escape("keeps features to rerank by, which only its")):
        mh.upgrade_index(folder, runs["new"])


def test_a_calibration_goes_and_the_log_says_so(
    runs: dict[str, Path], index_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mh.calibrate(index_folder, "scenes:90", split="all")
    with mh.upgrade_index(index_folder, runs["new"]) as index:
        assert index.calibration is None
    assert "no longer says how probable relevance is" in caplog.text


def test_codes_of_shards_go_into_an_index_of_either_model(
    runs: dict[str, Path], scenes: Collection, index_folder: Path, tmp_path: Path
) -> None:
    test_items = scenes.subset(scenes.split("test"))
    write_shards(tmp_path / "shards", test_items, 2)
    for name in ("new", "stranger"):
        mh.encode_shards(runs[name], tmp_path / "shards", tmp_path / name)
    counts = mh.add_to_index(index_folder, tmp_path / "new")
    assert counts.images == test_items.n_items
    with pytest.raises(ArtifactError, match="were made by another model"):
        mh.add_to_index(index_folder, tmp_path / "stranger")
    mh.encode_shards(runs["former"], tmp_path / "shards", tmp_path / "former")
    mh.build_index(
        runs["new"], tmp_path / "former", output=tmp_path / "mixed", calibrate=False
    ).close()


def test_evaluate_ranks_codes_of_the_former_model(runs: dict[str, Path], tmp_path: Path) -> None:
    report = mh.evaluate(
        runs["new"], SCENES, database_model=runs["former"], captions="all", scoring="hamming",
        n_resamples=10,
    )  # fmt: skip
    for name in ("former", "new"):
        mh.encode(runs[name], SCENES, tmp_path / name, split="test")
    for direction in ("image_to_text", "text_to_image"):
        scored = mh.score(
            tmp_path / "new", tmp_path / "former", pairs=True, direction=direction, n_resamples=10
        )
        value = report.value("recall", direction, relevance="pair", k=10)
        assert value == pytest.approx(scored.value("recall", direction, relevance="pair", k=10))
    assert any(note.startswith("what is ranked was encoded by another") for note in report.notes)
    assert report.about["database_model_fingerprint"] == load_model(runs["former"]).fingerprint
    with pytest.raises(ArtifactError, match="aren't compatible, so their distances mean nothing"):
        mh.evaluate(runs["stranger"], SCENES, database_model=runs["former"])
    with pytest.raises(InputError, match="database_model and rerank are given"):
        mh.evaluate(runs["new"], SCENES, database_model=runs["former"], rerank=10)


def test_codes_of_a_stranger_arent_scored(runs: dict[str, Path], tmp_path: Path) -> None:
    for name in ("former", "stranger"):
        mh.encode(runs[name], SCENES, tmp_path / name, split="test")
    with pytest.raises(InputError, match="were made by two models"):
        mh.score(tmp_path / "stranger", tmp_path / "former", pairs=True)


def test_what_cant_be_made_compatible_is_refused_before_any_work(runs: dict[str, Path]) -> None:
    former = runs["former"]
    with pytest.raises(SettingError, match=re.escape("CCA + ITQ solves for its heads")):
        mh.train(SCENES, method="cca-itq", n_bits=N_BITS, compatible_with=former)
    message = (
        "n_bits is 16, but the codes of the model to be compatible with have 24 bits: train with "
        "--bits 24"
    )
    with pytest.raises(InputError, match=re.escape(message) + "$"):
        mh.train(SCENES, method="nested", n_bits=16, compatible_with=former)
    with pytest.raises(InputError, match="or shorten that model to 12 bits first"):
        mh.train(SCENES, method="nested", n_bits=12, compatible_with=former)
    with pytest.raises(ArtifactError):
        mh.train(SCENES, method="nested", n_bits=N_BITS, compatible_with=former / "nothing")


def test_a_run_is_resumed_with_its_former_model_only(runs: dict[str, Path], tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "output": tmp_path / "run", "method": "nested", "n_bits": N_BITS, "encoder": "tiny",
        "settings": NESTED | {"epochs": 1},
    }  # fmt: skip
    mh.train(SCENES, compatible_with=runs["former"], **options)
    mh.train(SCENES, compatible_with=runs["former"], resume=True, **options)
    with pytest.raises(InputError, match="what differs: compatible_with"):
        mh.train(SCENES, compatible_with=runs["stranger"], resume=True, **options)


def test_the_commands(
    runs: dict[str, Path], index_folder: Path, modalhash: CommandLine, tmp_path: Path
) -> None:
    trained = modalhash(
        "train", SCENES, "-o", tmp_path / "run", "--method", "nested", "--bits", N_BITS,
        "--encoder", "tiny", "--compatible-with", runs["former"], "--set", "epochs=1",
        "--set", "shortest=12", "--set", "hidden_width=8",
    )  # fmt: skip
    assert trained.code == 0
    upgraded = modalhash("upgrade", index_folder, tmp_path / "run")
    assert upgraded.code == 0
    assert "not encoded again; queries are encoded by" in upgraded.out
    measured = modalhash(
        "evaluate", tmp_path / "run", SCENES, "--database-model", runs["former"], "--json", "-"
    )
    assert measured.code == 0
    refused = modalhash("upgrade", index_folder, runs["stranger"])
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    tuned = modalhash(
        "train",
        SCENES,
        "-o",
        tmp_path / "other",
        "--compatible-with",
        runs["former"],
        "--tune",
        "1",
    )
    assert tuned.code == 2
    assert "--compatible-with isn't searched" in tuned.err
