"""A page of many runs: tables and plots, self-contained."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from modalhash.benchmarking.grid_table import (
    COLUMNS,
    COST_HEADS,
    cells,
    cost_rows,
    explain_collapse,
    format_failures,
    group_by_place,
    group_by_row,
    mark_collapse,
)
from modalhash.benchmarking.marks import UNMARKED, Cell, Marks, find_cell
from modalhash.benchmarking.outcomes import DIRECTIONS, RERANKED, Outcome
from modalhash.reports.curves import DASHES, INK, SERIES, finish, svg
from modalhash.reports.pages import new_figure, write_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["write_grid_page"]

Floats = NDArray[np.float64]
MARKERS = "os^Dvp*XhP"
Position = Callable[[Outcome], float]
AXES: tuple[tuple[str, Position, str], ...] = (
    ("bits", lambda outcome: outcome.n_bits, "over the length of codes"),
    (
        "bytes an item",
        lambda outcome: outcome.bits_per_item / 8,
        "over all that is stored for search",
    ),
    ("CPU seconds of training", lambda outcome: outcome.cpu_seconds, "over the time of training"),
)
"""Title of a horizontal axis, where an outcome lies on it, and what the plot's caption says."""
USUAL_BITS = 64
"""Length whose precision-recall curves are shown first; the longest where it wasn't run."""


def write_grid_page(
    outcomes: Sequence[Outcome], marks: Mapping[Cell, Marks], path: Path, *, origin: str
) -> None:
    """Write tables and plots of all runs to one HTML file that asks nothing of the network.

    Args:
        outcomes: of all runs; failed ones give their reasons.
        marks: of their differences.
        path: where the page goes.
        origin: a line on how the numbers came about.

    Raises:
        MissingExtraError: if jinja2 or matplotlib isn't installed.
        StorageError: if the file system refuses.
    """
    places = [
        {
            "name": place,
            **plots(place, [outcome for outcome in of_place if outcome.values]),
            "heads": ["method", "bits", "scoring", *(heading for _, heading in COLUMNS)],
            "rows": [table_row(same, marks) for same in group_by_row(of_place).values()],
            "cost_heads": COST_HEADS,
            "cost_rows": cost_rows(of_place),
            "collapse": explain_collapse(of_place),
            "failures": format_failures(of_place),
        }
        for place, of_place in group_by_place(outcomes).items()
    ]
    n_rows = len({outcome.row for outcome in outcomes})
    write_page("bench.html", {"places": places, "n_rows": n_rows, "made": origin}, path)


def table_row(same: Sequence[Outcome], marks: Mapping[Cell, Marks]) -> dict[str, Any]:
    """Collect what the template shows of a row."""
    first = same[0]
    row = {"name": mark_collapse(first.row, same), "n_bits": first.n_bits, "scoring": first.scoring}
    if not any(outcome.values for outcome in same):
        return {**row, "error": first.error, "cells": []}
    shown = []
    for text, (name, _) in zip(cells(same), COLUMNS, strict=True):
        mark = marks.get(find_cell(first, name), UNMARKED).of(first.row)
        shown.append({"text": text, "mark": mark})
    return {**row, "error": "", "cells": shown}


def line_name(outcome: Outcome) -> str:
    """Name the line of an outcome: its row, and the scoring unless the row's name says it."""
    return outcome.row if outcome.row.endswith(RERANKED) else f"{outcome.row}, {outcome.scoring}"


def plots(place: str, outcomes: Sequence[Outcome]) -> dict[str, list[dict[str, str]]]:
    """Draw the plots of one collection, and those of further lengths that are folded away.

    The first measure there is, over bits, bytes and time, then precision over recall.
    """
    plots_of_place: list[dict[str, str]] = []
    if not outcomes:
        return {"plots": plots_of_place, "more_plots": []}
    title = next(iter(outcomes[0].values)).rpartition(" ")[0]
    for axis, position, words in AXES:
        for direction in DIRECTIONS:
            arrow = direction.replace("_to_", " to ")
            drawn = quality_plot(outcomes, f"{title} {direction}", axis, position, place)
            plots_of_place.append({"svg": drawn, "caption": f"{title}, {arrow}, {words}."})
    first, *others = curve_lengths(outcomes) or [0]
    more = [plot for n_bits in others for plot in precision_recall(place, outcomes, n_bits)]
    return {
        "plots": [*plots_of_place, *precision_recall(place, outcomes, first)],
        "more_plots": more,
    }


def curve_lengths(outcomes: Sequence[Outcome]) -> list[int]:
    """List the lengths of codes that curves were kept of: the usual one first, then rising."""
    lengths = sorted({outcome.n_bits for outcome in outcomes if outcome.curves})
    usual = USUAL_BITS if USUAL_BITS in lengths else max(lengths, default=0)
    return sorted(lengths, key=lambda n_bits: (n_bits != usual, n_bits))


def precision_recall(place: str, outcomes: Sequence[Outcome], n_bits: int) -> list[dict[str, str]]:
    """Draw plots of precision over recall at one length; none where no curves were kept."""
    plots_of_place = []
    rows = list(dict.fromkeys(line_name(outcome) for outcome in outcomes))
    for direction in DIRECTIONS:
        lines = {}
        for same in group_by_row(
            [outcome for outcome in outcomes if outcome.n_bits == n_bits]
        ).values():
            if curve := mean_curve(same, direction):
                lines[line_name(same[0])] = curve
        if lines:
            drawn = precision_recall_plot(lines, rows, f"{direction}, {n_bits} bits, {place}")
            words = f"{direction.replace('_to_', ' to ')}, {n_bits} bits, by rank, shared label"
            plots_of_place.append({"svg": drawn, "caption": f"Precision over recall, {words}."})
    return plots_of_place


def mean_curve(same: Sequence[Outcome], direction: str) -> tuple[Floats, Floats] | None:
    """Average recall and precision by rank over seeds; None if no run has kept them."""
    curves = [outcome.curves[direction] for outcome in same if direction in outcome.curves]
    # Ranks are the same for a collection; one that has changed since an earlier run is left out.
    curves = [curve for curve in curves if len(curve["recall"]) == len(curves[-1]["recall"])]
    if not curves:
        return None
    recall, precision = (
        np.mean([curve[name] for curve in curves], axis=0) for name in ("recall", "precision")
    )
    return recall, precision


def precision_recall_plot(
    lines: Mapping[str, tuple[Floats, Floats]], rows: Sequence[str], name: str
) -> str:
    """Draw a curve for each method, in the colours of the other plots."""
    figure = new_figure(4.6, 3.9)
    axes = figure.axes[0]
    for row, (recall, precision) in lines.items():
        axes.plot(recall, precision, label=row, **line_style(rows.index(row)))
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    finish(axes, ("recall", "precision"))
    show_names(figure)
    return svg(figure, f"precision over recall, {name.replace('_', ' ')}")


def quality_plot(
    outcomes: Sequence[Outcome], value: str, axis: str, position: Position, place: str
) -> str:
    """Draw the mean of a value for each method and length; a line joins a method's lengths."""
    figure = new_figure(4.6, 3.9)
    axes = figure.axes[0]
    rows = list(dict.fromkeys(line_name(outcome) for outcome in outcomes))
    lines: dict[str, list[tuple[float, float]]] = {}
    for same in group_by_row([outcome for outcome in outcomes if value in outcome.values]).values():
        mean = statistics.mean(outcome.values[value] for outcome in same)
        lines.setdefault(line_name(same[0]), []).append(
            (statistics.mean(map(position, same)), mean)
        )
    for row, points in lines.items():
        number = rows.index(row)
        axes.plot(
            *zip(*sorted(points), strict=True),
            marker=MARKERS[number % len(MARKERS)],
            markersize=4,
            label=row,
            **line_style(number),
        )
    xs = [x for points in lines.values() for x, _ in points]
    if min(xs) > 0 and max(xs) > 4 * min(xs):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
    finish(axes, (axis, value.rpartition(" ")[0]))
    show_names(figure)
    return svg(figure, f"{value.replace('_', ' ')} over {axis}, {place}")


def line_style(number: int) -> dict[str, Any]:
    """Choose colour and dashes of the row of that number, the same in every plot of a page."""
    dashes = list(DASHES.values())
    return {
        "linewidth": 1.4,
        "color": SERIES[number % len(SERIES)],
        "linestyle": dashes[number // len(SERIES) % len(dashes)],
    }


def show_names(figure: "Figure") -> None:
    """Say below the plot which line is which."""
    figure.legend(
        loc="outside lower center", ncols=3, frameon=False, labelcolor=INK, fontsize=8,
        handlelength=2.8,
    )  # fmt: skip
