"""Ranking measures as plain loops, slow and obvious.

A ranking is a list of what each item is, nearest first: True for relevant, or a gain. Ties are
handled by trying every order.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import permutations, product
from math import log2

__all__ = [
    "average_precision",
    "discounted_gain",
    "expected_in_group",
    "first_rank",
    "hamming",
    "in_common",
    "jaccard",
    "normalised_gain",
    "precision",
    "recall",
    "tie_orders",
    "under_ties",
]


def average_precision(relevant: Sequence[bool], top_k: int | None, convention: str) -> float:
    """Average precision of one ranking without ties; NaN if the query is dropped."""
    if top_k is None:
        top_k = len(relevant)
    n_relevant = sum(relevant)
    if convention == "answerable" and n_relevant == 0:
        return float("nan")
    precisions = []
    hits = 0
    for rank, is_relevant in enumerate(relevant, start=1):
        if convention == "first_k_relevant":
            if hits == top_k:
                break
        elif rank > top_k:
            break
        if is_relevant:
            hits += 1
            precisions.append(hits / rank)
    if not precisions:
        return 0.0
    if convention == "standard":
        return sum(precisions) / min(top_k, n_relevant)
    return sum(precisions) / len(precisions)


def precision(relevant: Sequence[bool], top_k: int) -> float:
    """Share of relevant items among the first K, or among all if there are fewer."""
    first = relevant[:top_k]
    return sum(first) / len(first)


def recall(relevant: Sequence[bool], top_k: int) -> float:
    """Share of the relevant items that the first K hold; NaN without any."""
    return sum(relevant[:top_k]) / sum(relevant) if any(relevant) else float("nan")


def first_rank(relevant: Sequence[bool]) -> float:
    """Rank of the first relevant item, from 1; NaN without any."""
    for rank, is_relevant in enumerate(relevant, start=1):
        if is_relevant:
            return float(rank)
    return float("nan")


def discounted_gain(gains: Sequence[float], top_k: int | None) -> float:
    """Sum of gain / log2(rank + 1)."""
    return sum(gain / log2(rank + 1) for rank, gain in enumerate(gains[:top_k], start=1))


def normalised_gain(gains: Sequence[float], top_k: int | None) -> float:
    """Discounted gain by the best possible; 0 if nothing has a gain."""
    best = discounted_gain(sorted(gains, reverse=True), top_k)
    return discounted_gain(gains, top_k) / best if best else 0.0


def tie_orders(distances: Sequence[float], items: Sequence[float]) -> Iterator[list[float]]:
    """Yield `items` by distance, in every order inside the ties; the database's order first."""
    groups = [
        [item for item, its_distance in zip(items, distances, strict=True) if its_distance == d]
        for d in sorted(set(distances))
    ]
    for orders in product(*(permutations(group) for group in groups)):
        yield [item for order in orders for item in order]


def under_ties(
    distances: Sequence[float],
    items: Sequence[float],
    ties: str,
    measure: Callable[[list[float]], float],
) -> float:
    """Value of a measure (larger is better) under a tie rule, by trying every order."""
    values = [measure(order) for order in tie_orders(distances, items)]
    if ties == "expected":
        return sum(values) / len(values)
    return {"database_order": values[0], "optimistic": max(values), "pessimistic": min(values)}[
        ties
    ]


def expected_in_group(
    n_items: int,
    n_hits: int,
    *,
    start: int,
    earlier_hits: int,
    stop_at_rank: int | None = None,
    stop_at_hit: int | None = None,
) -> dict[int, tuple[float, float]]:
    """Walk through a shuffled group position by position, following every number of hits.

    Args:
        n_items: items of the group.
        n_hits: relevant ones.
        start: items before the group.
        earlier_hits: relevant ones before the group.
        stop_at_rank: positions that count, or None for all.
        stop_at_hit: hits of the group that count, or None for all.

    Returns:
        For each number of hits that count: its probability, and the expected sum of precisions
        times that probability.
    """
    ways = {0: (1.0, 0.0)}
    for position in range(n_items if stop_at_rank is None else stop_at_rank):
        after: dict[int, tuple[float, float]] = {}
        for hits, (chance, total) in ways.items():
            if hits == stop_at_hit:
                steps = [(hits, 1.0, 0.0)]
            else:
                share = (n_hits - hits) / (n_items - position)
                gain = (earlier_hits + hits + 1) / (start + position + 1)
                steps = [(hits + 1, share, gain), (hits, 1 - share, 0.0)]
            for hits_after, share, gain in steps:
                if share > 0:
                    old_chance, old_total = after.get(hits_after, (0.0, 0.0))
                    after[hits_after] = (
                        old_chance + chance * share,
                        old_total + (total + chance * gain) * share,
                    )
        ways = after
    return ways


def hamming(signs: Sequence[int], other_signs: Sequence[int]) -> int:
    """Number of places at which two codes differ."""
    return sum(sign != other for sign, other in zip(signs, other_signs, strict=True))


def in_common(labels: Sequence[int], other_labels: Sequence[int]) -> int:
    """Number of labels that both have."""
    return sum(mine == theirs == 1 for mine, theirs in zip(labels, other_labels, strict=True))


def jaccard(labels: Sequence[int], other_labels: Sequence[int]) -> float:
    """Labels in common by labels of either; 0 if neither has any."""
    either = sum(labels) + sum(other_labels) - in_common(labels, other_labels)
    return in_common(labels, other_labels) / either if either else 0.0
