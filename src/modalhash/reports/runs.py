"""Runs measured on the same queries, and whether they differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from modalhash.api.measuring import CROSS_MODAL, evaluate
from modalhash.api.opening import opened_for, opened_model
from modalhash.artifacts import CaptionUse, HashModel
from modalhash.data import Collection
from modalhash.index.rerank import RerankScore
from modalhash.metrics import MeasureChoices, MeasureComparison, Report, compare_reports
from modalhash.progress import Progress, silent
from modalhash.reports.report import PageSource, write_report

__all__ = ["MeasuredRuns", "evaluate_runs"]

USUAL_RESAMPLES = 1000


@dataclass(frozen=True)
class MeasuredRuns:
    """What the measures of some runs say.

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
    database: str | None = None,
    captions: CaptionUse = "first",
    directions: Sequence[str] = CROSS_MODAL,
    rerank: int | str | None = None,
    rerank_score: str = RerankScore.FUSED,
    page: Path | str | None = None,
    skip_bad: bool = False,
    cache: Path | str | None = None,
    device: str = "auto",
    progress: Progress = silent,
    **choices: Unpack[MeasureChoices],
) -> MeasuredRuns:
    """Measure runs on the same queries, compare the first with the others, and write a page.

    Args:
        runs: one at least; run folders or models.
        collection: or what `load_collection` takes; by default what the first was trained on.
        split: the queries; see `modalhash.evaluate`.
        database: what is ranked for relevance by labels; see `modalhash.evaluate`.
        captions: each item's first text, or all of them.
        directions: of `modalhash.metrics.Direction`.
        rerank: see `modalhash.evaluate`; runs after the first that have no finer codes are
            measured by their hash codes.
        rerank_score: see `modalhash.evaluate`.
        page: where the HTML page goes; None writes none.
        skip_bad: leave out items with defects.
        cache: where features are kept.
        device: "auto", "cpu", "cuda", ...
        progress: told of every stage.
        **choices: of `modalhash.metrics.MeasureSettings`; comparisons take its seed, level and
            number of resamples (1,000 if it is 0).

    Raises:
        InputError, UnknownNameError, FeatureError: as `modalhash.evaluate`.
        MissingExtraError: if a page is wanted and the extra `report` isn't installed.
        StorageError: if the file system refuses.
    """
    models = [opened_model(run, device) for run in runs]
    collection = opened_for(runs[0], models[0], collection, skip_bad, progress)
    reports = [
        evaluate(
            model,
            collection,
            split=split,
            database=database,
            captions=captions,
            directions=directions,
            rerank=rerank if place == 0 or model.has_fine_codes else None,
            rerank_score=rerank_score,
            cache=cache,
            progress=progress,
            **choices,
        )
        for place, model in enumerate(models)
    ]
    comparisons = tuple(
        compare_reports(
            reports[0],
            other,
            seed=choices.get("seed", 0),
            n_resamples=choices.get("n_resamples", 0) or USUAL_RESAMPLES,
            level=choices.get("level", 0.95),
        )
        for other in reports[1:]
    )
    if page is not None:
        source = PageSource(
            models[0],
            collection,
            cache=cache,
            seed=choices.get("seed", 0),
            progress=progress,
        )
        write_report(reports, Path(page), comparisons=comparisons, source=source)
    return MeasuredRuns(tuple(reports), comparisons)
