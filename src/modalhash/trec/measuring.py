"""Measures of rankings that any program made, by judgements, as trec_eval computes them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Unpack

import numpy as np
from numpy.typing import NDArray

from modalhash.errors import InputError, SettingError
from modalhash.metrics import (
    Convention,
    Direction,
    DirectionReport,
    Gain,
    MeasureChoices,
    MeasureSettings,
    Report,
)
from modalhash.metrics.block_measures import Key, summarise
from modalhash.metrics.options import read_choice
from modalhash.metrics.ranked_measures import gain_values
from modalhash.numpy_numbers import takes_numpy_numbers
from modalhash.trec.files import TrecRun, read_qrels, read_run

__all__ = ["score_trec"]

Floats = NDArray[np.float64]

TREC_CHOICES: Final[MeasureChoices] = {
    "top_k": (10, 100, 1000, None),
    "conventions": (Convention.STANDARD.value,),
    "gain": Gain.LINEAR.value,
}
"""What trec_eval computes, where nothing else is chosen."""
USED_CHOICES: Final = frozenset(
    {"top_k", "conventions", "gain", "n_resamples", "level", "seed", "n_threads"}
)
JUDGED, RUN_ORDER = "judged", "run_order"


@takes_numpy_numbers
def score_trec(
    run: Path | str,
    qrels: Path | str,
    *,
    direction: Direction | str = Direction.TEXT_TO_IMAGE,
    **choices: Unpack[MeasureChoices],
) -> Report:
    """Measure a run file of TREC by a file of judgements.

    Ranks count as they stand in the run: documents of equal scores keep their places. trec_eval,
    and what is built on it, sorts a run again by score, and ties by the documents' names, so its
    numbers differ where scores are tied. Without ties these measures are trec_eval's: `map`
    (convention `standard`, the whole list), `P_K`, `recall_K`, `ndcg`, `ndcg_cut_K` (gain `linear`)
    and `recip_rank`. Its `map_cut_K` divides by all relevant documents, ours by at most K.

    Every judged query counts, also one that the run doesn't have, with 0. A query without a
    relevant document counts 0, but has no recall and no reciprocal rank. What isn't judged isn't
    relevant.

    Args:
        run: lines of `QUERY Q0 DOCUMENT RANK SCORE TAG`.
        qrels: lines of `QUERY 0 DOCUMENT GRADE`; a grade above 0 is relevant, and is the gain of
            nDCG.
        direction: names the numbers.
        **choices: of `modalhash.metrics.MeasureSettings`: `top_k` (by default 10, 100, 1000 and the
            whole list), `conventions` (`standard`), `gain` (`linear`), `n_resamples`, `level`,
            `seed`.

    Returns:
        The measures; its `n_bits` is None. The notes say what the files leave open.

    Raises:
        InputError: if a file can't be read, a line is no line of its form (naming it), or no query
            of the run is judged.
        SettingError: if a choice is one that ranked lists don't have.
        UnknownNameError: if a choice isn't known.
    """
    unused = sorted(set(choices) - USED_CHOICES)
    if unused:
        raise SettingError(
            f"{unused[0]} is given, but a run has ranks and no distances, labels or pairs: leave "
            "it out"
        )
    settings = MeasureSettings.read({**TREC_CHOICES, **choices})
    ranked, judgements = read_run(run), read_qrels(qrels)
    if not set(ranked.rankings) & set(judgements):
        raise InputError(
            f"no query of {run} is judged in {qrels}: the files name their queries differently"
        )
    queries = list(judgements)
    lists = [JudgedList.of(ranked.rankings.get(query, ()), judgements[query]) for query in queries]
    documents = {name for ranking in ranked.rankings.values() for name in ranking}
    documents.update(name for judged in judgements.values() for name in judged)
    values = dict(list_values(lists, settings))
    chosen = read_choice("direction", Direction, direction)
    report = DirectionReport(
        direction=chosen.value,
        n_bits=None,
        n_queries=len(queries),
        n_database=len(documents),
        jaccard_threshold=settings.jaccard_threshold,
        measures=tuple(
            summarise(key, array, chosen, len(documents), settings, scoring="scores")
            for key, array in values.items()
        ),
        per_query=tuple(values.values()),
        curves=(),
        scoring="scores",
    )
    return Report(
        n_bits=None,
        split=None,
        database=None,
        counts={"queries": len(queries), "documents": len(documents)},
        directions=(report,),
        about={
            "method": ranked.tag,
            "query_codes": Path(run).name,
            "database_codes": Path(qrels).name,
            "intervals": settings.intervals(),
        },
        notes=tuple(list_notes(ranked, judgements)),
    )


class JudgedList:
    """The documents found for a query, as their grades.

    Args:
        grades: (n,) int64 grades of the documents found, best rank first; 0 if not judged.
        all_grades: (j,) int64 grades of all judged documents.
    """

    def __init__(self, grades: NDArray[np.int64], all_grades: NDArray[np.int64]) -> None:
        self.grades, self.all_grades = np.maximum(grades, 0), np.maximum(all_grades, 0)
        self.is_hit = self.grades > 0
        self.n_relevant = int((self.all_grades > 0).sum())

    @classmethod
    def of(cls, ranking: Sequence[str], judged: Mapping[str, int]) -> "JudgedList":
        """Look up the grades of a ranking."""
        grades = np.array([judged.get(document, 0) for document in ranking], np.int64)
        return cls(grades, np.array(list(judged.values()), np.int64))

    def hits(self, k: int) -> int:
        """Count the relevant documents among the first k."""
        return int(self.is_hit[:k].sum())

    def average_precision(self, k: int | None, convention: Convention) -> float:
        """Compute average precision; see `Convention`. Ranks beyond the list hold nothing."""
        if convention is Convention.ANSWERABLE and not self.n_relevant:
            return float("nan")
        hits = np.flatnonzero(self.is_hit)
        if convention is Convention.FIRST_K_RELEVANT:
            hits = hits[:k]
        elif k is not None:
            hits = hits[hits < k]
        total = float((np.arange(1, len(hits) + 1) / (hits + 1)).sum())
        is_of_hits = convention in (Convention.TRUNCATED, Convention.ANSWERABLE)
        n_best = self.n_relevant if k is None else min(k, self.n_relevant)
        count = len(hits) if is_of_hits else n_best
        return total / count if count else 0.0

    def normalised_gain(self, k: int | None, gain: Gain) -> float:
        """Compute nDCG: gain by 1 / log2(rank + 1), divided by that of the best order there is."""
        best = discounted_sum(np.sort(self.all_grades)[::-1][:k], gain)
        return discounted_sum(self.grades[:k], gain) / best if best else 0.0

    def reciprocal_rank(self) -> float:
        """Compute 1 by the rank of the first relevant document, 0 if none was found."""
        if not self.n_relevant:
            return float("nan")
        hits = np.flatnonzero(self.is_hit)
        return 1 / (int(hits[0]) + 1) if len(hits) else 0.0


def discounted_sum(grades: NDArray[np.int64], gain: Gain) -> float:
    """Compute the discounted gain of grades in their order."""
    return float((gain_values(grades, gain) / np.log2(np.arange(2, len(grades) + 2))).sum())


def list_values(
    lists: Sequence[JudgedList], settings: MeasureSettings
) -> Iterator[tuple[Key, Floats]]:
    """Yield every measure's (q,) values."""

    def key(measure: str, k: int | None = None, convention: str | None = None) -> Key:
        return Key(measure, JUDGED, k, convention, RUN_ORDER)

    for k in settings.top_k:
        for convention in settings.conventions:
            values = [judged.average_precision(k, convention) for judged in lists]
            yield key("map", k, convention.value), np.array(values)
    for k in settings.top_k:
        if k is not None:
            inside = np.array([judged.hits(k) for judged in lists], np.float64)
            n_relevant = np.array([judged.n_relevant for judged in lists])
            recall = np.where(n_relevant > 0, inside / np.maximum(n_relevant, 1), np.nan)
            yield key("precision", k), inside / k
            yield key("recall", k), recall
    for k in settings.top_k:
        values = [judged.normalised_gain(k, settings.gain) for judged in lists]
        yield key("ndcg", k, settings.gain.value), np.array(values)
    yield key("reciprocal_rank"), np.array([judged.reciprocal_rank() for judged in lists])


def list_notes(run: TrecRun, judgements: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """Yield what a reader of the numbers has to know."""
    yield "ranks count as they stand in the run; what isn't judged isn't relevant"
    missing = sum(query not in run.rankings for query in judgements)
    unjudged = sum(query not in judgements for query in run.rankings)
    if missing:
        yield f"judged queries that the run doesn't have: {missing:,}; they count 0"
    if unjudged:
        yield f"queries of the run that aren't judged: {unjudged:,}; they are left out"
    if run.n_tied:
        yield (
            f"queries with documents of equal scores: {run.n_tied:,}; trec_eval orders these by "
            "name, so that its numbers differ"
        )
    if run.n_rising:
        yield (
            f"queries with larger scores at worse ranks: {run.n_rising:,}; the ranks count, "
            "trec_eval sorts by score"
        )
