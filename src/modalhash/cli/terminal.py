"""Texts on a terminal: what comes from data can't move the cursor, set colours or hide itself."""

import json
import unicodedata
from collections.abc import Mapping
from typing import Any

import click

__all__ = ["echo", "echo_json", "shorten_line", "show_controls", "show_line"]

BIDI_CONTROLS = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
"""Format characters that turn the direction of what follows; others join letters or emoji."""


def show_controls(text: str, *, allowed: str = "\n\t") -> str:
    r"""Write control characters as escapes that can be seen.

    Args:
        text: of any origin: a caption, an id, a path, an error.
        allowed: control characters that stay as they are.

    Example:
        >>> print(show_controls("a\x1b[2Jb\u202ec"))
        a\x1b[2Jb\u202ec
    """
    if text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode() if is_control(char) and char not in allowed else char
        for char in text
    )


def show_line(text: str) -> str:
    r"""Write a text in one line: also line ends and tabs are escapes.

    Example:
        >>> print(show_line("two\nlines"))
        two\nlines
    """
    return show_controls(text, allowed="")


def shorten_line(text: str, most: int = 240) -> str:
    """Write a text in one line of at most `most` characters; a longer one ends in "…".

    Example:
        >>> print(shorten_line("a dog in the snow", 6))
        a dog…
    """
    line = show_line(text[:most])
    return line if len(text) <= most and len(line) <= most else f"{line[: most - 1].rstrip()}…"


def is_control(char: str) -> bool:
    """Tell whether a terminal may act on a character instead of showing it."""
    return unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in BIDI_CONTROLS


def echo(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a text for people."""
    click.echo(show_controls(str(text)), err=err, nl=nl)


def echo_json(document: Mapping[str, Any] | str) -> None:
    """Print a document, or its JSON, with control characters as JSON's own escapes."""
    text = document if isinstance(document, str) else json.dumps(document, ensure_ascii=False)
    if not text.isprintable():
        text = "".join(
            json.dumps(char)[1:-1] if is_control(char) and char != "\n" else char for char in text
        )
    click.echo(text)
