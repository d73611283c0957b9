"""Measure seconds an epoch and peak memory of every gradient method, for several numbers of pairs.

Run it: `python -m benchmarks.training.cost --pairs 5000 50000`
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.result_files import RESULTS, write_result
from modalhash.machine import peak_mib
from modalhash.methods import METHODS, method_class
from modalhash.methods.base import GradientMethod, Needs
from modalhash.methods.settings import make_method

WIDTH, TOKEN_WIDTH, N_LABELS = 512, 128, 24
TOKENS = {"image": 16, "text": 12}
BLOCK = 2_000


class MappedTable:
    """Features of one modality in float16 files, mapped; rows are read as float32."""

    dtype = "float16"
    width = WIDTH

    def __init__(self, folder: Path, modality: str, *, with_tokens: bool) -> None:
        self._pooled = np.load(folder / f"{modality}.npy", mmap_mode="r")
        self._tokens = np.load(folder / f"{modality}-tokens.npy", mmap_mode="r")
        self.token_shape = self._tokens.shape[1:] if with_tokens else None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._pooled)

    def pooled(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the pooled features of some rows."""
        return np.asarray(self._pooled[rows], np.float32)

    def tokens(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the tokens of some rows; all are real."""
        found = np.asarray(self._tokens[rows], np.float32)
        return found, np.ones(found.shape[:2], np.bool_)


def write_features(folder: Path, n_pairs: int, seed: int) -> int:
    """Write features of both modalities; return their bytes."""
    generator = np.random.default_rng(seed)
    n_bytes = 0
    for modality, n_tokens in TOKENS.items():
        mixing = generator.normal(size=(N_LABELS, WIDTH)).astype(np.float32)
        for name, shape in (
            (modality, (n_pairs, WIDTH)),
            (f"{modality}-tokens", (n_pairs, n_tokens, TOKEN_WIDTH)),
        ):
            out = np.lib.format.open_memmap(
                folder / f"{name}.npy", "w+", dtype=np.float16, shape=shape
            )
            for start in range(0, n_pairs, BLOCK):
                part = out[start : start + BLOCK]
                noise = generator.normal(size=part.shape).astype(np.float32)
                common = labels_of(np.arange(start, start + len(part))) @ mixing
                part[:] = noise + (common if noise.ndim == 2 else 0)
            n_bytes += out.nbytes
            out.flush()
    return n_bytes


def labels_of(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return one or two labels for each row."""
    labels = np.zeros((len(rows), N_LABELS), np.uint8)
    labels[np.arange(len(rows)), rows % N_LABELS] = 1
    labels[np.arange(len(rows)), (rows // 7) % N_LABELS] = 1
    return labels


def run_one(name: str, folder: Path, n_bits: int, epochs: int, preset: str) -> dict[str, Any]:
    """Train one method in this process."""
    import torch

    from modalhash.training import TrainingData, TrainingPlan, train_method

    torch.set_num_threads(1)
    found = method_class(name)
    chosen = preset if preset in found.presets else None
    method, settings = make_method(found, preset=chosen, changes={"epochs": epochs})
    with_tokens = Needs.TOKENS in method.needs
    image, text = (MappedTable(folder, one, with_tokens=with_tokens) for one in TOKENS)
    n_pairs = len(image)
    items = np.arange(n_pairs)
    data = TrainingData(
        image, text, np.arange(n_pairs + 1), items, labels_of(items), with_tokens=with_tokens
    )  # fmt: skip
    before = peak_mib()
    started = time.perf_counter()
    result = train_method(TrainingPlan(method, settings, n_bits), data)
    return {
        "method": name,
        "pairs": n_pairs,
        "batch_size": settings.batch_size,
        "preset": chosen or "",
        "seconds_per_epoch": round(min(entry["seconds"] for entry in result.log), 3),
        "seconds_in_all": round(time.perf_counter() - started, 3),
        "mib_before": round(before, 1),
        "peak_mib": round(peak_mib(), 1),
    }


def main() -> None:
    """Measure each method in a process of its own and write the result."""
    parser = argparse.ArgumentParser(description="Time and memory of training.")
    parser.add_argument("--pairs", type=int, nargs="+", default=[5_000, 50_000])
    parser.add_argument("--methods", default="")
    parser.add_argument("--bits", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--preset", default="dense")
    parser.add_argument("--name", default="usual")
    parser.add_argument("--one", nargs=2, metavar=("METHOD", "FOLDER"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        name, folder = asked.one
        print(json.dumps(run_one(name, Path(folder), asked.bits, asked.epochs, asked.preset)))
        return
    names = asked.methods.split(",") if asked.methods else trained_methods()
    rows = []
    for n_pairs in asked.pairs:
        with tempfile.TemporaryDirectory() as folder:
            n_bytes = write_features(Path(folder), n_pairs, 0)
            for name in names:
                command = [
                    sys.executable, "-m", "benchmarks.training.cost", "--one", name, folder,
                    "--bits", str(asked.bits), "--epochs", str(asked.epochs),
                    "--preset", asked.preset,
                ]  # fmt: skip
                ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                row = json.loads(ended.stdout.splitlines()[-1])
                rows.append(row | {"features_mib": round(n_bytes / 2**20, 1)})
                print(rows[-1])
    settings = vars(asked) | {"width": WIDTH, "token_width": TOKEN_WIDTH, "tokens": TOKENS}
    path = RESULTS / f"training-cost-{asked.name}.json"
    write_result(path, "training.cost", settings, rows)


def trained_methods() -> list[str]:
    """Return the methods that are trained by gradients."""
    return [name for name in METHODS if issubclass(method_class(name), GradientMethod)]


if __name__ == "__main__":
    main()
