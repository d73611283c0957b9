"""Runs measured on the same queries, and whether they differ."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

from modalhash.api.measuring import evaluate
from modalhash.api.opening import open_evaluated_collection, open_model
from modalhash.artifacts import HashModel
from modalhash.choices import Scoring
from modalhash.data import Collection
from modalhash.metrics import MeasureChoices, MeasureComparison, Report, compare_reports
from modalhash.options import EvaluationChoices, EvaluationOptions, change_options
from modalhash.reports.report import PageSource, write_report

__all__ = ["MeasuredRuns", "evaluate_runs"]

USUAL_RESAMPLES = 1000


@dataclass(frozen=True)
class MeasuredRuns:
    """The measures of several runs, and how the first differs from the others.

    Attributes:
        reports: one a run, in the order given.
        comparisons: of the first run with each of the others, which are the second in it.
    """

    reports: tuple[Report, ...]
    comparisons: tuple[tuple[MeasureComparison, ...], ...]


def evaluate_runs(
    runs: Sequence[HashModel | Path | str],
    collection: Collection | str | Path | None = None,
    *,
    split: str = "test",
    page: Path | str | None = None,
    options: EvaluationOptions | None = None,
    **choices: Unpack[EvaluationChoices],
) -> MeasuredRuns:
    """Measure runs on the same queries, compare the first with the others, and write a page.

    Runs after the first that have no finer codes are measured by their hash codes, even where the
    first is reranked.

    Args:
        runs: one at least; run folders or models.
        collection: or what `load_collection` takes; by default what the first was trained on.
        split: the queries; see `modalhash.evaluate`.
        page: where the HTML page goes; None writes none.
        options: as for `modalhash.evaluate`.
        **choices: as for `modalhash.evaluate`; comparisons take the seed, level and number of
            resamples (1,000 if it is 0) of the measures.

    Raises:
        InputError, UnknownNameError, FeatureError: as `modalhash.evaluate`.
        MissingExtraError: if a page is requested and the extra `report` isn't installed.
        StorageError: if the file system refuses.
    """
    options = change_options(EvaluationOptions, options, choices)
    models = [open_model(run, options.device) for run in runs]
    collection = open_evaluated_collection(
        runs[0], models[0], collection, options.skip_bad, options.progress
    )
    # Without a reranking of its own, a run compares by what the first one's shortlists are made by.
    others = replace(options, trec=None)
    plain = replace(others, rerank=None, scoring=Scoring.HAMMING.value)
    reports = [
        evaluate(
            model,
            collection,
            split=split,
            options=options
            if place == 0
            else others
            if options.rerank is None or model.has_fine_codes
            else plain,
        )
        for place, model in enumerate(models)
    ]
    comparisons = tuple(compare_runs(reports[0], other, options.measures) for other in reports[1:])
    if page is not None:
        source = PageSource(
            models[0],
            collection,
            cache=options.cache,
            seed=options.measures.get("seed", 0),
            progress=options.progress,
        )
        write_report(reports, Path(page), comparisons=comparisons, source=source)
    return MeasuredRuns(tuple(reports), comparisons)


def compare_runs(
    first: Report, other: Report, measures: MeasureChoices
) -> tuple[MeasureComparison, ...]:
    """Compare two reports by paired bootstrap, with the settings of their intervals."""
    return compare_reports(
        first,
        other,
        seed=measures.get("seed", 0),
        n_resamples=measures.get("n_resamples", 0) or USUAL_RESAMPLES,
        level=measures.get("level", 0.95),
    )
