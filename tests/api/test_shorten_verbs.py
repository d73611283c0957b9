"""A model of nested codes is shortened to its first bits; codes are cut as it would make them."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modalhash as mh
from modalhash.artifacts import HashModel
from modalhash.codes import Codes, unpack
from modalhash.errors import DamagedArtifactError, InputError, StorageError
from tests.conftest import add_tiny_encoder
from tests.oracles.command_line import CommandLine
from tests.oracles.plain_codes import plain_pack

N_BITS, SCENES = 24, "scenes:60"
SETTINGS: dict[str, Any] = {"shortest": 6, "hidden_width": 8, "epochs": 1}
"""Codes of 6, 12 and 24 bits, most of which don't fill their last byte."""
TEXTS = ["a red circle", "two blue squares on black", "a green star"]
pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, session_cache: Path) -> Path:
    folder = tmp_path_factory.mktemp("nested") / "run"
    with pytest.MonkeyPatch.context() as patch:
        add_tiny_encoder(patch)
        mh.train(
            SCENES, output=folder, method="nested", n_bits=N_BITS, encoder="tiny",
            settings=SETTINGS, cache=session_cache,
        )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def codes(run: Path, session_cache: Path) -> Path:
    folder = run.parent / "codes"
    with pytest.MonkeyPatch.context() as patch:
        add_tiny_encoder(patch)
        mh.encode(run, SCENES, folder, cache=session_cache)
    return folder


def beginning(codes: Codes, n_bits: int) -> list[list[int]]:
    return plain_pack(unpack(codes, N_BITS)[:, :n_bits].tolist())


@pytest.mark.parametrize("n_bits", [6, 12])
def test_codes_of_a_shortened_model_are_the_first_bits(
    run: Path, tmp_path: Path, n_bits: int
) -> None:
    model = mh.load_model(run)
    assert model.code_lengths == [6, 12, 24]
    for short in (model.shortened(n_bits), mh.shorten(model, tmp_path / "short", n_bits=n_bits)):
        assert short.n_bits == n_bits
        assert short.code_lengths == [one for one in (6, 12) if one <= n_bits]
        whole = model.encode_texts(TEXTS)
        assert short.encode_texts(TEXTS).tolist() == beginning(whole, n_bits)
        image = np.random.default_rng(0).random((9, 12)).astype(np.float32)
        whole = model.encode_features(image, "image")
        assert short.encode_features(image, "image").tolist() == beginning(whole, n_bits)
    assert model.n_bits == N_BITS
    assert model.encode_texts(TEXTS).shape == (3, 3)


def test_a_shortened_model_says_so(run: Path, tmp_path: Path) -> None:
    model = mh.load_model(run)
    short = mh.shorten(run, tmp_path / "short", n_bits=12)
    origin = {"n_bits": 24, "fingerprint": model.fingerprint}
    assert short.record.shortened_from == origin
    assert json.loads((tmp_path / "short" / "model.json").read_text("utf-8"))[
        "shortened_from"
    ] == origin  # fmt: skip
    assert "shortened_from" not in json.loads((run / "model.json").read_text("utf-8"))
    card = (tmp_path / "short" / "README.md").read_text("utf-8")
    assert card.startswith("# Nested, 12 bits, trained on scenes\n")
    assert (
        "\nShortened: the codes are the first 12 of the 24 bits of the model that was trained, "
        f"whose fingerprint is `{model.fingerprint}`. Settings and results below are those of its "
        "training.\n"
    ) in card
    assert "Shortened" not in (run / "README.md").read_text("utf-8")
    assert short.fingerprint != model.fingerprint
    again = mh.shorten(short, tmp_path / "shorter", n_bits=6)
    assert again.record.shortened_from == origin
    assert again.fingerprint == model.shortened(6).fingerprint != short.fingerprint


@pytest.mark.parametrize("n_bits", [6, 12])
def test_cut_codes_are_those_of_the_shortened_model(
    run: Path, codes: Path, tmp_path: Path, n_bits: int
) -> None:
    cut = mh.shorten_codes(codes, tmp_path / "cut", n_bits=n_bits)
    assert (cut.folder, cut.n_bits, cut.n_images, cut.n_texts) == (
        tmp_path / "cut", n_bits, 60, 300,
    )  # fmt: skip
    mh.encode(mh.load_model(run).shortened(n_bits), SCENES, tmp_path / "encoded")
    names = {path.name for path in (tmp_path / "encoded").iterdir()}
    assert names == {"image_codes.npy", "text_codes.npy", "labels.npy", "codes.json"}
    assert {path.name for path in (tmp_path / "cut").iterdir()} == names
    for name in names:
        encoded = (tmp_path / "encoded" / name).read_bytes()
        assert (tmp_path / "cut" / name).read_bytes() == encoded, name


def test_codes_may_be_cut_twice_and_are_searched_and_scored(codes: Path, tmp_path: Path) -> None:
    mh.shorten_codes(codes, tmp_path / "12", n_bits=12)
    mh.shorten_codes(tmp_path / "12", tmp_path / "12-6", n_bits=6)
    mh.shorten_codes(codes, tmp_path / "6", n_bits=6)
    for path in (tmp_path / "6").iterdir():
        assert (tmp_path / "12-6" / path.name).read_bytes() == path.read_bytes()
    report = mh.score(tmp_path / "6", tmp_path / "12-6")
    assert report.n_bits == 6
    exported = mh.export_codes(tmp_path / "6", "npy", tmp_path / "exported")
    assert (exported.n_bits, exported.n_items) == (6, 60)


def test_other_verbs_take_a_shortened_model(run: Path, tmp_path: Path) -> None:
    mh.shorten(run, tmp_path / "short", n_bits=12)
    assert sorted(path.name for path in (tmp_path / "short").iterdir()) == [
        "README.md", "model.json", "model.safetensors", "splits",
    ]  # fmt: skip
    report = mh.evaluate(tmp_path / "short")
    assert report.n_bits == 12
    with mh.build_index(tmp_path / "short", output=tmp_path / "index") as index:
        assert index.model.record.shortened_from["n_bits"] == 24
        found = index.search(text=TEXTS[0], k=3)
    with mh.open_index(tmp_path / "index") as index:
        assert [hit.id for hit in index.search(text=TEXTS[0], k=3).hits] == [
            hit.id for hit in found.hits
        ]


def refused(n_bits: int, whose: str) -> str:
    return (
        f"n_bits is {n_bits}, expected one of 6, 12, the shorter lengths that were trained "
        f"({whose}, 24 bits)"
    )


@pytest.mark.parametrize("n_bits", [0, 5, 8, 24, 48])
def test_lengths_that_were_not_trained_are_refused(
    run: Path, codes: Path, tmp_path: Path, n_bits: int
) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(refused(n_bits, 'Nested'))}$"):
        mh.shorten(run, tmp_path / "out", n_bits=n_bits)
    with pytest.raises(InputError, match=f"^{re.escape(refused(n_bits, f'codes in {codes}'))}$"):
        mh.shorten_codes(codes, tmp_path / "out", n_bits=n_bits)
    assert list(tmp_path.iterdir()) == []


def test_codes_without_prefixes_are_refused(scene_run: Path, run: Path, tmp_path: Path) -> None:
    message = (
        ": the first bits are no codes of their own, only all bits together are; train a model of "
        "6 bits, or one of all lengths with --method nested"
    )
    whole = f"CCA + sign, 12 bits{message}"
    with pytest.raises(InputError, match=f"^{re.escape(whole)}$"):
        mh.shorten(scene_run, tmp_path / "out", n_bits=6)
    encoded = tmp_path / "codes"
    mh.encode(scene_run, SCENES, encoded)
    whole = f"codes in {encoded}, 12 bits{message}"
    with pytest.raises(InputError, match=f"^{re.escape(whole)}$"):
        mh.shorten_codes(encoded, tmp_path / "out", n_bits=6)
    shortest = mh.load_model(run).shortened(6)
    with pytest.raises(InputError, match=re.escape(f"Nested, 6 bits{message}")):
        shortened_again(shortest)


def shortened_again(model: HashModel) -> HashModel:
    return model.shortened(6)


def test_what_is_there_is_kept(run: Path, codes: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    message = f"{tmp_path} exists already: choose another folder"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        mh.shorten(run, tmp_path, n_bits=6)
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        mh.shorten_codes(codes, tmp_path, n_bits=6)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    (tmp_path / "empty").mkdir()
    assert mh.shorten(run, tmp_path / "empty", n_bits=6).n_bits == 6


def test_a_full_disk_leaves_nothing(
    run: Path, codes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = mh.load_model(run)

    def no_space(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(StorageError, match="No space left on device"):
        mh.shorten(model, tmp_path / "out", n_bits=6)
    with pytest.raises(StorageError, match="No space left on device"):
        mh.shorten_codes(codes, tmp_path / "out", n_bits=6)
    assert list(tmp_path.iterdir()) == []


def changed(folder: Path, codes: Path, **entries: Any) -> Path:
    """Copy codes with other entries in their description; None leaves one out."""
    folder.mkdir()
    for path in codes.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    document = json.loads((codes / "codes.json").read_text("utf-8")) | entries
    kept = {name: value for name, value in document.items() if value is not None}
    (folder / "codes.json").write_text(json.dumps(kept), encoding="utf-8")
    return folder


def test_folders_that_cannot_be_cut_say_why(codes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    old = changed(tmp_path / "old", codes, code_lengths=None)
    message = (
        f"{old / 'codes.json'} doesn't say which first bits are codes of their own: encode the "
        "collection again"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        mh.shorten_codes(old, out, n_bits=6)
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "shards.json").write_text("{}")
    message = (
        f"{tmp_path / 'shards'} holds codes of shards, which aren't cut: shorten the model, and "
        "encode the shards with it"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        mh.shorten_codes(tmp_path / "shards", out, n_bits=6)
    wide = changed(tmp_path / "wide", codes, n_bits=32)
    with pytest.raises(
        DamagedArtifactError, match=r"image_codes\.npy is damaged: .*; encode again"
    ):
        mh.shorten_codes(wide, out, n_bits=6)
    (wide / "image_codes.npy").unlink()
    with pytest.raises(DamagedArtifactError, match=r"image_codes\.npy is damaged: "):
        mh.shorten_codes(wide, out, n_bits=6)
    with pytest.raises(DamagedArtifactError, match="is no codes folder"):
        mh.shorten_codes(tmp_path, out, n_bits=6)
    assert not out.exists()


def test_the_command_takes_runs_and_codes(
    modalhash: CommandLine, run: Path, codes: Path, tmp_path: Path
) -> None:
    short, cut = tmp_path / "short", tmp_path / "cut"
    ended = modalhash("shorten", run, "--bits", "12", "-o", short)
    assert (ended.code, ended.out) == (
        0, f"Nested, the first 12 of 24 bits: model in {short}\n",
    )  # fmt: skip
    ended = modalhash("shorten", codes, "--bits", "12", "-o", cut)
    assert (ended.code, ended.out) == (
        0, f"60 pictures and 300 texts, 12 bits each, in {cut}\n",
    )  # fmt: skip
    ended = modalhash("encode", short, SCENES, "-o", tmp_path / "encoded")
    assert ended.code == 0
    assert (tmp_path / "encoded" / "codes.json").read_bytes() == (cut / "codes.json").read_bytes()
    ended = modalhash("shorten", run, "--bits", "8", "-o", tmp_path / "other")
    assert (ended.code, ended.err) == (1, f"modalhash: {refused(8, 'Nested')}\n")
    ended = modalhash("shorten", tmp_path, "--bits", "8", "-o", tmp_path / "other")
    assert ended.code == 1
    assert "is no model folder" in ended.err
