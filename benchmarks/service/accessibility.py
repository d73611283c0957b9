"""Check the search page with axe-core in a real browser: both themes, three widths, each state.

    modalhash serve modalhash-demo/index-64 --writable &
    python benchmarks/service/accessibility.py http://127.0.0.1:8000/ --text "a hot drink"

The address may also be that of a static site (`modalhash export INDEX --format site`).

Needs Chromium with its driver, Selenium, and npm, which fetches axe-core (MPL-2.0) into a folder
that is removed afterwards. Ends with 1 if axe finds anything of serious or critical impact.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

AXE = "axe-core@4"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
GRAVE = {"serious", "critical"}
WIDTHS = (360, 800, 1440)
PATIENCE = 60.0
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description="Check the search page with axe-core.")
    parser.add_argument("address", help="Where the server's page is.")
    parser.add_argument("--text", default="a dog", help="Words that find something.")
    parser.add_argument("--axe", type=Path, help="axe.min.js  [default: npm fetches it].")
    parser.add_argument("--pictures", type=Path, help="Folder to put screenshots in.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        axe = given.axe or fetch_axe(Path(folder))
        browser = start_browser(Path(folder) / "chromium")
        try:
            found = check(browser, given.address, given.text, axe.read_text(), given.pictures)
        finally:
            browser.quit()
    grave = [one for one in found if one["impact"] in GRAVE]
    for one in found:
        print(f"{one['where']}: {one['impact']}: {one['id']}: {one['help']}")
        for node in one["nodes"][:3]:
            print(f"    {' '.join(map(str, node['target']))}")
    print(f"{len(found)} findings, {len(grave)} of them serious or critical")
    return 1 if grave else 0


def fetch_axe(folder: Path) -> Path:
    """Fetch axe-core with npm."""
    command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), AXE]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder / "node_modules" / "axe-core" / "axe.min.js"


def start_browser(folder: Path) -> Chrome:
    """Start a browser with a folder of its own."""
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (*FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    return Chrome(options=options, service=Service(shutil.which("chromedriver")))


def check(
    browser: Chrome, address: str, text: str, axe: str, pictures: Path | None
) -> list[dict[str, Any]]:
    """Return what axe finds in every state, theme and width."""
    found: list[dict[str, Any]] = []
    hit = find_first_hit(browser, address, text)
    states = {
        "start": ({}, ".samples img, .samples .is-missing"),
        "answers": ({"q": text}, ".face"),
        "both": ({"q": text, "find": "both"}, ".lines .face"),
        "filters": ({"q": text, "where": "a >> 1"}, ".marked"),
        "item": ({"q": text, "item": hit}, ".stage img"),
        "why": ({"q": text, "why": hit}, ".histogram"),
        "selected": ({"q": text}, ".face"),
        "removal": ({"q": text}, ".face"),
        "adding": ({"q": text}, ".face"),
        "problem": ({"index": "no such index"}, "#problem h2"),
    }
    if not browser.find_element(By.CSS_SELECTOR, "#filters-open").is_displayed():
        del states["filters"]  # a static site has none
    for width in WIDTHS:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        for name, (query, ready) in states.items():
            browser.get(f"{address}?{urlencode(query)}")
            wait_for(browser, ready)
            do_steps(browser, name)
            for theme in ("light", "dark"):
                browser.execute_script(
                    "document.documentElement.dataset.theme = arguments[0]", theme
                )
                time.sleep(0.4)  # colours fade over
                where = f"{name}-{width}-{theme}"
                if pictures is not None:
                    pictures.mkdir(parents=True, exist_ok=True)
                    browser.save_screenshot(str(pictures / f"{where}.png"))
                found += [{**one, "where": where} for one in find_violations(browser, axe)]
    return found


STEPS = {
    "answers": (("#filters-open", ".facets"),),
    "selected": ((".pick", "#selection [data-act=copy]"),),
    "removal": ((".pick", "#selection"), ("#selection [data-act=delete]", "#removal[open]")),
}
"""By state, what is clicked on, and what must be there then."""
DAMAGED_PICTURE = """
const files = new DataTransfer();
files.items.add(new File(["none"], "damaged.png", { type: "image/png" }));
const input = document.querySelector("#add-files");
input.files = files.files;
input.dispatchEvent(new Event("change"));
"""


def do_steps(browser: Chrome, state: str) -> None:
    """Do what leads to a state; what only a writable server offers is passed over elsewhere."""
    if state == "adding" and browser.find_element(By.CSS_SELECTOR, "#add").is_displayed():
        browser.execute_script(DAMAGED_PICTURE)
        wait_for(browser, "#adding .bad")
    for css, ready in STEPS.get(state, ()):
        elements = browser.find_elements(By.CSS_SELECTOR, f"{css}:not([hidden])")
        if elements:
            browser.execute_script("document.querySelector(arguments[0]).click()", css)
            wait_for(browser, ready)


def find_first_hit(browser: Chrome, address: str, text: str) -> str:
    """Return the first hit as the address of its sheet names it."""
    browser.get(f"{address}?{urlencode({'q': text})}")
    wait_for(browser, ".face")
    face = browser.find_element(By.CSS_SELECTOR, ".face")
    return f"{face.get_attribute('data-side')}:{face.get_attribute('data-id')}"


def wait_for(browser: Chrome, css: str) -> None:
    """Wait until an element is there."""
    end = time.monotonic() + PATIENCE
    while not browser.find_elements(By.CSS_SELECTOR, css):
        if time.monotonic() > end:
            raise SystemExit(f"there is no {css} at {browser.current_url}")
        time.sleep(0.1)


def find_violations(browser: Chrome, axe: str) -> list[dict[str, Any]]:
    """Return what axe finds in the page as it is."""
    browser.execute_script(axe)  # the driver's scripts aren't bound by the page's policy
    answer = browser.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        f"axe.run(document, {{ runOnly: {json.dumps(RULES)} }})"
        ".then((result) => done(result.violations), (error) => done(String(error)));"
    )
    if isinstance(answer, str):
        raise SystemExit(f"axe failed: {answer}")
    return list(answer)


if __name__ == "__main__":
    sys.exit(main())
