"""Asymmetric distances: a query that keeps its numbers, against items that are bits.

A query is never stored, so it need not be bits. The score of an item is the inner product of the
query's numbers with the item's signs, divided by the sum of the numbers' absolute values:

    score = sum_i x_i s_i / sum_i |x_i|

It is in [-1, 1]: +1 says that every bit agrees with the query's sign, -1 that none does. Scores of
different queries can be compared: each is the share of the query's weight whose bits agree, minus
the share whose bits don't. A query of -1 and +1 scores 1 - 2 distance / n_bits, so it ranks as
Hamming does.

Sums of floats depend on their order, so equal scores would become unequal at random. Here the
numbers of a query are first rounded to whole units, of which they have about 2^24 together. Sums of
them are exact in any order, also in float32. So ties are true ties, and neither an order of bits,
nor the size of blocks, nor the processor changes a score. The rounding moves a score by at most
n_bits / 2^24, which is as much as a float32 sum would.

The units of the bits that don't agree are the *weighted distance* of an item, a whole number as the
Hamming distance is: score = 1 - 2 weighted distance / sum of all units.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from modalhash.codes.bit_order import BitOrder, to_little
from modalhash.codes.hamming import Distances
from modalhash.codes.packing import Codes, check_codes, code_width
from modalhash.errors import InputError, ShapeError

__all__ = [
    "QUERY_UNITS",
    "Queries",
    "Relaxed",
    "Scores",
    "WeightedQueries",
    "asymmetric_scores",
    "weighted_distances",
]

Relaxed = NDArray[np.float32] | NDArray[np.float64]
"""(n, b) numbers before the sign: what a model's head gives."""
Queries = Codes | Relaxed
"""What an index is searched for: (q, p) uint8 packed codes, or (q, b) relaxed numbers."""
Scores = NDArray[np.float32]
"""float32; larger is better."""

QUERY_UNITS: Final = 1 << 24
"""Whole units that the numbers of a query have together, at most: float32 sums them exactly."""
FINE_UNITS: Final = 1 << 40
"""Units of a query's largest number while the sum of all is taken."""
MOST_BITS: Final = 1 << 20
BYTE_BITS: Final = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
BLOCK_NUMBERS: Final = 1 << 20
"""Numbers of unpacked bits at a time; more leave the processor's cache."""
HALF: Final = np.float32(0.5)
FEW_QUERIES: Final = 2
"""Up to so many queries look sums up by byte; more are multiplied with unpacked bits."""


@dataclass(frozen=True)
class WeightedQueries:
    """Queries that keep their numbers, in whole units.

    Attributes:
        codes: (q, p) uint8, the packed signs of the queries; zero counts as +1.
        weights: (q, b) int32 units of each bit, 0 or more; at most `QUERY_UNITS` a query together.
    """

    codes: Codes
    weights: NDArray[np.int32]

    @classmethod
    def of(cls, relaxed: Relaxed, n_bits: int, *, name: str = "queries") -> Self:
        """Round relaxed queries to whole units.

        Args:
            relaxed: (q, b) float32 or float64, finite. A query of zeros has no units: all items
                score 0.
            n_bits: b.
            name: the argument's name, for messages.

        Raises:
            ShapeError: if it isn't (q, b) floats.
            InputError: if a number isn't finite, naming the first query that has one.

        Example:
            >>> queries = WeightedQueries.of(np.array([[3.0, -1.0]]), 2)
            >>> queries.codes, (queries.weights / queries.totals[:, None]).round(6)
            (array([[1]], dtype=uint8), array([[0.75, 0.25]]))
        """
        check_relaxed(relaxed, n_bits, name=name)
        values = np.abs(relaxed, dtype=np.float64)
        largest = values.max(axis=1, initial=0.0, keepdims=True)
        check_finite(largest, name=name)
        largest[largest == 0] = 1
        # Divided first: neither huge numbers nor tiny ones leave the range of float64.
        values /= largest
        values *= FINE_UNITS
        fine = np.rint(values, out=values)
        sums = fine.astype(np.int64).sum(axis=1, keepdims=True)
        fine *= (QUERY_UNITS - n_bits) / np.maximum(sums, 1)
        weights = np.rint(fine, out=fine).astype(np.int32)
        return cls(np.packbits(relaxed >= 0, axis=1, bitorder="little"), weights)

    @property
    def n_bits(self) -> int:
        """Bits of a query."""
        return int(self.weights.shape[1])

    @cached_property
    def totals(self) -> NDArray[np.int64]:
        """(q,) units that each query has."""
        totals: NDArray[np.int64] = self.weights.sum(axis=1, dtype=np.int64)
        return totals

    def __len__(self) -> int:
        """Count the queries."""
        return len(self.codes)

    def take(self, rows: NDArray[Any] | slice) -> "WeightedQueries":
        """Take some queries, by number, mask or slice."""
        return WeightedQueries(np.ascontiguousarray(self.codes[rows]), self.weights[rows])

    @cached_property
    def signed_weights(self) -> NDArray[np.float32]:
        """(q, b) float32 units of each bit with the sign of the query; all are whole numbers."""
        bits = np.unpackbits(self.codes, axis=1, count=self.n_bits, bitorder="little")
        signed: NDArray[np.float32] = np.copysign(self.weights, bits - HALF, dtype=np.float32)
        return signed

    def scores(
        self, distances: NDArray[np.integer[Any]], query: NDArray[Any] | None = None
    ) -> Scores:
        """Compute scores of weighted distances; a smaller one has a greater score, always.

        Args:
            distances: (q, k) int32 weighted distances, or (t,) with `query`.
            query: (t,) the number of each distance's query; None if it is its row.

        Returns:
            In the shape of `distances`, in [-1, 1].
        """
        totals = self.totals[:, None] if query is None else self.totals[query]
        # A query of zeros has a total of 0 and no distance above it.
        scores: NDArray[np.float64] = (totals - 2.0 * distances) / np.maximum(totals, 1)
        return scores.astype(np.float32)

    def limits(self, min_score: float) -> NDArray[np.int64]:
        """Compute the largest weighted distance at which an item scores `min_score` or more.

        Returns:
            (q,) int64; -1 where no distance does.
        """
        totals = self.totals
        limits = np.clip(np.floor(totals * (1 - min_score) / 2), -1, totals).astype(np.int64)
        # Scores are rounded to float32, so the limit may be beside the one computed.
        for step in (1, -1, -1, -1):
            tried = np.clip(limits + max(step, 0), 0, totals)
            reaches = self.scores(tried[:, None])[:, 0] >= min_score
            limits = np.where(reaches, tried, limits if step > 0 else limits - 1)
        return np.maximum(limits, -1)

    def paired_distances(self, codes: Codes, query: NDArray[Any]) -> Distances:
        """Compute the weighted distance of each code from a query of its own.

        Args:
            codes: (t, p) uint8.
            query: (t,) the number of each code's query.

        Returns:
            (t,) int32.
        """
        if len(self) == 1 and len(codes) * self.n_bits <= BLOCK_NUMBERS:
            bits = np.unpackbits(codes ^ self.codes, axis=1, count=self.n_bits, bitorder="little")
            single: Distances = (bits @ self.weights[0].astype(np.float32)).astype(np.int32)
            return single
        parts = [np.empty(0, np.int32)]
        step = max(1, BLOCK_NUMBERS // self.n_bits)
        for start in range(0, len(codes), step):
            own = query[start : start + step]
            differing = np.unpackbits(
                codes[start : start + step] ^ self.codes[own],
                axis=1,
                count=self.n_bits,
                bitorder="little",
            )
            parts.append((differing * self.weights[own]).sum(axis=1, dtype=np.int32))
        return np.concatenate(parts)


def weighted_distances(queries: WeightedQueries, database_codes: Codes) -> Distances:
    """Sum the units of the bits in which every query and every database code differ.

    Args:
        queries: q of them.
        database_codes: (m, p) uint8, packed; padding bits are zero.

    Returns:
        (q, m) int32 in [0, `QUERY_UNITS`]; smaller is better. Exact, whatever the order of sums.

    Raises:
        ShapeError: if the codes don't have the queries' bits.

    Example:
        >>> from modalhash.codes import pack
        >>> queries = WeightedQueries.of(np.array([[3.0, -1.0]]), 2)
        >>> distances = weighted_distances(queries, pack([[1, -1], [1, 1], [-1, 1]]))
        >>> queries.scores(distances).round(6)
        array([[ 1. ,  0.5, -1. ]], dtype=float32)
    """
    width = code_width(queries.n_bits)
    if database_codes.ndim != 2 or database_codes.shape[1] != width:
        raise ShapeError(
            f"database_codes has shape {database_codes.shape}, the queries have {queries.n_bits} "
            f"bits: expected (m, {width})"
        )
    find = looked_up_distances if len(queries) <= FEW_QUERIES else multiplied_distances
    return find(queries, database_codes)


def looked_up_distances(queries: WeightedQueries, database_codes: Codes) -> Distances:
    """Compute weighted distances by tables: for each byte of a code the sum of its bits."""
    n_items, width = database_codes.shape
    distances = np.zeros((len(queries), n_items), np.int32)
    padded = np.zeros((len(queries), width, 8), np.int32)
    padded.reshape(len(queries), -1)[:, : queries.n_bits] = queries.weights
    step = max(1, BLOCK_NUMBERS // (8 * width))
    for query in range(len(queries)):
        differing = BYTE_BITS[np.arange(256) ^ queries.codes[query][:, None]]
        tables = np.einsum("pvi,pi->pv", differing, padded[query], dtype=np.int32)
        for start in range(0, n_items, step):
            block = database_codes[start : start + step]
            for byte in range(width):
                # "clip" looks up without a check that a byte can't fail.
                sums = tables[byte].take(block[:, byte], mode="clip")
                distances[query, start : start + step] += sums
    return distances


def multiplied_distances(queries: WeightedQueries, database_codes: Codes) -> Distances:
    """Compute weighted distances by a product of matrices; all its sums are whole and exact."""
    distances = np.empty((len(queries), len(database_codes)), np.int32)
    signed = queries.signed_weights
    # Bits that are 0 differ where the query's sign is +1: that sum, and what each 1 changes.
    of_zeros = np.maximum(signed, 0).sum(axis=1, dtype=np.float64).astype(np.float32)[:, None]
    step = max(1, BLOCK_NUMBERS // queries.n_bits)
    for start in range(0, len(database_codes), step):
        block = database_codes[start : start + step]
        bits = np.unpackbits(block, axis=1, count=queries.n_bits, bitorder="little")
        products = signed @ bits.astype(np.float32).T
        distances[:, start : start + step] = of_zeros - products
    return distances


def asymmetric_scores(
    relaxed: Relaxed,
    database_codes: Codes,
    n_bits: int,
    *,
    bit_order: BitOrder | str = BitOrder.LITTLE,
) -> Scores:
    """Score every database code for every relaxed query; the module's text says what a score is.

    Args:
        relaxed: (q, b) float32 or float64, finite.
        database_codes: (m, p) uint8, packed.
        n_bits: b.
        bit_order: of the codes, "little" (ours) or "big".

    Returns:
        (q, m) float32 in [-1, 1]; larger is better. Ties are exact.

    Raises:
        InputError: if a number isn't finite.
        ShapeError: if queries or codes don't have b bits.

    Example:
        >>> from modalhash.codes import pack
        >>> asymmetric_scores(np.array([[3.0, -1.0]]), pack([[1, -1], [-1, -1]]), 2).round(6)
        array([[ 1. , -0.5]], dtype=float32)
    """
    database_codes = to_little(database_codes, bit_order)
    check_codes(database_codes, n_bits, name="database_codes")
    queries = WeightedQueries.of(relaxed, n_bits, name="relaxed")
    return queries.scores(weighted_distances(queries, database_codes))


def check_relaxed(relaxed: Relaxed, n_bits: int, *, name: str) -> None:
    """Refuse what isn't (q, b) floats.

    Raises:
        ShapeError: if it has another shape, another type, or another number of bits.
    """
    value: object = relaxed
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or value.ndim != 2:
        kind = f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else value
        raise ShapeError(f"{name} is {kind}, expected floats of shape (q, {n_bits})")
    if relaxed.shape[1] != n_bits:
        raise ShapeError(
            f"{name} have {relaxed.shape[1]} numbers a row, the codes have {n_bits} bits: encode "
            f"with a model of {n_bits} bits, or take its first {n_bits} numbers if its codes were "
            "cut so"
        )
    if n_bits > MOST_BITS:
        raise ShapeError(f"{name} have {n_bits} bits, expected at most {MOST_BITS}")


def check_finite(largest: NDArray[np.float64], *, name: str) -> None:
    """Refuse queries of which the largest absolute value, (q, 1), isn't finite.

    Raises:
        InputError: naming the first of them.
    """
    if not np.isfinite(largest).all():
        row = int(np.flatnonzero(~np.isfinite(largest))[0])
        raise InputError(
            f"{name} hold NaN or infinity, first in row {row}: check the features and the model, "
            "or search with packed codes"
        )
