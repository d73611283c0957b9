"""Compare all kinds of index with bare FAISS and a NumPy scan on the same codes, in one run.

For each kind: seconds to build and save, bytes an item on disk, queries a second one by one and in
batches, and the tie-aware recall. Beside each stands FAISS's own index of that sort with the same
settings, called in turn with ours, so that load on the machine meets both.

Run it: `python -m benchmarks.index.kinds --size 1000000 --bits 64 --threads 1`
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from benchmarks.index.codes import clustered_codes, real_like_codes, uniform_codes
from benchmarks.index.flat import measure_in_turn, on_one_thread, one_by_one
from benchmarks.result_files import RESULTS, write_result
from modalhash.codes import Codes
from modalhash.index import build_index, open_index

KINDS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "flat": ("flat", {}),
    "flat-distinct": ("flat", {"distinct": True}),
    "ivf": ("ivf", {}),
    "ivf-distinct": ("ivf", {"distinct": True}),
    "mih": ("mih", {}),
    "auto": ("auto", {}),
}
AIMING = ("auto", "ivf")
NUMPY_QUERIES = 20
faiss_any: Any = faiss  # what SWIG makes has no types
Search = Callable[[Codes, int], Any]


def made_codes(options: argparse.Namespace, name: str) -> tuple[Codes, Codes]:
    """Return the codes of a set and its queries, which aren't among them."""
    generator = np.random.default_rng(options.seed)
    width = options.bits // 8
    n, n_queries = options.size, options.queries
    if name == "uniform":
        made = uniform_codes(n + n_queries, width, generator)
    elif options.base_codes is None:
        made = clustered_codes(n + n_queries, width, generator)
    else:
        base = np.load(options.base_codes, allow_pickle=False)
        if base.dtype != np.uint8 or base.shape[1:] != (width,):
            raise SystemExit(f"{options.base_codes} doesn't hold packed codes of {8 * width} bits")
        made = real_like_codes(base, n + n_queries, generator)
        if options.base_queries is not None:
            queries = np.load(options.base_queries, allow_pickle=False)
            made[n:] = queries[generator.integers(0, len(queries), n_queries)]
    return np.ascontiguousarray(made[:n]), np.ascontiguousarray(made[n:])


def numpy_search(codes: Codes, queries: Codes, k: int) -> None:
    """Scan with NumPy alone, as one would write it down."""
    words, query_words = codes.view(np.uint64), queries.view(np.uint64)
    for query in query_words:
        distances = np.bitwise_count(words[:, 0] ^ query[0])
        if len(query) > 3:  # more than a byte can count
            distances = distances.astype(np.uint16)
        for word in range(1, len(query)):
            distances += np.bitwise_count(words[:, word] ^ query[word])
        nearest = np.argpartition(distances, k)[:k]
        nearest[np.argsort(distances[nearest])]


def bare_search(kind: str, codes: Codes, parameters: Mapping[str, Any]) -> tuple[Search, float]:
    """Return the search of FAISS's own index of that sort, and the seconds it took to build."""
    bits = 8 * codes.shape[1]
    start = time.perf_counter()
    index: Any
    if kind == "ivf":
        quantizer = faiss.IndexBinaryFlat(bits)
        index = faiss_any.IndexBinaryIVF(quantizer, bits, parameters["n_cells"])
        index.cp.niter = 6
        generator = np.random.default_rng(0)
        n_trained = min(len(codes), 40 * parameters["n_cells"])
        index.train(codes[generator.choice(len(codes), n_trained, replace=False)])
        index.nprobe = parameters["n_probes"]
    elif kind == "mih":
        index = faiss_any.IndexBinaryMultiHash(bits, bits // 16, 16)
        index.nflip = 1
    else:
        index = faiss.IndexBinaryFlat(bits)
    index.add(codes)
    return index.search, time.perf_counter() - start


def recall_of(distances: NDArray[np.int32], kth: NDArray[np.int32]) -> float:
    """Return the share of the hits that are no further than the exact k-th one."""
    return float(np.mean((distances >= 0) & (distances <= kth)))


def rates(seconds: Mapping[str, float], n_queries: int) -> dict[str, float]:
    """Return queries a second by the median and by the quickest call."""
    return {
        "queries_per_second": n_queries / seconds["median_seconds"],
        "best_queries_per_second": n_queries / seconds["min_seconds"],
    }


def measured(
    name: str, codes: Codes, queries: Codes, kth: NDArray[np.int32], options: argparse.Namespace
) -> dict[str, Any]:
    """Measure one kind on one set of codes."""
    kind, parameters = KINDS[name]
    if kind in AIMING:
        parameters = {**parameters, "recall": options.recall}
    k, singles = options.top_k, queries[: options.singles]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "index"
        ids = np.arange(len(codes))
        start = time.perf_counter()
        build_index(
            ids, codes, options.bits, kind=kind, parameters=parameters, folder=folder
        ).close()
        build_seconds = time.perf_counter() - start
        n_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        start = time.perf_counter()
        ours = stack.enter_context(open_index(folder))
        ours.search(queries[:1], k)
        open_seconds = time.perf_counter() - start
        stated = stated_parameters(folder)
        bare_kind, bare_parameters = kind, stated
        if kind == "auto":
            bare_kind, bare_parameters = stated["chosen"]["kind"], stated["chosen"]["parameters"]
        bare, bare_build_seconds = bare_search(bare_kind, codes, bare_parameters)
        ours.search(queries[:2], k)
        batch = measure_in_turn(
            {"ours": lambda: ours.search(queries, k), "bare": lambda: bare(queries, k)},
            options.repeats,
        )
        single = measure_in_turn(
            {
                "ours": lambda: one_by_one(ours.search, singles, k),
                "bare": on_one_thread(lambda: one_by_one(bare, singles, k)),
            },
            options.repeats,
        )
        return {
            "parameters": stated,
            "build_and_save_seconds": build_seconds,
            "open_and_first_search_seconds": open_seconds,
            "bytes_per_item_on_disk": n_bytes / len(codes),
            "recall": recall_of(ours.search(queries, k).distances, kth),
            "bare_build_seconds": bare_build_seconds,
            "bare_recall": recall_of(bare(queries, k)[0], kth),
            f"batch_of_{len(queries)}": {
                name: rates(seconds, len(queries)) for name, seconds in batch.items()
            }
            | {"ratio_of_minima": batch["ours"]["min_seconds"] / batch["bare"]["min_seconds"]},
            "batch_of_1": {name: rates(seconds, len(singles)) for name, seconds in single.items()}
            | {"ratio_of_minima": single["ours"]["min_seconds"] / single["bare"]["min_seconds"]},
        }


def stated_parameters(folder: Path) -> dict[str, Any]:
    """Return what the manifest states of the (only) searcher."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    parameters: dict[str, Any] = manifest["segments"][0]["parameters"]
    return parameters


def summary(name: str, row: Mapping[str, Any], n_queries: int) -> str:
    """Return one line of the table that the README shows."""
    batch, single = row[f"batch_of_{n_queries}"], row["batch_of_1"]
    cells = [
        name,
        f"{row['build_and_save_seconds']:.1f}",
        f"{row['bytes_per_item_on_disk']:.1f}",
        f"{row['recall']:.3f}",
        f"{single['ours']['best_queries_per_second']:,.0f}",
        f"{single['ratio_of_minima']:.2f}",
        f"{batch['ours']['best_queries_per_second']:,.0f}",
        f"{batch['ratio_of_minima']:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, default=1_000_000, help="codes in the index")
    parser.add_argument("--bits", type=int, default=64, help="a multiple of 64")
    parser.add_argument("--kinds", default=",".join(KINDS), help="separated by commas")
    parser.add_argument("--codes", default="real_like,uniform", help="separated by commas")
    parser.add_argument("--base-codes", type=Path, help=".npy of learned codes to draw from")
    parser.add_argument("--base-queries", type=Path, help=".npy of the other modality's codes")
    parser.add_argument("--recall", type=float, default=0.95, help="what kinds that aim aim at")
    parser.add_argument("--queries", type=int, default=1000, help="queries of the large batch")
    parser.add_argument("--singles", type=int, default=100, help="queries asked one by one")
    parser.add_argument("--top-k", type=int, default=10, help="hits a query")
    parser.add_argument("--repeats", type=int, default=3, help="calls measured of each")
    parser.add_argument("--threads", type=int, default=0, help="of FAISS; 0 leaves its own choice")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="default: a file in benchmarks/results")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    if options.threads:
        faiss.omp_set_num_threads(options.threads)
    results: dict[str, dict[str, Any]] = {}
    for set_name in options.codes.split(","):
        codes, queries = made_codes(options, set_name)
        exact = faiss.knn_hamming(queries, codes, options.top_k)[0]
        kth = exact[:, -1:]
        few = queries[:NUMPY_QUERIES]
        scan = measure_in_turn(
            {"numpy": partial(numpy_search, codes, few, options.top_k)},
            options.repeats,
        )
        results[set_name] = {"numpy": rates(scan["numpy"], len(few))}
        print(f"{set_name}: NumPy {results[set_name]['numpy']['best_queries_per_second']:.0f}/s")
        for name in options.kinds.split(","):
            row = measured(name, codes, queries, kth, options)
            results[set_name][name] = row
            print(summary(name, row, len(queries)), flush=True)
    threads = f"-threads{options.threads}" if options.threads else ""
    output = options.output or RESULTS / f"index-kinds-{options.size}x{options.bits}{threads}.json"
    write_result(output, "index.kinds", vars(options), results)


if __name__ == "__main__":
    main()
