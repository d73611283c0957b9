"""The table of structural modules: each method whole, without the module, and with its control.

A module acts where the whole method is better than both other rows. Differences are those of the
means over seeds; whether one is real is told by a paired bootstrap over queries.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.benchmarking.grid_table import (
    explain_collapse,
    format_failures,
    group_by_place,
    mark_collapse,
    markdown,
)
from modalhash.benchmarking.marks import LEVEL, RESAMPLES
from modalhash.benchmarking.outcomes import DIRECTIONS, MEASURES, RERANKED, Outcome
from modalhash.benchmarking.variants import ModuleRows
from modalhash.choices import Scoring
from modalhash.metrics import compare_runs

__all__ = [
    "REAL",
    "Difference",
    "Differences",
    "differences_from_json",
    "differences_json",
    "find_differences",
    "module_table",
]

REAL = "*"
"""What marks a difference whose interval leaves 0 out."""
SHOWN = (MEASURES[0][0], MEASURES[2][0])
HEADS = [
    "method", "module", "row", "bits",
    *(f"{title} {arrow}" for title in SHOWN for arrow in ("I→T", "T→I")),
    "mean size", "cosine with signs", "constant bits",
]  # fmt: skip
EXPLAINED = (
    "On: the whole method. Off, and shuffled, where the module gets what belongs to other items, "
    f"are differences from it, means over seeds. {REAL} real: the 95 % interval of a paired "
    "bootstrap over queries leaves 0 out. A module acts where both differences are below 0 and "
    "real. Mean size and cosine with signs are those of relaxed codes at the end of training, "
    "means of both modalities."
)
"""What the table shows."""
Cell = tuple[str, int, str, str]
"""Place, bits, row and name of the value."""
Values = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Difference:
    """How far the row without a module, or with its control, is from the whole method.

    Attributes:
        value: mean over queries and seeds; above 0 the row is better than the whole.
        low: lower end of the 95 % interval.
        high: upper end.
    """

    value: float
    low: float
    high: float

    @property
    def is_real(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


Differences = Mapping[Cell, Difference]


def find_differences(
    runs: Sequence[tuple[Outcome, Values]], wholes: Mapping[str, str], *, seed: int = 0
) -> dict[Cell, Difference]:
    """Compare rows with the whole methods they belong to, by Hamming distance or both reranked.

    Seeds that both have are averaged query by query first.

    Args:
        runs: outcomes with the (q,) values of queries behind their numbers.
        wholes: row to the row of the whole method.
        seed: of the resamples.
    """
    columns: dict[Cell, dict[int, NDArray[np.float32]]] = {}
    for outcome, values in runs:
        for name, of_queries in values.items() if is_shown(outcome) else ():
            cell = (outcome.place, outcome.n_bits, outcome.row, name)
            columns.setdefault(cell, {})[outcome.seed] = of_queries
    differences = {}
    for cell, by_seed in columns.items():
        place, n_bits, row, name = cell
        whole = columns.get((place, n_bits, find_whole(row, wholes), name), {})
        seeds = sorted(by_seed.keys() & whole.keys())
        if not seeds:
            continue
        first, second = (
            np.mean(np.stack([values[of_seed] for of_seed in seeds]), axis=0, dtype=np.float64)
            for values in (whole, by_seed)
        )
        paired = compare_runs(first, second, generator=seed, n_resamples=RESAMPLES, level=LEVEL)
        differences[cell] = Difference(paired.difference, *paired.interval)
    return differences


def is_shown(outcome: Outcome) -> bool:
    """Tell whether the table has an outcome: ranked by Hamming distance, or reranked."""
    return outcome.scoring != Scoring.ASYMMETRIC


def find_whole(row: str, wholes: Mapping[str, str]) -> str:
    """Look up the row of the whole method; that of a reranked row is reranked. "" is none."""
    if row.endswith(RERANKED):
        whole = wholes.get(row.removesuffix(RERANKED), "")
        return whole and f"{whole}{RERANKED}"
    return wholes.get(row, "")


def reranked_rows(module: ModuleRows) -> ModuleRows:
    """Name the reranked rows of a module, for methods that rerank by finer codes."""
    on, off, shuffled = (f"{row}{RERANKED}" for row in (module.on, module.off, module.shuffled))
    return ModuleRows(module.module, on, off, shuffled)


def module_table(
    outcomes: Sequence[Outcome], rows: Sequence[ModuleRows], differences: Differences
) -> str:
    """Format a section a collection, three rows a module and length, as Markdown.

    Args:
        outcomes: of all runs.
        rows: names of the rows of each module.
        differences: as `find_differences` gives them.
    """
    parts = []
    for place, of_place in group_by_place(outcomes).items():
        groups: dict[tuple[str, int], list[Outcome]] = {}
        for outcome in of_place:
            if is_shown(outcome):
                groups.setdefault((outcome.row, outcome.n_bits), []).append(outcome)
        lengths = sorted({n_bits for _, n_bits in groups})
        lines = [
            line
            for n_bits in lengths
            for module in rows
            for named in (module, reranked_rows(module))
            for line in module_lines(named, n_bits, place, groups, differences)
        ]
        notes = f"{explain_collapse(of_place)}{format_failures(of_place)}"
        parts.append(f"## {place}\n\n{markdown(HEADS, lines)}{notes}")
    return "\n".join([*parts, f"{EXPLAINED}\n"])


def module_lines(
    module: ModuleRows,
    n_bits: int,
    place: str,
    groups: Mapping[tuple[str, int], Sequence[Outcome]],
    differences: Differences,
) -> list[list[str]]:
    """Format the rows of one module; none where no control of it was run."""
    lines: list[list[str]] = []
    if not any((row, n_bits) in groups for row in (module.off, module.shuffled)):
        return lines
    names = [f"{title} {direction}" for title in SHOWN for direction in DIRECTIONS]
    for word, row in (("on", module.on), ("off", module.off), ("shuffled", module.shuffled)):
        same = [outcome for outcome in groups.get((row, n_bits), ()) if outcome.values]
        if not same:
            continue
        if row == module.on:
            numbers = [
                f"{statistics.mean(outcome.values[name] for outcome in same):.3f}" for name in names
            ]
        else:
            cells = [differences.get((place, n_bits, row, name)) for name in names]
            numbers = [format_difference(cell) for cell in cells]
        sizes = format_mean([outcome.code_sizes for outcome in same])
        cosines = format_mean([outcome.sign_cosines for outcome in same])
        constant = f"{statistics.mean(outcome.constant_share for outcome in same):.0%}"
        name = mark_collapse(word, same)
        lines.append(
            [module.on, module.module, name, str(n_bits), *numbers, sizes, cosines, constant]
        )
    return lines


def format_difference(difference: Difference | None) -> str:
    """Format a difference with its mark; a dash where there is none."""
    if difference is None:
        return "-"
    return f"{difference.value:+.3f}{REAL if difference.is_real else ''}"


def format_mean(numbers: Sequence[Mapping[str, float]]) -> str:
    """Format the mean over runs and modalities; a dash where there is none."""
    flat = [value for of_run in numbers for value in of_run.values()]
    return f"{statistics.mean(flat):.2f}" if flat else "-"


def differences_json(differences: Differences) -> list[dict[str, Any]]:
    """Describe differences as JSON."""
    return [
        {
            "place": place, "bits": n_bits, "row": row, "measured": name,
            "value": round(difference.value, 5),
            "interval": [round(difference.low, 5), round(difference.high, 5)],
        }
        for (place, n_bits, row, name), difference in differences.items()
    ]  # fmt: skip


def differences_from_json(document: Sequence[Mapping[str, Any]]) -> dict[Cell, Difference]:
    """Read the differences that `differences_json` wrote."""
    return {
        (cell["place"], cell["bits"], cell["row"], cell["measured"]): Difference(
            cell["value"], *cell["interval"]
        )
        for cell in document
    }
