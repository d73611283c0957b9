"""Who names no method gets nested codes, with labels where there are any, and is told."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modalhash as mh
from modalhash.api.method_choice import choose_method
from modalhash.data import Collection
from modalhash.errors import SettingError, UnknownNameError

pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")
QUICK = {"epochs": 1, "hidden_width": 8}
LABELLED = "there are labels to learn from"
UNLABELLED = "there are no labels to learn from"


@pytest.fixture(scope="module")
def scenes() -> Collection:
    return mh.load_collection("scenes:40")


def labelled_outside_of(scenes: Collection, split: str) -> Collection:
    """Return the collection with labels, but none on the items of one split."""
    assert scenes.labels is not None
    labels = scenes.labels.copy()
    labels[scenes.split(split)] = 0
    return replace(scenes, labels=labels)


@pytest.mark.parametrize(
    ("choices", "name", "reason"),
    [
        ({}, "nested-labelled", LABELLED),
        ({"settings": {"epochs": "2", "tune_encoder": "no"}}, "nested-labelled", LABELLED),
        ({"hug": "contrastive"}, "cfrh", "content tokens are to be aligned"),
        ({"settings": {"tune_encoder": True}}, "cfrh", "the encoder is to be tuned"),
        ({"settings": {"tune_encoder": "yes"}}, "cfrh", "the encoder is to be tuned"),
    ],
)
def test_what_auto_stands_for(
    scenes: Collection,
    choices: dict[str, Any],
    name: str,
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, logger="modalhash"):
        assert choose_method(scenes, **choices) == name
    assert caplog.messages == [f"method {name}, as {reason} (--method names another)"]


def test_only_labels_of_the_items_to_learn_from_count(
    scenes: Collection, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="modalhash"):
        assert choose_method(replace(scenes, labels=None, label_names=())) == "nested"
        half = labelled_outside_of(scenes, "train")
        assert choose_method(half) == "nested"
        assert choose_method(half, "test") == "nested-labelled"
    reasons = [message.partition(", as ")[2].partition(" (")[0] for message in caplog.messages]
    assert reasons == [UNLABELLED, UNLABELLED, LABELLED]


def test_what_is_wrong_is_said(scenes: Collection) -> None:
    with pytest.raises(SettingError, match="tune_encoder is 'perhaps', expected true or false"):
        choose_method(scenes, settings={"tune_encoder": "perhaps"})
    with pytest.raises(UnknownNameError, match="unknown split of scenes 'dve'"):
        choose_method(scenes, "dve")


def test_training_takes_it_and_records_what_it_was(scenes: Collection, tmp_path: Path) -> None:
    model = mh.train(scenes, output=tmp_path / "run", encoder="tiny", n_bits=8, settings=QUICK)
    assert model.record.method == "nested-labelled"
    named = mh.train(scenes, method="nested-labelled", encoder="tiny", n_bits=8, settings=QUICK)
    assert named.fingerprint == model.fingerprint
    again = mh.train(
        scenes, output=tmp_path / "run", encoder="tiny", n_bits=8, settings=QUICK, resume=True
    )
    assert again.fingerprint == model.fingerprint
    bare = mh.train(labelled_outside_of(scenes, "train"), encoder="tiny", n_bits=8, settings=QUICK)
    assert (bare.record.method, bare.record.preset) == ("nested", "")


def test_arrays_without_labels_and_with_fewer_values_than_bits_are_learned_from(
    tmp_path: Path,
) -> None:
    generator = np.random.default_rng(0)
    np.savez(
        tmp_path / "pairs.npz",
        image=generator.normal(size=(30, 3)).astype(np.float32),
        text=(generator.random((30, 4)) < 0.3).astype(np.float32),
    )
    model = mh.train(
        f"features:{tmp_path / 'pairs.npz'}", encoder="precomputed", n_bits=32, settings=QUICK
    )
    assert (model.record.method, model.code_lengths) == ("nested", [16, 32])
