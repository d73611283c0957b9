"""From a checked request to the plan of a search: what is searched, how far, and by what."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from modalhash.errors import UnavailableError
from modalhash.index.filters import parse_filter
from modalhash.index.rerank import shortlist_length
from modalhash.metrics import RelevanceCurve, least_score
from modalhash.modalities import Side
from modalhash.search.parts import IndexParts
from modalhash.search.queries import is_bits_only, query_modality
from modalhash.search.reranking import choose_reranking
from modalhash.search_request import RerankBy, RerankScore, Scoring, SearchRequest

__all__ = ["NOTHING", "SearchPlan", "plan_search"]

SCORE_ROUNDING = 1e-6
ROUNDING = 1e-9
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
        scoring: what ranks the items.
        is_bits: whether the query is a code alone, which both scorings rank alike.
        min_score: smallest asymmetric score; None if all count.
        last_level: largest level of scores, see `modalhash.metrics.score_levels`; None if all
            count.
        shortlist: items that the second stage puts in order; 0 is none.
        rerank_by: the second stage; `auto` if there is none.
        rerank_score: what its score is made of.
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
    scoring: Scoring = Scoring.ASYMMETRIC
    is_bits: bool = False
    min_score: float | None = None
    last_level: int | None = None

    @property
    def keeps_numbers(self) -> bool:
        """Whether the query's own numbers rank the items; else its code does."""
        return self.scoring is Scoring.ASYMMETRIC and not self.is_bits


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
        counted = Scoring.ASYMMETRIC if plan.keeps_numbers else Scoring.HAMMING
        curve = None if modality is None else index.curve(modality, plan.side, counted)
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
    scoring, is_bits = Scoring(request.scoring), is_bits_only(index, request)
    shortlist = shortlist_length(request.rerank, len(index.sides[side])) if request.rerank else 0
    rerank_by = RerankBy.AUTO
    if shortlist:
        is_encoded = request.parts in (("text",), ("image",))
        modality = query_modality(index, request) if is_encoded else None
        rerank_by = choose_reranking(index, RerankBy(request.rerank_by), modality, side)
        if rerank_by is RerankBy.RELAXED and scoring is Scoring.ASYMMETRIC:
            shortlist = 0  # the whole search is in that order already
    plan = SearchPlan(
        side,
        request.hits_at_most,
        request.where,
        request.radius,
        shortlist,
        rerank_by,
        RerankScore(request.rerank_score),
        request.explain,
        request.group_by,
        scoring,
        is_bits,
        request.min_score,
    )
    if plan.is_bits and plan.min_score is not None:
        plan = limit_by_distance(plan, plan.min_score, index.model.n_bits)
    return plan if request.min_relevance is None else limit_by_relevance(index, request, plan)


def limit_by_distance(plan: SearchPlan, min_score: float, n_bits: int) -> SearchPlan:
    """Limit a plan by the distance that a least score means for a code alone."""
    reached = math.floor((1 - min_score) * n_bits / 2 + ROUNDING)
    return replace(plan, radius=smaller(plan.radius, reached), min_score=None)


def limit_by_relevance(index: IndexParts, request: SearchRequest, plan: SearchPlan) -> SearchPlan:
    """Limit a plan to the distances, or to the scores, that are relevant enough.

    Raises:
        UnavailableError: if the relevance isn't known.
    """
    assert request.min_relevance is not None
    modality = query_modality(index, request)
    if modality is None:
        raise UnavailableError(
            "how relevant items are is known for single texts and pictures, not for combinations "
            "or codes of unknown origin: cut off by a radius"
        )
    n_items = len(index.sides[plan.side])
    if not plan.keeps_numbers:
        curve = index.curve(modality, plan.side, Scoring.HAMMING)
        reached = require_curve(index, curve, plan).radius(request.min_relevance, n_items)
        return replace(plan, radius=NOTHING if reached is None else smaller(plan.radius, reached))
    curve = index.curve(modality, plan.side, Scoring.ASYMMETRIC)
    reached = require_curve(index, curve, plan).radius(request.min_relevance, n_items)
    if reached is None:
        return replace(plan, radius=NOTHING)
    # A little less, since scores are rounded; the level decides.
    least = least_score(reached, index.model.n_bits) - SCORE_ROUNDING
    least = max(-1.0, least if plan.min_score is None else max(plan.min_score, least))
    return replace(plan, min_score=least, last_level=reached)


def require_curve(
    index: IndexParts, curve: RelevanceCurve | None, plan: SearchPlan
) -> RelevanceCurve:
    """Refuse to cut off by a relevance that isn't known.

    Raises:
        UnavailableError: saying the way out.
    """
    if curve is not None:
        return curve
    if plan.keeps_numbers and index.calibration is not None and index.calibration.directions:
        raise UnavailableError(
            "this index is calibrated for Hamming distance only, which says nothing about "
            f"asymmetric scores: run `modalhash calibrate {index.folder}`, choose scoring hamming "
            "(--scoring hamming), or cut off by min_score"
        )
    place = "score" if plan.keeps_numbers else "distance"
    raise UnavailableError(
        f"this index doesn't know how relevant {plan.side} are at which {place}: run "
        f"`modalhash calibrate {index.folder} COLLECTION`, on pairs that the model hasn't seen, at "
        "least 50, or cut off by a radius"
    )


def smaller(radius: int | None, other: int) -> int:
    """Choose the smaller of two radii; None is no bound."""
    return other if radius is None else min(radius, other)
