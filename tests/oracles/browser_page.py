"""The search page in Chromium: how tests start it and see it as a user does."""

import json
import shutil
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium")

from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    JavascriptException,
    SessionNotCreatedException,
    StaleElementReferenceException,
)
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service as Driver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.conftest import add_tiny_encoder

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no Chromium with its driver")

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--window-size=1200,900",
    # An opened sheet fades in, and the driver reads no words off what is still transparent.
    "--force-prefers-reduced-motion",
)  # fmt: skip
PATIENCE = 60.0
BODY_BYTES = 100_000
WORDS = "a red ring"
FACES = "#answers .face"


class Page:
    """The page of a server, as a user sees it."""

    def __init__(self, browser: Chrome, address: str) -> None:
        self.browser, self.address = browser, address

    def open(self, query: str = "") -> None:
        self.browser.get(self.address + query)

    def all(self, css: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, css)

    def one(self, css: str) -> WebElement:
        self.until(lambda: bool(self.all(css)), f"there is no {css}")
        return self.all(css)[0]

    def until(self, holds: Callable[[], bool], says: str) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                if holds():
                    return
            except (StaleElementReferenceException, JavascriptException):
                pass  # drawn anew between two questions
            time.sleep(0.03)
        raise AssertionError(f"{says}; the page says: {self.one('body').text[:800]}")

    def click(self, css: str) -> None:
        """Click on an element as soon as it is there and can be clicked on."""

        def has_clicked() -> bool:
            try:
                self.all(css)[0].click()
            except (ElementClickInterceptedException, ElementNotInteractableException, IndexError):
                return False
            return True

        self.until(has_clicked, f"{css} can't be clicked on")

    def ids(self, side: str = "images") -> list[str]:
        """Return the ids of the hits that are shown."""
        found: list[str] = self.browser.execute_script(
            "return [...document.querySelectorAll(`.face[data-side=${arguments[0]}]`)]"
            ".map((face) => face.dataset.id)",
            side,
        )
        return found

    def shows(self, ids: list[str], side: str = "images") -> None:
        self.until(
            lambda: self.ids(side) == ids and "is-stale" not in self.classes("#answers"),
            f"expected the hits {ids}, got {self.ids(side)}",
        )

    def classes(self, css: str) -> str:
        return self.one(css).get_attribute("class") or ""

    def says(self, css: str, words: str) -> None:
        self.until(
            lambda: words in str(self.one(css).get_property("textContent")),
            f"{css} doesn't say {words!r}",
        )

    def focused(self) -> Any:
        return self.browser.execute_script("return document.activeElement.dataset.id")

    def press(self, key: str) -> None:
        self.browser.switch_to.active_element.send_keys(key)

    @property
    def query(self) -> str:
        return str(self.browser.execute_script("return location.search"))

    def ask(self, path: str, query: Any = None) -> Any:
        """Ask the HTTP API."""
        request = urllib.request.Request(f"{self.address}v1/indexes/{path}")
        if query is not None:
            request.data = json.dumps(query).encode()
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def found(self, index: str = "scenes", **query: Any) -> list[str]:
        """Return the ids that the HTTP API finds."""
        answer = self.ask(f"{index}/search", {"k": 24, **query})
        return [hit["id"] for hit in answer["results"][-1]["hits"]]


DROPPED = """
const [kind, bytes, type] = arguments;
const files = new DataTransfer();
files.items.add(new File([new Uint8Array(bytes)], "some", { type }));
const event = kind === "paste"
  ? new ClipboardEvent("paste", { clipboardData: files, bubbles: true, cancelable: true })
  : new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true });
document.body.dispatchEvent(event);
"""


def connection(*, is_there: bool) -> dict[str, Any]:
    return {
        "offline": not is_there, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1,
    }  # fmt: skip


def start_browser(folder: Path) -> Chrome:
    """Start Chromium with its user data in a folder; skip the test where it doesn't start."""
    options = ChromeOptions()
    assert CHROMIUM is not None
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    downloads = folder / "downloads"
    downloads.mkdir()
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    try:
        return Chrome(options=options, service=Driver(DRIVER))
    except SessionNotCreatedException as error:
        pytest.skip(f"Chromium doesn't start here: {str(error.msg).splitlines()[0]}")


@contextmanager
def watched_page(browser: Chrome, address: str) -> Iterator[Page]:
    """Yield the page; a script that failed, or a policy that was broken, fails the test."""
    browser.get_log("browser")  # type: ignore[no-untyped-call]
    browser.execute_cdp_cmd("Network.enable", {})
    yield Page(browser, address)
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", connection(is_there=True))
    told = [str(one["message"]) for one in browser.get_log("browser")]  # type: ignore[no-untyped-call]
    assert [one for one in told if "Uncaught" in one or "Content Security" in one] == []


@contextmanager
def served(indexes: Mapping[str, Path], **settings: Any) -> Iterator[str]:
    """Yield the address of a server of some indexes, in a thread."""
    import uvicorn

    from modalhash.service.app import create_app
    from modalhash.service.settings import ServiceSettings

    with pytest.MonkeyPatch.context() as patch:
        add_tiny_encoder(patch)
        app = create_app(indexes, ServiceSettings(watch=0.0, **settings))
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", ws="none"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        end = time.monotonic() + PATIENCE
        while not server.started and time.monotonic() < end:
            time.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/"
        server.should_exit = True
        thread.join(PATIENCE)
