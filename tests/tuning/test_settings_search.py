"""The search over settings: what is tried, on which items, and what is kept."""

import json
import re
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modalhash as mh
from modalhash.api.settings_files import SettingsFile, read_settings, write_settings
from modalhash.data import Collection
from modalhash.errors import (
    DamagedArtifactError,
    FeatureError,
    InputError,
    MissingExtraError,
    SettingError,
    TrainingError,
    UnknownNameError,
)
from modalhash.methods import method_class
from modalhash.training.pairs import TrainingData, hold_out
from modalhash.tuning import Trial, TuningResult, trials_table, tune
from modalhash.tuning import search as tuning
from modalhash.tuning.search_spaces import Dimension, make_named_space, make_usual_space
from tests.oracles.command_line import CommandLine

N_TRAIN = 120


@pytest.fixture
def pairs() -> Collection:
    """200 items of features with two texts each; the training items are in no order."""
    generator = np.random.default_rng(8)
    labels = (generator.random((200, 4)) < 0.4).astype(np.uint8)
    image = labels @ generator.normal(size=(4, 9)) + generator.normal(size=(200, 9)) / 2
    owners = np.repeat(np.arange(200), 2)
    text = image[owners, :8] + generator.normal(size=(400, 8)) / 2
    order = generator.permutation(200)
    return Collection(
        "pairs",
        tuple(f"i{item}" for item in range(200)),
        tuple(f"t{row}" for row in range(400)),
        owners,
        labels=labels,
        label_names=("a", "b", "c", "d"),
        splits={"train": order[:N_TRAIN], "dev": order[120:160], "test": order[160:]},
        features={"image": image.astype(np.float32), "text": text.astype(np.float32)},
    )


def searched(
    collection: Collection, folder: Path, n_trials: int = 4, **options: Any
) -> TuningResult:
    options = {"n_bits": 6, "repeats": 2, "cache": folder.parent / "cache", **options}
    return tune("cca-itq", collection, folder, n_trials=n_trials, **options)


def found_by(result: TuningResult) -> list[tuple[Any, ...]]:
    """Return what trials tried and gave, without what they took."""
    return [(one.number, dict(one.settings), one.values, one.error) for one in result.trials]


def test_the_usual_space_lies_around_the_preset() -> None:
    djsrh = method_class("djsrh")
    space = make_usual_space(djsrh, preset="dense", changes={}, n_items=640)
    assert {name: str(one) for name, one in space.items()} == {
        "learning_rate": "0.0003 to 0.03, log scale",  # 3e-3, a tenth to ten times
        "weight_decay": "1e-06 to 0.01, log scale",
        "epochs": "25 to 100, log scale",  # 500 steps of 10 an epoch: 50, not 40
        "batch_size": "32, 64, 128",
        "image_weight": "0 to 1",
        "second_order": "0 to 1",
        "similarity_scale": "0.375 to 6, log scale",  # 1.5 / 4 to 1.5 * 4
        "intra_weight": "0.025 to 0.4, log scale",
        "image_rate_scale": "0.25 to 4, log scale",
    }
    few = make_usual_space(djsrh, preset="dense", changes={"intra_weight": 0.2}, n_items=70)
    assert "intra_weight" not in few
    assert few["batch_size"].choices == (32, 64)
    closed = make_usual_space(method_class("cca-itq"), preset=None, changes={}, n_items=640)
    assert {name: str(one) for name, one in closed.items()} == {
        "ridge": "0.125 to 2, log scale",
        "correlation_power": "0.25 to 4, log scale",
    }


def test_a_named_space_is_read() -> None:
    texts = [
        "learning-rate=1e-4:1e-2:log", "second_order=0.1:0.3", "batch_size=64,128,64",
        "text_hidden_width=256:1024", "optimiser", "continuation", "intra_weight",
        "image_hidden_width",
    ]  # fmt: skip
    space = make_named_space(method_class("djsrh"), texts, preset="dense", changes={}, n_items=640)
    assert space == {
        "learning_rate": Dimension(1e-4, 1e-2, is_log=True),
        "second_order": Dimension(0.1, 0.3),
        "batch_size": Dimension(choices=(64, 128)),
        "text_hidden_width": Dimension(256, 1024, is_whole=True),
        "optimiser": Dimension(choices=("sgd", "adam", "adamw")),
        "continuation": Dimension(choices=(False, True)),
        "intra_weight": Dimension(0.025, 0.4, is_log=True),
        "image_hidden_width": Dimension(512, 2048, is_log=True, is_whole=True),
    }
    assert str(space["continuation"]) == "false, true"


@pytest.mark.parametrize(
    ("text", "error", "expected"),
    [
        ("intra=1", UnknownNameError, "unknown setting of djsrh 'intra'; known: batch"),
        ("second_order=0.1:1.5", SettingError, "second_order is 1.5, expected in [0, 1]"),
        ("second_order=0.3:0.1", SettingError, "second_order=0.3:0.1: expected the smaller end"),
        ("second_order=0:1:log", SettingError, "expected the smaller end first above 0"),
        (
            "second_order=0:1:square",
            SettingError,
            "second_order=0:1:square isn't a range: expected",
        ),
        ("continuation=0:1", SettingError, "continuation=0:1 isn't a range"),
        ("second_order=a:b", SettingError, "second_order is 'a', expected a number"),
        ("batch_size=64,x", SettingError, "batch_size is 'x', expected a whole number"),
        ("gradient_clip", SettingError, "gradient_clip has no range of its own: give one, as in"),
        ("intra_weight", SettingError, "intra_weight is set and searched: leave one of them out"),
    ],
)
def test_a_range_that_can_t_be_is_refused(text: str, error: type[Exception], expected: str) -> None:
    with pytest.raises(error, match=re.escape(expected)):
        make_named_space(
            method_class("djsrh"), [text], preset="dense", changes={"intra_weight": 0.2},
            n_items=640,
        )  # fmt: skip


def test_values_are_tidied_within_their_range() -> None:
    narrow = Dimension(0.12345, 0.12349)
    assert narrow.tidy(0.12347) == 0.12345  # 0.123 lies below
    assert Dimension(0.0, 1.0).tidy(0.123456) == 0.123
    assert Dimension(1, 9, is_whole=True).tidy(7) == 7


def test_training_holds_out_as_the_search_does(pairs: Collection) -> None:
    items = pairs.splits["train"]
    table: Any = None
    data = TrainingData(table, table, pairs.caption_starts, items)
    kept, held = data.without(0.2, 3)
    mine = hold_out(items, 0.2, 3)
    np.testing.assert_array_equal(kept.items, mine[0])
    np.testing.assert_array_equal(held, mine[1])
    assert len(held) == 24
    assert sorted([*kept.items, *held]) == sorted(items)


def test_a_trial_is_a_training_on_one_part_judged_on_the_other(
    pairs: Collection, tmp_path: Path
) -> None:
    result = searched(pairs, tmp_path / "tuning", n_trials=2, seed=3)
    for one in (result.trials[0], result.trials[2]):
        assert len(one.values) == 2
        for value, seed in zip(one.values, (3, 4), strict=True):
            kept, held = hold_out(pairs.splits["train"], 0.2, seed)
            model = mh.train(
                replace(pairs, splits={"train": kept}), method="cca-itq", n_bits=6, seed=seed,
                encoder="precomputed", preset=None, settings=one.settings,
                cache=tmp_path / "cache",
            )  # fmt: skip
            image = model.encode_features(pairs.features["image"][held], "image")
            text = model.encode_features(pairs.features["text"][2 * held], "text")
            distances = np.unpackbits(image[:, None] ^ text[None], axis=-1).sum(axis=-1)
            recalls = [plain_recall(distances), plain_recall(distances.T)]
            np.testing.assert_allclose(value, np.mean(recalls), atol=6e-7)
        assert one.value is not None
        np.testing.assert_allclose(one.value, np.mean(one.values), atol=6e-7)


def plain_recall(distances: np.ndarray) -> float:
    """Return recall@10 of the diagonal; of t items at its distance, a random one comes first."""
    hits = []
    for query, row in enumerate(distances):
        n_before, n_tied = (row < row[query]).sum(), (row == row[query]).sum()
        hits.append(min(max(10 - n_before, 0) / n_tied, 1))
    return float(np.mean(hits))


def test_queries_never_enter(pairs: Collection, tmp_path: Path) -> None:
    """Items outside the split change nothing: neither what they hold, nor that they are there."""
    result = searched(pairs, tmp_path / "whole")
    others = np.setdiff1d(np.arange(200), pairs.splits["train"])
    texts = np.concatenate([2 * others, 2 * others + 1])
    image, text = (pairs.features[side].copy() for side in ("image", "text"))
    image[others], text[texts] = 1e4, -1e4
    assert pairs.labels is not None
    labels = pairs.labels.copy()
    labels[others] = 0
    spoilt = replace(pairs, features={"image": image, "text": text}, labels=labels, name="spoilt")
    assert found_by(searched(spoilt, tmp_path / "spoilt")) == found_by(result)
    alone = pairs.subset(pairs.splits["train"])
    assert alone.splits["test"].size == 0
    assert found_by(searched(alone, tmp_path / "alone")) == found_by(result)


def test_no_split_of_queries_reaches_training_or_measuring(
    pairs: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Collection] = []
    for name in ("train", "evaluate"):
        real = getattr(tuning, name)

        def spy(*args: Any, real: Any = real, **options: Any) -> Any:
            given.extend(one for one in args if isinstance(one, Collection))
            return real(*args, **options)

        monkeypatch.setattr(tuning, name, spy)
    searched(pairs, tmp_path / "tuning", n_trials=2)
    assert len(given) == 12
    for one in given:
        assert set(one.splits) == {"train", "validation"}
        both = np.concatenate(list(one.splits.values()))
        np.testing.assert_array_equal(np.sort(both), np.sort(pairs.splits["train"]))


def test_the_best_is_kept_and_trains(pairs: Collection, tmp_path: Path) -> None:
    result = searched(pairs, tmp_path / "tuning", n_trials=6)
    assert [one.number for one in result.trials] == list(range(7))
    assert result.trials[0].settings == {}
    assert result.best.value == max(one.value for one in result.trials if one.value is not None)
    read = read_settings(result.settings_file)
    assert (read.method, read.preset) == ("cca-itq", "")
    assert read.settings == result.best.settings
    for one in result.trials[1:]:
        assert set(one.settings) == set(result.space)
        for name, value in one.settings.items():
            assert result.space[name].holds(value)
            assert value == float(f"{value:.3g}")
    table = (tmp_path / "tuning" / "trials.md").read_text()
    assert table == trials_table(result)
    lines = table.splitlines()
    assert lines[0] == "| trial | recall@10 by pair | ridge | correlation_power | CPU s |"
    assert len([line for line in lines if line.startswith("|")]) == 2 + 7
    assert sum("| as it is |" in line and "| 0.5 | 1 |" in line for line in lines) == 1
    values = [float(line.split("|")[2].split("±")[0]) for line in lines[2:9]]
    assert values == sorted(values, reverse=True)
    assert "0.2 of the items of 'train' held out, seed 0" in table


def test_a_search_that_was_stopped_goes_on_as_if_it_wasn_t(
    pairs: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = searched(pairs, tmp_path / "whole", n_trials=13)  # three of them by the estimator
    real, calls = tuning.measure_trial, []

    def killed(*args: Any) -> float:
        calls.append(args)
        if len(calls) == 24:  # in the second division of the twelfth
            raise KeyboardInterrupt
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(tuning, "measure_trial", killed)
        with pytest.raises(KeyboardInterrupt):
            searched(pairs, tmp_path / "broken", n_trials=13)
    assert len(json.loads((tmp_path / "broken" / "trials.json").read_text())["trials"]) == 11
    assert found_by(searched(pairs, tmp_path / "broken", n_trials=13)) == found_by(whole)


def test_more_trials_are_added_and_done_ones_not_run_again(
    pairs: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = searched(pairs, tmp_path / "tuning", n_trials=2)
    more = searched(pairs, tmp_path / "tuning", n_trials=3)
    assert found_by(more)[:3] == found_by(first)
    assert len(more.trials) == 4
    monkeypatch.setattr(tuning, "measure_trial", lambda *_: pytest.fail("ran again"))
    assert found_by(searched(pairs, tmp_path / "tuning", n_trials=1)) == found_by(more)


def test_another_search_in_the_folder_is_refused(pairs: Collection, tmp_path: Path) -> None:
    folder = tmp_path / "tuning"
    searched(pairs, folder, n_trials=1)
    expected = "holds another search, which differs in bits, seed, items_sha256: choose another"
    with pytest.raises(InputError, match=re.escape(expected)):
        searched(pairs, folder, n_trials=1, n_bits=4, seed=1)
    assert len(searched(pairs, folder, n_trials=1, n_bits=4, overwrite=True).trials) == 2
    said = json.loads((folder / "trials.json").read_text())
    (folder / "trials.json").write_text(json.dumps({**said, "modalhash": "0.0.1"}))
    with pytest.raises(InputError, match=re.escape("was written by modalhash 0.0.1, this is ")):
        searched(pairs, folder, n_trials=1, n_bits=4)


def test_a_failed_trial_says_why_and_the_search_goes_on(
    pairs: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([0.5, 0.25, None, 0.5, 1.0])

    def made(*_: Any) -> float:
        value = next(values)
        if value is None:
            raise TrainingError("the loss\nis not finite")
        return value

    monkeypatch.setattr(tuning, "measure_trial", made)
    result = searched(pairs, tmp_path / "tuning", n_trials=2)
    assert [one.value for one in result.trials] == [0.375, None, 0.75]
    assert [one.values for one in result.trials] == [(0.5, 0.25), (), (0.5, 1.0)]
    assert result.trials[1].error == "the loss is not finite"
    assert result.best.number == 2
    table = trials_table(result)
    assert "the loss is not finite" in table.splitlines()[4]
    assert table.splitlines()[2].startswith("| 2 | 0.7500 ± 0.2500 |")
    assert "The best is above the method as it is in 1 of 2 divisions." in table


def test_settings_that_came_before_are_not_trained_again(
    pairs: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []

    def made(_: Any, __: int, settings: dict[str, Any]) -> float:
        calls.append(settings)
        return float(settings.get("ridge", 0.0))

    monkeypatch.setattr(tuning, "measure_trial", made)
    result = searched(pairs, tmp_path / "tuning", n_trials=12, over=["ridge=0.25,0.5"], repeats=1)
    assert len(result.trials) == 13
    assert sorted(one.get("ridge", 0) for one in calls) == [0, 0.25, 0.5]
    assert result.best.settings == {"ridge": 0.5}


def test_a_supervised_method_is_judged_by_labels(pairs: Collection, tmp_path: Path) -> None:
    result = tune(
        "ms2gah", pairs, tmp_path / "tuning", n_trials=1, n_bits=6, over=["learning_rate"],
        settings={"epochs": "1", "feature_width": 8}, repeats=1, cache=tmp_path / "cache",
    )  # fmt: skip
    assert result.objective == "MAP@50 by a shared label"
    assert result.settings.settings["epochs"] == 1
    assert "learning_rate" in result.space
    without = replace(pairs, labels=None, label_names=())
    with pytest.raises(FeatureError, match=re.escape("MS2GAH needs labels, but pairs has none")):
        tune("ms2gah", without, tmp_path / "a", n_trials=1, objective="recall")
    with pytest.raises(FeatureError, match=re.escape("the objective map needs labels, but pairs")):
        searched(without, tmp_path / "a", objective="map")


def test_map_by_labels_is_evaluates(pairs: Collection, tmp_path: Path) -> None:
    result = searched(pairs, tmp_path / "tuning", n_trials=1, repeats=1, objective="map")
    kept, held = hold_out(pairs.splits["train"], 0.2, 0)
    parts = replace(pairs, splits={"train": kept, "validation": held})
    model = mh.train(parts, method="cca-itq", n_bits=6, encoder="precomputed", preset=None,
                     cache=tmp_path / "cache")  # fmt: skip
    report = mh.evaluate(model, parts, split="validation", cache=tmp_path / "cache")
    values = [
        report.value("map", f"{one}", relevance="shared_label", k=50)
        for one in ("image_to_text", "text_to_image")
    ]
    found = result.trials[0].value
    assert found is not None
    np.testing.assert_allclose(found, np.mean(values), atol=6e-7)


TOO_FEW = (
    "split 'train' of pairs has 120 items, of which 0.05 hold out 6: a validation part takes at "
    "least 11; raise validation_share, or take a larger collection"
)


@pytest.mark.parametrize(
    ("options", "error", "expected"),
    [
        ({"n_trials": 0}, InputError, "n_trials is 0: at least 1 is needed"),
        ({"repeats": 0}, InputError, "repeats is 0: at least 1 is needed"),
        ({"seed": -1}, InputError, "seed is -1, expected 0 to 4294967295"),
        (
            {"validation_share": 0.6},
            InputError,
            "validation_share is 0.6, expected above 0, 0.5 at",
        ),
        ({"validation_share": 0.0}, InputError, "validation_share is 0, expected above 0, 0.5 at"),
        ({"validation_share": 0.05}, InputError, TOO_FEW),
        ({"objective": "recal"}, UnknownNameError, "unknown objective 'recal': did you mean 're"),
        ({"split": "trian"}, UnknownNameError, "unknown split of pairs 'trian': did you mean 'tr"),
        ({"settings": {"rigde": 1}}, UnknownNameError, "unknown setting of cca-itq 'rigde'"),
        ({"n_bits": 12}, SettingError, "12"),  # more than CCA has of 8 texts' numbers
    ],
)
def test_wrong_arguments_are_refused(
    pairs: Collection,
    tmp_path: Path,
    options: dict[str, Any],
    error: type[Exception],
    expected: str,
) -> None:
    with pytest.raises(error, match=re.escape(expected)):
        searched(pairs, tmp_path / "tuning", **{"n_trials": 1, **options})
    assert not (tmp_path / "tuning").exists()


def test_a_method_without_settings_has_nothing_to_search(pairs: Collection, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape("random has no settings to search")):
        tune("random", pairs, tmp_path / "tuning", n_trials=1)
    expected = (
        "CCA + ITQ has no settings that are searched unless they are named: name some of rounds, "
        "sample with their ranges (over, on the command line --over)"
    )
    with pytest.raises(InputError, match=re.escape(expected)):
        searched(pairs, tmp_path / "tuning", settings={"ridge": 1, "correlation_power": 1})


def test_without_optuna_the_extra_is_named(
    pairs: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    expected = "the search over settings needs the package 'optuna': pip install 'modalhash[tune]'"
    with pytest.raises(MissingExtraError, match=re.escape(expected)):
        searched(pairs, tmp_path / "tuning")


def test_a_settings_file_says_what_it_is(tmp_path: Path) -> None:
    given = SettingsFile("djsrh", "dense", {"epochs": 3}, {"value": 0.5})
    write_settings(tmp_path / "best.json", given)
    assert read_settings(tmp_path / "best.json") == given
    (tmp_path / "other.json").write_text('{"format": 1}')
    with pytest.raises(DamagedArtifactError, match=re.escape("other.json is no file of settings")):
        read_settings(tmp_path / "other.json")


def test_the_commands_search_and_train(
    modalhash: CommandLine, pairs: Collection, tmp_path: Path
) -> None:
    np.savez(
        tmp_path / "pairs.npz",
        image=pairs.features["image"],
        text=pairs.features["text"][::2],
        split_train=pairs.splits["train"],
        split_test=pairs.splits["test"],
    )
    source, common = f"features:{tmp_path / 'pairs.npz'}", ("--cache", tmp_path / "cache")
    told = modalhash("-q", "tune", "cca-itq", source, "--trials", "2", "--bits", "6", "--over",
                     "ridge=0.1:2:log", "-o", tmp_path / "tuning", *common)  # fmt: skip
    assert told.code == 0, told.err
    assert told.out.startswith("| trial | recall@10 by pair | ridge | CPU s |\n")
    best = tmp_path / "tuning" / "best.json"
    assert f"modalhash train COLLECTION --settings {best} -o RUN" in told.err
    made = ("--encoder", "precomputed", "--bits", "6", *common)
    told = modalhash("-q", "train", source, "--settings", best, "-o", tmp_path / "run", *made)
    assert told.code == 0, told.err
    trained = json.loads((tmp_path / "run" / "model.json").read_text())
    assert trained["method"] == "cca-itq"
    ridge = read_settings(best).settings.get("ridge", 0.5)
    assert trained["settings"]["ridge"] == ridge
    told = modalhash("train", source, "--settings", best, "--method", "djsrh", "-o", tmp_path / "x")
    assert told.code == 2
    expected = f"--method is djsrh, but {best} holds settings of cca-itq: leave --method out"
    assert expected in " ".join(told.err.split())


def test_train_searches_first(modalhash: CommandLine, pairs: Collection, tmp_path: Path) -> None:
    np.savez(
        tmp_path / "pairs.npz",
        image=pairs.features["image"],
        text=pairs.features["text"][::2],
        split_train=pairs.splits["train"],
    )
    source = f"features:{tmp_path / 'pairs.npz'}"
    made = ("--encoder", "precomputed", "--bits", "6", "--cache", tmp_path / "cache")
    told = modalhash("-q", "train", source, "--method", "cca-itq", "--tune", "2", "-o",
                     tmp_path / "run", *made)  # fmt: skip
    assert told.code == 0, told.err
    assert told.out.startswith("best of 3 trials: ")
    best = read_settings(tmp_path / "run-tuning" / "best.json")
    trained = json.loads((tmp_path / "run" / "model.json").read_text())
    assert {**trained["settings"], **best.settings} == trained["settings"]
    assert trained["trained_on"]["n_items"] == N_TRAIN  # all of them again
    told = modalhash("train", source, "--tune", "2", "--hug", "same", "-o", tmp_path / "x", *made)
    assert told.code == 2
    assert "--hug isn't searched: leave --tune out" in told.err
    assert modalhash("train", source, "--tune", "0", "-o", tmp_path / "x", *made).code == 2


def test_a_trial_is_read_back_as_it_was() -> None:
    one = Trial(3, {"ridge": 0.1 + 0.2}, 0.123456, (0.1, 0.146912), 1.5)
    assert Trial(**json.loads(json.dumps(asdict(one)))) == one
