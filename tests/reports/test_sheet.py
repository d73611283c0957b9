import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modalhash.errors import InputError
from modalhash.reports import write_sheet
from modalhash.reports.sheet import CELL, MARGIN, TITLE
from modalhash.search import Answer, Hit, Side


def made_answer(folder: Path, *, caption: str = "a red square") -> Answer:
    file = folder / "red.png"
    Image.new("RGB", (40, 40), (255, 0, 0)).save(file)
    hits = (
        Hit("red", 3, 1 - 3 / 64, caption, str(file), {}),
        Hit("gone", 5, 1 - 5 / 64, "a lost picture", str(folder / "lost.png"), {}),
    )
    return Answer({"text": "something <red>"}, Side.IMAGES, 64, hits)


class Reader(HTMLParser):
    """Collects texts and picture sources."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.sources.append(dict(attrs)["src"] or "")

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def test_html_sheet_shows_query_hits_and_pictures(tmp_path: Path) -> None:
    path = tmp_path / "sheet.html"
    write_sheet([made_answer(tmp_path)], path)
    reader = Reader()
    reader.feed(path.read_text("utf-8"))
    assert "“something <red>”" in reader.texts
    assert "a red square" in reader.texts
    assert "3 of 64 bits differ" in reader.texts
    assert len(reader.sources) == 1  # the lost picture leaves its caption
    assert all(source.startswith("data:image/jpeg;base64,") for source in reader.sources)


def test_html_sheet_escapes_what_a_collection_says(tmp_path: Path) -> None:
    path = tmp_path / "sheet.html"
    write_sheet([made_answer(tmp_path, caption="<script>alert(1)</script>")], path)
    page = path.read_text("utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_png_sheet_draws_the_picture_in_the_first_cell(tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    write_sheet([made_answer(tmp_path)], path)
    pixels = np.asarray(Image.open(path))
    middle = (MARGIN + TITLE + CELL // 2, MARGIN + CELL // 2)
    assert pixels[middle].tolist() == pytest.approx([255, 0, 0], abs=4)
    second = (MARGIN + TITLE + CELL // 2, 2 * MARGIN + CELL + CELL // 2)
    assert pixels[second].tolist() == [0xE5, 0xE7, 0xEB]  # no picture: an empty cell


@pytest.mark.parametrize(
    ("name", "answers", "message"),
    [
        ("sheet.pdf", made_answer, "the sheet's name ends in '.pdf', expected .html or .png"),
        ("sheet.png", None, "there are no answers to show"),
    ],
)
def test_sheet_refuses(
    tmp_path: Path, name: str, answers: Callable[[Path], Answer] | None, message: str
) -> None:
    given = [] if answers is None else [answers(tmp_path)]
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        write_sheet(given, tmp_path / name)
    assert not (tmp_path / name).exists()
