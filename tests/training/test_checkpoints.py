import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from modalhash.errors import DamagedArtifactError, NewerFormatError
from modalhash.training.checkpoints import Checkpoint, Checkpoints
from modalhash.training.optimisers import optimiser_tensors, restore_optimiser


def made(epochs_done: int, *, best_epoch: int | None = None, value: float = 0.5) -> Checkpoint:
    parts = {"image.weight": torch.full((2, 3), float(epochs_done)), "n": torch.tensor(epochs_done)}
    best = {} if best_epoch is None else {"image.weight": torch.full((2, 3), best_epoch + 1.0)}
    return Checkpoint(
        epochs_done,
        best_epoch,
        value,
        [{"epoch": epoch, "loss": 0.1} for epoch in range(epochs_done)],
        parts,
        {"0.momentum_buffer": torch.ones(2, 3)},
        best,
    )


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def reloaded(folder: Path) -> Checkpoint:
    found = Checkpoints(folder).load()
    assert found is not None
    return found


def test_a_round_trip(tmp_path: Path) -> None:
    stored = made(3)
    Checkpoints(tmp_path / "checkpoint").save(stored)
    found = reloaded(tmp_path / "checkpoint")
    assert (found.epochs_done, found.best_epoch, found.best_value) == (3, None, 0.5)
    assert found.log == stored.log
    assert_close(found.parts, stored.parts, rtol=0, atol=0)
    assert_close(found.optimiser, stored.optimiser, rtol=0, atol=0)
    assert_close(found.best_parts, stored.parts, rtol=0, atol=0)


def test_no_checkpoint(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "none").load() is None


def test_only_the_last_and_the_best_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for epochs_done, best_epoch in ((1, 0), (2, 1), (3, 1), (4, 1)):
        checkpoints.save(made(epochs_done, best_epoch=best_epoch))
    assert names(tmp_path) == {
        "state.json", "epoch-00004.safetensors", "best-00001.safetensors",
    }  # fmt: skip
    found = reloaded(tmp_path)
    assert (found.epochs_done, found.best_epoch) == (4, 1)
    assert float(found.parts["image.weight"][0, 0]) == 4
    assert float(found.best_parts["image.weight"][0, 0]) == 2


def test_a_best_file_of_another_run_is_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "best-00000.safetensors").write_bytes(b"of another run")
    Checkpoints(tmp_path).save(made(1, best_epoch=0))
    assert float(reloaded(tmp_path).best_parts["image.weight"][0, 0]) == 1


def test_what_a_kill_left_half_written_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".epoch-00002.safetensors.ab12.part").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("of the user")
    Checkpoints(tmp_path).save(made(1))
    assert names(tmp_path) == {"state.json", "epoch-00001.safetensors", "notes.txt"}


def test_tensors_that_share_memory_are_kept(tmp_path: Path) -> None:
    shared = torch.arange(4.0)
    parts: dict[str, Tensor] = {"image.weight": shared, "text.weight": shared, "half": shared[::2]}
    Checkpoints(tmp_path).save(Checkpoint(1, None, 0.0, [], parts, {}, {}))
    assert_close(reloaded(tmp_path).parts, parts, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["epoch-00002.safetensors", "best-00000.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "changed", "cut"])
def test_damaged_tensors_are_refused(tmp_path: Path, name: str, damage: str) -> None:
    folder = tmp_path / "checkpoint"
    checkpoints = Checkpoints(folder)
    checkpoints.save(made(1, best_epoch=0))
    checkpoints.save(made(2, best_epoch=0))
    path = folder / name
    content = path.read_bytes()
    match damage:
        case "missing":
            path.unlink()
        case "changed":
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case _:
            path.write_bytes(content[:-5])
    message = f"{path} is missing or damaged: remove {folder} to train from the start"
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        checkpoints.load()


@pytest.mark.parametrize("key", ["files", "epochs_done", "best_value", "log"])
def test_a_state_without_what_it_must_say_is_refused(tmp_path: Path, key: str) -> None:
    Checkpoints(tmp_path).save(made(1))
    path = tmp_path / "state.json"
    state: dict[str, Any] = json.loads(path.read_text())
    del state[key]
    path.write_text(json.dumps(state))
    message = f"{path} is missing or damaged: remove {tmp_path} to train from the start"
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        Checkpoints(tmp_path).load()


def test_a_newer_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"format": 2, "modalhash": "9.1"}')
    message = (
        f"{tmp_path / 'state.json'} has format 2 (written by modalhash 9.1); this version reads "
        "checkpoint formats up to 1: upgrade modalhash"
    )
    with pytest.raises(NewerFormatError, match=f"^{re.escape(message)}$"):
        Checkpoints(tmp_path).load()


@pytest.mark.parametrize("kind", ["sgd", "momentum", "adam", "adamw"])
def test_an_optimiser_goes_on_as_if_never_stopped(kind: str, tmp_path: Path) -> None:
    def fresh() -> tuple[nn.Linear, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = nn.Linear(4, 3)
        rows = [{"params": [model.weight], "lr": 0.1}, {"params": [model.bias], "lr": 0.01}]
        match kind:
            case "sgd":
                return model, torch.optim.SGD(rows)
            case "momentum":
                return model, torch.optim.SGD(rows, momentum=0.9, weight_decay=1e-3)
            case "adam":
                return model, torch.optim.Adam(rows, weight_decay=1e-3)
            case _:
                return model, torch.optim.AdamW(rows, weight_decay=1e-3)

    def steps(model: nn.Linear, optimiser: torch.optim.Optimizer, rows: Tensor) -> None:
        for row in rows:
            optimiser.zero_grad()
            model(row).square().sum().backward()
            optimiser.step()

    rows = torch.randn(9, 4, generator=torch.Generator().manual_seed(1))
    unbroken, optimiser = fresh()
    steps(unbroken, optimiser, rows)
    first, optimiser = fresh()
    steps(first, optimiser, rows[:5])
    parts = dict(first.state_dict())
    Checkpoints(tmp_path).save(
        Checkpoint(1, None, 0.0, [], parts, optimiser_tensors(optimiser), {})
    )
    second, optimiser = fresh()
    found = reloaded(tmp_path)
    second.load_state_dict(found.parts)
    restore_optimiser(optimiser, found.optimiser)
    steps(second, optimiser, rows[5:])
    assert_close(second.state_dict(), unbroken.state_dict(), rtol=0, atol=0)
