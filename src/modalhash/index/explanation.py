"""Why an item is where it is: the bits it shares with a query, and how far all others are."""

from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, Relaxed, WeightedQueries, check_codes, unpack
from modalhash.errors import InputError, ShapeError

__all__ = [
    "BitComparison",
    "BitContributions",
    "DistanceProfile",
    "chance_within",
    "compare_bits",
    "weigh_bits",
]


@dataclass(frozen=True)
class BitComparison:
    """Where two codes agree.

    Attributes:
        agreeing: bits that are the same in both, from 0.
        differing: bits that aren't; their number is the distance.
    """

    agreeing: tuple[int, ...]
    differing: tuple[int, ...]

    @property
    def distance(self) -> int:
        """Number of differing bits."""
        return len(self.differing)


def compare_bits(code: Codes, other: Codes, n_bits: int) -> BitComparison:
    """Compare two codes bit by bit.

    Args:
        code: (1, p) uint8, packed.
        other: (1, p) uint8, packed.
        n_bits: bits of a code.

    Raises:
        ShapeError: if either isn't one code of this length.

    Example:
        >>> from modalhash.codes import pack
        >>> compare_bits(pack([[1, -1, 1]]), pack([[1, 1, 1]]), 3)
        BitComparison(agreeing=(0, 2), differing=(1,))
    """
    check_codes(code, n_bits)
    check_codes(other, n_bits)
    is_same = unpack(code, n_bits)[0] == unpack(other, n_bits)[0]
    agreeing, differing = (np.flatnonzero(bits).tolist() for bits in (is_same, ~is_same))
    return BitComparison(tuple(agreeing), tuple(differing))


@dataclass(frozen=True)
class BitContributions:
    """What each bit adds to the score of an item for a relaxed query.

    Attributes:
        values: (b,) float64; positive where the item's bit agrees with the query's sign, negative
            where it doesn't; 0 where the query's number is 0. Their sum is the score.
        agreeing: bits that agree with the query's signs, from 0; the weightiest first.
        differing: bits that don't; the weightiest first. Their number is the Hamming distance.
    """

    values: NDArray[np.float64]
    agreeing: tuple[int, ...]
    differing: tuple[int, ...]

    @property
    def distance(self) -> int:
        """Hamming distance of the item from the query's signs."""
        return len(self.differing)

    @property
    def score(self) -> float:
        """Score of the item, as a search gives it but for the last digits of float32."""
        return float(self.values.sum())


def weigh_bits(query: Relaxed, code: Codes, n_bits: int) -> BitContributions:
    """Compute what each bit adds to the score of an item.

    Args:
        query: (1, b) float32 or float64, one relaxed query.
        code: (1, p) uint8, packed, of the item.
        n_bits: b.

    Raises:
        InputError: if a number isn't finite.
        ShapeError: if query or code isn't one of this length.

    Example:
        >>> from modalhash.codes import pack
        >>> bits = weigh_bits(np.array([[2.0, -1.0, 1.0]]), pack([[1, 1, 1]]), 3)
        >>> bits.values.round(3), bits.agreeing, bits.differing, round(bits.score, 3)
        (array([ 0.5 , -0.25,  0.25]), (0, 2), (1,), 0.5)
    """
    check_codes(code, n_bits)
    weighted = WeightedQueries.of(query, n_bits, name="query")
    if len(weighted) != 1 or len(code) != 1:
        raise ShapeError(
            f"there are {len(weighted)} queries and {len(code)} codes, expected one of each"
        )
    shares = weighted.weights[0] / max(1, int(weighted.totals[0]))
    is_same = unpack(code, n_bits)[0] == unpack(weighted.codes, n_bits)[0]
    by_weight = np.argsort(-shares, kind="stable")
    agreeing, differing = (
        tuple(by_weight[bits[by_weight]].tolist()) for bits in (is_same, ~is_same)
    )
    return BitContributions(np.where(is_same, shares, -shares), agreeing, differing)


def chance_within(distance: int, n_bits: int) -> float:
    """Compute how probable it is that two random codes are at most this far apart.

    Of codes of fair, independent bits; those of a learned code are neither quite, so the distances
    of a query to all items say more.

    Example:
        >>> chance_within(1, 3)
        0.5
    """
    ways = sum(comb(n_bits, n_differing) for n_differing in range(distance + 1))
    return float(ways / 2**n_bits)


@dataclass(frozen=True)
class DistanceProfile:
    """How far all items of an index are from one query.

    Attributes:
        counts: (n_bits + 1,) int64, items at each distance.

    Example:
        >>> profile = DistanceProfile(np.array([1, 2, 5]))
        >>> profile.n_items, profile.mean, profile.ranks(1), profile.percentile(1)
        (8, 1.5, (2, 3), 75.0)
    """

    counts: NDArray[np.int64]

    @property
    def n_bits(self) -> int:
        """Bits of a code."""
        return len(self.counts) - 1

    @property
    def n_items(self) -> int:
        """Number of items."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        """Mean distance.

        Raises:
            InputError: if there are no items.
        """
        self._check()
        return float(self.counts @ np.arange(len(self.counts)) / self.n_items)

    @property
    def expected(self) -> float:
        """Mean distance of two random codes: half of the bits."""
        return self.n_bits / 2

    def ranks(self, distance: int) -> tuple[int, int]:
        """Count the first and the last rank, from 1, that items at a distance share."""
        nearer = int(self.counts[:distance].sum())
        return nearer + 1, nearer + max(int(self.counts[distance]), 1)

    def percentile(self, distance: int) -> float:
        """Compute the share of items that are farther, in percent; of those as far, half.

        Raises:
            InputError: if there are no items.
        """
        self._check()
        farther = float(self.counts[distance + 1 :].sum()) + float(self.counts[distance]) / 2
        return 100 * farther / self.n_items

    def _check(self) -> None:
        """Refuse a profile of nothing."""
        if not self.n_items:
            raise InputError("the index is empty: there are no distances")
