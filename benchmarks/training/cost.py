"""Measure time, peak memory and held-out quality of training on many pairs.

Run it: `python -m benchmarks.training.cost --pairs 100000 1000000`

Methods of papers take `--steps` steps of their preset, with its whole course of the learning rate;
what an epoch takes is that of a step times the steps of an epoch. `nested` trains as it does by
default. Times are CPU seconds of the process, all threads together.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.result_files import RESULTS, write_result
from benchmarks.training.made_pairs import WIDTH, MadePairs
from modalhash.codes import pack
from modalhash.machine import forget_peak, peak_mib
from modalhash.methods import method_class
from modalhash.methods.base import Needs
from modalhash.methods.settings import make_method
from modalhash.metrics import evaluate_direction

if TYPE_CHECKING:
    from modalhash.methods.hasher import Hasher

METHODS = ("nested", "cagan", "cfrh", "sgrn", "hugging-hash", "hugging-hash-plus", "ms2gah")
WHOLE = ("nested",)
"""Methods that are trained as they are by default."""
TOKEN_WIDTH = 128
TOKENS = {"image": 16, "text": 12}
TOP_K, RECALL_AT = 50, 10
N_QUERIES = 2_000


class MappedTable:
    """Features of one modality in a float16 file, mapped; rows are read as float32.

    Tokens are made of the pooled features as they are read, a random map for each: those of a
    million pairs would take 7 GB.
    """

    dtype = "float16"
    width = WIDTH

    def __init__(self, folder: Path, modality: str, *, with_tokens: bool) -> None:
        self._pooled = np.load(folder / f"{modality}.npy", mmap_mode="r")
        self._n_tokens = TOKENS[modality]
        self.token_shape = (self._n_tokens, TOKEN_WIDTH) if with_tokens else None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._pooled)

    def pooled(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the pooled features of some rows."""
        return np.asarray(self._pooled[rows], np.float32)

    @cached_property
    def token_maps(self) -> NDArray[np.float32]:
        """The maps from pooled features to all tokens, side by side."""
        shape = (WIDTH, self._n_tokens * TOKEN_WIDTH)
        generator = np.random.default_rng(self._n_tokens)
        return generator.standard_normal(shape, np.float32) / np.float32(3)

    def tokens(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the tokens of some rows; all are real."""
        tokens = (self.pooled(rows) @ self.token_maps).reshape(len(rows), -1, TOKEN_WIDTH)
        return tokens, np.ones(tokens.shape[:2], np.bool_)


def write_features(folder: Path, n_pairs: int, seed: int) -> int:
    """Write features of both modalities as float16 files; return their bytes."""
    tables = [
        np.lib.format.open_memmap(
            folder / f"{modality}.npy", "w+", dtype=np.float16, shape=(n_pairs, WIDTH)
        )
        for modality in TOKENS
    ]
    for start, *parts in MadePairs(seed).blocks(n_pairs):
        for table, part in zip(tables, parts, strict=True):
            table[start : start + len(part)] = part
    for table in tables:
        table.flush()
    return sum(table.nbytes for table in tables)


def train_once(
    name: str, folder: Path, options: argparse.Namespace, changes: Mapping[str, str]
) -> "tuple[dict[str, Any], Hasher]":
    """Train one method in this process on all pairs but the last, which are held out.

    Returns:
        The figures, and the hash functions.
    """
    import torch

    from modalhash.training import TrainingData, TrainingPlan, train_method
    from modalhash.training.validation import both_signs

    torch.set_num_threads(options.threads)
    the_class = method_class(name)
    preset = options.preset if options.preset in the_class.presets else None
    bounds = {} if name in WHOLE else {"epochs": 1, "most_steps": options.steps}
    plain_tokens = dict.fromkeys(("image_token_width", "text_token_width", "image_token_grid"), 0)
    method, settings = make_method(
        the_class, preset=preset, changes={**bounds, **plain_tokens, **changes}
    )
    with_tokens = Needs.TOKENS in method.needs
    image, text = (MappedTable(folder, modality, with_tokens=with_tokens) for modality in TOKENS)
    n_rows = len(image)
    n_pairs = n_rows - options.held_out
    labels = MadePairs(options.seed).labels(n_rows)
    data = TrainingData(
        image,
        text,
        np.arange(n_rows + 1),
        np.arange(n_pairs),
        labels,
        with_tokens=with_tokens,
    )
    step_ends = list[float]()

    def note_step(
        stage: str, done: int, total: int, values: Mapping[str, float] | None = None
    ) -> None:
        del stage, done, total, values
        step_ends.append(time.process_time())

    forget_peak()
    before, started, clock = peak_mib(), time.process_time(), time.perf_counter()
    result = train_method(TrainingPlan(method, settings, options.bits), data, progress=note_step)
    seconds, wall_seconds = time.process_time() - started, time.perf_counter() - clock
    n_steps = len(step_ends)
    a_step = (step_ends[-1] - step_ends[0]) / max(1, n_steps - 1)
    row = {
        "method": name,
        "pairs": n_pairs,
        "changes": dict(changes),
        "preset": preset or "",
        "batch_size": settings.batch_size,
        "steps": n_steps,
        "cpu_seconds": round(seconds, 1),
        "wall_seconds": round(wall_seconds, 1),
        "cpu_seconds_before_steps": round(step_ends[0] - started - a_step, 1),
        "cpu_seconds_per_epoch": round(a_step * (n_pairs // settings.batch_size), 1),
        "mib_before": round(before, 1),
        "peak_mib": round(peak_mib(), 1),
    }
    held_out = np.arange(n_pairs, n_rows)
    image_signs, text_signs = both_signs(result.hasher, data, held_out)
    row |= measure(pack(image_signs), pack(text_signs), labels[held_out], options.bits)
    return row, result.hasher


def measure(
    image_codes: NDArray[np.uint8],
    text_codes: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    n_bits: int,
) -> dict[str, float]:
    """Measure held-out pairs among themselves by Hamming distance, both directions."""
    own = np.arange(min(N_QUERIES, len(labels)))
    figures = {}
    for direction, queries, database in (
        ("image_to_text", image_codes, text_codes),
        ("text_to_image", text_codes, image_codes),
    ):
        report = evaluate_direction(
            queries[own],
            database,
            n_bits,
            direction=direction,
            query_labels=labels[own],
            database_labels=labels,
            query_targets=own,
            relevances=["shared_label", "pair"],
            top_k=[TOP_K],
            recall_at=[RECALL_AT],
        )
        recall = report.find("recall", k=RECALL_AT, relevance="pair").value
        precision = report.find("map", k=TOP_K, relevance="shared_label").value
        figures[f"{direction}_recall_at_{RECALL_AT}"] = round(recall, 4)
        figures[f"{direction}_map_at_{TOP_K}"] = round(precision, 4)
    return figures


def main() -> None:
    """Measure each method in a process of its own and write the result."""
    parser = argparse.ArgumentParser(description="Time, memory and quality of training.")
    parser.add_argument("--pairs", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--held-out", type=int, default=5_000)
    parser.add_argument("--methods", nargs="+", default=METHODS, metavar="METHOD")
    parser.add_argument("--bits", type=int, default=64)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--preset", default="dense")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE[,NAME=VALUE...]",
        help="settings of a further run of each method; several --set are several runs",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="usual")
    parser.add_argument("--one", nargs=2, metavar=("METHOD", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    variants = [dict(part.split("=") for part in text.split(",")) for text in options.set] or [{}]
    if options.one:
        name, folder = options.one
        print(json.dumps(train_once(name, Path(folder), options, variants[0])[0]))
        return
    rows = []
    for n_pairs in options.pairs:
        with tempfile.TemporaryDirectory() as folder:
            n_bytes = write_features(Path(folder), n_pairs + options.held_out, options.seed)
            for name in options.methods:
                for changes in variants:
                    row = run_apart(name, folder, options, changes)
                    rows.append(row | {"features_mib": round(n_bytes / 2**20, 1)})
                    print(rows[-1], flush=True)
    settings = vars(options) | {"width": WIDTH, "token_width": TOKEN_WIDTH, "tokens": TOKENS}
    path = RESULTS / f"training-cost-{options.name}.json"
    write_result(path, "training.cost", settings, rows)


def run_apart(
    name: str, folder: str, options: argparse.Namespace, changes: Mapping[str, str]
) -> dict[str, Any]:
    """Train one method in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.training.cost", "--one", name, folder]
    for option in ("held_out", "bits", "steps", "preset", "threads", "seed"):
        command += [f"--{option.replace('_', '-')}", str(getattr(options, option))]
    if changes:
        command += ["--set", ",".join(f"{key}={value}" for key, value in changes.items())]
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    row: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return row


if __name__ == "__main__":
    main()
