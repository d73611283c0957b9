"""Which differences of a table are real: each row against the best one, by paired bootstrap.

Seeds are averaged query by query first, so that what is resampled is queries: a mark tells whether
other queries could turn the order round, not whether other seeds could; deviations tell that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.bench.outcomes import Outcome
from modalhash.metrics import compare_runs

__all__ = ["UNMARKED", "Cell", "Marks", "find_marks", "marks_from_json", "marks_json"]

LEVEL = 0.95
RESAMPLES = 1000
Cell = tuple[str, int, str]
"""A column of one collection and length: place, bits, name of the value."""
Values = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Marks:
    """What stands out in one column of one length.

    Attributes:
        best: row of the largest mean.
        near: rows whose difference from it has a 95 % interval that holds 0.
    """

    best: str
    near: tuple[str, ...]

    def of(self, row: str) -> str:
        """Return "best", "near", or "" for a row that differs."""
        return "best" if row == self.best else "near" if row in self.near else ""


UNMARKED = Marks("", ())


def find_marks(runs: Sequence[tuple[Outcome, Values]], *, seed: int = 0) -> dict[Cell, Marks]:
    """Compare all rows of each collection, length and value with the best one.

    Args:
        runs: outcomes with the (q,) values of queries behind their numbers; an outcome without
            values takes no part.
        seed: of the resamples.

    Returns:
        Marks of every column that two rows or more have. Rows whose queries are other ones (their
        number differs) are left out.
    """
    columns: dict[Cell, dict[str, list[NDArray[np.float32]]]] = {}
    for outcome, values in runs:
        for name, of_queries in values.items():
            rows = columns.setdefault((outcome.place, outcome.n_bits, name), {})
            rows.setdefault(outcome.row, []).append(of_queries)
    return {cell: marks_of(rows, seed) for cell, rows in columns.items() if len(rows) > 1}


def marks_of(rows: Mapping[str, Sequence[NDArray[np.float32]]], seed: int) -> Marks:
    """Compare the rows of one column."""
    n_queries = len(next(iter(rows.values()))[0])
    means = {
        row: np.mean(np.stack(seeds), axis=0, dtype=np.float64)
        for row, seeds in rows.items()
        if all(len(one) == n_queries for one in seeds)
    }
    best = max(means, key=lambda row: float(np.nanmean(means[row])))
    near = []
    for row, values in means.items():
        if row == best:
            continue
        found = compare_runs(
            means[best], values, generator=seed, n_resamples=RESAMPLES, level=LEVEL
        )  # fmt: skip
        if found.interval[1] >= 0:
            near.append(row)
    return Marks(best, tuple(near))


def marks_json(marks: Mapping[Cell, Marks]) -> list[dict[str, Any]]:
    """Return marks as JSON."""
    return [
        {"place": place, "bits": n_bits, "value": name, "best": one.best, "near": list(one.near)}
        for (place, n_bits, name), one in marks.items()
    ]


def marks_from_json(document: Sequence[Mapping[str, Any]]) -> dict[Cell, Marks]:
    """Return the marks that `marks_json` wrote."""
    return {
        (one["place"], one["bits"], one["value"]): Marks(one["best"], tuple(one["near"]))
        for one in document
    }
