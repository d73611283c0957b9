"""Measuring one direction after another, by hash codes alone or with a reranked shortlist."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.artifacts import CollectionCodes
from modalhash.choices import Scoring
from modalhash.codes import Codes, binarise, pack
from modalhash.data import Modality
from modalhash.data.collection import Positions
from modalhash.errors import FeatureError, InputError
from modalhash.index.rerank import (
    ByteFeatures,
    FeatureScorer,
    FineScorer,
    RelaxedScorer,
    RerankScore,
    Scorer,
    TwoStageRanking,
    shortlist_length,
)
from modalhash.metrics import (
    Direction,
    DirectionReport,
    MeasureChoices,
    evaluate_asymmetric,
    evaluate_direction,
    evaluate_scores,
    match_items,
)
from modalhash.metrics.options import read_choice
from modalhash.options import EvaluationOptions
from modalhash.search_request import RerankBy
from modalhash.trec import write_trec

__all__ = [
    "DirectionMeasurer",
    "Reranker",
    "RunRecorder",
    "encode_relaxed",
    "encode_rows",
    "find_owners",
    "rank_in_two_stages",
]


@dataclass(frozen=True)
class Reranker:
    """Reorders a shortlist.

    Attributes:
        shortlist: a number, "auto" or "all".
        score: what the score of finer codes is made of.
        by: what puts the shortlist in order; `auto` is finer codes.
    """

    shortlist: int | str
    score: RerankScore
    by: RerankBy = RerankBy.FINE

    @classmethod
    def from_options(cls, options: EvaluationOptions) -> "Reranker | None":
        """Read the options of an evaluation; None is plain hashing.

        Raises:
            UnknownNameError: if there is no such score, or nothing of that name to rerank by.
            InputError: if the shortlist is neither a number nor "auto" or "all", or there is none
                though `rerank_by` is given.
        """
        score = read_choice("rerank score", RerankScore, options.rerank_score)
        by = read_choice("rerank by", RerankBy, options.rerank_by)
        if options.rerank is None:
            if by is not RerankBy.AUTO:
                raise InputError(
                    f"rerank_by is {by.value}, but rerank is not given: say how long the shortlist "
                    "is, as in rerank=500 (--rerank 500)"
                )
            return None
        shortlist_length(options.rerank, 0)
        return cls(options.rerank, score, RerankBy.FINE if by is RerankBy.AUTO else by)

    def describe(self) -> dict[str, Any]:
        """Describe the reranking in a report."""
        described: dict[str, Any] = {"shortlist": self.shortlist, "by": self.by.value}
        if self.by is RerankBy.FINE:
            described["score"] = self.score.value
        return described


def find_owners(codes: CollectionCodes, modality: Modality, items: Positions) -> Positions:
    """Find the item behind each row of `encode_rows`."""
    if modality == "image":
        return items
    return codes.collection.caption_items[codes.texts_of(items)]


def encode_rows(
    codes: CollectionCodes, modality: Modality, items: Positions
) -> tuple[Codes, Positions]:
    """Encode one modality of some items.

    Returns:
        Codes, (n, p) uint8 packed, and the item behind each row, (n,) int64.
    """
    if modality == "image":
        return codes.image(items), items
    texts = codes.texts_of(items)
    return codes.text(texts), codes.collection.caption_items[texts]


def encode_relaxed(
    codes: CollectionCodes, modality: Modality, items: Positions
) -> NDArray[np.float32]:
    """Compute the relaxed codes whose signs are the codes of `encode_rows`, (n, b) float32."""
    return codes.relaxed(*find_feature_rows(codes, modality, items))


def find_feature_rows(
    codes: CollectionCodes, modality: Modality, items: Positions
) -> tuple[Positions, Modality]:
    """Find the rows of features behind `encode_rows`, and name their modality."""
    return (items if modality == "image" else codes.texts_of(items)), modality


def rank_in_two_stages(
    codes: CollectionCodes,
    queries: tuple[Modality, Positions],
    database: tuple[Modality, Positions],
    reranker: Reranker,
) -> TwoStageRanking:
    """Rank items for queries by hash codes first, and by something finer within a shortlist.

    Args:
        codes: of the collection.
        queries: modality and items of the queries.
        database: modality and items that are ranked.
        reranker: what puts the shortlist in order.

    Raises:
        FeatureError: if the model has no finer codes, or features of the two differ in width.
    """
    query_codes, database_codes = encode_rows(codes, *queries)[0], encode_rows(codes, *database)[0]
    scorer: Scorer
    match reranker.by:
        case RerankBy.RELAXED:
            scorer = RelaxedScorer(
                encode_relaxed(codes, *queries), database_codes, codes.model.n_bits
            )
        case RerankBy.FEATURES:
            scorer = make_feature_scorer(codes, queries, database)
        case _:
            scorer = FineScorer(
                codes.model.fine_books,
                codes.fine_queries(*find_feature_rows(codes, *queries)),
                codes.fine_codes(*find_feature_rows(codes, *database)),
                n_bits=codes.model.n_bits,
                score=reranker.score,
            )
    return TwoStageRanking(query_codes, database_codes, codes.model.n_bits, scorer)


def make_feature_scorer(
    codes: CollectionCodes,
    queries: tuple[Modality, Positions],
    database: tuple[Modality, Positions],
) -> FeatureScorer:
    """Compare the queries' features with those of the database, a byte a number, by cosine.

    Raises:
        FeatureError: if they differ in width, so that they can't be compared.
    """
    sides = (queries[0], database[0])
    query_width, database_width = (codes.table(modality).width for modality in sides)
    if query_width != database_width:
        raise FeatureError(
            f"features of {sides[0]}s have {query_width} numbers and those of {sides[1]}s "
            f"{database_width}: they can't be compared; rerank by relaxed, or measure directions "
            "within one modality"
        )
    query_rows, database_rows = (find_feature_rows(codes, *side)[0] for side in (queries, database))
    return FeatureScorer(
        codes.table(sides[0]).pooled(query_rows),
        ByteFeatures.of(codes.table(sides[1]).pooled(database_rows)),
    )


@dataclass(frozen=True)
class RunRecorder:
    """Writes rankings and what is relevant as files of TREC.

    Attributes:
        folder: rankings by labels lie below it in `labels`, those by pair in `pairs`.
        depth: documents of a query at most.
    """

    folder: Path
    depth: int

    def write(
        self,
        codes: CollectionCodes,
        relaxed: NDArray[np.float32],
        database_codes: Codes,
        rows: tuple[tuple[Modality, Positions], tuple[Modality, Positions]],
        settings: Mapping[str, Any],
        *,
        direction: Direction,
        scoring: Scoring,
    ) -> None:
        """Write one ranking.

        Args:
            codes: of the collection.
            relaxed: (q, b) numbers of the queries.
            database_codes: (m, p) uint8, packed.
            rows: modality and items of the queries, and of the database.
            settings: of the measures, with labels or targets.
            direction: what asks and what answers.
            scoring: what ranks.
        """
        query_ids, database_ids = (find_ids(codes, *side) for side in rows)
        names = ("query_labels", "database_labels", "query_targets")
        truth = {name: settings[name] for name in names if name in settings}
        write_trec(
            self.folder / ("pairs" if "query_targets" in truth else "labels"),
            relaxed,
            database_codes,
            codes.model.n_bits,
            query_ids=query_ids,
            database_ids=database_ids,
            direction=direction,
            scoring=scoring,
            depth=self.depth,
            **truth,
        )


def find_ids(codes: CollectionCodes, modality: Modality, items: Positions) -> list[str]:
    """Find the ids behind each row of `encode_rows`: of items, or of their texts."""
    if modality == "image":
        return [codes.collection.item_ids[item] for item in items]
    return [codes.collection.caption_ids[text] for text in codes.texts_of(items)]


@dataclass(frozen=True)
class DirectionMeasurer:
    """Measures the directions of one model on one collection.

    Attributes:
        codes: of the collection.
        directions: to measure.
        choices: settings of the measures.
        reranker: reorders a shortlist; None ranks by hash codes alone.
        scorings: what ranks items; a reranker has an order of its own instead.
        recorder: writes the rankings as files, too.
        database_codes: of the collection by the model that made what is ranked; None is `codes`.
    """

    codes: CollectionCodes
    directions: Sequence[Direction]
    choices: MeasureChoices
    reranker: Reranker | None = None
    scorings: Sequence[Scoring] = (Scoring.HAMMING,)
    recorder: RunRecorder | None = None
    database_codes: CollectionCodes | None = None

    def measure_by_labels(self, queries: Positions, ranked: Positions) -> Iterator[DirectionReport]:
        """Measure queries against ranked items by labels; nothing where nothing is ranked."""
        labels = self.codes.collection.labels
        if labels is None or not len(ranked):
            return
        rules = self.choices.get("relevances")
        label_rules = None if rules is None else [rule for rule in rules if rule != "pair"]
        choices: MeasureChoices = {**self.choices, "relevances": label_rules}
        for direction in self.directions:
            truth = {
                "query_labels": labels[find_owners(self.codes, direction.query, queries)],
                "database_labels": labels[find_owners(self.codes, direction.database, ranked)],
            }
            yield from self.measure(direction, queries, ranked, {**truth, **choices})

    def measure_by_pair(self, queries: Positions) -> Iterator[DirectionReport]:
        """Measure the directions between the modalities by pair, queries against themselves."""
        rules = self.choices.get("relevances")
        if rules is not None and "pair" not in rules:
            return
        choices: MeasureChoices = {**self.choices, "relevances": ("pair",)}
        for direction in self.directions:
            if not direction.is_within:
                targets = match_items(
                    find_owners(self.codes, direction.query, queries),
                    find_owners(self.codes, direction.database, queries),
                )
                settings = {"query_targets": targets, **choices}
                yield from self.measure(direction, queries, queries, settings)

    def measure(
        self,
        direction: Direction,
        queries: Positions,
        ranked: Positions,
        settings: Mapping[str, Any],
    ) -> Iterator[DirectionReport]:
        """Measure one direction by each scoring, or in two stages where there is a reranker."""
        query_rows, database_rows = (direction.query, queries), (direction.database, ranked)
        if self.reranker is not None:
            ranking = rank_in_two_stages(self.codes, query_rows, database_rows, self.reranker)
            n_items = len(ranking.database_codes)
            yield evaluate_scores(
                ranking.blocks(shortlist_length(self.reranker.shortlist, n_items)),
                ranking.n_queries,
                n_items,
                direction=direction,
                scoring="reranked",
                **settings,
            )
            return
        relaxed = encode_relaxed(self.codes, *query_rows)
        database_codes = encode_rows(self.database_codes or self.codes, *database_rows)[0]
        n_bits = self.codes.model.n_bits
        for scoring in self.scorings:
            if self.recorder is not None:
                rows = (query_rows, database_rows)
                self.recorder.write(
                    self.codes, relaxed, database_codes, rows, settings,
                    direction=direction, scoring=scoring,
                )  # fmt: skip
            if scoring is Scoring.ASYMMETRIC:
                yield evaluate_asymmetric(
                    relaxed, database_codes, n_bits, direction=direction, **settings
                )
            else:
                yield evaluate_direction(
                    pack(binarise(relaxed)), database_codes, n_bits, direction=direction, **settings
                )
