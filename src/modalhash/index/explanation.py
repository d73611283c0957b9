"""Why an item is where it is: the bits it shares with a query, and how far all others are."""

from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, check_codes, unpack
from modalhash.errors import InputError

__all__ = ["BitComparison", "DistanceProfile", "chance_within", "compare_bits"]


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
