"""The evaluation of one direction: codes (or scores) and what is relevant in, every number out."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modalhash.codes import Codes, check_codes
from modalhash.errors import InputError, ShapeError
from modalhash.machine import usable_cores
from modalhash.metrics.average_precisions import PrecisionSums
from modalhash.metrics.bootstrap import bootstrap_interval, select_counted_values
from modalhash.metrics.options import (
    MeasureChoices,
    MeasureSettings,
    RelevanceRule,
    Ties,
    read_choice,
)
from modalhash.metrics.ranked_measures import (
    first_target,
    gain_values,
    hash_lookup,
    hits_inside,
    normalised_gain,
    precision_at,
    recall_at,
    share_of_hits,
)
from modalhash.metrics.relevance import (
    LabelRelevance,
    check_labels,
    check_own_rows,
    check_targets,
)
from modalhash.metrics.results import Curve, DirectionReport, Measure
from modalhash.metrics.tallies import DistanceTally, RankedBlock, ScoreBlocks, ScoreTally, Truth
from modalhash.metrics.tie_groups import TieGroups
from modalhash.modalities import Direction

__all__ = ["evaluate_direction", "evaluate_scores"]

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


def evaluate_direction(
    query_codes: Codes,
    database_codes: Codes,
    n_bits: int,
    *,
    direction: Direction | str,
    query_labels: ArrayLike | None = None,
    database_labels: ArrayLike | None = None,
    query_targets: ArrayLike | None = None,
    own_rows: ArrayLike | None = None,
    **choices: Unpack[MeasureChoices],
) -> DirectionReport:
    """Measure how well queries find what is relevant to them, by Hamming distance.

    Exact, in blocks: memory doesn't grow with the number of query-item pairs. How queries without
    relevant items count: average precision 0 (left out under `answerable`), precision and nDCG 0,
    recall, ranks and F1 left out. `Measure.n_queries` says how many count.

    Args:
        query_codes: (q, p) uint8, packed.
        database_codes: (m, p) uint8, packed.
        n_bits: bits of a code.
        direction: what asks and what is asked for; it names the numbers, nothing else.
        query_labels: (q, c) of 0 and 1, for relevance by labels.
        database_labels: (m, c) of 0 and 1, the same classes.
        query_targets: (q,) or (q, t) database rows that answer each query, -1 to fill up, for
            relevance by pair (see `match_items`). Recall by pair counts a query as found if any of
            its targets is inside the cut-off; its rank is the nearest target's.
        own_rows: (q,) the database row that is each query itself, and isn't ranked for it; None
            ranks all rows for all queries.
        **choices: the fields of `MeasureSettings`: `top_k`, `conventions`, `ties`, `relevances`,
            `jaccard_threshold`, `gain`, `recall_at`, `radius`, `n_resamples`, `level`, `seed`,
            `n_threads`.

    Returns:
        The report: for labels MAP, precision, recall at each cut-off, hash lookup, nDCG; for pairs
        MAP, recall, mean and median rank; curves by rank and by radius.

    Raises:
        ShapeError: if codes, labels or targets have a wrong shape or dtype.
        InputError: if there are no queries or items, labels aren't 0 and 1, targets aren't rows of
            the database, or a rule of relevance lacks its labels or targets.
        SettingError: if a setting is out of its range.
        UnknownNameError: if a name isn't known.

    Example:
        >>> from modalhash.codes import pack
        >>> codes = pack([[1, 1, 1, 1], [1, 1, 1, -1], [-1, -1, -1, -1]])
        >>> labels = [[1, 0], [0, 1], [1, 0]]
        >>> report = evaluate_direction(
        ...     codes[:1], codes, 4, direction="image_to_text", query_labels=labels[:1],
        ...     database_labels=labels, query_targets=[0], relevances=["shared_label", "pair"],
        ... )
        >>> round(report.find("map", relevance="shared_label").value, 4)  # (1 + 2/3) / 2
        0.8333
        >>> report.find("recall", k=1, relevance="pair").value
        1.0
    """
    settings = MeasureSettings.read(choices)
    check_codes(query_codes, n_bits, name="query_codes")
    check_codes(database_codes, n_bits, name="database_codes")
    truth = read_truth(
        (len(query_codes), len(database_codes)),
        query_labels,
        database_labels,
        query_targets,
        settings,
    )
    own = None
    if own_rows is not None:
        own = check_own_rows(own_rows, len(query_codes), len(database_codes))
        truth = truth.without(own)
    tally = DistanceTally(
        query_codes,
        database_codes,
        n_bits,
        truth=truth,
        gains=choose_gains(truth, settings),
        ties=settings.ties,
        own_rows=own,
    )
    return measure_all(tally, read_choice("direction", Direction, direction), n_bits, settings)


def evaluate_scores(
    scores: ScoreBlocks | ArrayLike,
    n_queries: int,
    n_database: int,
    *,
    direction: Direction | str,
    query_labels: ArrayLike | None = None,
    database_labels: ArrayLike | None = None,
    query_targets: ArrayLike | None = None,
    **choices: Unpack[MeasureChoices],
) -> DirectionReport:
    """Measure a ranking by real-valued scores, with the formulas of `evaluate_direction`.

    Equal scores are ties. Blocks are sorted, so this is slower than codes are. There is no hash
    lookup and no curve by radius.

    Args:
        scores: (q, m) array, or a function that takes a slice of the queries and returns their
            (rows, m) scores; larger is better. It may be called from several threads.
        n_queries: q.
        n_database: m.
        direction: what asks and what is asked for.
        query_labels: as for `evaluate_direction`.
        database_labels: as for `evaluate_direction`.
        query_targets: as for `evaluate_direction`.
        **choices: the fields of `MeasureSettings`.

    Returns:
        The report; its `n_bits` is None.

    Raises:
        ShapeError: if scores, labels or targets have a wrong shape or dtype.
        InputError: as for `evaluate_direction`, and if a score is NaN.
        SettingError: if a setting is out of its range.
        UnknownNameError: if a name isn't known.

    Example:
        >>> features = np.eye(3)
        >>> report = evaluate_scores(
        ...     lambda queries: features[queries] @ features.T, 3, 3,
        ...     direction="text_to_image", query_targets=[0, 1, 2],
        ... )
        >>> report.find("median_rank").value
        1.0
    """
    settings = MeasureSettings.read(choices)
    truth = read_truth(
        (n_queries, n_database), query_labels, database_labels, query_targets, settings
    )
    if callable(scores):
        score_block = scores
    else:
        table = np.asarray(scores)
        if table.shape != (n_queries, n_database):
            raise ShapeError(
                f"scores has shape {table.shape}, expected (n_queries, n_database), which is "
                f"{(n_queries, n_database)}"
            )

        def score_block(queries: slice) -> NDArray[np.floating]:
            return table[queries]

    tally = ScoreTally(
        score_block,
        n_queries,
        n_database,
        truth=truth,
        gains=choose_gains(truth, settings),
        ties=settings.ties,
    )
    return measure_all(tally, read_choice("direction", Direction, direction), None, settings)


def read_truth(
    shape: tuple[int, int],
    query_labels: ArrayLike | None,
    database_labels: ArrayLike | None,
    query_targets: ArrayLike | None,
    settings: MeasureSettings,
) -> Truth:
    """Check what was given to judge relevance by, and keep what the wanted rules need."""
    n_queries, n_items = shape
    if not n_queries or not n_items:
        raise InputError(
            f"there are {n_queries} queries and {n_items} database items, expected one of each "
            "at least"
        )
    if (query_labels is None) != (database_labels is None):
        present, missing = "query_labels", "database_labels"
        if query_labels is None:
            present, missing = missing, present
        raise InputError(f"{present} is given without {missing}: relevance by labels needs both")
    on_labels = (RelevanceRule.SHARED_LABEL, RelevanceRule.JACCARD, RelevanceRule.GRADED)
    possible = (on_labels if query_labels is not None else ()) + (
        (RelevanceRule.PAIR,) if query_targets is not None else ()
    )
    rules = possible if settings.relevances is None else settings.relevances
    for rule in rules:
        if rule not in possible:
            lacking = "query_targets" if rule is RelevanceRule.PAIR else "labels"
            raise InputError(f"relevance {rule.value!r} needs {lacking}, which aren't given")
    if not rules:
        raise InputError("nothing says what is relevant: give labels, or query_targets, or both")
    labels = None
    if any(rule in on_labels for rule in rules):
        assert query_labels is not None
        assert database_labels is not None
        is_jaccard = RelevanceRule.JACCARD in rules
        labels = LabelRelevance(
            check_labels(query_labels, n_queries, name="query_labels"),
            check_labels(database_labels, n_items, name="database_labels"),
            jaccard_threshold=settings.jaccard_threshold if is_jaccard else None,
            is_graded=RelevanceRule.GRADED in rules,
        )
    targets = None
    if RelevanceRule.PAIR in rules:
        assert query_targets is not None
        targets = check_targets(query_targets, n_queries, n_items)
    return Truth(tuple(dict.fromkeys(rules)), labels, targets)


def choose_gains(truth: Truth, settings: MeasureSettings) -> Floats | None:
    """Compute what each label state is worth, or None if nDCG isn't wanted."""
    if RelevanceRule.GRADED not in truth.rules:
        return None
    return gain_values(truth.grades, settings.gain)


def measure_all(
    tally: DistanceTally | ScoreTally,
    direction: Direction,
    n_bits: int | None,
    settings: MeasureSettings,
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
            summarise(key, array, direction, tally.n_items, settings)
            for key, array in values.items()
        ),
        per_query=tuple(values.values()),
        curves=tuple(curves_of(points, ranks)),
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
    key: Key, values: Floats, direction: Direction, n_items: int, settings: MeasureSettings
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
    )
