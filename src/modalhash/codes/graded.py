"""Graded codes: several bits a number, so that a score by a query's numbers is nearly exact.

The first bit of a number is its sign. Each further bit is the sign of what the bits before leave
over, and counts half as much: a number is about the sum of its signs times 1, 1/2, 1/4, ... of its
step. The sum is linear in the bits, so the inner product of a query with what the codes stand for
is an asymmetric score like any other. Hamming distance says less: it counts all bits alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from modalhash.codes.packing import Codes, unpack
from modalhash.errors import ShapeError

__all__ = ["MOST_BITS_OF_A_NUMBER", "GradedBits"]

MOST_BITS_OF_A_NUMBER = 8


@dataclass(frozen=True)
class GradedBits:
    """How many bits each number has, and what they stand for.

    All first bits come first, then all second bits, and so on.

    Attributes:
        counts: bits of each of d numbers, 1 to 8, never rising.
        steps: (as many) what the first bit of each number stands for, above 0.

    Raises:
        ShapeError: if counts or steps are none of these.

    Example:
        >>> GradedBits((2, 1), (2.0, 1.0)).decode(np.array([[3]], np.uint8)).tolist()
        [[1.0, 1.0]]
    """

    counts: tuple[int, ...]
    steps: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check counts and steps."""
        counts, steps = self.counts, self.steps
        if (
            not counts
            or len(counts) != len(steps)
            or any(not 1 <= count <= MOST_BITS_OF_A_NUMBER for count in counts)
            or list(counts) != sorted(counts, reverse=True)
            or any(not 0 < step < float("inf") for step in steps)
        ):
            raise ShapeError(
                f"graded bits have {len(counts)} counts and {len(steps)} steps, expected as many "
                f"of both, counts from {MOST_BITS_OF_A_NUMBER} down to 1 and steps above 0"
            )

    @classmethod
    def of_head(cls, spec: Mapping[str, Any]) -> Self | None:
        """Read the graded bits of a hash head's description; None if it has none."""
        if spec.get("kind") != "graded":
            return None
        return cls(tuple(spec["counts"]), tuple(spec["steps"]))

    @property
    def n_bits(self) -> int:
        """Number of bits b of a code."""
        return sum(self.counts)

    def width_of(self, level: int) -> int:
        """Count the numbers that have a bit of a level; the first level is 0."""
        return sum(count > level for count in self.counts)

    @cached_property
    def numbers(self) -> NDArray[np.int64]:
        """(b,) which number each bit belongs to."""
        widths = [self.width_of(level) for level in range(self.counts[0])]
        return np.concatenate([np.arange(width) for width in widths])

    @cached_property
    def weights(self) -> NDArray[np.float32]:
        """(b,) what each bit stands for."""
        widths = [self.width_of(level) for level in range(self.counts[0])]
        parts = [np.array(self.steps[:width]) / 2**level for level, width in enumerate(widths)]
        return np.concatenate(parts).astype(np.float32)

    def decode(self, codes: Codes) -> NDArray[np.float32]:
        """Compute the numbers that codes stand for.

        Args:
            codes: (n, p) uint8.

        Returns:
            (n, d) float32.
        """
        values = np.zeros((len(codes), len(self.counts)), np.float32)
        for bit, signs in enumerate(unpack(codes, self.n_bits).T):
            values[:, self.numbers[bit]] += signs * self.weights[bit]
        return values

    def query_numbers(self, codes: Codes) -> NDArray[np.float32]:
        """Compute the numbers with which stored items ask: what they stand for, bit by bit.

        Args:
            codes: (n, p) uint8.

        Returns:
            (n, b) float32, whose inner product with the signs of other codes is that of what both
            stand for.
        """
        return self.decode(codes)[:, self.numbers] * self.weights
