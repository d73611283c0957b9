"""Draw what a query that keeps its numbers does: two items at one distance, told apart."""

import numpy as np

from modalhash.codes import asymmetric_scores, hamming_distances, pack

__all__ = ["asymmetric_figure"]

QUERY = (0.9, -0.1, 0.7, -0.8, 0.2, 0.1, -0.6, 0.4)
"""Numbers of a query before the sign, of 8 bits."""
ITEMS = {
    "item A": (1, 1, 1, -1, 1, -1, -1, 1),
    "item B": (-1, -1, 1, 1, 1, 1, -1, 1),
}
"""Signs of two items, which both differ from the signs of the query in two bits."""
LEFT, CELL, BAR, ROW = 150, 46, 42, 30
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1b1f2a; }
  .name { text-anchor: end; } .cell { text-anchor: middle; } .small { font-size: 11px; }
  .soft { fill: #5b6472; } .page { fill: #ffffff; } .axis { stroke: #9ca3af; }
  .query { fill: #3f51b5; } .agrees { fill: #e6f4ea; stroke: #7fa88b; }
  .differs { fill: #fbe4e6; stroke: #c2777f; }
"""


def asymmetric_figure() -> str:
    """Draw the numbers of a query as bars, and two items below with distance and score."""
    query = np.array([QUERY])
    width, top = LEFT + CELL * len(QUERY) + 290, 34
    middle = top + BAR
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {middle + BAR + 130}">',
        f'<style>{STYLE}</style><rect class="page" width="100%" height="100%"/>',
        f'<text class="soft" x="{LEFT}" y="18">The query keeps its numbers; items are bits.</text>',
        f'<text class="name" x="{LEFT - 12}" y="{middle + 5}">query</text>',
        f'<path class="axis" d="M{LEFT},{middle} h{CELL * len(QUERY)}"/>',
    ]
    for bit, number in enumerate(QUERY):
        x, height = LEFT + CELL * bit, abs(number) * BAR
        y = middle - height if number > 0 else middle
        label = middle - height - 4 if number > 0 else middle + height + 12
        parts.append(
            f'<rect class="query" x="{x + 8}" y="{y:.1f}" width="{CELL - 16}" '
            f'height="{height:.1f}"/>'
        )
        parts.append(
            f'<text class="cell small" x="{x + CELL / 2}" y="{label:.1f}">{number:+.1f}</text>'
        )
    y = middle + BAR + 34
    x = LEFT + CELL * len(QUERY) + 24
    parts.append(f'<text class="soft small" x="{x}" y="{y - 8}">bits that differ</text>')
    parts.append(f'<text class="soft small" x="{x + 130}" y="{y - 8}">asymmetric score</text>')
    for name, signs in ITEMS.items():
        code = pack([signs])
        distance = int(hamming_distances(pack(np.where(query >= 0, 1, -1)), code)[0, 0])
        score = float(asymmetric_scores(query, code, len(QUERY))[0, 0])
        parts += draw_item(name, signs, y)
        parts.append(f'<text x="{x}" y="{y + 20}">{distance}</text>')
        parts.append(f'<text x="{x + 130}" y="{y + 20}">{score:+.2f}</text>')
        y += ROW + 8
    return "\n".join([*parts, "</svg>", ""])


def draw_item(name: str, signs: tuple[int, ...], y: int) -> list[str]:
    """Draw the bits of an item, coloured by whether they agree with the query."""
    parts = [f'<text class="name" x="{LEFT - 12}" y="{y + 20}">{name}</text>']
    for bit, (number, sign) in enumerate(zip(QUERY, signs, strict=True)):
        x, agrees = LEFT + CELL * bit, (number >= 0) == (sign > 0)
        parts.append(
            f'<rect class="{"agrees" if agrees else "differs"}" x="{x + 4}" y="{y}" '
            f'width="{CELL - 8}" height="{ROW}"/>'
        )
        parts.append(
            f'<text class="cell" x="{x + CELL / 2}" y="{y + 20}">{"+" if sign > 0 else "-"}1</text>'
        )
    return parts
