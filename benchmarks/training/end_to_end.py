"""Train the default method on very many made pairs, encode their pictures, index and search them.

Run it: `python -m benchmarks.training.end_to_end --pairs 1000000`

Each stage is a process of its own, with its CPU seconds (all threads together) and its peak memory,
mapped pages of the features included.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.result_files import RESULTS, write_result
from benchmarks.training.cost import train_once, write_features
from benchmarks.training.search_stage import search_once

MODEL = "hasher.pt"


def run_stage(stage: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run one stage in this process; the model goes from the first to the second as a file."""
    import torch

    torch.set_num_threads(options.threads)
    if stage == "train":
        row, hasher = train_once("nested", folder, options, dict(options.set))
        torch.save(hasher, folder / MODEL)
        return row
    hasher = torch.load(folder / MODEL, weights_only=False)  # written by the stage before
    return search_once(hasher.image, hasher.text, folder, options)


def main() -> None:
    """Run the stages and write the result."""
    parser = argparse.ArgumentParser(description="Training, encoding, indexing, searching.")
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--held-out", type=int, default=5_000)
    parser.add_argument("--bits", type=int, default=64)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        type=lambda text: text.split("="),
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stage", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.preset = ""
    if options.stage:
        stage, folder = options.stage
        print(json.dumps(run_stage(stage, Path(folder), options)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        n_bytes = write_features(Path(folder), options.pairs + options.held_out, options.seed)
        for stage in ("train", "search"):
            command = [sys.executable, "-m", "benchmarks.training.end_to_end"]
            for name in ("held_out", "bits", "threads", "seed"):
                command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
            command += [f"--set={name}={value}" for name, value in options.set]
            command += ["--stage", stage, folder]
            ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            row = json.loads(ended.stdout.splitlines()[-1])
            rows.append({"stage": stage} | row | {"features_mib": round(n_bytes / 2**20, 1)})
            print(rows[-1], flush=True)
    path = RESULTS / f"training-end-to-end-{options.pairs}.json"
    write_result(path, "training.end_to_end", vars(options), rows)


if __name__ == "__main__":
    main()
