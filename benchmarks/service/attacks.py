"""Attacks on a server under load: what others notice of them, and how much memory they take.

    python -m benchmarks.service.attacks                     # every attack, 8 seconds each
    python -m benchmarks.service.attacks --attacks filters "huge pictures" --seconds 20

Every attack runs against one server while other clients search it. In the same run the same clients
were measured without an attack; their latency is compared with that. One more client asks
`/healthz` all the time.
"""

import argparse
import http.client
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event, Semaphore
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.result_files import RESULTS, write_result
from benchmarks.service.attack_requests import ATTACKS, Target
from benchmarks.service.memory import watch_memory

N_BITS: Final = 64
PAUSE: Final = 0.05
"""Seconds between an answer and the next request of one of the other clients."""
WORDS: Final = ("dog", "house", "map", "boat", "cloud", "tree", "clock")
PROCESSES = multiprocessing.get_context("spawn")


def build_index(folder: Path, n_items: int, seed: int) -> None:
    """Index many codes like those of the built-in icons, with metadata that filters read."""
    import modalhash as mh  # not for the processes that ask and attack
    from benchmarks.index.codes import real_like_codes
    from modalhash.artifacts import CollectionCodes
    from modalhash.search import Side, SideContent, build_search_index

    model = mh.train("icons", method="cca-itq", n_bits=N_BITS, output=folder / "run")
    icons = mh.load_collection("icons")
    base = CollectionCodes(model, icons).image(np.arange(icons.n_items))
    codes = real_like_codes(base, n_items, np.random.default_rng(seed))
    documents = [{"year": 1990 + row % 40, "note": f"note {row}"} for row in range(n_items)]
    content = SideContent([f"item-{row}" for row in range(n_items)], codes, documents)
    build_search_index(
        model, {Side.IMAGES: content}, folder / "attacked.index",
        collection={"name": "made", "split": "all"},
    ).close()  # fmt: skip


@dataclass(frozen=True)
class Signals:
    """What a process that asks is told, and what it tells.

    Attributes:
        begins: its answers count from now on.
        ends: it should end.
        ready: is released when it has had some answers.
        found: gets the seconds of its answers, and its errors.
    """

    begins: Event = field(default_factory=PROCESSES.Event)
    ends: Event = field(default_factory=PROCESSES.Event)
    ready: Semaphore = field(default_factory=lambda: PROCESSES.Semaphore(0))
    found: "Queue[Any]" = field(default_factory=PROCESSES.Queue)


def make_texts(n: int) -> list[str]:
    """Make short texts, all different."""
    return [f"{WORDS[row % 7]} {WORDS[row // 7 % 7]} {row}" for row in range(n)]


def ask_steadily(port: int, path: str, bodies: list[str], signals: Signals) -> None:
    """Ask one after another until the end; give the seconds of each answer, and what went wrong."""
    seconds, errors, place = [], [], 0
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    while not signals.ends.is_set():
        place += 1
        began = time.perf_counter()
        try:
            if bodies:
                body = bodies[place % len(bodies)]
                connection.request("POST", path, body, {"Content-Type": "application/json"})
            else:
                connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            problem = "" if answer.status == 200 else str(answer.status)
        except (OSError, http.client.HTTPException) as error:
            problem = type(error).__name__
            connection.close()
        if signals.begins.is_set():
            seconds.append(time.perf_counter() - began)
            errors += [problem] if problem else []
        elif place == 5:
            signals.ready.release()
        time.sleep(PAUSE if bodies else PAUSE / 2)
    signals.found.put((seconds, errors))


def run_attack(name: str, port: int, seconds: float, found: "Queue[Any]") -> None:
    """Attack; give the answers that came."""
    target = Target(port, "attacked", N_BITS, seconds)
    ATTACKS[name](target)
    found.put(dict(target.answers.most_common(8)))


def measure(
    port: int, process: int, clients: int, during: Callable[[], Mapping[str, int]]
) -> dict[str, Any]:
    """Measure what others notice while something happens."""
    search, health = Signals(), Signals()
    bodies = [json.dumps({"text": text, "k": 10}) for text in make_texts(2000)]
    path = "/v1/indexes/attacked/search"
    others = [
        PROCESSES.Process(target=ask_steadily, args=(port, path, bodies[one::clients], search))
        for one in range(clients)
    ]
    others.append(PROCESSES.Process(target=ask_steadily, args=(port, "/healthz", [], health)))
    for other in others:
        other.start()
    for signals in (*[search] * clients, health):
        signals.ready.acquire()
    search.begins.set()
    health.begins.set()
    with watch_memory(process, seconds=0.1) as memory:
        answers = during()
        time.sleep(1.0)
    search.ends.set()
    health.ends.set()
    times, errors = zip(*[search.found.get() for _ in range(clients)], strict=True)
    health_times, health_errors = health.found.get()
    for other in others:
        other.join()
    asked = 1000 * np.concatenate([np.array(part) for part in times])
    healthy = 1000 * np.array(health_times)
    return {
        "attack_answers": dict(answers),
        "searches": len(asked),
        "search_p50_ms": float(np.quantile(asked, 0.5)),
        "search_p99_ms": float(np.quantile(asked, 0.99)),
        "search_errors": sorted(error for part in errors for error in part),
        "healthz": len(healthy),
        "healthz_p99_ms": float(np.quantile(healthy, 0.99)),
        "healthz_longest_ms": float(healthy.max()),
        "healthz_errors": health_errors,
        "resident_mib": max(memory, default=0.0),
    }


def attack_all(port: int, process: int, wanted: argparse.Namespace) -> dict[str, Any]:
    """Measure the quiet server, then every attack, then the quiet server again."""

    def wait() -> Mapping[str, int]:
        time.sleep(wanted.seconds)
        return {}

    results = {"quiet": measure(port, process, wanted.clients, wait)}
    for name in wanted.attacks:

        def attack(name: str = name) -> Mapping[str, int]:
            found: Queue[Any] = PROCESSES.Queue()
            attacker = PROCESSES.Process(
                target=run_attack, args=(name, port, wanted.seconds, found)
            )
            attacker.start()
            answers: Mapping[str, int] = found.get()
            attacker.join()
            return answers

        results[name] = measure(port, process, wanted.clients, attack)
        print(name, json.dumps(results[name]), flush=True)
    results["quiet again"] = measure(port, process, wanted.clients, wait)
    for name in ("quiet", "quiet again"):
        print(name, json.dumps(results[name]), flush=True)
    return results


def write_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the results as lines of a table."""
    quiet = results["quiet"]["search_p99_ms"]
    rows = ["| attack | healthz p99, longest | others' p50, p99 | p99 to quiet | memory |"]
    rows += ["|---|---|---|---|---|"]
    for name, found in results.items():
        rows.append(
            f"| {name} | {found['healthz_p99_ms']:.0f}, {found['healthz_longest_ms']:.0f} ms | "
            f"{found['search_p50_ms']:.0f}, {found['search_p99_ms']:.0f} ms | "
            f"{found['search_p99_ms'] / quiet:.1f} | {found['resident_mib']:.0f} MiB |"
        )
    return "\n".join(rows)


def main() -> None:
    """Attack a server in every way, and write what was seen."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--clients", type=int, default=3, help="other clients, which search")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--attacks", nargs="+", choices=list(ATTACKS), default=list(ATTACKS))
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    from benchmarks.service.load import running_server

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        build_index(folder, wanted.items, wanted.seed)
        options = ("--log", "text", "--writable")
        with running_server(folder / "attacked.index", *options) as (address, process):
            port = int(address.rpartition(":")[2])
            results = attack_all(port, process, wanted)
    print(write_table(results))
    path = RESULTS / f"service-attacks-{wanted.items}.json"
    write_result(path, "service.attacks", vars(wanted), results)


if __name__ == "__main__":
    main()
