"""A method that learns from labels, trained on wrong ones and measured on true ones."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import modalhash as mh
from modalhash.artifacts import HashModel
from modalhash.benchmarking import label_noise as robustness
from modalhash.benchmarking.label_noise import (
    RobustnessRun,
    RobustnessStudy,
    flip_labels,
    robustness_variants,
)
from modalhash.benchmarking.outcomes import MEASURES, Outcome
from modalhash.data import Collection
from modalhash.errors import InputError, SettingError, UnknownNameError
from tests.oracles.command_line import CommandLine

pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")

SCENES = "scenes:60"
QUICK = {
    "epochs": 1,
    "least_steps": 0,
    "feature_width": 8,
    "n_attention_heads": 2,
    "batch_size": 16,
}
SET = [word for key, value in QUICK.items() for word in ("--set", f"{key}={value}")]


def made_labels(n: int = 20, c: int = 7) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(5).integers(0, 2, (n, c)).astype(np.uint8)


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.03, 4), (0.1, 14), (0.5, 70)])
def test_as_many_bits_are_flipped_as_asked_for(share: float, count: int) -> None:
    labels = made_labels()
    before = labels.copy()
    flipped = flip_labels(labels, share, 0)
    assert flipped.dtype == np.uint8
    assert int((flipped != labels).sum()) == count == round(140 * share)
    assert set(np.unique(flipped)) <= {0, 1}
    assert_array_equal(labels, before)


def test_flips_depend_on_the_seed_and_a_smaller_share_is_part_of_a_larger_one() -> None:
    labels = made_labels()
    few, many = flip_labels(labels, 0.1, 3), flip_labels(labels, 0.3, 3)
    assert_array_equal(few, flip_labels(labels, 0.1, 3))
    assert not np.array_equal(few, flip_labels(labels, 0.1, 4))
    assert bool(((few != labels) <= (many != labels)).all())
    assert_array_equal(flip_labels(few, 0.1, 3), labels)


def test_flips_fall_everywhere() -> None:
    flipped = flip_labels(np.zeros((1000, 10), np.uint8), 0.2, 0)
    assert np.abs(flipped.mean(axis=0) - 0.2).max() < 0.06
    assert np.abs(flipped.reshape(10, -1).mean(axis=1) - 0.2).max() < 0.06


@pytest.mark.parametrize("share", [-0.1, 0.51, float("nan")])
def test_shares_out_of_range(share: float) -> None:
    message = f"the share of flipped labels is {share}, expected in [0, 0.5]"
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        flip_labels(made_labels(), share, 0)
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        mh.robustness(SCENES, "ms2gah", shares=(0.0, share))


def test_the_variants_of_a_method() -> None:
    whole, without = robustness_variants("ms2gah", settings={"epochs": "2"})
    assert (whole.name, dict(whole.settings)) == ("ms2gah", {"epochs": "2"})
    assert (without.name, dict(without.settings)) == (
        "without the graph", {"epochs": "2", "graph_weight": 0.0},
    )  # fmt: skip
    named = robustness_variants(
        "ms2gah", without=["the label encoder", "without the graph", "without grading"]
    )
    assert [one.name for one in named] == [
        "ms2gah", "without the label encoder", "without the graph", "without grading",
    ]  # fmt: skip
    assert len(robustness_variants("ms2gah", without=[])) == 1


def test_methods_without_labels_and_unknown_parts_are_refused() -> None:
    message = (
        "CFRH learns without labels, so that flipped ones change nothing: choose a method that "
        "learns from them (dcmh, ssah, gch, dchmt, ms2gah, nested-labelled)"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        robustness_variants("cfrh")
    with pytest.raises(UnknownNameError, match=r"^unknown method 'nothing'"):
        robustness_variants("nothing")
    with pytest.raises(UnknownNameError, match=r"^unknown part of ms2gah to turn off 'the cat'"):
        robustness_variants("ms2gah", without=["the cat"])


def test_a_collection_without_labels_is_refused() -> None:
    scenes = mh.load_collection(SCENES)
    bare = replace(scenes, labels=None, label_names=())
    message = f"{scenes.name} has no labels to flip: add labels.tsv, or name another collection"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        mh.robustness(bare, "ms2gah", encoder="tiny")
    with pytest.raises(InputError, match=r"^seeds is \(\), expected at least 1 seed"):
        mh.robustness(scenes, "ms2gah", seeds=())
    with pytest.raises(UnknownNameError, match="split of"):
        mh.robustness(scenes, "ms2gah", encoder="tiny", split="later")


def test_only_labels_of_training_items_are_flipped_and_none_in_measures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scenes = mh.load_collection(SCENES)
    assert scenes.labels is not None
    true_labels = scenes.labels.copy()
    trained_on: list[tuple[np.ndarray[Any, Any], int]] = []
    measured_on: list[Collection] = []

    def train(collection: Collection, **options: Any) -> HashModel:
        assert collection.labels is not None
        trained_on.append((collection.labels, options["seed"]))
        return mh.train(collection, **options)

    def evaluate(model: HashModel, collection: Collection, **options: Any) -> Any:
        measured_on.append(collection)
        return mh.evaluate(model, collection, **options)

    monkeypatch.setattr(robustness, "train", train)
    monkeypatch.setattr(robustness, "evaluate", evaluate)
    told: list[tuple[str, int, int]] = []
    study = mh.robustness(
        scenes,
        "ms2gah",
        settings=QUICK,
        shares=(0.0, 0.25),
        n_bits=8,
        seeds=(0, 1),
        encoder="tiny",
        progress=lambda stage, done, total, _values=None: told.append((stage, done, total)),
    )
    items = scenes.split("train")
    others = np.setdiff1d(np.arange(scenes.n_items), items)
    n_flipped = round(0.25 * len(items) * true_labels.shape[1])
    assert [run.n_flipped for run in study.runs] == [0, 0, 0, 0, *[n_flipped] * 4]
    for (labels, seed), run in zip(trained_on, study.runs, strict=True):
        assert seed == run.outcome.seed
        assert int((labels != true_labels).sum()) == run.n_flipped
        assert_array_equal(labels[others], true_labels[others])
    assert_array_equal(trained_on[4][0], trained_on[6][0])  # one seed, two variants
    assert not np.array_equal(trained_on[4][0], trained_on[5][0])
    for collection in measured_on:
        assert collection.labels is not None
        assert_array_equal(collection.labels, true_labels)
    trainings = [(done, total) for stage, done, total in told if stage == "all trainings"]
    assert trainings == sorted(trainings)
    n_steps = len(items) // 16
    assert len(trainings) == trainings[-1][0] == trainings[-1][1] == 8 * n_steps


def test_numbers_are_those_of_training_and_measuring_by_hand() -> None:
    study = mh.robustness(
        SCENES,
        "ms2gah",
        without=[],
        settings=QUICK,
        shares=(0.1,),
        n_bits=8,
        seeds=(3,),
        split="dev",
        encoder="tiny",
    )
    scenes = mh.load_collection(SCENES)
    assert scenes.labels is not None
    items, labels = scenes.split("train"), scenes.labels.copy()
    labels[items] = flip_labels(labels[items], 0.1, 3)
    model = mh.train(
        replace(scenes, labels=labels), method="ms2gah", n_bits=8, encoder="tiny", seed=3,
        settings=QUICK,
    )  # fmt: skip
    report = mh.evaluate(model, scenes, split="dev")
    (run,) = study.runs
    for title, measure, rule, k in MEASURES:
        for direction in ("image_to_text", "text_to_image"):
            expected = report.value(measure, direction, relevance=rule, k=k)
            found = run.outcome.values[f"{title} {direction}"]
            np.testing.assert_allclose(found, expected, rtol=0, atol=5.1e-5)
    assert study.about["preset"] == "dense"
    assert study.about["n_label_bits"] == labels[items].size
    assert study.about["collection_fingerprint"] == scenes.fingerprint()


def test_the_table_by_hand() -> None:
    def run(share: float, row: str, seed: int, value: float) -> RobustnessRun:
        values = {"MAP@50, shared label image_to_text": value}
        return RobustnessRun(share, 0, Outcome(row, "photos dev", 64, seed, values))

    study = RobustnessStudy(
        {},
        (
            run(0.0, "ms2gah", 0, 0.8),
            run(0.0, "ms2gah", 1, 0.9),
            run(0.125, "without the graph", 0, 0.7),
        ),
    )
    lines = study.table().splitlines()
    assert lines[0].startswith("| flipped | variant | MAP@50, shared label I→T | ")
    assert lines[2].startswith("| 0 % | ms2gah | 0.850 ± 0.050 | - |")
    assert lines[3].startswith("| 12.5 % | without the graph | 0.700 | - |")
    assert len(lines) == 4


def test_the_command(modalhash: CommandLine, tmp_path: Path) -> None:
    base = ("robustness", SCENES, "--encoder", "tiny", "--bits", "8", "--seeds", "0", *SET)
    ended = modalhash(*base, "--flip", "0,0.2", "--json", tmp_path / "study.json")
    assert ended.code == 0
    rows = [line.split(" | ")[:2] for line in ended.out.splitlines() if line.startswith("| ")]
    assert rows[2:] == [
        ["| 0 %", "ms2gah"],
        ["| 0 %", "without the graph"],
        ["| 20 %", "ms2gah"],
        ["| 20 %", "without the graph"],
    ]
    document = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))
    assert document["format"] == 1
    assert document["about"]["method"] == "ms2gah"
    assert document["about"]["split"] == "test"
    assert [(one["flip"], one["variant"], one["seed"]) for one in document["runs"]] == [
        (0.0, "ms2gah", 0), (0.0, "without the graph", 0),
        (0.2, "ms2gah", 0), (0.2, "without the graph", 0),
    ]  # fmt: skip
    alone = modalhash(*base, "--flip", "0", "--without", "the label encoder", "--json")
    printed = json.loads(alone.out)
    assert [one["variant"] for one in printed["runs"]] == ["ms2gah", "without the label encoder"]
    assert printed["runs"][0]["values"] == document["runs"][0]["values"]


@pytest.mark.parametrize("flip", ["", "0,a", "0.6", "-0.1", "0;0.1"])
def test_bad_shares_are_wrong_usage(modalhash: CommandLine, flip: str) -> None:
    ended = modalhash("robustness", SCENES, "--flip", flip)
    assert ended.code == 2
    assert f"{flip!r} isn't shares in [0, 0.5] such as 0,0.03,0.1" in ended.err


def test_a_method_without_labels_fails_with_one_line(modalhash: CommandLine) -> None:
    ended = modalhash("robustness", SCENES, "--method", "cca-sign", "--encoder", "tiny")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("modalhash: CCA + sign learns without labels, so that flipped")
