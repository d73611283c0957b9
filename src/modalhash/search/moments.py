"""Moments of videos in an index: their files, their videos, and the best moment of each video.

A moment's metadata are `kind`, `video` (the id of its whole video's item), `start` and `end` in
seconds. The path of the file stands with the whole video only.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.index import HashIndex, Metadata
from modalhash.index.filter_tree import quoted
from modalhash.modalities import Side
from modalhash.search.parts import IndexParts
from modalhash.videos import name_moment

__all__ = [
    "find_moments_of",
    "is_moment",
    "is_video",
    "keep_best_of_videos",
    "locate_moment",
    "locate_videos",
    "video_of",
]

IDS_A_FILTER = 200


def is_moment(metadata: Metadata) -> bool:
    """Tell whether an item is a moment of a video."""
    return metadata.get("kind") == "moment" and isinstance(metadata.get("video"), str)


def is_video(metadata: Metadata) -> bool:
    """Tell whether an item is a whole video."""
    return metadata.get("kind") == "video"


def video_of(identity: Any, metadata: Metadata) -> Any:
    """Find the id of an item's video: of a moment or one of its texts, else the item's own."""
    if is_moment(metadata):
        return metadata["video"]
    return metadata.get("item", identity)


def locate_videos(index: IndexParts, rows: Iterable[Metadata]) -> dict[str, str]:
    """Find the files of the videos whose moments are among some items, by the video's id."""
    names = list(dict.fromkeys(str(row["video"]) for row in rows if is_moment(row)))
    if not names or Side.IMAGES not in index.sides:
        return {}
    images = index.sides[Side.IMAGES]
    names = [name for name, known in zip(names, images.contains(names), strict=True) if known]
    paths = (row.get("image") for row in images.metadata(names))
    return {
        name: index.locate_picture(path)
        for name, path in zip(names, paths, strict=True)
        if isinstance(path, str)
    }


def locate_moment(metadata: Metadata, videos: Mapping[str, str]) -> str | None:
    """Name the moment of an item as a part of its video's file, `/films/a.mp4#t=12,17.5`."""
    path = videos.get(str(metadata.get("video")))
    try:
        start, end = float(metadata["start"]), float(metadata["end"])
    except (KeyError, TypeError, ValueError):
        return None
    return None if path is None else name_moment(path, start, end)


def find_moments_of(images: HashIndex, ids: Sequence[Any]) -> list[Any]:
    """Find the ids of the moments of those items that are videos."""
    rows = images.metadata(ids)
    videos = [value for value, row in zip(ids, rows, strict=True) if is_video(row)]
    moments: list[Any] = []
    for start in range(0, len(videos), IDS_A_FILTER):
        values = ", ".join(quoted(value) for value in videos[start : start + IDS_A_FILTER])
        moments += images.select(f"video in ({values})").tolist()
    return moments


def keep_best_of_videos(ids: Sequence[Any], rows: Sequence[Metadata]) -> NDArray[np.bool_]:
    """Mark the best item of each video, in the order of the hits; other items are all marked.

    Where the best item is the whole video, its best moment stands for it, if it is among the items.

    Args:
        ids: of n hits, best first.
        rows: their metadata.

    Returns:
        (n,) bool.
    """
    best: dict[Any, int] = {}
    for place, (identity, row) in enumerate(zip(ids, rows, strict=True)):
        video = video_of(identity, row)
        if video not in best or (is_video(rows[best[video]]) and is_moment(row)):
            best[video] = place
    marks = np.zeros(len(ids), np.bool_)
    marks[list(best.values())] = True
    return marks
