"""The folder of a training run: who may begin there, who may go on, and what was asked for."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from modalhash.artifacts.calibration import CALIBRATION
from modalhash.artifacts.model_record import CARD, RECORD, WEIGHTS
from modalhash.errors import InputError, StorageError
from modalhash.files import read_json, write_json
from modalhash.index.lock import ProcessLock

__all__ = ["RunFolder"]

PLAN, FORMAT = "plan.json", 1
LOG, CHECKPOINT, SPLITS, ENCODER = "log.jsonl", "checkpoint", "splits", "encoder"
LOCK = ".training.lock"
SHOWN_LENGTH = 40


class RunFolder:
    """A folder for one run.

    Args:
        folder: where; made when the run begins.
        plan: everything that decides the run's result, as JSON; only a run of the same plan may be
            resumed.
    """

    def __init__(self, folder: Path, plan: Mapping[str, Any]) -> None:
        self.folder, self.plan = folder, dict(plan)

    @property
    def is_finished(self) -> bool:
        """Whether there is a model."""
        return (self.folder / RECORD).exists()

    @property
    def holds_work(self) -> bool:
        """Whether there is something that took time: a model or a checkpoint."""
        return self.is_finished or (self.folder / CHECKPOINT / "state.json").exists()

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """Refuse a folder that this run may not use; nothing is changed yet.

        Raises:
            InputError: if it holds something else than a run; a run, and neither `resume` nor
                `overwrite` says what to do; or, with `resume`, a run of another plan.
        """
        if resume and overwrite:
            raise InputError("resume and overwrite contradict each other: give one of them")
        if not (self.folder / PLAN).exists():
            if self.folder.exists() and not self.is_empty():
                raise InputError(
                    f"{self.folder} isn't empty and holds no run: choose another folder"
                )
        elif resume:
            self.check_plan()
        elif self.holds_work and not overwrite:
            raise InputError(
                f"{self.folder} holds a run: go on with --resume, start anew with --overwrite, "
                "or choose another folder"
            )

    @contextmanager
    def training(self) -> Iterator[None]:
        """Hold the right to train in the folder for the length of a `with` block.

        Raises:
            LockedError: if another process trains there, naming it.
            StorageError: if the folder can't be written to.
        """
        is_new = not self.folder.exists()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"can't write {self.folder}: {error.strerror or error}") from error
        lock = ProcessLock(
            self.folder / LOCK,
            f"{self.folder} is being trained in by",
            "wait until it is done, stop it, or choose another folder",
            is_removed=True,
        )
        try:
            yield
        finally:
            lock.release()
            if is_new:
                with suppress(OSError):
                    self.folder.rmdir()  # nothing was begun

    def is_empty(self) -> bool:
        """Tell whether it is a folder with nothing in it but hidden files."""
        return self.folder.is_dir() and all(
            path.name.startswith(".") for path in self.folder.iterdir()
        )

    def check_plan(self) -> None:
        """Refuse to go on with a run of another plan.

        Raises:
            InputError: naming what differs.
        """
        stored = read_json(self.folder / PLAN, kind="run", newest_format=FORMAT)
        plan = json.loads(json.dumps(self.plan))
        differing = ", ".join(list_differences(stored, plan | {"format": FORMAT}))
        if differing:
            raise InputError(
                f"{self.folder} holds another run; what differs: {differing}. Resume it with the "
                "command it was started with, or choose another folder"
            )

    def begin(self, *, resume: bool) -> None:
        """Write the plan; unless resuming, remove an earlier run first.

        Raises:
            StorageError: if the file system refuses.
        """
        if resume:
            for leftover in self.folder.rglob(".*.part"):  # of writes that were killed
                if leftover.is_dir():
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    leftover.unlink(missing_ok=True)
        else:
            for name in (RECORD, PLAN, WEIGHTS, CARD, LOG, CALIBRATION):
                (self.folder / name).unlink(missing_ok=True)
            for name in (CHECKPOINT, SPLITS, ENCODER):
                shutil.rmtree(self.folder / name, ignore_errors=True)
        write_json(self.folder / PLAN, {"format": FORMAT, **self.plan})

    @property
    def splits(self) -> Path:
        """Where the splits of the run are kept."""
        return self.folder / SPLITS


def list_differences(
    stored: Mapping[str, Any], present: Mapping[str, Any], start: str = ""
) -> Iterator[str]:
    """Yield the dotted names of what differs, with both values where they are short.

    The version of modalhash may differ.

    Example:
        >>> list(list_differences({"seed": 1, "a": {"b": 2, "c": 3}}, {"seed": 5, "a": {"b": 2}}))
        ['a.c (was 3, now nothing)', 'seed (was 1, now 5)']
    """
    for name in sorted((stored.keys() | present.keys()) - {"modalhash"}):
        old, new = (side.get(name) for side in (stored, present))
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from list_differences(old, new, f"{start}{name}.")
        elif old != new:
            texts = ["nothing" if value is None else repr(value) for value in (old, new)]
            is_short = max(map(len, texts)) <= SHOWN_LENGTH
            values = f" (was {texts[0]}, now {texts[1]})" if is_short else ""
            yield f"{start}{name}{values}"
