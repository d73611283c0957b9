"""Search with a filter: the first time it is asked, again, and after a change.

python -m benchmarks.index.filters                    # a million items
python -m benchmarks.index.filters --items 100000
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from modalhash.index import build_index, open_index
from modalhash.machine import describe_machine

SHARES = {"50 %": 500, "10 %": 100, "1 %": 10, "0.1 %": 1}
REPEATS = 15


def seconds(call: Callable[[], Any], repeats: int = 1) -> float:
    """Return the median of some calls' times."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def run(folder: Path, n_items: int, kind: str) -> dict[str, Any]:
    """Measure, after comparing every answer's distances with those of an index of what passes."""
    generator = np.random.default_rng(0)
    codes = generator.integers(0, 256, (n_items, 8), dtype=np.uint8)
    drawn = generator.integers(0, 1000, n_items)
    metadata = [{"share": int(one), "caption": f"a picture of {one}"} for one in drawn]
    started = time.perf_counter()
    build_index(range(n_items), codes, 64, metadata=metadata, kind=kind, folder=folder).close()
    built = time.perf_counter() - started
    queries = generator.integers(0, 256, (1000, 8), dtype=np.uint8)
    rows: dict[str, Any] = {}
    is_there = np.ones(n_items, np.bool_)
    with open_index(folder) as index:
        index.search(queries[:1], 10)
        rows["no filter"] = {
            "again, ms": 1e3 * seconds(lambda: index.search(queries[:1], 10), REPEATS),
            "1,000 queries, ms": 1e3 * seconds(lambda: index.search(queries, 10)),
        }
        for name, limit in SHARES.items():
            where = f"share < {limit}"
            one = partial(index.search, queries[:1], 10, where)
            first = seconds(one)
            passing = np.flatnonzero(is_there & (drawn < limit))
            plain = build_index(passing, codes[passing], 64, kind="exact")
            np.testing.assert_array_equal(
                index.search(queries[:5], 10, where).distances,
                plain.search(queries[:5], 10).distances,
            )
            again = seconds(one, REPEATS)
            batch = seconds(partial(index.search, queries, 10, where))
            index.delete([int(passing[0])])
            is_there[passing[0]] = False
            after = seconds(one)
            rows[name] = {
                "first, ms": 1e3 * first,
                "again, ms": 1e3 * again,
                "after a delete, ms": 1e3 * after,
                "1,000 queries, ms": 1e3 * batch,
            }
    return {"items": n_items, "kind": kind, "build_seconds": built, "shares": rows}


def main() -> None:
    """Run and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--kind", default="flat")
    parser.add_argument("--output", type=Path, help="also write the result here")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        result = run(folder / "index", given.items, given.kind)
    finally:
        shutil.rmtree(folder)
    text = json.dumps({"machine": describe_machine(), "result": result}, indent=2)
    if given.output is not None:
        given.output.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
