"""Measure how well exchanged pairs are found.

A share of the training items gets the texts of others. Of as many suspects as there are such
items, how many have wrong texts? What such pairs cost a method is what `modalhash robustness C
--shuffle-pairs` measures.

Run it: `python -m benchmarks.quality.wrong_pairs icons`
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import modalhash as mh
from benchmarks.result_files import RESULTS, write_result
from modalhash.api.suspecting import measure_pairs
from modalhash.benchmarking.wrong_pairs import shuffle_texts
from modalhash.data import Collection
from modalhash.encoders import Features
from modalhash.training import TrainingData


def measure_suspects(
    collection: Collection, features: Features, share: float, seed: int
) -> dict[str, Any]:
    """Exchange texts, and count how many of the most suspect items have others' texts."""
    items = collection.split("train")
    owners = shuffle_texts(collection, items, share, seed)
    data = TrainingData(features.image, features.text, collection.caption_starts, items)
    agreement = measure_pairs(data.exchange_texts(owners))
    is_wrong = owners[items] != items
    first = agreement.scores.argsort(stable=True)[: int(is_wrong.sum())].numpy()
    return {
        "collection": collection.name,
        "share": share,
        "seed": seed,
        "n_shuffled": int(is_wrong.sum()),
        "estimated_share": round(agreement.wrong_share, 3),
        "is_clear": agreement.is_clear,
        "precision": round(float(is_wrong[first].mean()), 3) if len(first) else None,
    }


def measure_all(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the row of each collection, share and seed."""
    for name in arguments.collections:
        collection = mh.load_collection(name)
        features = mh.extract_features(collection, cache=arguments.cache)
        for share in arguments.shares:
            for seed in arguments.seeds if share else arguments.seeds[:1]:
                row = measure_suspects(collection, features, share, seed)
                print(row, flush=True)
                yield row


def main() -> None:
    """Measure all collections, and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("collections", nargs="+")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.2, 0.4, 0.6])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--output", type=Path, default=RESULTS / "wrong-pairs-icons.json")
    arguments = parser.parse_args()
    settings = {
        **vars(arguments),
        "collections": [Path(name).name for name in arguments.collections],
        "cache": "",
        "seed": arguments.seeds,
    }
    write_result(arguments.output, "quality.wrong_pairs", settings, list(measure_all(arguments)))


if __name__ == "__main__":
    main()
