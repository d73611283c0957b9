"""Compare our evaluation with the usual loop over queries: seconds, ratio, peak memory, one run.

Both work on the same made codes and labels, in both directions, in turn. "map" asks ours for what
the loop gives: MAP at 50, 5000 and all, truncated, items that share a label. "all" asks it for
everything it has: three rules of relevance, precision, recall, nDCG, hash lookup, recall and rank
by pair, curves. The loop takes ties as its sort leaves them, ours takes their exact mean.

Run it: `python -m benchmarks.metrics.speed`
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks.metrics.plain_loop import loop_mean_average_precision
from benchmarks.result_files import RESULTS, write_result
from modalhash.codes import Signs, pack
from modalhash.machine import peak_mib, usable_cores
from modalhash.metrics import evaluate_direction

TOP_K = (50, 5000, None)
LABELS_AN_ITEM = 3.8
"""About what MIRFlickr has."""
DIRECTIONS = ("image_to_text", "text_to_image")


@dataclass(frozen=True)
class Side:
    """Codes of one modality and the labels of its items."""

    signs: Signs
    labels: NDArray[np.uint8]


@dataclass(frozen=True)
class Problem:
    """Queries and databases of both directions, and each query's own partner."""

    sides: dict[str, tuple[Side, Side]]
    targets: NDArray[np.int64]
    n_bits: int


def make_problem(options: argparse.Namespace) -> Problem:
    """Return codes that follow their labels, with noise."""
    generator = np.random.default_rng(options.seed)
    centres = generator.normal(size=(options.classes, options.bits))

    def make_side(n_items: int) -> Side:
        share = LABELS_AN_ITEM / options.classes
        signs = np.empty((n_items, options.bits), np.int8)
        labels = np.empty((n_items, options.classes), np.uint8)
        # Little at a time: making the codes mustn't take more memory than measuring them.
        for part in np.array_split(np.arange(n_items), 1 + n_items // 2000):
            labels[part] = generator.random((len(part), options.classes)) < share
            noisy = labels[part] @ centres
            noisy += 1.5 * generator.normal(size=noisy.shape)
            signs[part] = np.where(noisy >= 0, 1, -1)
        return Side(signs, labels)

    sides = {
        direction: (make_side(options.queries), make_side(options.items))
        for direction in DIRECTIONS
    }
    return Problem(sides, generator.integers(0, options.items, options.queries), options.bits)


def run_loop(problem: Problem, n_queries: int) -> None:
    """Run the loop in both directions, on the first queries."""
    for queries, database in problem.sides.values():
        loop_mean_average_precision(
            queries.signs[:n_queries].astype(np.float32),
            database.signs.astype(np.float32),
            queries.labels[:n_queries].astype(np.float32),
            database.labels.astype(np.float32),
            top_k=TOP_K,
        )


def run_ours(problem: Problem, *, everything: bool, n_threads: int) -> None:
    """Run ours in both directions; packing the codes is inside, as it is in use."""
    for direction, (queries, database) in problem.sides.items():
        evaluate_direction(
            pack(queries.signs),
            pack(database.signs),
            problem.n_bits,
            direction=direction,
            query_labels=queries.labels,
            database_labels=database.labels,
            query_targets=problem.targets if everything else None,
            relevances=None if everything else ["shared_label"],
            top_k=TOP_K,
            n_threads=n_threads,
        )


def runners(problem: Problem, options: argparse.Namespace) -> dict[str, Callable[[], None]]:
    """Return what is compared, by name."""
    return {
        "loop": lambda: run_loop(problem, options.loop_queries),
        "map": lambda: run_ours(problem, everything=False, n_threads=options.threads),
        "all": lambda: run_ours(problem, everything=True, n_threads=options.threads),
    }


def time_in_turn(calls: dict[str, Callable[[], None]], repeats: int) -> dict[str, dict[str, float]]:
    """Time the calls one after the other, again and again; the first round is thrown away.

    Processor seconds, of all threads together, stand beside those on the clock: they suffer less
    from what else the machine does.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    cpu_seconds: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            start, cpu_start = time.perf_counter(), time.process_time()
            call()
            if repeat:
                seconds[name].append(time.perf_counter() - start)
                cpu_seconds[name].append(time.process_time() - cpu_start)
    return {
        name: {
            "median_seconds": median(values),
            "min_seconds": min(values),
            "max_seconds": max(values),
            "median_cpu_seconds": median(cpu_seconds[name]),
        }
        for name, values in seconds.items()
    }


def measure_peak(name: str, arguments: Sequence[str]) -> dict[str, float]:
    """Run one thing once in a process of its own; "data" is what the codes alone take."""
    command = [sys.executable, "-m", "benchmarks.metrics.speed", *arguments, "--peak-of", name]
    shown = subprocess.run(command, check=True, capture_output=True, text=True)
    return {"peak_mib": float(shown.stdout)}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--items", type=int, default=18_015, help="size of each database")
    parser.add_argument("--bits", type=int, default=64)
    parser.add_argument("--classes", type=int, default=24)
    parser.add_argument(
        "--loop-queries",
        type=int,
        help="queries that the loop takes; its time is scaled up to all. Default: all",
    )
    parser.add_argument("--threads", type=int, default=usable_cores(), help="of both sides")
    parser.add_argument("--repeats", type=int, default=5, help="rounds measured")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="default: a file in benchmarks/results")
    parser.add_argument("--peak-of", choices=["data", "loop", "map", "all"], help=argparse.SUPPRESS)
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(arguments)
    options.loop_queries = min(options.loop_queries or options.queries, options.queries)
    threadpool_limits(options.threads, user_api="blas")
    if options.peak_of:
        calls = runners(make_problem(options), options)
        if options.peak_of != "data":
            calls[options.peak_of]()
        print(peak_mib())
        return
    # Before this process grows: on Linux a child's peak starts with its parent's.
    names = ("data", "loop", "map", "all")
    results: dict[str, Any] = {name: measure_peak(name, arguments) for name in names}
    calls = runners(make_problem(options), options)
    for name, times in time_in_turn(calls, options.repeats).items():
        results[name] = times | results[name]
    scale = options.queries / options.loop_queries
    for kind in ("median_seconds", "min_seconds", "median_cpu_seconds"):
        results["loop"][f"{kind}_of_all_queries"] = scale * results["loop"][kind]
        for name in ("map", "all"):
            results[name][f"loop_to_ours_by_{kind}"] = scale * (
                results["loop"][kind] / results[name][kind]
            )
    write(options, results)


def write(options: argparse.Namespace, results: dict[str, Any]) -> None:
    """Print the results and keep them in a file."""
    print(json.dumps(results, indent=2))
    settings = {key: value for key, value in vars(options).items() if key != "peak_of"}
    size = f"{options.queries}x{options.items}x{options.bits}"
    name = f"metrics-speed-{size}-threads{options.threads}.json"
    output = options.output or RESULTS / name
    write_result(output, "metrics.speed", settings, results)


if __name__ == "__main__":
    main()
