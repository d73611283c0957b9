"""Measure how near codes are to their signs at the end of training, for every method.

A method trained by gradient logs the mean size of its relaxed codes and the cosine between them
and their signs. A method solved in closed form has outputs without a tanh: the cosine alone says
how far they are from their signs. Constant bits are those of the training items' codes.

Run it: `python -m benchmarks.quality.signs icons`
"""

import argparse
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import modalhash as mh
from modalhash.codes import binarise, pack
from modalhash.data import Collection
from modalhash.encoders import Features
from modalhash.files import write_json
from modalhash.machine import describe_machine
from modalhash.methods import METHODS, method_class
from modalhash.methods.base import Needs
from modalhash.methods.settings import make_method
from modalhash.metrics import evaluate_direction
from modalhash.training import TrainingData, TrainingPlan, TrainingResult, train_method

RESULTS = Path(__file__).parent.parent / "results"
DIRECTIONS = (("image_to_text", "image", "text"), ("text_to_image", "text", "image"))
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class SignRow:
    """What one method's codes are like at the end of training."""

    method: str
    image_size: float | None
    text_size: float | None
    image_sign_cosine: float
    text_sign_cosine: float
    constant_share: float
    image_to_text: float
    text_to_image: float


def train(
    name: str, collection: Collection, features: Features, n_bits: int, seed: int
) -> TrainingResult:
    """Train a method with the preset that suits dense features."""
    found = method_class(name)
    preset = found.preset_for(has_sparse_texts=False)
    method, training = make_method(found, preset=preset)
    data = TrainingData(
        features.image,
        features.text,
        collection.caption_starts,
        collection.split("train"),
        collection.labels if Needs.LABELS in found.needs else None,
        Needs.TOKENS in found.needs,
    )
    return train_method(TrainingPlan(method, training, n_bits, seed), data)


def sign_cosine(relaxed: Floats) -> float:
    """Compute the mean cosine between relaxed codes and their signs."""
    lengths = np.sqrt(np.square(relaxed).sum(axis=1)) * np.sqrt(relaxed.shape[1])
    return float((np.abs(relaxed).sum(axis=1) / np.maximum(lengths, 1e-30)).mean())


def measure(
    name: str, collection: Collection, features: Features, n_bits: int, seed: int
) -> SignRow:
    """Train a method, and measure its codes."""
    result = train(name, collection, features, n_bits, seed)
    labels = collection.labels
    assert labels is not None
    relaxed: dict[tuple[str, str], Floats] = {}
    for side, tower, table, starts in (
        ("image", result.hasher.image, features.image, np.arange(collection.n_items)),
        ("text", result.hasher.text, features.text, collection.caption_starts[:-1]),
    ):
        for split in ("train", "test"):
            rows = starts[collection.split(split)]
            tokens = table.tokens(rows) if Needs.TOKENS in method_class(name).needs else ()
            relaxed[side, split] = tower.relaxed(table.pooled(rows), *tokens)
    last = dict(result.log[-1]) if result.log else {}
    signs = [binarise(relaxed[side, "train"]) for side in ("image", "text")]
    constant = np.mean([(part == part[0]).all(axis=0).mean() for part in signs])
    codes = {key: pack(binarise(part)) for key, part in relaxed.items()}
    precisions = [
        evaluate_direction(
            codes[asked, "test"],
            codes[found, "train"],
            n_bits,
            direction=direction,
            query_labels=labels[collection.split("test")],
            database_labels=labels[collection.split("train")],
            top_k=(50,),
            relevances=("shared_label",),
        )
        .find("map", k=50, relevance="shared_label")
        .value
        for direction, asked, found in DIRECTIONS
    ]
    return SignRow(
        name,
        last.get("image_size"),
        last.get("text_size"),
        last.get("image_sign_cosine", sign_cosine(relaxed["image", "train"])),
        last.get("text_sign_cosine", sign_cosine(relaxed["text", "train"])),
        float(constant),
        *precisions,
    )


def known_rows(path: Path, settings: dict[str, Any], seed: int) -> dict[str, Any]:
    """Read the rows that a run of the same settings left, by method."""
    if not path.exists():
        return {}
    document = json.loads(path.read_text(encoding="utf-8"))
    is_same = document["settings"] == settings and document["seed"] == seed
    return dict(document["results"]) if is_same else {}


def main() -> None:
    """Measure the methods that are named, or all, and add them to the file of the collection."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("collection", help="what mh.load_collection takes")
    parser.add_argument("methods", nargs="*", default=list(METHODS), help="names; all by default")
    parser.add_argument("--bits", type=int, default=64, help="bits of a code")
    parser.add_argument("--seed", type=int, default=0, help="seed of the training")
    parser.add_argument("--cache", type=Path, help="folder of features made before")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    collection = mh.load_collection(options.collection)
    path = RESULTS / f"signs-{collection.name}.json"
    settings = {"collection": options.collection, "bits": options.bits}
    rows = known_rows(path, settings, options.seed)
    for name in options.methods:
        with_tokens = Needs.TOKENS in method_class(name).needs
        features = mh.extract_features(
            collection,
            with_tokens=with_tokens,
            **({"cache": options.cache} if options.cache else {}),
        )
        row = measure(name, collection, features, options.bits, options.seed)
        rows[name] = asdict(row)
        print(row, flush=True)
        write_json(
            path,
            {
                "benchmark": "benchmarks.quality.signs",
                "settings": settings,
                "seed": options.seed,
                "version": mh.__version__,
                "machine": describe_machine(),
                "results": rows,
            },
        )


if __name__ == "__main__":
    main()
