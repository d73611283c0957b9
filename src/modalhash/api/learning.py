"""The verbs that make features and models."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import torch

from modalhash.api.opening import cache_folder, fitted_encoder, opened
from modalhash.artifacts import (
    HashModel,
    ModelRecord,
    RunFolder,
    load_model,
    save_model,
)
from modalhash.data import Collection, Modality, write_splits
from modalhash.encoders import Encoder, Features
from modalhash.encoders import extract_features as extract_with
from modalhash.encoders.bow import BagOfWordsTower
from modalhash.encoders.devices import torch_device
from modalhash.encoders.frames import DEFAULT_FRAMES, FrameTower
from modalhash.encoders.network_towers import NetworkImageTower, NetworkTextTower
from modalhash.encoders.precomputed import PrecomputedTextTower
from modalhash.encoders.tuning import tunable_towers, tuned_folders
from modalhash.errors import FeatureError, InputError
from modalhash.methods import method_class
from modalhash.methods.base import Method, Needs, TrainingSettings
from modalhash.methods.hugged import hugged_method
from modalhash.methods.settings import configured_method, read_value
from modalhash.progress import Progress, silent
from modalhash.training import TrainingData, TrainingPlan, TrainingResult, train_method
from modalhash.training.live_features import LivePictures, LiveSide, LiveTexts

__all__ = ["AUTO", "chosen_method", "extract_features", "train"]

logger = logging.getLogger(__name__)
AUTO: Final = "auto"
WITH_LABELS, WITHOUT_LABELS, OTHERWISE = "nested-labelled", "nested", "cfrh"
"""Methods that `auto` stands for: the default where it can be trained, else one trained by
gradient through encoders and trunks of content tokens."""
SPARSITY_SAMPLE = 1000


def extract_features(
    collection: Collection | str | Path,
    encoder: str | Encoder = "offline",
    *,
    split: str = "train",
    with_tokens: bool = False,
    frames: int = DEFAULT_FRAMES,
    frame_grid: int = 0,
    cache: Path | str | None = None,
    batch_size: int | None = None,
    skip_bad: bool = False,
    device: str = "auto",
    progress: Progress = silent,
) -> Features:
    """Make the features of a collection, or open those made before.

    Args:
        collection: or what `load_collection` takes.
        encoder: a name (`modalhash.encoders.ENCODERS`), or an encoder that is loaded.
        split: whose texts an encoder that must be fitted (bag of words) is fitted on.
        with_tokens: also keep content tokens, which some methods need.
        frames: of a video at most, kept uniformly; without meaning for pictures.
        frame_grid: side of the square that the patches of a frame are pooled to, as further tokens
            of a video; 0 for none.
        cache: where features are kept; by default the user's cache folder.
        batch_size: items at once; by default what fits.
        skip_bad: leave out items with defects; the log says how many.
        device: "auto", "cpu", "cuda", ...
        progress: told of every batch.

    Returns:
        Tables that read features by rows; finished parts of an interrupted run are reused.

    Raises:
        CollectionError: if a picture can't be read, naming it.
        FeatureError: if a feature isn't finite, naming the item.
    """
    collection = opened(collection, skip_bad, progress)
    if isinstance(encoder, str):
        encoder = fitted_encoder(
            collection, encoder, split=split, device=device, frames=frames, frame_grid=frame_grid
        )
    return extract_with(
        collection,
        encoder,
        cache_folder=cache_folder(cache),
        with_tokens=with_tokens,
        batch_size=batch_size,
        progress=progress,
    )


def train(
    collection: Collection | str | Path,
    *,
    output: Path | str | None = None,
    method: str = AUTO,
    n_bits: int = 64,
    encoder: str = "offline",
    tune_encoder: bool = False,
    frames: int = DEFAULT_FRAMES,
    frame_grid: int = 0,
    split: str = "train",
    seed: int = 0,
    preset: str | None = "auto",
    hug: str | None = None,
    settings: Mapping[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    skip_bad: bool = False,
    cache: Path | str | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> HashModel:
    """Learn hash functions from the pairs of a collection.

    Args:
        collection: or what `load_collection` takes.
        output: the run folder: model, card, log, checkpoints, splits. None keeps nothing on disk.
        method: a name in `modalhash.methods.METHODS`; "auto" is what `chosen_method` says, and is
            logged.
        n_bits: bits of a code, 16 to 256 as a rule.
        encoder: a name in `modalhash.encoders.ENCODERS`.
        tune_encoder: learn the encoder's weights too, from raw pictures and texts; they are saved
            with the run. Takes an accelerator for models of usual size.
        frames: of a video at most, kept uniformly; without meaning for pictures.
        frame_grid: side of the square that the patches of a frame are pooled to, as further tokens
            of a video; 0 for none.
        split: which items to learn from.
        seed: decides everything random.
        preset: named settings of the method; "auto" takes what suits the features and says so, None
            the defaults.
        hug: align content tokens besides what the method minimises, "contrastive", by the "same"
            loss, or "plus", with finer codes to rerank by; takes tokens and a method that is
            trained by gradient and doesn't hug by itself.
        settings: changes to method, training and hug settings, by name.
        resume: go on with an interrupted run in `output`; a finished one is returned as it is.
        overwrite: start anew where `output` holds a run; it is kept until features are ready.
        skip_bad: leave out items with defects; the log says how many.
        cache: where features are kept.
        device: "auto", "cpu", "cuda", ...
        progress: told of every step.

    Returns:
        The model, loaded.

    Raises:
        InputError: if `output` holds a run and neither `resume` nor `overwrite` says what to do, or
            holds one of other settings, or the split is too small.
        FeatureError: if the method needs labels or tokens that the collection doesn't have.
        UnknownNameError, SettingError: if a name or a value is wrong.
        TrainingError: if the loss isn't finite; finished epochs are kept.
    """
    settings = dict(settings or {}) | ({"tune_encoder": True} if tune_encoder else {})
    asked = None if preset == "auto" else preset
    if method == AUTO:
        collection = opened(collection, skip_bad, progress)
        method = chosen_method(collection, split, hug=hug, settings=settings)
    the_method, training = configured(method, hug, asked, settings)
    folder = None if output is None else Path(output)
    plan = TrainingPlan(the_method, training, n_bits, seed, torch_device(device), folder)
    collection = opened(collection, skip_bad, progress)
    items = collection.split(split)
    if len(items) < 2:
        raise InputError(
            f"split {split!r} of {collection.name} has {len(items)} items: at least 2 are needed"
        )
    if Needs.LABELS in the_method.needs and collection.labels is None:
        raise FeatureError(
            f"{the_method.title} learns from labels, but {collection.name} has none: "
            "add labels.tsv, or choose an unsupervised method"
        )
    loaded = fitted_encoder(
        collection, encoder, split=split, device=device, frames=frames, frame_grid=frame_grid
    )
    if preset == "auto":
        preset = suited_preset(method_class(method), collection, loaded)
        the_method, training = configured(method, hug, preset, settings)
        plan = replace(plan, method=the_method, settings=training)
    document: dict[str, Any] = {
        "modalhash": version("modalhash"),
        "method": method,
        "preset": preset or "",
        "settings": the_method.record(),
        "training": asdict(training),
        "n_bits": n_bits,
        "seed": seed,
        "encoder": described_encoder(loaded),
        "trained_on": described_items(collection, split),
    }
    run = None if folder is None else RunFolder(folder, document)
    if run is not None:
        run.check(resume=resume, overwrite=overwrite)
        if resume and run.is_finished:
            logger.info("%s holds this run, finished: nothing to do", folder)
            return load_model(run.folder, device=device)
    live = live_sides(collection, loaded, plan.device) if training.tune_encoder else {}
    with_tokens = Needs.TOKENS in the_method.needs
    features = extract_features(
        collection,
        loaded,
        with_tokens=with_tokens and len(live) < 2,
        cache=cache,
        progress=progress,
    )
    if run is not None:
        run.begin(resume=resume)
        write_splits(collection, run.splits)
    data = TrainingData(
        features.image,
        features.text,
        collection.caption_starts,
        items,
        collection.labels if Needs.LABELS in the_method.needs else None,
        with_tokens,
        live.get("image"),
        live.get("text"),
    )
    result = train_method(plan, data, resume=resume, progress=progress)
    if live:
        document["encoder"] = document["encoder"] | described_tuning(loaded)
    record = ModelRecord(
        title=the_method.title,
        feature_dtype={"image": features.image.dtype, "text": features.text.dtype},
        towers=result.hasher.spec(),
        results=results_of(result),
        **document,
    )
    model = HashModel(result.hasher, record, device=device, encoder=loaded if live else None)
    return model if folder is None else save_model(model, folder)


def configured(
    name: str, hug: str | None, preset: str | None, settings: Mapping[str, Any]
) -> tuple[Method, TrainingSettings]:
    """Return a method with its settings, hugged if asked for, and how to train it."""
    if hug is None:
        return configured_method(method_class(name), preset=preset, changes=settings)
    return hugged_method(method_class(name), hug, preset=preset, changes=settings)


def chosen_method(
    collection: Collection,
    split: str = "train",
    *,
    hug: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> str:
    """Return the method that `auto` stands for, and say so in the log.

    It is `nested-labelled` where an item to learn from has a label, else `nested`; where content
    tokens are to be aligned or the encoder is to be tuned, which takes a method that is trained by
    gradient from end to end, `cfrh`.

    Args:
        collection: whose labels count.
        split: the items to learn from.
        hug: as `train` takes it.
        settings: as `train` takes them, `tune_encoder` among them.

    Raises:
        SettingError: if `tune_encoder` is neither true nor false.
        UnknownNameError: if there is no such split.
    """
    tunes = read_value("tune_encoder", (settings or {}).get("tune_encoder", False), bool)
    if hug is not None or tunes:
        what = "content tokens are to be aligned" if hug else "the encoder is to be tuned"
        name, reason = OTHERWISE, what
    elif collection.labels is not None and collection.labels[collection.split(split)].any():
        name, reason = WITH_LABELS, "there are labels to learn from"
    else:
        name, reason = WITHOUT_LABELS, "there are no labels to learn from"
    logger.info("method %s, as %s (--method names another)", name, reason)
    return name


def suited_preset(method: type[Method], collection: Collection, encoder: Encoder) -> str | None:
    """Return the preset that suits a collection's features, and say so in the log."""
    is_sparse = isinstance(encoder.text, BagOfWordsTower)
    if isinstance(encoder.text, PrecomputedTextTower) and "text" in collection.features:
        sample = collection.features["text"][:SPARSITY_SAMPLE]
        is_sparse = bool((sample == 0).mean() > 0.5)
    preset = method.preset_for(has_sparse_texts=is_sparse)
    if preset is not None:
        kind = "sparse" if is_sparse else "dense"
        logger.info("preset %s, as text features are %s (--preset names another)", preset, kind)
    return preset


def live_sides(
    collection: Collection, encoder: Encoder, device: torch.device
) -> dict[Modality, LiveSide]:
    """Return the sides of a collection whose towers can be tuned, by modality.

    Raises:
        SettingError: if no tower of the encoder can be tuned.
    """
    towers, sides = tunable_towers(encoder), dict[Modality, LiveSide]()
    image, text = towers.get("image"), towers.get("text")
    if isinstance(image, NetworkImageTower) and collection.pictures is not None:
        videos = encoder.image if isinstance(encoder.image, FrameTower) else None
        sides["image"] = LivePictures(image, collection.pictures, collection.n_items, videos)
    if isinstance(text, NetworkTextTower) and collection.captions is not None:
        sides["text"] = LiveTexts(text, collection.captions)
    if device.type == "cpu":
        logger.warning(
            "the encoder is tuned on the CPU, which is slow: an epoch takes several times as long "
            "as extracting the features; give --device cuda where there is one"
        )
    return sides


def described_tuning(encoder: Encoder) -> dict[str, Any]:
    """Return what a model's record says of an encoder after it was tuned."""
    before = dict(encoder.identity())
    for tower in tunable_towers(encoder).values():
        tower.hash_weights()
    return {
        "identity": dict(encoder.identity()),
        "untuned_identity": before,
        "tuned": dict(tuned_folders(encoder)),
    }


def described_encoder(encoder: Encoder) -> dict[str, Any]:
    """Return what `load_encoder` needs to give the same encoder, and how to tell that it did."""
    return {
        "name": encoder.name,
        "identity": dict(encoder.identity()),
        "image_state": dict(encoder.image.state()),
        "text_state": dict(encoder.text.state()),
    }


def described_items(collection: Collection, split: str) -> dict[str, Any]:
    """Return what a model's record says of the items it learned from."""
    items = collection.split(split)
    return {
        "collection": collection.name,
        "source": collection.source,
        "fingerprint": collection.fingerprint(),
        "split": split,
        "n_items": len(items),
        "items_sha256": hashlib.sha256(items.tobytes()).hexdigest(),
        "split_note": collection.split_note,
    }


def results_of(result: TrainingResult) -> dict[str, Any]:
    """Return what a model's record says of its training: the best epoch and the last losses."""
    best = {} if result.best_epoch is None else {"best_epoch": result.best_epoch + 1}
    last = result.log[-1] if result.log else {}
    return best | {name: last[name] for name in last if name not in ("epoch", "seconds")}
