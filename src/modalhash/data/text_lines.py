"""Text files of people: UTF-8 lines with their numbers, and what is wrong with their characters."""

import io
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from modalhash.errors import Defect
from modalhash.files import open_regular_file

__all__ = [
    "DIRTY",
    "ENCODING_PROBLEM",
    "HALF_PROBLEM",
    "NUL_PROBLEM",
    "ascii_if_broken",
    "clean_lines",
    "describe_lines",
    "dirt_of",
    "likely_encoding",
    "open_text",
    "quote_text",
]

DIRTY: Final = re.compile("[\x00\ud800-\udfff]")
"""What a text decoded with "surrogateescape" holds if its bytes weren't UTF-8 text."""
ENCODING_PROBLEM: Final = "isn't UTF-8 text; save the file as UTF-8"
NUL_PROBLEM: Final = "holds a NUL character, which is no text; delete it"
HALF_PROBLEM: Final = (
    "holds half a character (an escape such as \\ud83d without its other half), as where an emoji "
    "was cut; write it whole"
)


def clean_lines(path: Path, defects: list[Defect]) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text file that aren't empty, with their numbers from 1.

    Lines that aren't UTF-8, or a file that can't be read, are added to `defects` instead.
    """
    dirty: dict[str, list[int]] = {}
    try:
        with open_text(path) as file:
            for line, text in enumerate(file, start=1):
                clean = text.rstrip("\r\n")
                if DIRTY.search(clean):
                    dirty.setdefault(dirt_of(clean), []).append(line)
                elif clean:
                    yield line, clean
        for problem, lines in dirty.items():
            description = describe_lines(problem, len(lines), path)
            defects.append(Defect("bad-encoding", f"{path}:{lines[0]}", description))
    except OSError as error:
        problem = f"can't be read: {error.strerror or error}"
        defects.append(Defect("unreadable-file", str(path), problem))


def dirt_of(text: str) -> str:
    """Say what is wrong with the characters of a text that was decoded with "surrogateescape"."""
    return NUL_PROBLEM if "\0" in text else ENCODING_PROBLEM


def open_text(path: Path, encoding: str = "utf-8-sig", *, newline: str = "\n") -> IO[str]:
    """Open a text file; by default as UTF-8, with or without a byte order mark."""
    file = open_regular_file(path)
    return io.TextIOWrapper(file, encoding, errors="surrogateescape", newline=newline)


def describe_lines(problem: str, n_lines: int, path: Path) -> str:
    """Say what is wrong with the characters of some lines, of which the first is named."""
    if n_lines == 1 or problem != ENCODING_PROBLEM:
        more = f" ({n_lines} lines are like this)" if n_lines > 1 else ""
        return f"{problem}{more}"
    return (
        f"{n_lines:,} lines aren't UTF-8 text, and this is the first; they look like "
        f"{likely_encoding(path)}: save the file as UTF-8"
    )


def likely_encoding(path: Path) -> str:
    """Guess how a file that isn't UTF-8 is encoded, for a message."""
    with suppress(OSError), open_regular_file(path) as file:
        start = file.read(1 << 16)
        if start.startswith((b"\xff\xfe", b"\xfe\xff")):
            return "UTF-16, as spreadsheets save 'Unicode text'"
        with suppress(UnicodeDecodeError):
            start.decode("cp1252")
            return "Windows-1252 (iconv -f CP1252 -t UTF-8 OLD > NEW makes UTF-8 of it)"
    return "an encoding of one or two bytes a character"


def quote_text(text: str) -> str:
    """Quote a text for messages: escaped, and cut off when long.

    Example:
        >>> quote_text("a" * 90) == "'" + "a" * 60 + "...'"
        True
    """
    return ascii_if_broken(repr(text if len(text) <= 63 else text[:60] + "..."))


def ascii_if_broken(text: str) -> str:
    """Escape lone surrogates, so that any terminal and file takes the text."""
    return text.encode("utf-8", "backslashreplace").decode()
