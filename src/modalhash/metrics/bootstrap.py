"""How far a mean over queries can be trusted, and whether two runs differ."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modalhash.errors import InputError, ShapeError

__all__ = ["PairedComparison", "bootstrap_interval", "compare_runs"]

Floats = NDArray[np.float64]
Statistic = Callable[..., Any]

CHUNK_CELLS = 1 << 20


@dataclass(frozen=True)
class PairedComparison:
    """Two runs on the same queries.

    Attributes:
        difference: mean of the second run minus mean of the first.
        interval: bootstrap interval of the difference.
        level: share of the resampled differences inside it.
        p_value: two-sided; how often resampled differences lie on the other side of 0, doubled,
            with one count added, so never 0. 1 if the runs don't differ at all.
        n_queries: queries that count in both runs.
        n_better: queries on which the second run is better (larger).
        n_worse: queries on which it is worse.
    """

    difference: float
    interval: tuple[float, float]
    level: float
    p_value: float
    n_queries: int
    n_better: int
    n_worse: int


def bootstrap_interval(
    values: ArrayLike,
    *,
    generator: np.random.Generator | int,
    n_resamples: int = 1000,
    level: float = 0.95,
    statistic: Statistic = np.mean,
) -> tuple[float, float]:
    """Compute the percentile bootstrap interval of a statistic over queries.

    Args:
        values: (q,) one value a query; NaN marks queries that don't count, they are left out.
        generator: source of the resamples, or a seed for one.
        n_resamples: how many.
        level: share of the resampled statistics inside the interval.
        statistic: takes (r, q) and `axis=1`; `np.mean` or `np.median`.

    Returns:
        Lower and upper end; NaN if no query counts.

    Raises:
        InputError: if `n_resamples` isn't positive or `level` isn't in (0, 1).
        ShapeError: if `values` isn't one-dimensional.

    Example:
        >>> bootstrap_interval([0.5, 0.5, 0.5], generator=0)
        (0.5, 0.5)
    """
    counted = select_counted_values(values)
    if not len(counted):
        return (float("nan"), float("nan"))
    resampled = resample(counted, generator, n_resamples, level, statistic)
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return (float(low), float(high))


def compare_runs(
    first: ArrayLike,
    second: ArrayLike,
    *,
    generator: np.random.Generator | int,
    n_resamples: int = 1000,
    level: float = 0.95,
) -> PairedComparison:
    """Compare two runs on the same queries by bootstrap of their differences.

    Args:
        first: (q,) one value a query, larger is better; NaN marks queries that don't count.
        second: (q,) the other run's values for the same queries in the same order.
        generator: source of the resamples, or a seed for one.
        n_resamples: how many.
        level: share of the resampled differences inside the interval.

    Returns:
        The difference, second minus first.

    Raises:
        ShapeError: if the two don't have the same length.
        InputError: if no query counts in both, or a setting is out of its range.

    Example:
        >>> compare_runs([0.1, 0.2, 0.3], [0.2, 0.3, 0.4], generator=0).n_better
        3
    """
    first_values, second_values = np.asarray(first, float), np.asarray(second, float)
    if first_values.shape != second_values.shape:
        raise ShapeError(
            f"first has shape {first_values.shape}, second {second_values.shape}: "
            "expected one value for each of the same queries"
        )
    differences = select_counted_values(second_values - first_values)
    if not len(differences):
        raise InputError("first and second have no query that counts in both")
    resampled = resample(differences, generator, n_resamples, level, np.mean)
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    n_other_side = min(int((resampled <= 0).sum()), int((resampled >= 0).sum()))
    return PairedComparison(
        difference=float(differences.mean()),
        interval=(float(low), float(high)),
        level=level,
        p_value=min(1.0, 2 * (n_other_side + 1) / (n_resamples + 1)),
        n_queries=len(differences),
        n_better=int((differences > 0).sum()),
        n_worse=int((differences < 0).sum()),
    )


def select_counted_values(values: ArrayLike) -> Floats:
    """Select the values that aren't NaN.

    Raises:
        ShapeError: if it isn't one-dimensional.
    """
    array = np.asarray(values, np.float64)
    if array.ndim != 1:
        raise ShapeError(f"values has shape {array.shape}, expected one value a query (q,)")
    return array[~np.isnan(array)]


def resample(
    values: Floats,
    generator: np.random.Generator | int,
    n_resamples: int,
    level: float,
    statistic: Statistic,
) -> Floats:
    """Compute (n_resamples,) statistics of queries drawn with replacement."""
    if n_resamples < 1:
        raise InputError(f"n_resamples is {n_resamples}, expected a positive number")
    if not 0 < level < 1:
        raise InputError(f"level is {level}, expected in (0, 1)")
    source = np.random.default_rng(generator)
    results = np.empty(n_resamples)
    n_rows = max(1, CHUNK_CELLS // len(values))
    for first in range(0, n_resamples, n_rows):
        shape = (min(n_rows, n_resamples - first), len(values))
        drawn = values[source.integers(0, len(values), shape)]
        results[first : first + shape[0]] = statistic(drawn, axis=1)
    return results
