"""Curves of reports as inline SVG that follows the page's colours."""

import io
import re
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from modalhash.extras import import_optional
from modalhash.metrics import CodeStatistics, Curve, Measure, Report
from modalhash.reports.pages import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "SERIES",
    "balance_plot",
    "bits_plot",
    "correlation_plot",
    "precision_at_plot",
    "precision_recall_plot",
    "radius_plot",
    "recall_at_plot",
    "svg",
]

SERIES = ("#4f6bed", "#d9730d", "#0f9d76", "#b83280", "#7a7a85", "#a0860b")
"""Colours of runs: apart for the colour-blind, readable on white and on black."""
DASHES = {
    "image_to_text": "-",
    "text_to_image": (0, (5, 2)),
    "image_to_image": (0, (1, 1.4)),
    "text_to_text": (0, (5, 1.6, 1, 1.6)),
}
INK = "#6b7280"
Draw = Callable[[Any, Curve, dict[str, Any]], None]


def svg(figure: "Figure", name: str) -> str:
    """Draw a figure as an SVG element to stand in a page.

    Texts stay texts in the page's font, ink is the page's (`currentColor`), nothing refers to
    another place, and the same figure gives the same bytes.

    Args:
        figure: what to draw.
        name: different for each figure of a page; ids inside begin with it.
    """
    matplotlib = import_optional("matplotlib", extra="report", feature="plots")
    content = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None})
    text = content.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = text.replace(INK, "currentColor")
    # Ids that something refers to are made of the salt; the others repeat from plot to plot.
    used = set(re.findall(r"#([\w.-]+)[\")]", text))
    text = re.sub(r' id="([\w.-]+)"', lambda match: match[0] if match[1] in used else "", text)
    return text.replace("<svg ", f'<svg class="plot" role="img" aria-label="{name}" ', 1)


def precision_recall_plot(
    reports: Sequence[Report], relevance: str, scorings: Collection[str]
) -> str:
    """Draw precision over recall, by rank."""

    def draw(axes: Any, curve: Curve, style: dict[str, Any]) -> None:
        axes.plot(curve.recall, curve.precision, **style)

    return curve_plot(
        reports,
        relevance,
        scorings,
        "rank",
        draw,
        axes_names=("recall", "precision"),
        name="precision-recall",
    )


def precision_at_plot(reports: Sequence[Report], relevance: str, scorings: Collection[str]) -> str:
    """Draw precision@N over N."""

    def draw(axes: Any, curve: Curve, style: dict[str, Any]) -> None:
        axes.plot(curve.cutoffs, curve.precision, **style)
        count_axis(axes)

    return curve_plot(
        reports,
        relevance,
        scorings,
        "rank",
        draw,
        axes_names=("N", "precision@N"),
        name="precision at N",
    )


def recall_at_plot(reports: Sequence[Report], relevance: str, scorings: Collection[str]) -> str:
    """Draw recall@N over N."""

    def draw(axes: Any, curve: Curve, style: dict[str, Any]) -> None:
        axes.plot(curve.cutoffs, curve.recall, **style)
        count_axis(axes)

    return curve_plot(
        reports, relevance, scorings, "rank", draw, axes_names=("N", "recall@N"), name="recall at N"
    )


def radius_plot(reports: Sequence[Report], relevance: str, scorings: Collection[str]) -> str:
    """Draw precision over recall of lookups, with some radii marked."""

    def draw(axes: Any, curve: Curve, style: dict[str, Any]) -> None:
        axes.plot(curve.recall, curve.precision, marker=".", markersize=4, **style)
        if len(axes.lines) > 1:  # the others' radii lie close by
            return
        last = len(curve.cutoffs) - 1
        for radius in sorted({last // 4, 3 * last // 8, last // 2}):
            axes.annotate(
                f"r={radius}",
                (curve.recall[radius], curve.precision[radius]),
                xytext=(5, 6),
                textcoords="offset points",
                fontsize=8,
                color=INK,
            )

    return curve_plot(
        reports,
        relevance,
        scorings,
        "radius",
        draw,
        axes_names=("recall", "precision"),
        name="precision-recall by radius",
    )


def curve_plot(
    reports: Sequence[Report],
    relevance: str,
    scorings: Collection[str],
    by: str,
    draw: Draw,
    *,
    axes_names: tuple[str, str],
    name: str,
) -> str:
    """Draw one curve a run, direction and scoring: runs by colour, directions by dashes."""
    figure = new_figure(4.6, 3.2)
    axes = figure.axes[0]
    directions: dict[str, str] = {}
    for place, report in enumerate(reports):
        for direction_report in report.directions:
            if direction_report.scoring not in scorings:
                continue
            for curve in direction_report.curves:
                if (curve.by, curve.relevance) != (by, relevance):
                    continue
                # One run alone has colours for its directions too.
                colour = place if len(reports) > 1 else len(directions)
                directions.setdefault(direction_report.direction, SERIES[colour % len(SERIES)])
                style = {
                    "color": SERIES[colour % len(SERIES)],
                    "linestyle": DASHES[direction_report.direction],
                    "linewidth": 1.8,
                }
                draw(axes, curve, style)
    if not directions:
        return ""
    axes.set_ylim(0, 1.02)
    finish(axes, axes_names)
    for place, run in enumerate(name_runs(reports) if len(reports) > 1 else ()):
        axes.plot([], [], color=SERIES[place % len(SERIES)], linewidth=1.8, label=run)
    for direction, own_colour in directions.items():
        shown = INK if len(reports) > 1 else own_colour
        name_of_direction = direction.replace("_to_", " → ")
        axes.plot([], [], color=shown, linestyle=DASHES[direction], label=name_of_direction)
    legend(axes)
    return svg(figure, f"{name}, {relevance.replace('_', ' ')}, {' and '.join(scorings)}")


def bits_plot(reports: Sequence[Report], scorings: Collection[str], like: Measure) -> str:
    """Draw a measure over the length of codes, one line a method and direction.

    It is "" for one length. Runs of one method and length (other seeds) are averaged.
    """
    if len({report.code_bits for report in reports}) < 2:
        return ""
    shown = (like.measure, like.relevance, like.k, like.convention)
    points: dict[tuple[str, str], dict[int, list[float]]] = {}
    for report in reports:
        for measure in report.measures:
            curve = (measure.measure, measure.relevance, measure.k, measure.convention)
            if measure.scoring in scorings and curve == shown:
                key = (str(report.about.get("method", "codes")), measure.direction)
                of_length = points.setdefault(key, {}).setdefault(report.code_bits, [])
                of_length.append(measure.value)
    figure = new_figure(4.6, 3.2)
    axes = figure.axes[0]
    methods = list(dict.fromkeys(method for method, _ in points))
    for (method, direction), values in points.items():
        bits = sorted(values)
        axes.plot(
            bits,
            [float(np.mean(values[n_bits])) for n_bits in bits],
            marker="o",
            markersize=4,
            color=SERIES[methods.index(method) % len(SERIES)],
            linestyle=DASHES[direction],
            label=f"{method}, {direction.replace('_to_', ' → ')}",
        )
    ticks = sorted({report.code_bits for report in reports})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(n_bits) for n_bits in ticks])
    axes.minorticks_off()
    finish(axes, ("bits", f"MAP@{like.k or 'all'} ({like.convention})"))
    legend(axes)
    words = f"{like.relevance.replace('_', ' ')}, {' and '.join(scorings)}"
    return svg(figure, f"MAP over bits, {words}")


def balance_plot(statistics: CodeStatistics, name: str) -> str:
    """Draw the share of +1 of each bit."""
    figure = new_figure(4.6, 3.2)
    axes = figure.axes[0]
    balance = statistics.bit_balance
    axes.bar(np.arange(len(balance)), balance - 0.5, bottom=0.5, width=0.8, color=SERIES[0])
    axes.axhline(0.5, color=INK, linewidth=0.8)
    axes.set_ylim(0, 1)
    finish(axes, ("bit", "share of +1"))
    return svg(figure, f"balance of the bits, {name}")


def correlation_plot(statistics: CodeStatistics, name: str) -> str:
    """Draw the correlations of the bits, largest absolute values strongest; the diagonal empty."""
    figure = new_figure(4.6, 3.2)
    axes = figure.axes[0]
    values: NDArray[np.float64] = np.abs(statistics.bit_correlation.copy())
    np.fill_diagonal(values, np.nan)
    axes.grid(visible=False)
    colors = import_optional("matplotlib.colors", extra="report", feature="plots")
    # From nothing to the colour: right on a light page and on a dark one.
    strength = colors.LinearSegmentedColormap.from_list("strength", [SERIES[0] + "00", SERIES[0]])
    shown = axes.imshow(values, cmap=strength, vmin=0, vmax=1, interpolation="nearest")
    bar = figure.colorbar(shown, ax=axes, shrink=0.9)
    bar.ax.tick_params(colors=INK, labelsize=8)
    bar.outline.set_visible(False)
    finish(axes, ("bit", "bit"))
    return svg(figure, f"correlation of the bits, {name}")


def count_axis(axes: Any) -> None:
    """Make the horizontal axis one of counts: 1, 10, 100, ..."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")


def finish(axes: Any, names: tuple[str, str]) -> None:
    """Name the axes."""
    axes.set_xlabel(names[0], color=INK)
    axes.set_ylabel(names[1], color=INK)
    axes.tick_params(which="both", labelsize=8, color=INK)


def legend(axes: Any) -> None:
    """Show what is what; dashes need some length to be seen."""
    axes.legend(frameon=False, labelcolor=INK, fontsize=8, handlelength=2.8)


def name_runs(reports: Sequence[Report]) -> list[str]:
    """Name runs briefly, with their seeds where the names alone are the same."""
    names = [f"{report.about.get('method', 'codes')} {report.code_bits}" for report in reports]
    return [
        name if names.count(name) == 1 else f"{name}, seed {report.about.get('seed', '?')}"
        for name, report in zip(names, reports, strict=True)
    ]
