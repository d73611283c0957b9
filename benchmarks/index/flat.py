"""Compare our flat index with bare FAISS on the same codes, in one run, call by call in turn.

Measures what the thin layer costs (ids, tie order, checks): seconds a search at batch 1 and at
batch 1,000, and their ratio to `faiss.IndexBinaryFlat.search`. Two sets of codes: uniform ones, and
ones of which many are equal, as learned codes are. Beside them stands a bare scan over the distinct
codes alone, the most that indexing each code once could win.

Batch 1 is compared with FAISS on one thread: FAISS doesn't split one query, and its idle second
thread makes it slower on a busy machine, never faster.

Run it: `python -m benchmarks.index.flat`
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

import faiss
import numpy as np
from numpy.typing import NDArray

from benchmarks.result_files import RESULTS, write_result
from modalhash.codes import Codes
from modalhash.index import build_index, open_index


def uniform_codes(n: int, width: int, generator: np.random.Generator) -> Codes:
    """Return codes of independent random bits."""
    return generator.integers(0, 256, (n, width), dtype=np.uint8)


def duplicate_rich_codes(n: int, width: int, generator: np.random.Generator) -> Codes:
    """Return codes of which few are frequent and many rare: rank r comes with weight 1 / r."""
    n_distinct = max(1, n // 10)
    weights = 1 / np.arange(1, n_distinct + 1)
    choice = generator.choice(n_distinct, size=n, p=weights / weights.sum())
    return uniform_codes(n_distinct, width, generator)[choice]


CODE_SETS = {"uniform": uniform_codes, "duplicate_rich": duplicate_rich_codes}


def measure_in_turn(
    calls: Mapping[str, Callable[[], object]], repeats: int
) -> dict[str, dict[str, float]]:
    """Time some calls one after the other, again and again, so that load meets all alike.

    Returns:
        By name: median, smallest and largest of the seconds of `repeats` calls after one that is
        thrown away.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if repeat:
                seconds[name].append(time.perf_counter() - start)
    return {
        name: {
            "median_seconds": median(values),
            "min_seconds": min(values),
            "max_seconds": max(values),
        }
        for name, values in seconds.items()
    }


def with_ratios(measured: dict[str, dict[str, float]]) -> dict[str, object]:
    """Add our time as a ratio to bare FAISS's, of medians and of the quickest calls."""
    return {
        **measured,
        "ratio_of_medians": measured["ours"]["median_seconds"] / measured["bare"]["median_seconds"],
        "ratio_of_minima": measured["ours"]["min_seconds"] / measured["bare"]["min_seconds"],
    }


def bare_index(codes: Codes) -> faiss.IndexBinaryFlat:
    """Return FAISS's own index of some codes."""
    index = faiss.IndexBinaryFlat(8 * codes.shape[1])
    index.add(codes)
    return index


def one_by_one(search: Callable[[Codes, int], object], queries: Codes, k: int) -> None:
    """Search for each query on its own."""
    for row in range(len(queries)):
        search(queries[row : row + 1], k)


def on_one_thread(call: Callable[[], object]) -> Callable[[], None]:
    """Return the call with FAISS kept to one thread."""

    def run() -> None:
        n_threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)
        call()
        faiss.omp_set_num_threads(n_threads)

    return run


def compare(codes: Codes, queries: Codes, k: int, repeats: int) -> dict[str, object]:
    """Measure building, saving, opening and searching one set of codes."""
    ids = [f"images/{row:08}.jpg" for row in range(len(codes))]
    start = time.perf_counter()
    built = build_index(ids, codes, 8 * codes.shape[1])
    build_seconds = time.perf_counter() - start
    distinct = np.unique(codes, axis=0)
    bare, bare_distinct = bare_index(codes), bare_index(distinct)
    singles = queries[:50]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        built.save(folder)
        save_seconds = time.perf_counter() - start
        n_bytes = sum(path.stat().st_size for path in Path(folder).iterdir())
        start = time.perf_counter()
        ours = open_index(folder)
        ours.search(queries[:1], k)
        open_seconds = time.perf_counter() - start
        check_equal(bare.search(queries, k)[0], ours.search(queries, k).distances)
        batch = measure_in_turn(
            {
                "bare": lambda: bare.search(queries, k),
                "ours": lambda: ours.search(queries, k),
                "bare_distinct": lambda: bare_distinct.search(queries, k),
            },
            repeats,
        )
        single = measure_in_turn(
            {
                "bare": on_one_thread(lambda: one_by_one(bare.search, singles, k)),
                "ours": lambda: one_by_one(ours.search, singles, k),
                "bare_distinct": on_one_thread(
                    lambda: one_by_one(bare_distinct.search, singles, k)
                ),
            },
            repeats,
        )
    return {
        "distinct_codes": len(distinct),
        "build_seconds": build_seconds,
        "save_seconds": save_seconds,
        "open_and_first_search_seconds": open_seconds,
        "bytes_per_item_on_disk": n_bytes / len(codes),
        f"batch_of_{len(queries)}": with_ratios(batch),
        f"batch_of_1_times_{len(singles)}": with_ratios(single),
    }


def check_equal(distances: NDArray[np.int32], ours: NDArray[np.int32]) -> None:
    """Refuse to time two searches that don't find the same."""
    if not np.array_equal(distances, ours):
        raise AssertionError("our distances differ from those of FAISS")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--items", type=int, default=1_000_000, help="codes in the index")
    parser.add_argument("--queries", type=int, default=1000, help="queries of the large batch")
    parser.add_argument("--bits", type=int, default=64, help="a multiple of 8")
    parser.add_argument("--top-k", type=int, default=10, help="hits a query")
    parser.add_argument("--repeats", type=int, default=9, help="calls measured of each")
    parser.add_argument("--threads", type=int, default=0, help="of FAISS; 0 leaves its own choice")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="default: a file in benchmarks/results")
    options = parser.parse_args(arguments)
    if options.threads:
        faiss.omp_set_num_threads(options.threads)
    results: dict[str, object] = {}
    for name, make in CODE_SETS.items():
        generator = np.random.default_rng(options.seed)
        codes = make(options.items, options.bits // 8, generator)
        # Half of the queries are codes of the index, half are new.
        known = codes[generator.integers(0, len(codes), options.queries // 2)]
        new = uniform_codes(options.queries - len(known), options.bits // 8, generator)
        queries = generator.permutation(np.concatenate([known, new]))
        results[name] = compare(codes, queries, options.top_k, options.repeats)
        print(name, json.dumps(results[name], indent=2))
    threads = f"-threads{options.threads}" if options.threads else ""
    name = f"index-flat-{options.items}x{options.bits}{threads}.json"
    output = options.output or RESULTS / name
    write_result(output, "index.flat", vars(options), results)


if __name__ == "__main__":
    main()
