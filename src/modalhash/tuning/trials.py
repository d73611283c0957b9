"""Trials of a search over settings: what decides them, and the file that keeps them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from modalhash.api.settings_files import SettingsFile
from modalhash.benchmarking.tasks import describe_method
from modalhash.data import Collection
from modalhash.errors import DamagedArtifactError, InputError
from modalhash.files import read_json, report_damage, write_json
from modalhash.options import TuningOptions
from modalhash.tuning.search_spaces import Dimension

__all__ = ["VALIDATION", "Search", "Trial", "TuningResult", "read_trials", "write_trials"]

FORMAT, KIND = 1, "search"
TRIALS = "trials.json"
VALIDATION = "validation"
"""Name of the split that judges trials."""


@dataclass(frozen=True)
class Trial:
    """One training with settings that were tried.

    Attributes:
        number: from 0, which is the method as it is.
        settings: changes to it, by name.
        value: of the objective, the mean over all divisions; None if it failed.
        values: of each division; none if it failed.
        cpu_seconds: of training and measuring.
        error: why it failed, or "".
    """

    number: int
    settings: Mapping[str, Any]
    value: float | None = None
    values: tuple[float, ...] = ()
    cpu_seconds: float = 0.0
    error: str = ""

    def __post_init__(self) -> None:
        """Turn the list of values that a file holds into a tuple."""
        object.__setattr__(self, "values", tuple(self.values))


@dataclass(frozen=True)
class TuningResult:
    """The best settings of a search, and all its trials.

    Attributes:
        best: the trial with the highest value; the first of several.
        trials: all, in their order; the first is the method as it is.
        space: what was searched.
        usual: values of the searched settings in the method as it is.
        objective: what judged the trials, in words.
        settings: what `train` takes, with the changes that all trials share.
        settings_file: holds these settings.
    """

    best: Trial
    trials: tuple[Trial, ...]
    space: Mapping[str, Dimension]
    usual: Mapping[str, Any]
    objective: str
    settings: SettingsFile
    settings_file: Path


@dataclass(frozen=True)
class Search:
    """Everything that decides the trials of a search.

    Attributes:
        method: name of the method.
        preset: that trials change, or None.
        changes: that all trials share.
        space: what is searched.
        objective: a name in `OBJECTIVES`.
        parts: the collection in each division; its splits are `train` and `validation`, both of
            training items.
        n_bits: of the codes.
        encoder: makes the features.
        seed: of what is proposed, and of the first division and training; others add 1 each.
        options: cache, device and progress, and whether another search may be replaced.
    """

    method: str
    preset: str | None
    changes: Mapping[str, Any]
    space: Mapping[str, Dimension]
    objective: str
    parts: tuple[Collection, ...]
    n_bits: int
    encoder: str
    seed: int
    options: TuningOptions

    def document(self) -> dict[str, Any]:
        """Describe everything that decides the trials, for the file that keeps them."""
        digest = hashlib.sha256()
        for part in self.parts:
            for name in ("train", VALIDATION):
                digest.update(part.splits[name].tobytes() + b"/")
        return {
            "method": self.method,
            "recipe": json.loads(json.dumps(describe_method(self.method))),
            "preset": self.preset or "",
            "changes": dict(self.changes),
            "space": {name: str(dimension) for name, dimension in self.space.items()},
            "objective": self.objective,
            "bits": self.n_bits,
            "encoder": self.encoder,
            "seed": self.seed,
            "repeats": len(self.parts),
            "collection": self.parts[0].name,
            "fingerprint": self.parts[0].fingerprint(),
            "items_sha256": digest.hexdigest(),
        }


def read_trials(folder: Path, search: Search) -> list[Trial]:
    """Read the trials of a search that was stopped or is to be extended; none of a new one.

    Raises:
        InputError: if the folder holds another search, naming what differs, or something else.
        DamagedArtifactError, NewerFormatError: if its file can't be read.
    """
    file = folder / TRIALS
    if search.options.overwrite or not file.exists():
        return []
    document = read_json(file, kind=KIND, newest_format=FORMAT)
    requested, stored = search.document(), document.get("search")
    if document.get("modalhash") != version("modalhash"):
        raise InputError(
            f"{file} was written by modalhash {document.get('modalhash')}, this is "
            f"{version('modalhash')}: begin anew with --overwrite, or choose another folder"
        )
    if not isinstance(stored, dict):
        raise DamagedArtifactError(f"{file} is damaged: it names no search; begin anew")
    if other := [name for name in requested if requested[name] != stored.get(name)]:
        raise InputError(
            f"{folder} holds another search, which differs in {', '.join(other)}: choose another "
            "folder, or begin anew with --overwrite"
        )
    with report_damage(file, "begin anew with --overwrite"):
        return [Trial(**trial) for trial in document["trials"]]


def write_trials(folder: Path, search: Search, trials: Sequence[Trial]) -> None:
    """Write all trials to the folder."""
    head = {"format": FORMAT, "modalhash": version("modalhash"), "search": search.document()}
    write_json(folder / TRIALS, {**head, "trials": [asdict(trial) for trial in trials]})
