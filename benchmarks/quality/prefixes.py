"""Measure the prefixes of nested codes, and what the features themselves would give.

One model a collection and seed is trained with the longest code. Its prefixes are measured as codes
of their own; rows of the bench's table tell what models trained for those lengths give. Beside them
stand the same network's outputs before the sign, and the common space that bits are made from:
what is lost in them was never in the features, and what is lost after them is lost to bits.

Run it: `python -m benchmarks.quality.prefixes icons`
"""

import argparse
import shlex
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import modalhash as mh
from modalhash.artifacts import HashModel
from modalhash.benchmarking.measuring_tasks import list_values
from modalhash.benchmarking.outcomes import DIRECTIONS, Outcome, csv_text
from modalhash.benchmarking.tasks import Place, name_place, usual_encoder, usual_split
from modalhash.codes import binarise, pack
from modalhash.data import Collection
from modalhash.files import write_json, write_text
from modalhash.layers import KernelHead, ModalityFeatures
from modalhash.machine import describe_machine
from modalhash.methods.hasher import HashTower
from modalhash.metrics import Report, evaluate_direction, evaluate_scores

RESULTS = Path(__file__).parent.parent / "results"
Floats = NDArray[np.float32]
Both = dict[str, tuple[Floats, Floats]]
"""By modality: of queries, of database items."""


def points_of(model: HashModel, collection: Collection, split: str) -> tuple[Both, Both]:
    """Return relaxed codes and points of the common space of queries and of training items."""
    encoder = usual_encoder(collection, "auto")
    store = mh.extract_features(collection, encoder)
    relaxed, common = {}, {}
    for name, tower, table, rows in (
        ("image", model.hasher.image, store.image, np.arange(collection.n_items)),
        ("text", model.hasher.text, store.text, collection.caption_starts[:-1]),
    ):
        parts = [rows[collection.split(one)] for one in (split, "train")]
        pooled = [table.pooled(part) for part in parts]
        relaxed[name] = (tower.relaxed(pooled[0]), tower.relaxed(pooled[1]))
        common[name] = (common_points(tower, pooled[0]), common_points(tower, pooled[1]))
    return relaxed, common


def common_points(tower: HashTower, pooled: Floats) -> Floats:
    """Return what the bits of some items are made from."""
    head = tower.head
    assert isinstance(head, KernelHead)

    def points(features: ModalityFeatures) -> torch.Tensor:
        return head.common(tower.prepared(features))

    return tower.apply_by_rows(points, head.weights.shape[1], pooled)


def values_of(both: Both, collection: Collection, split: str, *, as_codes: bool) -> Report:
    """Return the report of rankings, by signs or by cosines."""
    directions = []
    queries, database = collection.split(split), collection.split("train")
    labels = collection.labels
    assert labels is not None
    for direction in DIRECTIONS:
        asking, _, found = direction.partition("_to_")
        for query, ranked, truth in (
            (both[asking][0], both[found][1],
             {"query_labels": labels[queries], "database_labels": labels[database]}),
            (both[asking][0], both[found][0], {"query_targets": np.arange(len(queries))}),
        ):  # fmt: skip
            if as_codes:
                query_codes, ranked_codes = pack(binarise(query)), pack(binarise(ranked))
                measured = evaluate_direction(
                    query_codes, ranked_codes, query.shape[1], direction=direction,
                    top_k=[10, 50, None], **truth,
                )  # fmt: skip
            else:
                unit = [
                    one / np.maximum(np.linalg.norm(one, axis=1, keepdims=True), 1e-12)
                    for one in (query, ranked)
                ]
                measured = evaluate_scores(
                    unit[0] @ unit[1].T, len(query), len(ranked), direction=direction,
                    top_k=[10, 50, None], **truth,
                )  # fmt: skip
            directions.append(measured)
    return Report(0, split, "train", {}, tuple(directions))


def measured(source: str, n_bits: int, seed: int) -> Iterator[Outcome]:
    """Train once, and yield what prefixes, outputs before the sign and the common space give."""
    collection = mh.load_collection(source)
    split = usual_split(collection, "auto")
    started = time.process_time()
    model = mh.train(
        collection, method="nested", n_bits=n_bits, seed=seed,
        encoder=usual_encoder(collection, "auto"),
    )  # fmt: skip
    seconds = round(time.process_time() - started, 1)
    relaxed, common = points_of(model, collection, split)
    place = name_place(Place(source))
    lengths = [length for length in (16, 32, 64, 128, 256) if length <= n_bits]
    for length in lengths:
        both = {name: (one[:, :length], two[:, :length]) for name, (one, two) in relaxed.items()}
        for row, part, as_codes in (
            (f"prefix of {n_bits}", both, True),
            (
                "before the sign",
                {key: tuple(map(np.tanh, two)) for key, two in both.items()},
                False,
            ),
        ):
            report = values_of(part, collection, split, as_codes=as_codes)  # type: ignore[arg-type]
            yield Outcome(row, place, length, seed, list_values(report), seconds, length)
    width = common["image"][0].shape[1]
    report = values_of(common, collection, split, as_codes=False)
    yield Outcome("common space", place, width, seed, list_values(report), seconds, 32 * width)


def main() -> None:
    """Read options, measure, and write the table's files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("collections", nargs="+", help="what load_collection takes")
    parser.add_argument("--bits", type=int, default=128, help="of the model that is trained")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "prefixes-nested.csv")
    options = parser.parse_args()
    outcomes = []
    for collection in options.collections:
        for seed in options.seeds:
            for outcome in measured(collection, options.bits, seed):
                outcomes.append(outcome)
                print(outcome.place, outcome.row, outcome.n_bits, seed, outcome.values, flush=True)
    names = [Path(one).name for one in options.collections]
    seeds = [str(seed) for seed in options.seeds]
    command = ["python", "-m", "benchmarks.quality.prefixes", *names, "--bits"]
    command += [str(options.bits), "--seeds", *seeds]
    about = {
        "format": 1,
        "date": datetime.now(UTC).date().isoformat(),
        "command": shlex.join(command),
        "machine": describe_machine(),
        "rows": {},
        "marks": [],
    }
    write_text(options.output, csv_text(outcomes))
    write_json(options.output.with_suffix(".json"), about)


if __name__ == "__main__":
    main()
