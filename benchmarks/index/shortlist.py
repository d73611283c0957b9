"""Measure what relaxed queries miss where an engine can't be asked with them.

Milvus, and indexes of other packages, rank by Hamming distance: they give a shortlist by the signs
of a query, which is scored with its numbers. For each length of the shortlist stands the share of
the exact 10 best that are among the 10 best of the shortlist; ties count. Beside it, the same for
cells (`ivf`), which are asked with the numbers, by how many times as many cells a relaxed query
looks into as a packed one.

The codes and queries are a model's: packed codes, and the relaxed codes of queries that aren't
among them (`benchmarks/index/README.md` says how to make them). Larger sets are drawn from these
codes, see `real_like_codes`.

Run it: `python -m benchmarks.index.shortlist --base-codes CODES.npy --base-queries RELAXED.npy`
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from benchmarks.index.codes import real_like_codes
from benchmarks.result_files import RESULTS, write_result
from modalhash.codes import Codes, WeightedQueries
from modalhash.index import HashIndex, build_index
from modalhash.index.faiss_fast_scan import FastScan
from modalhash.index.faiss_ivf import RELAXED_PROBES, IvfSearcher

TOP_K = 10
LENGTHS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
PROBE_FACTORS = (1, 2, 4, 8)
ENGINE_LENGTHS = (10, 50, 100, 200, 500, 1000)
ENGINE_QUERIES = 100
"""Queries that a server is asked: it sends each hit of a shortlist."""


def recall_of(distances: NDArray[np.integer[Any]], kth: NDArray[np.int64]) -> float:
    """Compute the share of hits that are no worse than the exact last one."""
    return round(float(np.mean(distances <= kth[:, None])), 4)


def shortlist_recalls(
    codes: Codes, queries: WeightedQueries, kth: NDArray[np.int64]
) -> dict[str, float]:
    """Measure shortlists by Hamming distance, as an exact engine gives them."""
    longest = min(max(LENGTHS), len(codes))
    _, rows = faiss.knn_hamming(queries.codes, codes, longest)
    recalls = {}
    query = np.repeat(np.arange(len(queries)), longest)
    weighted = queries.paired_distances(codes[rows.ravel()], query).reshape(rows.shape)
    for length in LENGTHS:
        if length <= longest:
            best = np.sort(weighted[:, :length], axis=1)[:, :TOP_K]
            recalls[str(length)] = recall_of(best, kth)
    return recalls


def cell_recalls(
    codes: Codes, queries: WeightedQueries, kth: NDArray[np.int64], n_bits: int
) -> dict[str, Any]:
    """Measure cells, by how many are looked into."""
    searcher = IvfSearcher.build(codes, n_bits, parameters={})
    packed = searcher.nearest(queries.codes, TOP_K).distances
    exact, _ = faiss.knn_hamming(queries.codes, codes, TOP_K)
    recalls = {}
    for factor in PROBE_FACTORS:
        effort = factor / RELAXED_PROBES
        hits = searcher.find_nearest_relaxed(queries, TOP_K, effort=effort)
        recalls[str(factor)] = recall_of(hits.distances, kth)
    return {
        "n_cells": searcher.n_cells,
        "n_probes": searcher.n_probes,
        "recall_of_packed_queries": recall_of(packed, exact[:, -1].astype(np.int64)),
        "recall_by_times_the_probes": recalls,
    }


def engine_recalls(
    index: HashIndex, relaxed: NDArray[np.float32], kth_scores: NDArray[np.float32]
) -> dict[str, float]:
    """Measure an index whose engine gives the shortlists, by their length."""
    recalls = {}
    for length in ENGINE_LENGTHS:
        index.shortlist = length
        hits = index.search(relaxed, TOP_K)
        assert hits.scores is not None
        recalls[str(length)] = round(float(np.mean(hits.scores >= kth_scores[:, None])), 4)
    return recalls


def measure(
    codes: Codes, relaxed: NDArray[np.float32], n_bits: int, url: str | None
) -> dict[str, Any]:
    """Measure one set of codes."""
    queries = WeightedQueries.of(relaxed, n_bits)
    best = FastScan(codes).nearest(queries, TOP_K)
    kth = best.distances[:, -1].astype(np.int64)
    results: dict[str, Any] = {"items": len(codes), "queries": len(queries)}
    results["shortlist_recall_by_length"] = shortlist_recalls(codes, queries, kth)
    results["cells"] = cell_recalls(codes, queries, kth, n_bits)
    if url is not None:
        with build_index(
            np.arange(len(codes)), codes, n_bits, kind="milvus", parameters={"url": url}
        ) as index:
            kth_scores = queries.scores(best.distances)[:, -1]
            results["milvus_recall_by_length"] = engine_recalls(
                index, relaxed[:ENGINE_QUERIES], kth_scores[:ENGINE_QUERIES]
            )
            index.discard()
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--base-codes", type=Path, required=True, help="(n, p) packed uint8")
    parser.add_argument("--base-queries", type=Path, required=True, help="(q, b) float32")
    parser.add_argument("--sizes", default="0,1000000", help="items; 0 is the base codes alone")
    parser.add_argument("--queries", type=int, default=1000, help="queries taken")
    parser.add_argument("--url", help="of a Milvus server, which gets the base codes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="default: a file in benchmarks/results")
    options = parser.parse_args(arguments)
    generator = np.random.default_rng(options.seed)
    base = np.load(options.base_codes, allow_pickle=False)
    relaxed = np.load(options.base_queries, allow_pickle=False).astype(np.float32)
    n_bits = relaxed.shape[1]
    chosen = generator.permutation(len(relaxed))[: options.queries]
    relaxed, results = relaxed[chosen], {}
    for size in map(int, options.sizes.split(",")):
        codes = real_like_codes(base, size, generator) if size else np.ascontiguousarray(base)
        name = f"{size}" if size else "base"
        results[name] = measure(codes, relaxed, n_bits, None if size else options.url)
        print(name, json.dumps(results[name], indent=2))
    output = options.output or RESULTS / f"index-shortlist-{n_bits}.json"
    write_result(output, "index.shortlist", vars(options), results)


if __name__ == "__main__":
    main()
