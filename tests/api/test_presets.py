from pathlib import Path

import numpy as np
import pytest

import modalhash as mh
from modalhash.methods.cfrh import DENSE

QUICK = {"epochs": 1, "hidden_width": 8}
pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")


@pytest.mark.parametrize(
    ("encoder", "preset", "taken", "rate"),
    [
        ("tiny", "auto", "dense", 3e-3),  # vectors without zeros
        ("tiny+bow", "auto", "paper", 0.01),  # bags of words
        ("tiny+bow", "dense", "dense", 3e-3),
        ("tiny", "paper", "paper", 0.01),
        ("tiny", None, "", 0.01),
    ],
)
def test_auto_takes_the_preset_that_suits_the_texts(
    encoder: str, preset: str | None, taken: str, rate: float
) -> None:
    model = mh.train(
        "scenes:40", method="cfrh", encoder=encoder, n_bits=8, preset=preset, settings=QUICK
    )
    assert model.record.preset == taken
    assert model.record.training["learning_rate"] == rate
    assert model.record.settings["hidden_width"] == 8  # a user's change comes last


def test_floors_have_no_preset_to_take() -> None:
    model = mh.train("scenes:40", encoder="tiny", n_bits=8, method="cca-sign")
    assert model.record.preset == ""


def test_arrays_that_are_mostly_zeros_count_as_sparse(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    np.save(tmp_path / "image.npy", generator.normal(size=(40, 6)).astype(np.float32))
    texts = (generator.random((40, 9)) < 0.3).astype(np.float32)
    texts[:, 0] = 1
    np.save(tmp_path / "text.npy", texts)
    model = mh.train(
        f"features:{tmp_path}", method="cfrh", encoder="precomputed", n_bits=8, settings=QUICK
    )
    assert model.record.preset == "paper"
    assert DENSE["learning_rate"] != model.record.training["learning_rate"]
