"""Subtitles beside a video, `.srt` or `.vtt`: what is said at which time."""

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modalhash.errors import CollectionError, Defect

__all__ = [
    "SUBTITLE_SUFFIXES",
    "Cue",
    "find_subtitles",
    "parse_subtitles",
    "read_subtitles",
    "text_of_span",
]

SUBTITLE_SUFFIXES: Final = (".srt", ".vtt")
"""How a subtitle file's name ends, in lower case."""
LARGEST_FILE: Final = 32 << 20
TIME: Final = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
TIMES: Final = re.compile(rf"\s*{TIME}\s*-->\s*{TIME}(?:\s.*)?")
TAG: Final = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")


@dataclass(frozen=True)
class Cue:
    """One subtitle.

    Attributes:
        start: in seconds.
        end: in seconds.
        text: in one line, without marks of form.
    """

    start: float
    end: float
    text: str


def find_subtitles(video: Path) -> Path | None:
    """Find the subtitles of a video: `NAME.srt`, `NAME.vtt`, or one with a language between.

    Of several the one without a language counts, or else the first by name.
    """
    try:
        beside = sorted(video.parent.iterdir())
    except OSError:
        return None
    files = [
        file
        for file in beside
        if file.suffix.lower() in SUBTITLE_SUFFIXES
        and (file.stem == video.stem or file.stem.rpartition(".")[0] == video.stem)
        and not file.name.startswith(".")
    ]
    plain = [file for file in files if file.stem == video.stem]
    return next(iter(plain or files), None)


def read_subtitles(file: Path) -> list[Cue]:
    """Read a file of subtitles.

    Raises:
        CollectionError: if it can't be read, or holds no subtitle (bad-subtitles).
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST_FILE + 1)
    except OSError as error:
        raise fault(file, f"can't be read: {error.strerror or error}") from error
    if len(content) > LARGEST_FILE:
        raise fault(file, "is larger than 32 MiB: it holds no subtitles; leave it out")
    cues = parse_subtitles(decode_text(content))
    if not cues:
        raise fault(file, "holds no subtitle: expected lines such as 00:00:01,000 --> 00:00:03,500")
    return cues


def fault(file: Path, problem: str) -> CollectionError:
    """Make the error of a file of subtitles."""
    return CollectionError([Defect("bad-subtitles", str(file), problem)])


def decode_text(content: bytes) -> str:
    """Decode a text: UTF-8 or UTF-16 with their marks, or else Latin-1, as old subtitles are."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def parse_subtitles(text: str) -> list[Cue]:
    r"""Parse the text of an `.srt` or `.vtt` file; what isn't a subtitle is passed over.

    Example:
        >>> parse_subtitles("1\n00:00:01,000 --> 00:00:02,500\n<i>Hello</i>\nyou\n")
        [Cue(start=1.0, end=2.5, text='Hello you')]
    """
    cues = []
    for block in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n").replace("\r", "\n")):
        lines = block.strip("\n").split("\n")
        for place, line in enumerate(lines[:2]):
            match = TIMES.fullmatch(line)
            if match is None:
                continue
            start, end = read_time(match.groups()[:4]), read_time(match.groups()[4:])
            text_of_cue = clean(lines[place + 1 :])
            if text_of_cue and end > start:
                cues.append(Cue(start, end, text_of_cue))
            break
    return sorted(cues, key=lambda cue: (cue.start, cue.end))


def read_time(parts: Sequence[str | None]) -> float:
    """Convert hours, minutes, seconds and thousandths to seconds."""
    hours, minutes, seconds, fraction = (part or "0" for part in parts)
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction}")


def clean(lines: Iterable[str]) -> str:
    """Join the lines of a subtitle, without tags and control characters."""
    joined = html.unescape(TAG.sub("", " ".join(lines)))
    return " ".join("".join(letter for letter in joined if letter.isprintable()).split())


def text_of_span(cues: Sequence[Cue], start: float, end: float) -> str:
    """Join what is said in a part of a video: the subtitles whose middle lies in it.

    A line that comes twice in a row, as subtitles that roll do, counts once.

    Example:
        >>> text_of_span([Cue(0, 2, "a"), Cue(2, 4, "b"), Cue(5, 9, "c")], 2, 6)
        'b'
    """
    sentences: list[str] = []
    for cue in cues:
        if start <= (cue.start + cue.end) / 2 < end and cue.text not in sentences[-1:]:
            sentences.append(cue.text)
    return " ".join(sentences)
