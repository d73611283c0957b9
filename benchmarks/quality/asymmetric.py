"""Measure codes under both scorings: queries that keep their numbers, and queries that are codes.

One `nested` model a collection and seed is trained with the longest code, and its prefixes are
measured as codes of their own. Beside them stand the signs of unrotated principal components of
pairs (`pca-sign`) and of the common space of `nested` before any learning (`common-sign`), closed
forms and other methods, each under the same scorings with its own numbers; and the common space
itself, by cosines: what is lost in it was never in the features, and what is lost after it is lost
to bits.

Run it: `python -m benchmarks.quality.asymmetric icons`
"""

import argparse
import shlex
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import modalhash as mh
from modalhash.artifacts import HashModel
from modalhash.benchmarking.marks import find_marks, marks_json
from modalhash.benchmarking.measuring_tasks import QueryValues, list_query_values, list_values
from modalhash.benchmarking.outcomes import DIRECTIONS, Outcome, csv_text, read_csv
from modalhash.benchmarking.tasks import Place, name_place, usual_encoder, usual_split
from modalhash.choices import Scoring
from modalhash.codes import binarise, pack
from modalhash.data import Collection
from modalhash.errors import ModalhashError
from modalhash.files import write_json, write_text
from modalhash.layers import KernelHead, ModalityFeatures, pair_moments
from modalhash.machine import describe_machine
from modalhash.methods.hasher import HashTower
from modalhash.methods.pca_itq import PcaItqSettings, fit_map, pair_components
from modalhash.metrics import Report, evaluate_asymmetric, evaluate_direction, evaluate_scores

RESULTS = Path(__file__).parent.parent / "results"
LENGTHS = (16, 32, 64, 128)
FLOATS = "floats"
"""Scoring of rows whose items are stored as floats, ranked by cosines."""
LABELLED = frozenset({"nested-labelled"})
PREFIXED = frozenset({"nested", "nested-labelled", "pca-sign", "common-sign"})
"""Methods whose first bits are codes."""
DEFAULT_METHODS = ["nested", "common-sign", "pca-sign", "pca-itq", "cca-itq"]
BARELY_TRAINED = {"epochs": 1, "least_steps": 0, "hidden_width": 0}
"""Settings of a model of which only the common space is measured."""
Floats = NDArray[np.float32]
Both = dict[str, tuple[Floats, Floats]]
"""By modality: of queries, of database items."""
Run = tuple[Outcome, QueryValues]


def pooled_features(collection: Collection, split: str) -> Both:
    """Read pooled features of queries and of training items, one text an item."""
    store = mh.extract_features(collection, usual_encoder(collection, "auto"))
    first_texts = collection.caption_starts[:-1]
    queries, database = collection.split(split), collection.split("train")
    return {
        "image": (store.image.pooled(queries), store.image.pooled(database)),
        "text": (
            store.text.pooled(first_texts[queries]), store.text.pooled(first_texts[database]),
        ),
    }  # fmt: skip


def relaxed_codes(model: HashModel, pooled: Both) -> Both:
    """Compute relaxed codes of queries and of training items."""
    towers = {"image": model.hasher_in_torch.image, "text": model.hasher_in_torch.text}
    return {
        name: (towers[name].relaxed(queries), towers[name].relaxed(database))
        for name, (queries, database) in pooled.items()
    }


def common_space(model: HashModel, pooled: Both) -> Both:
    """Compute the points that the bits of queries and of training items are made from."""
    towers = {"image": model.hasher_in_torch.image, "text": model.hasher_in_torch.text}
    return {
        name: (common_points(towers[name], queries), common_points(towers[name], database))
        for name, (queries, database) in pooled.items()
    }


def common_points(tower: HashTower, pooled: Floats) -> Floats:
    """Compute what the bits of some items are made from."""
    head = tower.head
    assert isinstance(head, KernelHead)

    def points(features: ModalityFeatures) -> torch.Tensor:
        return head.common(tower.prepared(features))

    return tower.apply_by_rows(points, head.weights.shape[1], pooled)


def training_pairs(collection: Collection) -> tuple[Floats, Floats]:
    """Read the features of all training pairs, each text with its picture."""
    store = mh.extract_features(collection, usual_encoder(collection, "auto"))
    starts = collection.caption_starts
    items = collection.split("train")
    texts = np.concatenate([np.arange(starts[item], starts[item + 1]) for item in items])
    return store.image.pooled(collection.caption_items[texts]), store.text.pooled(texts)


def component_numbers(pairs: tuple[Floats, Floats], pooled: Both, n_bits: int) -> Both:
    """Predict unrotated principal components of pairs from either modality, largest first.

    They are those of `pca-itq` before its rotation, so that the first bits are those of any length.

    Args:
        pairs: features of training pairs, pictures and texts.
        pooled: features of what is encoded.
        n_bits: components.
    """
    settings = PcaItqSettings()
    rows = torch.from_numpy(pairs[0]), torch.from_numpy(pairs[1])
    moments = pair_moments([rows])
    directions = pair_components(moments, n_bits, settings.image_weight)
    targets, width = moments.covariance @ directions, moments.image_width
    image_map = fit_map(moments.within_images, targets[:width], settings.ridge)
    text_map = fit_map(moments.within_texts, targets[width:], settings.ridge)

    def predict(part: Floats, mean: torch.Tensor, weights: torch.Tensor) -> Floats:
        numbers: Floats = ((torch.from_numpy(part).double() - mean) @ weights).float().numpy()
        return numbers

    return {
        "image": (
            predict(pooled["image"][0], moments.image_mean, image_map),
            predict(pooled["image"][1], moments.image_mean, image_map),
        ),
        "text": (
            predict(pooled["text"][0], moments.text_mean, text_map),
            predict(pooled["text"][1], moments.text_mean, text_map),
        ),
    }


def first_bits(both: Both, n_bits: int) -> Both:
    """Cut relaxed codes to their first bits."""
    return {
        name: (queries[:, :n_bits], database[:, :n_bits])
        for name, (queries, database) in both.items()
    }


def measure(
    both: Both, collection: Collection, split: str, scoring: str, *, ranked: Both | None = None
) -> Report:
    """Rank by Hamming distance, by the numbers of queries, or by cosines of floats.

    Args:
        both: relaxed codes, or floats.
        ranked: of what is ranked, where another model made it; by default `both`.
        collection: with labels.
        split: the queries.
        scoring: "hamming", "asymmetric" or "floats".
    """
    directions = []
    queries, database = collection.split(split), collection.split("train")
    labels = collection.labels
    assert labels is not None
    by_label: dict[str, Any] = {
        "query_labels": labels[queries],
        "database_labels": labels[database],
    }
    by_pair: dict[str, Any] = {"query_targets": np.arange(len(queries))}
    cut: dict[str, Any] = {"top_k": [10, 50, None]}
    for direction in DIRECTIONS:
        query_side, _, item_side = direction.partition("_to_")
        query = both[query_side][0]
        own_items, items_by_label = (ranked or both)[item_side]
        for items, truth in ((items_by_label, by_label), (own_items, by_pair)):
            width = query.shape[1]
            if scoring == Scoring.HAMMING:
                result = evaluate_direction(
                    pack(binarise(query)), pack(binarise(items)), width, direction=direction,
                    **cut, **truth,
                )  # fmt: skip
            elif scoring == Scoring.ASYMMETRIC:
                result = evaluate_asymmetric(
                    query, pack(binarise(items)), width, direction=direction, **cut, **truth
                )
            else:
                result = evaluate_scores(
                    unit_rows(query) @ unit_rows(items).T, len(query), len(items),
                    direction=direction, **cut, **truth,
                )  # fmt: skip
            directions.append(result)
    return Report(0, split, "train", {}, tuple(directions))


def unit_rows(rows: Floats) -> Floats:
    """Scale rows to length 1."""
    scaled: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return scaled


def measure_method(
    source: str, seed: int, method: str, settings: dict[str, float]
) -> Iterator[Run]:
    """Train one method on one collection, and measure it at every length.

    Args:
        source: what `load_collection` takes.
        seed: of all trainings.
        method: those of `PREFIXED` are trained once, with the longest code; others are trained for
            every length.
        settings: changes to the method's, by name.
    """
    collection = mh.load_collection(source)
    split = usual_split(collection, "auto")
    place, pooled = name_place(Place(source)), pooled_features(collection, split)
    row = ", ".join([method, *(f"{key} {value}" for key, value in settings.items())])
    for lengths in [LENGTHS] if method in PREFIXED else [(length,) for length in LENGTHS]:
        started = time.process_time()
        model: HashModel | None = None
        try:
            if method == "pca-sign":
                numbers = component_numbers(training_pairs(collection), pooled, lengths[-1])
            elif method == "common-sign":
                trained = mh.train(
                    collection, method="nested", n_bits=lengths[-1], seed=seed,
                    settings=BARELY_TRAINED, encoder=usual_encoder(collection, "auto"),
                )  # fmt: skip
                numbers = common_space(trained, pooled)
            else:
                model = mh.train(
                    collection, method=method, n_bits=lengths[-1], seed=seed, settings=settings,
                    encoder=usual_encoder(collection, "auto"),
                )  # fmt: skip
                numbers = relaxed_codes(model, pooled)
        except ModalhashError as error:
            yield Outcome(row, place, lengths[-1], seed, {}, error=str(error)), {}
            continue
        seconds = round(time.process_time() - started, 1)
        for n_bits in lengths:
            for scoring in (Scoring.HAMMING.value, Scoring.ASYMMETRIC.value):
                report = measure(first_bits(numbers, n_bits), collection, split, scoring)
                outcome = Outcome(
                    row, place, n_bits, seed, list_values(report), seconds, n_bits, scoring=scoring
                )
                yield outcome, list_query_values(report)
        if model is not None and method == "nested" and not settings:
            points = common_space(model, pooled)
            report, width = measure(points, collection, split, FLOATS), points["image"][0].shape[1]
            outcome = Outcome(
                "common space", place, width, seed, list_values(report), seconds, 32 * width,
                scoring=FLOATS,
            )  # fmt: skip
            yield outcome, list_query_values(report)


def write_part(folder: Path, name: str, runs: Sequence[Run]) -> None:
    """Keep the runs of one training, with the values of their queries."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {
        f"{place}/{key}": values
        for place, (_, of_queries) in enumerate(runs)
        for key, values in of_queries.items()
    }
    np.savez_compressed(folder / f"{name}.npz", **arrays)
    write_text(folder / f"{name}.csv", csv_text([outcome for outcome, _ in runs]))


def read_part(folder: Path, name: str) -> list[Run]:
    """Read what `write_part` kept."""
    outcomes = read_csv((folder / f"{name}.csv").read_text(encoding="utf-8"))
    with np.load(folder / f"{name}.npz") as arrays:
        values = {key: arrays[key] for key in arrays.files}
    return [
        (
            outcome,
            {
                key.partition("/")[2]: array
                for key, array in values.items()
                if key.partition("/")[0] == str(place)
            },
        )
        for place, outcome in enumerate(outcomes)
    ]


def main() -> None:
    """Read options, measure what isn't there yet, and write the table's files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("collections", nargs="+", help="what load_collection takes")
    parser.add_argument("--methods", nargs="+", default=DEFAULT_METHODS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--emphases", type=float, nargs="*", default=[], help="pair_emphasis of further rows"
    )
    parser.add_argument("--parts", type=Path, required=True, help="folder that keeps what is done")
    parser.add_argument(
        "--kept", action="store_true", help="measure nothing: write what the folder keeps"
    )
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "asymmetric-nested.csv")
    options = parser.parse_args()
    variants: list[tuple[str, dict[str, float]]] = [(method, {}) for method in options.methods]
    variants += [("nested", {"pair_emphasis": emphasis}) for emphasis in options.emphases]
    runs: list[Run] = []
    for source in options.collections:
        for seed in options.seeds:
            for method, settings in variants:
                parts = [Path(source).name, method, *map(str, settings.values()), str(seed)]
                name = "-".join(parts)
                if not (options.parts / f"{name}.csv").exists():
                    if options.kept:
                        continue
                    measured = list(measure_method(source, seed, method, settings))
                    write_part(options.parts, name, measured)
                runs += read_part(options.parts, name)
                print(name, flush=True)
    names = [Path(source).name for source in options.collections]
    command = ["python", "-m", "benchmarks.quality.asymmetric", *names]
    seeds = sorted({outcome.seed for outcome, _ in runs})
    command += ["--methods", *options.methods, "--seeds", *map(str, seeds)]
    if options.emphases:
        command += ["--emphases", *map(str, options.emphases)]
    about = {
        "format": 1,
        "date": datetime.now(UTC).date().isoformat(),
        "command": shlex.join(command),
        "machine": describe_machine(),
        "rows": {},
        "marks": marks_json(find_marks(runs, labelled=LABELLED)),
    }
    order = [outcome.row for outcome, _ in runs]
    rows = sorted(
        (outcome for outcome, _ in runs), key=lambda one: (one.place, order.index(one.row))
    )
    write_text(options.output, csv_text(rows))
    write_json(options.output.with_suffix(".json"), about)


if __name__ == "__main__":
    main()
