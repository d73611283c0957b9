"""Hamming search by loops over bits, pairs and sorted lists."""

import numpy as np
from numpy.typing import NDArray

Found = list[list[tuple[int, int]]]
"""For each query, (distance, position) of its hits, nearest first, then by position."""


def plain_distance(code: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    """Count differing bits, one bit at a time."""
    differing = 0
    for byte, other_byte in zip(code.tolist(), other.tolist(), strict=True):
        for bit in range(8):
            differing += (byte >> bit) % 2 != (other_byte >> bit) % 2
    return differing


def plain_ranking(query_codes: NDArray[np.uint8], database_codes: NDArray[np.uint8]) -> Found:
    """Rank all items for each query."""
    return [
        sorted(
            (plain_distance(query, code), position) for position, code in enumerate(database_codes)
        )
        for query in query_codes
    ]


def plain_search(
    query_codes: NDArray[np.uint8], database_codes: NDArray[np.uint8], top_k: int
) -> Found:
    """Find the `top_k` nearest items of each query, or all if there are no more."""
    return [ranking[:top_k] for ranking in plain_ranking(query_codes, database_codes)]


def plain_search_radius(
    query_codes: NDArray[np.uint8], database_codes: NDArray[np.uint8], radius: int
) -> Found:
    """Find the items at a distance of at most `radius` from each query."""
    return [
        [hit for hit in ranking if hit[0] <= radius]
        for ranking in plain_ranking(query_codes, database_codes)
    ]
