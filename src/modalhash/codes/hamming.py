"""Hamming distances between packed codes."""

import numpy as np
from numpy.typing import NDArray

from modalhash.codes.packing import Codes
from modalhash.errors import ShapeError

__all__ = ["Distances", "hamming_distances", "pairwise_distances"]

Distances = NDArray[np.int32]
"""Counts of differing bits, int32; smaller is nearer."""

BLOCK_BYTES = 1 << 24


def hamming_distances(query_codes: Codes, database_codes: Codes) -> Distances:
    """Count the differing bits between every query and every database code.

    Padding bits of the last byte must be zero in both (`pack` guarantees it).

    Args:
        query_codes: (q, p) uint8, packed by `pack`.
        database_codes: (m, p) uint8, the same width.

    Returns:
        (q, m) int32 in [0, n_bits]; smaller is nearer.

    Raises:
        ShapeError: if either is not two-dimensional uint8, or the two widths differ.

    Example:
        >>> from modalhash.codes import pack
        >>> hamming_distances(pack([[1, -1, 1]]), pack([[1, 1, 1], [-1, 1, 1]]))
        array([[1, 2]], dtype=int32)
    """
    query_words, database_words = to_words(query_codes, database_codes)
    n_queries, n_items = len(query_words), len(database_words)
    distances = np.zeros((n_queries, n_items), np.int32)
    rows = max(1, BLOCK_BYTES // (8 * max(1, n_items)))
    for start in range(0, n_queries, rows):
        block = query_words[start : start + rows]
        for word in range(query_words.shape[1]):
            differing = block[:, word, None] ^ database_words[None, :, word]
            distances[start : start + rows] += np.bitwise_count(differing)
    return distances


def pairwise_distances(codes: Codes, other_codes: Codes) -> Distances:
    """Count the differing bits between row i of one and row i of the other.

    Args:
        codes: (n, p) uint8, packed by `pack`.
        other_codes: (n, p) uint8.

    Returns:
        (n,) int32.

    Raises:
        ShapeError: if the two shapes differ.

    Example:
        >>> from modalhash.codes import pack
        >>> pairwise_distances(pack([[1, -1]]), pack([[-1, 1]]))
        array([2], dtype=int32)
    """
    if codes.shape != other_codes.shape:
        raise ShapeError(f"codes is {codes.shape}, other_codes {other_codes.shape}: rows pair up")
    words, other_words = to_words(codes, other_codes)
    counts: Distances = np.bitwise_count(words ^ other_words).sum(axis=1, dtype=np.int32)
    return counts


def to_words(
    query_codes: Codes, database_codes: Codes
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """View both codes as rows of 64-bit words, zero-padded to whole words."""
    for name, codes in (("query_codes", query_codes), ("database_codes", database_codes)):
        if codes.ndim != 2 or codes.dtype != np.uint8:
            raise ShapeError(
                f"{name} is {codes.dtype} of shape {codes.shape}, expected uint8 of shape (n, p)"
            )
    width = query_codes.shape[1]
    if width != database_codes.shape[1]:
        raise ShapeError(
            f"query_codes has {width} bytes per row, database_codes has "
            f"{database_codes.shape[1]}: encode both with the same number of bits"
        )
    if width % 8:
        padding = ((0, 0), (0, -width % 8))
        query_codes, database_codes = np.pad(query_codes, padding), np.pad(database_codes, padding)
    query_words = np.ascontiguousarray(query_codes).view(np.uint64)
    return query_words, np.ascontiguousarray(database_codes).view(np.uint64)
