"""Measure the peak memory of building an index from a file of codes, and the time to open it.

Each step runs in a process of its own. The peak is the largest resident size less that after the
imports; the ids, which the caller makes, count. Pages of mapped files count while they are resident
though the system may take them back, so it is an upper bound of what the step needs. Linux only.

Run it: `python -m benchmarks.index.memory --size 10000000`
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.index.codes import clustered_codes, uniform_codes
from benchmarks.machine import describe_machine
from modalhash.index import build_index, check_kind, open_index

RESULTS = Path(__file__).parent.parent / "results"
BLOCK_ROWS = 1 << 20
MIB = 1 << 20


def resident_bytes(name: str) -> int:
    """Return VmRSS (resident now) or VmHWM (the peak) of this process, as Linux counts it."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"this system doesn't say {name}: run it on Linux")


def begin_peak() -> int:
    """Start the peak anew from what is resident, and return that."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return resident_bytes("VmRSS")


def write_codes(path: Path, n: int, width: int, seed: int, make: Any) -> None:
    """Write a file of codes a block at a time."""
    file = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(n, width))
    generator = np.random.default_rng(seed)
    for start in range(0, n, BLOCK_ROWS):
        file[start : start + BLOCK_ROWS] = make(min(BLOCK_ROWS, n - start), width, generator)
    file.flush()


def build(path: Path, folder: Path, kind: str) -> dict[str, float]:
    """Build and save an index of a file of codes; ids are the row numbers."""
    codes = np.load(path, mmap_mode="r")
    check_kind(kind)  # imports FAISS
    ids, n_bits = np.arange(len(codes)), 8 * codes.shape[1]
    before, start = begin_peak() - ids.nbytes, time.perf_counter()
    build_index(ids, codes, n_bits, kind=kind, folder=folder).close()
    peak = resident_bytes("VmHWM") - before
    return {
        "build_and_save_seconds": time.perf_counter() - start,
        "peak_bytes": peak,
        "peak_to_codes": peak / codes.nbytes,
        "peak_to_codes_and_ids": peak / (codes.nbytes + ids.nbytes),
    }


def first_answer(path: Path, folder: Path, kind: str) -> dict[str, float]:
    """Open the index and search for one code."""
    query = np.array(np.load(path, mmap_mode="r")[:1])
    check_kind(kind)
    before, start = begin_peak(), time.perf_counter()
    with open_index(folder) as index:
        opened = time.perf_counter() - start
        found = index.search(query, 10)
        answered = time.perf_counter() - start
        assert found.distances[0, 0] == 0
    return {
        "open_seconds": opened,
        "open_and_first_answer_seconds": answered,
        "peak_bytes": resident_bytes("VmHWM") - before,
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
                f"{kind}: {built['peak_bytes'] / MIB:.0f} MiB, {built['peak_to_codes']:.2f} times "
                f"the codes, in {built['build_and_save_seconds']:.1f} s; first answer after "
                f"{opened['open_and_first_answer_seconds']:.3f} s",
                flush=True,
            )
    machine = describe_machine()
    packages = machine["packages"]
    document = {
        "benchmark": "index/memory",
        "settings": {name: value for name, value in vars(options).items() if name != "output"},
        "seed": options.seed,
        "version": packages.get("modalhash") if isinstance(packages, dict) else None,
        "machine": machine,
        "results": results,
    }
    output = options.output or RESULTS / f"index-memory-{options.size}x{options.bits}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"written to {output}")


if __name__ == "__main__":
    main()
