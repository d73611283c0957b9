"""Checkpoints: everything a run needs to go on, without a pickle.

A checkpoint is one safetensors file of all parts and optimiser tensors, named for its epoch, and
`state.json`, replaced last: a kill leaves the old state or the new one. Random numbers need no
place here, since each epoch's depend on seed and epoch alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from modalhash.errors import DamagedArtifactError
from modalhash.files import read_json, sha256_of_file, write_json
from modalhash.training.tensor_files import write_tensors

__all__ = ["Checkpoint", "Checkpoints"]

FORMAT = 1
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """A point to go on from.

    Attributes:
        epochs_done: finished epochs.
        best_epoch: epoch (from 0) of the best validation value, or None without validation.
        best_value: that value, larger is better.
        log: the run's log entries so far.
        parts: tensors of all parts after the last epoch.
        optimiser: tensors of the optimiser.
        best_parts: tensors of the best epoch; the same as `parts` without validation.
    """

    epochs_done: int
    best_epoch: int | None
    best_value: float
    log: list[dict[str, Any]]
    parts: Tensors
    optimiser: Tensors
    best_parts: Tensors


class Checkpoints:
    """The checkpoint folder of one run.

    Args:
        folder: made when the first checkpoint is saved.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def state_file(self) -> Path:
        """The file that says which checkpoint is the last."""
        return self.folder / "state.json"

    def save(self, checkpoint: Checkpoint) -> None:
        """Save a checkpoint and remove those it replaces.

        Raises:
            StorageError: if the disk is full, say; the last checkpoint is kept.
        """
        files = {
            "last": (
                f"epoch-{checkpoint.epochs_done:05d}.safetensors",
                prefixed("parts", checkpoint.parts) | prefixed("optimiser", checkpoint.optimiser),
            )
        }
        if checkpoint.best_epoch is not None:
            files["best"] = (
                f"best-{checkpoint.best_epoch:05d}.safetensors",
                checkpoint.best_parts,
            )
        is_new_best = checkpoint.best_epoch == checkpoint.epochs_done - 1
        for role, (name, tensors) in files.items():
            if role == "last" or is_new_best:
                # Tensors that share memory are saved apart; loading shares them again.
                write_tensors(self.folder / name, tensors)
        write_json(
            self.state_file,
            {
                "format": FORMAT,
                "epochs_done": checkpoint.epochs_done,
                "best_epoch": checkpoint.best_epoch,
                "best_value": checkpoint.best_value,
                "files": {
                    role: {"name": name, "sha256": sha256_of_file(self.folder / name)}
                    for role, (name, _) in files.items()
                },
                "log": checkpoint.log,
            },
        )
        current = {name for name, _ in files.values()}
        for path in self.folder.iterdir():
            is_left_over = path.suffix in (".safetensors", ".part")
            if is_left_over and path.name not in current:
                path.unlink(missing_ok=True)

    def load(self) -> Checkpoint | None:
        """Load the last checkpoint; None if there is none.

        Raises:
            DamagedArtifactError: if a file is missing or doesn't match its checksum.
            NewerFormatError: if a newer version wrote it.
        """
        if not self.state_file.exists():
            return None
        state = read_json(self.state_file, kind="checkpoint", newest_format=FORMAT)
        try:
            loaded = {role: self.read(entry) for role, entry in state["files"].items()}
            parts = without_prefix("parts", loaded["last"])
            return Checkpoint(
                epochs_done=state["epochs_done"],
                best_epoch=state["best_epoch"],
                best_value=state["best_value"],
                log=state["log"],
                parts=parts,
                optimiser=without_prefix("optimiser", loaded["last"]),
                best_parts=loaded.get("best", parts),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise self.damaged(self.state_file) from error

    def damaged(self, path: Path) -> DamagedArtifactError:
        """Describe, as an error, a damaged file and the way out."""
        return DamagedArtifactError(
            f"{path} is missing or damaged: remove {self.folder} to train from the start"
        )

    def read(self, entry: Mapping[str, str]) -> Tensors:
        """Read the tensors of one file of the state after checking its checksum."""
        path = self.folder / entry["name"]
        if not path.exists() or sha256_of_file(path) != entry["sha256"]:
            raise self.damaged(path)
        tensors: Tensors = load_file(path)
        return tensors


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    """Add a prefix to the name of each tensor."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    """Select those tensors whose names have the prefix, and remove it."""
    start = f"{prefix}."
    return {
        name.removeprefix(start): tensor
        for name, tensor in tensors.items()
        if name.startswith(start)
    }
