"""Draw a data flow as an SVG, from a list of boxes and arrows.

Boxes stand in columns from left to right; the colour of a box says what it is, a dashed border that
it acts in training only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

BOX_WIDTH, LINE_HEIGHT, PADDING = 160, 15, 9
COLUMN_GAP, ROW_GAP, MARGIN = 44, 16, 12
STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #1b1f2a; text-anchor: middle; }
  rect { stroke: #5b6472; stroke-width: 1.2; rx: 6; }
  .input { fill: #e8eef9; } .net { fill: #e6f4ea; } .code { fill: #fdf0d5; }
  .target { fill: #ede7f6; } .loss { fill: #fbe4e6; }
  .training { stroke-dasharray: 5 3; }
  path { fill: none; stroke: #5b6472; stroke-width: 1.3; }
  .page { fill: #ffffff; stroke: none; }
"""


TIP = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto"><path d="M0,0 L8,4 L0,8 z" style="fill:#5b6472;stroke:none"/></marker></defs>'
)


@dataclass(frozen=True)
class Box:
    """One step.

    Attributes:
        text: its lines, parted by a line break.
        sort: `input`, `net`, `code`, `target` or `loss`.
        column: from 0, left.
        row: from 0, top; halves are allowed.
        in_training: whether it acts in training only.
    """

    text: str
    sort: str
    column: int
    row: float
    in_training: bool = False

    @property
    def lines(self) -> list[str]:
        """The lines of its text."""
        return self.text.split("\n")


@dataclass(frozen=True)
class Flow:
    """A figure: what it shows, its boxes by name, and its arrows from name to name."""

    title: str
    boxes: Mapping[str, Box]
    arrows: Sequence[tuple[str, str]] = field(default_factory=tuple)


def drawn(flow: Flow) -> str:
    """Return the figure as SVG text.

    Raises:
        KeyError: if an arrow names no box.
    """
    height = 2 * PADDING + LINE_HEIGHT * max(len(box.lines) for box in flow.boxes.values())
    step = height + ROW_GAP
    columns = 1 + max(box.column for box in flow.boxes.values())
    rows = 1 + max(box.row for box in flow.boxes.values())
    width = round(2 * MARGIN + columns * BOX_WIDTH + (columns - 1) * COLUMN_GAP)
    total = round(2 * MARGIN + rows * step - ROW_GAP)

    def corner(box: Box) -> tuple[float, float]:
        return MARGIN + box.column * (BOX_WIDTH + COLUMN_GAP), MARGIN + box.row * step

    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {total}" '
            f'width="{width}" height="{total}" role="img" aria-label="{escape(flow.title)}">'
        ),
        f"<title>{escape(flow.title)}</title>",
        f"<style>{STYLE}</style>",
        TIP,
        f'<rect class="page" width="{width}" height="{total}"/>',
    ]
    for start, end in flow.arrows:
        (x, y), (to_x, to_y) = corner(flow.boxes[start]), corner(flow.boxes[end])
        if flow.boxes[start].column == flow.boxes[end].column:
            x, to_x = x + BOX_WIDTH / 2, to_x + BOX_WIDTH / 2
            y, to_y = (y + height, to_y) if y < to_y else (y, to_y + height)
            line = f"M{x:g},{y:g} L{to_x:g},{to_y:g}"
        else:
            x, y, to_y = x + BOX_WIDTH, y + height / 2, to_y + height / 2
            middle = (to_x - x) / 2
            line = (
                f"M{x:g},{y:g} C{x + middle:g},{y:g} {to_x - middle:g},{to_y:g} {to_x:g},{to_y:g}"
            )
        parts.append(f'<path d="{line}" marker-end="url(#tip)"/>')
    for box in flow.boxes.values():
        x, y = corner(box)
        sort = f"{box.sort} training" if box.in_training else box.sort
        parts.append(
            f'<rect class="{sort}" x="{x:g}" y="{y:g}" width="{BOX_WIDTH}" height="{height}"/>'
        )
        first = y + height / 2 - LINE_HEIGHT * (len(box.lines) - 1) / 2 + 4
        parts += [
            f'<text x="{x + BOX_WIDTH / 2:g}" y="{first + place * LINE_HEIGHT:g}">'
            f"{escape(line)}</text>"
            for place, line in enumerate(box.lines)
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"
