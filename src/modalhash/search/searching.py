"""From a request to answers: plan each side, find the nearest, put them in order, make hits."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, code_width
from modalhash.errors import InputError, UnavailableError
from modalhash.index import Ids, QueryHits
from modalhash.index.explanation import chance_within
from modalhash.index.filters import parse_filter
from modalhash.index.rerank import rerank, shortlist_length
from modalhash.modalities import Side
from modalhash.search.answers import Answer, Hit, plain_id
from modalhash.search.explaining import explain_items, measure_profile
from modalhash.search.filter_fields import check_filter_fields
from modalhash.search.kept_features import KEPT_NAMES
from modalhash.search.moments import (
    is_moment,
    keep_best_of_videos,
    locate_moment,
    locate_videos,
)
from modalhash.search.parts import IndexParts
from modalhash.search.queries import EncodedQuery, query_modality
from modalhash.search.reranking import choose_reranking, make_scorer
from modalhash.search.strength import FEWEST_TELLING_BITS, Strength
from modalhash.search_request import RerankBy, RerankScore, SearchRequest

__all__ = [
    "SearchPlan",
    "explain_hits",
    "find_nearest",
    "find_nearest_of_all",
    "make_answer",
    "make_hit",
    "plan_search",
]

logger = logging.getLogger(__name__)

COMPARED_HITS, SHARE_BY_CHANCE = 10, 0.5
WIDER = 4
"""How many times as many items are looked at, until there are moments of enough videos."""
NOTHING = -1
"""A radius that no item is within."""


@dataclass(frozen=True)
class SearchPlan:
    """How one side is searched; `plan_search` makes it of a checked request.

    Attributes:
        side: what is searched.
        k: hits at most; None is all within the radius.
        where: a filter; None counts all items.
        radius: largest distance; `NOTHING` if no item is near enough, None if all are.
        shortlist: items that the second stage puts in order; 0 is none.
        rerank_by: the second stage.
        rerank_score: what its score is made of.
        group_by: "video" keeps the best moment of each video.
        is_explained: whether the answer says why each hit is where it is.
    """

    side: Side
    k: int | None
    where: str | None
    radius: int | None
    shortlist: int
    rerank_by: RerankBy
    rerank_score: RerankScore
    is_explained: bool
    group_by: str | None = None


def plan_search(index: IndexParts, request: SearchRequest) -> tuple[SearchPlan, ...]:
    """Check a request against an index, before its query is encoded, and plan each side.

    Raises:
        FilterError: if the filter can't be understood, marking the place.
        InputError: if the length of the shortlist is none.
        UnavailableError: if the index lacks what is wanted: a side, the relevance of distances, or
            what to rerank by; or no distance is as relevant as wanted.
    """
    if request.where is not None:
        parse_filter(request.where)
    plans = tuple(plan_side(index, request, side) for side in index.sides_to_search(request))
    if all(plan.radius == NOTHING for plan in plans):
        refuse_unreachable_relevance(index, request, plans)
    return plans


def refuse_unreachable_relevance(
    index: IndexParts, request: SearchRequest, plans: Sequence[SearchPlan]
) -> None:
    """Refuse a least relevance that no distance has, on any side that is searched.

    Empty sides are passed over: nothing is found there, whatever is asked for.

    Raises:
        UnavailableError: saying what can be reached.
    """
    modality = query_modality(index, request)
    reaches = []
    for plan in plans:
        n_items = len(index.sides[plan.side])
        curve = None if modality is None else index.curve(modality, plan.side)
        if curve is None or not n_items:
            return
        reaches.append((float(curve.at(n_items)[0]), plan.side))
    reach, side = max(reaches)
    raise UnavailableError(
        f"min_relevance is {request.min_relevance}, but the calibration of this index gives "
        f"{write_reach(reach)} at most, to {side} with the query's very code: ask for that or "
        "less, or cut off by a radius"
    )


def write_reach(reach: float) -> str:
    """Write the largest probability so that asking for it finds something: rounded down."""
    return f"{math.floor(reach * 10**6) / 10**6:g}"


def plan_side(index: IndexParts, request: SearchRequest, side: Side) -> SearchPlan:
    """Plan the search of one side; errors as in `plan_search`."""
    radius = limit_distance(index, request, side)
    shortlist = shortlist_length(request.rerank, len(index.sides[side])) if request.rerank else 0
    rerank_by = RerankBy(request.rerank_by)
    if shortlist:
        is_encoded = request.parts in (("text",), ("image",))
        modality = query_modality(index, request) if is_encoded else None
        rerank_by = choose_reranking(index, rerank_by, modality, side)
    return SearchPlan(
        side,
        request.hits_at_most,
        request.where,
        radius,
        shortlist,
        rerank_by,
        RerankScore(request.rerank_score),
        request.explain,
        request.group_by,
    )


def limit_distance(index: IndexParts, request: SearchRequest, side: Side) -> int | None:
    """Compute the largest distance of a hit; None if all count, `NOTHING` if none does.

    Raises:
        UnavailableError: if a relevance is wanted, but isn't known.
    """
    if request.min_relevance is None:
        return request.radius
    modality = query_modality(index, request)
    if modality is None:
        raise UnavailableError(
            "how relevant items are at which distance is known for single texts and pictures, "
            "not for combinations or codes of unknown origin: cut off by a radius"
        )
    curve = index.curve(modality, side)
    if curve is None:
        raise UnavailableError(
            f"this index doesn't know how relevant {side} are at which distance: run "
            f"`modalhash calibrate {index.folder}`, or cut off by a radius"
        )
    n_items = len(index.sides[side])
    reached = curve.radius(request.min_relevance, n_items)
    if reached is None:
        return NOTHING
    return reached if request.radius is None else min(request.radius, reached)


def find_nearest(index: IndexParts, query: EncodedQuery, plan: SearchPlan) -> QueryHits:
    """Find the nearest items by Hamming distance: the shortlist of a search, with metadata.

    The item that asks is left out.
    """
    (nearest,) = find_nearest_of_all(index, [query], plan)
    return nearest


def find_nearest_of_all(
    index: IndexParts, queries: Sequence[EncodedQuery], plan: SearchPlan
) -> list[QueryHits]:
    """Find what `find_nearest` finds for each of some queries, in one search of the index."""
    if plan.group_by is not None and plan.k is not None and not plan.shortlist:
        return [find_best_of_videos(index, query, plan) for query in queries]
    side, codes = index.sides[plan.side], np.concatenate([query.code for query in queries])
    if plan.k is None and plan.radius is not None and plan.radius >= 0:
        hits = side.search_radius(codes, plan.radius, plan.where, with_metadata=True)
        nearest = [hits[row] for row in range(len(queries))]
        return [leave_item_out(*pair, plan) for pair in zip(nearest, queries, strict=True)]
    k = 1 if plan.k is None else max(plan.k, plan.shortlist)
    k += any(is_own_item(query, plan) for query in queries)
    nearest_hits = side.search(codes, k, plan.where, with_metadata=True)
    nearest = [select_within(nearest_hits[row], plan.radius) for row in range(len(queries))]
    return [leave_item_out(*pair, plan) for pair in zip(nearest, queries, strict=True)]


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
    return QueryHits(hits.ids[rows], hits.distances[rows], documents)


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
    curve = None if query.modality is None else index.curve(query.modality, plan.side)
    probabilities = index.probabilities(curve, plan.side)
    strengths = index.strengths(curve, plan.side)
    order, scores = np.arange(len(nearest)), None
    if plan.shortlist:
        scorer = make_scorer(
            plan.rerank_by,
            index.model,
            query,
            documents=nearest.metadata,
            codes=read_shortlist_codes(index, plan, nearest.ids),
            score=plan.rerank_score,
        )
        order, scores = rerank(order, nearest.distances, scorer)
    if plan.group_by is not None:
        ids, rows = nearest.ids.tolist(), nearest.metadata
        places = order.tolist()
        is_best = keep_best_of_videos([ids[row] for row in places], [rows[row] for row in places])
        order, scores = order[is_best], None if scores is None else scores[is_best]
    shown = order[: plan.k].tolist()
    videos = locate_videos(index, [nearest.metadata[place] for place in shown])
    hits = tuple(
        make_hit(
            index,
            nearest.ids[place],
            int(nearest.distances[place]),
            nearest.metadata[place],
            score=None if scores is None else float(scores[rank]),
            probabilities=probabilities,
            strengths=strengths,
            videos=videos,
        )
        for rank, place in enumerate(shown)
    )
    return Answer(
        dict(query.stated),
        plan.side,
        index.model.n_bits,
        hits,
        None if curve is None else curve.rule.value,
        plan.rerank_by.value if plan.shortlist else None,
        unknown=query.unknown,
        near_chance=plan.where is None
        and is_near_chance(nearest.distances, index.model.n_bits, len(index.sides[plan.side])),
    )


def is_near_chance(distances: NDArray[np.integer[Any]], n_bits: int, n_items: int) -> bool:
    """Tell whether random codes would be as near to a query as its nearest items.

    They would if, of `n_items` random codes, at least half a code on average were as near as the
    nearest item, and half as many codes as there are items as near as the last of ten. Learned
    codes vary more than random ones, so answers without meaning are often a little nearer than
    chance says; those with meaning are nearer by orders of magnitude.

    Args:
        distances: (k,) of the nearest items, in any order.
        n_bits: bits of a code; fewer than 32 don't tell.
        n_items: items that were searched.

    Example:
        >>> is_near_chance(np.array([19, 22]), 64, 1000), is_near_chance(np.array([2, 7]), 64, 1000)
        (True, False)
    """
    if not len(distances) or n_bits < FEWEST_TELLING_BITS:
        return False
    nearest = np.sort(distances)[:COMPARED_HITS]
    first, last = (n_items * chance_within(int(row), n_bits) for row in nearest[[0, -1]])
    return first >= SHARE_BY_CHANCE and last >= SHARE_BY_CHANCE * len(nearest)


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
        explanations = explain_items(index, ids, query, answer.target)
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
    probabilities: Sequence[float] | None = None,
    strengths: Sequence[Strength | None] | None = None,
    videos: Mapping[str, str] | None = None,
) -> Hit:
    """Make one hit, with what is known of the item.

    Args:
        index: that was searched.
        identity: of the item.
        distance: of the item.
        metadata: of the item.
        score: by default the share of agreeing bits.
        probabilities: of relevance, by distance.
        strengths: by distance.
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
        None if probabilities is None else round(probabilities[distance], 6),
        None if strengths is None else strengths[distance],
    )
