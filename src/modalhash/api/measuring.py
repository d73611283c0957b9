"""The verb that measures a model."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from modalhash.api.opening import cache_folder, opened_for, opened_model
from modalhash.artifacts import (
    CaptionUse,
    CollectionCodes,
    HashModel,
)
from modalhash.codes import Codes
from modalhash.data import Collection, Modality
from modalhash.data.collection import Positions
from modalhash.errors import InputError
from modalhash.index.rerank import RerankScore, TwoStageRanking, shortlist_length
from modalhash.metrics import (
    Direction,
    DirectionReport,
    MeasureChoices,
    MeasureSettings,
    Report,
    evaluate_direction,
    evaluate_scores,
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
    rerank: int | str | None = None,
    rerank_score: str = RerankScore.FUSED,
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
        rerank: how many items nearest by Hamming distance are put in order by finer codes: a
            number, "auto" (5 %, between 500 and 5000) or "all"; None is plain hashing.
        rerank_score: "fused", of hash codes and finer codes, or "local", of finer codes alone.
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
        FeatureError: if the collection doesn't have what the model reads, or the model has no
            finer codes to rerank by.
    """
    settings = MeasureSettings.read(choices)
    score = read_choice("rerank score", RerankScore, rerank_score)
    rules = settings.relevances
    label_rules = None if rules is None else [rule for rule in rules if rule != "pair"]
    wanted = [read_choice("direction", Direction, one) for one in dict.fromkeys(directions)]
    run, model = model, opened_model(model, device)
    second = None if rerank is None else SecondStage(rerank, score)
    about: dict[str, Any] = {}
    if second is not None:
        shortlist_length(second.shortlist, 0)
        about["rerank"] = {"shortlist": second.shortlist, "score": score.value}
    if second is not None or model.has_fine_codes:
        about["storage"] = {"hash_bits": model.n_bits, "fine_bits": model.fine_books.n_bits}
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
    found: list[DirectionReport] = []
    if len(ranked):
        by_labels: MeasureChoices = {**choices, "relevances": label_rules}
        found += measured_by_labels(codes, queries, ranked, wanted, by_labels, second=second)
    if rules is None or "pair" in rules:
        by_pair: MeasureChoices = {**choices, "relevances": ("pair",)}
        found += measured_by_pair(codes, queries, wanted, by_pair, second=second)
    if not found:
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
        directions=tuple(found),
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
            **about,
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


@dataclass(frozen=True)
class SecondStage:
    """How a shortlist is put in order by finer codes.

    Attributes:
        shortlist: a number, "auto" or "all".
        score: what the score is made of.
    """

    shortlist: int | str
    score: RerankScore


def owners_of(codes: CollectionCodes, modality: str, items: Positions) -> Positions:
    """Return the item behind each row of `coded_rows`."""
    if modality == "image":
        return items
    return codes.collection.caption_items[codes.texts_of(items)]


def coded_rows(codes: CollectionCodes, modality: str, items: Positions) -> tuple[Codes, Positions]:
    """Return the codes of one modality of some items, and the item behind each."""
    if modality == "image":
        return codes.image(items), items
    texts = codes.texts_of(items)
    return codes.text(texts), codes.collection.caption_items[texts]


def feature_rows(
    codes: CollectionCodes, modality: str, items: Positions
) -> tuple[Positions, Modality]:
    """Return the rows of features behind `coded_rows`, and the modality."""
    return (items, "image") if modality == "image" else (codes.texts_of(items), "text")


def two_stages(
    codes: CollectionCodes,
    asked: tuple[str, Positions],
    answers: tuple[str, Positions],
    score: RerankScore,
) -> TwoStageRanking:
    """Return the ranking of some items for others, by hash codes and by finer codes.

    Args:
        codes: of the collection.
        asked: modality and items of the queries.
        answers: modality and items of the database.
        score: what the second stage's score is made of.

    Raises:
        FeatureError: if the model has no finer codes.
    """
    return TwoStageRanking(
        codes.model.fine_books,
        coded_rows(codes, *asked)[0],
        coded_rows(codes, *answers)[0],
        codes.model.n_bits,
        queries=codes.fine_queries(*feature_rows(codes, *asked)),
        fine=codes.fine_codes(*feature_rows(codes, *answers)),
        score=score,
    )


def measured_direction(
    codes: CollectionCodes,
    direction: Direction,
    queries: Positions,
    ranked: Positions,
    *,
    second: SecondStage | None,
    truth: Mapping[str, Any],
    choices: MeasureChoices,
) -> DirectionReport:
    """Measure one direction, by hash codes alone or in two stages."""
    asked, _, answers = direction.partition("_to_")
    if second is not None:
        ranking = two_stages(codes, (asked, queries), (answers, ranked), second.score)
        n_items = len(ranking.database_codes)
        return evaluate_scores(
            ranking.blocks(shortlist_length(second.shortlist, n_items)),
            ranking.n_queries,
            n_items,
            direction=direction,
            **truth,
            **choices,
        )
    return evaluate_direction(
        coded_rows(codes, asked, queries)[0],
        coded_rows(codes, answers, ranked)[0],
        codes.model.n_bits,
        direction=direction,
        **truth,
        **choices,
    )


def measured_by_labels(
    codes: CollectionCodes,
    queries: Positions,
    ranked: Positions,
    directions: Iterable[Direction],
    choices: MeasureChoices,
    *,
    second: SecondStage | None = None,
) -> Iterator[DirectionReport]:
    """Yield directions measured by labels: queries against the database."""
    labels = codes.collection.labels
    assert labels is not None
    for direction in directions:
        asked, _, answers = direction.partition("_to_")
        truth = {
            "query_labels": labels[owners_of(codes, asked, queries)],
            "database_labels": labels[owners_of(codes, answers, ranked)],
        }
        yield measured_direction(
            codes, direction, queries, ranked, second=second, truth=truth, choices=choices
        )


def measured_by_pair(
    codes: CollectionCodes,
    queries: Positions,
    directions: Iterable[Direction],
    choices: MeasureChoices,
    *,
    second: SecondStage | None = None,
) -> Iterator[DirectionReport]:
    """Yield the directions between modalities measured by pair: the split against itself."""
    for direction in directions:
        if direction not in CROSS_MODAL:
            continue
        asked, _, answers = direction.partition("_to_")
        owners = owners_of(codes, asked, queries), owners_of(codes, answers, queries)
        truth = {"query_targets": match_items(*owners)}
        yield measured_direction(
            codes, direction, queries, queries, second=second, truth=truth, choices=choices
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
