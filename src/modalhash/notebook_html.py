"""HTML that notebooks show for an object: tables, and pictures inside the page.

Everything a data set says is escaped, texts are cut and rows and pictures are few, so that a cell's
output stays small whatever it shows. Styles stand in the elements: a notebook has no style sheet of
ours, and its theme may be dark.
"""

import base64
import html
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from modalhash.errors import ModalhashError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "MOST_CARDS",
    "THUMBNAIL",
    "PictureCard",
    "escape_text",
    "join_parts",
    "make_card",
    "make_fact_table",
    "make_gallery",
    "make_table",
    "picture_url",
    "write_count_list",
]

MOST_CARDS: Final = 12
"""Pictures of one output."""
MOST_ROWS: Final = 100
"""Rows of one table."""
LONGEST_TEXT: Final = 120
"""Letters of one text."""
THUMBNAIL: Final = 128
"""Longer side of a picture, in pixels."""
QUALITY: Final = 80
UNREADABLE: Final = (ModalhashError, OSError, ValueError, SyntaxError)
"""What opening a picture may raise; the card then has none."""
GREY: Final = "border:1px solid #8884"
CELL: Final = f"{GREY};padding:2px 8px;text-align:left;vertical-align:top"


@dataclass(frozen=True)
class PictureCard:
    """A picture with lines of text below it.

    Attributes:
        picture: its data URL; "" where there is none to show.
        lines: below the picture.
    """

    picture: str
    lines: tuple[str, ...]


def escape_text(text: object, longest: int = LONGEST_TEXT) -> str:
    """Escape a text for HTML, between tags and in attributes; a long one is cut.

    Example:
        >>> escape_text("<b>bold</b>"), escape_text("a long text", 6)
        ('&lt;b&gt;bold&lt;/b&gt;', 'a lon…')
    """
    words = str(text)[: longest + 1]
    if len(words) > longest:
        words = f"{words[: longest - 1]}…"
    shown = words.encode(errors="replace").decode()  # halves of characters break a notebook's JSON
    return html.escape("".join(char if char.isprintable() else " " for char in shown))


def picture_url(picture: "Image", size: int = THUMBNAIL, quality: int = QUALITY) -> str:
    """Encode a small copy of a picture as a data URL.

    Args:
        picture: of any mode; it is left as it is.
        size: of the longer side at most; a picture is never enlarged.
        quality: of the JPEG.
    """
    small = picture.convert("RGB")
    small.thumbnail((size, size))
    content = io.BytesIO()
    small.save(content, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


def make_card(open_picture: "Callable[[], Image | None]", lines: Iterable[object]) -> PictureCard:
    """Make the card of a picture; one that can't be read is left out, and its lines stay."""
    try:
        picture = open_picture()
        address = "" if picture is None else picture_url(picture)
    except UNREADABLE:
        address = ""
    return PictureCard(address, tuple(map(str, lines)))


def make_gallery(cards: Sequence[PictureCard]) -> str:
    """Lay cards side by side, in as many rows as it takes; at most `MOST_CARDS` of them."""
    figures = "".join(map(write_figure, cards[:MOST_CARDS]))
    return f'<div style="display:flex;flex-wrap:wrap;gap:8px;margin:6px 0">{figures}</div>'


def write_figure(card: PictureCard) -> str:
    """Write the HTML of one card."""
    box = f"width:{THUMBNAIL}px;height:{THUMBNAIL}px;object-fit:contain"
    name = escape_text(card.lines[0] if card.lines else "")
    if card.picture:
        shown = f'<img src="{html.escape(card.picture)}" alt="{name}" style="{box}">'
    else:
        shown = (
            f'<div style="{box};{GREY};box-sizing:border-box;display:flex;align-items:center;'
            'justify-content:center;opacity:.6">no picture</div>'
        )
    lines = "<br>".join(map(escape_text, card.lines))
    return (
        f'<figure style="width:{THUMBNAIL}px;margin:0;font-size:12px;line-height:1.3;'
        f'overflow-wrap:anywhere">{shown}<figcaption>{lines}</figcaption></figure>'
    )


def make_table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Make a table; rows beyond `MOST_ROWS` are left out, and a last row says so."""
    shown = list(islice(rows, MOST_ROWS + 1))
    lines = [write_row("th", header)] if header else []
    lines += [write_row("td", row) for row in shown[:MOST_ROWS]]
    if len(shown) > MOST_ROWS:
        lines.append(write_row("td", [f"only the first {MOST_ROWS} rows are shown"]))
    return f'<table style="border-collapse:collapse;margin:6px 0">{"".join(lines)}</table>'


def make_fact_table(facts: Mapping[str, object]) -> str:
    """Make a table of names and what they are; empty values are left out."""
    lines = (
        f'<tr><th scope="row" style="{CELL}">{escape_text(name)}</th>'
        f'<td style="{CELL}">{escape_text(value)}</td></tr>'
        for name, value in islice(facts.items(), MOST_ROWS)
        if value
    )
    return f'<table style="border-collapse:collapse;margin:6px 0">{"".join(lines)}</table>'


def write_count_list(counts: Mapping[str, int]) -> str:
    """Write counts with their names.

    Example:
        >>> write_count_list({"train": 6000, "dev": 1000})
        'train 6,000, dev 1,000'
    """
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def write_row(tag: str, cells: Iterable[object]) -> str:
    """Write the HTML of one row of a table."""
    written = "".join(f'<{tag} style="{CELL}">{escape_text(cell)}</{tag}>' for cell in cells)
    return f"<tr>{written}</tr>"


def join_parts(title: object, *parts: str) -> str:
    """Put parts, which are HTML already, below a title, which is text."""
    return f'<div><div style="font-weight:600">{escape_text(title)}</div>{"".join(parts)}</div>'
