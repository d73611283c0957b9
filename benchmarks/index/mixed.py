"""Adds, upserts and deletes mixed with searches from other processes, held to a reference.

One process changes an index folder, the others search it without pause. The changes follow from
the seed alone, so every process can tell what the index held after each of them. An answer is right
if it equals that of a plain scan over what was held at some moment between the beginning and the
end of the call: the writer publishes how many changes were begun and how many were finished.

    python -m benchmarks.index.mixed                     # 100,000 changes, four processes
    python -m benchmarks.index.mixed --changes 2000 --processes 2
"""

import argparse
import json
import mmap
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modalhash.index import build_index, open_index
from modalhash.machine import describe_machine

N_BITS = 16
LIVE_ITEMS = 300
CHECKED_HITS = 20
READY_SECONDS = 300


@dataclass(frozen=True)
class Step:
    """One change.

    Attributes:
        operation: "add", "upsert" or "delete".
        ids: of the items.
        codes: two bytes an item that is added.
    """

    operation: str
    ids: list[int]
    codes: list[tuple[int, int]]


def steps(seed: int) -> Iterator[tuple[Step, dict[int, tuple[int, int]]]]:
    """Yield changes without end, each with what is held after it, in the order of insertion."""
    generator, held, newest = np.random.default_rng(seed), dict[int, tuple[int, int]](), 0
    while True:
        size = int(generator.integers(1, 4))
        draw = generator.random()
        drawn = generator.integers(0, 4, (size, 2)).tolist()
        codes: list[tuple[int, int]] = [(first, second) for first, second in drawn]
        known = list(held)
        if draw < 0.2 and known:
            places = generator.choice(len(known), min(size, len(known)), replace=False)
            ids = [known[place] for place in places]
            step = Step("upsert", ids, codes[: len(ids)])
        elif draw < 0.5 + 0.4 * (len(known) > LIVE_ITEMS) and known:
            places = generator.choice(len(known), min(size, len(known)), replace=False)
            step = Step("delete", [known[place] for place in places], [])
        else:
            step = Step("add", list(range(newest, newest + size)), codes)
            newest += size
        for item in step.ids:
            held.pop(item, None)
        held.update(zip(step.ids, step.codes, strict=False))
        yield step, held


def plain_answer(
    held: dict[int, tuple[int, int]], query: tuple[int, int], parity: int | None
) -> list[tuple[int, int]]:
    """Return (distance, id) of the nearest by a plain scan."""
    found = [
        ((code[0] ^ query[0]).bit_count() + (code[1] ^ query[1]).bit_count(), place, item)
        for place, (item, code) in enumerate(held.items())
        if parity is None or item % 2 == parity
    ]
    return [(distance, item) for distance, _, item in sorted(found)[:CHECKED_HITS]]


class Progress:
    """Two counters that processes share: changes begun, and changes finished.

    They are whole machine words, so that a reader never sees half of a number.

    Args:
        path: of a file of 16 bytes.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self.counters = np.frombuffer(mmap.mmap(file.fileno(), 16), np.int64)

    def begin(self, number: int) -> None:
        """Say that a change begins."""
        self.counters[0] = number

    def finish(self, number: int) -> None:
        """Say that a change is done."""
        self.counters[1] = number

    def begun(self) -> int:
        """Return how many changes were begun."""
        return int(self.counters[0])

    def finished(self) -> int:
        """Return how many changes are done."""
        return int(self.counters[1])


def search(
    folder: Path, progress_path: Path, seed: int, n_changes: int, *, ready: Any, queue: Any
) -> None:
    """Search until all changes are done, and say how many answers were right and wrong.

    Changes begin when all have come to the barrier `ready`.
    """
    progress, generator = Progress(progress_path), np.random.default_rng((seed, os.getpid()))
    changes = steps(seed)
    states: dict[int, dict[int, tuple[int, int]]] = {0: {}}
    checked, wrong, most = 0, [], 0
    with open_index(folder) as index:
        ready.wait(READY_SECONDS)
        while (first := progress.finished()) < n_changes:
            query = tuple(generator.integers(0, 4, 2).tolist())
            parity = int(generator.integers(0, 2)) if generator.random() < 0.3 else None
            where = None if parity is None else f"parity == {parity}"
            hits = index.search(np.array([query], np.uint8), CHECKED_HITS, where)[0]
            last = progress.begun()
            answer = list(zip(hits.distances.tolist(), hits.ids.tolist(), strict=True))
            while max(states) < last:
                states[max(states) + 1] = dict(next(changes)[1])
            states = {number: held for number, held in states.items() if number >= first}
            right = any(
                plain_answer(states[number], query, parity) == answer
                for number in range(first, last + 1)
            )
            checked, most = checked + 1, max(most, last - first)
            if not right:
                wrong.append({"from": first, "to": last, "query": query, "where": where})
    queue.put({"checked": checked, "wrong": wrong, "most_changes_during_a_call": most})


def run(folder: Path, *, n_changes: int, n_readers: int, seed: int, kind: str) -> dict[str, Any]:
    """Change and search, and return what was checked."""
    progress_path = folder / "progress"
    progress_path.write_bytes(bytes(16))
    place = folder / "index"
    build_index([], np.empty((0, 2), np.uint8), N_BITS, kind=kind).save(place)
    context = multiprocessing.get_context("spawn")
    queue, ready = context.Queue(), context.Barrier(n_readers + 1)
    readers = [
        context.Process(
            target=search,
            args=(place, progress_path, seed, n_changes),
            kwargs={"ready": ready, "queue": queue},
        )
        for _ in range(n_readers)
    ]
    for reader in readers:
        reader.start()
    ready.wait(READY_SECONDS)
    progress, changes, started = Progress(progress_path), steps(seed), time.perf_counter()
    generator = np.random.default_rng((seed, 1))
    with open_index(place) as index:
        for number in range(1, n_changes + 1):
            step, _ = next(changes)
            codes = np.array(step.codes, np.uint8).reshape(-1, 2)
            metadata = [{"parity": item % 2} for item in step.ids]
            progress.begin(number)
            match step.operation:
                case "add":
                    index.add(step.ids, codes, metadata)
                case "upsert":
                    index.upsert(step.ids, codes, metadata)
                case _:
                    index.delete(step.ids)
            progress.finish(number)
            if (draw := generator.random()) < 0.004:
                index.checkpoint() if draw < 0.003 else index.compact()
        seconds = time.perf_counter() - started
    found = [queue.get() for _ in readers]
    for reader in readers:
        reader.join()
    return {
        "changes": n_changes,
        "readers": n_readers,
        "kind": kind,
        "seed": seed,
        "changes_a_second": n_changes / seconds,
        "checked": sum(one["checked"] for one in found),
        "wrong": [wrong for one in found for wrong in one["wrong"]],
        "most_changes_during_a_call": max(one["most_changes_during_a_call"] for one in found),
    }


@dataclass(frozen=True)
class Settings:
    """What was asked for."""

    changes: int
    processes: int
    seed: int
    kind: str


def main() -> None:
    """Run and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=4, help="one writer, the rest readers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", default="flat")
    parser.add_argument("--output", type=Path, help="also write the result here")
    given = parser.parse_args()
    settings = Settings(given.changes, given.processes, given.seed, given.kind)
    folder = Path(tempfile.mkdtemp())
    try:
        result = run(
            folder,
            n_changes=settings.changes,
            n_readers=settings.processes - 1,
            seed=settings.seed,
            kind=settings.kind,
        )
    finally:
        shutil.rmtree(folder)
    document = {
        "settings": asdict(settings),
        "machine": describe_machine(),
        "result": result,
    }
    text = json.dumps(document, indent=2)
    if given.output is not None:
        given.output.write_text(text + "\n", encoding="utf-8")
    print(text)
    if result["wrong"]:
        raise SystemExit("answers were wrong")


if __name__ == "__main__":
    main()
