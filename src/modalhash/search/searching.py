"""From an encoded query to an answer: check what is wanted, find the nearest, put them in order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from modalhash.codes import Codes, code_width
from modalhash.errors import InputError, UnknownNameError
from modalhash.index import HashIndex, Ids, QueryHits, check_radius, check_top_k
from modalhash.index.filters import parse_filter
from modalhash.index.rerank import RerankScore, rerank, shortlist_length
from modalhash.metrics import RelevanceCurve
from modalhash.metrics.calibration import check_probability
from modalhash.modalities import Modality, Side
from modalhash.search.answers import Answer, Hit
from modalhash.search.parts import IndexParts
from modalhash.search.queries import EncodedQuery
from modalhash.search.reranking import KEPT, SecondStage, chosen_stage, scorer_of

__all__ = [
    "SearchPlan",
    "find_nearest",
    "find_nearest_of_all",
    "make_answer",
    "make_hit",
    "one_of",
    "plan_search",
    "rule_of",
]

Choice = TypeVar("Choice", bound=StrEnum)

USUAL_HITS = 10
NOTHING = -1
"""A radius that no item is within."""


@dataclass(frozen=True)
class SearchPlan:
    """What is wanted of a search, checked; `plan_search` makes it.

    Attributes:
        side: what is searched.
        k: hits at most; None is all within the radius.
        where: a filter; None counts all items.
        radius: largest distance; `NOTHING` if no item is near enough, None if all are.
        shortlist: items that the second stage puts in order; 0 is none.
        stage: the second stage.
        score: what its score is made of.
    """

    side: Side
    k: int | None
    where: str | None
    radius: int | None
    shortlist: int
    stage: SecondStage
    score: RerankScore


def plan_search(
    index: IndexParts,
    modality: Modality | None,
    *,
    is_encoded: bool = True,
    target: Side | str,
    k: int | None = None,
    where: str | None = None,
    radius: int | None = None,
    min_relevance: float | None = None,
    rerank: int | str = 0,
    rerank_by: str = SecondStage.AUTO,
    rerank_score: str = RerankScore.FUSED,
) -> SearchPlan:
    """Check what is wanted of a search, for `find_nearest` and `make_answer`.

    Args:
        index: that is searched.
        modality: of the query; None of a combination or a code of unknown origin.
        is_encoded: whether the encoder's output for the query is there; without it, the query
            can only be reranked by `relaxed`.
        target: what to search.
        k: as for `SearchIndex.search`, like all that follows.
        where: a filter.
        radius: largest distance.
        min_relevance: least probability.
        rerank: length of the shortlist.
        rerank_by: what puts it in order.
        rerank_score: what its score is made of.

    Raises:
        FilterError: if the filter can't be understood, marking the place.
        InputError: as for `SearchIndex.search`.
        UnknownNameError: if `rerank_by` or `rerank_score` is none.
    """
    if k is None and radius is None and min_relevance is None:
        k = USUAL_HITS
    if k is not None:
        check_top_k(k)
    side = index.side(target)
    if where is not None:
        parse_filter(where)
    radius = largest_distance(index, modality, side, radius, min_relevance)
    shortlist = shortlist_length(rerank, len(index.sides[side]))
    stage, score = (
        one_of("rerank_by", SecondStage, rerank_by),
        one_of("rerank_score", RerankScore, rerank_score),
    )
    if shortlist:
        stage = chosen_stage(
            stage,
            index.model,
            keeps_features=index.keeps_features,
            asked=modality if is_encoded else None,
            target=side.modality,
        )
    return SearchPlan(side, k, where, radius, shortlist, stage, score)


def largest_distance(
    index: IndexParts,
    modality: Modality | None,
    side: Side,
    radius: int | None,
    min_relevance: float | None,
) -> int | None:
    """Return the largest distance that is wanted; None if all are, `NOTHING` if none is.

    Raises:
        InputError: if the radius is negative, the relevance no probability, or not known.
    """
    if radius is not None:
        check_radius(radius)
    if min_relevance is None:
        return radius
    check_probability(min_relevance)
    if modality is None:
        raise InputError(
            "how relevant items are at which distance is known for single texts and pictures, "
            "not for combinations or codes of unknown origin: cut off by a radius"
        )
    curve = index.curve(modality, side)
    if curve is None:
        raise InputError(
            f"this index doesn't know how relevant {side} are at which distance: run "
            f"`modalhash calibrate {index.folder}`, or cut off by a radius"
        )
    reached = curve.radius(min_relevance, len(index.sides[side]))
    if reached is None:
        return NOTHING
    return reached if radius is None else min(radius, reached)


def find_nearest(index: IndexParts, query: EncodedQuery, plan: SearchPlan) -> QueryHits:
    """Return what is nearest by Hamming distance: the shortlist of a search, with metadata."""
    k = None if plan.k is None else max(plan.k, plan.shortlist)
    side, radius = index.sides[plan.side], plan.radius
    if k is None and radius is not None and radius >= 0:
        return side.search_radius(query.code, radius, plan.where, with_metadata=True)[0]
    hits = side.search(query.code, 1 if k is None else k, plan.where, with_metadata=True)[0]
    if radius is None:
        return hits
    n_within = int(np.searchsorted(hits.distances, radius, side="right"))
    assert hits.metadata is not None
    return QueryHits(hits.ids[:n_within], hits.distances[:n_within], hits.metadata[:n_within])


def find_nearest_of_all(
    index: IndexParts, queries: Sequence[EncodedQuery], plan: SearchPlan
) -> list[QueryHits]:
    """Return what `find_nearest` gives for each of some queries, looked for at once."""
    if plan.radius is not None or plan.k is None:
        return [find_nearest(index, query, plan) for query in queries]
    codes = np.concatenate([query.code for query in queries])
    hits = index.sides[plan.side].search(
        codes, max(plan.k, plan.shortlist), plan.where, with_metadata=True
    )
    return [hits[row] for row in range(len(queries))]


def make_answer(
    index: IndexParts, query: EncodedQuery, plan: SearchPlan, nearest: QueryHits
) -> Answer:
    """Make the answer of a shortlist, put in the order of the second stage if there is one.

    Args:
        index: that was searched.
        query: what was asked.
        plan: what is wanted.
        nearest: what `find_nearest` gave for them.

    Raises:
        InputError: if an item keeps nothing to rerank by.
        DamagedArtifactError: if what it keeps isn't what was written.
    """
    assert nearest.metadata is not None
    curve = None if query.modality is None else index.curve(query.modality, plan.side)
    probabilities = index.probabilities(curve, plan.side)
    order, scores = np.arange(len(nearest)), None
    if plan.shortlist:
        scorer = scorer_of(
            plan.stage,
            index.model,
            query,
            documents=nearest.metadata,
            codes=shortlist_codes(index, plan.stage, index.sides[plan.side], nearest.ids),
            score=plan.score,
        )
        order, scores = rerank(order, nearest.distances, scorer)
    hits = tuple(
        make_hit(
            index,
            nearest.ids[place],
            int(nearest.distances[place]),
            nearest.metadata[place],
            score=None if scores is None else float(scores[rank]),
            probabilities=probabilities,
        )
        for rank, place in enumerate(order[: plan.k].tolist())
    )
    return Answer(dict(query.stated), plan.side, index.model.n_bits, hits, rule_of(curve))


def shortlist_codes(index: IndexParts, stage: SecondStage, side: HashIndex, ids: Ids) -> Codes:
    """Return the codes of a shortlist, or none where the second stage doesn't read them."""
    if stage is SecondStage.RELAXED:
        return side.reconstruct(ids)
    return np.zeros((0, code_width(index.model.n_bits)), np.uint8)


def make_hit(
    index: IndexParts,
    identity: str | int,
    distance: int,
    metadata: Mapping[str, Any],
    *,
    score: float | None = None,
    probabilities: Sequence[float] | None = None,
) -> Hit:
    """Make one hit, with what is known of the item."""
    rest = {name: value for name, value in metadata.items() if name not in KEPT}
    caption, image = rest.pop("caption", None), rest.pop("image", None)
    if image is not None and not Path(image).is_absolute():
        image = str(index.folder / image)
    return Hit(
        identity if isinstance(identity, str) else int(identity),
        distance,
        round(1 - distance / index.model.n_bits if score is None else score, 6),
        caption or "",
        image,
        rest,
        None if probabilities is None else round(probabilities[distance], 6),
    )


def rule_of(curve: RelevanceCurve | None) -> str | None:
    """Return what a curve calls relevant."""
    return None if curve is None else curve.rule.value


def one_of(name: str, kind: type[Choice], value: str) -> Choice:
    """Return a member of an enum of texts.

    Raises:
        UnknownNameError: if the value is none, listing those there are.
    """
    if value not in list(kind):
        raise UnknownNameError(name, value, [one.value for one in kind])
    return kind(value)
