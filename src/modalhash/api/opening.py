"""Find what a verb was given: collections, models, encoders."""

import hashlib
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from modalhash.artifacts import (
    HashModel,
    RunFolder,
    load_model,
    ready_model,
)
from modalhash.artifacts.ready_model import read_ready_name
from modalhash.data import Collection, Frames, load_collection, read_split_file
from modalhash.encoders import Encoder, EncoderFactory, encoder_name, load_encoder
from modalhash.encoders.frames import DEFAULT_FRAMES, FrameTower
from modalhash.encoders.precomputed import PrecomputedImageTower, PrecomputedTextTower
from modalhash.errors import FeatureError, InputError
from modalhash.progress import Progress

__all__ = [
    "cache_folder",
    "fit_encoder",
    "open_collection",
    "open_evaluated_collection",
    "open_model",
    "require_texts",
]

logger = logging.getLogger(__name__)


def open_collection(
    collection: Collection | str | Path, skip_bad: bool, progress: Progress
) -> Collection:
    """Open a collection by its name; a collection is returned as it is."""
    if isinstance(collection, Collection):
        return collection
    return load_collection(collection, skip_bad=skip_bad, progress=progress)


def require_texts(collection: Collection, purpose: str) -> None:
    """Refuse a collection of pictures without texts.

    Args:
        collection: what was given.
        purpose: what needs texts ("LSH learns from pairs of pictures and texts").

    Raises:
        FeatureError: naming the way out.
    """
    if not collection.has_texts:
        raise FeatureError(
            f"{purpose}, and {collection.name} has pictures only: write captions.tsv with the "
            "columns image and caption, or encode and index the pictures with a trained model, or "
            "search them with the ready model, offline-shared"
        )


def open_model(model: HashModel | Path | str, device: str) -> HashModel:
    """Load a model from its folder, or the ready model of a name; a model is returned as it is.

    A folder that has the name of a ready model is taken for a folder.
    """
    if isinstance(model, HashModel):
        return model
    n_bits = read_ready_name(model) if isinstance(model, str) else None
    if n_bits is None or Path(model).is_dir():
        return load_model(model, device=device)
    return ready_model(n_bits, device=device)


def cache_folder(cache: Path | str | None) -> Path | None:
    """Name the folder that keeps features; None is the user's cache folder."""
    return None if cache is None else Path(cache)


def open_evaluated_collection(
    run: HashModel | Path | str,
    model: HashModel,
    collection: Collection | str | Path | None,
    skip_bad: bool,
    progress: Progress,
) -> Collection:
    """Open the named collection, or else the one a model was trained on, divided as then.

    Args:
        run: the model or its folder, as it was given.
        model: what that is.
        collection: what was named, if anything was.
        skip_bad: leave out items with defects.
        progress: is told of the check that this makes.

    Raises:
        InputError: if the model doesn't know it, or it is divided otherwise now and the run folder,
            which holds the splits, isn't given.
    """
    if collection is not None:
        return open_collection(collection, skip_bad, progress)
    collection_of_model = open_collection(find_source(model), skip_bad, progress)
    trained_on = model.record.trained_on
    if trained_on["fingerprint"] != collection_of_model.fingerprint():
        logger.warning("%s has changed since the model was trained on it", collection_of_model.name)
        return collection_of_model
    if not isinstance(run, HashModel) and RunFolder(Path(run), {}).splits.is_dir():
        divided = read_split_file(collection_of_model, RunFolder(Path(run), {}).splits)
        return replace(divided, split_note=str(trained_on["split_note"]))
    split = str(trained_on["split"])
    items = (
        collection_of_model.splits.get(split)
        if split != "all"
        else collection_of_model.split(split)
    )
    if items is None or hashlib.sha256(items.tobytes()).hexdigest() != trained_on["items_sha256"]:
        raise InputError(
            f"{collection_of_model.name} was divided otherwise when the model was trained "
            f"({trained_on['split_note']}): give the run folder, which holds the splits, or the "
            "collection divided as it was"
        )
    return collection_of_model


def find_source(model: HashModel) -> str:
    """Find the source of the collection that a model was trained on.

    Raises:
        InputError: if the model doesn't know.
    """
    source = str(model.record.trained_on["source"])
    if not source:
        raise InputError("the model doesn't say where its collection is: name the collection")
    return source


def fit_encoder(
    collection: Collection,
    encoder: str | type[EncoderFactory] | Encoder,
    *,
    split: str,
    device: str,
    frames: int = DEFAULT_FRAMES,
    frame_grid: int = 0,
) -> Encoder:
    """Load an encoder and fit it to a collection.

    Its text tower is fitted on the texts of a split if it must be; towers of `precomputed` know
    the width of the collection's arrays; where the collection holds videos, the image tower reads
    `frames` of each, and `frame_grid` squared patches of each frame.
    """
    if not isinstance(encoder, Encoder):
        encoder = load_encoder(encoder_name(encoder), device=device)
    image, text, brought = encoder.image, encoder.text, collection.features
    if isinstance(image, PrecomputedImageTower) and "image" in brought:
        has_tokens = "image" in collection.tokens
        image = PrecomputedImageTower(brought["image"].shape[1], frames if has_tokens else 0)
    elif isinstance(collection.pictures, Frames):
        image = FrameTower(image, frames, frame_grid)
    if isinstance(text, PrecomputedTextTower) and "text" in brought:
        text = PrecomputedTextTower(brought["text"].shape[1])
    if collection.captions:
        is_wanted = np.isin(collection.caption_items, collection.split(split))
        text = text.fit([collection.captions[row] for row in np.flatnonzero(is_wanted)])
    return Encoder(encoder.name, image, text)
