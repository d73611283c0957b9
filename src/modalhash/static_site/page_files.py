"""The page of a site: the server's search page, with a part that answers in the browser itself."""

from importlib.resources import as_file, files
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from modalhash.errors import InputError
from modalhash.files import write_text

__all__ = ["check_links", "write_page"]

PAGE: Final = "page"
START: Final = "index.html"
SERVER_PAGE: Final = ("service", "page")
OWN_PAGE: Final = ("static_site", "page")
POLICY: Final = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; "
    "style-src 'self'; img-src 'self' blob: data:{pictures}; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'"
)
"""What the page may load: nothing from elsewhere but pictures that links were stated for."""
CHANGES: Final = (
    (
        '<meta name="referrer" content="same-origin">',
        """<meta name="referrer" content="same-origin">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<script src="page/opened_as_file.js"></script>""",
    ),
    ('id="filters-open" ', 'id="filters-open" hidden '),
    (" You can also drop or paste a picture.", ""),
    (
        "The same answers come from the HTTP API and from <code>modalhash search</code>.",
        "It searches in the browser itself.",
    ),
)
"""Texts of the server's page and what stands in their place."""


def write_page(site: Path, links: str | None) -> None:
    """Write the page into the folder of a site.

    Args:
        site: the folder.
        links: what links to pictures begin with; its host is one that the page may load from.
    """
    folder = site / PAGE
    folder.mkdir()
    texts: dict[str, str] = {}
    for place in (SERVER_PAGE, OWN_PAGE):
        with as_file(files("modalhash").joinpath(*place)) as source:
            for path in sorted(source.iterdir()):
                texts[path.name] = path.read_text(encoding="utf-8")
    start = texts.pop(START)
    for before, after in CHANGES:
        assert start.count(before) == 1, f"the server's page changed: {before}"
        start = start.replace(before, after)
    origin = find_origin(links)
    policy = POLICY.format(pictures=f" {origin}" if origin else "")
    write_text(site / START, start.replace("{policy}", policy))
    for name, text in texts.items():
        write_text(folder / name, text)


def find_origin(links: str | None) -> str:
    """Find scheme and host of links; "" of links within the site's own host."""
    parts = urlsplit(links or "")
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""


def check_links(links: str | None) -> None:
    """Refuse what no link to a picture can begin with.

    Raises:
        InputError: if it isn't an address of the web, or a path.
    """
    if links is None:
        return
    parts = urlsplit(links)
    is_address = parts.scheme in ("http", "https") and bool(parts.netloc)
    is_path = not parts.scheme and not parts.netloc and bool(links)
    has_odd = any(character in links for character in "\"'<>;, \\") or not links.isprintable()
    if not (is_address or is_path) or has_odd or parts.query or parts.fragment:
        raise InputError(
            f"links is {links!r}, expected what stands before the name of a picture: an address "
            "such as https://example.org/photos/, or a path such as ../photos/"
        )
