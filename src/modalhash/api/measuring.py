"""The verb that measures a model."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Unpack

import numpy as np

from modalhash.api.opening import cache_folder, opened_for, opened_model
from modalhash.artifacts import (
    CaptionUse,
    CollectionCodes,
    HashModel,
)
from modalhash.codes import Codes
from modalhash.data import Collection
from modalhash.data.collection import Positions
from modalhash.errors import InputError
from modalhash.metrics import (
    Direction,
    DirectionReport,
    MeasureChoices,
    MeasureSettings,
    Report,
    evaluate_direction,
    match_items,
)
from modalhash.metrics.options import read_choice
from modalhash.progress import Progress, silent

__all__ = ["CROSS_MODAL", "coded_rows", "evaluate", "evaluation_items", "query_items"]

CROSS_MODAL = (Direction.IMAGE_TO_TEXT, Direction.TEXT_TO_IMAGE)


def evaluate(
    model: HashModel | Path | str,
    collection: Collection | str | Path | None = None,
    *,
    split: str = "test",
    database: str | None = None,
    captions: CaptionUse = "first",
    directions: Sequence[str] = CROSS_MODAL,
    skip_bad: bool = False,
    cache: Path | str | None = None,
    device: str = "auto",
    progress: Progress = silent,
    **choices: Unpack[MeasureChoices],
) -> Report:
    """Measure a model as the literature does.

    Relevance by labels ranks the items of `database` for the queries of `split`. Relevance by pair
    ranks the items of `split` itself, where each query's partner is.

    Args:
        model: or its run folder.
        collection: or what `load_collection` takes; by default what the model was trained on.
        split: the queries.
        database: the split that is ranked for relevance by labels; "rest" is every item outside
            `split`. Items of `split` are left out of it. By default the split "database" if there
            is one, else "train".
        captions: each item's first text, or all of them.
        directions: of `modalhash.metrics.Direction`; within one modality there are no pairs, so
            those are measured by labels only.
        skip_bad: leave out items with defects; the log says how many.
        cache: where features are kept.
        device: "auto", "cpu", "cuda", ...
        progress: told of every batch.
        **choices: of `modalhash.metrics.MeasureSettings` (`top_k`, `conventions`, `ties`, ...).

    Returns:
        All measures of the directions. Without labels there are pair measures only, and a note.

    Raises:
        UnknownNameError: if there is no such split, or a choice isn't known.
        InputError: if there are no queries or the database is empty, relevance by labels is asked
            for and there are none, or the collection isn't known any more.
        FeatureError: if the collection doesn't have what the model reads.
    """
    settings = MeasureSettings.read(choices)
    rules = settings.relevances
    label_rules = None if rules is None else [rule for rule in rules if rule != "pair"]
    wanted = [read_choice("direction", Direction, one) for one in dict.fromkeys(directions)]
    run, model = model, opened_model(model, device)
    collection = opened_for(run, model, collection, skip_bad, progress)
    if database is None:
        database = "database" if "database" in collection.splits else "train"
    ranked = np.zeros(0, np.int64)
    notes = []
    if label_rules == [] or (label_rules is None and collection.labels is None):
        queries = query_items(collection, split)
        if label_rules is None:
            notes.append("the collection has no labels: measures by pair only")
    elif collection.labels is None:
        raise InputError(
            f"relevance by {' and '.join(label_rules or ())} needs labels, but {collection.name} "
            "has none"
        )
    else:
        queries, ranked = evaluation_items(collection, split, database)
    codes = CollectionCodes(
        model,
        collection,
        captions=captions,
        cache_folder=cache_folder(cache),
        progress=progress,
    )
    measured: list[DirectionReport] = []
    if len(ranked):
        by_labels: MeasureChoices = {**choices, "relevances": label_rules}
        measured += measured_by_labels(codes, queries, ranked, wanted, by_labels)
    if rules is None or "pair" in rules:
        by_pair: MeasureChoices = {**choices, "relevances": ("pair",)}
        measured += measured_by_pair(codes, queries, wanted, by_pair)
    if not measured:
        raise InputError(
            f"nothing can be measured of {', '.join(wanted)} without labels: pairs are of two "
            "modalities"
        )
    if n_seen := n_training_items(model, collection, queries):
        notes.append(
            f"the model was trained on {n_seen} of the {len(queries)} queries: their numbers say "
            "little about new pairs"
        )
    return Report(
        n_bits=model.n_bits,
        split=split,
        database=database if len(ranked) else None,
        counts={
            "queries": len(queries),
            "database": len(ranked),
            "query_texts": len(codes.texts_of(queries)),
            "database_texts": len(codes.texts_of(ranked)),
        },
        directions=tuple(measured),
        about={
            "method": model.record.method,
            "title": model.record.title,
            "preset": model.record.preset,
            "seed": model.record.seed,
            "encoder": model.record.encoder["name"],
            "collection": collection.name,
            "collection_fingerprint": collection.fingerprint(),
            "captions": captions,
            "model_fingerprint": model.fingerprint,
            "intervals": settings.intervals(),
        },
        notes=tuple(notes),
    )


def query_items(collection: Collection, split: str) -> Positions:
    """Return the items that ask.

    Raises:
        InputError: if there are none.
        UnknownNameError: if there is no such split.
    """
    queries = collection.split(split)
    if not len(queries):
        raise InputError(f"split {split!r} of {collection.name} has no items to ask for")
    return queries


def evaluation_items(
    collection: Collection, split: str, database: str
) -> tuple[Positions, Positions]:
    """Return the items that ask and the items that are ranked for them by labels.

    Args:
        collection: whose.
        split: the queries.
        database: what is ranked, a split or "rest"; never a query.

    Raises:
        InputError: if there are none of either.
        UnknownNameError: if there is no such split.
    """
    queries = query_items(collection, split)
    ranked = np.setdiff1d(collection.split("all" if database == "rest" else database), queries)
    if not len(ranked):
        raise InputError(
            f"nothing is left to rank: split {split!r} holds all items of database "
            f"{database!r}; name another database"
        )
    return queries, ranked


def coded_rows(codes: CollectionCodes, modality: str, items: Positions) -> tuple[Codes, Positions]:
    """Return the codes of one modality of some items, and the item behind each."""
    if modality == "image":
        return codes.image(items), items
    texts = codes.texts_of(items)
    return codes.text(texts), codes.collection.caption_items[texts]


def measured_by_labels(
    codes: CollectionCodes,
    queries: Positions,
    ranked: Positions,
    directions: Iterable[Direction],
    choices: MeasureChoices,
) -> Iterator[DirectionReport]:
    """Yield directions measured by labels: queries against the database."""
    labels = codes.collection.labels
    assert labels is not None
    for direction in directions:
        asked, _, answers = direction.partition("_to_")
        query_codes, query_owners = coded_rows(codes, asked, queries)
        ranked_codes, ranked_owners = coded_rows(codes, answers, ranked)
        yield evaluate_direction(
            query_codes,
            ranked_codes,
            codes.model.n_bits,
            direction=direction,
            query_labels=labels[query_owners],
            database_labels=labels[ranked_owners],
            **choices,
        )


def measured_by_pair(
    codes: CollectionCodes,
    queries: Positions,
    directions: Iterable[Direction],
    choices: MeasureChoices,
) -> Iterator[DirectionReport]:
    """Yield the directions between modalities measured by pair: the split against itself."""
    for direction in directions:
        if direction not in CROSS_MODAL:
            continue
        asked, _, answers = direction.partition("_to_")
        query_codes, query_owners = coded_rows(codes, asked, queries)
        ranked_codes, ranked_owners = coded_rows(codes, answers, queries)
        yield evaluate_direction(
            query_codes,
            ranked_codes,
            codes.model.n_bits,
            direction=direction,
            query_targets=match_items(query_owners, ranked_owners),
            **choices,
        )


def n_training_items(model: HashModel, collection: Collection, items: Positions) -> int:
    """Return how many of some items the model was trained on, as far as that is known."""
    trained_on = model.record.trained_on
    learned_from = np.zeros(0, np.int64)
    if trained_on["fingerprint"] == collection.fingerprint():
        split = trained_on["split"]
        if split == "all" or split in collection.splits:
            learned_from = collection.split(split)
    return len(np.intersect1d(items, learned_from))
