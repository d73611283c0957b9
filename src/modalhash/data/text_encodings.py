"""Find out how a text file is encoded that isn't marked: as UTF-8, UTF-16 or Windows-1252."""

import codecs
import re
from pathlib import Path
from typing import Final

from modalhash.files import open_regular_file

__all__ = ["guess_encoding"]

CHUNK: Final = 1 << 20
UTF8_SEQUENCE: Final = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)
PUNCTUATION: Final = frozenset(
    b"\x80\x82\x84\x85\x8b\x91\x92\x93\x94\x95\x96\x97\x99\x9b"
    b"\xa0\xa1\xa3\xa7\xa9\xab\xae\xb0\xb2\xb3\xb4\xb5\xb7\xbb\xbc\xbd\xbe\xbf"
)
"""Bytes of what texts in Windows-1252 hold beside letters: quotes, dashes, signs, fractions."""
RARE: Final = frozenset(b"\x83\xaa\xd0\xde\xf0\xfe\xff")
"""Bytes of letters that are damage more often than letters."""


def guess_encoding(path: Path) -> str | None:
    """Guess the encoding of a text file that isn't UTF-8.

    Args:
        path: of the file.

    Returns:
        "utf-16-le" or "utf-16-be", where every second byte is 0, as in UTF-16 without its mark;
        "cp1252", where bytes beyond ASCII are nowhere UTF-8 and all stand for letters or usual
        punctuation of Windows-1252. None if the file is UTF-8, or is none of these.

    Raises:
        OSError: if the file can't be read.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    is_utf8, has_sequence = True, False
    beyond: set[int] = set()
    with open_regular_file(path) as file:
        start = file.read(CHUNK)
        wide = guess_wide(start)
        if wide is not None:
            return wide
        chunk = start
        while chunk:
            if is_utf8:
                try:
                    decoder.decode(chunk)
                except UnicodeDecodeError:
                    is_utf8 = False
            has_sequence = has_sequence or UTF8_SEQUENCE.search(chunk) is not None
            beyond.update(byte for byte in set(chunk) if byte >= 0x80 or byte == 0)
            chunk = file.read(CHUNK)
    if is_utf8:
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            is_utf8 = False
    if is_utf8 or has_sequence or 0 in beyond:
        return None
    return "cp1252" if all(map(is_usual, beyond)) else None


def guess_wide(start: bytes) -> str | None:
    """Tell by its zeros whether a text of mostly Latin letters is UTF-16 without a mark."""
    even, odd = start[::2], start[1::2]
    if len(start) < 8:
        return None
    if odd.count(0) > 0.8 * len(odd) and even.count(0) == 0:
        return "utf-16-le"
    if even.count(0) > 0.8 * len(even) and odd.count(0) == 0:
        return "utf-16-be"
    return None


def is_usual(byte: int) -> bool:
    """Tell whether a byte beyond ASCII stands for something usual in Windows-1252."""
    try:
        letter = bytes([byte]).decode("cp1252")
    except UnicodeDecodeError:
        return False
    return byte in PUNCTUATION or (letter.isalpha() and byte not in RARE)
