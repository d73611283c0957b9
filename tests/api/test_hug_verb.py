"""Hugging from the command line and from Python, with tokens reduced before heads read them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import modalhash as mh
from modalhash.artifacts import CollectionCodes
from tests.oracles.command_line import CommandLine
from tests.oracles.tiny_encoder import TINY_TABLES
from tests.oracles.token_encoder import TOKEN_TABLES

SCENES = "scenes:60"
QUICK: dict[str, Any] = {
    "hidden_width": 16, "hug_trunk_width": 8, "hug_trunk_heads": 2, "hug_concepts": 2,
    "batch_size": 16, "epochs": 2, "image_token_grid": 1, "image_token_width": 2,
    "text_token_width": 5,
}  # fmt: skip


CLOSED_FORM = (
    "CCA + ITQ is solved in closed form: there is no training that hugging could help; choose a "
    "method that is trained by gradient"
)


@pytest.fixture(autouse=True)
def _encoders(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    for name, tables in (("tokens", TOKEN_TABLES), ("tiny", TINY_TABLES)):
        for table, entry in tables:
            monkeypatch.setitem(table, name, entry)


@pytest.mark.parametrize(
    ("method", "hug"), [("cfrh", "contrastive"), ("cfrh", "same"), ("hugging-hash", None)]
)
def test_a_hugged_run_is_saved_loaded_and_encodes_alike(
    tmp_path: Path, method: str, hug: str | None
) -> None:
    run = tmp_path / "run"
    trained = mh.train(
        SCENES, output=run, method=method, n_bits=12, encoder="tokens", hug=hug, settings=QUICK
    )
    model = mh.load_model(run)
    assert model.record.settings.get("hug") == hug
    assert model.record.settings["hug_concepts"] == 2
    assert model.record.towers["image"]["tokens"] == {
        "token_width": 3, "width": 2, "side": 2, "grid": 1,
    }  # fmt: skip
    card = (run / "README.md").read_text()
    assert "| hug_trunk_width | 8 |" in card
    assert ("hugged CFRH" in card) == (method == "cfrh")
    scenes = mh.load_collection(SCENES)
    assert scenes.captions is not None
    rows = np.arange(7)
    for one in (trained, model):
        codes = CollectionCodes(one, scenes)
        texts = [scenes.captions[row] for row in rows]
        assert_array_equal(codes.text(rows), one.encode_texts(texts))
        assert_array_equal(codes.text(rows)[3:4], one.encode_texts(texts[3:4]))
    assert_array_equal(
        CollectionCodes(trained, scenes).image(rows), CollectionCodes(model, scenes).image(rows)
    )


def test_the_command_trains_and_evaluates(modalhash: CommandLine, tmp_path: Path) -> None:
    run = tmp_path / "run"
    changes = [part for key, value in QUICK.items() for part in ("--set", f"{key}={value}")]
    ended = modalhash(
        "train", SCENES, "-o", run, "--encoder", "tokens", "--bits", "8", "--method", "cfrh",
        "--hug", "contrastive", *changes,
    )  # fmt: skip
    assert ended.code == 0, ended
    assert ended.out.startswith("hugged CFRH, 8 bits: model in ")
    assert modalhash("evaluate", run).code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--method", "cca-itq", "--hug", "contrastive"],
            CLOSED_FORM,
        ),
        (
            ["--method", "hugging-hash", "--hug", "same"],
            "HuggingHash hugs by itself: leave --hug out, and set hug_weight",
        ),
    ],
)
def test_what_cannot_be_hugged_is_refused(
    modalhash: CommandLine, tmp_path: Path, options: list[str], message: str
) -> None:
    ended = modalhash("train", SCENES, "-o", tmp_path / "run", "--encoder", "tokens", *options)
    assert ended.code == 1
    assert ended.err.splitlines()[-1] == f"modalhash: {message}"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("options", [["--hug", "same"], ["--method", "hugging-hash"]])
def test_an_encoder_without_tokens_is_named(
    modalhash: CommandLine, tmp_path: Path, options: list[str]
) -> None:
    ended = modalhash("train", SCENES, "-o", tmp_path / "run", "--encoder", "tiny", *options)
    assert ended.code == 1
    assert "tokens" in ended.err.splitlines()[-1]
    assert not (tmp_path / "run").exists()
