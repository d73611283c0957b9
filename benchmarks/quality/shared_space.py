"""Make the constants of `offline-shared` and its ready model, and measure them on a collection.

No photo and no caption of anybody takes part in the constants. Captions are made of class names in
twelve patterns; pictures are made as mixtures of up to three classes, whose scores are how alike
the classifier's rows are. What was chosen on Flickr8k's train split is the temperature, the form of
the sentence on a class, and how pictures are made.

Run it: `python -m benchmarks.quality.shared_space make`, which writes the files of the package, and
`python -m benchmarks.quality.shared_space measure flickr8k:FOLDER`, which writes the result.
"""

import argparse
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

import modalhash
import modalhash as mh
from modalhash.artifacts.ready_model import (
    READY_GRADED,
    READY_LENGTHS,
    ROTATIONS_FILE,
    ready_model,
)
from modalhash.codes import binarise, pack
from modalhash.encoders.class_names import class_sentence, make_captions, read_class_names
from modalhash.encoders.offline_image import load_lite0_weights
from modalhash.encoders.offline_shared import (
    CONSTANTS_FILE,
    OfflineSharedImageTower,
    OfflineSharedTextTower,
)
from modalhash.encoders.offline_text import OfflineTextTower
from modalhash.files import write_json
from modalhash.machine import describe_machine
from modalhash.methods.picture_directions import rotated_directions
from modalhash.metrics import DirectionReport, evaluate_direction, evaluate_scores

PACKAGE = Path(modalhash.__file__).parent
RESULTS = Path(__file__).parent.parent / "results"
Floats = NDArray[np.float32]
N_PICTURES, CLASSES_OF_A_PICTURE = 4000, 3
SHARPNESS = 3.0
"""Of made pictures: multiplies how alike a class is to those that a picture shows."""
NORMAL_ERRORS = (1.0, 0.3634, 0.1188, 0.03744, 0.01154, 0.003495)
"""Mean squared errors of the best uniform quantizers of a normal number with 0 to 5 bits."""
NORMAL_STEPS = (1.596, 0.9957, 0.586, 0.3352, 0.1881)
"""Their steps, of 1 to 5 bits. J. Max: Quantizing for minimum distortion, 1960, table II."""
TEXTS_AT_ONCE, SEED = 200, 0


def embed_texts(texts: list[str]) -> Tensor:
    """Embed texts by MiniLM, (n, 384) float32."""
    tower = OfflineTextTower()
    starts = range(0, len(texts), TEXTS_AT_ONCE)
    parts = [tower.encode(texts[start : start + TEXTS_AT_ONCE]).pooled for start in starts]
    return torch.from_numpy(np.concatenate(parts))


def make_pictures(classes: Tensor, classifier: Tensor) -> Tensor:
    """Make pictures of the shared space.

    Args:
        classes: (1000, 384) centred embeddings of classes.
        classifier: (1000, 1280) rows of the classifier.

    Returns:
        (n, 384) float64, of length 1.
    """
    rows = functional.normalize((classifier - classifier.mean(dim=0)).double(), dim=1)
    likeness = rows @ rows.T
    generator = np.random.default_rng(SEED)
    scores = torch.zeros(N_PICTURES, len(rows), dtype=torch.float64)
    for place in range(CLASSES_OF_A_PICTURE):
        shown = torch.from_numpy(generator.integers(0, len(rows), N_PICTURES))
        share = torch.from_numpy(generator.uniform(0, 1 if place else 2, N_PICTURES))
        scores += share[:, None] * likeness[shown]
    weights = functional.softmax(SHARPNESS * scores, dim=1)
    return functional.normalize(weights @ classes.double(), dim=1)


def make_constants() -> None:
    """Write the constants of the encoder and of the ready model into the package."""
    embeddings = embed_texts([class_sentence(one) for one in read_class_names()]).half()
    text_mean = embed_texts(make_captions()).mean(dim=0)
    encoder_file = PACKAGE / "encoders" / CONSTANTS_FILE
    save_file({"class_embeddings": embeddings, "text_mean": text_mean}, encoder_file)
    classes = embeddings.float() - embeddings.float().mean(dim=0)
    pictures = make_pictures(classes, load_lite0_weights()["_fc.weight"])
    rotations = {
        f"rotation_{n_bits}": rotated_directions(pictures, n_bits, SEED)[1].half().contiguous()
        for n_bits in READY_LENGTHS
        if n_bits != READY_GRADED
    }
    graded = make_graded_constants(pictures, embed_texts(make_captions()) - text_mean)
    save_file(rotations | graded, PACKAGE / "artifacts" / ROTATIONS_FILE)


def make_graded_constants(pictures: Tensor, captions: Tensor) -> dict[str, Tensor]:
    """Choose the directions of graded codes, and the bits and step of each.

    Bits go one by one to where they lessen the expected squared error of an inner product most: the
    variance of pictures in a direction, times the mean square of texts, times what a further bit
    takes from the error of a normal number.

    Args:
        pictures: (n, d) float64, made.
        captions: (m, d) centred embeddings of made captions.
    """
    centred = pictures - pictures.mean(dim=0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / (len(pictures) - 1))
    directions, deviations = vectors.flip(1), values.flip(0).clamp_min(0).sqrt().numpy()
    texts = functional.normalize(captions.double(), dim=1) @ directions
    importance = deviations**2 * texts.square().mean(dim=0).numpy()
    counts = np.zeros(len(deviations), np.int64)
    errors, steps = np.array(NORMAL_ERRORS), np.array(NORMAL_STEPS)
    for _ in range(READY_GRADED):
        is_full = counts == len(steps)
        gains = errors[counts] - errors[np.minimum(counts + 1, len(steps))]
        counts[np.argmax(np.where(is_full, -1.0, importance * gains))] += 1
    order = np.argsort(-counts, kind="stable")[: int((counts > 0).sum())]
    # The first of c bits stands for 2^(c - 2) quantizer steps.
    first = steps[counts[order] - 1] * deviations[order] * 2.0 ** (counts[order] - 2)
    return {
        "graded_directions": directions[:, order].half().contiguous(),
        "graded_counts": torch.from_numpy(counts[order]),
        "graded_steps": torch.from_numpy(first.astype(np.float32)),
    }


def measure(source: str, split: str) -> dict[str, dict[str, float]]:
    """Measure text -> image on a split with every caption as a query: floats, and codes."""
    collection = mh.load_collection(source)
    items = np.sort(collection.split(split))
    texts = np.flatnonzero(np.isin(collection.caption_items, items))
    owners = collection.caption_items[texts]
    labels = collection.labels
    assert labels is not None
    by_label = {"query_labels": labels[owners], "database_labels": labels[items]}
    by_pair = {"query_targets": np.searchsorted(items, owners)}
    rows: dict[str, dict[str, float]] = {}
    features = mh.extract_features(collection, "offline")  # both encoders share these networks
    for n_bits in READY_LENGTHS:
        model = ready_model(n_bits)
        image_tower, text_tower = model.encoder.image, model.encoder.text
        assert isinstance(image_tower, OfflineSharedImageTower)
        assert isinstance(text_tower, OfflineSharedTextTower)
        images = image_tower.mix_class_names(features.image.pooled(items))
        queries = text_tower.centre_texts(features.text.pooled(texts))
        relaxed = [
            model.relaxed_features(queries, "text"), model.relaxed_features(images, "image")
        ]  # fmt: skip
        signs = np.where(relaxed[1] >= 0, 1.0, -1.0).astype(np.float32)
        codes = [pack(binarise(one)) for one in relaxed]
        rows["floats"] = rank_by_scores(queries @ images.T, by_label, by_pair)
        rows[f"{n_bits} bits, float query"] = rank_by_scores(
            relaxed[0] @ signs.T, by_label, by_pair
        )
        rows[f"{n_bits} bits"] = read_measures(
            *(
                evaluate_direction(
                    codes[0], codes[1], n_bits, direction="text_to_image", top_k=[10, 50], **truth
                )
                for truth in (by_label, by_pair)
            )
        )
    random = np.random.default_rng(SEED).random((len(texts), len(items)), np.float32)
    rows["random order"] = rank_by_scores(random, by_label, by_pair)
    return rows


def rank_by_scores(scores: Floats, *truths: Mapping[str, Any]) -> dict[str, float]:
    """Measure a ranking by scores: MAP@50 by shared label, recall@10 by pair."""
    by_label, by_pair = (
        evaluate_scores(scores, *scores.shape, direction="text_to_image", top_k=[10, 50], **truth)
        for truth in truths
    )
    return read_measures(by_label, by_pair)


def read_measures(by_label: DirectionReport, by_pair: DirectionReport) -> dict[str, float]:
    """Read MAP@50 of one report, and recall@10 of the other."""
    values = {
        "map@50": by_label.find(
            "map", k=50, convention="truncated", relevance="shared_label"
        ).value,
        "recall@10": by_pair.find("recall", k=10).value,
    }
    return {name: round(value, 4) for name, value in values.items()}


def main() -> None:
    """Read options; make the constants, or measure and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("task", choices=["make", "measure"])
    parser.add_argument("collection", nargs="?", default="", help="what load_collection takes")
    parser.add_argument("--split", default="dev")
    options = parser.parse_args()
    if options.task == "make":
        make_constants()
        return
    rows = measure(options.collection, options.split)
    for name, values in rows.items():
        print(f"{name:22} {values}")
    name = Path(options.collection).name
    command = ["python", "-m", "benchmarks.quality.shared_space", "measure", name]
    write_json(
        RESULTS / "shared-space.json",
        {
            "format": 1,
            "date": datetime.now(UTC).date().isoformat(),
            "command": shlex.join([*command, "--split", options.split]),
            "machine": describe_machine(),
            "text_to_image": rows,
        },
    )


if __name__ == "__main__":
    main()
