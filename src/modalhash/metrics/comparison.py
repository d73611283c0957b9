"""Two reports on the same queries, number by number: which differences are real."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from modalhash.choices import Scoring
from modalhash.errors import InputError
from modalhash.metrics.bootstrap import PairedComparison, compare_runs
from modalhash.metrics.report import Report
from modalhash.metrics.results import DirectionReport, Measure
from modalhash.seeds import check_seed

__all__ = ["MeasureComparison", "compare_reports"]

SMALLER_IS_BETTER = ("mean_rank", "lookup_empty")
NOT_A_MEAN = ("median_rank",)
RERANKED = "reranked"


@dataclass(frozen=True)
class MeasureComparison:
    """One number in two reports.

    Attributes:
        first: of the first report.
        second: of the second.
        paired: their difference query by query, second minus first.
    """

    first: Measure
    second: Measure
    paired: PairedComparison

    @property
    def is_one_scoring(self) -> bool:
        """Whether both are of the same scoring; a reranked run compares with a plain one too."""
        return self.first.scoring == self.second.scoring

    @property
    def is_real(self) -> bool:
        """Whether the interval of the difference leaves 0 out."""
        low, high = self.paired.interval
        return low > 0 or high < 0

    @property
    def verdict(self) -> str:
        """What it means for the second run: better, worse, or no real difference."""
        if not self.is_real:
            return "no real difference"
        is_larger_better = self.first.measure not in SMALLER_IS_BETTER
        return "better" if (self.paired.difference > 0) == is_larger_better else "worse"

    def to_json(self) -> dict[str, Any]:
        """Write it as JSON; `n_better` and `n_worse` count larger and smaller values."""
        measure = self.first
        return {
            "measure": measure.measure,
            "k": measure.k,
            "direction": measure.direction,
            "relevance": measure.relevance,
            "scoring": measure.scoring,
            "convention": measure.convention,
            "ties": measure.ties,
            **({} if self.is_one_scoring else {"second_scoring": self.second.scoring}),
            "first": measure.value,
            "second": self.second.value,
            **asdict(self.paired),
            "interval": list(self.paired.interval),
            "verdict": self.verdict,
        }


def compare_reports(
    first: Report,
    second: Report,
    *,
    seed: int = 0,
    n_resamples: int = 1000,
    level: float = 0.95,
) -> tuple[MeasureComparison, ...]:
    """Compare two reports on the same queries by paired bootstrap.

    Every number that both hold is compared, but for the median rank, which is no mean over
    queries.

    Args:
        first: what is compared with.
        second: what may be better or worse.
        seed: of the resamples; all numbers see the same resampled queries.
        n_resamples: how many.
        level: share of the resampled differences inside an interval.

    Returns:
        One comparison a number, in the order of the first report.

    Raises:
        InputError: if they aren't of the same collection, split, database and captions, or a
            setting is out of its range.
    """
    check_seed(seed)
    for name, value, other in (
        ("split", first.split, second.split),
        ("database", first.database, second.database),
        ("counts", dict(first.counts), dict(second.counts)),
        *(
            (name, first.about.get(name), second.about.get(name))
            for name in ("collection", "collection_fingerprint", "captions")
        ),
    ):
        if value != other:
            raise InputError(
                f"the two reports differ in {name}: {value} and {other}; measure both on the same "
                "queries and database"
            )
    return tuple(
        MeasureComparison(
            measure,
            other.measures[place],
            compare_runs(
                values,
                other.per_query[place],
                generator=seed,
                n_resamples=n_resamples,
                level=level,
            ),
        )
        for measure, values, other, place in common(first, second)
        if measure.measure not in NOT_A_MEAN
        and measure.n_queries
        and measure.value == measure.value
    )


def common(first: Report, second: Report) -> Iterator[tuple[Measure, Any, DirectionReport, int]]:
    """Yield each number of the first, its values, and where the second has it.

    Numbers of one scoring compare. A reranked number that the second doesn't have compares with the
    one by Hamming distance, which is what the shortlist was made by.
    """
    places = {
        key(measure): (direction, place)
        for direction in second.directions
        for place, measure in enumerate(direction.measures)
    }
    for direction in first.directions:
        for measure, values in zip(direction.measures, direction.per_query, strict=True):
            by_hamming = replace(measure, scoring=Scoring.HAMMING.value)
            other = places.get(key(measure))
            if other is None and measure.scoring == RERANKED:
                other = places.get(key(by_hamming))
            if other is not None:
                yield measure, values, *other


def key(measure: Measure) -> tuple[object, ...]:
    """Identify a number, without its value."""
    return (
        measure.measure,
        measure.k,
        measure.direction,
        measure.relevance,
        measure.scoring,
        measure.convention,
        measure.ties,
    )
