"""Measure a compatible model: new queries on the former model's codes, and on mixed indexes.

The former model knows half of the captions and MiniLM's features of them. The new one knows all
captions and another combination of encoders, MiniLM with a bag of words side by side; pictures'
features are the same. Queries of each model are ranked against codes of each, and against an index
of which half of the items, drawn at random, were encoded anew. Beside them stands, with
`--free`, a new model that was trained without regard to the former one.

Run it: `python -m benchmarks.quality.compatible FLICKR8K --parts FOLDER`
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import modalhash as mh
from benchmarks.quality.asymmetric import Both, Floats, first_bits, measure, unit_rows
from benchmarks.result_files import RESULTS, write_result
from modalhash.api.method_choice import configure_method
from modalhash.benchmarking.measuring_tasks import list_query_values, list_values
from modalhash.choices import Scoring
from modalhash.data import Collection
from modalhash.encoders import load_encoder
from modalhash.encoders.feature_tables import ArrayTable
from modalhash.methods.hasher import Hasher
from modalhash.metrics import compare_runs
from modalhash.training import TrainingData, TrainingPlan, train_method
from modalhash.training.former import FormerTables

LENGTHS: Final = (16, 32, 64, 128)
SIDES: Final = ("image", "text")
WORDS_WEIGHT: Final = 0.7
"""Length of the words' part of a text's features, where MiniLM's part has length 1."""
SYSTEMS: Final[Mapping[str, tuple[str, str]]] = {
    "former on former": ("former", "former"),
    "new on former": ("new", "former"),
    "new on mixed": ("new", "mixed"),
    "new on new": ("new", "new"),
    "former on mixed": ("former", "mixed"),
    "former on new": ("former", "new"),
    "free on free": ("free", "free"),
}
"""Name of a system to the makers of its queries and of its database."""
RATIOS: Final = (
    ("new on former", "new on new"),
    ("new on mixed", "former on former"),
    ("new on former", "former on former"),
    ("former on mixed", "former on former"),
    ("former on new", "former on former"),
    ("new on new", "free on free"),
)
"""Systems whose figures are divided, the first by the second."""
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Material:
    """Features of the collection.

    Attributes:
        collection: with labels.
        split: the queries.
        image: (n, d) of pictures.
        meaning: (t, 384) of texts, by MiniLM.
        combined: (t, d) of texts, MiniLM and a bag of words side by side.
    """

    collection: Collection
    split: str
    image: Floats
    meaning: Floats
    combined: Floats


def read_material(source: str, split: str) -> Material:
    """Extract the features of a collection, or read them from the cache."""
    collection = mh.load_collection(source)
    features = mh.extract_features(collection, "offline")
    image = features.image.pooled(np.arange(collection.n_items))
    meaning = features.text.pooled(np.arange(collection.n_captions))
    captions = collection.captions
    assert captions is not None
    known = texts_of(collection.caption_starts, collection.split("train"))
    tower = load_encoder("offline+bow").text.fit([captions[row] for row in known])
    words = tower.encode(list(captions)).pooled
    parts = [
        weight * unit_rows(rows - rows[known].mean(axis=0))
        for rows, weight in ((meaning, 1.0), (words, WORDS_WEIGHT))
    ]
    combined = np.concatenate(parts, axis=1).astype(np.float32)
    return Material(collection, split, image, meaning, combined)


def texts_of(starts: Rows, items: Rows) -> Rows:
    """List the texts of some items, item by item."""
    return np.concatenate([np.arange(starts[item], starts[item + 1]) for item in items])


def choose_half(starts: Rows) -> tuple[Rows, Rows]:
    """Choose half of each item's texts, the first ones, rounded down and up in turn.

    Returns:
        Their rows, and where each item's begin among them.
    """
    counts = np.diff(starts)
    kept = (counts + np.arange(len(counts)) % 2) // 2
    rows = [np.arange(start, start + n) for start, n in zip(starts, kept, strict=False)]
    return np.concatenate(rows), np.concatenate([[0], np.cumsum(kept)])


def train(
    material: Material,
    texts: Floats,
    starts: Rows,
    seed: int,
    former: FormerTables | None = None,
) -> Hasher:
    """Train the default method on the training items."""
    method, settings = configure_method("nested", None, None, {})
    data = TrainingData(
        ArrayTable(material.image),
        ArrayTable(texts),
        starts,
        material.collection.split("train"),
        former=former,
    )
    return train_method(TrainingPlan(method, settings, LENGTHS[-1], seed), data).hasher


def relaxed_codes(hasher: Hasher, material: Material, texts: Floats) -> Both:
    """Compute relaxed codes of queries and of training items, one text an item."""
    collection, first = material.collection, material.collection.caption_starts[:-1]
    queries, database = collection.split(material.split), collection.split("train")
    image, text = hasher.image, hasher.text
    return {
        "image": (image.relaxed(material.image[queries]), image.relaxed(material.image[database])),
        "text": (text.relaxed(texts[first[queries]]), text.relaxed(texts[first[database]])),
    }


def say_of_training_items(hasher: Hasher, material: Material) -> FormerTables:
    """Compute what the former model says of the training items, as `train` does."""
    collection = material.collection
    items = collection.split("train")
    rows = texts_of(collection.caption_starts, items)
    image = np.zeros((collection.n_items, LENGTHS[-1]), np.float32)
    text = np.zeros((collection.n_captions, LENGTHS[-1]), np.float32)
    image[items] = hasher.image.relaxed(material.image[items])
    text[rows] = hasher.text.relaxed(material.meaning[rows])
    return FormerTables(image, text)


def mix(former: Both, new: Both, seed: int) -> Both:
    """Encode each item anew with a chance of a half, in both modalities alike."""
    generator = np.random.default_rng(seed)
    chosen = [generator.random(len(rows))[:, None] < 0.5 for rows in former["image"]]
    return {
        name: (
            np.where(chosen[0], new[name][0], former[name][0]),
            np.where(chosen[1], new[name][1], former[name][1]),
        )
        for name in former
    }


def train_makers(material: Material, seed: int, folder: Path, *, free: bool) -> dict[str, Both]:
    """Train the models of a seed one after another; the folder keeps what each says.

    Returns:
        Relaxed codes of queries and of training items by maker.
    """
    starts = material.collection.caption_starts
    half, half_starts = choose_half(starts)
    tables = folder / f"tables-{seed}.npz"
    makers: dict[str, Both] = {}
    for name in ["former", "new", *(["free"] if free else [])]:
        path = folder / f"codes-{name}-{seed}.npz"
        if not path.exists():
            if name == "former":
                hasher = train(material, material.meaning[half], half_starts, seed)
                said = say_of_training_items(hasher, material)
                np.savez(tables, image=said.image, text=said.text)
                codes = relaxed_codes(hasher, material, material.meaning)
            else:
                former = None
                if name == "new":
                    with np.load(tables) as arrays:
                        former = FormerTables(arrays["image"], arrays["text"])
                hasher = train(material, material.combined, starts, seed, former)
                codes = relaxed_codes(hasher, material, material.combined)
            arrays_of: dict[str, Any] = {
                f"{side}{place}": rows[place] for side, rows in codes.items() for place in (0, 1)
            }
            np.savez(path, **arrays_of)
            print(f"seed {seed}: {name}", flush=True)
        with np.load(path) as arrays:
            makers[name] = {side: (arrays[f"{side}0"], arrays[f"{side}1"]) for side in SIDES}
    return makers


def measure_seed(makers: dict[str, Both], material: Material, seed: int) -> dict[str, Any]:
    """Measure every system of a seed.

    Returns:
        Figures by system, bits, scoring and value; and values of the queries likewise.
    """
    makers = {**makers, "mixed": mix(makers["former"], makers["new"], seed)}
    figures: dict[str, Any] = {}
    for n_bits in LENGTHS:
        cut = {name: first_bits(both, n_bits) for name, both in makers.items()}
        for name, (asks, answers) in SYSTEMS.items():
            for scoring in Scoring if asks in cut else ():
                report = measure(
                    cut[asks], material.collection, material.split, scoring.value,
                    ranked=cut[answers],
                )  # fmt: skip
                key = f"{name}/{n_bits}/{scoring.value}"
                figures[key] = (list_values(report), list_query_values(report))
    return figures


def keep(folder: Path, seed: int, figures: Mapping[str, Any]) -> None:
    """Keep the figures of a seed, with the values of its queries."""
    arrays = {
        f"{key}/{name}": values
        for key, (_, rows) in figures.items()
        for name, values in rows.items()
    }
    arrays |= {
        f"mean/{key}/{name}": np.array(value)
        for key, (means, _) in figures.items()
        for name, value in means.items()
    }
    np.savez_compressed(folder / f"compatible-{seed}.npz", **arrays)


def read_kept(folder: Path, seeds: Sequence[int]) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Read the means of all seeds, and the values of queries averaged over seeds."""
    means: dict[str, list[float]] = {}
    values: dict[str, list[Any]] = {}
    for seed in seeds:
        with np.load(folder / f"compatible-{seed}.npz") as arrays:
            for key in arrays.files:
                if key.startswith("mean/"):
                    means.setdefault(key.removeprefix("mean/"), []).append(float(arrays[key]))
                else:
                    values.setdefault(key, []).append(arrays[key].astype(np.float64))
    return means, {key: np.mean(rows, axis=0) for key, rows in values.items()}


def divide(
    means: Mapping[str, Sequence[float]], values: Mapping[str, Any], first: str, second: str
) -> dict[str, Any]:
    """Divide the figures of two systems, length by length; the mean over seeds of each.

    Returns:
        By bits: the smallest and the mean ratio, the column of the smallest, and how many of the
        columns are worse by a paired bootstrap over queries (95 %, seeds averaged).
    """
    result: dict[str, Any] = {}
    for n_bits in LENGTHS:
        ratios, worse = {}, []
        for scoring in Scoring:
            start = f"/{n_bits}/{scoring.value}/"
            for key in (key for key in means if key.startswith(first + start)):
                column = key.removeprefix(first + start)
                other = second + start + column
                ratios[f"{column}, {scoring.value}"] = np.mean(means[key]) / np.mean(means[other])
                compared = compare_runs(values[other], values[key], generator=0)
                if compared.interval[1] < 0:
                    worse.append(f"{column}, {scoring.value}")
        smallest = min(ratios, key=lambda name: ratios[name])
        result[str(n_bits)] = {
            "smallest": round(float(ratios[smallest]), 4),
            "smallest_column": smallest,
            "mean": round(float(np.mean(list(ratios.values()))), 4),
            "columns": len(ratios),
            "worse": worse,
        }
    return result


def main() -> None:
    """Read options, measure the seeds that aren't there yet, and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("collection", help="what load_collection takes, with labels")
    parser.add_argument("--split", default="dev", help="the queries")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--parts", type=Path, required=True, help="folder that keeps what is done")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "compatible.json")
    parser.add_argument(
        "--free", action="store_true", help="also train the new model without the former one"
    )
    options = parser.parse_args()
    options.parts.mkdir(parents=True, exist_ok=True)
    material: Material | None = None
    for seed in options.seeds:
        if not (options.parts / f"compatible-{seed}.npz").exists():
            material = material or read_material(options.collection, options.split)
            makers = train_makers(material, seed, options.parts, free=options.free)
            keep(options.parts, seed, measure_seed(makers, material, seed))
        print(f"seed {seed}", flush=True)
    means, values = read_kept(options.parts, options.seeds)
    figures: dict[str, Any] = {}
    for key, numbers in means.items():
        system, n_bits, scoring, column = key.split("/")
        rows = figures.setdefault(system, {}).setdefault(n_bits, {}).setdefault(scoring, {})
        rows[column] = {
            "mean": round(float(np.mean(numbers)), 4),
            "deviation": round(float(np.std(numbers)), 4),
        }
    results = {
        "ratios": {
            f"{first} / {second}": divide(means, values, first, second)
            for first, second in RATIOS
            if {first, second} <= figures.keys()
        },
        "figures": figures,
    }
    settings = {**vars(options), "collection": Path(options.collection).name, "parts": None}
    settings["seed"] = settings.pop("seeds")
    write_result(options.output, "quality.compatible", settings, results)


if __name__ == "__main__":
    main()
