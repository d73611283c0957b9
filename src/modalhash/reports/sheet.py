"""Answers as pictures: an HTML page or a PNG."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from modalhash.errors import InputError
from modalhash.files import write_with
from modalhash.reports.pages import picture_data, thumbnail, write_page
from modalhash.search import Answer, Hit

__all__ = ["make_answer_view", "write_sheet"]

CELL, MARGIN, TITLE, CAPTION_LINES = 150, 12, 34, 2
FONT_SIZE = 13
INK, SOFT, PAPER, EMPTY = "#111827", "#6b7280", "#ffffff", "#e5e7eb"


def write_sheet(answers: Sequence[Answer], path: Path) -> None:
    """Write answers with their pictures.

    Args:
        answers: at least one.
        path: a `.html` file (self-contained) or a `.png` file.

    Raises:
        InputError: if there are no answers, or the ending is another.
        MissingExtraError: if HTML is wanted and jinja2 isn't installed.
        StorageError: if the file system refuses.
    """
    if not answers:
        raise InputError("there are no answers to show")
    match path.suffix.lower():
        case ".html":
            views = [make_answer_view(answer) for answer in answers]
            write_page("sheet.html", {"answers": views}, path)
        case ".png":
            picture = draw_sheet(answers)
            write_with(path, lambda file: picture.save(file, "PNG"), keeps_work=False)
        case ending:
            raise InputError(f"the sheet's name ends in {ending!r}, expected .html or .png")


def make_answer_view(answer: Answer) -> dict[str, Any]:
    """Describe an answer for the template."""
    ((kind, query),) = answer.query.items()
    return {
        "kind": kind,
        "query": query,
        "query_picture": picture_data(query) if kind == "image" else "",
        "target": str(answer.target),
        "n_bits": answer.n_bits,
        "hits": [
            {
                "id": hit.id,
                "distance": hit.distance,
                "caption": hit.caption,
                "picture": picture_data(hit.image),
            }
            for hit in answer.hits
        ],
    }


def draw_sheet(answers: Sequence[Answer]) -> Image.Image:
    """Draw one row an answer: the query above, hits from left to right."""
    font = ImageFont.load_default(FONT_SIZE)
    line = FONT_SIZE + 4
    row = TITLE + CELL + line * (CAPTION_LINES + 1) + 2 * MARGIN
    columns = max(1, *(len(answer.hits) for answer in answers))
    sheet = Image.new("RGB", (columns * (CELL + MARGIN) + MARGIN, row * len(answers)), PAPER)
    pen = ImageDraw.Draw(sheet)
    for place, answer in enumerate(answers):
        top = place * row + MARGIN
        ((kind, query),) = answer.query.items()
        title = f"{answer.target} for "
        title += f'"{query}"' if kind == "text" else f"the picture {Path(query).name}:"
        large = ImageFont.load_default(FONT_SIZE + 4)
        pen.text((MARGIN, top), title, INK, large)
        if kind == "image" and (small := thumbnail(query, TITLE - 4)) is not None:
            sheet.paste(small, (MARGIN + round(large.getlength(title)) + MARGIN, top - 4))
        for rank, hit in enumerate(answer.hits):
            left = MARGIN + rank * (CELL + MARGIN)
            distance = f"{hit.distance} of {answer.n_bits} bits differ"
            draw_hit(sheet, hit, distance, (left, top + TITLE), font)
    return sheet


def draw_hit(
    sheet: Image.Image,
    hit: Hit,
    distance: str,
    corner: tuple[int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """Draw one hit: picture, distance, caption."""
    pen = ImageDraw.Draw(sheet)
    left, top = corner
    picture = None if hit.image is None else thumbnail(hit.image, CELL)
    if picture is None:
        pen.rectangle((left, top, left + CELL, top + CELL), EMPTY)
    else:
        offset = ((CELL - picture.width) // 2, (CELL - picture.height) // 2)
        sheet.paste(picture, (left + offset[0], top + offset[1]))
    pen.rectangle((left, top, left + CELL, top + CELL), outline=EMPTY)
    below = top + CELL + 4
    pen.text((left, below), distance, SOFT, font)
    width = CELL // (FONT_SIZE // 2 + 1)
    caption = hit.caption or str(hit.id)
    lines = textwrap.wrap(caption, width, max_lines=CAPTION_LINES, placeholder=" ...")
    for number, text in enumerate(lines, start=1):
        pen.text((left, below + number * (FONT_SIZE + 4)), text, INK, font)
