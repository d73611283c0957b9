"""The player of videos in a real browser: it begins at the moment, and goes to others."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import add_tiny_encoder
from tests.oracles.drawn_videos import draw_scenes, write_scenes

pytest.importorskip("selenium")
pytest.importorskip("av")

from selenium.webdriver import Chrome

from tests.oracles.browser_page import WORDS, Page, needs_chromium, served, watched_page

pytestmark = needs_chromium
PLAYER = "#why .stage video"


@pytest.fixture(scope="module")
def film_index(
    scene_run: Path, tmp_path_factory: pytest.TempPathFactory, session_cache: Path
) -> Path:
    """The folder of an index of one video of three scenes, in a format that is free."""
    import modalhash as mh

    folder = tmp_path_factory.mktemp("films")
    scenes = draw_scenes((3.0, 4.0, 3.0))
    options: dict[str, Any] = {"deadline": "realtime", "cpu-used": "8"}
    write_scenes(folder / "films" / "a.webm", scenes, codec="libvpx-vp9", **options)
    with pytest.MonkeyPatch.context() as patch:
        add_tiny_encoder(patch)
        mh.build_index(
            scene_run,
            folder / "films",
            output=folder / "index",
            cache=session_cache,
            calibrate=False,
        ).close()
    return folder / "index"


@pytest.fixture
def page(browser: Chrome, film_index: Path) -> Iterator[Page]:
    with served({"films": film_index}) as address, watched_page(browser, address) as opened:
        yield opened


def time_of(page: Page) -> float:
    """Return where the player stands, in seconds; -1 while it has no picture."""
    script = (
        "const video = document.querySelector(arguments[0]);"
        "return video?.readyState > 1 ? video.currentTime : -1"
    )
    return float(page.browser.execute_script(script, PLAYER))


def test_the_player_begins_at_the_moment_and_goes_to_others(page: Page) -> None:
    page.open(f"?q={WORDS}&item=images:a.webm%23t%3D3%2C7")
    page.one(PLAYER)
    page.until(lambda: abs(time_of(page) - 3) < 0.2, "the player doesn't stand at second 3")
    duration = page.browser.execute_script(
        "return document.querySelector(arguments[0]).duration", PLAYER
    )
    assert duration == pytest.approx(10, abs=0.3)
    page.until(lambda: len(page.all("#why .moments button")) == 3, "not all moments are listed")
    labels = [button.text for button in page.all("#why .moments button")]
    assert labels == ["0:00", "0:03", "0:07"]
    page.click("#why .moments button:last-child")
    page.until(lambda: 6.9 <= time_of(page) < 10.3, "the player doesn't go to second 7")
    page.until(
        lambda: page.all("#why .moments button")[-1].get_attribute("aria-current") == "true",
        "the moment that is played isn't marked",
    )
