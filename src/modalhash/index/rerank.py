"""The second stage of a search: a shortlist by Hamming distance, put in order by something finer.

A **scorer** scores the items of a shortlist for one query; larger is better. What it knows of the
items beyond their codes is stored beside them:

- `FineScorer`: a product quantizer's codes, met by the unquantized query (asymmetric). HuggingHash+
  learns them.
- `FeatureScorer`: the features themselves, in float16 or as bytes (`ByteFeatures`).
- `RelaxedScorer`: nothing but the codes; the query's relaxed code says how sure each bit is.

`rerank` puts a scorer to work. One rule holds for all: of a ranking by Hamming distance (ties by
insertion) the first N positions are put in the order of the scores, equal scores in the order they
had; the rest stays as it is. So N = 0 is the Hamming ranking, and N = all a sort by score.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, Distances, check_codes, hamming_distances, unpack
from modalhash.errors import InputError, ShapeError
from modalhash.search_request import RerankScore

__all__ = [
    "ByteFeatures",
    "FeatureScorer",
    "FineBooks",
    "FineCodes",
    "FineScorer",
    "RelaxedScorer",
    "RerankScore",
    "Scorer",
    "Scores",
    "TwoStageRanking",
    "default_shortlist",
    "rerank",
    "shortlist_length",
]

Scores = NDArray[np.float32]
FineCodes = NDArray[np.uint8]
Positions = NDArray[np.int64]
Floats = NDArray[np.float32]

SMALLEST_SHORTLIST, LARGEST_SHORTLIST, SHORTLIST_SHARE = 500, 5000, 0.05
MOST_CODEWORDS = 256
LARGEST_BYTE = 127


class Scorer(Protocol):
    """Scores the items of a shortlist for the queries it was made with."""

    def __call__(self, query: int, items: Positions, distances: Distances) -> Scores:
        """Score items for one query.

        Args:
            query: its row among the queries.
            items: (n,) rows of the database.
            distances: (n,) int32 Hamming distances between the two.

        Returns:
            (n,) float32; larger is better.
        """


def default_shortlist(n_items: int) -> int:
    """Choose how many items to rerank if nobody says: 5 % of them, between 500 and 5000.

    Example:
        >>> default_shortlist(1_000), default_shortlist(40_000), default_shortlist(1_000_000)
        (500, 2000, 5000)
    """
    share = round(SHORTLIST_SHARE * n_items)
    return min(max(SMALLEST_SHORTLIST, share), LARGEST_SHORTLIST)


def shortlist_length(request: int | str, n_items: int) -> int:
    """Read the length of a shortlist.

    Args:
        request: a number, 0 or more; "auto" for `default_shortlist`; "all".
        n_items: of the database.

    Returns:
        Between 0 and `n_items`.

    Raises:
        InputError: if it is none of these.
    """
    if request == "all":
        return n_items
    if request == "auto":
        return min(default_shortlist(n_items), n_items)
    try:
        count = int(request)
    except ValueError:
        count = -1
    if count < 0 or isinstance(request, float):
        raise InputError(
            f"rerank is {request!r}, expected a number of items, 0 or more, or auto, or all"
        )
    return min(count, n_items)


def rerank(
    items: Positions, distances: Distances, scorer: Scorer, *, query: int = 0
) -> tuple[Positions, Scores]:
    """Put a shortlist in the order of a scorer.

    Args:
        items: (n,) rows of the database in the order of Hamming distance, ties by insertion.
        distances: (n,) int32, ascending.
        scorer: scores them.
        query: its row among the queries the scorer was made with.

    Returns:
        The same items, best first, equal scores in the order they had; and their scores.

    Example:
        >>> scorer = lambda query, items, distances: np.float32([1, 5, 1])
        >>> rerank(np.array([7, 8, 9]), np.int32([0, 2, 4]), scorer)
        (array([8, 7, 9]), array([5., 1., 1.], dtype=float32))
    """
    scores = scorer(query, items, distances)
    if scores.shape != items.shape:
        raise ShapeError(f"scores have shape {scores.shape}, expected {items.shape}")
    order = np.argsort(-scores, kind="stable")
    return items[order], scores[order]


@dataclass(frozen=True)
class FineBooks:
    """What finer codes stand for, and how much they count.

    Attributes:
        codewords: (s, k, w) float32, the codewords of each of s sub-spaces.
        code_weight: weight of the similarity by hash code, `1 - 2 distance / n_bits`.
        fine_weight: weight of the similarity by finer codes.
        n_parts: vectors that the sub-spaces are cut from; their inner products are averaged.
    """

    codewords: Floats
    code_weight: float = 0.0
    fine_weight: float = 1.0
    n_parts: int = 1

    def __post_init__(self) -> None:
        """Check shapes and ranges.

        Raises:
            ShapeError: if the codewords aren't (s, k, w) with k up to 256.
            InputError: if they aren't finite, or there are no parts.
        """
        if self.codewords.ndim != 3 or not 1 <= self.codewords.shape[1] <= MOST_CODEWORDS:
            raise ShapeError(
                f"codewords have shape {self.codewords.shape}, expected (sub-spaces, codewords, "
                f"width) with 1 to {MOST_CODEWORDS} codewords"
            )
        if not np.isfinite(self.codewords).all() or self.n_parts < 1:
            raise InputError("codewords hold NaN or infinity, or n_parts isn't positive")

    @property
    def n_subspaces(self) -> int:
        """Number of sub-spaces s: bytes of an item's finer codes."""
        return len(self.codewords)

    @property
    def n_bits(self) -> int:
        """Bits an item takes beside its hash code, if each sub-space took as few as it can."""
        return self.n_subspaces * (int(self.codewords.shape[1]) - 1).bit_length()

    def tables(self, queries: Floats) -> Floats:
        """Compute the inner products of query sub-vectors (q, s, w) with all codewords, (q, s, k).

        Raises:
            ShapeError: if the sub-vectors don't fit the codewords.
        """
        expected = (self.n_subspaces, self.codewords.shape[2])
        if queries.ndim != 3 or queries.shape[1:] != expected:
            raise ShapeError(
                f"query sub-vectors have shape {queries.shape}, expected (q, {expected[0]}, "
                f"{expected[1]}): they come from another model than the codewords"
            )
        products: Floats = np.einsum("qsw,skw->qsk", queries, self.codewords, optimize=True).astype(
            np.float32
        )
        return products

    def decode(self, fine: FineCodes) -> Floats:
        """Look up the vectors of finer codes (n, s), (n, s, w)."""
        check_fine_codes(fine, self)
        return self.codewords[np.arange(self.n_subspaces), fine]

    def similarity(self, tables: Floats, fine: FineCodes) -> Scores:
        """Compute the mean inner product of one query's parts with those of items.

        Args:
            tables: (s, k) of one query.
            fine: (n, s) uint8.

        Returns:
            (n,) float32.
        """
        products_of_codes = tables.ravel()[fine + np.arange(self.n_subspaces) * tables.shape[1]]
        sums: Scores = products_of_codes.sum(axis=1, dtype=np.float32)
        return sums / np.float32(self.n_parts)

    def fused(self, similarity: Scores, distances: Distances, n_bits: int) -> Scores:
        """Compute the weighted sum of both similarities.

        Args:
            similarity: (n,) by finer codes.
            distances: (n,) Hamming distances.
            n_bits: bits of a hash code.
        """
        by_code = 1 - np.float32(2 / n_bits) * distances.astype(np.float32)
        return np.float32(self.code_weight) * by_code + np.float32(self.fine_weight) * similarity


def check_fine_codes(fine: FineCodes, books: FineBooks) -> None:
    """Refuse finer codes that don't fit the codewords.

    Raises:
        ShapeError: if they aren't (n, s) uint8.
        InputError: if one names a codeword that isn't there.
    """
    if fine.ndim != 2 or fine.shape[1] != books.n_subspaces or fine.dtype != np.uint8:
        raise ShapeError(
            f"finer codes are {fine.dtype} of shape {fine.shape}, expected uint8 of shape (n, "
            f"{books.n_subspaces}): they come from another model than the codewords"
        )
    n_codewords = books.codewords.shape[1]
    if fine.size and int(fine.max()) >= n_codewords:
        raise InputError(
            f"a finer code is {int(fine.max())}, but there are {n_codewords} codewords: "
            "the codes are damaged or of another model"
        )


class FineScorer:
    """Score items by their finer codes, looked up in tables that each query makes once.

    Args:
        books: the codewords and weights.
        queries: (q, s, w) float32 sub-vectors, not quantized.
        fine: (m, s) uint8 of the database.
        n_bits: bits of a hash code.
        score: what the score is made of.

    Raises:
        ShapeError: if one doesn't fit the other.
        InputError: if a code names a codeword that isn't there.
    """

    def __init__(
        self,
        books: FineBooks,
        queries: Floats,
        fine: FineCodes,
        *,
        n_bits: int,
        score: RerankScore = RerankScore.FUSED,
    ) -> None:
        check_fine_codes(fine, books)
        self.books, self.fine, self.n_bits, self.score = books, fine, n_bits, score
        self.queries = queries
        books.tables(queries[:0])

    def __call__(self, query: int, items: Positions, distances: Distances) -> Scores:
        """Score items for one query; see `Scorer`."""
        tables = self.books.tables(self.queries[query : query + 1])[0]
        similarity = self.books.similarity(tables, self.fine[items])
        if self.score is RerankScore.LOCAL:
            return similarity
        return self.books.fused(similarity, distances, self.n_bits)


class TwoStageRanking:
    """Queries and a database, ranked by hash codes and then by a scorer, by plain scan.

    Args:
        query_codes: (q, p) uint8.
        database_codes: (m, p) uint8.
        n_bits: bits of a hash code.
        scorer: of the second stage, made for these queries and this database.

    Raises:
        ShapeError: if the codes don't have so many bits.
    """

    def __init__(
        self, query_codes: Codes, database_codes: Codes, n_bits: int, scorer: Scorer
    ) -> None:
        check_codes(query_codes, n_bits, name="query_codes")
        check_codes(database_codes, n_bits, name="database_codes")
        self.query_codes, self.database_codes = query_codes, database_codes
        self.scorer = scorer

    @property
    def n_queries(self) -> int:
        """Number of queries q."""
        return len(self.query_codes)

    def shortlist(self, query: int, length: int) -> tuple[Positions, Scores, Distances]:
        """Rank the first `length` items for one query.

        Args:
            query: its row.
            length: items of the second stage, at most m.

        Returns:
            Those items, best first, their scores, and the distances of all m items.
        """
        distances = hamming_distances(self.query_codes[query : query + 1], self.database_codes)[0]
        # Distance, then place, in one number: the nearest are found without sorting all.
        keys = distances.astype(np.int64) * len(distances) + np.arange(len(distances))
        if length < len(keys):
            nearest = np.argpartition(keys, length)[:length]
            nearest = nearest[np.argsort(keys[nearest])]
        else:
            nearest = np.argsort(keys)
        items, scores = rerank(nearest, distances[nearest], self.scorer, query=query)
        return items, scores, distances

    def blocks(self, length: int) -> Callable[[slice], NDArray[np.float64]]:
        """Make the function that computes the scores of a block of queries, for the measures.

        The shortlist scores by its place, above 0; the rest by minus its distance, so that ties
        of the first stage stay ties, and a shortlist of none is the ranking by distance.

        Args:
            length: items of the second stage, at most m.
        """

        def scores(queries: slice) -> NDArray[np.float64]:
            rows = []
            for query in range(self.n_queries)[queries]:
                items, _, distances = self.shortlist(query, length)
                row = -distances.astype(np.float64)
                row[items] = np.arange(length, 0, -1)
                rows.append(row)
            return np.stack(rows)

        return scores


@dataclass(frozen=True)
class ByteFeatures:
    """Features at a byte a number: each row divided by a scale of its own.

    Attributes:
        values: (n, d) int8 in [-127, 127].
        scales: (n,) float32; `values * scales` is the feature to within half a scale.
    """

    values: NDArray[np.int8]
    scales: Floats

    @classmethod
    def of(cls, features: NDArray[np.floating]) -> "ByteFeatures":
        """Round features to bytes.

        Args:
            features: (n, d) floats, finite.

        Raises:
            ShapeError: if they aren't (n, d).
            InputError: if one isn't finite.

        Example:
            >>> ByteFeatures.of(np.array([[1.0, -0.5], [0.0, 0.0]])).values
            array([[127, -64],
                   [  0,   0]], dtype=int8)
        """
        check_features(features)
        wide = features.astype(np.float64)
        largest = np.abs(wide).max(axis=1, initial=0.0)
        scales = (largest / LARGEST_BYTE).astype(np.float32)
        divisors = np.where(scales > 0, scales, np.float32(1)).astype(np.float64)
        rounded = np.clip(np.rint(wide / divisors[:, None]), -LARGEST_BYTE, LARGEST_BYTE)
        return cls(rounded.astype(np.int8), scales)

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.values)

    def __getitem__(self, rows: Positions) -> Floats:
        """Read the features of some rows, (k, d) float32."""
        return self.values[rows].astype(np.float32) * self.scales[rows, None]


class FeatureScorer:
    """Score items by their features: inner product, or cosine.

    Args:
        queries: (q, d) floats.
        features: (m, d) float16 or float32, or `ByteFeatures`; a chosen few are made float32 at a
            time.
        is_cosine: divide by both lengths; a row of zeros scores 0.

    Raises:
        ShapeError: if widths differ.
        InputError: if a query isn't finite.
    """

    def __init__(
        self,
        queries: NDArray[np.floating],
        features: NDArray[np.floating] | ByteFeatures,
        *,
        is_cosine: bool = True,
    ) -> None:
        check_features(queries)
        self.width = (features.values if isinstance(features, ByteFeatures) else features).shape[1]
        if queries.shape[1] != self.width:
            raise ShapeError(
                f"queries have {queries.shape[1]} numbers a row, stored features {self.width}: "
                "they come from another encoder"
            )
        self.queries, self.features = queries.astype(np.float32), features
        self.is_cosine = is_cosine

    def __call__(self, query: int, items: Positions, distances: Distances) -> Scores:
        """Score items for one query; see `Scorer`."""
        rows = self.features[items].astype(np.float32)
        query_features = self.queries[query]
        scores: Scores = rows @ query_features
        if not self.is_cosine:
            return scores
        lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(query_features)
        return np.where(lengths > 0, scores / np.where(lengths > 0, lengths, 1), np.float32(0))


class RelaxedScorer:
    """Score items by their hash codes alone, met by the query's relaxed code.

    The inner product of relaxed query and signs: a bit the query is unsure of counts for little.

    Args:
        queries: (q, b) floats, relaxed codes.
        codes: (m, p) uint8 of the database.
        n_bits: b.

    Raises:
        ShapeError: if the codes or the queries don't have b bits.
        InputError: if a query isn't finite.
    """

    def __init__(self, queries: NDArray[np.floating], codes: Codes, n_bits: int) -> None:
        check_features(queries)
        check_codes(codes, n_bits, name="codes")
        if queries.shape[1] != n_bits:
            raise ShapeError(
                f"relaxed queries have {queries.shape[1]} numbers a row, the codes {n_bits} bits"
            )
        self.queries, self.codes, self.n_bits = queries.astype(np.float32), codes, n_bits

    def __call__(self, query: int, items: Positions, distances: Distances) -> Scores:
        """Score items for one query; see `Scorer`."""
        signs = unpack(self.codes[items], self.n_bits).astype(np.float32)
        scores: Scores = signs @ self.queries[query]
        return scores


def check_features(features: NDArray[np.floating]) -> None:
    """Refuse what isn't rows of finite numbers.

    Raises:
        ShapeError: if it isn't two-dimensional.
        InputError: if a number isn't finite.
    """
    if features.ndim != 2:
        raise ShapeError(f"features have shape {features.shape}, expected (n, d)")
    if not np.isfinite(features).all():
        row = int(np.flatnonzero(~np.isfinite(features).all(axis=1))[0])
        raise InputError(f"features hold NaN or infinity, first in row {row}")
