"""Compare where graphs act: nowhere, among a batch in training, as teachers, over landmarks.

Part of the training items is held out: they are the queries, and the other training items are what
is searched. So settings can be chosen by it without a look at the splits that results are on.
Every row is trained with each seed; rows that are in the file already are kept.

Run it: `python -m benchmarks.quality.graph_paths icons`
"""

import argparse
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import modalhash as mh
from modalhash.codes import Codes, binarise, hamming_distances, pack
from modalhash.data import Collection
from modalhash.encoders import Features
from modalhash.files import write_json
from modalhash.machine import describe_machine
from modalhash.methods import method_class
from modalhash.methods.base import Needs
from modalhash.methods.settings import make_method
from modalhash.metrics import evaluate_direction
from modalhash.training import TrainingData, TrainingPlan, train_method
from modalhash.training.pairs import hold_out

RESULTS = Path(__file__).parent.parent / "results"
SPLIT_SEED = 100
RECALL_AT = 10
VARIANTS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "cagan": {
        "off": {"graph": False},
        "batch": {"graph_path": "batch"},
        "teacher": {"graph_path": "teacher"},
        "landmarks": {"graph_path": "landmarks"},
        "landmarks, shuffled": {"graph_path": "landmarks", "shuffled_graph": True},
    },
    "ms2gah": {
        "off": {"graph_weight": 0.0},
        "batch": {"graph_path": "side_branch"},
        "landmarks": {"graph_path": "landmarks"},
        "landmarks, shuffled": {"graph_path": "landmarks", "shuffled_graph": True},
    },
    "agch": {
        "off": {"graph_weight": 0.0},
        "batch": {},
        "landmarks": {"over_landmarks": True},
        "landmarks, weight .3": {"over_landmarks": True, "graph_weight": 0.3},
    },
    "gch": {
        "off": {"graph_weight": 0.0},
        "batch": {},
        "landmarks": {"over_landmarks": True},
    },
}
"""Method to the changes of its preset `dense` by the name of the row."""


def measure(
    name: str,
    changes: Mapping[str, Any],
    collection: Collection,
    features: Features,
    *,
    share: float,
    n_bits: int,
    seed: int,
) -> dict[str, float]:
    """Train once and measure on the items held out: MAP@50 by a shared label, recall by pair."""
    the_class = method_class(name)
    method, training = make_method(the_class, preset="dense", changes=changes)
    labels = collection.labels
    assert labels is not None
    items, held_out = hold_out(collection.split("train"), share, SPLIT_SEED)
    data = TrainingData(
        features.image,
        features.text,
        collection.caption_starts,
        items,
        labels if Needs.LABELS in the_class.needs else None,
    )
    started = time.process_time()
    hasher = train_method(TrainingPlan(method, training, n_bits, seed), data).hasher
    row = {"cpu_seconds": round(time.process_time() - started, 1)}
    codes: dict[tuple[str, str], Codes] = {}
    for side, tower, table, starts in (
        ("image", hasher.image, features.image, np.arange(collection.n_items)),
        ("text", hasher.text, features.text, collection.caption_starts[:-1]),
    ):
        for part, chosen in (("query", held_out), ("database", items)):
            codes[side, part] = pack(binarise(tower.relaxed(table.pooled(starts[chosen]))))
    for direction, query, other in (
        ("image_to_text", "image", "text"),
        ("text_to_image", "text", "image"),
    ):
        report = evaluate_direction(
            codes[query, "query"],
            codes[other, "database"],
            n_bits,
            direction=direction,
            query_labels=labels[held_out],
            database_labels=labels[items],
            top_k=(50,),
            relevances=("shared_label",),
        )
        value = report.find("map", k=50, relevance="shared_label").value
        row[f"map_{direction}"] = round(value, 4)
        recall = partner_recall(codes[query, "query"], codes[other, "query"])
        row[f"recall_{direction}"] = round(recall, 4)
    return row


def partner_recall(queries: Codes, database: Codes) -> float:
    """Compute recall@10 of the partner, ties averaged."""
    distances = hamming_distances(queries, database)
    own = distances.diagonal()[:, None]
    n_nearer, n_tied = (distances < own).sum(axis=1), (distances == own).sum(axis=1)
    return float(np.clip((RECALL_AT - n_nearer) / n_tied, 0, 1).mean())


def main() -> None:
    """Measure the rows that the file doesn't have yet."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("collection", help="what mh.load_collection takes")
    parser.add_argument("methods", nargs="*", default=list(VARIANTS), help="names; all by default")
    parser.add_argument("--bits", type=int, default=64, help="bits of a code")
    parser.add_argument("--seeds", default="0,1", help="seeds, parted by commas")
    parser.add_argument("--share", type=float, default=0.2, help="share that is held out")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    collection = mh.load_collection(options.collection)
    encoder = "precomputed" if collection.pictures is None else "offline"
    features = mh.extract_features(collection, encoder)
    path = RESULTS / f"graph-paths-{collection.name}.json"
    settings = {"collection": collection.name, "bits": options.bits, "share": options.share}
    rows: dict[str, dict[str, float]] = {}
    if path.exists():
        document = json.loads(path.read_text(encoding="utf-8"))
        rows = document["results"] if document["settings"] == settings else {}
    for seed in map(int, options.seeds.split(",")):
        for name in options.methods:
            for variant, changes in VARIANTS[name].items():
                key = f"{name}; {variant}; seed {seed}"
                if key in rows:
                    continue
                rows[key] = measure(
                    name,
                    changes,
                    collection,
                    features,
                    share=options.share,
                    n_bits=options.bits,
                    seed=seed,
                )
                print(key, rows[key], flush=True)
                write_json(
                    path,
                    {
                        "benchmark": "benchmarks.quality.graph_paths",
                        "settings": settings,
                        "split_seed": SPLIT_SEED,
                        "version": mh.__version__,
                        "machine": describe_machine(),
                        "results": rows,
                    },
                )


if __name__ == "__main__":
    main()
