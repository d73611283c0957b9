"""A model in ONNX files: exported, opened, searched with where torch isn't installed."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import modalhash as mh
from modalhash.artifacts import HashModel
from modalhash.errors import (
    ArtifactError,
    DamagedArtifactError,
    FeatureError,
    InputError,
    MissingExtraError,
    ModelUnavailableError,
    NewerFormatError,
)
from modalhash.files import sealed
from tests.conftest import SCENES
from tests.oracles.command_line import CommandLine
from tests.oracles.method_cases import QUICK
from tests.oracles.tiny_transformers import save_tiny_model

pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")
WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; sys.modules['transformers'] = None\n"
TEXTS = ["a red dog", "the blue picture", "green dog runs", "grey"]


@pytest.fixture(scope="module")
def clip_run(tmp_path_factory: pytest.TempPathFactory, session_cache: Path) -> Path:
    """A model on a tiny CLIP, exported with its encoder into its own folder."""
    folder = tmp_path_factory.mktemp("clip")
    save_tiny_model("clip", folder / "clip")
    mh.train(
        SCENES, output=folder / "run", method="nested", n_bits=20,
        encoder=f"clip:{folder / 'clip'}", cache=session_cache, settings=QUICK["nested"],
    )  # fmt: skip
    mh.export_onnx(folder / "run", with_encoder=True)
    return folder / "run"


def run_without_torch(program: str) -> str:
    """Run a program in an interpreter that has no torch, and return what it printed."""
    answer = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH + program],
        check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def changed(source: Path, place: Path, **entries: object) -> Path:
    """Copy an export whose `onnx.json` says something else."""
    shutil.copytree(source, place)
    document = json.loads((place / "onnx.json").read_text())
    (place / "onnx.json").write_text(json.dumps(sealed({**document, **entries})))
    return place


def test_the_folder_is_a_model_with_the_same_codes(clip_run: Path) -> None:
    model, exported = mh.load_model(clip_run), mh.load_model(clip_run / "onnx")
    assert (model.is_in_onnx, exported.is_in_onnx) == (False, True)
    assert exported.fingerprint == model.fingerprint
    features = np.random.default_rng(0).standard_normal((2000, 64)).astype(np.float32)
    for modality in ("image", "text"):
        codes = exported.encode_features(features, modality)
        np.testing.assert_array_equal(codes, model.encode_features(features, modality))
    np.testing.assert_array_equal(exported.encode_texts(TEXTS), model.encode_texts(TEXTS))
    drawn = np.random.default_rng(1).integers(0, 256, (5, 24, 30, 3), dtype=np.uint8)
    pictures = [Image.fromarray(pixels) for pixels in drawn]
    # Features differ in the last bits of a float, so that a bit near 0 may turn.
    different = exported.encode_images(pictures) ^ model.encode_images(pictures)
    assert int(np.bitwise_count(different).sum()) <= 1
    assert exported.encoder.identity() == model.encoder.identity()
    assert exported.encoder.text.knows("a dog")
    assert not exported.encoder.text.knows("zzz")
    assert mh.export_onnx.__doc__


def test_an_index_is_searched_without_torch(
    clip_run: Path, tmp_path: Path, modalhash: CommandLine
) -> None:
    index = tmp_path / "index"
    ended = modalhash("index", clip_run, "-o", index)
    assert ended.code == 0, ended.err
    ended = modalhash("export", index, "--format", "onnx", "--with-encoder")
    assert ended.code == 0, ended.err
    assert "hash functions and encoder of 20 bits as ONNX files" in ended.out
    expected = [hit.id for hit in mh.open_index(index).search(text="a red dog").hits]
    program = (
        "import json, modalhash as mh\n"
        f"index = mh.open_index({str(index)!r})\n"
        "hits = index.search(text='a red dog').hits\n"
        "assert index.model.is_in_onnx\n"
        "print(json.dumps([hit.id for hit in hits]))"
    )
    assert json.loads(run_without_torch(program)) == expected


def test_a_folder_is_found_and_its_index_kept_without_torch(clip_run: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for place, colour in enumerate(["red", "blue", "green"]):
        Image.new("RGB", (20, 20), colour).save(pictures / f"{place}.png")
    program = (
        "import modalhash as mh\n"
        f"answer = mh.find({str(pictures)!r}, 'a red dog', cache={str(tmp_path / 'cache')!r}, "
        f"model={str(clip_run / 'onnx')!r})\n"
        "print(len(answer.hits))"
    )
    assert run_without_torch(program) == "3\n"
    assert run_without_torch(program) == "3\n"
    (kept,) = (tmp_path / "cache" / "folders").glob("pictures-*/model")
    assert (kept / "text_encoder.onnx").is_file()


def test_a_bag_of_words_needs_no_file(tmp_path: Path, session_cache: Path) -> None:
    save_tiny_model("clip", tmp_path / "clip")
    encoder = f"clip:{tmp_path / 'clip'}+bow"
    run = tmp_path / "run"
    model = mh.train(
        SCENES, output=run, method="cca-sign", n_bits=8, encoder=encoder, cache=session_cache
    )
    result = mh.export_onnx(model, tmp_path / "onnx", with_encoder=True)
    assert "image_encoder.onnx" in result.files
    assert "text_encoder.onnx" not in result.files
    exported = mh.load_model(result.folder)
    np.testing.assert_array_equal(exported.encode_texts(TEXTS), model.encode_texts(TEXTS))


def test_what_a_model_in_onnx_files_cannot_do(clip_run: Path, tmp_path: Path) -> None:
    exported = mh.load_model(clip_run / "onnx")
    with pytest.raises(ArtifactError, match="is a model in ONNX files, which can encode and"):
        mh.export_onnx(exported, tmp_path / "again")
    with pytest.raises(ArtifactError, match="take the run folder it was exported from"):
        exported.shortened(16)
    with pytest.raises(FeatureError, match=r"features have shape \(1, 3\), the model"):
        exported.encode_features(np.zeros((1, 3), np.float32), "text")
    with pytest.raises(FeatureError, match="makes no content tokens"):
        exported.encoder.text.encode(["a dog"], with_tokens=True)


def test_heads_alone_encode_features_and_say_what_is_missing(
    clip_run: Path, tmp_path: Path
) -> None:
    heads = mh.load_model(mh.export_onnx(clip_run, tmp_path / "heads").folder)
    assert heads.encode_features(np.ones((1, 64), np.float32), "text").shape == (1, 3)
    message = "lack the image and the text encoder of 'clip:.*': export the model with --with-enc"
    with pytest.raises(ModelUnavailableError, match=message):
        heads.encode_texts(["a dog"])


def test_an_encoder_that_cannot_be_written_is_refused(scene_run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't write an encoder of the class TinyImageTower"):
        mh.export_onnx(scene_run, tmp_path / "onnx", with_encoder=True)
    assert list(tmp_path.iterdir()) == []


def test_damaged_foreign_and_newer_files_are_refused(clip_run: Path, tmp_path: Path) -> None:
    source = clip_run / "onnx"
    document = json.loads((source / "onnx.json").read_text())
    with pytest.raises(NewerFormatError, match=r"has format 99 .* upgrade modalhash"):
        mh.load_model(changed(source, tmp_path / "newer", format=99))
    with pytest.raises(ArtifactError, match="of another model: of 64 bits and the weights"):
        mh.load_model(changed(source, tmp_path / "bits", n_bits=64))
    with pytest.raises(DamagedArtifactError, match=r"onnx.json is damaged: an entry is missing"):
        mh.load_model(changed(source, tmp_path / "entry", bit_order="big"))
    heads = {**document["heads"], "text": {"file": "../text_head.onnx", "width": 64}}
    with pytest.raises(DamagedArtifactError, match="which is no plain name of a file in it"):
        mh.load_model(changed(source, tmp_path / "outside", heads=heads))

    shutil.copytree(source, tmp_path / "other")
    path = tmp_path / "other" / "text_head.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedArtifactError, match=r"its checksum isn't the one in onnx.json"):
        mh.load_model(tmp_path / "other").encode_features(np.ones((1, 64), np.float32), "text")


def test_files_of_other_bits_are_refused(clip_run: Path, tmp_path: Path, scene_run: Path) -> None:
    """Whoever exchanges a file and its checksum is told by its outputs."""
    source = clip_run / "onnx"
    other = mh.export_onnx(scene_run, tmp_path / "other").folder  # of 12 bits
    files = json.loads((source / "onnx.json").read_text())["files"]
    theirs = json.loads((other / "onnx.json").read_text())["files"]["text_head.onnx"]
    place = changed(source, tmp_path / "mixed", files={**files, "text_head.onnx": theirs})
    shutil.copyfile(other / "text_head.onnx", place / "text_head.onnx")
    message = re.escape("gives relaxed of shape ['n', 12], expected (n, 20)")
    with pytest.raises(DamagedArtifactError, match=message):
        mh.load_model(place).encode_features(np.ones((1, 64), np.float32), "text")


def test_without_torch_or_files_the_error_says_what_to_do(
    scene_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modalhash.artifacts.model_reading.find_spec", lambda _: None)
    message = r"has no ONNX files .* needs the package 'torch': pip install 'modalhash\[offline\]'"
    with pytest.raises(MissingExtraError, match=message):
        mh.load_model(scene_run)


def test_the_command_refuses_what_does_not_go_together(
    clip_run: Path, tmp_path: Path, modalhash: CommandLine
) -> None:
    ended = modalhash("export", clip_run)
    assert "Name either a TARGET for codes, or the --format of the model." in ended.err
    ended = modalhash("export", clip_run, "npy", "-o", tmp_path / "x", "--with-encoder")
    assert "--with-encoder goes with --format onnx." in ended.err
    ended = modalhash("export", clip_run, "--format", "onnx")
    assert "exists already: replace it with --overwrite" in ended.err
    ended = modalhash("export", clip_run, "npy")
    assert "Name the new folder: -o FOLDER." in ended.err


@pytest.mark.slow
def test_the_ready_model_answers_without_torch(tmp_path: Path) -> None:
    model = mh.ready_model(64)
    exported = mh.load_model(mh.export_onnx(model, tmp_path / "onnx", with_encoder=True).folder)
    texts = ["a dog in the snow", "two children on the beach", "犬", "a red car next to a house"]
    np.testing.assert_array_equal(exported.encode_texts(texts), model.encode_texts(texts))
    assert [exported.encoder.text.knows(text) for text in texts] == [True, True, False, True]
    drawn = np.random.default_rng(0).integers(0, 256, (4, 300, 200, 3), dtype=np.uint8)
    pictures = [Image.fromarray(pixels) for pixels in drawn]
    different = exported.encode_images(pictures) ^ model.encode_images(pictures)
    assert int(np.bitwise_count(different).sum()) <= 1
    assert isinstance(exported, HashModel)
