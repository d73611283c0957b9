"""Draw the results of the methods on each collection as SVG, from benchmarks/results."""

from collections.abc import Mapping, Sequence
from html import escape

from measured import average_rows, choose_outcomes, read_outcomes  # type: ignore[import-not-found, unused-ignore]

__all__ = ["results_figures"]

PLACES = {
    "flickr8k": ("methods-flickr8k.csv", "flickr8k dev"),
    "wiki": ("methods-wiki.csv", "wiki test"),
    "icons": ("methods-icons.csv", "icons test"),
}
LENGTH = "64"
LEFT, WIDTH, ROW, TOP, RADIUS = 190, 440, 17, 40, 4.5
STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #1b1f2a; }
  .name { text-anchor: end; } .scale { text-anchor: middle; fill: #5b6472; }
  .grid { stroke: #d5d9e0; } .span { stroke: #9ca3af; }
  .image { fill: #3f51b5; } .text { fill: #e07a1f; } .page { fill: #ffffff; }
"""


def results_figures() -> dict[str, str]:
    """Draw one figure a collection: MAP@50 of every method at 64 bits, in both directions."""
    figures = {}
    for name, (file, place) in PLACES.items():
        chosen = choose_outcomes(read_outcomes(file), place, [], [LENGTH])
        figures[f"results-{name}"] = draw_figure(average_rows(chosen))
    return figures


def draw_figure(means: Mapping[str, Sequence[float]]) -> str:
    """Draw a row a method: a dot for each direction, the best on top."""
    ranked = sorted(means, key=lambda row: -sum(means[row][:2]))
    height = TOP + ROW * len(ranked) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 30} {height}">',
        f'<style>{STYLE}</style><rect class="page" width="100%" height="100%"/>',
        *draw_scale(height),
    ]
    for place, row in enumerate(ranked):
        parts += draw_row(row, means[row], TOP + ROW * place + 10)
    return "\n".join([*parts, "</svg>", ""])


def draw_scale(height: int) -> list[str]:
    """Draw the legend, and lines at tenths with their numbers."""
    parts = [
        f'<circle class="image" cx="{LEFT}" cy="10" r="{RADIUS}"/>',
        f'<text x="{LEFT + 10}" y="14">image → text</text>',
        f'<circle class="text" cx="{LEFT + 110}" cy="10" r="{RADIUS}"/>',
        f'<text x="{LEFT + 120}" y="14">text → image (MAP@50, shared label, 64 bits)</text>',
    ]
    for tenth in range(0, 11, 2):
        x = LEFT + WIDTH * tenth / 10
        parts.append(f'<line class="grid" x1="{x:.0f}" x2="{x:.0f}" y1="36" y2="{height - 8}"/>')
        parts.append(f'<text class="scale" x="{x:.0f}" y="32">{tenth / 10:.1f}</text>')
    return parts


def draw_row(name: str, values: Sequence[float], y: int) -> list[str]:
    """Draw the name and the two dots of a method."""
    image, text = (LEFT + WIDTH * value for value in values[:2])
    return [
        f'<text class="name" x="{LEFT - 10}" y="{y + 4}">{escape(name)}</text>',
        f'<line class="span" x1="{image:.1f}" x2="{text:.1f}" y1="{y}" y2="{y}"/>',
        f'<circle class="image" cx="{image:.1f}" cy="{y}" r="{RADIUS}"/>',
        f'<circle class="text" cx="{text:.1f}" cy="{y}" r="{RADIUS}"/>',
    ]
