"""Many trainings measured alike: one at a time or in worker processes, resumed after a kill.

A task is one training and one measurement. Its result is a file of its own, named by everything
that decides it, so that a killed comparison resumes and a larger one reuses a smaller.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from modalhash.benchmarking.measuring_tasks import QueryValues, run_task
from modalhash.benchmarking.outcomes import Outcome
from modalhash.benchmarking.tasks import Task, check_place, load_place, name_place
from modalhash.benchmarking.workers import Budget, Killed, Workers
from modalhash.choices import Scoring
from modalhash.errors import DamagedArtifactError, InputError, ModalhashError
from modalhash.files import read_json, report_damage, write_json, write_with
from modalhash.progress import Progress, silent

__all__ = ["read_values", "run_grid"]

FORMAT = 1


logger = logging.getLogger(__name__)


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
        give several: one for each scoring, and for a method with finer codes one after reranking.

    Raises:
        InputError: if there is no task, `workers` is less than 1, or `memory_gib` isn't positive.
        CollectionError, UnknownNameError: if the collection of a task without a result can't be
            read or has no such split; then nothing is run.
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
    for place in dict.fromkeys(task.place for task in missing):
        check_place(place)
    if workers > 1:
        load_place.cache_clear()  # workers read the collections themselves
    for task, outcomes in run_missing(missing, budget, cache):
        for outcome, values in outcomes:
            if values:
                write_values(values_path(runs, task, outcome), values)
        document = {"format": FORMAT, "task": asdict(task), "modalhash": version("modalhash")}
        documents = [asdict(outcome) for outcome, _ in outcomes]
        write_json(runs / f"{task.key}.json", {**document, "outcomes": documents})
        done += 1
        progress("bench", done, len(tasks))
    return [outcome for task in tasks for outcome in read_outcomes(runs / f"{task.key}.json")]


def values_path(runs: Path, task: Task, outcome: Outcome) -> Path:
    """Locate the file that keeps the values of an outcome's queries."""
    added = "" if outcome.row == task.variant.name else "-reranked"
    if outcome.scoring == Scoring.ASYMMETRIC:
        added = f"-{outcome.scoring}"
    return runs / f"{task.key}{added}.npz"


def write_values(path: Path, values: QueryValues) -> None:
    """Write arrays by name."""
    named: dict[str, Any] = dict(values)
    write_with(path, lambda file: np.savez_compressed(file, **named))


def read_values(tasks: Sequence[Task], folder: Path | str) -> list[tuple[Outcome, QueryValues]]:
    """Read the outcomes of tasks that were run, with the values of their queries.

    Outcomes of runs that failed have none.

    Raises:
        DamagedArtifactError, NewerFormatError: if a result there can't be read.
    """
    runs, values = Path(folder) / "runs", []
    for task in tasks:
        for outcome in read_outcomes(runs / f"{task.key}.json"):
            file = values_path(runs, task, outcome)
            values.append((outcome, read_arrays(file) if file.exists() else {}))
    return values


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
    with report_damage(path, "delete it, and its task runs again"):
        return [Outcome(**outcome) for outcome in document["outcomes"]]


def run_missing(
    tasks: Sequence[Task], budget: Budget, cache: Path | str | None
) -> Iterator[tuple[Task, list[tuple[Outcome, QueryValues]]]]:
    """Yield tasks with what they gave, as they end."""
    if budget.workers == 1:
        for task in tasks:
            yield task, attempt_task(task, cache)
        return
    workers = Workers(
        partial(attempt_task, cache=cache),
        budget,
        kind_of=lambda task: f"{task.variant.method} {task.variant.hug} {task.place}",
        peak_of=lambda results: max(outcome.peak_mib for outcome, _ in results),
        prepare=compute_on_one_core,
    )
    for task, answer in workers.run(tasks):
        yield (
            task,
            [(make_failure(task, answer.reason), {})] if isinstance(answer, Killed) else answer,
        )


def compute_on_one_core() -> None:
    """Let a worker process compute on one thread."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)


def make_failure(task: Task, reason: str) -> Outcome:
    """Make the outcome of a task that went wrong."""
    place = name_place(task.place)
    return Outcome(task.variant.name, place, task.n_bits, task.seed, {}, error=reason)


def attempt_task(task: Task, cache: Path | str | None) -> list[tuple[Outcome, QueryValues]]:
    """Run one task; what goes wrong with it becomes its outcome."""
    try:
        return list(run_task(task, cache))
    except Exception as error:
        logger.debug("%s failed", task.key, exc_info=True)
        reason = str(error)
        if not isinstance(error, ModalhashError):
            reason = f"{type(error).__name__}: {reason}"
        return [(make_failure(task, reason), {})]
