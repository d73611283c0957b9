"""Who may begin a run in a folder, who may go on, and what that costs."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modalhash as mh
from modalhash.artifacts import RunFolder
from modalhash.errors import (
    CollectionError,
    FeatureError,
    InputError,
    LockedError,
    SettingError,
    StorageError,
    UnknownNameError,
)
from tests.oracles.photo_folder import write_folder

pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")

PLAN: dict[str, Any] = {
    "method": "cfrh",
    "n_bits": 8,
    "encoder": "tiny",
    "settings": {"hidden_width": 16, "epochs": 2},
}


def run(folder: Path, **changes: Any) -> Any:
    return mh.train("scenes:60", output=folder, **{**PLAN, **changes})


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_run_folder_holds_what_the_docs_say(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    model = run(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "checkpoint", "log.jsonl", "model.json", "model.safetensors", "plan.json",
        "splits",
    ]  # fmt: skip
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]
    assert [entry["epoch"] for entry in log] == [0, 1]
    collection = mh.load_collection("scenes:60")
    for name, items in collection.splits.items():
        names = (folder / "splits" / f"{name}.txt").read_text("utf-8").split()
        assert names == [collection.item_ids[item] for item in items]
    trained_on = model.record.trained_on
    assert trained_on["n_items"] == len(collection.split("train")) == 48
    assert trained_on["source"] == "scenes:60:0"
    assert model.record.training["epochs"] == 2
    assert model.record.settings["hidden_width"] == 16
    assert model.record.results["best_epoch"] == 2
    assert model.record.feature_dtype == {"image": "float16", "text": "float16"}


def test_without_a_folder_nothing_is_kept_and_everything_works(tmp_path: Path) -> None:
    model = mh.train("scenes:60", **PLAN)
    assert list(tmp_path.iterdir()) == []
    with mh.build_index(model, "scenes:60", output=tmp_path / "index") as index:
        assert index.model.fingerprint == model.fingerprint
        assert len(index.search(text="a red star", k=3).hits) == 3


def test_the_same_seed_gives_the_same_model(tmp_path: Path) -> None:
    first, second = run(tmp_path / "a"), run(tmp_path / "b")
    assert first.fingerprint == second.fingerprint
    assert run(tmp_path / "c", seed=1).fingerprint != first.fingerprint


def test_an_existing_run_asks_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(folder)
    before = contents(folder)
    message = (
        f"{folder} holds a run: go on with --resume, start anew with --overwrite, or choose "
        "another folder"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        run(folder)
    with pytest.raises(InputError, match=re.escape("resume and overwrite contradict each other")):
        run(folder, resume=True, overwrite=True)
    assert contents(folder) == before


def test_a_finished_run_is_returned_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    model = run(folder)
    before = contents(folder)
    with caplog.at_level(logging.INFO, "modalhash"):
        again = run(folder, resume=True)
    assert again.fingerprint == model.fingerprint
    assert contents(folder) == before
    assert f"{folder} holds this run, finished: nothing to do" in caplog.messages


@pytest.mark.parametrize(
    ("changes", "differing"),
    [
        ({"n_bits": 16}, "n_bits (was 8, now 16)"),
        ({"seed": 3}, "seed (was 0, now 3)"),
        (
            {"settings": {"hidden_width": 32, "epochs": 5}},
            "settings.hidden_width (was 16, now 32), training.epochs (was 2, now 5)",
        ),
        ({"split": "dev"}, ("trained_on.items_sha256, trained_on.n_items (was 48, now 6), "
         "trained_on.split (was 'train', now 'dev')")),
    ],
)  # fmt: skip
def test_a_run_is_resumed_only_with_its_own_settings(
    tmp_path: Path, changes: dict[str, Any], differing: str
) -> None:
    folder = tmp_path / "run"
    run(folder)
    before = contents(folder)
    message = (
        f"{folder} holds another run; what differs: {differing}. Resume it with the command it "
        "was started with, or choose another folder"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        run(folder, resume=True, **changes)
    assert contents(folder) == before


def test_overwriting_starts_anew_and_leaves_nothing_old(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(folder, seed=4)
    (folder / "splits" / "other.txt").touch()
    run(folder, overwrite=True)
    expected = run(tmp_path / "fresh")
    assert mh.load_model(folder).fingerprint == expected.fingerprint
    assert contents(folder).keys() == contents(tmp_path / "fresh").keys()


def test_an_old_run_is_kept_until_the_new_one_has_its_features(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(folder)
    before = contents(folder)
    with pytest.raises(FeatureError):
        run(folder, overwrite=True, encoder="precomputed")
    assert contents(folder) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_other_things_is_never_touched(tmp_path: Path, overwrite: bool) -> None:
    photos = write_folder(tmp_path / "photos")
    (photos / "README.md").write_text("my holidays", encoding="utf-8")
    before = contents(photos)
    message = f"{photos} isn't empty and holds no run: choose another folder"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        run(photos, overwrite=overwrite)
    assert contents(photos) == before


def test_leftovers_of_a_killed_write_are_no_obstacle(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".plan.json.abc.part").touch()
    run(folder)
    (folder / "model.json").unlink()
    (folder / "checkpoint" / ".state.json.abc.part").touch()
    run(folder, resume=True)
    assert not list(folder.rglob("*.part"))


def test_a_run_that_failed_before_its_first_epoch_is_no_obstacle(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(SettingError, match="n_bits is 500"):
        run(folder, method="cca-sign", settings=None, n_bits=500)
    assert (folder / "plan.json").exists()
    assert run(folder, method="cca-sign", settings=None).n_bits == 8


def test_a_full_disk_keeps_finished_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    whole = run(tmp_path / "whole")

    def no_space(path: Path, *rest: Any) -> None:
        raise StorageError(f"can't write {path}: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("modalhash.artifacts.model_writing.write_bytes", no_space)
        with pytest.raises(StorageError, match="No space left on device"):
            run(folder)
    assert not (folder / "model.json").exists()
    state = json.loads((folder / "checkpoint" / "state.json").read_text("utf-8"))
    assert state["epochs_done"] == 2
    assert run(folder, resume=True).fingerprint == whole.fingerprint


def test_a_checkpoint_folder_without_a_plan_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoint").mkdir(parents=True)
    with pytest.raises(InputError, match="isn't empty and holds no run"):
        run(tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"method": "cfrhh"},
            UnknownNameError,
            "unknown method 'cfrhh': did you mean 'cfrh'? Known: ",
        ),
        (
            {"encoder": "ofline"},
            UnknownNameError,
            "unknown encoder 'ofline': did you mean 'offline'? Known: ",
        ),
        (
            {"encoder": "bow"},
            InputError,
            "encoder 'bow' has no image tower: pair it, as in 'offline+bow'",
        ),
        (
            {"settings": {"epoch": 3}},
            UnknownNameError,
            "unknown setting of cfrh 'epoch': did you mean 'epochs'? Known: ",
        ),
        (
            {"settings": {"epochs": "three"}},
            SettingError,
            "epochs is 'three', expected a whole number",
        ),
        (
            {"split": "tran"},
            UnknownNameError,
            "unknown split of scenes 'tran': did you mean 'train'? Known: all, dev, test, train",
        ),
        ({"n_bits": 0}, SettingError, "n_bits is 0, expected a positive number"),
        ({"n_bits": -8}, SettingError, "n_bits is -8, expected a positive number"),
        ({"seed": -1}, SettingError, "seed is -1, expected 0 "),
        ({"device": "abacus"}, SettingError, "device 'abacus' can't be used"),
        ({"preset": "papr"}, UnknownNameError, "unknown preset of cfrh 'papr': "),
    ],
)
def test_wrong_names_and_values_are_refused_before_any_work(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    told: list[str] = []

    def note(stage: str, done: int, total: int, values: object = None) -> None:
        told.append(stage)

    with pytest.raises(error, match=f"^{re.escape(message)}"):
        run(tmp_path / "run", progress=note, cache=tmp_path / "cache", **changes)
    assert told == []
    assert list(tmp_path.iterdir()) == []


def test_too_few_items_are_said(tmp_path: Path) -> None:
    message = "split 'test' of scenes has 1 items: at least 2 are needed"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        mh.train("scenes:10", output=tmp_path / "run", split="test", **PLAN)
    assert list(tmp_path.iterdir()) == []


def test_bad_items_stop_a_run_or_are_left_out(tmp_path: Path) -> None:
    names = [f"{number}.jpg" for number in range(6)]
    captions = "image\tcaption\n" + "".join(f"{name}\ta picture {name}\n" for name in names)
    photos = write_folder(tmp_path / "photos", captions=captions, pictures=names)
    broken = photos / "images" / "3.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    choices: dict[str, Any] = {"method": "random", "n_bits": 4, "encoder": "tiny", "split": "all"}
    with pytest.raises(CollectionError, match=re.escape(str(broken))):
        mh.train(photos, output=tmp_path / "run", **choices)
    assert not (tmp_path / "run").exists()
    model = mh.train(photos, output=tmp_path / "run", skip_bad=True, **choices)
    assert model.record.trained_on["n_items"] == 5
    codes = mh.encode(model, photos, tmp_path / "codes", skip_bad=True)
    assert (codes.n_images, codes.n_texts) == (5, 5)
    with pytest.raises(CollectionError, match=re.escape(str(broken))):
        mh.encode(model, photos, tmp_path / "codes")
    with mh.build_index(model, output=tmp_path / "index", skip_bad=True) as index:
        assert len(index) == 10
        assert str(index.search(text="a picture", k=1).hits[0].image).startswith(str(photos))
    report = mh.evaluate(model, split="all", skip_bad=True)
    assert report.counts["queries"] == 5


def test_arrays_of_too_large_numbers_keep_their_precision(tmp_path: Path) -> None:
    """Arrays that came with a collection aren't rounded to float16."""
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "pairs.npz",
        image=1e6 * rng.normal(size=(9, 3)).astype(np.float32),
        text=rng.normal(size=(9, 3)).astype(np.float32),
    )
    model = mh.train(
        f"features:{tmp_path / 'pairs.npz'}", method="random", n_bits=4, encoder="precomputed",
    )  # fmt: skip
    assert model.record.feature_dtype == {"image": "float32", "text": "float32"}
    features = np.array([[2e6, 0, 1]], np.float32)
    assert model.encode_features(features, "image").shape == (1, 1)


def test_a_second_training_in_a_run_folder_is_refused_at_once(tmp_path: Path) -> None:
    """It doesn't end the first one or remove its checkpoints, as --resume and --overwrite did."""
    first = RunFolder(tmp_path / "run", {"any": "plan"})
    with first.training():
        for choices in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(LockedError, match="is being trained in by process"):
                run(tmp_path / "run", **choices)
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".training.lock"]
    run(tmp_path / "run")
    assert not (tmp_path / "run" / ".training.lock").exists()
