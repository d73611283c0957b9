"""Load on loopback: many clients ask one server with a million codes; then far too many ask.

    python -m benchmarks.service.load                        # two minutes a step, 64 clients
    python -m benchmarks.service.load --seconds 20 --items 100000
    python -m benchmarks.service.load --steps scorings --seconds 20

Needs `wrk`. Every step is compared within one run: texts beside codes (what the service costs),
both beside the Python API in a loop, and an overloaded server beside the same server at ease.
"""

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import modalhash as mh
from benchmarks.index.codes import real_like_codes
from benchmarks.result_files import RESULTS, write_result
from benchmarks.service.memory import watch_memory
from modalhash.artifacts import CollectionCodes
from modalhash.choices import Scoring
from modalhash.codes import Codes
from modalhash.search import SearchIndex, Side, SideContent, build_search_index

MAIN = "from modalhash.cli.main import main; main()"
WORDS = (
    "red", "dog", "house", "arrow", "map", "music", "boat", "cloud", "money", "phone", "tree",
    "clock", "heart", "train", "book", "star", "lock", "camera", "fish", "sun",
)  # fmt: skip
SCRIPT = """
local bodies = {}
for line in io.lines("%s") do bodies[#bodies + 1] = line end
local place = %d
local threads = 0
function setup(thread) thread:set("offset", threads); threads = threads + 1 end
function delay() return %d end
function init(args) place = place + offset * 7919 end
function request()
  place = place + 1
  return wrk.format("POST", "%s", {["Content-Type"] = "application/json"},
                    bodies[place %% #bodies + 1])
end
function done(summary, latency, requests)
  io.write(string.format(
    '{"requests": %%d, "microseconds": %%d, "p50_ms": %%.3f, "p95_ms": %%.3f, "p99_ms": %%.3f, ' ..
    '"max_ms": %%.3f, "status_errors": %%d, "socket_errors": %%d, "timeouts": %%d}\\n',
    summary.requests, summary.duration, latency:percentile(50) / 1000,
    latency:percentile(95) / 1000, latency:percentile(99) / 1000, latency.max / 1000,
    summary.errors.status, summary.errors.connect + summary.errors.read + summary.errors.write,
    summary.errors.timeout))
end
"""


def made_index(folder: Path, n_items: int, seed: int) -> SearchIndex:
    """Train a model on the built-in icons and index many codes like theirs."""
    model = mh.train("icons", method="cca-itq", n_bits=64, output=folder / "run")
    icons = mh.load_collection("icons")
    base = CollectionCodes(model, icons).image(np.arange(icons.n_items))
    codes = real_like_codes(base, n_items, np.random.default_rng(seed))
    content = SideContent(
        [f"item-{row}" for row in range(n_items)], codes, [{} for _ in range(n_items)]
    )  # fmt: skip
    return build_search_index(
        model, {Side.IMAGES: content}, folder / "load.index",
        collection={"name": "made", "split": "all"},
    )  # fmt: skip


def texts(n: int, seed: int) -> list[str]:
    """Return n different short texts."""
    generator = np.random.default_rng(seed)
    return [
        " ".join(WORDS[place] for place in generator.integers(0, len(WORDS), 4)) + f" {number}"
        for number in range(n)
    ]


@contextmanager
def running_server(index: Path, *options: str) -> Iterator[tuple[str, int]]:
    """Give the address and process id of `modalhash serve`."""
    command = [sys.executable, "-c", MAIN, "serve", str(index), "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        address = ""
        for line in process.stderr:
            if found := re.search(r"http://[\d.]+:\d+", line):
                address = found[0]
                break
        threading.Thread(target=process.stderr.read, daemon=True).start()
        while True:
            try:
                with urllib.request.urlopen(f"{address}/readyz", timeout=5):
                    break
            except OSError:
                time.sleep(0.2)
        try:
            yield address, process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def load(
    address: str,
    path: str,
    bodies: Sequence[str],
    folder: Path,
    *,
    clients: int,
    seconds: int,
    pause: int = 0,
) -> dict[str, Any]:
    """Let wrk ask for some time; return its counts and latencies.

    Each client waits for its answer, then `pause` milliseconds, then asks again.
    """
    (folder / "bodies.txt").write_text("\n".join(bodies) + "\n", encoding="utf-8")
    script = folder / "ask.lua"
    script.write_text(SCRIPT % (folder / "bodies.txt", 0, pause, path), encoding="utf-8")
    ended = subprocess.run(
        ["wrk", "-t", str(min(2, clients)), "-c", str(clients), "-d", f"{seconds}s",
         "--timeout", "30s", "-s", str(script), address],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    found["answers_per_second"] = found["requests"] / (found.pop("microseconds") / 1e6)
    return found


def python_loop(index: SearchIndex, queries: Sequence[Any], seconds: float) -> float:
    """Ask the index in a loop; return queries a second."""
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        query = queries[count % len(queries)]
        if isinstance(query, str):
            index.search(text=query, k=10)
        else:
            index.sides[Side.IMAGES].search(query, 10)
        count += 1
    return count / (time.perf_counter() - began)


def search_bodies(queries: Sequence[Any]) -> list[str]:
    """Return the requests of texts or of codes."""
    return [
        json.dumps({"text": one, "k": 10} if isinstance(one, str) else coded(one))
        for one in queries
    ]


def coded(code: Codes) -> dict[str, Any]:
    """Return the request of a code."""
    return {"code": {"hex": code.tobytes().hex()}, "target": "images", "k": 10}


def scorings(
    folder: Path, asked: argparse.Namespace, queries: dict[str, list[Any]]
) -> dict[str, Any]:
    """Measure texts under both scorings, in turns, so that both see the same machine.

    Texts keep their numbers under `asymmetric`; under `hamming` their codes are searched for. A
    result holds every turn, and the medians of the turns: also the CPU time that the server takes
    for an answer, which tells more than the rate where other programs use the machine.
    """
    found: dict[str, Any] = {scoring.value: {"turns": []} for scoring in Scoring}
    path = "/v1/indexes/load/search"
    with running_server(folder / "load.index", "--log", "text") as (address, process):
        for turn in range(asked.turns + 1):
            order = list(Scoring) if turn % 2 else list(Scoring)[::-1]
            for scoring in order:
                bodies = [
                    json.dumps({"text": text, "k": 10, "scoring": scoring.value})
                    for text in queries["texts"]
                ]
                seconds = asked.seconds if turn else 5  # the first turn warms up
                began = cpu_seconds(process)
                with watch_memory(process, seconds=1) as memory:
                    measured = load(
                        address, path, bodies, folder, clients=asked.clients, seconds=seconds
                    )
                spent = cpu_seconds(process) - began
                measured["cpu_ms_an_answer"] = 1000 * spent / max(1, measured["requests"])
                alone = load(address, path, bodies, folder, clients=1, seconds=seconds // 2 or 1)
                measured |= {"one_client": alone, "resident_mib": memory[-1]}
                if turn:
                    found[scoring.value]["turns"].append(measured)
    for of_scoring in found.values():
        turns = of_scoring["turns"]
        of_scoring["cpu_ms_an_answer"] = statistics.median(one["cpu_ms_an_answer"] for one in turns)
        for name in ("answers_per_second", "p50_ms", "p95_ms", "p99_ms"):
            of_scoring[name] = statistics.median(one[name] for one in turns)
            of_scoring[f"one_client_{name}"] = statistics.median(
                one["one_client"][name] for one in turns
            )
    print(json.dumps({name: {key: value for key, value in one.items() if key != "turns"}
                      for name, one in found.items()}), flush=True)  # fmt: skip
    return found


def cpu_seconds(process: int) -> float:
    """Return the seconds of CPU that a process has taken; other processes disturb these least."""
    fields = Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def growth(memory: Sequence[float]) -> float:
    """Return by how much the median of the last quarter is above that of the first, in MiB."""
    quarter = max(1, len(memory) // 4)
    return statistics.median(memory[-quarter:]) - statistics.median(memory[:quarter])


def steady(
    index: SearchIndex, folder: Path, asked: argparse.Namespace, queries: dict[str, list[Any]]
) -> dict[str, Any]:
    """Measure each sort of query under a load that the server can bear."""
    found: dict[str, Any] = {}
    with running_server(folder / "load.index", "--log", "text") as (address, process):
        for sort, of_sort in queries.items():
            bodies = search_bodies(of_sort)
            path = "/v1/indexes/load/search"
            load(address, path, bodies, folder, clients=asked.clients, seconds=5)  # warm
            with watch_memory(process, seconds=1) as memory:
                measured = load(
                    address, path, bodies, folder, clients=asked.clients, seconds=asked.seconds
                )
            alone = load(address, path, bodies, folder, clients=1, seconds=10)
            found[sort] = {
                **measured,
                "one_client": alone,
                "resident_mib": memory[-1],
                "growth_mib": growth(memory),
            }
    for sort, of_sort in queries.items():
        rate = python_loop(index, of_sort, 10)
        found[sort]["python_loop_per_second"] = rate
        found[sort]["ratio_to_python_loop"] = found[sort]["answers_per_second"] / rate
        print(sort, json.dumps(found[sort]), flush=True)
    return found


def overload(folder: Path, asked: argparse.Namespace, queries: list[Any]) -> dict[str, Any]:
    """Ask four times as often as can be answered, and see how the accepted requests fare.

    At ease, half as many clients ask as the queue holds. Overloaded, four times as many as it holds
    send four times the rate that was answered at ease.
    """
    found: dict[str, Any] = {}
    bodies, path = search_bodies(queries), "/v1/indexes/load/search"
    room, rate = asked.queue, 0.0
    options = ("--log", "text", "--concurrent", str(room))
    with running_server(folder / "load.index", *options) as (address, process):
        load(address, path, bodies, folder, clients=room // 2, seconds=5)
        for step, clients in (
            ("at_ease", room // 2),
            ("overloaded", 4 * room),
            ("after", room // 2),
        ):
            pause = int(1000 * clients / (4 * rate)) if step == "overloaded" else 0
            with watch_memory(process, seconds=1) as memory:
                probe = Accepted(address, bodies)
                measured = load(
                    address, path, bodies, folder,
                    clients=clients, seconds=asked.seconds // 4, pause=pause,
                )  # fmt: skip
                accepted = probe.end()
            rate = rate or measured["answers_per_second"]
            found[step] = {
                "clients": clients,
                "pause_ms": pause,
                **measured,
                "resident_mib": memory[-1],
                "probe": accepted,
            }
            print(step, json.dumps(found[step]), flush=True)
    return found


class Accepted:
    """One more client, which keeps the latencies of accepted requests apart from refusals'."""

    def __init__(self, address: str, bodies: Sequence[str]) -> None:
        self.url = f"{address}/v1/indexes/load/search"
        self.bodies = bodies
        self.seconds: list[float] = []
        self.refused: list[str | None] = []
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.ask)
        self.thread.start()

    def ask(self) -> None:
        """Ask one after another; after a refusal wait a little."""
        count = 0
        while not self.is_over.is_set():
            count += 1
            request = urllib.request.Request(
                self.url, self.bodies[count % len(self.bodies)].encode(),
                {"Content-Type": "application/json"},
            )  # fmt: skip
            began = time.perf_counter()
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    answer.read()
                self.seconds.append(time.perf_counter() - began)
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise
                self.refused.append(error.headers.get("Retry-After"))
                time.sleep(0.02)

    def end(self) -> dict[str, Any]:
        """Stop asking; return what was seen."""
        self.is_over.set()
        self.thread.join()
        return {
            "accepted": len(self.seconds),
            "accepted_p50_ms": 1000 * float(np.quantile(self.seconds, 0.5)),
            "accepted_p99_ms": 1000 * float(np.quantile(self.seconds, 0.99)),
            "refused": len(self.refused),
            "all_say_when_to_retry": all(self.refused),
        }


def main() -> None:
    """Measure everything and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--queue", type=int, default=16, help="--concurrent of the overload step")
    parser.add_argument("--steps", nargs="+", choices=("steady", "overload", "scorings"))
    parser.add_argument("--turns", type=int, default=5, help="of each scoring, in `scorings`")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if shutil.which("wrk") is None:
        parser.error("wrk isn't installed (Debian: apt-get install wrk)")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with made_index(folder, asked.items, asked.seed) as index:
            codes = index.sides[Side.IMAGES].reconstruct(
                [f"item-{row}" for row in range(0, asked.items, max(1, asked.items // 2000))]
            )
            queries: dict[str, list[Any]] = {
                "texts": list(texts(20_000, asked.seed)),
                "codes": [codes[row : row + 1] for row in range(len(codes))],
            }
            for step in asked.steps or ("steady", "overload"):
                if step == "steady":
                    results = steady(index, folder, asked, queries)
                elif step == "scorings":
                    results = scorings(folder, asked, queries)
                else:
                    results = overload(folder, asked, queries["texts"])
                name = f"service-{step}-{asked.items}-{asked.clients}clients.json"
                write_result(RESULTS / name, f"service.load {step}", vars(asked), results)


if __name__ == "__main__":
    main()
