"""The search page of an index that may be changed, in a real browser: facets, selecting, removing,
adding. What it should show is asked of the HTTP API.
"""

import csv
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import add_tiny_encoder

pytest.importorskip("selenium")

from selenium.webdriver import ActionChains, Chrome, Keys

from tests.oracles.browser_page import (
    FACES,
    WORDS,
    Page,
    needs_chromium,
    served,
    watched_page,
)

pytestmark = needs_chromium

CAMERAS = ("Canon", "Pixel 7", "Canon", "Nikon")
TAKEN = ("2019-12-31T23:59:59", "2020-01-01", "2020-06", "2021-07-14T10:22:05")
N_PHOTOS = 12


def write_photos(folder: Path) -> None:
    """Write twelve photos in folders, with captions, cameras and dates."""
    rows = ["image\tcaption\tcamera\ttaken"]
    for row in range(N_PHOTOS):
        name = f"{'alps' if row % 3 else 'lake'}/{row}.png"
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (20 * row, 255 - 20 * row, 30)).save(path)
        rows.append(f"{name}\tphoto <b>{row}</b>\t{CAMERAS[row % 4]}\t{TAKEN[row % 4]}")
    (folder / "captions.tsv").write_text("\n".join(rows))


@pytest.fixture(scope="module")
def photo_index(
    scene_run: Path, tmp_path_factory: pytest.TempPathFactory, session_cache: Path
) -> Path:
    """The folder of an index of photos; not to be changed."""
    import modalhash as mh

    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder / "photos")
    with pytest.MonkeyPatch.context() as patch:
        add_tiny_encoder(patch)
        mh.build_index(
            scene_run, folder / "photos", split="all", output=folder / "index", cache=session_cache
        ).close()
    return folder / "index"


@pytest.fixture
def page(browser: Chrome, photo_index: Path, tmp_path: Path) -> Iterator[Page]:
    """The page of a server whose index may be changed; each test has its own."""
    shutil.copytree(photo_index, tmp_path / "index")
    with (
        served({"photos": tmp_path / "index"}, writable=True) as address,
        watched_page(browser, address) as opened,
    ):
        yield opened


def hits(page: Page, **query: Any) -> list[dict[str, Any]]:
    """Return the hits that the HTTP API finds."""
    answer = page.ask("photos/search", {"text": WORDS, "k": 24, **query})
    found: list[dict[str, Any]] = answer["results"][0]["hits"]
    return found


def ids(page: Page, **query: Any) -> list[str]:
    return [hit["id"] for hit in hits(page, **query)]


def chip(field: str, value: str) -> str:
    return f".facet-group[data-field='{field}'] button[data-value='{value}']"


def counts(page: Page, field: str) -> dict[str, str]:
    """Return the counts beside the values of a field."""
    chips = page.all(f".facet-group[data-field='{field}'] button[data-value]")
    return {
        str(one.get_attribute("data-value")): str(one.get_property("textContent")).split()[-1]
        for one in chips
    }


def test_facets_count_and_narrow_down(page: Page) -> None:
    page.open(f"?q={WORDS}")
    page.shows(ids(page))
    page.click("#filters-open")
    page.one(chip("camera", "Canon"))
    assert counts(page, "camera") == {"Canon": "6", "Nikon": "3", "Pixel 7": "3"}
    assert counts(page, "folder") == {"alps": "8", "lake": "4"}
    assert counts(page, "taken") == {"2021": "3", "2020": "6", "2019": "3"}
    page.click(chip("camera", "Nikon"))
    page.shows(ids(page, filter='camera == "Nikon"'))
    # Others are counted among what passes; the field itself among what would pass without it.
    page.until(lambda: counts(page, "taken") == {"2021": "3"}, "the counts don't follow")
    assert counts(page, "camera") == {"Canon": "6", "Nikon": "3", "Pixel 7": "3"}
    page.until(lambda: page.focused() is None, "the focus is on a hit")
    assert page.browser.switch_to.active_element.get_attribute("data-value") == "Nikon"
    page.click(chip("camera", "Nikon"))
    page.shows(ids(page))
    page.until(lambda: len(counts(page, "taken")) == 3, "the counts don't follow back")
    page.click(chip("taken", "2020"))
    in_2020 = ids(page, filter='taken == "2020-01-01" or taken == "2020-06"')
    assert len(in_2020) == 6
    page.shows(in_2020)
    page.browser.refresh()  # the address has it all
    page.shows(in_2020)


def test_a_range_of_days_holds_both_its_ends(page: Page) -> None:
    page.open(f"?q={WORDS}")
    page.click("#filters-open")
    page.one(chip("taken", "2020"))
    set_day = (
        "const input = document.querySelectorAll('.days input')[arguments[0]];"
        "input.value = arguments[1]; input.dispatchEvent(new Event('change'));"
    )
    page.browser.execute_script(set_day, 0, "2019-12-31")
    page.until(lambda: "f.taken=2019-12-31.." in page.query, "no first day")
    page.browser.execute_script(set_day, 1, "2020-01-01")
    page.shows(ids(page, filter='taken == "2020-01-01" or taken == "2019-12-31T23:59:59"'))
    page.open(f"?q={WORDS}&f.taken=2020-06-01..2021-07-14")
    page.shows(ids(page, filter='taken == "2020-06" or taken == "2021-07-14T10:22:05"'))


def test_several_are_selected_and_their_paths_saved(page: Page) -> None:
    page.open(f"?q={WORDS}")
    found = hits(page)
    page.shows([hit["id"] for hit in found])
    assert not page.one("#selection").is_displayed()
    boxes = page.all(".pick")
    boxes[1].click()
    ActionChains(page.browser).key_down(Keys.SHIFT).click(page.all(".pick")[3]).key_up(
        Keys.SHIFT
    ).perform()
    page.says("#selection", "3 items selected")
    paths = [hit["picture"]["path"] for hit in found[1:4]]
    assert paths == [f"images/{hit['id']}" for hit in found[1:4]]
    assert saved(page, "text") == "\n".join(paths) + "\n"
    rows = list(csv.reader(io.StringIO(saved(page, "csv"))))
    assert rows[0] == ["path", "id", "kind", "caption", "differing_bits", "match"]
    assert [row[:5] for row in rows[1:]] == [
        [path, hit["id"], "picture", hit["caption"], str(hit["distance"])]
        for path, hit in zip(paths, found[1:4], strict=True)
    ]
    page.one("#q").send_keys("s")  # another search keeps what was selected
    page.until(lambda: page.query == f"?q={WORDS.replace(' ', '+')}s", "nothing is searched for")
    page.shows(ids(page, text=f"{WORDS}s"))
    page.until(
        lambda: len(page.all(".pick:checked")) == 3, "the selection is lost with another search"
    )
    page.click("#selection [data-act=all]")
    page.says("#selection", "12 items selected")
    page.click("#selection [data-act=clear]")
    page.until(lambda: not page.one("#selection").is_displayed(), "the bar stays")
    assert page.all(".pick:checked") == []


def saved(page: Page, act: str) -> str:
    """Press one of the buttons that save, and return what is saved."""
    page.browser.execute_script(
        "window.saved = null; window.makeUrl ??= URL.createObjectURL;"
        "URL.createObjectURL = (blob) => {"
        "  blob.text().then((text) => { window.saved = text; });"
        "  return window.makeUrl.call(URL, blob); };"
    )
    page.click(f"#selection [data-act={act}]")
    page.until(
        lambda: page.browser.execute_script("return window.saved !== null"), "nothing is saved"
    )
    return str(page.browser.execute_script("return window.saved"))


def test_the_keyboard_selects(page: Page) -> None:
    page.open(f"?q={WORDS}")
    page.shows(ids(page))
    page.one("#q").send_keys(Keys.ARROW_DOWN)
    page.press("x")
    page.says("#selection", "1 item selected")
    page.press(Keys.ARROW_RIGHT)
    page.press(Keys.ARROW_RIGHT)
    page.press("X")  # with shift: all between
    page.says("#selection", "3 items selected")
    page.press("x")
    page.says("#selection", "2 items selected")


def test_a_cell_that_a_spreadsheet_would_compute_is_text(page: Page) -> None:
    page.open()
    page.one(".start")
    cells = page.browser.execute_async_script(
        "const done = arguments[0]; import('/page/selection.js').then(({ cell }) =>"
        "  done(['=1+1', '-a', 'a,\"b\"', -3, null].map(cell)));"
    )
    assert cells == ["'=1+1", "'-a", '"a,""b"""', "-3", ""]


def test_what_is_selected_is_removed_after_a_question(page: Page) -> None:
    page.open(f"?q={WORDS}")
    found = ids(page)
    page.shows(found)
    for place in (0, 2):
        page.all(".pick")[place].click()
    page.click("#selection [data-act=delete]")
    page.says("#removal", "Remove 2 items from “photos”?")
    assert page.browser.switch_to.active_element.get_attribute("id") == "removal-cancel"
    page.press(Keys.ENTER)
    page.until(lambda: not page.all("#removal[open]"), "the question stays")
    assert ids(page) == found
    page.click("#selection [data-act=delete]")
    page.click("#removal-go")
    left = [identity for place, identity in enumerate(found) if place not in (0, 2)]
    page.shows(left)
    assert ids(page) == left
    page.says("#notice", "4 codes removed")  # two pictures with a text each
    page.says("#foot-facts", "10 pictures and 10 texts")
    assert not page.one("#selection").is_displayed()


DROPPED_ON = """
const [zone, names, bytes] = arguments;
const files = new DataTransfer();
for (const name of names) {
  files.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
}
const send = (kind, target) => target.dispatchEvent(
  new DragEvent(kind, { dataTransfer: files, bubbles: true, cancelable: true }));
send("dragenter", document.body);
const place = document.querySelector(`[data-drop=${zone}]`);
send("dragover", place);
window.wasOver = place.classList.contains("is-over");
send("drop", place);
"""


def test_pictures_are_added_where_they_are_dropped_to_be_added(page: Page, tmp_path: Path) -> None:
    picture = tmp_path / "new.png"
    Image.new("RGB", (16, 16), "red").save(picture)
    content = list(picture.read_bytes())
    page.open(f"?q={WORDS}")
    page.shows(ids(page))
    assert page.one("#add").is_displayed()
    page.browser.execute_script(DROPPED_ON, "add", ["one.png", "two.png"], content)
    assert page.browser.execute_script("return window.wasOver")
    page.says("#adding-title", "2 pictures of 2 added")
    page.says("#foot-facts", "14 pictures")
    page.press(Keys.ESCAPE)
    page.until(lambda: not page.all("#adding[open]"), "it stays open")
    page.shows(ids(page))
    assert {"one.png", "two.png"} < set(ids(page))

    page.browser.execute_script(DROPPED_ON, "add", ["two.png"], content)
    page.says("#adding", "there is one of this name")
    page.click("#adding-replace")
    page.says("#adding", "replaced")
    page.click("#adding-close")
    assert len(ids(page)) == 14

    page.one("#add-files").send_keys(str(picture))
    page.says("#adding-title", "1 picture of 1 added")
    page.click("#adding-close")
    page.says("#foot-facts", "15 pictures")
    page.browser.execute_script(DROPPED_ON, "search", ["any.png"], content)
    page.says("#summary", "and your picture")


def test_a_picture_that_cannot_be_added_is_told_by_name(page: Page) -> None:
    page.open()
    page.one(".start")
    page.browser.execute_script(DROPPED_ON, "add", ["damaged.png"], [1, 2, 3])
    page.says("#adding-title", "0 pictures of 1 added")
    page.says("#adding .bad", "items[0].image")
    page.click("#adding-close")
    assert len(ids(page)) == N_PHOTOS


def test_the_path_of_a_picture_can_be_copied(page: Page) -> None:
    page.open(f"?q={WORDS}")
    page.one(FACES).click()
    first = hits(page)[0]
    page.says("#why .path", f"file images/{first['id']}")
    page.browser.execute_script(
        "Object.defineProperty(navigator, 'clipboard',"
        " { value: { writeText: async (text) => { window.copied = text; } } });"
    )
    page.click("#copy-path")
    page.until(lambda: page.one("#copy-path").text == "Copied", "nothing is copied")
    copied = page.browser.execute_script("return window.copied")
    assert copied == f"images/{first['id']}"
    page.says("#why .says", first["caption"])  # markup in it is text
    assert page.all("#why b, #answers b") == []
