"""Which differences of a table are real: each row against the best one, by paired bootstrap.

Rows compare with those of their kind, under the same scoring: what learns from labels with what
does, codes with codes of as many bits an item. Seeds are averaged query by query first, so that
what is resampled is queries: a mark tells whether other queries could turn the order round, not
whether other seeds could; deviations tell that.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.benchmarking.outcomes import Outcome
from modalhash.choices import Scoring
from modalhash.metrics import compare_runs

__all__ = ["UNMARKED", "Cell", "Marks", "find_cell", "find_marks", "marks_from_json", "marks_json"]

LEVEL = 0.95
RESAMPLES = 1000
Cell = tuple[str, int, str, str]
"""A column of one collection, length and scoring: place, bits, name of the value, scoring."""
Kind = tuple[bool, int]
"""Whether a row learns from labels, and how many bits it stores an item."""
Values = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Marks:
    """What stands out in one column of one length.

    Attributes:
        best: row of the largest mean.
        near: rows whose difference from it has a 95 % interval that holds 0.
        others: the same of rows of other kinds, where there are any.
    """

    best: str
    near: tuple[str, ...]
    others: tuple["Marks", ...] = ()

    def of(self, row: str) -> str:
        """Look up the mark of a row: "best", "near", or "" if it differs."""
        if row == self.best or row in self.near:
            return "best" if row == self.best else "near"
        return next((mark for marks in self.others if (mark := marks.of(row))), "")


UNMARKED = Marks("", ())


def find_marks(
    runs: Sequence[tuple[Outcome, Values]], *, labelled: Container[str] = (), seed: int = 0
) -> dict[Cell, Marks]:
    """Compare all rows of each collection, length, scoring, value and kind with the best.

    Args:
        runs: outcomes with the (q,) values of queries behind their numbers; an outcome without
            values takes no part.
        labelled: rows that learn from labels.
        seed: of the resamples.

    Returns:
        Marks of every column in which a kind has two rows or more. Rows whose queries are other
        ones (their number differs) are left out.
    """
    columns: dict[Cell, dict[Kind, dict[str, list[NDArray[np.float32]]]]] = {}
    for outcome, values in runs:
        kind = (outcome.row in labelled, outcome.bits_per_item)
        for name, of_queries in values.items():
            kinds = columns.setdefault(find_cell(outcome, name), {})
            kinds.setdefault(kind, {}).setdefault(outcome.row, []).append(of_queries)
    marks = {}
    for cell, kinds in columns.items():
        first, *others = [
            marks_of(kinds[key], seed) for key in sorted(kinds) if len(kinds[key]) > 1
        ] or [UNMARKED]
        if first is not UNMARKED:
            marks[cell] = replace(first, others=tuple(others))
    return marks


def find_cell(outcome: Outcome, name: str) -> Cell:
    """Find the column of an outcome's value; reranked shortlists are by Hamming distance."""
    is_asymmetric = outcome.scoring == Scoring.ASYMMETRIC
    scoring = Scoring.ASYMMETRIC if is_asymmetric else Scoring.HAMMING
    return outcome.place, outcome.n_bits, name, scoring.value


def marks_of(rows: Mapping[str, Sequence[NDArray[np.float32]]], seed: int) -> Marks:
    """Compare the rows of one column."""
    n_queries = len(next(iter(rows.values()))[0])
    means = {
        row: np.mean(np.stack(seeds), axis=0, dtype=np.float64)
        for row, seeds in rows.items()
        if all(len(values) == n_queries for values in seeds)
    }
    best = max(means, key=lambda row: float(np.nanmean(means[row])))
    near = []
    for row, values in means.items():
        if row == best:
            continue
        comparison = compare_runs(
            means[best], values, generator=seed, n_resamples=RESAMPLES, level=LEVEL
        )  # fmt: skip
        if comparison.interval[1] >= 0:
            near.append(row)
    return Marks(best, tuple(near))


def marks_json(marks: Mapping[Cell, Marks]) -> list[dict[str, Any]]:
    """Describe marks as JSON."""
    return [
        {"place": place, "bits": n_bits, "value": name, "scoring": scoring}
        | describe_marks(cell_marks)
        for (place, n_bits, name, scoring), cell_marks in marks.items()
    ]


def describe_marks(cell_marks: Marks) -> dict[str, Any]:
    """Describe the marks of one column as JSON."""
    others = (
        {"others": [describe_marks(other) for other in cell_marks.others]}
        if cell_marks.others
        else {}
    )
    return {"best": cell_marks.best, "near": list(cell_marks.near)} | others


def marks_from_json(document: Sequence[Mapping[str, Any]]) -> dict[Cell, Marks]:
    """Read the marks that `marks_json` wrote; those without a scoring are by Hamming distance."""
    return {
        (
            cell["place"],
            cell["bits"],
            cell["value"],
            cell.get("scoring", Scoring.HAMMING.value),
        ): read_marks(cell)
        for cell in document
    }


def read_marks(document: Mapping[str, Any]) -> Marks:
    """Read the marks of one column."""
    others = tuple(read_marks(other) for other in document.get("others", []))
    return Marks(document["best"], tuple(document["near"]), others)
