"""A page of many runs: tables and plots, self-contained."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from modalhash.bench.curves import DASHES, INK, SERIES, finish, svg
from modalhash.bench.grid_table import (
    COLUMNS,
    COST_HEADS,
    by_place,
    by_row,
    cells,
    cost_rows,
    failures,
)
from modalhash.bench.marks import UNMARKED, Cell, Marks
from modalhash.bench.outcomes import DIRECTIONS, Outcome
from modalhash.bench.pages import new_figure, write_page

__all__ = ["write_grid_page"]

MARKERS = "os^Dvp*XhP"
Position = Callable[[Outcome], float]
AXES: tuple[tuple[str, Position, str], ...] = (
    ("bits", lambda one: one.n_bits, "over the length of codes"),
    ("bytes an item", lambda one: one.bits_per_item / 8, "over all that is stored for search"),
    ("CPU seconds of training", lambda one: one.cpu_seconds, "over the time of training"),
)
"""Title of a horizontal axis, where an outcome lies on it, and what the plot's caption says."""


def write_grid_page(
    outcomes: Sequence[Outcome], marks: Mapping[Cell, Marks], path: Path, *, made: str
) -> None:
    """Write tables and plots of all runs to one HTML file that asks nothing of the network.

    Args:
        outcomes: of all runs; failed ones give their reasons.
        marks: of their differences.
        path: where the page goes.
        made: a line on how the numbers came about.

    Raises:
        MissingExtraError: if jinja2 or matplotlib isn't installed.
        StorageError: if the file system refuses.
    """
    places = [
        {
            "name": place,
            "plots": plots(place, [one for one in of_place if one.values]),
            "heads": ["method", "bits", *(heading for _, heading in COLUMNS)],
            "rows": [
                table_row(place, row, n_bits, same, marks)
                for (row, n_bits), same in by_row(of_place).items()
            ],
            "cost_heads": COST_HEADS,
            "cost_rows": cost_rows(of_place),
            "failures": failures(of_place),
        }
        for place, of_place in by_place(outcomes).items()
    ]
    n_rows = len({one.row for one in outcomes})
    write_page("bench.html", {"places": places, "n_rows": n_rows, "made": made}, path)


def table_row(
    place: str, row: str, n_bits: int, same: Sequence[Outcome], marks: Mapping[Cell, Marks]
) -> dict[str, Any]:
    """Return what the template shows of a row."""
    if not any(one.values for one in same):
        return {"name": row, "n_bits": n_bits, "error": same[0].error, "cells": []}
    shown = []
    for text, (name, _) in zip(cells(same), COLUMNS, strict=True):
        mark = marks.get((place, n_bits, name), UNMARKED).of(row)
        shown.append({"text": text, "mark": mark})
    return {"name": row, "n_bits": n_bits, "error": "", "cells": shown}


def plots(place: str, outcomes: Sequence[Outcome]) -> list[dict[str, str]]:
    """Return the plots of one collection: the first measure there is, over bits, bytes and time."""
    found: list[dict[str, str]] = []
    if not outcomes:
        return found
    title = next(iter(outcomes[0].values)).rpartition(" ")[0]
    for axis, position, words in AXES:
        for direction in DIRECTIONS:
            arrow = direction.replace("_to_", " to ")
            drawn = quality_plot(outcomes, f"{title} {direction}", axis, position, place)
            found.append({"svg": drawn, "caption": f"{title}, {arrow}, {words}."})
    return found


def quality_plot(
    outcomes: Sequence[Outcome], value: str, axis: str, position: Position, place: str
) -> str:
    """Draw the mean of a value for each method and length; a line joins a method's lengths."""
    figure = new_figure(4.6, 3.9)
    axes = figure.axes[0]
    lines: dict[str, list[tuple[float, float]]] = {}
    for (row, _), same in by_row([one for one in outcomes if value in one.values]).items():
        mean = statistics.mean(one.values[value] for one in same)
        lines.setdefault(row, []).append((statistics.mean(map(position, same)), mean))
    for number, (row, points) in enumerate(lines.items()):
        axes.plot(
            *zip(*sorted(points), strict=True),
            marker=MARKERS[number % len(MARKERS)],
            markersize=4,
            linewidth=1.4,
            color=SERIES[number % len(SERIES)],
            linestyle=list(DASHES.values())[number // len(SERIES) % len(DASHES)],
            label=row,
        )
    xs = [x for points in lines.values() for x, _ in points]
    if min(xs) > 0 and max(xs) > 4 * min(xs):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
    finish(axes, (axis, value.rpartition(" ")[0]))
    figure.legend(
        loc="outside lower center", ncols=3, frameon=False, labelcolor=INK, fontsize=8,
        handlelength=2.8,
    )  # fmt: skip
    return svg(figure, f"{value.replace('_', ' ')} over {axis}, {place}")
