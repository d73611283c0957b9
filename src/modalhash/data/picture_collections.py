"""Pictures without texts as a collection: a folder of pictures, nested as people nest them."""

import logging
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from modalhash.data.collection import Collection, Pictures
from modalhash.data.folder_labels import read_labels
from modalhash.data.folder_tables import PICTURES, VIDEOS, ItemKind
from modalhash.data.folder_unread import list_unread
from modalhash.data.frames import FrameFolders, frame_names
from modalhash.data.moment_collections import collect_moments, list_items
from modalhash.data.path_patterns import expand_pattern
from modalhash.data.pictures import PICTURE_SUFFIXES, PictureFiles, is_safe_name
from modalhash.data.raw_pictures import can_read_raw, is_raw_name
from modalhash.data.reading import Reading
from modalhash.data.splits import make_splits, read_splits
from modalhash.data.text_lines import ascii_if_broken, quote_text
from modalhash.errors import Defect
from modalhash.progress import Progress, silent
from modalhash.videos import VIDEO_SUFFIXES, is_video_name

__all__ = ["UNFINISHED", "list_pictures", "read_pictures"]

logger = logging.getLogger(__name__)

UNFINISHED: Final = ".unfinished"
"""The file of a folder that a conversion is still writing, or left."""
FILE_SUFFIXES: Final = (*PICTURE_SUFFIXES, *VIDEO_SUFFIXES)


def read_pictures(folder: Path, kind: ItemKind, *, split_seed: int) -> Reading | None:
    """Read pictures and videos that no captions file lists, or None if there are none.

    They are the files in any folder below; hidden files, thumbnails and trash are passed over. Each
    video is an item, and so are its moments; see `moment_collections`.
    Where all of them are in `images/`, their names are relative to it. Labels and splits are read
    as beside captions.

    Args:
        folder: the folder.
        kind: whether its items are pictures or videos.
        split_seed: seed of the splits, if none are given.
    """
    defects: list[Defect] = []
    if kind is VIDEOS:
        root = folder / kind.folder if (folder / kind.folder).is_dir() else folder
        videos = _list_videos(root)
        names: tuple[str, ...] = tuple(videos)
        if not names:
            kind = PICTURES
            names = _list_pictures(root, defects)
    else:
        root = _choose_root(folder, kind)
        names = _list_pictures(root, defects)
    if not names or (folder / UNFINISHED).exists():
        return None
    if any(map(is_video_name, names)):
        return _read_moments(folder, root, names, defects, split_seed)
    pictures: Pictures
    if kind is PICTURES:
        pictures = PictureFiles(root, names)
    else:
        pictures = FrameFolders(root, tuple(videos.values()))
    positions = {name: place for place, name in enumerate(names)}
    labels, label_names = read_labels(folder, kind, positions, set(names), defects)
    splits = read_splits(folder / "splits", positions, known=())
    defects += splits.defects
    notes = list_unread(
        folder,
        kind,
        (),
        has_labels=bool(label_names),
        has_splits=bool(splits.splits or splits.defects),
    )
    if not splits.splits:
        splits.splits, splits.note = make_splits(names, seed=split_seed)
    collection = Collection(
        name=folder.absolute().name,
        item_ids=names,
        caption_ids=(),
        caption_items=np.zeros(0, np.int64),
        captions=(),
        pictures=pictures,
        labels=labels,
        label_names=label_names,
        splits=splits.splits,
        source=str(folder.absolute()),
        split_note=splits.note,
    )
    note = f"{folder} has {len(names):,} {kind.noun}s and no captions file: there are no texts"
    return Reading(collection, tuple(defects), (note, *notes))


def _read_moments(
    folder: Path, root: Path, names: tuple[str, ...], defects: list[Defect], split_seed: int
) -> Reading:
    """Read pictures and videos, and the moments of the videos."""
    items = list_items(root, names)
    defects += items.defects
    if not items.parts:
        return Reading(None, tuple(defects), tuple(items.notes))
    collection = collect_moments(folder, root, items, split_seed=split_seed)
    n_videos = sum(map(is_video_name, names))
    note = (
        f"{folder} has {n_videos:,} videos, {len(names) - n_videos:,} pictures and no captions "
        f"file: each video and its moments are items, {len(items.parts):,} in all, "
        f"{len(items.texts):,} of them with subtitles"
    )
    return Reading(collection, tuple(defects), (note, *items.notes))


def list_pictures(
    folder: Path, *, cache: Path | None = None, progress: Progress = silent
) -> Reading | None:
    """Read all pictures and videos below a folder, or None if there are none.

    Captions, labels and splits aren't read; names are relative to the folder.

    Args:
        folder: the folder.
        cache: where shots of videos are kept; by default the user's cache folder.
        progress: told of the stage "find shots".
    """
    defects: list[Defect] = []
    names = _list_pictures(folder, defects)
    if not names:
        return None if not defects else Reading(None, tuple(defects))
    if any(map(is_video_name, names)):
        items = list_items(folder, names, cache=cache, progress=progress)
        defects += items.defects
        if not items.parts:
            return Reading(None, tuple(defects), tuple(items.notes))
        moments = collect_moments(folder, folder, items, split_seed=0)
        return Reading(moments, tuple(defects), tuple(items.notes))
    collection = Collection(
        name=folder.absolute().name,
        item_ids=names,
        caption_ids=(),
        caption_items=np.zeros(0, np.int64),
        captions=(),
        pictures=PictureFiles(folder, names),
        source=str(folder.absolute()),
    )
    return Reading(collection, tuple(defects))


def _choose_root(folder: Path, kind: ItemKind) -> Path:
    """Choose what names are relative to: `images/` if it is there and no picture is outside."""
    usual = folder / kind.folder
    if not usual.is_dir():
        return folder
    _, files = expand_pattern(folder)
    is_outside = any(
        file.name.lower().endswith(FILE_SUFFIXES) and not file.is_relative_to(usual)
        for file in files
    )
    return folder if is_outside else usual


def _list_pictures(root: Path, defects: list[Defect]) -> tuple[str, ...]:
    """List pictures and videos below a folder by name; a name that isn't safe is a defect."""
    _, files = expand_pattern(root)
    names = []
    for file in files:
        name = file.relative_to(root).as_posix()
        if not name.lower().endswith(FILE_SUFFIXES):
            continue
        if is_safe_name(name):
            names.append(name)
        else:
            is_broken = any("\ud800" <= letter <= "\udfff" for letter in name)
            fault = "that isn't valid UTF-8" if is_broken else "with control characters"
            problem = f"the picture {quote_text(name)} has a name {fault}; rename it"
            items = (ascii_if_broken(name),)
            defects.append(Defect("unsafe-name", str(root), problem, items))
    n_raw = sum(is_raw_name(file.name) for file in files)
    if n_raw and not can_read_raw():
        logger.warning(
            "%d cameras' raw files in %s are passed over: pip install 'modalhash[raw]' reads them",
            n_raw,
            root,
        )
    return tuple(names)


def _list_videos(root: Path) -> dict[str, tuple[str, ...]]:
    """List each folder of frames below a folder, with the names of its frames."""
    _, files = expand_pattern(root)
    folders = dict.fromkeys(PurePosixPath(file.parent.relative_to(root)) for file in files)
    videos = {}
    for folder in folders:
        frames = frame_names(root / folder) if folder.parts else []
        if frames:
            videos[str(folder)] = tuple(f"{folder}/{frame}" for frame in frames)
    return videos
