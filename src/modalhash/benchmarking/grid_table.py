"""Tables of many runs: means and deviations over seeds, and what each named part is worth."""

import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence

from modalhash.benchmarking.marks import UNMARKED, Cell, Marks, find_cell
from modalhash.benchmarking.outcomes import DIRECTIONS, MEASURES, Outcome
from modalhash.choices import Scoring
from modalhash.metrics import COLLAPSED_SHARE

__all__ = [
    "COLLAPSED",
    "COLUMNS",
    "MARKED",
    "ablation_table",
    "cells",
    "cost_table",
    "explain_collapse",
    "format_spread",
    "grid_table",
    "mark_collapse",
    "markdown",
]

COLLAPSED = "†"
"""What marks a row with a run whose codes have collapsed."""
SHOWN = MEASURES[:3]
ARROWS = {"image_to_text": "I→T", "text_to_image": "T→I"}
COLUMNS = [
    (f"{title} {direction}", f"{title} {ARROWS[direction]}")
    for title, *_ in SHOWN
    for direction in DIRECTIONS
]
"""Name of a value and its heading."""
Key = tuple[str, int, str]
"""Row, length and scoring."""


def grid_table(outcomes: Sequence[Outcome], marks: Mapping[Cell, Marks] | None = None) -> str:
    """Format a section a collection, a row a method and length, as Markdown.

    Numbers are means over seeds with their standard deviations (n in the divisor). A row whose
    runs all failed gives the reason instead. With marks, the best of each length is bold, and what
    can't be told from it has a degree sign.
    """
    marks = marks or {}
    parts = []
    for place, of_place in group_by_place(outcomes).items():
        rows = [
            [
                mark_collapse(name, same),
                str(n_bits),
                scoring,
                *mark_cells(same, marks),
                f"{average([outcome.cpu_seconds for outcome in same]):.0f}",
            ]
            if any(outcome.values for outcome in same)
            else [name, str(n_bits), scoring, same[0].error, *[""] * len(COLUMNS)]
            for (name, n_bits, scoring), same in group_by_row(of_place).items()
        ]
        heads = ["method", "bits", "scoring", *(heading for _, heading in COLUMNS), "CPU s"]
        notes = f"{explain_collapse(of_place)}{format_failures(of_place)}"
        parts.append(f"## {place}\n\n{markdown(heads, rows)}{notes}")
    return "\n".join(parts)


COST_HEADS = [
    "method", "bits", "CPU s", "peak MiB", "parameters", "bits an item", "pictures/s", "texts/s"
]  # fmt: skip
SHOWN_AS = {"best": "**{}**", "near": "{}°", "": "{}"}
MARKED = (
    "Bold: the best of its length and scoring among rows that store as many bits, with labels and "
    "without apart. °: can't be told from it (paired bootstrap over queries, seeds averaged, 95 %)."
)
"""What the marks of a table mean."""


def cost_table(outcomes: Sequence[Outcome]) -> str:
    """Format a section a collection with the costs of each row, means over seeds, as Markdown.

    CPU seconds of training, features there already; peak memory of the process in training and
    measuring; numbers learned for both towers; bits stored an item; stored features that become
    codes in a second on one thread.
    """
    parts = []
    for place, of_place in group_by_place(outcomes).items():
        table = markdown(COST_HEADS, cost_rows(of_place))
        parts.append(f"## {place}: cost\n\n{table}\n{sum_costs(of_place)}\n")
    return "\n".join(parts)


def sum_costs(outcomes: Sequence[Outcome]) -> str:
    """Write how many trainings ended well, and what all of them took together.

    Example:
        >>> sum_costs([Outcome("a", "pairs", 16, seed, {}, cpu_seconds=90.0) for seed in (0, 1)])
        'All 2 trainings together: 3 CPU minutes.'
    """
    # Other rankings of a model, by a query's numbers or reranked, took no training of their own.
    trainings = [
        outcome for outcome in outcomes if outcome.scoring == Scoring.HAMMING and not outcome.error
    ]
    minutes = sum(outcome.cpu_seconds for outcome in trainings) / 60
    return f"All {len(trainings)} trainings together: {minutes:,.0f} CPU minutes."


def cost_rows(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """Format the cells of `cost_table` for one collection."""
    rows = []
    # An asymmetric ranking is by the same codes: they cost nothing more.
    costed = [outcome for outcome in outcomes if outcome.scoring != Scoring.ASYMMETRIC]
    for (name, n_bits, _), same in group_by_row(
        [outcome for outcome in costed if not outcome.error]
    ).items():
        costs: tuple[Sequence[float], ...] = (
            [outcome.cpu_seconds for outcome in same],
            [outcome.peak_mib for outcome in same],
            [outcome.n_parameters for outcome in same],
            [outcome.bits_per_item for outcome in same],
            *([outcome.rates.get(side, 0.0) for outcome in same] for side in ("image", "text")),
        )
        rows.append([name, str(n_bits), *(f"{average(values):,.0f}" for values in costs)])
    return rows


def ablation_table(outcomes: Sequence[Outcome]) -> str:
    """Format the changes of each variant against the first one of its length, as Markdown.

    Differences are paired by seed: their mean over seeds with the standard deviation.
    """
    parts = []
    for place, of_place in group_by_place(outcomes).items():
        rows = group_by_row(of_place)
        full = next(iter(rows))[0]
        lines = []
        for (name, n_bits, scoring), same in rows.items():
            if name == full:
                lines.append([mark_collapse(name, same), str(n_bits), scoring, *cells(same)])
                continue
            reference = {outcome.seed: outcome for outcome in rows.get((full, n_bits, scoring), [])}
            changes = [
                subtract_outcomes(outcome, reference[outcome.seed])
                for outcome in same
                if outcome.seed in reference
            ]
            if any(changes):
                marked = mark_collapse(name, same)
                lines.append([marked, str(n_bits), scoring, *format_differences(changes)])
            else:
                lines.append(
                    [name, str(n_bits), scoring, same[0].error, *[""] * (len(COLUMNS) - 1)]
                )
        heads = ["variant", "bits", "scoring", *(heading for _, heading in COLUMNS)]
        notes = f"{explain_collapse(of_place)}{format_failures(of_place)}"
        parts.append(f"## {place}\n\n{markdown(heads, lines)}{notes}")
    return "\n".join(parts)


def mark_collapse(name: str, same: Sequence[Outcome]) -> str:
    """Mark the name of a row if the codes of any of its runs have collapsed."""
    has_collapsed = any(outcome.has_collapsed for outcome in same)
    return f"{name} {COLLAPSED}" if has_collapsed else name


def explain_collapse(outcomes: Sequence[Outcome]) -> str:
    """Explain the mark of collapsed codes, run by run, as Markdown; "" if there are none."""
    runs = dict.fromkeys(
        f"{outcome.row} at {outcome.n_bits} bits, seed {outcome.seed} "
        f"({outcome.constant_share:.0%} of the bits)"
        for outcome in outcomes
        if outcome.has_collapsed
    )
    if not runs:
        return ""
    return (
        f"\n{COLLAPSED} collapsed: more than {COLLAPSED_SHARE:.0%} of the bits are the same in all "
        f"codes of a modality, so these numbers say nothing of the method: {'; '.join(runs)}.\n"
    )


def group_by_place(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Group outcomes by collection, in the order met."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.place, []).append(outcome)
    return groups


def group_by_row(outcomes: Sequence[Outcome]) -> dict[Key, list[Outcome]]:
    """Group outcomes by row, length and scoring, in the order met."""
    groups: dict[Key, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.row, outcome.n_bits, outcome.scoring), []).append(outcome)
    return groups


def cells(same: Sequence[Outcome]) -> list[str]:
    """Format mean and deviation of every column; a dash where nothing was measured."""
    return [
        format_spread([outcome.values[name] for outcome in same if name in outcome.values])
        for name, _ in COLUMNS
    ]


def mark_cells(same: Sequence[Outcome], marks: Mapping[Cell, Marks]) -> Iterator[str]:
    """Yield the cells of a row, the best of their columns bold, those near them with a sign."""
    for text, (name, _) in zip(cells(same), COLUMNS, strict=True):
        mark = marks.get(find_cell(same[0], name), UNMARKED).of(same[0].row)
        yield SHOWN_AS[mark].format(text)


def format_spread(values: Sequence[float], sign: str = "") -> str:
    """Format mean and deviation as text; a single value has no deviation.

    Example:
        >>> format_spread([0.25, 0.75]), format_spread([0.25])
        ('0.500 ± 0.250', '0.250')
    """
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:{sign}.3f}"
    return f"{statistics.mean(values):{sign}.3f} ± {statistics.pstdev(values):.3f}"


def subtract_outcomes(outcome: Outcome, reference: Outcome) -> Mapping[str, float]:
    """Compute the differences of two outcomes' values; empty if either failed."""
    return {
        name: value - reference.values[name]
        for name, value in outcome.values.items()
        if name in reference.values
    }


def format_differences(changes: Sequence[Mapping[str, float]]) -> list[str]:
    """Format mean and deviation of every column's differences."""
    return [
        format_spread([differences[name] for differences in changes if name in differences], "+")
        for name, _ in COLUMNS
    ]


def average(values: Sequence[float]) -> float:
    """Compute the mean."""
    return statistics.mean(values)


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table as Markdown."""
    lines = [f"| {' | '.join(heads)} |", f"| {' | '.join('---' for _ in heads)} |"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def format_failures(outcomes: Sequence[Outcome]) -> str:
    """Format a line for every reason that runs failed for, and how many they were."""
    reasons = [(outcome.row, outcome.error) for outcome in outcomes if outcome.error]
    counts = [(*reason, len(list(same))) for reason, same in itertools.groupby(reasons)]
    lines = [
        f"- {row}: {count} {'run' if count == 1 else 'runs'} failed: {reason}\n"
        for row, reason, count in counts
    ]
    return "\n" + "".join(lines) if lines else ""
