"""Folders of videos as collections: each video and its moments are items, beside pictures."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final

import numpy as np

from modalhash.data.collection import Collection, Positions, Value
from modalhash.data.splits import make_splits
from modalhash.data.videos import VideoPart, VideoParts
from modalhash.errors import CollectionError, Defect, MissingExtraError, SettingError
from modalhash.progress import Progress, silent
from modalhash.videos import (
    ShotSettings,
    VideoShots,
    find_shots_of_all,
    find_subtitles,
    read_subtitles,
)
from modalhash.videos.spans import is_video_name
from modalhash.videos.subtitles import Cue, text_of_span

__all__ = ["VIDEO_COLUMNS", "MomentItems", "collect_moments", "list_items"]

logger = logging.getLogger(__name__)

SETTINGS_FILE: Final = "shots.json"
VIDEO_COLUMNS: Final = ("kind", "video", "start", "end")
"""Metadata of moments and videos: `moment` or `video`; of a moment its video's id and times."""


@dataclass
class MomentItems:
    """The items of a folder with videos.

    Attributes:
        parts: videos, each before its moments, and pictures.
        texts: item to its text, where something is said in it.
        defects: of videos that can't be used, and of subtitles.
        notes: of videos that are cut off, or not read.
    """

    parts: list[VideoPart] = field(default_factory=list)
    texts: dict[int, str] = field(default_factory=dict)
    defects: list[Defect] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def list_items(
    root: Path, names: Sequence[str], *, cache: Path | None = None, progress: Progress = silent
) -> MomentItems:
    """List the items of some pictures and videos: pictures, videos and their moments.

    Args:
        root: what names are relative to.
        names: of pictures and videos.
        cache: where shots are kept; by default the user's cache folder.
        progress: told of the stage "find shots".

    Raises:
        MissingExtraError: if there are videos only, and the extra that reads them isn't installed.
    """
    items, videos = MomentItems(), [name for name in names if is_video_name(name)]
    shots_of: Mapping[str, VideoShots | CollectionError] = {}
    try:
        paths = [root / name for name in videos]
        settings = read_shot_settings(root)
        shots = find_shots_of_all(paths, settings, cache=cache, progress=progress) if videos else ()
        shots_of = dict(zip(videos, shots, strict=True))
    except MissingExtraError as error:
        if len(videos) == len(names):
            raise
        items.notes.append(f"{len(videos):,} videos in {root} aren't read: {error}")
    for name in names:
        if not is_video_name(name):
            items.parts.append(VideoPart(name))
        elif name in shots_of:
            add_video(items, root, name, shots_of[name])
    return items


def read_shot_settings(root: Path) -> ShotSettings:
    """Read how the videos of a folder are divided: its `shots.json`, or the defaults.

    Raises:
        SettingError: if the file can't be read, holds an unknown name, or a value out of range.
    """
    file = root / SETTINGS_FILE
    if not file.is_file():
        return ShotSettings()
    try:
        document = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise SettingError(f"{file} can't be read: {error}") from error
    known = {field.name: field.type for field in fields(ShotSettings)}
    values = document if isinstance(document, dict) else {"": None}
    for name, value in values.items():
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        is_number = is_whole or isinstance(value, float)
        if name not in known or not (is_whole if name == "frames" else is_number):
            raise SettingError(
                f"{file} says {name!r}: {value!r}, expected an object of numbers with the names "
                f"{', '.join(known)}"
            )
    try:
        return ShotSettings(**values)
    except SettingError as error:
        raise SettingError(f"{file}: {error}") from error


def add_video(
    items: MomentItems, root: Path, name: str, result: VideoShots | CollectionError
) -> None:
    """Add a video and its moments, with what is said in them."""
    if isinstance(result, CollectionError):
        items.defects += [
            Defect(defect.kind, defect.where, defect.problem, (name,)) for defect in result.defects
        ]
        return
    if result.cut_off:
        items.notes.append(f"{root / name} {result.cut_off}")
    cues: list[Cue] = []
    file = find_subtitles(root / name)
    if file is not None:
        try:
            cues = read_subtitles(file)
        except CollectionError as error:
            items.notes += [f"subtitles aren't read: {defect}" for defect in error.defects]
    times = tuple(time for shot in result.shots for time in shot.frames)
    items.parts.append(VideoPart(name, None, result.duration, times))
    for shot in result.shots:
        text = text_of_span(cues, shot.start, shot.end)
        if text:
            items.texts[len(items.parts)] = text
        items.parts.append(VideoPart(name, shot.start, shot.end, shot.frames))


def collect_moments(folder: Path, root: Path, items: MomentItems, *, split_seed: int) -> Collection:
    """Make the collection of a folder with videos.

    Splits divide videos, not their moments; where there are texts, they hold the items that have
    one, which are the pairs to learn from.

    Args:
        folder: that was read.
        root: what names are relative to.
        items: at least one.
        split_seed: seed of the splits.
    """
    ids = tuple(part.id for part in items.parts)
    texts = dict(sorted(items.texts.items()))
    splits, note = divide_videos(items, split_seed)
    return Collection(
        name=folder.absolute().name,
        item_ids=ids,
        caption_ids=tuple(f"{ids[place]}#0" for place in texts),
        caption_items=np.array(list(texts), np.int64),
        captions=tuple(texts.values()),
        pictures=VideoParts(root, tuple(items.parts)),
        metadata=describe_parts(items.parts),
        splits=splits,
        source=str(folder.absolute()),
        split_note=note,
        may_lack_texts=True,
    )


def describe_parts(parts: Sequence[VideoPart]) -> dict[str, tuple[Value, ...]]:
    """Make the metadata of items, `VIDEO_COLUMNS`; None where a column says nothing."""
    rows: list[tuple[Value, ...]] = []
    for part in parts:
        if part.is_moment:
            rows.append(("moment", part.name, part.start, part.end))
        elif part.is_video:
            rows.append(("video", None, None, part.end))
        else:
            rows.append((None, None, None, None))
    columns = zip(*rows, strict=True)
    return dict(zip(VIDEO_COLUMNS, columns, strict=True))


def divide_videos(items: MomentItems, seed: int) -> tuple[dict[str, Positions], str]:
    """Divide items so that all moments of a video are in one split.

    A single video is divided by its moments.
    """
    places = sorted(items.texts) or list(range(len(items.parts)))
    names = [items.parts[place].name for place in places]
    units = list(dict.fromkeys(names))
    if len(units) < len(places) and len(units) < 3:
        units = names = [items.parts[place].id for place in places]
    parts, note = make_splits(tuple(units), seed=seed)
    split_of = {units[unit]: split for split, members in parts.items() for unit in members.tolist()}
    splits = {
        split: np.array(
            [
                place
                for place, name in zip(places, names, strict=True)
                if split_of.get(name) == split
            ],
            np.int64,
        )
        for split in parts
    }
    return splits, note
