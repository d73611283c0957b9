"""A page of a board of quantisers: curves against bytes, verdicts and tables, self-contained."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from modalhash.benchmarking.grid_page import MARKERS, line_style, show_names
from modalhash.benchmarking.quantizer_rows import RESCORED, QuantizerRow
from modalhash.benchmarking.quantizer_table import (
    Verdict,
    column_values,
    group_rows,
    list_failures,
    row_cells,
    verdict_cells,
)
from modalhash.reports.curves import finish, svg
from modalhash.reports.pages import new_figure, write_page

__all__ = ["write_quantizer_page"]

RATE_TITLE: Final = "queries a CPU second, a million items"
MILLION: Final = 1e6
OUR_WIDTH: Final = 2.6
Value = Callable[[QuantizerRow], float | None]


def write_quantizer_page(
    rows: Sequence[QuantizerRow],
    verdicts: Sequence[Verdict],
    notes: Mapping[str, Sequence[str]],
    path: Path,
    *,
    origin: str,
) -> None:
    """Write curves and tables of all rows to one HTML file that asks nothing of the network.

    Args:
        rows: of all quantisers; those that can't be made give their reasons.
        verdicts: our rows against the others.
        notes: space to what a reader must know of it.
        path: where the page goes.
        origin: a line on how the numbers came about.

    Raises:
        MissingExtraError: if jinja2 or matplotlib isn't installed.
        StorageError: if the file system refuses.
    """
    places = []
    for place in dict.fromkeys(row.place for row in rows):
        of_place = [row for row in rows if row.place == place]
        good = [row for row in of_place if not row.error]
        heads, cells = row_cells(of_place)
        verdict_heads, verdict_lines = verdict_cells(
            [verdict for verdict in verdicts if verdict.place == place]
        )
        places.append(
            {
                "name": place,
                "notes": notes.get(place, ()),
                "plots": draw_plots(good, place),
                "heads": heads,
                "rows": [[cell.replace("**", "") for cell in line] for line in cells],
                "verdict_heads": verdict_heads,
                "verdicts": [[cell.replace("**", "") for cell in line] for line in verdict_lines],
                "failures": list_failures(of_place),
            }
        )
    write_page("quantizers.html", {"places": places, "made": origin}, path)


def draw_plots(rows: Sequence[QuantizerRow], place: str) -> list[dict[str, str]]:
    """Draw a plot of every value and of the rate against the bytes of an item in all."""
    plots = []
    for name, head in column_values(rows):

        def read(row: QuantizerRow, name: str = name) -> float | None:
            return row.values.get(name)

        plots.append({"svg": draw_curves(rows, head, read, place), "caption": head})
    rated = [row for row in rows if row.items_per_second]
    if rated:
        drawn = draw_curves(
            rated, RATE_TITLE, lambda row: row.items_per_second / MILLION or None, place,
            is_log=True,
        )  # fmt: skip
        plots.append({"svg": drawn, "caption": RATE_TITLE})
    return plots


def draw_curves(
    rows: Sequence[QuantizerRow], title: str, read: Value, place: str, *, is_log: bool = False
) -> str:
    """Draw a line a quantiser and scoring, means over seeds, against bytes in all; ours thick.

    Rescored rows are left out: with their int8 copies they all lie beyond the last size.
    """
    figure = new_figure(5.6, 5.2)
    axes = figure.axes[0]
    lines: dict[str, list[tuple[float, float]]] = {}
    ours: set[str] = set()
    for same in group_rows(rows).values():
        values = [value for row in same if (value := read(row)) is not None]
        if not values or same[0].scoring == RESCORED:
            continue
        point = (float(same[0].total_bytes), statistics.mean(values))
        lines.setdefault(same[0].line, []).append(point)
        if same[0].is_ours:
            ours.add(same[0].line)
    names = list(dict.fromkeys(row.line for row in rows))
    for line, points in lines.items():
        number = names.index(line)
        style = line_style(number)
        if line in ours:
            style["linewidth"] = OUR_WIDTH
        axes.plot(
            *zip(*sorted(points), strict=True), marker=MARKERS[number % len(MARKERS)],
            markersize=4, label=line, **style,
        )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    if is_log:
        axes.set_yscale("log")
    finish(axes, ("bytes an item, in all", title))
    show_names(figure)
    return svg(figure, f"{title} over bytes, {place}")
