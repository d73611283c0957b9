"""Many training runs measured alike: what to run, one at a time or in worker processes, resumed.

A task is one training and one measurement. Its result is a file of its own, named by everything
that decides it, so that a killed bench goes on where it stood and a larger one reuses a smaller.
"""

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from modalhash.api.learning import train
from modalhash.api.measuring import evaluate
from modalhash.artifacts import CollectionCodes, HashModel
from modalhash.benchmarking.outcomes import DIRECTIONS, MEASURES, Outcome, map_title
from modalhash.benchmarking.workers import Budget, Killed, Workers
from modalhash.data import PROTOCOLS, Collection, load_collection
from modalhash.errors import DamagedArtifactError, InputError, ModalhashError
from modalhash.files import read_json, write_json, write_with
from modalhash.machine import forget_peak, peak_mib
from modalhash.methods import METHODS, method_class
from modalhash.methods.base import ClosedFormMethod
from modalhash.metrics import Convention, Report
from modalhash.progress import Progress, silent

__all__ = [
    "Place",
    "Task",
    "Variant",
    "describe_variants",
    "measured_values",
    "read_values",
    "recipe",
    "run_grid",
]

FORMAT = 1
logger = logging.getLogger(__name__)

RATE_ROWS = 2048
"""Rows that an encoding rate is measured on."""
QueryValues = dict[str, NDArray[np.float32]]
"""For each value of an outcome, by name, the (q,) values of its queries; NaN: doesn't count."""


@dataclass(frozen=True)
class Variant:
    """One row of a table: a method with its settings.

    Attributes:
        name: of the row.
        method: in the table of methods.
        settings: changes to its settings, by name.
        preset: of the method, "auto" or "" for its defaults.
        hug: "", or how it is hugged: "contrastive", "same" or "plus".
    """

    name: str
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    preset: str = "auto"
    hug: str = ""


@dataclass(frozen=True)
class Place:
    """Where methods are measured.

    Attributes:
        collection: what `load_collection` takes.
        encoder: makes the features; "auto" is `offline`, or `precomputed` where there are features
            only.
        split: the queries; "auto" is `test` if there is such a split, else `dev`.
        protocol: divides the collection as for `load_collection`, and its measures are taken too;
            "" keeps the collection's own splits.
    """

    collection: str
    encoder: str = "auto"
    split: str = "auto"
    protocol: str = ""


@dataclass(frozen=True)
class Task:
    """One training and one measurement."""

    place: Place
    variant: Variant
    n_bits: int
    seed: int

    @property
    def key(self) -> str:
        """Name of its result: readable, and a hash of all that decides it."""
        task = asdict(self)
        if not self.place.protocol:  # results from before there were protocols keep their names
            del task["place"]["protocol"]
        decisive = [task, version("modalhash"), recipe(self.variant.method)]
        document = json.dumps(decisive, sort_keys=True)
        words = f"{Path(self.place.collection).name} {self.variant.name} {self.n_bits} {self.seed}"
        readable = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
        return f"{readable}-{hashlib.sha256(document.encode()).hexdigest()[:10]}"


def recipe(method: str) -> list[Any]:
    """Return what a method's defaults and presets stand for now; empty for an unknown method."""
    if method not in METHODS:
        return []
    found = method_class(method)
    training = None if issubclass(found, ClosedFormMethod) else asdict(found.training)
    return [asdict(found.settings_class()), training, {**found.presets}]


def describe_variants(variants: Sequence[Variant]) -> dict[str, dict[str, Any]]:
    """Return what each row stands for: its method, preset, changes, and the method's presets."""
    return {
        one.name: {**asdict(one), "presets": dict(method_class(one.method).presets)}
        for one in variants
    }


def run_grid(
    tasks: Sequence[Task],
    folder: Path | str,
    *,
    workers: int = 1,
    memory_gib: float | None = None,
    cache: Path | str | None = None,
    progress: Progress = silent,
) -> list[Outcome]:
    """Run every task that has no result yet, and return all results.

    Args:
        tasks: what to run, distinct.
        folder: where results go, a file a task, written when it ends.
        workers: processes at once, each computing on one thread; 1 computes in this one.
        memory_gib: of all workers together; fewer run at once where they would need more.
        cache: where features are kept.
        progress: told of every task that ends.

    Returns:
        Outcomes in the order of the tasks; a task that failed gives one that says why. A task may
        give several: a method with finer codes also one after reranking.

    Raises:
        InputError: if there is no task, `workers` is less than 1, or `memory_gib` isn't positive.
        DamagedArtifactError, NewerFormatError: if a result there can't be read.
    """
    if not tasks or workers < 1:
        raise InputError(f"{len(tasks)} tasks and {workers} workers: at least 1 of both is needed")
    if memory_gib is not None and not memory_gib > 0:
        raise InputError(f"memory_gib is {memory_gib}, expected a positive number")
    budget = Budget(workers, None if memory_gib is None else 1024 * memory_gib)
    runs = Path(folder) / "runs"
    missing = [task for task in tasks if not (runs / f"{task.key}.json").exists()]
    done = len(tasks) - len(missing)
    if done:
        logger.info("%d of %d results are in %s already", done, len(tasks), runs)
    for task, outcomes in computed(missing, budget, cache):
        for outcome, values in outcomes:
            if values:
                write_values(values_file(runs, task, outcome.row), values)
        document = {"format": FORMAT, "task": asdict(task), "modalhash": version("modalhash")}
        found = [asdict(outcome) for outcome, _ in outcomes]
        write_json(runs / f"{task.key}.json", {**document, "outcomes": found})
        done += 1
        progress("bench", done, len(tasks))
    return [outcome for task in tasks for outcome in read_outcomes(runs / f"{task.key}.json")]


def values_file(runs: Path, task: Task, row: str) -> Path:
    """Return where the values of a row's queries are kept."""
    added = "" if row == task.variant.name else "-reranked"
    return runs / f"{task.key}{added}.npz"


def write_values(path: Path, values: QueryValues) -> None:
    """Write arrays by name."""
    named: dict[str, Any] = dict(values)
    write_with(path, lambda file: np.savez_compressed(file, **named))


def read_values(tasks: Sequence[Task], folder: Path | str) -> list[tuple[Outcome, QueryValues]]:
    """Return the outcomes of tasks that were run, with the values of their queries.

    Outcomes of runs that failed have none.

    Raises:
        DamagedArtifactError, NewerFormatError: if a result there can't be read.
    """
    runs, found = Path(folder) / "runs", []
    for task in tasks:
        for outcome in read_outcomes(runs / f"{task.key}.json"):
            file = values_file(runs, task, outcome.row)
            found.append((outcome, read_arrays(file) if file.exists() else {}))
    return found


def read_arrays(path: Path) -> QueryValues:
    """Read the values of one row's queries.

    Raises:
        DamagedArtifactError: if it is no file of arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, BadZipFile) as error:
        raise DamagedArtifactError(f"{path} isn't a file of arrays: {error}") from error


def read_outcomes(path: Path) -> list[Outcome]:
    """Read the outcomes of one task."""
    document = read_json(path, kind="result", newest_format=FORMAT)
    return [Outcome(**found) for found in document["outcomes"]]


def computed(
    tasks: Sequence[Task], budget: Budget, cache: Path | str | None
) -> Iterator[tuple[Task, list[tuple[Outcome, QueryValues]]]]:
    """Yield tasks with what they gave, as they end."""
    if budget.workers == 1:
        for task in tasks:
            yield task, outcomes_of(task, cache)
        return
    workers = Workers(
        partial(outcomes_of, cache=cache),
        budget,
        kind_of=lambda task: f"{task.variant.method} {task.variant.hug} {task.place}",
        peak_of=lambda found: max(outcome.peak_mib for outcome, _ in found),
        prepare=compute_on_one_core,
    )
    for task, answer in workers.run(tasks):
        yield task, [(failed(task, answer.reason), {})] if isinstance(answer, Killed) else answer


def compute_on_one_core() -> None:
    """Let a worker process compute on one thread."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)


def failed(task: Task, reason: str) -> Outcome:
    """Return the outcome of a task that went wrong."""
    place = place_name(task.place)
    return Outcome(task.variant.name, place, task.n_bits, task.seed, {}, error=reason)


def outcomes_of(task: Task, cache: Path | str | None) -> list[tuple[Outcome, QueryValues]]:
    """Run one task; what goes wrong with it becomes its outcome."""
    try:
        return list(measured(task, cache))
    except Exception as error:
        logger.debug("%s failed", task.key, exc_info=True)
        reason = str(error)
        if not isinstance(error, ModalhashError):
            reason = f"{type(error).__name__}: {reason}"
        return [(failed(task, reason), {})]


def place_name(place: Place) -> str:
    """Return the collection's name and the split that is measured; as given if it can't be read."""
    try:
        collection = loaded(place.collection, place.protocol)
        return f"{collection.name} {usual_split(collection, place.split)}"
    except (ModalhashError, OSError):
        return f"{place.collection} {place.split}"


def usual_split(collection: Collection, split: str) -> str:
    """Return the split as named; "auto" is `test` if there is such a split, else `dev`."""
    if split != "auto":
        return split
    return "test" if "test" in collection.splits else "dev"


def usual_encoder(collection: Collection, encoder: str) -> str:
    """Return the encoder as named; "auto" is `precomputed` for features only, else `offline`."""
    if encoder != "auto":
        return encoder
    return "precomputed" if collection.pictures is None else "offline"


def measured(task: Task, cache: Path | str | None) -> Iterator[tuple[Outcome, QueryValues]]:
    """Train and measure once; yield what it gave, with the values behind each number."""
    collection, variant = loaded(task.place.collection, task.place.protocol), task.variant
    forget_peak()
    started = time.process_time()
    model = train(
        collection,
        method=variant.method,
        n_bits=task.n_bits,
        encoder=usual_encoder(collection, task.place.encoder),
        seed=task.seed,
        preset=variant.preset or None,
        settings=variant.settings,
        hug=variant.hug or None,
        cache=cache,
    )
    seconds = round(time.process_time() - started, 1)
    split = usual_split(collection, task.place.split)
    rates = encode_rates(model, collection, cache)
    names = protocol_measures(task.place.protocol)
    for row, bits, rerank in measurements(variant, model):
        report = evaluate(
            model,
            collection,
            split=split,
            rerank=rerank,
            cache=cache,
            top_k=list(dict.fromkeys([50, 5000, None, *(k for k, _ in names)])),
            conventions=list(dict.fromkeys([Convention.TRUNCATED, *(name for _, name in names)])),
        )
        outcome = Outcome(
            row,
            f"{collection.name} {split}",
            task.n_bits,
            task.seed,
            {**measured_values(report), **protocol_values(report, names)},
            seconds,
            bits,
            peak_mib=round(peak_mib(), 1),
            n_parameters=n_parameters(model),
            rates=rates,
            curves=kept_curves(report),
        )
        yield outcome, query_values(report)


def n_parameters(model: HashModel) -> int:
    """Return how many numbers the two towers have learned."""
    return sum(one.numel() for one in model.hasher.parameters())


def encode_rates(
    model: HashModel, collection: Collection, cache: Path | str | None
) -> dict[str, float]:
    """Return how many stored features become codes in a second, by modality, first rows."""
    folder = None if cache is None else Path(cache)
    codes = CollectionCodes(model, collection, captions="first", cache_folder=folder)
    items = np.arange(min(collection.n_items, RATE_ROWS))
    rates = {}
    for modality, encode, rows in (
        ("image", codes.image, items),
        ("text", codes.text, codes.texts_of(items)),
    ):
        encode(rows[:1])
        started = time.perf_counter()
        encode(rows)
        rates[modality] = round(len(rows) / max(time.perf_counter() - started, 1e-6), 1)
    return rates


def measurements(variant: Variant, model: HashModel) -> Iterator[tuple[str, int, str | None]]:
    """Yield what is measured of a model: name of the row, bits an item, and how it is reranked."""
    yield variant.name, model.n_bits, None
    if model.has_fine_codes:
        yield f"{variant.name}, reranked", model.n_bits + model.fine_books.n_bits, "auto"


def measured_values(report: Report) -> dict[str, float]:
    """Return the numbers of `MEASURES` in both directions, as far as they were measured."""
    rules = {measure.relevance for measure in report.measures}
    return {
        f"{title} {direction}": round(
            report.value(measure, direction, relevance=rule, k=k, convention=formula(measure)), 4
        )
        for title, measure, rule, k in MEASURES
        if rule in rules
        for direction in DIRECTIONS
    }


def query_values(report: Report) -> QueryValues:
    """Return the (q,) float32 values behind each of `measured_values`."""
    rules = {measure.relevance for measure in report.measures}
    found: QueryValues = {}
    for title, measure, rule, k in MEASURES:
        for one in report.directions if rule in rules else ():
            if any(number.relevance == rule for number in one.measures):
                values = one.values(measure, relevance=rule, k=k, convention=formula(measure))
                found[f"{title} {one.direction}"] = values.astype(np.float32)
    return found


def formula(measure: str) -> str | None:
    """Return the formula that `MEASURES` means; None for measures that have one only."""
    return Convention.TRUNCATED if measure == "map" else None


def protocol_measures(protocol: str) -> list[tuple[int | None, Convention]]:
    """Return cut-offs and formulas of a protocol ("djsrh:queries=9"); nothing for "".

    Example:
        >>> protocol_measures("ucch")
        [(None, <Convention.ANSWERABLE: 'answerable'>)]
    """
    if not protocol:
        return []
    rule = PROTOCOLS[protocol.partition(":")[0]]
    return [(k, Convention(rule.convention)) for k in rule.top_k]


def protocol_values(
    report: Report, measures: Sequence[tuple[int | None, Convention]]
) -> dict[str, float]:
    """Return what a protocol measures, in both directions, by `map_title`."""
    return {
        f"{map_title(k, name)} {direction}": round(
            report.value("map", direction, relevance="shared_label", k=k, convention=name), 4
        )
        for k, name in measures
        for direction in DIRECTIONS
    }


def kept_curves(report: Report) -> dict[str, dict[str, list[float]]]:
    """Return precision and recall by rank under a shared label, by direction."""
    return {
        one.direction: {
            "recall": np.round(curve.recall, 4).tolist(),
            "precision": np.round(curve.precision, 4).tolist(),
        }
        for one in report.directions
        for curve in one.curves
        if (curve.by, curve.relevance) == ("rank", "shared_label")
        and np.isfinite(curve.recall).all()  # it isn't where no query has an answer
    }


@lru_cache(maxsize=4)
def loaded(collection: str, protocol: str = "") -> Collection:
    """Load a collection, once a process, divided as a protocol says."""
    return load_collection(collection, protocol=protocol or None)
