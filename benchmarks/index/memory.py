"""Measure the peak memory of building an index from a file of codes, and the time to open it.

Each step runs in a process of its own and is watched by a thread. Two peaks are given, both beyond
what was in use after the imports: `anonymous`, memory that only the end of the process gives back,
and `resident`, which counts pages of mapped files (the codes that are read) as well, though the
system may take these at any time. Ids are `range(n)`. Linux only.

Run it: `python -m benchmarks.index.memory --size 10000000`
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np

from benchmarks.index.codes import clustered_codes, uniform_codes
from benchmarks.result_files import RESULTS, write_result
from modalhash.index import build_index, check_kind, open_index

BLOCK_ROWS = 1 << 20
COUNTED = ("RssAnon", "RssFile", "RssShmem")
INTERVAL_SECONDS = 0.002


def memory_in_use() -> dict[str, int]:
    """Return the bytes in use by this process, as Linux counts them."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    kib = {
        name: int(line.split()[1]) for line in lines for name in COUNTED if line.startswith(name)
    }
    return {
        "anonymous": 1024 * (kib["RssAnon"] + kib["RssShmem"]),
        "resident": 1024 * sum(kib.values()),
    }


@contextmanager
def watched_peak() -> Iterator[dict[str, int]]:
    """Give a dictionary that holds the peaks in bytes at the end."""
    before, peak, is_over = memory_in_use(), {"anonymous": 0, "resident": 0}, Event()

    def watch() -> None:
        while True:
            now = memory_in_use()
            for name, value in now.items():
                peak[name] = max(peak[name], value - before[name])
            if is_over.wait(INTERVAL_SECONDS):
                return

    watcher = Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        is_over.set()
        watcher.join()


def write_codes(path: Path, n: int, width: int, seed: int, make: Any) -> None:
    """Write a file of codes a block at a time."""
    file = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(n, width))
    generator = np.random.default_rng(seed)
    for start in range(0, n, BLOCK_ROWS):
        file[start : start + BLOCK_ROWS] = make(min(BLOCK_ROWS, n - start), width, generator)
    file.flush()


def build(path: Path, folder: Path, kind: str) -> dict[str, float]:
    """Build an index of a file of codes in a folder."""
    codes = np.load(path, mmap_mode="r")
    check_kind(kind)  # imports FAISS
    start = time.perf_counter()
    with watched_peak() as peak:
        build_index(range(len(codes)), codes, 8 * codes.shape[1], kind=kind, folder=folder).close()
    return {
        "seconds": time.perf_counter() - start,
        **{f"peak_{name}_bytes": value for name, value in peak.items()},
        **{f"peak_{name}_to_codes": value / codes.nbytes for name, value in peak.items()},
    }


def first_answer(path: Path, folder: Path, kind: str) -> dict[str, float]:
    """Open the index and search for one code."""
    query = np.array(np.load(path, mmap_mode="r")[:1])
    check_kind(kind)
    start = time.perf_counter()
    with watched_peak() as peak, open_index(folder) as index:
        opened = time.perf_counter() - start
        found = index.search(query, 10)
        answered = time.perf_counter() - start
        assert found.distances[0, 0] == 0
    return {
        "open_seconds": opened,
        "open_and_first_answer_seconds": answered,
        **{f"peak_{name}_bytes": value for name, value in peak.items()},
    }


def in_a_process(step: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    """Run a step in a new process and return what it measured."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(step, arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, default=10_000_000, help="codes in the file")
    parser.add_argument("--bits", type=int, default=64, help="a multiple of 8")
    parser.add_argument("--kinds", default="flat", help="separated by commas")
    parser.add_argument("--codes", choices=("uniform", "clustered"), default="clustered")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="default: a file in benchmarks/results")
    options = parser.parse_args(arguments)
    make = uniform_codes if options.codes == "uniform" else clustered_codes
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "codes.npy"
        write_codes(path, options.size, options.bits // 8, options.seed, make)
        for kind in options.kinds.split(","):
            folder = Path(place) / kind
            built = in_a_process(build, path, folder, kind)
            opened = in_a_process(first_answer, path, folder, kind)
            results[kind] = {"building": built, "opening": opened}
            print(
                f"{kind}: anonymous {built['peak_anonymous_to_codes']:.2f}, resident "
                f"{built['peak_resident_to_codes']:.2f} times the codes, in "
                f"{built['seconds']:.1f} s; first answer after "
                f"{opened['open_and_first_answer_seconds']:.3f} s",
                flush=True,
            )
    output = options.output or RESULTS / f"index-memory-{options.size}x{options.bits}.json"
    write_result(output, "index.memory", vars(options), results)


if __name__ == "__main__":
    main()
