"""What notebooks show: escaped, bounded, with pictures inside, and never an error."""

import base64
import io
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import modalhash as mh
from modalhash.data import Collection
from modalhash.metrics import Measure, Report
from modalhash.metrics.results import DirectionReport
from modalhash.notebook_html import (
    MOST_CARDS,
    MOST_ROWS,
    PictureCard,
    escape_text,
    make_gallery,
    make_table,
    picture_url,
)
from modalhash.search import Answer, Hit, Side
from modalhash.search.strength import Strength

ATTACK = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'"


class Page(HTMLParser):
    """Collects elements, texts and picture addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.pictures: list[str] = []
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.pictures += [value or "" for name, value in attrs if name == "src"]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def show(value: object) -> Page:
    text: str = value._repr_html_()  # type: ignore[attr-defined]
    assert len(text) < 200_000
    return Page(text)


def decode(address: str) -> Image.Image:
    head, _, content = address.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


def save_picture(path: Path, colour: str = "red", size: tuple[int, int] = (300, 150)) -> Path:
    Image.new("RGB", size, colour).save(path)
    return path


def make_answer(*hits: Hit, query: str = "red") -> Answer:
    return Answer({"text": query}, Side.IMAGES, 64, hits)


def hit(name: str, image: Path | str | None, caption: str = "") -> Hit:
    return Hit(name, 3, 1 - 3 / 64, caption, None if image is None else str(image), {})


def test_texts_are_escaped_and_cut() -> None:
    assert escape_text("a<b>&\"'") == "a&lt;b&gt;&amp;&quot;&#x27;"
    assert escape_text("12345", 5) == "12345"
    assert escape_text("123456", 5) == "1234…"
    assert escape_text("a\x1b\ud800b\u202e") == "a ?b "


def test_a_picture_is_made_small_and_never_large() -> None:
    with decode(picture_url(Image.new("RGBA", (256, 64)))) as small:
        assert (small.size, small.mode, small.format) == ((128, 32), "RGB", "JPEG")
    with decode(picture_url(Image.new("L", (20, 10)))) as small:
        assert small.size == (20, 10)


def test_rows_and_cards_are_few() -> None:
    assert Page(make_table(["n"], ([n] for n in range(10**6)))).tags.count("tr") == MOST_ROWS + 2
    cards = [PictureCard("", (str(n),)) for n in range(MOST_CARDS + 5)]
    assert Page(make_gallery(cards)).tags.count("figure") == MOST_CARDS


def test_an_answer_shows_pictures_texts_and_distances(tmp_path: Path) -> None:
    answer = make_answer(
        hit("a", save_picture(tmp_path / "a.png"), "a red square"),
        hit("gone", tmp_path / "gone.png"),
        hit("text", None),
    )
    page = show(answer)
    assert "3 images for text: red" in page.texts
    assert "a red square" in page.texts
    assert "gone" in page.texts
    assert page.texts.count("3 of 64 bits differ") == 3
    assert page.texts.count("no picture") == 2
    (address,) = page.pictures
    with decode(address) as small:
        assert small.size == (128, 64)
        assert small.getpixel((5, 5)) == pytest.approx((254, 0, 0), abs=3)
    assert repr(answer) == "<Answer: 3 images for text 'red', nearest 'a' at 3>"


def test_what_put_a_hit_in_its_place_is_shown() -> None:
    hits = (Hit("a", 3, 0.5, "", None, {}, strength=Strength.STRONG),)
    by_score = Answer({"text": "a"}, Side.IMAGES, 64, hits, scoring="asymmetric")
    assert show(by_score).texts[-2:] == ["score 0.500", "strong"]
    reranked = Answer({"text": "a"}, Side.IMAGES, 64, hits, reranked_by="relaxed")
    assert "score 0.500" in show(reranked).texts


def test_nothing_of_a_data_set_becomes_markup() -> None:
    page = show(make_answer(hit(ATTACK, None, ATTACK), query=ATTACK))
    assert set(page.tags) == {"div", "figure", "br", "figcaption"}
    assert page.attributes <= {"style"}


def test_hits_beyond_the_first_are_counted() -> None:
    answer = make_answer(*(hit(str(n), None) for n in range(MOST_CARDS + 3)))
    assert "3 more hits aren't shown" in show(answer).texts


def test_doubts_are_shown() -> None:
    unknown = Answer({"text": "☃"}, Side.IMAGES, 64, (), unknown=("☃",), near_chance=True)
    assert "The text encoder knows no word of this query." in show(unknown).texts
    chance = Answer({"text": "a"}, Side.IMAGES, 64, (), near_chance=True)
    assert "Even the nearest are no nearer than random codes would be." in show(chance).texts


def test_only_files_that_were_indexed_are_shown(tmp_path: Path) -> None:
    """A link, a way up and a file that is no picture show nothing."""
    inside = tmp_path / "index"
    inside.mkdir()
    secret = save_picture(tmp_path / "secret.png")
    (inside / "link.png").symlink_to(secret)
    (tmp_path / "passwords.png").write_text("root:x:0:0", encoding="utf-8")
    images: tuple[Path | str, ...] = (
        inside / "link.png",
        f"{inside}/../secret.png",
        tmp_path / "passwords.png",
        "a\0b",
        inside,
    )
    page = show(make_answer(*(hit(str(n), image) for n, image in enumerate(images))))
    assert page.pictures == []
    assert page.texts.count("no picture") == len(images)


def test_a_collection_shows_counts_and_first_pictures() -> None:
    page = show(mh.load_collection("scenes:20"))
    assert "Collection 'scenes'" in page.texts
    assert page.texts[page.texts.index("texts") + 1] == "100"
    assert len(page.pictures) == 6


def test_a_collection_of_features_has_no_pictures() -> None:
    features = {"image": np.zeros((1, 3), np.float32), "text": np.zeros((1, 2), np.float32)}
    collection = Collection(
        "numbers",
        ("a",),
        ("a#0",),
        np.arange(1),
        features=features,  # type: ignore[arg-type]
    )
    page = show(collection)
    assert page.pictures == []
    assert "image 1 x 3, text 1 x 2" in page.texts


def test_a_report_shows_every_number_with_its_rules() -> None:
    measure = Measure("map", 0.5, "text_to_image", 50, "truncated", "expected", "pair", 30, 1200)
    direction = DirectionReport("text_to_image", 64, 30, 1200, 0.5, (measure,), (np.zeros(30),), ())
    report = Report(
        64, "test", None, {}, (direction,),
        {"method": "<CCA>"}, ("no labels",),
    )  # fmt: skip
    page = show(report)
    assert page.texts[0] == "<CCA>, 64 bits, queries of test"
    row = page.texts.index("map@50") - 1
    assert page.texts[row : row + 9] == [
        "text_to_image", "map@50", "pair", "truncated", "expected", "hamming", "0.5000", "30",
        "1,200",
    ]  # fmt: skip
    assert "no labels" in page.texts


def test_a_model_and_an_index_show_what_they_are(scene_index: Path, tiny_encoder: None) -> None:
    with mh.open_index(scene_index) as index:
        page, model = show(index), show(index.model)
        answer = index.search("a red circle", k=3)
    assert "images 60, texts 300" in page.texts
    assert len(page.pictures) == 6  # scenes have no files: the index keeps them
    assert "12 bits" in model.texts
    assert len(show(answer).pictures) == 3
