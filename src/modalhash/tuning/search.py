"""Search over the settings of a method, by quality on a part of the training items.

Each trial trains on one part of the training items and is judged on the other, which is held out as
training holds out items to choose an epoch; several times, with other divisions and seeds, as one
division is mostly chance. Queries take no part: trials get a collection whose splits name training
items only. Optuna's tree-structured Parzen estimator proposes settings; all trials are kept in a
file, so that a killed search resumes, with the same trials as an uninterrupted one.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Unpack

import numpy as np

from modalhash.api.learning import train
from modalhash.api.measuring import evaluate
from modalhash.api.method_choice import AUTO, choose_method, choose_preset
from modalhash.api.opening import fit_encoder, open_collection
from modalhash.api.settings_files import SettingsFile, write_settings
from modalhash.benchmarking.tasks import usual_encoder
from modalhash.choices import Scoring
from modalhash.data import Collection
from modalhash.errors import FeatureError, InputError, ModalhashError, UnknownNameError
from modalhash.files import write_text
from modalhash.methods import method_class
from modalhash.methods.base import Method, Needs
from modalhash.methods.settings import make_method, read_value
from modalhash.numpy_numbers import takes_numpy_numbers
from modalhash.options import CROSS_MODAL, TuningChoices, TuningOptions, change_options
from modalhash.progress import silent
from modalhash.seeds import check_seed
from modalhash.training.pairs import hold_out
from modalhash.training.validation import RECALL_AT
from modalhash.tuning.proposing import default_values, import_optuna, propose_settings
from modalhash.tuning.search_spaces import (
    Dimension,
    list_setting_types,
    make_named_space,
    make_usual_space,
)
from modalhash.tuning.tables import trials_table
from modalhash.tuning.trials import (
    VALIDATION,
    Search,
    Trial,
    TuningResult,
    read_trials,
    write_trials,
)

__all__ = ["OBJECTIVES", "tune"]

logger = logging.getLogger(__name__)
BEST, TABLE = "best.json", "trials.md"
MAP_AT: Final = 50
OBJECTIVES: Final = {
    "recall": f"recall@{RECALL_AT} by pair",
    "map": f"MAP@{MAP_AT} by a shared label",
}
"""What judges trials, the mean of both directions."""


@takes_numpy_numbers
def tune(
    method: str,
    collection: Collection | str | Path,
    output: Path | str,
    *,
    n_trials: int,
    n_bits: int = 64,
    split: str = "train",
    encoder: str = "auto",
    preset: str | None = "auto",
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    options: TuningOptions | None = None,
    **choices: Unpack[TuningChoices],
) -> TuningResult:
    """Search over the settings of a method on a validation part of the training items.

    The first training is the method as it is, so the best is never worse than that on the
    validation part. The same call resumes a search that was stopped, or adds trials to one that is
    done.

    Args:
        method: a name in `modalhash.methods.METHODS`, or "auto", as `train` takes it.
        collection: or what `load_collection` takes.
        output: the folder: `trials.json`, `trials.md` and `best.json`, which `train` takes.
        n_trials: settings to try, at least 1, beside the method as it is.
        n_bits: bits of a code.
        split: items to learn from; no other item takes part.
        encoder: makes the features; "auto" is `offline`, or `precomputed` for features only.
        preset: that trials change; "auto" is what suits the features, None the defaults.
        settings: changes that all trials share.
        seed: of the proposals, and of the first division and training; others add 1 each.
        options: settings to search, objective, validation share, repeats, overwriting, cache and
            device.
        **choices: fields of `modalhash.options.TuningOptions`, which change `options`.

    Raises:
        InputError: if `n_trials`, `repeats` or `seed` is out of its range, there are too few
            training items for a validation part, the method has nothing to search, or `output`
            holds another search.
        FeatureError: if labels are needed and there are none.
        UnknownNameError, SettingError: if a name isn't known or a value is out of its range.
        MissingExtraError: if Optuna isn't installed.
        StorageError: if the file system refuses; finished trials are kept.
    """
    options = change_options(TuningOptions, options, choices)
    for name, count in (("n_trials", n_trials), ("repeats", options.repeats)):
        if count < 1:
            raise InputError(f"{name} is {count}: at least 1 is needed")
    check_seed(seed)
    import_optuna()
    collection = open_collection(collection, options.skip_bad, options.progress)
    if method == AUTO:
        method = choose_method(collection, split, settings=settings)
    objective = choose_objective(method_class(method), options.objective)
    parts = tuple(
        divide_training_items(collection, split, options.validation_share, seed + repeat)
        for repeat in range(options.repeats)
    )
    check_labels(collection, method_class(method), objective)
    encoder = usual_encoder(collection, encoder)
    if preset == "auto":
        fitted = fit_encoder(parts[0], encoder, split="train", device=options.device)
        preset = choose_preset(method_class(method), parts[0], fitted)
    changes = read_changes(method_class(method), preset, settings)
    search = Search(
        method,
        preset,
        changes,
        make_space(method_class(method), options.over, preset, changes, parts[0]),
        objective,
        parts,
        n_bits,
        encoder,
        seed,
        options,
    )
    return run_search(search, Path(output), n_trials)


def check_labels(collection: Collection, method: type[Method], objective: str) -> None:
    """Check that there are labels where the objective or the method reads them.

    Raises:
        FeatureError: if there are none.
    """
    readers = {
        "the objective map": objective == "map",
        method.title: Needs.LABELS in method.needs,
    }
    for reader, needs_labels in readers.items():
        if needs_labels and collection.labels is None:
            raise FeatureError(f"{reader} needs labels, but {collection.name} has none")


def read_changes(
    method: type[Method], preset: str | None, settings: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Read the settings that all trials share, each as its type.

    Raises:
        SettingError, UnknownNameError: if the method doesn't take one of them.
    """
    make_method(method, preset=preset, changes=settings)
    types = list_setting_types(method)
    return {name: read_value(name, value, types[name]) for name, value in (settings or {}).items()}


def make_space(
    method: type[Method],
    over: Sequence[str],
    preset: str | None,
    changes: Mapping[str, Any],
    part: Collection,
) -> Mapping[str, Dimension]:
    """Make the space to search: the named settings, or the method's usual ones."""
    n_items = len(part.split("train"))
    if over:
        return make_named_space(method, over, preset=preset, changes=changes, n_items=n_items)
    return make_usual_space(method, preset=preset, changes=changes, n_items=n_items)


def run_search(search: Search, folder: Path, n_trials: int) -> TuningResult:
    """Run the trials that are missing, and write the result."""
    trials = read_trials(folder, search)
    while len(trials) <= n_trials:
        trials.append(run_trial(search, trials))
        write_trials(folder, search, trials)
        values = [trial.value for trial in trials if trial.value is not None]
        best = {"best": max(values)} if values else {}
        search.options.progress("tune", len(trials), n_trials + 1, best)
    return write_result(folder, search, trials)


def choose_objective(method: type[Method], objective: str) -> str:
    """Choose what judges trials; "auto" depends on whether the method learns from labels.

    Raises:
        UnknownNameError: if there is no such objective.
    """
    if objective == "auto":
        return "map" if Needs.LABELS in method.needs else "recall"
    if objective not in OBJECTIVES:
        raise UnknownNameError("objective", objective, [*OBJECTIVES, "auto"])
    return objective


def divide_training_items(
    collection: Collection, split: str, share: float, seed: int
) -> Collection:
    """Divide the training items into two splits of a collection that names no other item.

    Raises:
        InputError: if the share is out of its range, or a part is too small.
        UnknownNameError: if there is no such split.
    """
    if not 0 < share <= 0.5:
        raise InputError(f"validation_share is {share:g}, expected above 0, 0.5 at most")
    items = collection.split(split)
    training, validation = hold_out(items, share, seed)
    if len(validation) <= RECALL_AT or len(training) < 2:
        raise InputError(
            f"split {split!r} of {collection.name} has {len(items)} items, of which "
            f"{share:g} hold out {len(validation)}: a validation part takes at least "
            f"{RECALL_AT + 1}; raise validation_share, or take a larger collection"
        )
    note = f"{share:g} of the items of {split!r} held out, seed {seed}"
    return replace(collection, splits={"train": training, VALIDATION: validation}, split_note=note)


def run_trial(search: Search, trials: Sequence[Trial]) -> Trial:
    """Run the next trial; what goes wrong with its settings becomes its error."""
    number = len(trials)
    settings = propose_settings(search, trials) if number else {}
    for trial in trials[1:]:
        if trial.settings == settings:
            logger.info("trial %d has the settings of trial %d", number, trial.number)
            return replace(trial, number=number, cpu_seconds=0.0)
    started = time.process_time()
    values, error = list[float](), ""
    try:
        for repeat in range(len(search.parts)):
            values.append(measure_trial(search, repeat, settings))
    except ModalhashError as failure:
        if not number:
            raise  # the method as it is can't be run here: nor can anything else be
        values, error = [], " ".join(str(failure).split())
        logger.warning("trial %d failed: %s", number, error)
    mean = round(float(np.mean(values)), 6) if values else None
    seconds = round(time.process_time() - started, 1)
    return Trial(number, settings, mean, tuple(values), seconds, error)


def measure_trial(search: Search, repeat: int, settings: Mapping[str, Any]) -> float:
    """Train on one part of a division with some settings, and measure it on the other."""
    model = train(
        search.parts[repeat],
        method=search.method,
        n_bits=search.n_bits,
        encoder=search.encoder,
        seed=search.seed + repeat,
        preset=search.preset,
        settings={**search.changes, **settings},
        cache=search.options.cache,
        device=search.options.device,
        progress=silent,
    )
    by_label = search.objective == "map"
    report = evaluate(
        model,
        search.parts[repeat],
        split=VALIDATION,
        database="train",
        scoring=Scoring.HAMMING,
        relevances=("shared_label",) if by_label else ("pair",),
        top_k=(MAP_AT,),
        recall_at=(RECALL_AT,),
        cache=search.options.cache,
        device=search.options.device,
        progress=silent,
    )
    values = [
        report.value("map", direction, relevance="shared_label", k=MAP_AT)
        if by_label
        else report.value("recall", direction, relevance="pair", k=RECALL_AT)
        for direction in CROSS_MODAL
    ]
    return round(float(np.mean(values)), 6)


def write_result(folder: Path, search: Search, trials: Sequence[Trial]) -> TuningResult:
    """Write the best settings and the table of a search."""
    valued = [(trial.value, trial) for trial in trials if trial.value is not None]
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
        default_values(search),
        OBJECTIVES[search.objective],
        settings,
        folder / BEST,
    )
    write_text(folder / TABLE, trials_table(result))
    return result
