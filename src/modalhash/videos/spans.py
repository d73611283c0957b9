"""Name moments of videos: `films/bikes.mp4#t=12,17.5` is a part of a file, in seconds.

The form is that of the W3C's media fragments, so that browsers understand it too.
"""

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["VIDEO_SUFFIXES", "Span", "is_video_name", "name_moment", "parse_moment"]

VIDEO_SUFFIXES: Final = (".mp4", ".mov", ".mkv", ".webm", ".m4v", ".avi", ".mpg", ".mpeg", ".mts")
"""How a video file's name ends, in lower case."""
MOMENT: Final = re.compile(
    r"(?P<video>.+)#t=(?P<start>\d+(\.\d+)?),(?P<end>\d+(\.\d+)?)", re.DOTALL
)


@dataclass(frozen=True)
class Span:
    """A part of a video.

    Attributes:
        video: name or path of the video.
        start: in seconds from the video's beginning.
        end: in seconds, after `start`.
    """

    video: str
    start: float
    end: float


def is_video_name(name: str) -> bool:
    """Tell whether a name is one of a video file, by its suffix.

    Example:
        >>> is_video_name("a.MP4"), is_video_name("a.jpg")
        (True, False)
    """
    return name.lower().endswith(VIDEO_SUFFIXES)


def name_moment(video: str, start: float, end: float) -> str:
    """Name a moment: the video's name, and the seconds to a hundredth.

    Example:
        >>> name_moment("a.mp4", 12.0, 17.504)
        'a.mp4#t=12,17.5'
    """
    return f"{video}#t={write_seconds(start)},{write_seconds(end)}"


def write_seconds(seconds: float) -> str:
    """Write seconds to a hundredth, without zeros at the end."""
    return f"{seconds:.2f}".rstrip("0").rstrip(".")


def parse_moment(name: str) -> Span | None:
    """Read the name or path of a moment; None if it is none of a video file.

    Example:
        >>> parse_moment("a.mp4#t=12,17.5")
        Span(video='a.mp4', start=12.0, end=17.5)
        >>> parse_moment("a.jpg#t=1,2") is None
        True
    """
    match = MOMENT.fullmatch(name)
    if match is None or not is_video_name(match["video"]):
        return None
    return Span(match["video"], float(match["start"]), float(match["end"]))
