"""The verb that measures a model."""

from functools import partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from modalhash.api.measured_directions import DirectionMeasurer, Reranker, RunRecorder
from modalhash.api.opening import open_evaluated_collection, open_model, require_texts
from modalhash.artifacts import CollectionCodes, HashModel
from modalhash.choices import Scoring
from modalhash.data import Collection
from modalhash.data.collection import Positions
from modalhash.errors import ArtifactError, InputError, UnknownNameError
from modalhash.metrics import Direction, MeasureSettings, Report
from modalhash.metrics.options import read_choice
from modalhash.numpy_numbers import takes_numpy_numbers
from modalhash.options import EvaluationChoices, EvaluationOptions, change_options
from modalhash.search_request import RerankBy

__all__ = ["default_database", "evaluate", "select_evaluation_items", "select_queries"]

BOTH = "both"
"""Measures every scoring."""
TRAIN_ONLY = (
    "every item is in 'train': keep some out of training by splits of your own or with --protocol, "
    "or measure on the training items with --split train"
)
NO_DATABASE = (
    "by labels, the queries are compared with the items of another split: name it with --database"
)


@takes_numpy_numbers
def evaluate(
    model: HashModel | Path | str,
    collection: Collection | str | Path | None = None,
    *,
    split: str = "test",
    options: EvaluationOptions | None = None,
    **choices: Unpack[EvaluationChoices],
) -> Report:
    """Measure a model as the literature does.

    Relevance by labels ranks the items of the database for the queries of `split`. Relevance by
    pair ranks the items of `split` itself, where each query's partner is.

    Args:
        model: or its run folder.
        collection: or what `load_collection` takes; by default what the model was trained on.
        split: the queries.
        options: database, captions, directions, scoring, reranking, cache and device.
        **choices: fields of `modalhash.options.EvaluationOptions`, which change `options`, and
            fields of `modalhash.metrics.MeasureSettings` (`top_k`, `conventions`, `ties`, ...).

    Returns:
        All measures of the directions, by Hamming distance and with queries that keep their
        numbers; `Measure.scoring` says which. Without labels there are pair measures only, and a
        note.

    Raises:
        UnknownNameError: if there is no such split, or a choice isn't known.
        InputError: if there are no queries or the database is empty, relevance by labels is
            requested for a collection without labels, or the collection isn't known any more.
        FeatureError: if the collection doesn't have what the model reads, or the model has no
            finer codes to rerank by.
        ArtifactError: if `database_model` isn't compatible with the model.
    """
    options = change_options(EvaluationOptions, options, choices)
    settings = MeasureSettings.read(options.measures)
    directions = [
        read_choice("direction", Direction, name) for name in dict.fromkeys(options.directions)
    ]
    reranker = Reranker.from_options(options)
    if options.trec is not None and reranker is not None:
        raise InputError(
            "trec and rerank are given: runs are written of rankings by codes; leave out one"
        )
    scorings = read_scorings(options)
    run, model = model, open_model(model, options.device)
    database_model = open_database_model(model, options)
    storage = describe_storage(model, reranker)
    collection = open_evaluated_collection(
        run, model, collection, options.skip_bad, options.progress
    )
    if any("text" in (direction.query, direction.database) for direction in directions):
        require_texts(collection, "these directions match pictures with texts")
    database = options.database or default_database(collection)
    queries, ranked = select_items(collection, split, database, settings)
    make_codes = partial(
        CollectionCodes,
        collection=collection,
        captions=options.captions,
        cache_folder=options.cache_folder,
        progress=options.progress,
    )
    codes = make_codes(model)
    database_codes = None if database_model is None else make_codes(database_model)
    recorder = None if options.trec is None else RunRecorder(Path(options.trec), options.trec_depth)
    measurer = DirectionMeasurer(
        codes,
        directions,
        options.measures,
        reranker,
        scorings,
        recorder=recorder,
        database_codes=database_codes,
    )
    reports = [
        *measurer.measure_by_labels(queries, ranked),
        *measurer.measure_by_pair(queries),
    ]
    if not reports:
        raise InputError(
            f"nothing can be measured of {', '.join(directions)} without labels: pairs are of two "
            "modalities"
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
        directions=tuple(reports),
        about={
            **describe_model(model),
            "collection": collection.name,
            "collection_fingerprint": collection.fingerprint(),
            "captions": options.captions,
            "model_fingerprint": model.fingerprint,
            **describe_database_model(database_model),
            "intervals": settings.intervals(),
            **storage,
        },
        notes=(
            *list_notes(model, collection, queries, settings),
            *note_database_model(database_model),
        ),
    )


def open_database_model(model: HashModel, options: EvaluationOptions) -> HashModel | None:
    """Load the model that makes the codes of what is ranked, if it is another one.

    Raises:
        ArtifactError: if neither model is compatible with the other.
        InputError: if a reranking is chosen too, which reads finer codes of one model.
    """
    if options.database_model is None:
        return None
    other = open_model(options.database_model, options.device)
    if not (
        model.searches_codes_of(other.fingerprint) or other.searches_codes_of(model.fingerprint)
    ):
        raise ArtifactError(
            f"the models {model.fingerprint[:12]} of the queries and {other.fingerprint[:12]} of "
            "the database aren't compatible, so their distances mean nothing: train the newer one "
            "with --compatible-with"
        )
    if options.rerank is not None:
        raise InputError(
            "database_model and rerank are given, but finer codes of two models don't compare: "
            "leave out one of the two"
        )
    return other


def describe_database_model(model: HashModel | None) -> dict[str, Any]:
    """Describe, in a report, the model that made what is ranked, where it is another one."""
    if model is None:
        return {}
    return {
        "database_model_fingerprint": model.fingerprint,
        "database_encoder": model.record.encoder["name"],
    }


def note_database_model(model: HashModel | None) -> list[str]:
    """Note that another model made what is ranked, if one did."""
    if model is None:
        return []
    note = (
        f"what is ranked was encoded by another model ({model.record.title}, encoder "
        f"{model.record.encoder['name']!r}, fingerprint {model.fingerprint[:12]})"
    )
    return [note]


def read_scorings(options: EvaluationOptions) -> tuple[Scoring, ...]:
    """Read what ranks items, Hamming distance first.

    Raises:
        UnknownNameError: if there is no such scoring.
        InputError: if one is chosen beside a reranking, which has an order of its own.
    """
    if options.scoring == BOTH:
        return (Scoring.HAMMING, Scoring.ASYMMETRIC)
    if options.scoring not in list(Scoring):
        raise UnknownNameError("scoring", str(options.scoring), [*Scoring, BOTH])
    if options.rerank is not None and options.scoring == Scoring.ASYMMETRIC:
        raise InputError(
            "scoring is asymmetric and rerank is given: a reranked shortlist is by Hamming "
            "distance; leave out one of the two"
        )
    return (Scoring(options.scoring),)


def default_database(collection: Collection) -> str:
    """Name the split that is ranked by default: "database" if there is one, else "train"."""
    return "database" if "database" in collection.splits else "train"


def label_rules(settings: MeasureSettings) -> list[str] | None:
    """List the requested rules of relevance that read labels; None if every rule may be used."""
    return None if settings.relevances is None else [r for r in settings.relevances if r != "pair"]


def select_items(
    collection: Collection, split: str, database: str, settings: MeasureSettings
) -> tuple[Positions, Positions]:
    """Select the queries, and the items that are ranked by labels; none of these without labels.

    Raises:
        InputError: if there are no queries or nothing to rank, or rules of relevance need labels
            that the collection doesn't have.
        UnknownNameError: if there is no such split.
    """
    rules = label_rules(settings)
    if rules and collection.labels is None:
        raise InputError(
            f"relevance by {' and '.join(rules)} needs labels, but {collection.name} has none"
        )
    if rules == [] or collection.labels is None:
        return select_queries(collection, split), np.zeros(0, np.int64)
    return select_evaluation_items(collection, split, database)


def select_queries(collection: Collection, split: str) -> Positions:
    """Select the items of a split as queries.

    Raises:
        InputError: if the split is empty.
        UnknownNameError: if there is no such split.
    """
    advice = TRAIN_ONLY if list(collection.splits) == ["train"] else ""
    queries = collection.split(split, advice=advice)
    if not len(queries):
        raise InputError(f"split {split!r} of {collection.name} has no items to use as queries")
    return queries


def select_evaluation_items(
    collection: Collection, split: str, database: str
) -> tuple[Positions, Positions]:
    """Select the queries and the items that are ranked for them by labels.

    Args:
        collection: whose items are selected.
        split: the queries.
        database: what is ranked, a split or "rest"; queries are left out of it.

    Raises:
        InputError: if there are no queries, or nothing is left to rank.
        UnknownNameError: if there is no such split.
    """
    queries = select_queries(collection, split)
    name = "all" if database == "rest" else database
    items = collection.split(name, advice=NO_DATABASE if database == "train" else "")
    ranked = np.setdiff1d(items, queries)
    if not len(ranked):
        raise InputError(
            f"nothing is left to rank: split {split!r} holds all items of database "
            f"{database!r}; name another database"
        )
    return queries, ranked


def describe_model(model: HashModel) -> dict[str, Any]:
    """Describe a model in a report: how it was trained."""
    record = model.record
    return {
        "method": record.method,
        "title": record.title,
        "preset": record.preset,
        "seed": record.seed,
        "encoder": record.encoder["name"],
    }


def describe_storage(model: HashModel, reranker: Reranker | None) -> dict[str, Any]:
    """Describe the reranking and what an item takes, where a model has finer codes."""
    described: dict[str, Any] = {}
    if reranker is not None:
        described["rerank"] = reranker.describe()
    reads_fine_codes = reranker is not None and reranker.by is RerankBy.FINE
    if reads_fine_codes or model.has_fine_codes:
        described["storage"] = {"hash_bits": model.n_bits, "fine_bits": model.fine_books.n_bits}
    return described


def list_notes(
    model: HashModel, collection: Collection, queries: Positions, settings: MeasureSettings
) -> list[str]:
    """List what a reader of the numbers has to know."""
    notes = []
    if collection.labels is None and label_rules(settings) is None:
        notes.append("the collection has no labels: measures by pair only")
    if n_seen := count_training_items(model, collection, queries):
        notes.append(
            f"the model was trained on {n_seen} of the {len(queries)} queries: their numbers say "
            "little about new pairs"
        )
    return notes


def count_training_items(model: HashModel, collection: Collection, items: Positions) -> int:
    """Count the items that a model was trained on, as far as that is known."""
    trained_on = model.record.trained_on
    split = trained_on["split"]
    is_known = trained_on["fingerprint"] == collection.fingerprint()
    if not is_known or (split != "all" and split not in collection.splits):
        return 0
    return len(np.intersect1d(items, collection.split(split)))
