"""Search with queries that keep their numbers, by loops over numbers, bits, pairs and lists."""

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ranking = list[tuple[int, int]]
"""(units of the bits that differ, position) of items, best first, then by position."""


def plain_bits(code: NDArray[np.uint8], n_bits: int) -> list[bool]:
    """Read the bits of a packed code, the low end of each byte first."""
    return [bool(int(code[bit // 8]) >> (bit % 8) & 1) for bit in range(n_bits)]


def plain_units(query: NDArray[Any]) -> list[int]:
    """Round the numbers of a query to whole units, of which all have about 2^24 together."""
    sizes = [abs(float(number)) for number in query]
    largest = max(sizes)
    if largest == 0:
        return [0] * len(sizes)
    fine = [round(size / largest * 2**40) for size in sizes]
    return [round(number * ((2**24 - len(sizes)) / sum(fine))) for number in fine]


def plain_score(query: NDArray[Any], code: NDArray[np.uint8]) -> float:
    """Compute sum x s / sum |x| in exact fractions; 0 for a query of zeros."""
    numbers = [Fraction(float(number)) for number in query]
    total = sum(abs(number) for number in numbers)
    bits = plain_bits(code, len(numbers))
    signed = sum(number if bit else -number for number, bit in zip(numbers, bits, strict=True))
    return float(signed / total) if total else 0.0


def plain_relaxed_ranking(
    query: NDArray[Any], codes: NDArray[np.uint8], units: list[int] | None = None
) -> Ranking:
    """Rank all items for a query."""
    units = plain_units(query) if units is None else units
    signs = [float(number) >= 0 for number in query]
    ranking = []
    for position, code in enumerate(codes):
        bits = plain_bits(code, len(signs))
        differing = sum(
            unit for unit, bit, sign in zip(units, bits, signs, strict=True) if bit != sign
        )
        ranking.append((differing, position))
    return sorted(ranking)
