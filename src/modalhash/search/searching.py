"""From a plan to an answer: find the best items, put them in order, make hits."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from modalhash.codes import Codes, code_width
from modalhash.errors import InputError
from modalhash.index import HashIndex, Ids, QueryHits
from modalhash.index.rerank import rerank
from modalhash.metrics import score_levels
from modalhash.search.answers import Answer, Hit, plain_id
from modalhash.search.explaining import explain_items, measure_profile
from modalhash.search.filter_fields import check_filter_fields
from modalhash.search.grading import grade_hits
from modalhash.search.kept_features import KEPT_NAMES
from modalhash.search.moments import (
    is_moment,
    keep_best_of_videos,
    locate_moment,
    locate_videos,
)
from modalhash.search.parts import IndexParts
from modalhash.search.planning import NOTHING, SearchPlan
from modalhash.search.queries import EncodedQuery
from modalhash.search.reranking import make_scorer
from modalhash.search.strength import Strength, weaken
from modalhash.search_request import RerankBy, Scoring

__all__ = [
    "explain_hits",
    "find_nearest",
    "find_nearest_of_all",
    "make_answer",
    "make_hit",
]

logger = logging.getLogger(__name__)

WIDER = 4
"""How many times as many items are looked at, until there are moments of enough videos."""


def find_nearest(index: IndexParts, query: EncodedQuery, plan: SearchPlan) -> QueryHits:
    """Find the best items by the scoring of the plan: the shortlist of a search, with metadata.

    The item that asks is left out.
    """
    (nearest,) = find_nearest_of_all(index, [query], plan)
    return nearest


def find_nearest_of_all(
    index: IndexParts, queries: Sequence[EncodedQuery], plan: SearchPlan
) -> list[QueryHits]:
    """Find what `find_nearest` finds for each of some queries, in one search of the index.

    Raises:
        InputError: if a number of a query isn't finite.
    """
    if plan.group_by is not None and plan.k is not None and not plan.shortlist:
        return [find_best_of_videos(index, query, plan) for query in queries]
    find = find_by_score if plan.keeps_numbers and plan.radius != NOTHING else find_by_distance
    nearest = find(index.sides[plan.side], queries, plan)
    return [leave_item_out(*pair, plan) for pair in zip(nearest, queries, strict=True)]


def find_by_distance(
    side: HashIndex, queries: Sequence[EncodedQuery], plan: SearchPlan
) -> list[QueryHits]:
    """Find the nearest items of codes by Hamming distance; with scores if these are wanted."""
    codes = np.concatenate([query.code for query in queries])
    if plan.k is None and plan.radius is not None and plan.radius >= 0:
        within = side.search_radius(codes, plan.radius, plan.where, with_metadata=True)
        nearest = [within[row] for row in range(len(queries))]
    else:
        hits = side.search(codes, count_wanted(queries, plan), plan.where, with_metadata=True)
        nearest = [select_within(hits[row], plan.radius) for row in range(len(queries))]
    if plan.scoring is Scoring.HAMMING:
        return nearest
    # A code alone has numbers of one size, so its scores follow from the distances.
    n_bits = side.n_bits
    return [
        replace(hits, scores=(1 - 2 * hits.distances / n_bits).astype(np.float32))
        for hits in nearest
    ]


def find_by_score(
    side: HashIndex, queries: Sequence[EncodedQuery], plan: SearchPlan
) -> list[QueryHits]:
    """Find the best items of queries that keep their numbers."""
    relaxed = np.concatenate([query.relaxed for query in queries])
    if plan.k is None or plan.radius is not None:
        within = side.search_radius(
            relaxed, plan.radius, plan.where, min_score=plan.min_score, with_metadata=True
        )
        nearest = [within[row] for row in range(len(queries))]
    else:
        hits = side.search(relaxed, count_wanted(queries, plan), plan.where, with_metadata=True)
        nearest = [hits[row] for row in range(len(queries))]
    return [select_scored(hits, plan, side.n_bits) for hits in nearest]


def select_scored(hits: QueryHits, plan: SearchPlan, n_bits: int) -> QueryHits:
    """Select the hits whose scores are large enough for the plan."""
    assert hits.scores is not None
    is_kept = np.ones(len(hits), np.bool_)
    if plan.min_score is not None:
        is_kept &= hits.scores >= plan.min_score
    if plan.last_level is not None:
        is_kept &= score_levels(hits.scores, n_bits) <= plan.last_level
    return hits if is_kept.all() else select_hits(hits, is_kept)


def count_wanted(queries: Sequence[EncodedQuery], plan: SearchPlan) -> int:
    """Count the items to find: one more where the item that asks may be among them."""
    k = 1 if plan.k is None else max(plan.k, plan.shortlist)
    return k + any(is_own_item(query, plan) for query in queries)


def find_best_of_videos(index: IndexParts, query: EncodedQuery, plan: SearchPlan) -> QueryHits:
    """Find the nearest `k` videos by their best moments, among ever more items."""
    assert plan.k is not None
    n_items, wide = len(index.sides[plan.side]), plan.k
    while True:
        wide = min(max(1, n_items), WIDER * wide)
        (hits,) = find_nearest_of_all(
            index, [query], replace(plan, k=wide, shortlist=0, group_by=None)
        )
        best = group_hits(hits)
        if len(best) >= plan.k or wide >= n_items or len(hits) < wide - 1:
            return select_hits(best, np.arange(len(best)) < plan.k)


def group_hits(hits: QueryHits) -> QueryHits:
    """Select the best hit of each video."""
    assert hits.metadata is not None
    return select_hits(hits, keep_best_of_videos(hits.ids.tolist(), hits.metadata))


def is_own_item(query: EncodedQuery, plan: SearchPlan) -> bool:
    """Tell whether the item that asks is among those that are searched."""
    return query.item is not None and query.item[0] is plan.side


def select_within(hits: QueryHits, radius: int | None) -> QueryHits:
    """Select the hits within a radius; None is no bound."""
    return hits if radius is None else select_hits(hits, hits.distances <= radius)


def leave_item_out(hits: QueryHits, query: EncodedQuery, plan: SearchPlan) -> QueryHits:
    """Select up to as many hits as are planned, without the item that asks."""
    limit = None if plan.k is None else max(plan.k, plan.shortlist)
    is_kept = np.ones(len(hits), np.bool_)
    if query.item is not None and is_own_item(query, plan):
        is_kept = np.array([plain_id(identity) != query.item[1] for identity in hits.ids], np.bool_)
    if limit is not None:
        is_kept &= np.cumsum(is_kept) <= limit
    return hits if is_kept.all() else select_hits(hits, is_kept)


def select_hits(hits: QueryHits, is_kept: Any) -> QueryHits:
    """Select some of the hits of a query, (n,) bool, in their order."""
    assert hits.metadata is not None
    rows = np.flatnonzero(is_kept)
    documents = [hits.metadata[row] for row in rows.tolist()]
    scores = None if hits.scores is None else hits.scores[rows]
    return QueryHits(hits.ids[rows], hits.distances[rows], documents, scores)


def make_answer(
    index: IndexParts, query: EncodedQuery, plan: SearchPlan, nearest: QueryHits
) -> Answer:
    """Make the answer of a shortlist, put in the order of the second stage if there is one.

    Args:
        index: that was searched.
        query: that was searched for.
        plan: of the search.
        nearest: what `find_nearest` found.

    Raises:
        FilterError: if the filter names a field that no item has.
        InputError: if an item keeps nothing to rerank by.
        DamagedArtifactError: if what it keeps isn't what was written.
    """
    assert nearest.metadata is not None
    if plan.where is not None:
        check_filter_fields(index.sides[plan.side], plan.where, nearest.metadata)
    grading = grade_hits(index, query, plan.scoring, plan.side, nearest)
    near_chance = plan.where is None and grading.is_near_chance
    strengths = weaken(grading.strengths) if near_chance else grading.strengths
    order, scores = np.arange(len(nearest)), nearest.scores
    if plan.shortlist:
        scorer = make_scorer(
            plan.rerank_by,
            index.model,
            query,
            documents=nearest.metadata,
            codes=read_shortlist_codes(index, plan, nearest.ids),
            score=plan.rerank_score,
        )
        order, reranked = rerank(order, nearest.distances, scorer)
        scores = np.empty_like(reranked)
        scores[order] = reranked
    # A place after reranking is worth what it was before: calibration knows places by codes only.
    graded = np.empty_like(order)
    graded[order] = np.arange(len(order))
    if plan.group_by is not None:
        ids, rows = nearest.ids.tolist(), nearest.metadata
        places = order.tolist()
        is_best = keep_best_of_videos([ids[row] for row in places], [rows[row] for row in places])
        order = order[is_best]
    shown = order[: plan.k].tolist()
    videos = locate_videos(index, [nearest.metadata[place] for place in shown])
    hits = tuple(
        make_hit(
            index,
            nearest.ids[place],
            int(nearest.distances[place]),
            nearest.metadata[place],
            score=None if scores is None else float(scores[place]),
            relevance=None if grading.relevance is None else grading.relevance[graded[place]],
            strength=strengths[graded[place]],
            videos=videos,
        )
        for place in shown
    )
    return Answer(
        dict(query.stated),
        plan.side,
        index.model.n_bits,
        hits,
        None if grading.curve is None else grading.curve.rule.value,
        None if plan.rerank_by is RerankBy.AUTO else plan.rerank_by.value,
        unknown=query.unknown,
        near_chance=near_chance,
        scoring=plan.scoring.value,
    )


def read_shortlist_codes(index: IndexParts, plan: SearchPlan, ids: Ids) -> Codes:
    """Look up the codes of a shortlist, or none where the second stage doesn't read them."""
    if plan.rerank_by is RerankBy.RELAXED:
        return index.sides[plan.side].reconstruct(ids)
    return np.zeros((0, code_width(index.model.n_bits)), np.uint8)


def explain_hits(index: IndexParts, query: EncodedQuery, answer: Answer) -> Answer:
    """Add to an answer why each hit is where it is; nothing if a hit was deleted meanwhile."""
    profile = measure_profile(index, query, answer.target)
    try:
        ids = [hit.id for hit in answer.hits]
        explanations = explain_items(
            index, ids, query, answer.target, scoring=Scoring(answer.scoring)
        )
    except InputError:
        logger.info("a hit was deleted while it was explained")
        explanations = ()
    return replace(answer, profile=profile, explanations=explanations)


def make_hit(
    index: IndexParts,
    identity: str | int,
    distance: int,
    metadata: Mapping[str, Any],
    *,
    score: float | None = None,
    relevance: float | None = None,
    strength: Strength | None = None,
    videos: Mapping[str, str] | None = None,
) -> Hit:
    """Make one hit, with what is known of the item.

    Args:
        index: that was searched.
        identity: of the item.
        distance: of the item.
        metadata: of the item.
        score: by default the share of agreeing bits.
        relevance: its probability, if known.
        strength: in words, if known.
        videos: the files of videos, as `locate_videos` finds them; looked up if None.
    """
    rest = {name: value for name, value in metadata.items() if name not in KEPT_NAMES}
    caption, image = rest.pop("caption", None), rest.pop("image", None)
    if image is not None and not Path(image).is_absolute():
        image = str(index.folder / image)
    elif image is not None:
        image = index.locate_picture(image)
    elif is_moment(metadata):
        image = locate_moment(
            metadata, locate_videos(index, [metadata]) if videos is None else videos
        )
    return Hit(
        plain_id(identity),
        distance,
        round(1 - distance / index.model.n_bits if score is None else score, 6),
        caption or "",
        image,
        rest,
        None if relevance is None else round(relevance, 6),
        strength,
    )
