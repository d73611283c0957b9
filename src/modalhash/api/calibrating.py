"""The verb that turns distances into probabilities of relevance."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modalhash.api.measured_directions import encode_relaxed, find_owners
from modalhash.api.opening import cache_folder, open_evaluated_collection, open_model
from modalhash.artifacts import (
    CollectionCodes,
    HashModel,
    ModelCalibration,
    read_calibration,
    write_calibration,
)
from modalhash.codes import binarise, pack
from modalhash.data import Collection
from modalhash.data.collection import Positions
from modalhash.errors import InputError
from modalhash.metrics import Direction, RelevanceRule, count_scored_pairs
from modalhash.metrics.calibration import DirectionCalibration, calibrate_direction, count_pairs
from modalhash.metrics.options import read_choice
from modalhash.numpy_numbers import takes_numpy_numbers
from modalhash.progress import Progress, automatic
from modalhash.search import is_search_index
from modalhash.seeds import check_seed

__all__ = ["calibrate", "find_calibration"]

logger = logging.getLogger(__name__)

HELD_OUT = ("dev", "validation", "val")
FEWEST_ITEMS = 50
MOST_ITEMS = 5000
MOST_QUERIES = 2000


@takes_numpy_numbers
def calibrate(
    model: HashModel | Path | str,
    collection: Collection | str | Path | None = None,
    *,
    split: str | None = None,
    relevance: str | None = None,
    directions: Sequence[str] = tuple(Direction),
    seed: int = 0,
    skip_bad: bool = False,
    cache: Path | str | None = None,
    device: str = "auto",
    progress: Progress = automatic,
) -> ModelCalibration:
    """Find out how probable relevance is at each distance, on items the model wasn't trained on.

    Held-out items ask, and held-out items are ranked: at each distance, and at each level of
    asymmetric scores, the share of relevant ones is counted, and made to fall with distance. The
    result is written beside the model; hits of an index with that model then carry `relevance`.

    Args:
        model: or its run folder, or an index folder, whose own model is calibrated then.
        collection: or what `load_collection` takes; by default what the model was trained on.
        split: the held-out items; by default "dev", "validation" or "val", else all items that
            training didn't see.
        relevance: "shared_label", or "pair": the query's own item is the relevant one; by default
            by label where there are labels.
        directions: of `modalhash.metrics.Direction`. By pair there is no image_to_image, and
            text_to_text only where items have several texts.
        seed: draws queries and items where there are many, and the halves that reliability is
            measured on.
        skip_bad: leave out items with defects; the log says how many.
        cache: where features are kept.
        device: "auto", "cpu", "cuda", ...
        progress: told of extraction.

    Returns:
        The curves with their sample sizes and their reliability.

    Raises:
        InputError: if nothing, or too little, is held out; the split holds items that the model
            was trained on; there are no labels and relevance by label is asked for; or no pair is
            relevant.
        UnknownNameError: if there is no such split, rule or direction.
        FeatureError: if the collection doesn't have what the model reads.
        StorageError: if the file system refuses.
    """
    check_seed(seed)
    if relevance is not None:
        check_rule(relevance)
    chosen = [read_choice("direction", Direction, name) for name in dict.fromkeys(directions)]
    if not chosen:
        raise InputError("directions is empty: name at least one")
    if not isinstance(model, HashModel) and is_search_index(Path(model)):
        model = Path(model) / "model"
    run, model = model, open_model(model, device)
    collection = open_evaluated_collection(run, model, collection, skip_bad, progress)
    rule = choose_rule(collection, relevance)
    held_out = find_held_out_items(model, collection, split)
    calibration = calibrate_model(
        model, collection, held_out, rule, chosen, seed=seed, cache=cache, progress=progress
    )
    if model.folder is not None:
        write_calibration(calibration, model.folder)
    return calibration


def find_calibration(
    model: HashModel,
    collection: Collection,
    *,
    cache: Path | str | None = None,
    progress: Progress = automatic,
) -> tuple[ModelCalibration | None, str]:
    """Find the calibration for an index of a collection, or make it now.

    Returns:
        What the model has if it is of this collection, else one made on what the collection holds
        out, else what the model has; and in words what it is, or why there is none.
    """
    known = None
    if model.folder is not None:
        known = read_calibration(model.folder, model.fingerprint)
    if not collection.has_texts:
        stated = f"not calibrated: {collection.name} has no texts to match its pictures with"
        return known, stated if known is None else known.stated
    if known is not None and known.collection_fingerprint == collection.fingerprint():
        return known, known.stated
    try:
        held_out = find_held_out_items(model, collection, None)
        rule = choose_rule(collection, None)
        calibration = calibrate_model(
            model, collection, held_out, rule, tuple(Direction), cache=cache, progress=progress
        )
    except InputError as error:
        return known, f"not calibrated: {error}" if known is None else known.stated
    return calibration, calibration.stated


def check_rule(relevance: str) -> RelevanceRule:
    """Check that a rule tells relevant from not, and that curves can be made by it.

    Raises:
        UnknownNameError: if there is none of that name.
        InputError: if it is another rule.
    """
    rule = read_choice("relevance", RelevanceRule, relevance)
    if rule not in (RelevanceRule.SHARED_LABEL, RelevanceRule.PAIR):
        raise InputError(f"relevance is {relevance!r}, expected shared_label or pair")
    return rule


def choose_rule(collection: Collection, relevance: str | None) -> RelevanceRule:
    """Choose the rule of relevance in a collection.

    Raises:
        InputError: if relevance by label is asked for and there are no labels.
    """
    if relevance is None:
        has_labels = collection.labels is not None
        return RelevanceRule.SHARED_LABEL if has_labels else RelevanceRule.PAIR
    rule = check_rule(relevance)
    if rule is RelevanceRule.SHARED_LABEL and collection.labels is None:
        raise InputError(f"relevance by label needs labels, but {collection.name} has none")
    return rule


@dataclass(frozen=True)
class HeldOut:
    """Items that training didn't see.

    Attributes:
        name: what they are, in words.
        items: their positions.
    """

    name: str
    items: Positions


def find_held_out_items(model: HashModel, collection: Collection, split: str | None) -> HeldOut:
    """Find the items to calibrate on.

    Raises:
        InputError: if there are too few, or the model was trained on some of the split, or it
            isn't known which it was trained on.
        UnknownNameError: if there is no such split.
    """
    seen = find_seen_items(model, collection)
    if split is not None:
        items = collection.split(split)
        if n_seen := len(np.intersect1d(items, seen)):
            raise InputError(
                f"the model was trained on {n_seen} of the {len(items)} items of split {split!r}: "
                "what it has seen says little about new pairs; name a split it hasn't seen"
            )
        check_enough(items, f"split {split!r} of {collection.name}", "name a larger split")
        return HeldOut(f"split {split}", np.sort(items))
    for name in HELD_OUT:
        items = collection.splits.get(name, np.zeros(0, np.int64))
        if len(items) >= FEWEST_ITEMS and not len(np.intersect1d(items, seen)):
            return HeldOut(f"split {name}", np.sort(items))
    rest = np.setdiff1d(np.arange(collection.n_items), seen)
    check_enough(
        rest,
        f"the part of {collection.name} not seen in training",
        advise_more_items(collection.n_items, len(rest)),
    )
    return HeldOut("not seen in training" if len(seen) else "all items", rest)


def advise_more_items(n_items: int, n_held_out: int) -> str:
    """Say how training would leave enough items to calibrate on.

    Args:
        n_items: of the collection, at least one.
        n_held_out: of them that training didn't see.
    """
    if not n_held_out:
        return "train anew with some left out (--split-file)"
    n_needed = -(-FEWEST_ITEMS * n_items // n_held_out)
    return (
        "train anew with more left out (--split-file), or on more items: divided as now, "
        f"{n_needed:,} of them leave out {FEWEST_ITEMS}"
    )


def check_enough(items: Positions, source: str, advice: str) -> None:
    """Refuse to calibrate on next to nothing.

    Args:
        items: positions of held-out items.
        source: what they are, in words.
        advice: how there would be more of them.

    Raises:
        InputError: if there are too few items.
    """
    if len(items) < FEWEST_ITEMS:
        raise InputError(
            f"{source} has {len(items)} items, at least {FEWEST_ITEMS} held-out ones are needed to "
            f"calibrate: {advice}; or calibrate on a collection that the model hasn't seen "
            "(`modalhash calibrate RUN COLLECTION`)"
        )


def find_seen_items(model: HashModel, collection: Collection) -> Positions:
    """Find the items of a collection that a model was trained on; none of another collection.

    Raises:
        InputError: if it was trained on this collection, but on a division that isn't this one.
    """
    trained_on = model.record.trained_on
    if trained_on["fingerprint"] != collection.fingerprint():
        return np.zeros(0, np.int64)
    split = str(trained_on["split"])
    items = None
    if split == "all" or split in collection.splits:
        items = collection.split(split)
    expected = trained_on.get("items_sha256")
    if items is None or expected not in (None, hashlib.sha256(items.tobytes()).hexdigest()):
        raise InputError(
            f"{collection.name} was divided otherwise when the model was trained, so it isn't "
            "known which items it has seen: divide it as then, with --split-file RUN/splits, or "
            "name no collection"
        )
    return items


def calibrate_model(
    model: HashModel,
    collection: Collection,
    held_out: HeldOut,
    rule: RelevanceRule,
    directions: Sequence[Direction],
    *,
    seed: int = 0,
    cache: Path | str | None,
    progress: Progress,
) -> ModelCalibration:
    """Fit all directions that make sense.

    Raises:
        InputError: if none does, or no pair is relevant.
    """
    generator = np.random.default_rng(seed)
    items = held_out.items
    if len(items) > MOST_ITEMS:
        items = np.sort(generator.choice(items, MOST_ITEMS, replace=False))
    first_half = np.zeros(collection.n_items, np.bool_)
    first_half[generator.permutation(items)[: len(items) // 2]] = True
    codes = CollectionCodes(model, collection, cache_folder=cache_folder(cache), progress=progress)
    relaxed = {name: encode_relaxed(codes, name, items) for name in ("image", "text")}
    curves: dict[Direction, DirectionCalibration] = {}
    asymmetric: dict[Direction, DirectionCalibration] = {}
    for direction in directions:
        query_modality, answers = direction.query, direction.database
        query_items = find_owners(codes, query_modality, items)
        database_items = find_owners(codes, answers, items)
        database_codes = pack(binarise(relaxed[answers]))
        is_within = query_modality == answers
        if rule is RelevanceRule.PAIR and is_within and len(query_items) == len(items):
            continue  # an item's only row has no partner but itself
        chosen = np.arange(len(query_items))
        if len(chosen) > MOST_QUERIES:
            chosen = np.sort(generator.choice(chosen, MOST_QUERIES, replace=False))
        query_items = query_items[chosen]
        labels = None
        if rule is RelevanceRule.SHARED_LABEL:
            assert collection.labels is not None
            labels = collection.labels[query_items], collection.labels[database_items]
        queries = relaxed[query_modality][chosen]
        shared: dict[str, Any] = {
            "query_items": query_items,
            "database_items": database_items,
            "labels": labels,
            "is_within": is_within,
        }
        by_distance = count_pairs(pack(binarise(queries)), database_codes, model.n_bits, **shared)
        by_score = count_scored_pairs(queries, database_codes, model.n_bits, **shared)
        for calibrated, counts in ((curves, by_distance), (asymmetric, by_score)):
            calibrated[direction] = calibrate_direction(
                direction, counts, rule, halves=first_half[query_items]
            )
    if not curves:
        raise InputError(
            f"nothing can be calibrated of {', '.join(directions)} by pair: pairs are of two "
            "modalities, or of several texts of an item"
        )
    return ModelCalibration(
        model_fingerprint=model.fingerprint,
        n_bits=model.n_bits,
        collection=collection.name,
        collection_fingerprint=collection.fingerprint(),
        split=held_out.name,
        n_items=len(items),
        seed=seed,
        directions=curves,
        asymmetric=asymmetric,
    )
