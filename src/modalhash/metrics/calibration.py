"""From Hamming distance to the probability that an item is relevant.

What is estimated is one number a distance: of all pairs of a new query and an item of the
collection that are that far apart, the share that is relevant. It is counted on queries and items
that training didn't see.

A far item is never more likely relevant than a near one, so the shares are made to fall with
distance: the nearest falling sequence by weighted squares, which pooling adjacent violators finds.
Before that each distance that was seen gets one more pair, relevant by the base rate (the mean of
a Beta posterior with a prior of weight one), so that a single pair at a rare distance doesn't make
a probability of 0 or 1.

Two things keep the numbers honest:

- **Rare relevance.** Nearly all pairs are irrelevant and far apart, and easy to be right about. So
  reliability is stated twice: over all pairs, and over the 10 nearest of each query, which is what
  a reader sees.
- **Size.** By label, the share of relevant items is the same in a larger collection. By pair it
  isn't: a query has its one partner among 1,000 items or among a million. `RelevanceCurve.at`
  moves the odds accordingly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modalhash.codes import Codes, check_codes
from modalhash.errors import InputError, ShapeError
from modalhash.metrics.options import RelevanceRule, Ties
from modalhash.metrics.relevance import LabelRelevance, Labels, match_items
from modalhash.metrics.tallies import DistanceTally, Truth
from modalhash.modalities import Direction

__all__ = [
    "DirectionCalibration",
    "DistanceCounts",
    "RelevanceCurve",
    "Reliability",
    "ReliabilityBin",
    "calibrate_direction",
    "count_pairs",
    "falling_fit",
    "fit_relevance",
    "measure_reliability",
]

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

N_BINS = 10
NEAREST = 10


def falling_fit(values: ArrayLike, weights: ArrayLike) -> Floats:
    """Find the falling sequence nearest to some values, by weighted squares.

    Pools adjacent violators: as long as a block is larger than the one before it, the two become
    one block of their weighted mean.

    Args:
        values: (n,) finite numbers.
        weights: (n,) positive numbers.

    Returns:
        (n,) float64, never rising; its weighted mean is that of the values.

    Raises:
        ShapeError: if the two aren't flat and of one length.
        InputError: if a weight isn't positive.

    Example:
        >>> falling_fit([3, 1, 2, 0], [1, 1, 1, 1]).tolist()
        [3.0, 1.5, 1.5, 0.0]
    """
    heights, sizes = np.asarray(values, np.float64), np.asarray(weights, np.float64)
    if heights.ndim != 1 or heights.shape != sizes.shape:
        raise ShapeError(
            f"values is of shape {heights.shape}, weights of {sizes.shape}: both are flat and "
            "equally long"
        )
    if (sizes <= 0).any():
        raise InputError(f"weights holds {sizes.min()}, expected positive numbers")
    blocks: list[tuple[float, float, int]] = []
    for height, size in zip(heights.tolist(), sizes.tolist(), strict=True):
        mean, weight, length = height, size, 1
        while blocks and blocks[-1][0] < mean:
            before, before_weight, before_length = blocks.pop()
            both = before_weight + weight
            mean = (before * before_weight + mean * weight) / both
            weight, length = both, before_length + length
        blocks.append((mean, weight, length))
    means = np.array([mean for mean, _, _ in blocks])
    return np.repeat(means, [length for _, _, length in blocks])


@dataclass(frozen=True)
class DistanceCounts:
    """Pairs of queries and items by distance.

    Attributes:
        pairs: (q, n_bits + 1) int64, items at each distance from each query.
        relevant: (q, n_bits + 1) int64, those that are relevant.
    """

    pairs: Counts
    relevant: Counts

    def __len__(self) -> int:
        """Count the queries."""
        return len(self.pairs)

    def of(self, queries: NDArray[np.bool_]) -> "DistanceCounts":
        """Select the counts of some queries, (q,) bool."""
        return DistanceCounts(self.pairs[queries], self.relevant[queries])

    def nearest(self, k: int) -> tuple[Floats, Floats]:
        """Count pairs and relevant ones by distance among the k nearest of each query.

        Of items at one distance of which not all belong to the k nearest, the expected share does.

        Returns:
            Two of (n_bits + 1,) float64.
        """
        before = np.cumsum(self.pairs, axis=1) - self.pairs
        n_nearest = np.clip(k - before, 0, self.pairs)
        shares = self.relevant / np.maximum(self.pairs, 1)
        return n_nearest.sum(axis=0).astype(np.float64), (n_nearest * shares).sum(axis=0)


def count_pairs(
    query_codes: Codes,
    database_codes: Codes,
    n_bits: int,
    *,
    query_items: ArrayLike,
    database_items: ArrayLike,
    labels: tuple[Labels, Labels] | None = None,
    is_within: bool = False,
) -> DistanceCounts:
    """Count pairs by distance, and those that are relevant.

    With labels, items that share one with the query are relevant, and the query's own item isn't
    counted: a new query doesn't meet it. Without, the own item's rows are the relevant ones.

    Args:
        query_codes: (q, p) uint8.
        database_codes: (m, p) uint8.
        n_bits: bits of a code.
        query_items: (q,) integers, the item behind each query.
        database_items: (m,) integers, the item behind each database row.
        labels: (q, c) and (m, c) uint8 of 0 and 1.
        is_within: the queries are rows of the database themselves, and don't count as answers to
            themselves.

    Raises:
        ShapeError: if codes, items and labels don't fit each other.
    """
    check_codes(query_codes, n_bits, name="query_codes")
    check_codes(database_codes, n_bits, name="database_codes")
    relevance = None
    if labels is not None:
        relevance = LabelRelevance(*labels, jaccard_threshold=None, is_graded=False)
    truth = Truth((), relevance, match_items(query_items, database_items))
    n_queries = len(query_codes)
    sizes = {"query_items": len(np.asarray(query_items)), "query_labels": n_queries}
    if labels is not None:
        sizes["query_labels"] = len(labels[0])
    for name, size in sizes.items():
        if size != n_queries:
            raise ShapeError(f"{name} has {size} rows for {n_queries} codes: one row a code")
    tally = DistanceTally(
        query_codes, database_codes, n_bits, truth=truth, gains=None, ties=Ties.EXPECTED
    )
    pairs = np.zeros((n_queries, n_bits + 1), np.int64)
    relevant, own = np.zeros_like(pairs), np.zeros_like(pairs)
    for start in range(0, n_queries, tally.block_rows()):
        rows = slice(start, min(start + tally.block_rows(), n_queries))
        counts = tally.counts(rows)
        pairs[rows], own[rows] = counts.sum(axis=2), tally.target_counts(rows)
        if relevance is not None:
            relevant[rows] = counts[:, :, relevance.is_shared].sum(axis=2)
    if labels is not None:
        is_labelled = (labels[0] != 0).sum(axis=1) > 0
        return DistanceCounts(pairs - own, relevant - own * is_labelled[:, None])
    if is_within:
        pairs[:, 0] -= 1
        own[:, 0] -= 1
    return DistanceCounts(pairs, own)


@dataclass(frozen=True)
class RelevanceCurve:
    """The probability of relevance at each distance.

    Attributes:
        rule: when an item is relevant, `shared_label` or `pair`.
        n_queries: queries it was counted on.
        pairs: (n_bits + 1,) int64, pairs at each distance.
        relevant: (n_bits + 1,) int64, those that are relevant.
        probabilities: (n_bits + 1,) float64 in (0, 1), never rising: that a random item at this
            distance is relevant, in a collection such as it was counted on.
    """

    rule: RelevanceRule
    n_queries: int
    pairs: Counts
    relevant: Counts
    probabilities: Floats

    @property
    def base_rate(self) -> float:
        """Share of all pairs that is relevant."""
        return float(self.relevant.sum() / self.pairs.sum())

    @property
    def n_items(self) -> float:
        """Items that a query was compared with, on average."""
        return float(self.pairs.sum() / self.n_queries)

    def at(self, n_items: int | None = None) -> Floats:
        """Compute the probabilities in a collection of another size.

        By label they are the same. By pair the odds shrink as the items grow: a query is taken to
        have as many partners as before, among more others.

        Args:
            n_items: of the collection; None is the one it was counted on.

        Returns:
            (n_bits + 1,) float64 in (0, 1), never rising.
        """
        if n_items is None or self.rule is not RelevanceRule.PAIR:
            return self.probabilities
        partners = float(self.relevant.sum() / self.n_queries)
        others, others_before = max(n_items - partners, 1.0), self.n_items - partners
        odds = self.probabilities / (1 - self.probabilities) * (others_before / others)
        return odds / (1 + odds)

    def radius(self, least: float, n_items: int | None = None) -> int | None:
        """Find the largest distance with at least this probability; None if there is none.

        Args:
            least: a probability.
            n_items: of the collection, see `at`.

        Raises:
            InputError: if `least` isn't in [0, 1].
        """
        check_probability(least)
        reached = np.flatnonzero(self.at(n_items) >= least)
        return int(reached[-1]) if len(reached) else None


def check_probability(least: float) -> None:
    """Refuse what is no probability.

    Raises:
        InputError: if it isn't in [0, 1].
    """
    if not 0 <= least <= 1:
        raise InputError(f"min_relevance is {least}, expected a probability from 0 to 1")


def fit_relevance(counts: DistanceCounts, rule: RelevanceRule) -> RelevanceCurve:
    """Fit the probability of relevance at each distance; the module's text says how.

    A distance that no pair has takes the probability of the next larger one that was seen; beyond
    the largest, that of the largest.

    Raises:
        InputError: if no pair is relevant, or all are.

    Example:
        Three bits; at distance 0 one of one pairs is relevant, at 1 two of four, at 3 none of five.

        >>> counts = DistanceCounts(np.array([[1, 4, 0, 5]]), np.array([[1, 2, 0, 0]]))
        >>> fit_relevance(counts, RelevanceRule.PAIR).probabilities.round(3).tolist()
        [0.65, 0.46, 0.05, 0.05]
    """
    pairs, relevant = counts.pairs.sum(axis=0), counts.relevant.sum(axis=0)
    n_pairs, n_relevant = int(pairs.sum()), int(relevant.sum())
    if not 0 < n_relevant < n_pairs:
        raise InputError(
            f"{n_relevant} of {n_pairs} pairs are relevant: to calibrate takes relevant pairs and "
            "others; take more items"
        )
    seen = np.flatnonzero(pairs)
    weights = pairs[seen] + 1.0
    fitted = falling_fit((relevant[seen] + n_relevant / n_pairs) / weights, weights)
    place = np.searchsorted(seen, np.arange(len(pairs)))
    probabilities = fitted[np.minimum(place, len(seen) - 1)]
    return RelevanceCurve(rule, len(counts), pairs, relevant, probabilities)


@dataclass(frozen=True)
class ReliabilityBin:
    """What was promised and what came, of pairs with a probability in one tenth of [0, 1].

    Attributes:
        low: where the tenth begins.
        pairs: how many; of the nearest of each query, an expectation.
        predicted: mean probability.
        observed: share that is relevant.
    """

    low: float
    pairs: float
    predicted: float
    observed: float


@dataclass(frozen=True)
class Reliability:
    """How far probabilities can be trusted, measured on queries they weren't fitted on.

    Attributes:
        pairs: how many.
        base_rate: share that is relevant.
        brier: mean of (probability - outcome) squared; smaller is better.
        brier_of_base_rate: the same if every pair got the base rate.
        calibration_error: mean over pairs of |predicted - observed| of their tenth (ECE).
        bins: tenths that hold a pair.
    """

    pairs: float
    base_rate: float
    brier: float
    brier_of_base_rate: float
    calibration_error: float
    bins: tuple[ReliabilityBin, ...]


def measure_reliability(
    probabilities: ArrayLike, pairs: ArrayLike, relevant: ArrayLike
) -> Reliability:
    """Compare probabilities with what came.

    Args:
        probabilities: (g,) in [0, 1], of groups of pairs.
        pairs: (g,) how many pairs each group has.
        relevant: (g,) how many of them are relevant.

    Raises:
        InputError: if there are no pairs.

    Example:
        >>> measured = measure_reliability([0.9, 0.2], [10, 10], [8, 2])
        >>> round(measured.calibration_error, 3), round(measured.brier, 3)
        (0.05, 0.165)
    """
    promised, sizes, hits = (
        np.asarray(values, np.float64) for values in (probabilities, pairs, relevant)
    )
    total = float(sizes.sum())
    if total <= 0:
        raise InputError("there are no pairs to measure reliability on")
    base = float(hits.sum()) / total
    squares = hits * (1 - promised) ** 2 + (sizes - hits) * promised**2
    places = np.minimum((promised * N_BINS).astype(np.int64), N_BINS - 1)
    bins = []
    for place in np.unique(places[sizes > 0]).tolist():
        inside = places == place
        n_inside = float(sizes[inside].sum())
        predicted = float((promised * sizes)[inside].sum()) / n_inside
        observed = float(hits[inside].sum()) / n_inside
        bins.append(ReliabilityBin(place / N_BINS, n_inside, predicted, observed))
    error = sum(part.pairs * abs(part.predicted - part.observed) for part in bins) / total
    return Reliability(
        total, base, float(squares.sum()) / total, base * (1 - base), error, tuple(bins)
    )


@dataclass(frozen=True)
class DirectionCalibration:
    """The probability of relevance in one direction, and how far it can be trusted.

    Attributes:
        direction: what asks and what answers.
        curve: probability by distance, fitted on all queries.
        all_pairs: reliability over all pairs; each half of the queries is measured by a curve
            fitted on the other half.
        nearest: the same over the 10 nearest of each query.
    """

    direction: Direction
    curve: RelevanceCurve
    all_pairs: Reliability
    nearest: Reliability

    def to_json(self) -> dict[str, Any]:
        """Write it as a JSON document."""
        curve = self.curve
        return {
            "direction": self.direction.value,
            "rule": curve.rule.value,
            "n_queries": curve.n_queries,
            "n_items": curve.n_items,
            "base_rate": curve.base_rate,
            "pairs": curve.pairs.tolist(),
            "relevant": curve.relevant.tolist(),
            "probabilities": curve.probabilities.tolist(),
            "all_pairs": asdict(self.all_pairs),
            "nearest": asdict(self.nearest),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any], last: int) -> Self:
        """Read what `to_json` made.

        Args:
            document: of one direction.
            last: the largest distance, the number of bits; or the last level of scores.

        Raises:
            InputError: if it doesn't fit codes of this length, or is no curve.
            KeyError, TypeError, ValueError: if an entry is missing or of another sort.
        """
        pairs, relevant = (np.array(document[name], np.int64) for name in ("pairs", "relevant"))
        probabilities = np.array(document["probabilities"], np.float64)
        if {array.shape for array in (pairs, relevant, probabilities)} != {(last + 1,)}:
            raise InputError(f"a curve of relevance has other than {last + 1} distances")
        is_between = ((probabilities > 0) & (probabilities < 1)).all()
        if not is_between or (np.diff(probabilities) > 0).any():
            raise InputError("the probabilities of a curve of relevance rise, or aren't in (0, 1)")
        rule = RelevanceRule(document["rule"])
        curve = RelevanceCurve(rule, int(document["n_queries"]), pairs, relevant, probabilities)
        reliabilities = [reliability_of(document[name]) for name in ("all_pairs", "nearest")]
        return cls(Direction(document["direction"]), curve, *reliabilities)


def reliability_of(document: Mapping[str, Any]) -> Reliability:
    """Read a reliability from JSON."""
    bins: Sequence[Mapping[str, float]] = document["bins"]
    return Reliability(**{**document, "bins": tuple(ReliabilityBin(**entry) for entry in bins)})


def calibrate_direction(
    direction: Direction, counts: DistanceCounts, rule: RelevanceRule, *, halves: NDArray[np.bool_]
) -> DirectionCalibration:
    """Fit one direction, and measure how far that can be trusted.

    Args:
        direction: what asks and what answers.
        counts: of held-out queries and items.
        rule: when an item is relevant.
        halves: (q,) bool, which half of the queries each belongs to; queries of one item should
            stand in one half.

    Raises:
        InputError: if a half has no relevant pair, or only such.
    """
    promised: list[Floats] = []
    measured: dict[str, list[tuple[Floats, Floats]]] = {"all": [], "nearest": []}
    for half in (halves, ~halves):
        promised.append(fit_relevance(counts.of(~half), rule).probabilities)
        half_counts = counts.of(half)
        sums = [
            table.sum(axis=0).astype(np.float64)
            for table in (half_counts.pairs, half_counts.relevant)
        ]
        measured["all"].append((sums[0], sums[1]))
        measured["nearest"].append(half_counts.nearest(NEAREST))
    all_pairs, nearest = (
        measure_reliability(
            np.concatenate(promised),
            np.concatenate([pairs for pairs, _ in reliability_counts]),
            np.concatenate([relevant for _, relevant in reliability_counts]),
        )
        for reliability_counts in measured.values()
    )
    return DirectionCalibration(direction, fit_relevance(counts, rule), all_pairs, nearest)
