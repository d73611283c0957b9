"""A static site in a real browser; what it should show is asked of the index itself.

The site lies below a path of a plain web server. Texts are computed by onnxruntime-web, which
`./check` fetches where npm is installed; tests that need it are skipped elsewhere.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import numpy as np
import pytest

import modalhash as mh
from modalhash.codes import asymmetric_scores
from modalhash.search import SearchIndex, Side, SideContent

pytest.importorskip("selenium")

from selenium.webdriver import Chrome, Keys

from tests.oracles.browser_page import FACES, Page, watched_page
from tests.oracles.static_web import static_server

if TYPE_CHECKING:
    from modalhash.static_site import Runtime

CAPTION = "<img src=x onerror=alert(1)> & “quotes”"
ASK = """
const [query, done] = arguments;
import(new URL("page/api.js", document.baseURI))
  .then((api) => api.search("", query))
  .then(done, (error) => done({ error: String(error), code: error.code }));
"""


def ask_site(page: Page, **query: Any) -> Any:
    """Ask the site as its page does."""
    answer = page.browser.execute_async_script(ASK, {"k": 24, "target": "images", **query})
    assert "error" not in answer, answer
    return answer


def ids_of(answer: Any) -> list[Any]:
    """Return the ids of the hits of the last side."""
    return [hit["id"] for hit in answer["results"][-1]["hits"]]


@pytest.fixture(scope="module")
def odd_index(
    bert_index: Path, tmp_path_factory: pytest.TempPathFactory, session_cache: Path
) -> Path:
    """A calibrated index of scenes, one of which has an odd caption and metadata."""
    folder = tmp_path_factory.mktemp("odd") / "scenes.index"
    shutil.copytree(bert_index, folder)
    mh.calibrate(folder, "scenes:90", split="all", cache=session_cache)
    with mh.open_index(folder) as index:
        codes = index.model.encode_texts(["a red ring"])
        document = {"caption": CAPTION, "place": "here", "private": "at home"}
        index.add({Side.IMAGES: SideContent(["odd & <b>"], codes, [document])})
    return folder


@pytest.fixture(scope="module")
def plain_page(
    odd_index: Path, browser: Chrome, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    """The page of a site without words."""
    folder = tmp_path_factory.mktemp("web")
    mh.export_site(
        odd_index, folder / "below" / "scenes", runtime="none", thumbnails=64, fields=["place"]
    )
    with static_server(folder) as where, watched_page(browser, f"{where}below/scenes/") as page:
        yield page


@pytest.fixture(scope="module")
def texts_site(
    bert_index: Path, runtime: "Runtime", tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a site that is searched by words."""
    folder = tmp_path_factory.mktemp("web")
    package = folder / "package"
    (package / "dist").mkdir(parents=True)
    for name, path in runtime.files.items():
        shutil.copy(path, package / "dist" / name)
    document = {"name": "onnxruntime-web", "version": runtime.version}
    (package / "package.json").write_text(json.dumps(document))
    result = mh.export_site(
        bert_index, folder / "site", runtime=package, thumbnails=32, links="../whole/"
    )
    assert result.compared is not None
    assert result.compared.n_different <= 4  # of 4,000: bits whose number is 0 but for rounding
    return result.folder


@pytest.fixture(scope="module")
def texts_page(texts_site: Path, browser: Chrome) -> Iterator[Page]:
    """The page of a site that is searched by words."""
    with (
        static_server(texts_site.parent) as where,
        watched_page(browser, f"{where}{texts_site.name}/") as page,
    ):
        yield page


def test_the_beginning_offers_items_and_nothing_that_is_not_there(plain_page: Page) -> None:
    plain_page.open()
    plain_page.says(".headline", "Browse 61 pictures by what is alike")
    assert plain_page.all(".samples button")
    assert not plain_page.one("#choose").is_displayed()
    assert not plain_page.one("#filters-open").is_displayed()
    assert not plain_page.one("#q").is_enabled()
    plain_page.one("#about-open").click()
    plain_page.says("#about", "what you search for is sent nowhere")
    plain_page.press(Keys.ESCAPE)


def first_ids(index: SearchIndex) -> list[str]:
    """Return the ids of the first pictures."""
    ids: list[str] = next(iter(index.sides[Side.IMAGES].blocks(4))).ids.tolist()
    return ids


def test_items_are_searched_with_as_the_index_does(plain_page: Page, odd_index: Path) -> None:
    with mh.open_index(odd_index) as index:
        for identity in first_ids(index):
            hits = index.search(id=identity, target="images", k=24).hits
            plain_page.open(f"?like={identity}")
            plain_page.shows([str(hit.id) for hit in hits])
            card = plain_page.one(".hit").text
            assert hits[0].caption in card
            assert f"{hits[0].distance} bit" in card
            assert str(hits[0].strength) in card
            answer = ask_site(plain_page, id=identity)["results"][0]
            assert answer["relevance_rule"] == "shared_label"
            assert [hit["relevance"] for hit in answer["hits"]] == [hit.relevance for hit in hits]
            texts = index.search(id=identity, target="texts", k=24).hits
            plain_page.open(f"?like={identity}&find=texts")
            plain_page.shows([str(hit.id) for hit in texts], "texts")


def test_why_shows_the_bits_that_differ(plain_page: Page, odd_index: Path) -> None:
    with mh.open_index(odd_index) as index:
        first, second = first_ids(index)[:2]
        codes = index.sides[Side.IMAGES].reconstruct([first, second])
    expected = np.flatnonzero(np.unpackbits(codes[0] ^ codes[1], bitorder="little")).tolist()
    plain_page.open(f"?like={first}&why=images:{second}&k=60")
    plain_page.one("#why[open] .histogram")
    differing = plain_page.browser.execute_script(
        "return [...document.querySelectorAll('.bits i')]"
        ".flatMap((bit, at) => (bit.className === 'differs' ? [at] : []))"
    )
    assert differing == expected
    plain_page.says(".explained", f"{len(expected)} bit")
    plain_page.press(Keys.ESCAPE)


def test_all_captions_of_a_picture_are_shown(plain_page: Page, odd_index: Path) -> None:
    with mh.open_index(odd_index) as index:
        first = first_ids(index)[0]
        rows = index.sides[Side.TEXTS].blocks(1000)
        texts = {row["caption"] for block in rows for row in block.metadata if row["item"] == first}
    assert len(texts) > 1
    plain_page.open(f"?like={first}&item=images:{first}")
    plain_page.until(
        lambda: {line.text for line in plain_page.all(".all-captions li")} == texts, "captions"
    )
    plain_page.press(Keys.ESCAPE)


def test_captions_are_text_and_paths_stay_at_home(plain_page: Page, odd_index: Path) -> None:
    plain_page.open("?" + urlencode({"item": "images:odd & <b>", "like": "odd & <b>"}))
    plain_page.says("#why-title", CAPTION)
    assert plain_page.all("#why-title img, #why b, .caption img") == []
    plain_page.says("#why", "here")
    assert "at home" not in plain_page.one("#why").text
    site = plain_page.browser.execute_async_script(
        "const [done] = arguments; fetch('site.json').then((one) => one.text()).then(done);"
    )
    assert str(odd_index.parent) not in site
    assert json.loads(site)["text"] is None
    plain_page.press(Keys.ESCAPE)


def test_all_is_loaded_from_below_the_site(plain_page: Page) -> None:
    plain_page.open()
    image = plain_page.one(".samples img")
    plain_page.until(lambda: int(image.get_property("naturalWidth") or 0) == 64, "no picture")  # type: ignore[arg-type]
    names = plain_page.browser.execute_script(
        "return performance.getEntriesByType('resource').map((one) => one.name)"
    )
    assert names
    assert [name for name in names if not name.startswith(plain_page.address)] == []


def test_what_is_not_there_is_told(plain_page: Page) -> None:
    plain_page.open("?like=nobody")
    plain_page.says("#problem", "That item isn't in the index")
    plain_page.open("?q=words")
    plain_page.says("#problem", "This site was made without a model of texts")
    plain_page.open("?like=odd+%26+%3Cb%3E&where=year+%3E+2")
    plain_page.says("#problem", "This site has no filters")


TEXTS = [
    "a red ring", "the blue squares, of a star!", "CIRCLE on green", "grey a, a, a", "a star",
    "red square on blue circle", "the ring of the ring", "green, grey, blue", "squares", "a blue",
    "the grey star on a red square", "circle!", "ring on star",
]  # fmt: skip
CLEAR = 5e-5
"""Numbers of two runtimes differ by less, so that what is farther apart keeps its order in both."""


def is_clear(index: SearchIndex, text: str) -> bool:
    """Tell whether no bit of a query, and no order of its first hits, hangs on its last digits."""
    relaxed = index.model.relaxed_features(index.model.encoder.text.encode([text]).pooled, "text")
    if np.abs(relaxed).min() < CLEAR * np.abs(relaxed).max():
        return False
    for side in Side:
        codes = np.concatenate([block.codes for block in index.sides[side].blocks(1000)])
        scores = np.sort(asymmetric_scores(relaxed, codes, index.model.n_bits)[0])[::-1][:25]
        gaps = scores[:-1] - scores[1:]
        if ((gaps > 0) & (gaps < CLEAR)).any():
            return False
    return True


def test_words_find_what_the_index_finds(texts_page: Page, bert_index: Path) -> None:
    texts_page.open()
    texts_page.says(".headline", "Search 60 pictures by words")
    with mh.open_index(bert_index) as index:
        texts = [text for text in TEXTS if is_clear(index, text)]
        assert len(texts) >= 3
        for text in texts:
            for scoring in ("asymmetric", "hamming"):
                for target in ("images", "texts"):
                    hits = index.search(text=text, k=24, scoring=scoring, target=target).hits
                    answer = ask_site(texts_page, text=text, scoring=scoring, target=target)
                    assert ids_of(answer) == [hit.id for hit in hits]
                    shown = answer["results"][0]["hits"]
                    assert [hit["distance"] for hit in shown] == [hit.distance for hit in hits]
                    assert [hit["strength"] for hit in shown] == [hit.strength for hit in hits]
        near = index.search(text=texts[0], radius=18, k=24, target="images").hits
        assert ids_of(ask_site(texts_page, text=texts[0], radius=18)) == [hit.id for hit in near]
        hits = index.search(text=texts[0], k=24).hits
        (item,) = index.explain([hits[0].id], text=texts[0])
    texts_page.one("#q").send_keys(texts[0])
    texts_page.shows([str(hit.id) for hit in hits])
    texts_page.one(FACES).click()
    texts_page.one("#tab-why").click()
    texts_page.says("#why", f"{item.distance} bit")
    first, last = item.ranks
    ranks = f"number {first} of" if first == last else f"the ranks {first} to {last} of"
    texts_page.says("#why", f"{ranks} 60")
    texts_page.press(Keys.ESCAPE)


def test_links_lead_to_whole_pictures(texts_page: Page, plain_page: Page) -> None:
    texts_page.open("?q=a+ring")
    texts_page.one(FACES).click()
    links = {link.text: str(link.get_attribute("href")) for link in texts_page.all("#why a.action")}
    assert set(links) == {"Original", "Download"}
    start = texts_page.address.removesuffix("site/")
    assert links["Original"].startswith(f"{start}whole/")
    assert str(texts_page.one("#why .stage img").get_attribute("src")).startswith(
        f"{start}site/pictures/"
    )
    plain_page.open("?like=odd+%26+%3Cb%3E")
    plain_page.one(FACES).click()
    (link, _) = plain_page.all("#why a.action")
    assert link.text == "Picture"
    assert "/below/scenes/pictures/" in str(link.get_attribute("href"))


def test_a_file_that_the_web_server_lacks_is_told(texts_page: Page, texts_site: Path) -> None:
    vectors = texts_site / "text" / "vectors"
    vectors.rename(texts_site / "away")
    texts_page.browser.execute_cdp_cmd("Network.clearBrowserCache", {})
    try:
        texts_page.open("?q=a+red+ring")
        texts_page.says("#problem", "The web server has no text/vectors/00000.bin (status 404).")
    finally:
        (texts_site / "away").rename(vectors)
    texts_page.one("#problem button").click()
    texts_page.one(FACES)
    assert not texts_page.one("#problem").is_displayed()


def test_a_model_that_is_still_loading_is_told(texts_page: Page) -> None:
    script = {"source": """
        const real = window.Worker.prototype.postMessage;
        window.Worker.prototype.postMessage = function (message) {
          setTimeout(() => real.call(this, message), message.act === "warm" ? 1500 : 0);
        };
    """}  # fmt: skip
    added = texts_page.browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)
    try:
        texts_page.open("?q=a+ring")
        texts_page.says("#notice", "Loading the model of texts: ")
    finally:
        texts_page.browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
    texts_page.one(FACES)
    assert not texts_page.one("#notice").is_displayed()


def test_words_that_the_model_does_not_know_are_told(texts_page: Page) -> None:
    texts_page.open("?q=zzz")
    texts_page.says("#warning", "knows no word of “zzz”")
    texts_page.open("?q=a+ring")
    texts_page.one(FACES)
    assert not texts_page.one("#warning").is_displayed()


def test_the_keyboard_alone_is_enough(texts_page: Page) -> None:
    texts_page.open()
    texts_page.one(".start")
    texts_page.one("body").send_keys("/")
    texts_page.press("a red ring")
    texts_page.one(FACES)
    texts_page.press(Keys.ARROW_DOWN)
    first = texts_page.focused()
    assert first == texts_page.ids()[0]
    texts_page.press("m")
    texts_page.until(lambda: "like=" in texts_page.query, "M doesn't search")
    texts_page.until(lambda: bool(texts_page.ids()) and first not in texts_page.ids(), "no answer")


def test_a_page_that_is_opened_as_a_file_says_what_to_do(
    browser: Chrome, plain_page: Page, tmp_path: Path
) -> None:
    from modalhash.static_site.page_files import write_page

    write_page(tmp_path, None)
    browser.get((tmp_path / "index.html").as_uri())
    plain_page.says("#problem", "python3 -m http.server")
    browser.get_log("browser")  # type: ignore[no-untyped-call]
