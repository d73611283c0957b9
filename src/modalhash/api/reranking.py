"""What longer shortlists are worth, and cost, when finer codes put them in order."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modalhash.api.measured_directions import Reranker, find_owners, rank_in_two_stages
from modalhash.api.measuring import select_evaluation_items
from modalhash.api.opening import cache_folder, open_evaluated_collection, open_model
from modalhash.artifacts import CaptionUse, CollectionCodes, HashModel
from modalhash.data import Collection
from modalhash.errors import InputError
from modalhash.index.rerank import RerankScore, TwoStageRanking, shortlist_length
from modalhash.metrics import Direction, MeasureChoices, evaluate_scores
from modalhash.metrics.options import read_choice
from modalhash.numpy_numbers import takes_numpy_numbers
from modalhash.options import CROSS_MODAL
from modalhash.progress import Progress, automatic

__all__ = ["RerankSweep", "SweepRow", "rerank_sweep"]

SHORTLISTS: tuple[int | str, ...] = (0, 50, 100, 200, 500, 1000, 2000, 5000, "all")
TIMED_QUERIES = 50


@dataclass(frozen=True)
class SweepRow:
    """One length of the shortlist in one direction.

    Attributes:
        direction: what asks and what answers.
        shortlist: items put in order by the second stage, at most the database.
        map: mean average precision at the sweep's cut-off.
        milliseconds: time of both stages a query, by the plain scan, one query at a time.
    """

    direction: str
    shortlist: int
    map: float
    milliseconds: float


@dataclass(frozen=True)
class RerankSweep:
    """What longer shortlists are worth, and cost.

    Attributes:
        rows: by direction, then by length.
        top_k: cut-off of the measure, or None for the whole list.
        relevance: what counts as relevant.
        n_bits: bits of a hash code.
        fine_bits: bits of finer codes an item, beside the hash code.
        n_database: items ranked.
        score: what the second stage's score is made of.
    """

    rows: tuple[SweepRow, ...]
    top_k: int | None
    relevance: str
    n_bits: int
    fine_bits: int
    n_database: int
    score: str

    def to_json(self) -> dict[str, Any]:
        """Describe the sweep as the document that `evaluate --rerank-sweep --json` gives."""
        return {"format": 1, **asdict(self)}


@takes_numpy_numbers
def rerank_sweep(
    model: HashModel | Path | str,
    collection: Collection | str | Path | None = None,
    *,
    split: str = "test",
    database: str | None = None,
    captions: CaptionUse = "first",
    directions: Sequence[str] = CROSS_MODAL,
    shortlists: Sequence[int | str] = SHORTLISTS,
    rerank_score: str = RerankScore.FUSED,
    relevance: str = "shared_label",
    top_k: int | None = 50,
    skip_bad: bool = False,
    cache: Path | str | None = None,
    device: str = "auto",
    progress: Progress = automatic,
) -> RerankSweep:
    """Measure rankings of two stages for several lengths of the shortlist.

    0 is plain hashing; "all" is the best that the finer codes can do.

    Args:
        model: with finer codes, or its run folder.
        collection: as for `evaluate`; it must have labels.
        split: the queries.
        database: what is ranked, as for `evaluate`.
        captions: each item's first text, or all of them.
        directions: of `modalhash.metrics.Direction`.
        shortlists: numbers, "auto" or "all"; lengths beyond the database count as all of it.
        rerank_score: "fused" or "local", see `modalhash.index.rerank.RerankScore`.
        relevance: a rule on labels.
        top_k: cut-off of mean average precision, convention `truncated`; None is the whole list.
        skip_bad: leave out items with defects.
        cache: where features are kept.
        device: "auto", "cpu", "cuda", ...
        progress: told of extraction.

    Raises:
        FeatureError: if the model has no finer codes.
        InputError: if the collection has no labels, there are no queries or no database, or a
            length is none.
        UnknownNameError: if a name isn't known.
    """
    score = read_choice("rerank score", RerankScore, rerank_score)
    chosen_directions = [
        read_choice("direction", Direction, name) for name in dict.fromkeys(directions)
    ]
    run, model = model, open_model(model, device)
    books = model.fine_books
    collection = open_evaluated_collection(run, model, collection, skip_bad, progress)
    labels = collection.labels
    if labels is None:
        raise InputError(f"a sweep needs labels, but {collection.name} has none")
    if database is None:
        database = "database" if "database" in collection.splits else "train"
    queries, ranked = select_evaluation_items(collection, split, database)
    codes = CollectionCodes(
        model, collection, captions=captions, cache_folder=cache_folder(cache), progress=progress
    )
    choices: MeasureChoices = {"relevances": (relevance,), "top_k": (top_k,), "n_threads": 1}
    rows: list[SweepRow] = []
    n_items = 0
    for direction in chosen_directions:
        query_modality, answers = direction.query, direction.database
        ranking = rank_in_two_stages(
            codes, (query_modality, queries), (answers, ranked), Reranker("all", score)
        )
        n_items = max(n_items, len(ranking.database_codes))
        lengths = dict.fromkeys(
            shortlist_length(shortlist, len(ranking.database_codes)) for shortlist in shortlists
        )
        for length in lengths:
            report = evaluate_scores(
                ranking.blocks(length),
                ranking.n_queries,
                len(ranking.database_codes),
                direction=direction,
                query_labels=labels[find_owners(codes, query_modality, queries)],
                database_labels=labels[find_owners(codes, answers, ranked)],
                **choices,
            )
            value = report.find("map", k=top_k, relevance=relevance).value
            seconds = measure_query_time(ranking, length)
            rows.append(SweepRow(direction.value, length, value, round(1000 * seconds, 3)))
    return RerankSweep(
        tuple(rows), top_k, relevance, model.n_bits, books.n_bits, n_items, score.value
    )


def measure_query_time(ranking: TwoStageRanking, length: int) -> float:
    """Measure the seconds that a query takes, the median of some."""
    seconds = []
    for query in range(min(TIMED_QUERIES, ranking.n_queries)):
        started = time.perf_counter()
        ranking.shortlist(query, length)
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))
