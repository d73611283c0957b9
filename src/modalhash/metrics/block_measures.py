"""Every number of one direction, from rankings: measured in blocks of queries, then averaged."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modalhash.machine import usable_cores
from modalhash.metrics.average_precisions import PrecisionSums
from modalhash.metrics.bootstrap import bootstrap_interval, select_counted_values
from modalhash.metrics.options import MeasureSettings, RelevanceRule, Ties
from modalhash.metrics.ranked_measures import (
    first_target,
    hash_lookup,
    hits_inside,
    normalised_gain,
    precision_at,
    recall_at,
    share_of_hits,
)
from modalhash.metrics.results import Curve, DirectionReport, Measure
from modalhash.metrics.tallies import DistanceTally, RankedBlock, ScoreTally
from modalhash.metrics.tie_groups import TieGroups
from modalhash.modalities import Direction

__all__ = ["measure_all"]

Floats = NDArray[np.float64]

NO_TIES = "none"


@dataclass(frozen=True)
class Key:
    """What identifies a number of a report, in the words of `Measure`."""

    measure: str
    relevance: str
    k: int | None = None
    convention: str | None = None
    ties: str = NO_TIES


def measure_all(
    tally: DistanceTally | ScoreTally,
    direction: Direction,
    n_bits: int | None,
    settings: MeasureSettings,
    scoring: str,
) -> DirectionReport:
    """Measure block after block, in threads, and put the parts together."""
    n_rows = tally.block_rows()
    blocks = [
        slice(first, min(first + n_rows, tally.n_queries))
        for first in range(0, tally.n_queries, n_rows)
    ]
    ranks = curve_ranks(tally.n_items)

    def measure(queries: slice) -> tuple[dict[Key, Floats], dict[Key, Floats]]:
        block = tally.block(queries)
        return dict(block_values(block, settings)), dict(block_curves(block, settings, ranks))

    n_threads = min(settings.n_threads or usable_cores(), len(blocks))
    if n_threads == 1:
        parts = [measure(block) for block in blocks]
    else:
        with ThreadPoolExecutor(n_threads, thread_name_prefix="metrics") as pool:
            parts = list(pool.map(measure, blocks))
    values = {key: np.concatenate([part[key] for part, _ in parts]) for key in parts[0][0]}
    points = {key: np.concatenate([part[key] for _, part in parts]) for key in parts[0][1]}
    return DirectionReport(
        direction=direction.value,
        n_bits=n_bits,
        n_queries=tally.n_queries,
        n_database=tally.n_items,
        jaccard_threshold=settings.jaccard_threshold,
        measures=tuple(
            summarise(key, array, direction, tally.n_items, settings, scoring=scoring)
            for key, array in values.items()
        ),
        per_query=tuple(values.values()),
        curves=tuple(curves_of(points, ranks)),
        scoring=scoring,
    )


def curve_ranks(n_items: int) -> NDArray[np.int64]:
    """Compute the ranks of curves: 1 to 10, 20 to 100, 200 to 1000, ..., and the last."""
    decades = 10 ** np.arange(len(str(n_items)))
    ranks = np.unique(np.outer(decades, np.arange(1, 11)))
    return np.append(ranks[ranks < n_items], n_items).astype(np.int64)


def block_values(block: RankedBlock, settings: MeasureSettings) -> Iterator[tuple[Key, Floats]]:
    """Yield every measure's (rows,) values for a block of queries."""
    for rule, groups in block.groups.items():
        yield from precision_values(rule, groups, settings)
        if rule is RelevanceRule.PAIR:
            yield from target_values(groups, settings)
        elif block.by_distance:
            yield from lookup_values(rule, block.by_distance[rule], settings.radius)
    if block.gains is not None and block.ideal is not None:
        for k in settings.top_k:
            gain = normalised_gain(
                block.gains.sizes, block.gains.sums, block.ideal.sizes, block.ideal.sums, k
            )
            key = Key("ndcg", RelevanceRule.GRADED, k, settings.gain.value, settings.ties.value)
            yield key, gain


def precision_values(
    rule: RelevanceRule, groups: TieGroups, settings: MeasureSettings
) -> Iterator[tuple[Key, Floats]]:
    """Yield MAP under one rule of relevance; for rules on labels also precision and recall."""
    ties = settings.ties.value
    sums = PrecisionSums(groups, settings.ties)
    for k in settings.top_k:
        for convention in settings.conventions:
            key = Key("map", rule.value, k, convention.value, ties)
            yield key, sums.average(k, convention)
    if rule is RelevanceRule.PAIR:
        return
    for k in settings.top_k:
        if k is not None:
            yield Key("precision", rule.value, k, ties=ties), precision_at(sums.ordered, k)
            yield Key("recall", rule.value, k, ties=ties), recall_at(sums.ordered, k)


def target_values(groups: TieGroups, settings: MeasureSettings) -> Iterator[tuple[Key, Floats]]:
    """Yield recall and rank by pair."""
    rule, ties = RelevanceRule.PAIR.value, settings.ties.value
    nearest = first_target(in_tie_order(groups, settings.ties))
    for k in settings.recall_at:
        yield Key("recall", rule, k, ties=ties), nearest.is_within(k)
    for name in ("median_rank", "mean_rank"):
        yield Key(name, rule, ties=ties), nearest.rank()


def lookup_values(
    rule: RelevanceRule, by_distance: TieGroups, radius: int
) -> Iterator[tuple[Key, Floats]]:
    """Yield the measures of a hash lookup."""
    lookup = hash_lookup(by_distance, radius)
    named: Mapping[str, Floats] = {
        "lookup_precision": lookup.precision,
        "lookup_recall": lookup.recall,
        "lookup_f1": lookup.f1,
        "lookup_empty": lookup.is_empty,
    }
    for name, values in named.items():
        yield Key(name, rule.value, convention=f"radius_{radius}"), values


def in_tie_order(groups: TieGroups, ties: Ties) -> TieGroups:
    """Make groups whose expectation is the tie rule's value.

    This holds for every measure that hits further ahead can only raise: all but truncated average
    precision.
    """
    if ties in (Ties.OPTIMISTIC, Ties.PESSIMISTIC):
        return groups.split(hits_first=ties is Ties.OPTIMISTIC)
    return groups


def block_curves(
    block: RankedBlock, settings: MeasureSettings, ranks: NDArray[np.int64]
) -> Iterator[tuple[Key, Floats]]:
    """Yield (rows, points) precision and recall over ranks and over radii."""
    for rule, groups in block.groups.items():
        ordered = in_tie_order(groups, settings.ties)
        inside = hits_inside(ordered, ranks)
        ties = settings.ties.value
        yield Key("rank precision", rule.value, ties=ties), inside / ranks
        yield Key("rank recall", rule.value, ties=ties), share_of_hits(inside, groups)
    for rule, groups in block.by_distance.items():
        lookup = hash_lookup(groups, np.arange(groups.sizes.shape[1]))
        yield Key("radius precision", rule.value), lookup.precision
        yield Key("radius recall", rule.value), lookup.recall


def curves_of(points: Mapping[Key, Floats], ranks: NDArray[np.int64]) -> Iterator[Curve]:
    """Yield the mean curves of all queries."""
    for key, precision in points.items():
        by, name = key.measure.split()
        if name == "precision":
            recall = points[Key(f"{by} recall", key.relevance, ties=key.ties)]
            yield Curve(
                by=by,
                relevance=key.relevance,
                ties=key.ties,
                cutoffs=ranks if by == "rank" else np.arange(precision.shape[1]),
                precision=precision.mean(axis=0),
                recall=mean_of_counted(recall),
            )


def mean_of_counted(values: Floats) -> Floats:
    """Compute the (points,) means over the queries that aren't NaN; NaN if there is none."""
    is_counted = ~np.isnan(values)
    n_counted = is_counted.sum(axis=0)
    sums = np.where(is_counted, values, 0.0).sum(axis=0)
    return np.where(n_counted > 0, sums / np.maximum(n_counted, 1), np.nan)


def summarise(
    key: Key,
    values: Floats,
    direction: Direction,
    n_items: int,
    settings: MeasureSettings,
    *,
    scoring: str,
) -> Measure:
    """Compute the number that (q,) values make."""
    counted = select_counted_values(values)
    statistic = np.median if key.measure == "median_rank" else np.mean
    interval = None
    if settings.n_resamples:
        # The same seed for each: all measures see the same resampled queries.
        interval = bootstrap_interval(
            values,
            generator=settings.seed,
            n_resamples=settings.n_resamples,
            level=settings.level,
            statistic=statistic,
        )
    return Measure(
        measure=key.measure,
        value=float(statistic(counted)) if len(counted) else float("nan"),
        direction=direction.value,
        k=key.k,
        convention=key.convention,
        ties=key.ties,
        relevance=key.relevance,
        n_queries=len(counted),
        n_database=n_items,
        interval=interval,
        scoring=scoring,
    )
