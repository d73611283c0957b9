"""The search page in a real browser; what it should show is asked of the HTTP API.

Passed over where Chromium with its driver, or Selenium, isn't installed.
"""

import json
import shutil
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import add_tiny_encoder

pytest.importorskip("selenium")

from selenium.webdriver import Chrome, Keys

from tests.oracles.browser_page import (
    BODY_BYTES,
    DROPPED,
    FACES,
    PATIENCE,
    WORDS,
    Page,
    connection,
    needs_chromium,
    served,
    watched_page,
)

pytestmark = needs_chromium

ODD_NAMES = ("constructor", "__proto__", "toString", "hasOwnProperty", "valueOf")
"""Fields that every object of JavaScript seems to have."""


def add_odd_item(folder: Path) -> None:
    """Add an item whose metadata has fields named like properties of JavaScript's objects."""
    import modalhash as mh
    from modalhash.search import Side, SideContent

    document = {"caption": "a red ring", **{name: f"of {name}" for name in ODD_NAMES}}
    with mh.open_index(folder) as index:
        codes = index.model.encode_texts([WORDS])
        index.add({Side.IMAGES: SideContent(["odd"], codes, [document])})


@pytest.fixture(scope="module")
def odd_index(calibrated_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an index with an odd item."""
    folder = tmp_path_factory.mktemp("odd") / "odd.index"
    shutil.copytree(calibrated_index, folder)
    with pytest.MonkeyPatch.context() as patch:
        add_tiny_encoder(patch)
        add_odd_item(folder)
    return folder


@pytest.fixture(scope="module")
def address(calibrated_index: Path, odd_index: Path) -> Iterator[str]:
    """The address of a server of three indexes."""
    indexes = {"scenes": calibrated_index, "other": calibrated_index, "odd": odd_index}
    with served(indexes, body_bytes=BODY_BYTES) as where:
        yield where


@pytest.fixture
def page(browser: Chrome, address: str) -> Iterator[Page]:
    """The page of a server that can't be changed."""
    with watched_page(browser, address) as opened:
        yield opened


def test_nothing_moves_where_the_visitor_wants_less_motion(page: Page) -> None:
    page.open("?q=a+ring")
    page.one(FACES).click()
    page.one("#why[open]")
    count = "document.body.classList.add('loading'); return document.getAnimations().length"
    assert page.browser.execute_script(count) == 0


def test_it_begins_with_things_to_try(page: Page) -> None:
    page.open()
    page.says(".headline", "Search 60 pictures by words or by a picture")
    first = page.one(".tries button")
    words = first.text
    first.click()
    page.shows(page.found(text=words))
    assert page.one("#q").get_property("value") == words
    page.browser.back()
    page.one(".samples button").click()
    page.says("#summary", "for what is like")


def test_answers_come_while_typing_and_the_address_keeps_them(page: Page) -> None:
    page.open()
    page.one("#q").send_keys(WORDS)
    page.shows(page.found(text=WORDS))
    assert page.query == "?q=a+red+ring"
    page.says("#summary", f"24 pictures for “{WORDS}”")
    hit = page.ask("scenes/search", {"text": WORDS})["results"][0]["hits"][0]
    card = page.one(".hit").text
    assert hit["caption"] in card
    assert f"{hit['distance']} bit" in card
    assert hit["strength"] in card
    assert "likely" not in card  # the number is behind a click
    page.one("#q").send_keys(Keys.ESCAPE)
    page.one(".start")
    page.browser.back()
    page.shows(page.found(text=WORDS))


def test_going_back_while_the_start_is_still_loading_shows_the_answers_again(page: Page) -> None:
    page.open()
    page.one("#q").send_keys(WORDS)
    expected = page.found(text=WORDS)
    page.shows(expected)
    page.browser.execute_script(
        "const real = window.fetch; window.fetch = async (address, options) => {"
        "  if (String(address).includes('batch'))"
        "    await new Promise((done) => setTimeout(done, 1500));"
        "  return real(address, options); };"
    )
    page.one("#q").send_keys(Keys.ESCAPE)
    page.one(".start")
    page.browser.back()
    page.shows(expected)
    time.sleep(1.7)
    assert page.ids() == expected


def test_a_late_answer_to_an_old_query_is_not_shown(page: Page) -> None:
    page.open()
    page.one(".start")
    page.browser.execute_script(
        "const real = window.fetch; window.fetch = async (address, options) => {"
        "  const answer = await real(address, { ...options, signal: undefined });"
        "  const late = String(options?.body).includes('\"a\"');"
        "  if (late) await new Promise((done) => setTimeout(done, 700));"
        "  return answer; };"
    )
    page.one("#q").send_keys("a")
    time.sleep(0.3)
    page.one("#q").send_keys(" red ring")
    expected = page.found(text=WORDS)
    page.shows(expected)
    time.sleep(0.8)
    assert page.ids() == expected


def test_texts_pictures_or_both(page: Page) -> None:
    page.open(f"?q={WORDS}")
    page.shows(page.found(text=WORDS))
    page.one("input[value=texts]").click()
    page.shows(page.found(text=WORDS, target="texts"), "texts")
    page.one("input[value=both]").click()
    page.shows(page.found(text=WORDS))
    page.shows(page.found(text=WORDS, target="texts"), "texts")
    assert "find=both" in page.query


def test_a_picture_is_searched_with_and_outlives_a_reload(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "red.png"
    Image.new("RGB", (64, 64), "red").save(file)
    page.open()
    page.one("#file").send_keys(str(file))
    page.says("#summary", "24 pictures and 24 texts for your picture")
    shown = page.ids(), page.ids("texts")
    page.browser.refresh()
    page.shows(shown[0])
    page.shows(shown[1], "texts")
    page.one("#chip-remove").click()
    page.one(".start")


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_picture_can_be_dropped_and_pasted(page: Page, tmp_path: Path, way: str) -> None:
    file = tmp_path / "blue.png"
    Image.new("RGB", (64, 64), "blue").save(file)
    page.open()
    page.one(".start")
    page.browser.execute_script(DROPPED, way, list(file.read_bytes()), "image/png")
    page.says("#summary", "for your picture")
    assert page.all(FACES)


def test_more_like_this(page: Page) -> None:
    page.open(f"?q={WORDS}")
    first = page.found(text=WORDS)[0]
    page.shows(page.found(text=WORDS))
    page.one(".like-this").click()
    expected = page.found(id=first)
    page.shows(expected)
    assert first not in expected
    page.says("#chip-name", "Like ")
    page.until(lambda: page.focused() is None, "the focus stays on a hit that is gone")


def test_a_filter_by_field_and_by_hand(page: Page) -> None:
    (field, value) = choosable(page)
    page.open(f"?q={WORDS}")
    page.shows(page.found(text=WORDS))
    page.one("#filters-open").click()
    facet = f".facet-group[data-field='{field}'] button[data-value='{value}']"
    page.one(facet).click()
    chosen = page.found(text=WORDS, filter=f"{field} == {json.dumps(value)}")
    page.shows(chosen)
    assert page.one("#filters-count").text == "1"
    page.until(lambda: page.one(facet).get_attribute("aria-pressed") == "true", "it isn't chosen")
    page.one(".further summary").click()
    line = page.one(".line-input")
    line.send_keys('item like "%7"' if not chosen else f"{field} is null", Keys.ENTER)
    page.says("#answers", "Nothing passes")
    page.one(".none button").click()
    page.shows(page.found(text=WORDS))


def choosable(page: Page) -> tuple[str, Any]:
    """Return a field with few values, and one of them."""
    fields = page.ask("scenes")["fields"]
    chosen = next(
        one
        for one in fields
        if one["values"] and one["types"] == ["text"] and "`" not in one["name"]
    )
    return chosen["name"], chosen["values"][0]


def test_fields_may_have_any_name(page: Page) -> None:
    page.open(f"?index=odd&q={WORDS}")
    page.shows(page.found("odd", text=WORDS))
    page.one("#filters-open").click()
    assert page.one("#filters-count").get_property("hidden")
    for name in ("constructor", "toString", "hasOwnProperty", "valueOf"):
        facet = f".facet-group[data-field='{name}'] button[data-value='of {name}']"
        page.one(facet).click()
        page.shows(["odd"])
        page.until(
            lambda facet=facet: page.one(facet).get_attribute("aria-pressed") == "true",  # type: ignore[misc]
            "it isn't chosen",
        )
        page.one(facet).click()
        page.shows(page.found("odd", text=WORDS))
    page.open(f"?index=odd&q={WORDS}&f.__proto__=of+__proto__&f.toString=of+toString")
    page.shows(["odd"])
    page.open(f"?index=odd&q={WORDS}&why=images:odd")
    page.says("#why", "of hasOwnProperty")


def test_an_error_in_a_filter_is_marked_where_it_is(page: Page) -> None:
    page.open(f"?q={WORDS}&where=year+%3E%3E+2020")
    page.says("#problem", "The filter can't be understood")
    page.says("#filter-error", "Character 7: expected a value")
    assert page.one("#filter-error mark").get_property("textContent") == ">"
    assert page.one(".line-input").get_attribute("aria-invalid") == "true"
    field, value = choosable(page)
    page.open(f"?q={WORDS}&where=year+%3E%3E+2020&f.{field}={value}")  # which adds a bracket
    page.says("#filter-error", "Character 7: expected a value")


def test_why_a_hit_is_there(page: Page) -> None:
    page.open(f"?q={WORDS}")
    page.one(FACES).click()
    page.one(".histogram")
    first = page.found(text=WORDS)[0]
    answer = page.ask("scenes/explain", {"text": WORDS, "target": "images", "ids": [first]})
    (why,) = answer["items"]
    differing = page.browser.execute_script(
        "return [...document.querySelectorAll('.bits i')]"
        ".flatMap((bit, at) => (bit.className === 'differs' ? [at] : []))"
    )
    assert differing == why["differing_bits"]
    assert len(page.all(".bits i")) == answer["n_bits"]
    assert "[object" not in page.one("#why").text
    item = page.ask(f"scenes/items?side=images&id={first}")
    names = [one.text for one in page.all("#why .sheet-body > section dt")]
    assert names == list(item["metadata"])
    bars = sum(1 for count in answer["explanation"]["distances"] if count)
    assert len(page.all(".histogram .bars rect")) == bars
    page.says(".explained", f"{why['distance']} bit")
    page.press(Keys.ARROW_RIGHT)
    page.says("#why", page.found(text=WORDS)[1])
    page.one(".histogram")
    page.press(Keys.ESCAPE)
    page.until(lambda: not page.all("#why[open]"), "the sheet stays open")
    page.until(lambda: page.focused() == page.found(text=WORDS)[1], "the focus isn't on the hit")
    assert "why" not in page.query


def test_a_sheet_opens_from_its_address(page: Page) -> None:
    identity = page.found(text=WORDS, k=40)[-1]
    page.open(f"?q={WORDS}&why=images:{identity}")  # which isn't among the hits shown
    page.says("#why", identity)
    page.one(".histogram")


def test_a_sheet_of_no_side_in_an_address_is_passed_over(page: Page) -> None:
    page.open(f"?q={WORDS}&why=anything")
    page.shows(page.found(text=WORDS))
    assert not page.one("#problem").is_displayed()


def test_the_keyboard_alone_is_enough(page: Page) -> None:
    page.open(f"?q={WORDS}")
    ids = page.found(text=WORDS)
    page.shows(ids)
    page.one("body").send_keys("/")
    assert page.browser.switch_to.active_element.get_attribute("id") == "q"
    page.press(Keys.ARROW_DOWN)
    assert page.focused() == ids[0]
    page.press(Keys.ARROW_RIGHT)
    page.press(Keys.ARROW_RIGHT)
    page.press(Keys.ARROW_LEFT)
    assert page.focused() == ids[1]
    page.press(Keys.ARROW_DOWN)
    below = page.focused()
    assert below in ids[3:12]
    page.press(Keys.ARROW_UP)
    assert page.focused() == ids[1]
    page.press(Keys.END)
    assert page.focused() == ids[-1]
    page.press(Keys.HOME)
    page.press(Keys.ENTER)
    page.one("#why[open] .histogram")
    page.press(Keys.ESCAPE)
    page.until(lambda: page.focused() == ids[0], "the focus isn't back")
    page.press("m")
    page.shows(page.found(id=ids[0]))


def test_more_are_shown_when_asked_for(page: Page) -> None:
    page.open(f"?q={WORDS}")
    page.shows(page.found(text=WORDS))
    page.browser.execute_script(
        "document.querySelector('.more button').focus({ preventScroll: true })"
    )
    page.press(Keys.ENTER)
    more = page.found(text=WORDS, k=48)
    page.until(lambda: page.focused() == more[24], "the focus isn't on the first new one")
    assert page.ids()[:48] == more
    assert "k=48" in page.query
    page.press(Keys.HOME)
    page.press(Keys.ENTER)
    page.says("#why", more[0])


def test_more_are_shown_while_one_scrolls(page: Page) -> None:
    page.open(f"?q={WORDS}")
    page.shows(page.found(text=WORDS))
    page.one("#q").send_keys(Keys.ARROW_DOWN)
    everything = page.found(text=WORDS, k=60)

    def has_all() -> bool:
        page.browser.execute_script("scrollTo(0, document.body.scrollHeight)")
        return page.ids() == everything

    page.until(has_all, "not all are shown")
    page.until(lambda: not page.all(".more"), "more are offered than there are")
    page.says("#summary", "60 pictures")
    assert page.focused() == everything[0]
    page.browser.refresh()  # the address has all of them
    page.shows(everything)


def test_both_sides_grow_together(page: Page) -> None:
    page.open(f"?q={WORDS}&find=both&k=40")
    page.shows(page.found(text=WORDS, target="texts", k=40), "texts")
    page.browser.execute_script("document.querySelector('.more button').click()")
    texts = page.found(text=WORDS, target="texts", k=80)
    page.until(lambda: page.ids("texts")[:80] == texts, "the texts don't grow")
    assert page.ids() == page.found(text=WORDS, target="images", k=60)


def test_nothing_is_seen_beside_the_box_when_it_scrolls_below(page: Page) -> None:
    page.open(f"?q={WORDS}")
    page.shows(page.found(text=WORDS))
    page.browser.execute_script("scrollTo(0, 500)")
    covered = page.browser.execute_script(
        "const box = document.querySelector('.ask').getBoundingClientRect();"
        "const places = [20, innerWidth / 4, innerWidth / 2, innerWidth - 40];"
        "return [box.top, ...places.map((x) => [8, box.height / 2, box.bottom - 8].every((y) =>"
        "  document.elementFromPoint(x, y).closest('.ask') !== null))];"
    )
    assert covered == [0, True, True, True, True]


def test_a_relevance_out_of_reach_is_told_with_a_way_out(page: Page) -> None:
    page.open(f"?q={WORDS}&likely=90")
    page.says("#problem", "Nothing can be so likely here")
    reach = page.ask("scenes")["reach"]["text_to_image"]
    page.says("#problem", f"the nearest that this index can have are {round(reach * 100)} % likely")
    page.click("#problem .acts button")
    page.shows(page.found(text=WORDS))
    assert not page.one("#problem").is_displayed()
    page.click("#filters-open")
    page.click(".further summary")
    offered = [one.get_attribute("value") for one in page.all("#filter-at-least-so-likely option")]
    reached = [str(one) for one in (1, 2, 5, 10, 25, 50, 75, 90) if one / 100 <= reach]
    assert offered == ["", *reached]


def test_an_index_that_may_not_be_changed_offers_no_change(page: Page) -> None:
    page.open(f"?q={WORDS}")
    page.shows(page.found(text=WORDS))
    page.click(".pick")
    page.says("#selection", "1 item selected")
    acts = [one.get_attribute("data-act") for one in page.all("#selection button")]
    assert acts == ["all", "copy", "text", "csv", "clear"]
    assert "null" not in page.one("#selection").text
    assert not page.one("#add").is_displayed()
    assert not page.one("#drop-add").is_displayed()


def test_another_index_and_the_facts(page: Page) -> None:
    page.open(f"?q={WORDS}")
    page.one("#index option[value=other]").click()
    page.until(lambda: "index=other" in page.query, "the address doesn't name the index")
    page.shows(page.found("other", text=WORDS))
    page.one("#about-open").click()
    page.says("#about", "About other")
    page.says("#about", "12 bits, 2 bytes")
    page.says("#about", page.ask("other")["model"])


def test_a_server_that_is_gone_is_told_and_waited_for(page: Page) -> None:
    page.open(f"?q={WORDS}")
    page.shows(page.found(text=WORDS))
    page.browser.execute_cdp_cmd("Network.emulateNetworkConditions", connection(is_there=False))
    page.one("#q").send_keys("s")
    page.says("#problem", "The server doesn't answer")
    assert page.one("#problem").get_attribute("role") == "alert"
    page.browser.execute_cdp_cmd("Network.emulateNetworkConditions", connection(is_there=True))
    page.shows(page.found(text=WORDS + "s"))
    assert not page.one("#problem").is_displayed()


def test_pictures_that_cannot_be_searched_with(page: Page, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    Image.fromarray(noise).save(large)
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"\x89PNG\r\n\x1a\nnot one")
    page.open()
    page.one("#file").send_keys(str(large))
    page.says("#problem", "The picture is too big")
    page.says("#problem", "this server takes up to 100 kB")
    page.one("#file").send_keys(str(damaged))
    page.says("#problem", "The picture can't be read")
    page.says("#problem", "Request ")
    page.browser.execute_script(DROPPED, "drop", [1, 2], "text/plain")
    page.says("#problem", "This kind of file can't be searched with")


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("?index=none", "There is no such index"),
        ("?like=none", "That item isn't in the index"),
        ("?picture=elsewhere", "The picture isn't here"),
        (f"?q={'a' * 2001}", "expected up to 2000"),
    ],
)
def test_what_an_address_asks_in_vain_is_told(page: Page, query: str, says: str) -> None:
    page.open(query)
    page.until(lambda: page.one("#problem").is_displayed(), "no problem is told")
    if "2000" in says:
        says = "2000"
    page.says("#problem", says)


def test_what_comes_from_outside_is_only_ever_text(page: Page) -> None:
    page.open("?q=%3Cimg+src%3Dx+onerror%3Dalert(1)%3E&where=%3Cb%3E")
    page.says("#filter-error", "Character 1")
    assert page.all("#answers b, #filter-error b, #summary img") == []


def test_light_and_dark(page: Page) -> None:
    page.open()
    paper = "return getComputedStyle(document.body).backgroundColor"
    page.one(".start")
    seen = set()
    for _ in range(3):
        page.one("#theme").click()
        seen.add(page.browser.execute_script(paper))
    assert seen == {"rgb(251, 250, 248)", "rgb(19, 19, 21)"}
    page.one("#theme").click()
    page.browser.refresh()
    kept = page.browser.execute_script("return document.documentElement.dataset.theme")
    assert kept == "light"
    page.browser.execute_script("localStorage.clear()")


@pytest.mark.parametrize("width", [360, 800, 1440])
def test_nothing_is_wider_than_the_window(page: Page, width: int) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        for query in (
            "",
            f"?q={WORDS}&find=both",
            f"?q={WORDS}&why=images:{page.found(text=WORDS)[0]}",
        ):
            page.open(query)
            page.one(".start, .face")
            if "why" in query:
                page.one(".histogram")
            wide = page.browser.execute_script(
                "return [document.documentElement, ...document.querySelectorAll('dialog[open]')]"
                ".filter((one) => one.scrollWidth > one.clientWidth).length"
            )
            assert wide == 0, query
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_hit_opens_large_with_all_that_is_known_of_it(page: Page) -> None:
    page.open(f"?q={WORDS}")
    first, second = page.found(text=WORDS)[:2]
    page.one(FACES).click()
    image = page.one("#why .stage img")
    page.until(lambda: int(image.get_property("naturalWidth") or 0) > 0, "no picture is shown")  # type: ignore[arg-type]
    assert page.query == f"?q=a+red+ring&item=images%3A{first}"
    assert page.one("#tab-details").get_attribute("aria-selected") == "true"
    assert not page.one(".explained").is_displayed()
    texts = page.ask("scenes/search", {
        "id": first, "id_side": "images", "target": "texts", "filter": f'item == "{first}"',
    })["results"][0]["hits"]  # fmt: skip
    captions = {hit["caption"] for hit in texts}
    page.until(lambda: {one.text for one in page.all(".all-captions li")} == captions, "captions")
    page.one("#tab-why").click()
    page.until(lambda: page.one(".histogram").is_displayed(), "why isn't shown")
    assert not page.one(".captions").is_displayed()
    assert page.query.endswith(f"&why=images%3A{first}")
    page.press(Keys.ARROW_LEFT)  # on the tabs an arrow goes to the other tab
    page.until(lambda: page.one(".captions").is_displayed(), "details aren't shown")
    page.one("#why-title").click()
    page.browser.execute_script("document.querySelector('#why-title').focus()")
    page.press(Keys.ARROW_RIGHT)
    page.until(lambda: page.query.endswith(f"item=images%3A{second}"), "no step to the next")
    page.press(Keys.ESCAPE)
    page.until(lambda: not page.all("#why[open]"), "it stays open")
    page.until(lambda: "item" not in page.query and "why" not in page.query, "the address stays")


def test_a_picture_can_be_had_whole(page: Page) -> None:
    page.open(f"?q={WORDS}")
    page.one(FACES).click()
    links = {one.text: one for one in page.all("#why a.action")}
    assert set(links) == {"Original", "Download"}
    file = page.ask("scenes/search", {"text": WORDS})["results"][0]["hits"][0]["picture"][
        "file_name"
    ]
    assert links["Download"].get_attribute("download") == file
    address = str(links["Original"].get_attribute("href"))
    with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
        assert answer.headers["Content-Type"] == "image/png"
        assert answer.read()[:8] == b"\x89PNG\r\n\x1a\n"
    page.one("#copy-link").click()
    page.until(
        lambda: page.one("#copy-link").text in {"Copied", "Copy it from the address bar"},
        "nothing is said",
    )


SWIPE = """
const stage = document.querySelector(".stage");
const touch = (x) => new Touch({ identifier: 1, target: stage, clientX: x, clientY: 200 });
const send = (kind, x) => stage.dispatchEvent(new TouchEvent(kind, {
  touches: kind === "touchend" ? [] : [touch(x)], changedTouches: [touch(x)], bubbles: true }));
send("touchstart", arguments[0]);
send("touchend", arguments[1]);
"""


def test_a_swipe_leads_to_the_next_hit(page: Page) -> None:
    ids = page.found(text=WORDS)
    page.open(f"?q={WORDS}")
    page.one(FACES).click()
    for start, end, expected in ((300, 100, ids[1]), (300, 280, ids[1]), (300, 100, ids[2]),
                                 (100, 300, ids[1])):  # fmt: skip
        page.one("#why .stage img")
        page.browser.execute_script(SWIPE, start, end)
        page.until(lambda: page.query.endswith(f"images%3A{expected}"), "another hit is shown")  # noqa: B023


def test_hits_are_links(page: Page) -> None:
    page.open(f"?q={WORDS}")
    page.shows(page.found(text=WORDS))
    face = page.one(FACES)
    assert face.tag_name == "a"
    address = str(face.get_attribute("href"))
    page.browser.get(address)
    page.says(
        "#why-title", page.ask("scenes/search", {"text": WORDS})["results"][0]["hits"][0]["caption"]
    )


def test_old_answers_do_not_stay_under_an_error(page: Page) -> None:
    page.open(f"?q={WORDS}")
    page.shows(page.found(text=WORDS))
    page.one("#filters-open").click()
    page.one(".further summary").click()
    page.one(".line-input").send_keys("year >> 1", Keys.ENTER)
    page.says("#problem", "The filter can't be understood")
    assert page.all(FACES) == []
    assert page.one("#summary").text == ""
    page.browser.back()
    page.shows(page.found(text=WORDS))
    assert not page.one("#problem").is_displayed()


@pytest.mark.parametrize("query", ["", f"?q={WORDS}", f"?q={WORDS}&find=both"])
def test_on_a_phone_the_first_picture_stands_in_the_first_screen(page: Page, query: str) -> None:
    size = {"width": 360, "height": 640, "deviceScaleFactor": 1, "mobile": True}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page.open(query)
        page.one("#answers .frame img")
        top, bottom = page.browser.execute_script(
            "const box = document.querySelector('#answers .frame').getBoundingClientRect();"
            "return [box.top, box.bottom];"
        )
        assert 0 < top < bottom <= 640
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_words_that_the_encoder_does_not_know_are_warned_about(page: Page) -> None:
    page.open(f"?q={WORDS}")
    page.shows(page.found(text=WORDS))
    assert not page.one("#warning").is_displayed()
    page.browser.execute_script(
        "const real = window.fetch; window.fetch = async (address, options) => {"
        "  const answer = await real(address, options);"
        "  if (!String(address).endsWith('/search')) return answer;"
        "  return new Response(JSON.stringify({ ...await answer.json(), unknown: ['\u732b'] }));"
        "};"
    )
    page.one("#q").send_keys(" s")
    page.says("#warning", "knows no word of “\u732b”")
    assert page.one("#warning").is_displayed()
    page.one("#q").send_keys(Keys.ESCAPE)
    page.until(lambda: not page.one("#warning").is_displayed(), "the warning stays")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_chosen_side_stands_out(page: Page, theme: str) -> None:
    page.open()
    page.one(".start")
    page.browser.execute_script(f"document.documentElement.dataset.theme = '{theme}'")
    chosen, bar = page.browser.execute_script(
        "const seen = (css) => getComputedStyle(document.querySelector(css));"
        "return [seen('.segments input:checked + span').backgroundColor,"
        "        seen('.segments input:checked + span').boxShadow];"
    )
    red, green, blue = (int(part) for part in chosen.removeprefix("rgb(").rstrip(")").split(","))
    paper = (251, 250, 248) if theme == "light" else (19, 19, 21)
    distance = sum(abs(one - other) for one, other in zip((red, green, blue), paper, strict=True))
    assert distance >= (10 if theme == "light" else 90)
    assert "0px 0px 0px 1px" in bar  # a line around it, in both themes
