"""Measure a static site: time until it is ready, time of a query, answers beside the server's.

Makes an index of made captions, exports it (`modalhash export INDEX --format site`), puts it behind
Python's plain web server and opens it in headless Chromium. Of each way to keep the weights: bytes,
seconds from an empty cache until the page shows its beginning and until the model can encode,
milliseconds a query, processor time of the browser, and in how many queries ids and their order are
those that `SearchIndex.search` gives, which is what a server answers.

Needs Chromium with its driver, Selenium, and onnxruntime-web (`--runtime`, as for the command).

Run it: `python -m benchmarks.service.static_site --runtime npm`
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

import modalhash as mh
from modalhash.encoders.class_names import make_captions
from modalhash.machine import describe_machine
from modalhash.search import SearchIndex, Side, SideContent, build_search_index

RESULTS = Path(__file__).parent.parent / "results"
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions")
PATIENCE = 300.0
SHOWN = 24
COLLECTION = "scenes:300"
WATCH = """
new MutationObserver((_, watch) => {
  if (!document.querySelector(".tries button")) return;
  performance.mark("start-shown");
  watch.disconnect();
}).observe(document, { childList: true, subtree: true });
"""
MARKS = """
const marks = performance.getEntriesByType("mark");
return Object.fromEntries(marks.map((mark) => [mark.name, mark.startTime]));
"""
QUERY = """
const [text, scoring, k, done] = arguments;
import(new URL("page/api.js", document.baseURI)).then(async (api) => {
  const begun = performance.now();
  const answer = await api.search("", { text, scoring, k, target: "images" });
  const milliseconds = performance.now() - begun;
  done({ ids: answer.results[0].hits.map((hit) => hit.id), milliseconds, ...answer.timings });
}).catch((error) => done({ error: String(error) }));
"""


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without a line for each."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """Serve a folder, and yield its address."""
    handler = partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@contextmanager
def open_browser() -> Iterator[Chrome]:
    """Start Chromium with an empty profile."""
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        browser = Chrome(options=options, service=Service(shutil.which("chromedriver")))
        browser.set_script_timeout(PATIENCE)
        yield browser
        browser.quit()


def count_seconds(parent: int) -> float:
    """Count the processor time of a process's descendants, as Linux tells it."""
    parents, seconds = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        number = int(path.parent.name)
        parents[number] = int(fields[1])
        seconds[number] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    total = 0.0
    for number in parents:
        place = number
        while place in parents and place != parent:
            place = parents[place]
        total += seconds[number] if place == parent else 0.0
    return total


def make_index(place: Path, n_items: int, n_bits: int, seed: int) -> SearchIndex:
    """Make an index of mixtures of made captions, by the usual method on built-in pictures."""
    model = mh.train(COLLECTION, output=place / "run", n_bits=n_bits, encoder="offline", seed=seed)
    texts = make_captions()
    vectors = model.encoder.text.encode(texts).pooled
    generator = np.random.default_rng(seed)
    pairs = generator.integers(0, len(texts), (n_items, 2))
    shares = generator.random((n_items, 1), np.float32)
    mixed = vectors[pairs[:, 0]] * shares + vectors[pairs[:, 1]] * (1 - shares)
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    codes = model.encode_features(mixed, "text")
    nearer = np.where(shares[:, 0] >= 0.5, pairs[:, 0], pairs[:, 1])
    content = SideContent(
        [f"item-{number:06}" for number in range(n_items)],
        codes,
        [{"caption": texts[place]} for place in nearer.tolist()],
    )
    return build_search_index(
        model,
        {Side.IMAGES: content},
        place / "made.index",
        collection={"name": "made"},
        kind="flat",
    )


def wait_for_marks(browser: Chrome, names: Sequence[str]) -> dict[str, float]:
    """Wait until a page has made its marks; return them in seconds from its beginning."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        marks: dict[str, float] = browser.execute_script(MARKS)
        if set(names) <= set(marks):
            return {name: marks[name] / 1000 for name in names}
        time.sleep(0.02)
    raise SystemExit(f"the page isn't ready after {PATIENCE:g} s: it has {sorted(marks)}")


def spread(values: Sequence[float]) -> dict[str, float]:
    """Summarise repetitions."""
    return {
        "median": round(statistics.median(values), 4),
        "least": round(min(values), 4),
        "largest": round(max(values), 4),
    }


def measure_readiness(address: str, repetitions: int) -> dict[str, Any]:
    """Measure how long a page takes, with an empty cache, until it can be used."""
    names = ("modalhash-codes", "start-shown", "modalhash-model")
    seconds: dict[str, list[float]] = {name: [] for name in (*names, "processor")}
    for number in range(repetitions + 1):  # the first one is thrown away
        with open_browser() as browser:
            browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
            before = count_seconds(os.getpid())
            browser.get(address)
            marks = wait_for_marks(browser, names)
            used = count_seconds(os.getpid()) - before
        if number:
            for name, value in {**marks, "processor": used}.items():
                seconds[name].append(value)
    return {
        "codes_ready_seconds": spread(seconds["modalhash-codes"]),
        "page_ready_seconds": spread(seconds["start-shown"]),
        "model_ready_seconds": spread(seconds["modalhash-model"]),
        "browser_processor_seconds": spread(seconds["processor"]),
    }


def measure_queries(address: str, index: SearchIndex, texts: Sequence[str]) -> dict[str, Any]:
    """Compare answers with the index's own, and measure their times."""
    results: dict[str, Any] = {}
    with open_browser() as browser:
        browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
        browser.get(address)
        wait_for_marks(browser, ("modalhash-model",))
        browser.execute_async_script(QUERY, texts[0], "asymmetric", SHOWN)
        for scoring in ("asymmetric", "hamming"):
            n_equal = n_same = 0
            times: dict[str, list[float]] = {"milliseconds": [], "encode": [], "search": []}
            before = count_seconds(os.getpid())
            for text in texts:
                answer = browser.execute_async_script(QUERY, text, scoring, SHOWN)
                if "error" in answer:
                    raise SystemExit(answer["error"])
                hits = index.search(text=text, k=SHOWN, scoring=scoring).hits
                ids = [hit.id for hit in hits]
                n_equal += answer["ids"] == ids
                n_same += set(answer["ids"]) == set(ids)
                for name, values in times.items():
                    values.append(answer[name])
            used = count_seconds(os.getpid()) - before
            results[scoring] = {
                "queries": len(texts),
                "same_ids_and_order": n_equal,
                "same_ids": n_same,
                "query_milliseconds": spread(times["milliseconds"]),
                "encode_milliseconds": spread(times["encode"]),
                "search_milliseconds": spread(times["search"]),
                "browser_processor_milliseconds": round(1000 * used / len(texts), 2),
            }
    return results


def measure_site(
    index: SearchIndex, folder: Path, weights: str, options: argparse.Namespace
) -> dict[str, Any]:
    """Export an index with weights of a kind, and measure the site."""
    begun = time.perf_counter()
    site = mh.export_site(index, folder, runtime=options.runtime, weights=weights, overwrite=True)
    seconds = time.perf_counter() - begun
    sizes = {
        "site_bytes": site.n_bytes,
        "codes_bytes": (folder / "data" / "images.codes.bin").stat().st_size,
        "items_bytes": (folder / "data" / "images.items.bin").stat().st_size,
        "encoder_bytes": (folder / "text" / "encoder.onnx").stat().st_size,
        "word_vectors_bytes": sum(
            path.stat().st_size for path in (folder / "text" / "vectors").iterdir()
        ),
        "head_bytes": (folder / "text" / "head.onnx").stat().st_size,
        "runtime_bytes": sum(path.stat().st_size for path in (folder / "runtime").iterdir()),
    }
    assert site.compared is not None
    compared = {"bits": site.compared.n_bits, "bits_different": site.compared.n_different}
    texts = make_captions()[-options.queries :]
    with web_server(folder.parent) as address:
        page = f"{address}{folder.name}/"
        return {
            "export_seconds": round(seconds, 2),
            **sizes,
            "made_captions": compared,
            "readiness": measure_readiness(page, options.repetitions),
            "queries": measure_queries(page, index, texts),
        }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--items", type=int, default=130_000)
    parser.add_argument("--bits", type=int, default=128)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", nargs="+", default=["float32", "float16", "int8"])
    parser.add_argument("--runtime", default=None)
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args()
    results: dict[str, Any] = {"load_before": round(os.getloadavg()[0], 2)}
    with tempfile.TemporaryDirectory() as place:
        index = make_index(Path(place), options.items, options.bits, options.seed)
        for weights in options.weights:
            results[weights] = measure_site(index, Path(place) / "site", weights, options)
            print(weights, json.dumps(results[weights], indent=1))
        index.close()
    results["load_after"] = round(os.getloadavg()[0], 2)
    document = {
        "benchmark": "static_site",
        "settings": {
            name: value
            for name, value in vars(options).items()
            if name not in ("output", "runtime")
        },
        "seed": options.seed,
        "version": mh.__version__,
        "machine": describe_machine(),
        "results": results,
    }
    output = options.output or RESULTS / f"service-site-{options.items}x{options.bits}.json"
    output.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
