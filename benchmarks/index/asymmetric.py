"""Compare relaxed queries on our flat index with bare `faiss.IndexBinaryFlat`, in one run, in turn.

Relaxed queries keep their numbers, and rank better than their bits; here is what they cost. Times
are processor time a query, of one thread, which other jobs on the machine disturb less than the
clock; the quickest calls are compared. Our index is saved and opened first, so its codes are
mapped, and hits have ids, scores and Hamming distances. FAISS gets the signs of the same queries.

Before anything is timed, ids, distances and scores must be those of the kind `exact` on 1,000
queries (fewer with `--checked`). Memory is measured in a process of its own that opens the index:
first after relaxed queries alone, then after packed ones, too; Linux only.

Run it: `python -m benchmarks.index.asymmetric --size 1000000 --bits 64`
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from benchmarks.index.codes import clustered_codes, uniform_codes
from benchmarks.index.memory import in_a_process, memory_in_use
from benchmarks.result_files import RESULTS, write_result
from modalhash.codes import Codes, binarise, pack, unpack
from modalhash.index import HashIndex, build_index, open_index

CODE_SETS = {"uniform": uniform_codes, "clustered": clustered_codes}
SINGLES = 20
WARMING = 3


def relaxed_queries(codes: Codes, n: int, seed: int) -> NDArray[np.float32]:
    """Make queries of codes of the index: numbers around their signs, some of which change sides.

    Returns:
        (n, 8 * width) float32; a bit's number is its sign plus a normal one.
    """
    generator = np.random.default_rng(seed)
    signs = unpack(codes[generator.integers(0, len(codes), n)], 8 * codes.shape[1])
    numbers: NDArray[np.float32] = (signs + generator.standard_normal(signs.shape)).astype(
        np.float32
    )
    return numbers


def measure_cpu(calls: Mapping[str, Callable[[], int]], repeats: int) -> dict[str, Any]:
    """Time some calls one after the other, again and again, so that load meets all alike.

    Args:
        calls: by name; each answers some queries and returns their number.
        repeats: calls measured of each, after one that is thrown away.

    Returns:
        By name: processor milliseconds a query, of the quickest call and in the median.
    """
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            start = time.process_time()
            n_queries = call()
            if repeat:
                spent[name].append(1000 * (time.process_time() - start) / n_queries)
    return {
        name: {"min_cpu_ms": min(values), "median_cpu_ms": median(values)}
        for name, values in spent.items()
    }


def in_batches(
    search: Callable[[Any, int], object], queries: NDArray[Any], batch: int, k: int
) -> Callable[[], int]:
    """Make a call that searches for all queries, a batch at a time."""

    def run() -> int:
        for start in range(0, len(queries), batch):
            search(queries[start : start + batch], k)
        return len(queries)

    return run


def check_equal(index: HashIndex, codes: Codes, queries: NDArray[np.float32], k: int) -> None:
    """Refuse to time a search that doesn't answer as the kind `exact` does."""
    exact = build_index(np.arange(len(codes)), codes, index.n_bits, kind="exact")
    expected, hits = exact.search(queries, k), index.search(queries, k)
    assert hits.scores is not None
    assert expected.scores is not None
    for ours, theirs in (
        (hits.ids, expected.ids),
        (hits.distances, expected.distances),
        (hits.scores, expected.scores),
    ):
        if not np.array_equal(ours, theirs):
            raise AssertionError("our answers differ from those of the kind exact")


def measure_memory(folder: Path, queries: NDArray[np.float32], k: int) -> dict[str, float]:
    """Open the index and count the memory in use after relaxed queries, then after packed ones."""
    faiss.omp_set_num_threads(1)
    with build_index([], np.empty((0, 1), np.uint8), 8) as empty:  # loads what is loaded once
        empty.add(list(range(40_000)), np.zeros((40_000, 1), np.uint8))
        empty.search(np.ones((2, 8), np.float32), k)
    before = memory_in_use()
    start = time.perf_counter()
    with open_index(folder) as index:
        opened = time.perf_counter() - start
        index.search(queries[:1], k)
        answered = time.perf_counter() - start
        index.search(queries, k)
        relaxed = memory_in_use()
        index.search(pack(binarise(queries)), k)
        both = memory_in_use()
        n_bytes = len(index) * index.n_bits // 8
    return {
        "open_seconds": opened,
        "open_and_first_relaxed_answer_seconds": answered,
        **{f"relaxed_{name}_to_codes": (relaxed[name] - before[name]) / n_bytes for name in before},
        **{f"both_{name}_to_codes": (both[name] - before[name]) / n_bytes for name in before},
    }


def compare(codes: Codes, settings: argparse.Namespace) -> dict[str, Any]:
    """Measure one set of codes."""
    n_bits, k = 8 * codes.shape[1], settings.top_k
    queries = relaxed_queries(codes, settings.queries, settings.seed)
    signs = pack(binarise(queries))
    bare = faiss.IndexBinaryFlat(n_bits)
    bare.add(codes)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "index"
        build_index(np.arange(len(codes)), codes, n_bits, kind="flat", folder=folder).close()
        with open_index(folder) as index:
            if settings.checked:
                checked = relaxed_queries(codes, settings.checked, settings.seed + 1)
                check_equal(index, codes, checked, k)
            for batch in (1, 256):
                n_queries = SINGLES if batch == 1 else settings.queries
                calls = {
                    "bare": in_batches(bare.search, signs[:n_queries], batch, k),
                    "ours_asymmetric": in_batches(index.search, queries[:n_queries], batch, k),
                    "ours_hamming": in_batches(index.search, signs[:n_queries], batch, k),
                }
                measured = measure_cpu(calls, settings.repeats)
                for name in ("ours_asymmetric", "ours_hamming"):
                    ratio = measured[name]["min_cpu_ms"] / measured["bare"]["min_cpu_ms"]
                    measured[name]["ratio_of_minima"] = ratio
                results[f"batch_of_{batch}"] = measured
        results["memory"] = in_a_process(measure_memory, folder, queries[:50], k)
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, default=1_000_000, help="codes in the index")
    parser.add_argument("--bits", type=int, default=64, help="a multiple of 8")
    parser.add_argument("--queries", type=int, default=256, help="queries of the large batch")
    parser.add_argument("--checked", type=int, default=1000, help="queries compared with `exact`")
    parser.add_argument("--top-k", type=int, default=10, help="hits a query")
    parser.add_argument("--repeats", type=int, default=7, help="calls measured of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="default: a file in benchmarks/results")
    options = parser.parse_args(arguments)
    faiss.omp_set_num_threads(1)
    results: dict[str, object] = {}
    for name, make in CODE_SETS.items():
        codes = make(options.size, options.bits // 8, np.random.default_rng(options.seed))
        results[name] = compare(codes, options)
        print(name, json.dumps(results[name], indent=2))
    output = options.output or RESULTS / f"index-asymmetric-{options.size}x{options.bits}.json"
    write_result(output, "index.asymmetric", vars(options), results)


if __name__ == "__main__":
    main()
