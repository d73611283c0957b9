"""Count the changes a second of a search index with two sides, of this tree and of another one.

Each run is a process of its own: it makes two indexes, adds items (a picture and five texts each),
replaces and deletes half of them one by one, then adds many at once. The trees run in turn, so that
load on the machine meets both. Each change is flushed to disk, so the disk counts as well as the
code; processor time is given beside it.

    python -m benchmarks.index.changes                            # this tree only
    python -m benchmarks.index.changes --against ../other/src     # and another tree's package
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
N_TEXTS = 5


class TwoSides:
    """A search index of two sides without a model, in any version of the library.

    Args:
        folder: new, where both sides are made.
        n_items: items of each side at the beginning.
    """

    def __init__(self, folder: Path, n_items: int) -> None:
        try:
            room = import_module("modalhash.search")
        except ModuleNotFoundError:  # versions before the room `search`
            room = import_module("modalhash.artifacts.search_index")
        indexes = import_module("modalhash.index")
        self.content, (self.images, self.texts) = room.SideContent, tuple(room.Side)
        self.codes = np.random.default_rng(0).integers(0, 256, (n_items + 8, 8), dtype=np.uint8)
        self.index = room.SearchIndex.__new__(room.SearchIndex)
        self.index.folder, self.index.sides = folder, {}
        for side in (self.images, self.texts):
            ids = [f"{side}{row}" for row in range(n_items)]
            documents = [{"item": f"images{row}", "caption": "x" * 40} for row in range(n_items)]
            indexes.build_index(
                ids, self.codes[:n_items], 64, metadata=documents, folder=folder / side
            ).close()
            self.index.sides[side] = indexes.open_index(folder / side)

    def add(self, number: int, *, caption: str, upsert: bool = False) -> None:
        """Add an item with its texts."""
        item, first = f"n{number}", number % (len(self.codes) - N_TEXTS)
        texts = [f"{item}#{text}" for text in range(N_TEXTS)]
        documents = [{"caption": "a dog in the snow", "item": item}] * N_TEXTS
        contents = {
            self.images: self.content(
                [item], self.codes[first : first + 1], [{"caption": caption, "image": None}]
            ),
            self.texts: self.content(texts, self.codes[first : first + N_TEXTS], documents),
        }
        self.index.add(contents, upsert=upsert)

    def add_many(self, n_items: int) -> None:
        """Add many items with a text each in one change."""
        codes = np.resize(self.codes, (n_items, 8))
        items = [f"b{row}" for row in range(n_items)]
        texts = [{"caption": "c", "item": item} for item in items]
        contents = {
            self.images: self.content(items, codes, [{"caption": "c"}] * n_items),
            self.texts: self.content([f"{item}#0" for item in items], codes, texts),
        }
        self.index.add(contents)


def measure(n_changes: int, n_items: int) -> dict[str, float]:
    """Make changes and measure them, with the library that this process imports."""
    results: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        sides = TwoSides(Path(folder), n_items)

        def run(name: str, count: int, change: Callable[[int], None]) -> None:
            wall, processor = time.perf_counter(), time.process_time()
            for number in range(count):
                change(number)
            results[f"{name}_per_second"] = count / (time.perf_counter() - wall)
            results[f"{name}_cpu_ms"] = 1000 * (time.process_time() - processor) / count

        half = max(1, n_changes // 2)
        run("adds", n_changes, lambda number: sides.add(number, caption="a dog"))
        run("upserts", half, lambda number: sides.add(number, caption="a cat", upsert=True))
        run("deletes", half, lambda number: sides.index.delete([f"n{number}"]))
        run("bulks", 1, lambda _: sides.add_many(2 * n_items))
        for index in sides.index.sides.values():
            index.close()
    return results


def run_tree(source: Path, n_changes: int, n_items: int) -> dict[str, float]:
    """Measure the package in a folder of sources, in a process of its own."""
    arguments = ["--measure", "--changes", str(n_changes), "--items", str(n_items)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.index.changes", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(source.resolve()), str(ROOT)])},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    results: dict[str, float] = json.loads(done.stdout)
    return results


def compare(trees: dict[str, Path], options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Measure trees in turn; the median over the repeats of each figure of each tree."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
    for _ in range(options.repeats):
        for name, source in trees.items():
            runs[name].append(run_tree(source, options.changes, options.items))
    return {
        name: {key: statistics.median(run[key] for run in tree_runs) for key in tree_runs[0]}
        for name, tree_runs in runs.items()
    }


def show(results: dict[str, dict[str, float]]) -> None:
    """Print a row for each figure, a column for each tree."""
    print(f"{'':<20}" + "".join(f"{name:>12}" for name in results))
    for key in results["this"]:
        print(f"{key:<20}" + "".join(f"{figures[key]:>12.2f}" for figures in results.values()))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--against", type=Path, help="folder with another tree's `modalhash`")
    parser.add_argument("--changes", type=int, default=200, help="items added one by one")
    parser.add_argument("--items", type=int, default=10_000, help="of each side at the beginning")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each tree")
    parser.add_argument("--output", type=Path, help="also write the figures into this file")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        print(json.dumps(measure(options.changes, options.items)))
        return
    trees = {"this": ROOT / "src"}
    if options.against is not None:
        if not (options.against / "modalhash").is_dir():
            parser.error(f"--against is {options.against}, expected a folder with `modalhash`")
        trees["other"] = options.against
    results = compare(trees, options)
    show(results)
    if options.output is not None:
        write_results(options, results)


def write_results(options: argparse.Namespace, results: dict[str, Any]) -> None:
    """Write the figures with their settings and the machine."""
    from benchmarks.result_files import write_result  # not in the processes of the other tree

    settings = {name: getattr(options, name) for name in ("changes", "items", "repeats")}
    write_result(options.output, "index.changes", settings, results)


if __name__ == "__main__":
    main()
