"""Measure what exact arithmetic costs hash heads, and how many bits it moves.

Run it: `python -m benchmarks.encoding.heads`
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.result_files import RESULTS, write_result
from modalhash.layers import (
    BitMap,
    FeatureScaling,
    HashHead,
    KernelHead,
    MlpHead,
    ModalityFeatures,
    NormalisedHead,
    ScalingRule,
    TokenTrunk,
    TrunkHead,
    TrunkKind,
)
from modalhash.layers.hash_heads import LinearHead
from modalhash.methods.hasher import HashTower

WIDTH, TOKEN_WIDTH, N_TOKENS, BLOCK = 1280, 384, 16, 256
Arrays = tuple[NDArray[np.float32], NDArray[np.float32] | None, NDArray[np.bool_] | None]


def kernel_head(n_bits: int) -> KernelHead:
    """Return a kernel regression on 2,000 landmarks."""
    head = KernelHead(WIDTH, 2_000, 1.0, BitMap(128, 0, n_bits))
    landmarks = torch.nn.functional.normalize(torch.randn(2_000, WIDTH), dim=1)
    head.set_regression(landmarks, torch.randn(2_000, 128) / 10)
    return head


def heads(n_bits: int) -> dict[str, HashHead]:
    """Return a head of each kind that methods end as, with random weights."""
    trunk = TokenTrunk(TrunkKind.TRANSFORMER, WIDTH, TOKEN_WIDTH)
    return {
        "linear": LinearHead(WIDTH, n_bits),
        "mlp 4096": MlpHead((WIDTH, 4096, n_bits)),
        "normalised 1024": NormalisedHead((WIDTH, 1024, n_bits)),
        "kernel 2000": kernel_head(n_bits),
        "token transformer": TrunkHead(trunk, MlpHead((WIDTH, n_bits))),
    }


def features(n_rows: int, generator: np.random.Generator, *, with_tokens: bool) -> Arrays:
    """Return random features."""
    pooled = generator.normal(size=(n_rows, WIDTH)).astype(np.float32)
    if not with_tokens:
        return pooled, None, None
    tokens = generator.normal(size=(n_rows, N_TOKENS, TOKEN_WIDTH)).astype(np.float32)
    return pooled, tokens, np.ones((n_rows, N_TOKENS), np.bool_)


def relaxed_plainly(tower: HashTower, arrays: Arrays, *, fills_up: bool) -> NDArray[np.float32]:
    """Return relaxed codes by torch's own float32 kernels, block by block.

    Args:
        tower: whose.
        arrays: pooled features, tokens and their mask.
        fills_up: fill each block up to `BLOCK` rows, as versions before exact arithmetic did.
    """
    n_rows, results = len(arrays[0]), []
    with torch.inference_mode():
        for start in range(0, n_rows, BLOCK):
            parts: list[torch.Tensor | None] = []
            for array in arrays:
                part = None if array is None else array[start : start + BLOCK]
                if part is not None and fills_up and len(part) < BLOCK:
                    filled = np.zeros((BLOCK, *part.shape[1:]), part.dtype)
                    filled[: len(part)] = part
                    part = filled
                parts.append(None if part is None else torch.from_numpy(part))
            assert parts[0] is not None
            made = tower(ModalityFeatures(parts[0], *parts[1:]))
            results.append(made[: n_rows - start].numpy())
    return np.concatenate(results)


def milliseconds(calls: Mapping[str, Callable[[], object]], n_runs: int) -> dict[str, float]:
    """Return the median CPU time of each call; calls take turns, so that load meets all alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for run in range(n_runs + 1):
        for name, call in calls.items():
            started = time.process_time()
            call()
            if run:
                times[name].append(1000 * (time.process_time() - started))
    return {name: round(statistics.median(taken), 3) for name, taken in times.items()}


def measure(name: str, head: HashHead, n_bulk: int, n_runs: int) -> dict[str, Any]:
    """Measure one head: a single query, a bulk of items, and the bits that differ."""
    generator = np.random.default_rng(0)
    tower = HashTower(FeatureScaling(ScalingRule.UNIT, WIDTH), head).eval()
    bulk = features(n_bulk, generator, with_tokens=head.reads_tokens)
    one: Any = tuple(part if part is None else part[:1] for part in bulk)
    ways: dict[str, Callable[[Arrays], NDArray[np.float32]]] = {
        "filled": lambda arrays: relaxed_plainly(tower, arrays, fills_up=True),
        "plain": lambda arrays: relaxed_plainly(tower, arrays, fills_up=False),
        "exact": lambda arrays: tower.relaxed(*arrays),
    }
    queries = {way: partial(compute, one) for way, compute in ways.items()}
    bulks = {way: partial(compute, bulk) for way, compute in ways.items()}
    row: dict[str, Any] = {
        "head": name,
        "bulk_items": n_bulk,
        "query_cpu_milliseconds": milliseconds(queries, 10 * n_runs),
        "bulk_cpu_milliseconds": milliseconds(bulks, n_runs),
    }
    exact, plain = ways["exact"](bulk), ways["plain"](bulk)
    row["bits"] = exact.size
    row["bits_that_differ"] = int(((exact >= 0) != (plain >= 0)).sum())
    row["largest_difference"] = float(np.abs(exact - plain).max() / np.abs(plain).std())
    return row


def main() -> None:
    """Measure every kind of head and write the result."""
    parser = argparse.ArgumentParser(description="The cost of exact arithmetic.")
    parser.add_argument("--items", type=int, default=16_384)
    parser.add_argument("--token-items", type=int, default=2_048)
    parser.add_argument("--bits", type=int, default=64)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--name", default="usual")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rows = []
    for name, head in heads(options.bits).items():
        n_items = options.token_items if head.reads_tokens else options.items
        rows.append(measure(name, head, n_items, options.runs))
        print(json.dumps(rows[-1]))
    settings = vars(options) | {"width": WIDTH, "tokens": N_TOKENS}
    path = RESULTS / f"encoding-heads-{options.name}.json"
    write_result(path, "encoding.heads", settings, rows)


if __name__ == "__main__":
    main()
