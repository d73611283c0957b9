"""A process that changes an index is killed again and again; nothing acknowledged may be lost.

    python -m benchmarks.index.kills               # 200 kills
    python -m benchmarks.index.kills --kills 15

The process adds, replaces and deletes items, makes checkpoints and compacts, and writes the number
of each change to a pipe once the call has returned. It is killed (SIGKILL) after a random time.
Then the folder is opened: it must hold what the changes up to the last acknowledged one make, or up
to the one after it, which may have been done and not yet told.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.index.mixed import N_BITS, steps
from modalhash.index import build_index, open_index, verify_index
from modalhash.machine import describe_machine

WRITER = """
import sys
from itertools import islice
import numpy as np
import modalhash.index.writing as writing
from benchmarks.index.mixed import steps
from modalhash.index import open_index

folder, seed, done = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
writing.CHECKPOINT_ROWS = 40  # so that checkpoints are killed, too
index = open_index(folder)
assert index.version == done, (index.version, done)
for number, (step, held) in enumerate(islice(steps(seed), done, None), done + 1):
    codes = np.array(step.codes, np.uint8).reshape(-1, 2)
    metadata = [{"number": number, "parity": item % 2} for item in step.ids]
    if step.operation == "delete":
        index.delete(step.ids)
    else:
        getattr(index, step.operation)(step.ids, codes, metadata)
    print(number, flush=True)
    if number % 25 == 0:
        index.compact()
"""


def run(folder: Path, *, n_kills: int, seed: int, kind: str = "flat") -> dict[str, Any]:
    """Kill and check, and return the counts; raises AssertionError when something was lost."""
    place = folder / "index"
    build_index([], np.empty((0, 2), np.uint8), N_BITS, kind=kind).save(place)
    generator, changes = np.random.default_rng(seed), steps(seed)
    held: dict[int, tuple[int, int]] = {}
    done, n_more, openings = 0, 0, []
    for kill in range(n_kills):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(place), str(seed), str(done)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        assert writer.stderr is not None
        first = writer.stdout.readline()
        time.sleep(float(generator.uniform(0, 0.15)))
        writer.kill()
        told = [line for line in [first, *writer.stdout] if line.endswith("\n")]
        problem = writer.stderr.read()
        writer.stdout.close()
        writer.stderr.close()
        writer.wait()
        if problem:
            raise AssertionError(f"kill {kill}: the writer failed: {problem}")
        acknowledged = int(told[-1])
        started = time.perf_counter()
        with open_index(place) as index:
            openings.append(time.perf_counter() - started)
            version = index.version
            assert version is not None, "an index in a folder counts its changes"
            assert acknowledged <= version <= acknowledged + 1, (
                f"kill {kill}: {acknowledged} changes were acknowledged, the index has {version}"
            )
            n_more += version - acknowledged
            while done < version:
                held, done = next(changes)[1], done + 1
            assert index.ids.tolist() == list(held), f"kill {kill}: other items"
            codes = np.array(list(held.values()), np.uint8).reshape(-1, 2)
            np.testing.assert_array_equal(index.reconstruct(index.ids), codes)
            odd = [item for item in held if item % 2]
            assert index.select("parity == 1").tolist() == odd, f"kill {kill}: other metadata"
        verify_index(place)
    return {
        "kills": n_kills,
        "kind": kind,
        "seed": seed,
        "changes": done,
        "lost": 0,
        "done_but_not_told": n_more,
        "slowest_opening_seconds": max(openings),
    }


def main() -> None:
    """Run and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", default="flat")
    parser.add_argument("--output", type=Path, help="also write the result here")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        result = run(folder, n_kills=given.kills, seed=given.seed, kind=given.kind)
    finally:
        shutil.rmtree(folder)
    text = json.dumps({"machine": describe_machine(), "result": result}, indent=2)
    if given.output is not None:
        given.output.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
