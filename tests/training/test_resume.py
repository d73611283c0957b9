from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from modalhash.errors import StorageError
from modalhash.layers import ScalingRule
from modalhash.methods.base import CaptionChoice, GradientMethod, Optimiser, Schedule
from modalhash.methods.cirh import Cirh, CirhSettings
from modalhash.training import TrainingPlan, TrainingResult, train_method
from modalhash.training.checkpoints import Checkpoints
from modalhash.training.tensor_files import write_tensors
from tests.oracles.paired_features import made_pairs
from tests.oracles.tiny_methods import TokenMethod

MADE = made_pairs(100, 0)


class StoppedError(Exception):
    """The run was stopped from outside."""


def stop_at(step: int) -> Callable[..., None]:
    def watch(stage: str, done: int, total: int, values: Mapping[str, float] | None = None) -> None:
        if done == step:
            raise StoppedError

    return watch


def cirh() -> Cirh:
    return Cirh(CirhSettings(hidden_width=24, fusion_width=16, dropout=0.3))


def plan_of(
    make: Callable[[], GradientMethod[Any]], folder: Path | None, **changes: Any
) -> TrainingPlan:
    method = make()
    settings = replace(method.training, epochs=4, batch_size=16, **changes)
    return TrainingPlan(method, settings, 12, seed=9, run_folder=folder)


def assert_same(one: TrainingResult, other: TrainingResult) -> None:
    states = one.hasher.state_dict(), other.hasher.state_dict()
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    assert one.best_epoch == other.best_epoch
    for entry, other_entry in zip(one.log, other.log, strict=True):
        assert {**entry, "seconds": 0} == {**other_entry, "seconds": 0}


@pytest.mark.parametrize("stop", [1, 7, 18, 24])  # 6 steps an epoch
@pytest.mark.parametrize(
    ("make", "changes"),
    [
        (cirh, {}),
        (
            cirh,
            {
                "optimiser": Optimiser.ADAM,
                "schedule": Schedule.ONE_CYCLE,
                "image_scaling": ScalingRule.STANDARDISED,
                "captions": CaptionChoice.RANDOM,
            },
        ),
        (TokenMethod, {"optimiser": Optimiser.ADAMW, "gradient_clip": 0.1}),
    ],
)
def test_a_stopped_run_ends_like_an_unbroken_one(
    make: Callable[[], GradientMethod[Any]], changes: dict[str, Any], stop: int, tmp_path: Path
) -> None:
    unbroken = train_method(plan_of(make, None, **changes), MADE.data())
    plan = plan_of(make, tmp_path, **changes)
    with pytest.raises(StoppedError):
        train_method(plan, MADE.data(), progress=stop_at(stop))
    torch.manual_seed(stop)  # what came before in the process doesn't matter
    resumed = train_method(plan_of(make, tmp_path, **changes), MADE.data(), resume=True)
    assert_same(resumed, unbroken)


def test_the_best_epoch_survives_a_stop(tmp_path: Path) -> None:
    changes = {"validation_share": 0.2, "learning_rate": 0.05}
    unbroken = train_method(plan_of(cirh, None, **changes), MADE.data())
    n_steps = 80 // 16
    for stop in (n_steps + 1, 3 * n_steps + 1):
        with pytest.raises(StoppedError):
            train_method(
                plan_of(cirh, tmp_path, **changes), MADE.data(),
                resume=True, progress=stop_at(stop),
            )  # fmt: skip
    assert_same(
        train_method(plan_of(cirh, tmp_path, **changes), MADE.data(), resume=True), unbroken
    )


def test_finished_steps_are_not_taken_again(tmp_path: Path) -> None:
    steps: list[int] = []

    def note(stage: str, done: int, total: int, values: Mapping[str, float] | None = None) -> None:
        steps.append(done)

    with pytest.raises(StoppedError):
        train_method(plan_of(cirh, tmp_path), MADE.data(), progress=stop_at(14))
    train_method(plan_of(cirh, tmp_path), MADE.data(), resume=True, progress=note)
    assert steps == list(range(13, 25))
    steps.clear()
    train_method(plan_of(cirh, tmp_path), MADE.data(), resume=True, progress=note)
    assert steps == []


def test_the_hook_before_training_is_called_once(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        train_method(plan_of(TokenMethod, tmp_path), MADE.data(), progress=stop_at(8))
    plan = plan_of(TokenMethod, tmp_path)
    train_method(plan, MADE.data(), resume=True)
    assert isinstance(plan.method, TokenMethod)
    assert plan.method.events == ["build_heads", "after_epoch 1", "after_epoch 2", "after_epoch 3"]


def test_without_resume_a_run_starts_anew(tmp_path: Path) -> None:
    train_method(plan_of(cirh, tmp_path, validation_share=0.2, learning_rate=0.1), MADE.data())
    changes = {"validation_share": 0.2}
    unbroken = train_method(plan_of(cirh, None, **changes), MADE.data())
    assert_same(train_method(plan_of(cirh, tmp_path, **changes), MADE.data()), unbroken)
    stored = Checkpoints(tmp_path / "checkpoint").load()
    assert stored is not None
    assert stored.best_epoch == unbroken.best_epoch
    head = unbroken.hasher.image.head.state_dict()
    for name, value in head.items():
        assert torch.equal(stored.best_parts[f"image.{name}"], value)


def test_resume_without_a_checkpoint_starts_from_the_start(tmp_path: Path) -> None:
    unbroken = train_method(plan_of(cirh, None), MADE.data())
    assert_same(train_method(plan_of(cirh, tmp_path), MADE.data(), resume=True), unbroken)


def test_a_full_disk_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = train_method(plan_of(cirh, None), MADE.data())

    def refuse(path: Path, tensors: Mapping[str, Tensor]) -> None:
        if path.name.startswith("epoch-00003"):
            raise StorageError(f"can't write {path}: No space left on device")
        write_tensors(path, tensors)

    monkeypatch.setattr("modalhash.training.checkpoints.write_tensors", refuse)
    with pytest.raises(StorageError, match="No space left on device"):
        train_method(plan_of(cirh, tmp_path), MADE.data())
    monkeypatch.undo()
    stored = Checkpoints(tmp_path / "checkpoint").load()
    assert stored is not None
    assert stored.epochs_done == 2
    assert_same(train_method(plan_of(cirh, tmp_path), MADE.data(), resume=True), unbroken)
