"""Search over the settings of a method, by quality on a part of the training items.

Each trial trains on one part of the training items and is judged on the other, which is held out as
training holds out items to choose an epoch; several times, with other divisions and seeds, as one
division is mostly chance. Queries take no part: trials get a collection whose
splits name training items only. Optuna's tree-structured Parzen estimator proposes settings; all
trials are kept in a file of ours, so that a killed search goes on, with the same trials as an
unbroken one.
"""

import hashlib
import json
import logging
import operator
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from modalhash.api.learning import train
from modalhash.api.measuring import evaluate
from modalhash.api.method_choice import AUTO, choose_method, choose_preset
from modalhash.api.opening import fitted_encoder, opened
from modalhash.api.settings_files import SettingsFile, write_settings
from modalhash.benchmarking.grid import recipe, usual_encoder
from modalhash.benchmarking.grid_table import markdown
from modalhash.data import Collection
from modalhash.errors import FeatureError, InputError, ModalhashError, UnknownNameError
from modalhash.extras import import_optional
from modalhash.files import read_json, write_json, write_text
from modalhash.methods import method_class
from modalhash.methods.base import Method, Needs
from modalhash.methods.settings import configured_method, read_value
from modalhash.options import CROSS_MODAL
from modalhash.progress import Progress, silent
from modalhash.training.pairs import hold_out
from modalhash.training.validation import RECALL_AT
from modalhash.tuning.search_spaces import (
    Dimension,
    epochs_of,
    known_types,
    named_space,
    shown,
    usual_space,
)

__all__ = ["OBJECTIVES", "Trial", "TuningResult", "trials_table", "tune"]

logger = logging.getLogger(__name__)
FORMAT, KIND = 1, "search"
TRIALS, BEST, TABLE = "trials.json", "best.json", "trials.md"
VALIDATION: Final = "validation"
MAP_AT: Final = 50
OBJECTIVES: Final = {
    "recall": f"recall@{RECALL_AT} by pair",
    "map": f"MAP@{MAP_AT} by a shared label",
}
"""What trials are judged by, the mean of both directions."""
LARGEST_SEED: Final = 2**32


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
        """Take values as a file holds them."""
        object.__setattr__(self, "values", tuple(self.values))


@dataclass(frozen=True)
class TuningResult:
    """What a search found.

    Attributes:
        best: the trial with the highest value; the first of several.
        trials: all, in their order; the first is the method as it is.
        space: what was searched.
        usual: what the searched settings are in the method as it is.
        objective: what trials were judged by, in words.
        settings: what `train` takes, with the changes that all trials share.
        settings_file: where they are.
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
    """What decides every trial of a search.

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
        options: of training that change no result: cache and device.
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
    options: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return everything that decides the trials, as it is kept."""
        digest = hashlib.sha256()
        for part in self.parts:
            for name in ("train", VALIDATION):
                digest.update(part.splits[name].tobytes() + b"/")
        return {
            "method": self.method,
            "recipe": json.loads(json.dumps(recipe(self.method))),
            "preset": self.preset or "",
            "changes": dict(self.changes),
            "space": {name: str(one) for name, one in self.space.items()},
            "objective": self.objective,
            "bits": self.n_bits,
            "encoder": self.encoder,
            "seed": self.seed,
            "repeats": len(self.parts),
            "collection": self.parts[0].name,
            "fingerprint": self.parts[0].fingerprint(),
            "items_sha256": digest.hexdigest(),
        }


def tune(
    method: str,
    collection: Collection | str | Path,
    output: Path | str,
    *,
    n_trials: int,
    n_bits: int = 64,
    over: Sequence[str] = (),
    objective: str = "auto",
    validation_share: float = 0.2,
    repeats: int = 3,
    split: str = "train",
    encoder: str = "auto",
    preset: str | None = "auto",
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    overwrite: bool = False,
    skip_bad: bool = False,
    cache: Path | str | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> TuningResult:
    """Search over the settings of a method on a validation part of the training items.

    The first training is the method as it is, so the best is never worse than that on the
    validation part. The same call goes on with a search that was stopped, or adds trials to one
    that is done.

    Args:
        method: a name in `modalhash.methods.METHODS`, or "auto", as `train` takes it.
        collection: or what `load_collection` takes.
        output: the folder: `trials.json`, `trials.md` and `best.json`, which `train` takes.
        n_trials: settings to try, at least 1, beside the method as it is.
        n_bits: bits of a code.
        over: settings to search, as `modalhash.tuning.search_spaces.named_space` reads them; empty
            is the usual ones.
        objective: "recall" by pair, "map" by labels, or "auto": `map` for methods that learn from
            labels, else `recall`.
        validation_share: of the training items, in (0, 0.5].
        repeats: divisions and seeds that each trial is judged by, at least 1; its value is the
            mean.
        split: items to learn from; no other item takes part.
        encoder: makes the features; "auto" is `offline`, or `precomputed` for features only.
        preset: that trials change; "auto" is what suits the features, None the defaults.
        settings: changes that all trials share.
        seed: of what is proposed, and of the first division and training; others add 1 each.
        overwrite: begin anew where another search is kept.
        skip_bad: leave out items with defects; the log says how many.
        cache: where features are kept.
        device: "auto", "cpu", "cuda", ...
        progress: told of every trial.

    Raises:
        InputError: if `n_trials` or `repeats` is less than 1, there are too few training items for
            a validation part, the method has nothing to search, or `output` holds another search.
        FeatureError: if labels are needed and there are none.
        UnknownNameError, SettingError: if a name isn't known or a value is out of its range.
        MissingExtraError: if Optuna isn't installed.
        StorageError: if the file system refuses; finished trials are kept.
    """
    for name, count in (("n_trials", n_trials), ("repeats", repeats)):
        if count < 1:
            raise InputError(f"{name} is {count}: at least 1 is needed")
    import_optional("optuna", extra="tune", feature="the search over settings")
    if method == AUTO:
        collection = opened(collection, skip_bad, progress)
        method = choose_method(collection, split, settings=settings)
    found, folder = method_class(method), Path(output)
    chosen = chosen_objective(found, objective)
    collection = opened(collection, skip_bad, progress)
    parts = tuple(
        training_parts(collection, split, validation_share, seed + repeat)
        for repeat in range(repeats)
    )
    needed = (chosen == "map", "the objective map"), (Needs.LABELS in found.needs, found.title)
    for is_needed, what in needed:
        if is_needed and collection.labels is None:
            raise FeatureError(f"{what} needs labels, but {collection.name} has none")
    encoder = usual_encoder(collection, encoder)
    if preset == "auto":
        fitted = fitted_encoder(parts[0], encoder, split="train", device=device)
        preset = choose_preset(found, parts[0], fitted)
    configured_method(found, preset=preset, changes=settings)
    types = known_types(found)
    changes = {name: read_value(name, one, types[name]) for name, one in (settings or {}).items()}
    n_items = len(parts[0].split("train"))
    space = (
        named_space(found, over, preset=preset, changes=changes, n_items=n_items)
        if over
        else usual_space(found, preset=preset, changes=changes, n_items=n_items)
    )
    search = Search(
        method, preset, changes, space, chosen, parts, n_bits, encoder, seed,
        {"cache": cache, "device": device},
    )  # fmt: skip
    trials = kept_trials(folder, search, overwrite=overwrite)
    while len(trials) <= n_trials:
        trials.append(run_trial(search, trials))
        keep(folder, search, trials)
        values = [one.value for one in trials if one.value is not None]
        best = {"best": max(values)} if values else {}
        progress("tune", len(trials), n_trials + 1, best)
    return finished(folder, search, trials)


def chosen_objective(method: type[Method], objective: str) -> str:
    """Return the name of what trials are judged by.

    Raises:
        UnknownNameError: if there is no such objective.
    """
    if objective == "auto":
        return "map" if Needs.LABELS in method.needs else "recall"
    if objective not in OBJECTIVES:
        raise UnknownNameError("objective", objective, [*OBJECTIVES, "auto"])
    return objective


def training_parts(collection: Collection, split: str, share: float, seed: int) -> Collection:
    """Return a collection whose splits divide the training items, and name no other item.

    Raises:
        InputError: if the share is out of its range, or a part is too small.
        UnknownNameError: if there is no such split.
    """
    if not 0 < share <= 0.5:
        raise InputError(f"validation_share is {share:g}, expected above 0, 0.5 at most")
    items = collection.split(split)
    kept, held = hold_out(items, share, seed)
    if len(held) <= RECALL_AT or len(kept) < 2:
        raise InputError(
            f"split {split!r} of {collection.name} has {len(items)} items, of which "
            f"{share:g} hold out {len(held)}: a validation part takes at least {RECALL_AT + 1}; "
            "raise validation_share, or take a larger collection"
        )
    note = f"{share:g} of the items of {split!r} held out, seed {seed}"
    return replace(collection, splits={"train": kept, VALIDATION: held}, split_note=note)


def kept_trials(folder: Path, search: Search, *, overwrite: bool) -> list[Trial]:
    """Return the trials of a search that was stopped or is to be extended.

    Raises:
        InputError: if the folder holds another search, naming what differs, or something else.
        DamagedArtifactError, NewerFormatError: if its file can't be read.
    """
    file = folder / TRIALS
    if overwrite or not file.exists():
        return []
    said = read_json(file, kind=KIND, newest_format=FORMAT)
    wanted, there = search.document(), said["search"]
    if said["modalhash"] != version("modalhash"):
        raise InputError(
            f"{file} was written by modalhash {said['modalhash']}, this is {version('modalhash')}: "
            "begin anew with --overwrite, or choose another folder"
        )
    if other := [name for name in wanted if wanted[name] != there.get(name)]:
        raise InputError(
            f"{folder} holds another search, which differs in {', '.join(other)}: choose another "
            "folder, or begin anew with --overwrite"
        )
    return [Trial(**one) for one in said["trials"]]


def keep(folder: Path, search: Search, trials: Sequence[Trial]) -> None:
    """Write all trials to the folder."""
    head = {"format": FORMAT, "modalhash": version("modalhash"), "search": search.document()}
    write_json(folder / TRIALS, {**head, "trials": [asdict(one) for one in trials]})


def run_trial(search: Search, trials: Sequence[Trial]) -> Trial:
    """Run the next trial; what goes wrong with its settings becomes its error."""
    number = len(trials)
    settings = proposed(search, trials) if number else {}
    for one in trials[1:]:
        if one.settings == settings:
            logger.info("trial %d has the settings of trial %d", number, one.number)
            return replace(one, number=number, cpu_seconds=0.0)
    started = time.process_time()
    values, error = list[float](), ""
    try:
        for repeat in range(len(search.parts)):
            values.append(measured(search, repeat, settings))
    except ModalhashError as failure:
        if not number:
            raise  # the method as it is can't be run here: nor can anything else be
        values, error = [], " ".join(str(failure).split())
        logger.warning("trial %d failed: %s", number, error)
    mean = round(float(np.mean(values)), 6) if values else None
    seconds = round(time.process_time() - started, 1)
    return Trial(number, settings, mean, tuple(values), seconds, error)


def measured(search: Search, repeat: int, settings: Mapping[str, Any]) -> float:
    """Train on one part of a division with some settings; return the objective on the other."""
    model = train(
        search.parts[repeat],
        method=search.method,
        n_bits=search.n_bits,
        encoder=search.encoder,
        seed=search.seed + repeat,
        preset=search.preset,
        settings={**search.changes, **settings},
        **search.options,
    )
    by_label = search.objective == "map"
    report = evaluate(
        model,
        search.parts[repeat],
        split=VALIDATION,
        database="train",
        relevances=("shared_label",) if by_label else ("pair",),
        top_k=(MAP_AT,),
        recall_at=(RECALL_AT,),
        **search.options,
    )
    values = [
        report.value("map", one, relevance="shared_label", k=MAP_AT)
        if by_label
        else report.value("recall", one, relevance="pair", k=RECALL_AT)
        for one in CROSS_MODAL
    ]
    return round(float(np.mean(values)), 6)


def proposed(search: Search, trials: Sequence[Trial]) -> dict[str, Any]:
    """Return the settings to try next, given what the trials so far gave.

    The proposal depends on the seed and on the trials alone, not on whether a search was resumed.
    """
    optuna = import_optional("optuna", extra="tune", feature="the search over settings")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = (search.seed * 1_000_003 + len(trials)) % LARGEST_SEED
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    distributions = {name: distribution(one) for name, one in search.space.items()}
    for one in trials:
        settings = one.settings if one.number else values_of(search)
        if all(search.space[name].holds(value) for name, value in settings.items()):
            states = optuna.trial.TrialState
            study.add_trial(
                optuna.trial.create_trial(
                    state=states.FAIL if one.error else states.COMPLETE,
                    params=dict(settings),
                    distributions=distributions,
                    value=one.value,
                )
            )
    drawn = study.ask(distributions).params
    return {name: search.space[name].tidied(value) for name, value in drawn.items()}


def distribution(dimension: Dimension) -> Any:
    """Return Optuna's form of the values of a setting."""
    optuna = import_optional("optuna", extra="tune", feature="the search over settings")
    if dimension.choices:
        return optuna.distributions.CategoricalDistribution(dimension.choices)
    if dimension.is_whole:
        ends = int(dimension.low), int(dimension.high)
        return optuna.distributions.IntDistribution(*ends, log=dimension.is_log)
    return optuna.distributions.FloatDistribution(
        dimension.low, dimension.high, log=dimension.is_log
    )


def values_of(search: Search) -> dict[str, Any]:
    """Return what the searched settings are in the method as it is."""
    configured, training = configured_method(
        method_class(search.method), preset=search.preset, changes=search.changes
    )
    n_items = len(search.parts[0].splits["train"])
    both = {**asdict(training), "epochs": epochs_of(training, n_items)}
    both |= asdict(configured.settings)
    return {name: both[name] for name in search.space}


def finished(folder: Path, search: Search, trials: Sequence[Trial]) -> TuningResult:
    """Write the best settings and the table of a search."""
    valued = [(one.value, one) for one in trials if one.value is not None]
    best = max(valued, key=lambda pair: (pair[0], -pair[1].number))[1]
    about = {
        "objective": f"{OBJECTIVES[search.objective]}, mean of both directions",
        "validation": "; ".join(part.split_note for part in search.parts),
        "collection": search.parts[0].name,
        "encoder": search.encoder,
        "bits": search.n_bits,
        "seed": search.seed,
        "value": best.value,
        "values": list(best.values),
        "value_as_it_is": trials[0].value,
        "values_as_it_is": list(trials[0].values),
        "n_trials": len(trials) - 1,
    }
    chosen = {**search.changes, **best.settings}
    settings = SettingsFile(search.method, search.preset or "", chosen, about)
    write_settings(folder / BEST, settings)
    result = TuningResult(
        best,
        tuple(trials),
        search.space,
        values_of(search),
        OBJECTIVES[search.objective],
        settings,
        folder / BEST,
    )
    write_text(folder / TABLE, trials_table(result))
    return result


def trials_table(result: TuningResult) -> str:
    """Return all trials as a Markdown table, the best first, and what was searched."""
    ordered = sorted(
        result.trials,
        key=lambda one: (one.value is None, -(one.value or 0.0), one.number),
    )
    rows = [
        [
            str(one.number) if one.number else "as it is",
            f"{one.value:.4f} ± {np.std(one.values):.4f}" if one.value is not None else one.error,
            *(shown({**result.usual, **one.settings}[name]) for name in result.space),
            f"{one.cpu_seconds:.1f}",
        ]
        for one in ordered
    ]
    heads = ["trial", result.objective, *result.space, "CPU s"]
    searched = "\n".join(f"- `{name}`: {values}" for name, values in result.space.items())
    about = result.settings.about
    n_better = sum(map(operator.gt, result.best.values, result.trials[0].values))
    note = (
        f"{result.settings.method}, {about['bits']} bits, {about['collection']}, "
        f"{about['validation']}; mean of both directions and of all divisions, with the deviation "
        f"over divisions. The best is above the method as it is in {n_better} of "
        f"{len(result.best.values)} divisions."
    )
    return f"{markdown(heads, rows)}\n{note} Searched:\n\n{searched}\n"
