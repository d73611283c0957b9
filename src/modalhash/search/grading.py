"""What the place of a hit is worth: its probability of relevance, and how strong it is, in words.

By Hamming distance both follow from the distance; by asymmetric scores, from the level of the score
(`modalhash.metrics.score_levels`). Each scoring has its own calibration: one says nothing about the
other. Without one, both scorings ask how many random codes would be as good.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.index import QueryHits
from modalhash.metrics import RelevanceCurve, score_levels
from modalhash.modalities import Side
from modalhash.search.parts import IndexParts
from modalhash.search.queries import EncodedQuery
from modalhash.search.strength import (
    FEWEST_TELLING_BITS,
    Strength,
    chances_by_distance,
    grade_by_odds,
    grade_chances,
)
from modalhash.search_request import Scoring

__all__ = ["Grading", "grade_hits", "is_near_chance"]

Floats = NDArray[np.float64]

COMPARED_HITS, SHARE_BY_CHANCE = 10, 0.5


@dataclass(frozen=True)
class Grading:
    """What the places of some hits are worth.

    Attributes:
        curve: of the direction and scoring; None if that isn't calibrated.
        relevance: a probability a hit, or None.
        strengths: a word a hit, None each if nothing tells.
        is_near_chance: whether random codes would be as near as the nearest of them.
    """

    curve: RelevanceCurve | None
    relevance: Sequence[float] | None
    strengths: Sequence[Strength | None]
    is_near_chance: bool


def grade_hits(
    index: IndexParts, query: EncodedQuery, scoring: Scoring, side: Side, hits: QueryHits
) -> Grading:
    """Grade hits by their distances, or by their scores where the query keeps its numbers.

    Args:
        index: that was searched.
        query: that was searched for.
        scoring: what ranked the hits.
        side: that was searched.
        hits: with scores where these ranked them.
    """
    n_items, n_bits = len(index.sides[side]), index.model.n_bits
    # The scores of a code alone follow from its distances, whose calibration fits it.
    scores = hits.scores if scoring is Scoring.ASYMMETRIC and not query.is_bits else None
    by_scores = scores is not None
    curve = None
    if query.modality is not None:
        curve = index.curve(
            query.modality, side, Scoring.ASYMMETRIC if by_scores else Scoring.HAMMING
        )
    places = hits.distances.astype(np.int64) if scores is None else score_levels(scores, n_bits)
    chances = None
    if n_bits >= FEWEST_TELLING_BITS:
        chances = query.score_chances if by_scores else chances_by_distance(n_bits)
    words: Sequence[Strength | None] = [None] * len(hits)
    if curve is not None:
        words = grade_by_odds(curve, n_items, places)
    elif chances is not None:
        words = grade_chances(chances[places], n_items)
    return Grading(
        curve,
        None if curve is None else curve.at(n_items)[places].tolist(),
        words,
        is_near_chance(places, n_bits, n_items, chances),
    )


def is_near_chance(
    places: NDArray[np.integer[Any]], n_bits: int, n_items: int, chances: Floats | None = None
) -> bool:
    """Tell whether random codes would be as near to a query as its nearest items.

    They would if, of `n_items` random codes, at least half a code on average were as near as the
    nearest item, and half as many codes as there are items as near as the last of ten. Learned
    codes vary more than random ones, so answers without meaning are often a little nearer than
    chance says; those with meaning are nearer by orders of magnitude.

    Args:
        places: (k,) distances of the nearest items, or levels of their scores, in any order.
        n_bits: bits of a code; fewer than 32 don't tell.
        n_items: items that were searched.
        chances: by place, how probable it is that a random code is as near; None is by distance.

    Example:
        >>> is_near_chance(np.array([19, 22]), 64, 1000), is_near_chance(np.array([2, 7]), 64, 1000)
        (True, False)
    """
    if not len(places) or n_bits < FEWEST_TELLING_BITS:
        return False
    nearest = np.sort(places)[:COMPARED_HITS]
    by_place = chances_by_distance(n_bits) if chances is None else chances
    first, last = (n_items * by_place[nearest[[0, -1]]]).tolist()
    return bool(first >= SHARE_BY_CHANCE and last >= SHARE_BY_CHANCE * len(nearest))
