"""Documents of few bytes: an assistant reads every answer whole, and pays for each word of it."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from modalhash.service.answers import write_json_bytes

__all__ = ["shorten_text", "write_entries", "write_short"]

TEXT_LENGTHS: Final = (2000, 1000, 600, 400, 300, 240, 200, 160, 130, 100, 80, 60, 45, 30, 20, 10)
"""Characters that texts are cut to, tried one after another."""
WHOLE: Final = ("id", "index", "item", "video")
"""Entries that are never cut: programs need them as they are."""
NEEDED: Final = ("id", "strength", "score")
"""Entries of a hit that stay where nothing else has room."""
ELLIPSIS: Final = "…"


def shorten_text(text: str, most: int) -> str:
    """Cut a text to some characters, with an ellipsis at its end.

    Example:
        >>> shorten_text("a dog in the snow", 9), shorten_text("a dog", 9)
        ('a dog in…', 'a dog')
    """
    return text if len(text) <= most else text[: most - 1].rstrip() + ELLIPSIS


def shorten_texts(value: Any, most: int) -> Any:
    """Cut all texts of a document, but for those that are needed whole."""
    if isinstance(value, str):
        return shorten_text(value, most)
    if isinstance(value, Mapping):
        return {
            name: entry if name in WHOLE else shorten_texts(entry, most)
            for name, entry in value.items()
        }
    if isinstance(value, list | tuple):
        return [shorten_texts(entry, most) for entry in value]
    return value


def write_short(document: Mapping[str, Any], most_bytes: int) -> str:
    """Write a document as JSON of some bytes at most; texts and then lists in it are cut.

    Where even that doesn't suffice, the document says so and is as short as it can be made.

    Args:
        document: of plain values.
        most_bytes: of its JSON in UTF-8.
    """
    written = write_json_bytes(document)
    for length in TEXT_LENGTHS:
        if len(written) <= most_bytes:
            return written.decode()
        written = write_json_bytes(shorten_texts(document, length))
    for most_entries in (20, 10, 5, 2, 0):
        if len(written) <= most_bytes:
            break
        cut = cut_collections(shorten_texts(document, TEXT_LENGTHS[-1]), most_entries)
        written = write_json_bytes({**cut, "shortened": True})
    return written.decode()


def cut_collections(document: Mapping[str, Any], most: int) -> dict[str, Any]:
    """Keep the first entries of the lists and mappings of a document."""
    cut: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, list):
            cut[name] = value[:most]
        elif isinstance(value, Mapping):
            cut[name] = dict(list(value.items())[:most])
        else:
            cut[name] = value
    return cut


def write_entries(
    describe: Callable[[list[dict[str, Any]]], Mapping[str, Any]],
    entries: list[dict[str, Any]],
    most_bytes: int,
) -> str:
    """Write an answer with entries as JSON of some bytes at most.

    The texts of the entries are cut until all fit; then the entries give up what isn't needed;
    then the last ones are left out. One entry is always there, with its id as it is.

    Args:
        describe: makes the document around the entries that are in it.
        entries: hits, the best first.
        most_bytes: of its JSON in UTF-8.
    """
    written = write_json_bytes(describe(entries))
    for length in TEXT_LENGTHS:
        if len(written) <= most_bytes:
            return written.decode()
        written = write_json_bytes(describe(shorten_texts(entries, length)))
    left = entries
    while len(written) > most_bytes:
        left = [{name: hit[name] for name in NEEDED if name in hit} for hit in left]
        written = write_json_bytes(describe(left))
        if len(left) <= 1:
            break
        if len(written) > most_bytes:
            left = left[:-1]
    return written.decode()
