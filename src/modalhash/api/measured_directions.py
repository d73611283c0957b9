"""Measuring one direction after another, by hash codes alone or with a reranked shortlist."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modalhash.artifacts import CollectionCodes
from modalhash.codes import Codes
from modalhash.data import Modality
from modalhash.data.collection import Positions
from modalhash.index.rerank import RerankScore, TwoStageRanking, shortlist_length
from modalhash.metrics import (
    Direction,
    DirectionReport,
    MeasureChoices,
    evaluate_direction,
    evaluate_scores,
    match_items,
)
from modalhash.metrics.options import read_choice
from modalhash.options import CROSS_MODAL, EvaluationOptions

__all__ = [
    "Reranker",
    "encode_rows",
    "find_owners",
    "measure_by_labels",
    "measure_by_pair",
    "rank_in_two_stages",
]


@dataclass(frozen=True)
class Reranker:
    """Reorders a shortlist by finer codes.

    Attributes:
        shortlist: a number, "auto" or "all".
        score: what the score is made of.
    """

    shortlist: int | str
    score: RerankScore

    @classmethod
    def from_options(cls, options: EvaluationOptions) -> "Reranker | None":
        """Read the options of an evaluation; None is plain hashing.

        Raises:
            UnknownNameError: if there is no such score.
            InputError: if the shortlist is neither a number nor "auto" or "all".
        """
        score = read_choice("rerank score", RerankScore, options.rerank_score)
        if options.rerank is None:
            return None
        shortlist_length(options.rerank, 0)
        return cls(options.rerank, score)

    def describe(self) -> dict[str, Any]:
        """Describe the reranking in a report."""
        return {"shortlist": self.shortlist, "score": self.score.value}


def find_owners(codes: CollectionCodes, modality: str, items: Positions) -> Positions:
    """Find the item behind each row of `encode_rows`."""
    if modality == "image":
        return items
    return codes.collection.caption_items[codes.texts_of(items)]


def encode_rows(codes: CollectionCodes, modality: str, items: Positions) -> tuple[Codes, Positions]:
    """Encode one modality of some items.

    Returns:
        Codes, (n, p) uint8 packed, and the item behind each row, (n,) int64.
    """
    if modality == "image":
        return codes.image(items), items
    texts = codes.texts_of(items)
    return codes.text(texts), codes.collection.caption_items[texts]


def find_feature_rows(
    codes: CollectionCodes, modality: str, items: Positions
) -> tuple[Positions, Modality]:
    """Find the rows of features behind `encode_rows`, and name their modality."""
    return (items, "image") if modality == "image" else (codes.texts_of(items), "text")


def rank_in_two_stages(
    codes: CollectionCodes,
    queries: tuple[str, Positions],
    database: tuple[str, Positions],
    score: RerankScore,
) -> TwoStageRanking:
    """Rank items for queries by hash codes first, and by finer codes within a shortlist.

    Args:
        codes: of the collection.
        queries: modality and items of the queries.
        database: modality and items that are ranked.
        score: what the score of the second stage is made of.

    Raises:
        FeatureError: if the model has no finer codes.
    """
    return TwoStageRanking(
        codes.model.fine_books,
        encode_rows(codes, *queries)[0],
        encode_rows(codes, *database)[0],
        codes.model.n_bits,
        queries=codes.fine_queries(*find_feature_rows(codes, *queries)),
        fine=codes.fine_codes(*find_feature_rows(codes, *database)),
        score=score,
    )


@dataclass(frozen=True)
class DirectionRequest:
    """One direction to measure.

    Attributes:
        codes: of the collection.
        direction: which modality queries which.
        queries: items that are queries.
        ranked: items that are ranked.
    """

    codes: CollectionCodes
    direction: Direction
    queries: Positions
    ranked: Positions

    @property
    def query_side(self) -> tuple[str, Positions]:
        """Modality and items of the queries."""
        return self.direction.partition("_to_")[0], self.queries

    @property
    def database_side(self) -> tuple[str, Positions]:
        """Modality and items that are ranked."""
        return self.direction.partition("_to_")[2], self.ranked

    def measure(
        self, truth: Mapping[str, Any], choices: MeasureChoices, reranker: Reranker | None
    ) -> DirectionReport:
        """Measure by hash codes, or in two stages where there is a reranker."""
        if reranker is None:
            return evaluate_direction(
                encode_rows(self.codes, *self.query_side)[0],
                encode_rows(self.codes, *self.database_side)[0],
                self.codes.model.n_bits,
                direction=self.direction,
                **truth,
                **choices,
            )
        ranking = rank_in_two_stages(
            self.codes, self.query_side, self.database_side, reranker.score
        )
        n_items = len(ranking.database_codes)
        return evaluate_scores(
            ranking.blocks(shortlist_length(reranker.shortlist, n_items)),
            ranking.n_queries,
            n_items,
            direction=self.direction,
            **truth,
            **choices,
        )


def measure_by_labels(
    codes: CollectionCodes,
    queries: Positions,
    ranked: Positions,
    directions: Iterable[Direction],
    choices: MeasureChoices,
    reranker: Reranker | None = None,
) -> Iterator[DirectionReport]:
    """Measure directions by labels, queries against the database; none if nothing is ranked."""
    labels = codes.collection.labels
    if labels is None or not len(ranked):
        return
    rules = choices.get("relevances")
    by_labels: MeasureChoices = {
        **choices,
        "relevances": None if rules is None else [rule for rule in rules if rule != "pair"],
    }
    for direction in directions:
        request = DirectionRequest(codes, direction, queries, ranked)
        truth = {
            "query_labels": labels[find_owners(codes, *request.query_side)],
            "database_labels": labels[find_owners(codes, *request.database_side)],
        }
        yield request.measure(truth, by_labels, reranker)


def measure_by_pair(
    codes: CollectionCodes,
    queries: Positions,
    directions: Iterable[Direction],
    choices: MeasureChoices,
    reranker: Reranker | None = None,
) -> Iterator[DirectionReport]:
    """Measure the directions between the modalities by pair, the queries' split against itself."""
    rules = choices.get("relevances")
    if rules is not None and "pair" not in rules:
        return
    by_pair: MeasureChoices = {**choices, "relevances": ("pair",)}
    for direction in directions:
        if direction in CROSS_MODAL:
            request = DirectionRequest(codes, direction, queries, queries)
            owners = (
                find_owners(codes, *request.query_side),
                find_owners(codes, *request.database_side),
            )
            truth = {"query_targets": match_items(*owners)}
            yield request.measure(truth, by_pair, reranker)
