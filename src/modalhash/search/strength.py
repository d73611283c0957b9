"""How strong a hit is, in words; the one place that says what strong, fair and weak mean.

A probability of relevance misleads people: where relevant means the query's very own item, a
perfect hit has 8 %. The words say how much a distance speaks for relevance:

- Where the index is calibrated, by how many times the odds of relevance at the distance are larger
  than the odds over all pairs that it was calibrated on (the likelihood ratio of the distance):
  10 times and more is strong, 3 times and more is fair (H. Jeffreys, "Theory of Probability", 1961,
  calls these strong and substantial evidence). A probability of 90 % is always strong, one of 50 %
  never weak.
- Else by how many random codes, of as many as the side has, would be as near on average: at most
  0.0001 is strong, at most 0.1 is fair. Codes of fewer than 32 bits don't tell.

Measured on 1,000 photos of Flickr8k (dev), one caption of each as a query, with the ready model of
256 bits and no calibration: of the nearest 24 hits, 21 % are strong, 33 % fair and 46 % weak; 85 %,
73 % and 53 % of these share a label with the query, as 33 % of all photos do. With a calibration by
pair, 7 %, 73 % and 20 % are, and 88 %, 69 % and 52 % share one. Ranked by Hamming distance, and in
sample: that calibration is on the same photos, the bounds by random codes were chosen on them.
"""

from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from math import comb, erfc, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import GradedBits
from modalhash.codes.asymmetric import BYTE_BITS, WeightedQueries
from modalhash.metrics import RelevanceCurve, last_level, score_levels

__all__ = [
    "FEWEST_TELLING_BITS",
    "Strength",
    "chances_by_distance",
    "direction_chances",
    "grade_by_odds",
    "grade_chances",
    "score_chances",
    "strengths_by_distance",
    "weaken",
]

FEWEST_TELLING_BITS: Final = 32
"""Random codes of fewer bits are near to each other too often to tell."""
STRONG_ODDS, FAIR_ODDS = 10.0, 3.0
STRONG_PROBABILITY, FAIR_PROBABILITY = 0.9, 0.5
STRONG_CHANCE, FAIR_CHANCE = 1e-4, 0.1
UNITS_PER_BIT: Final = 8
"""Units that the weights of a query are rounded to, where random codes are counted."""
DIRECTIONS: Final = 256
"""Width of the space in which random directions are counted, for graded codes."""
ROUNDING: Final = 1e-9
"""Relative; a value that is a bound but for its last digits has reached it."""


class Strength(StrEnum):
    """How much a hit's distance speaks for its relevance."""

    STRONG = "strong"
    FAIR = "fair"
    WEAK = "weak"


def strengths_by_distance(
    curve: RelevanceCurve | None, n_bits: int, n_items: int
) -> tuple[Strength | None, ...]:
    """Grade each distance from 0 to all bits.

    Args:
        curve: probability of relevance by distance, or by the level of scores, where the index is
            calibrated.
        n_bits: bits of a code.
        n_items: items of the side that is searched.

    Returns:
        A word a distance (or level), never rising; None each, where neither a curve nor the bits
        tell.
    """
    if curve is None:
        return grade_by_chance(n_bits, n_items)
    return grade_by_odds(curve, n_items, np.arange(len(curve.probabilities)))


def grade_by_odds(
    curve: RelevanceCurve, n_items: int, places: NDArray[np.int64]
) -> tuple[Strength, ...]:
    """Grade distances, or levels of scores, by how much they raise the odds of relevance."""
    probabilities = curve.at(n_items)[places]
    own = curve.probabilities[places]
    odds = own / (1 - own)
    lifts = odds / (curve.base_rate / (1 - curve.base_rate)) * (1 + ROUNDING)
    return tuple(
        Strength.STRONG
        if lift >= STRONG_ODDS or probability >= STRONG_PROBABILITY
        else Strength.FAIR
        if lift >= FAIR_ODDS or probability >= FAIR_PROBABILITY
        else Strength.WEAK
        for lift, probability in zip(lifts.tolist(), probabilities.tolist(), strict=True)
    )


def grade_by_chance(n_bits: int, n_items: int) -> tuple[Strength | None, ...]:
    """Grade distances by how many random codes would be as near; None each for short codes."""
    if n_bits < FEWEST_TELLING_BITS:
        return (None,) * (n_bits + 1)
    return grade_chances(chances_by_distance(n_bits), n_items)


def grade_chances(chances: NDArray[np.float64], n_items: int) -> tuple[Strength, ...]:
    """Grade places by how probable it is that a random code is as near."""
    return tuple(
        Strength.STRONG
        if expected <= STRONG_CHANCE
        else Strength.FAIR
        if expected <= FAIR_CHANCE
        else Strength.WEAK
        for expected in (n_items * chances).tolist()
    )


@lru_cache(maxsize=16)
def chances_by_distance(n_bits: int) -> NDArray[np.float64]:
    """Compute, for each distance, the probability that two random codes are as near.

    Returns:
        (n_bits + 1,) float64 in (0, 1], rising; `chance_within` of each distance.

    Example:
        >>> chances_by_distance(2).tolist()
        [0.25, 0.75, 1.0]
    """
    total, ways, chances = 2**n_bits, 0, []
    for distance in range(n_bits + 1):
        ways += comb(n_bits, distance)
        chances.append(ways / total)
    return np.array(chances)


def score_chances(query: WeightedQueries) -> NDArray[np.float64]:
    """Compute, for each level, the probability that a random code scores at that level or better.

    Codes of fair, independent bits. The weights of the query are rounded to an eighth of a bit;
    chances are right to about 1e-15.

    Args:
        query: one query.

    Returns:
        (last_level + 1,) float64 in [0, 1], rising.

    Example:
        >>> query = WeightedQueries.of(np.ones((1, 2)), 2)
        >>> score_chances(query)[[0, 4, 8]].round(9).tolist()  # none, one and both bits differ
        [0.25, 0.75, 1.0]
    """
    n_bits, total = query.n_bits, int(query.totals[0])
    last = last_level(n_bits)
    if not total:  # all items score 0
        return (np.arange(last + 1) >= last // 2).astype(np.float64)
    n_units = UNITS_PER_BIT * n_bits
    steps = np.rint(query.weights[0] * (n_units / total)).astype(np.int64)
    n_sums = int(steps.sum()) + 1
    # How often the bits of each byte differ by so many units, then all bytes together: the product
    # of their Fourier transforms, which is right to about 1e-16.
    by_byte = np.pad(steps, (0, -n_bits % 8)).reshape(-1, 8) @ BYTE_BITS.T
    cells = by_byte + np.arange(len(by_byte))[:, None] * n_sums
    counts = np.bincount(cells.ravel(), minlength=len(by_byte) * n_sums).reshape(-1, n_sums)
    size = 1 << int(n_sums).bit_length()
    chances = np.fft.irfft(np.prod(np.fft.rfft(counts / 256, size), axis=0), size)[:n_sums]
    shares = np.arange(n_sums) / max(1, n_sums - 1)
    levels = score_levels(1 - 2 * shares, n_bits)
    return np.cumsum(np.bincount(levels, np.maximum(chances, 0.0), minlength=last + 1))


def direction_chances(numbers: NDArray[np.float32], bits: GradedBits) -> NDArray[np.float64]:
    """Compute, for each level, the probability that a random direction scores at it or better.

    Graded bits are far from alike, and random ones no yardstick. A score is nearly the cosine of a
    query with an item; that of a random direction is normal, with a variance of 1 over the width of
    the space. `DIRECTIONS` is such that words mean what they do with a ready model of 256 bits.

    Args:
        numbers: (b,) of a query.
        bits: what they meet.

    Returns:
        (last_level + 1,) float64 in (0, 1], rising.
    """
    last = last_level(bits.n_bits)
    n_first = bits.width_of(0)
    length = float(np.linalg.norm(numbers[:n_first] / bits.weights[:n_first]))
    scale = float(np.abs(numbers, dtype=np.float64).sum()) / length if length else 0.0
    cosines = (1 - 2 * np.arange(last + 1) / last) * scale
    return np.array([erfc(cosine * sqrt(DIRECTIONS / 2)) / 2 for cosine in cosines.tolist()])


def weaken(strengths: Sequence[Strength | None]) -> tuple[Strength | None, ...]:
    """Call every hit weak that was graded: even the nearest items are as far as by chance."""
    return tuple(None if strength is None else Strength.WEAK for strength in strengths)
