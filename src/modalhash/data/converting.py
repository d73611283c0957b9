"""Write any collection in one of our two forms: a folder of pictures, or a folder of features."""

import io
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from modalhash.data.collection import Collection, Frames, Moments, Value
from modalhash.data.picture_collections import UNFINISHED
from modalhash.data.pictures import WEB_SUFFIXES, is_safe_name
from modalhash.data.splits import write_splits
from modalhash.errors import InputError, StorageError
from modalhash.files import write_array, write_bytes, write_text
from modalhash.progress import Progress, automatic

__all__ = ["Conversion", "convert_collection"]

_BREAKS: Final = re.compile(r"[\t\r\n]+")
_RESERVED: Final = ("caption", "caption_id")
_FRAMES: Final = 12
"""Frames that are written of a video in a file, at most."""


@dataclass(frozen=True)
class Conversion:
    """What was written.

    Attributes:
        folder: where.
        source: how `load_collection` takes it ("photos", "features:arrays").
        n_items: items.
        n_copied: pictures that were copied as they are.
        n_drawn: pictures that were written anew, as PNG files.
    """

    folder: Path
    source: str
    n_items: int
    n_copied: int = 0
    n_drawn: int = 0


def convert_collection(
    collection: Collection, output: Path | str, *, progress: Progress = automatic
) -> Conversion:
    """Write a collection as a folder that any command takes.

    With pictures it becomes the form a user writes by hand: `images/`, `captions.tsv`,
    `labels.tsv`, `splits/`. With features it becomes what `features:` reads: `image.npy`,
    `text.npy`, `caption_items.npy`, `labels.npy`, ids, captions and `splits/`. The file that makes
    it a collection comes last, so half a conversion is none.

    Args:
        collection: which; its splits go along.
        output: the folder, new or empty.
        progress: is told of the stage "write pictures".

    Returns:
        What was written.

    Raises:
        InputError: if `output` holds something, or the collection has pictures but no texts as
            words, which neither form can hold.
        CollectionError: if a picture can't be read.
        StorageError: if the file system refuses.
    """
    folder = Path(output)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} isn't empty: name a new folder to convert into")
    if collection.pictures is None:
        return _write_features(collection, folder)
    if collection.captions is None:
        raise InputError(
            f"{collection.name} has pictures and features of its texts, but no texts as words: "
            "neither a folder of pictures nor one of features holds both"
        )
    return _write_pictures(collection, folder, progress)


def _write_features(collection: Collection, folder: Path) -> Conversion:
    if "image" not in collection.features:
        raise InputError(f"{collection.name} has neither pictures nor features of them")
    write_splits(collection, folder / "splits")
    _write_lines(folder / "item_ids.txt", collection.item_ids)
    _write_lines(folder / "caption_ids.txt", collection.caption_ids)
    if collection.captions is not None:
        _write_lines(folder / "captions.txt", collection.captions)
    if collection.labels is not None:
        write_array(folder / "labels.npy", collection.labels)
        _write_lines(folder / "label_names.txt", collection.label_names)
    write_array(folder / "caption_items.npy", collection.caption_items)
    for side, array in sorted(collection.features.items(), reverse=True):
        write_array(folder / f"{side}.npy", np.asarray(array))
    return Conversion(folder, f"features:{folder}", collection.n_items)


def _write_pictures(collection: Collection, folder: Path, progress: Progress) -> Conversion:
    pictures = collection.pictures
    assert pictures is not None
    write_text(folder / UNFINISHED, "a conversion into this folder hasn't ended\n")
    names: list[str] = []
    used_names: set[str] = set()
    copied = 0
    item_column = "video" if isinstance(pictures, Frames) else "image"
    progress("write pictures", 0, collection.n_items)
    for position, item in enumerate(collection.item_ids):
        if isinstance(pictures, Frames):
            names.append(_picture_name(item, position, "", used_names))
            if isinstance(pictures, Moments):
                _write_frames(pictures, position, folder / "videos" / names[-1])
                progress("write pictures", position + 1, collection.n_items)
                continue
            for frame in pictures.frame_paths(position):
                _copy(frame, folder / "videos" / names[-1] / frame.name)
            copied += 1
            progress("write pictures", position + 1, collection.n_items)
            continue
        path = pictures.path(position)
        is_copied = path is not None and path.suffix.lower() in WEB_SUFFIXES
        name = _picture_name(
            item, position, path.suffix if is_copied and path else ".png", used_names
        )
        target = folder / "images" / name
        if is_copied and path is not None:
            _copy(path, target)
            copied += 1
        else:
            content = io.BytesIO()
            pictures.open(position).save(content, "PNG")
            write_bytes(target, content.getvalue())
        names.append(name)
        if position % 64 == 63 or position + 1 == collection.n_items:
            progress("write pictures", position + 1, collection.n_items)
    write_splits(replace(collection, item_ids=tuple(names)), folder / "splits")
    if collection.labels is not None:
        labels = [
            f"{name} (label)" if name == item_column else name for name in collection.label_names
        ]
        rows = ([name, *map(str, row)] for name, row in zip(names, collection.labels, strict=True))
        _write_table(folder / "labels.tsv", [item_column, *labels], rows)
    columns = [name for name in collection.metadata if name not in (item_column, *_RESERVED)]
    if collection.captions:
        _write_captions(collection, names, item_column, columns, folder)
    (folder / UNFINISHED).unlink()
    drawn = collection.n_items - copied
    return Conversion(folder, str(folder), collection.n_items, copied, drawn)


def _write_frames(videos: Moments, position: int, folder: Path) -> None:
    """Write up to 12 frames of a video in a file, as a folder of frames."""
    for number, frame in enumerate(videos.frames(position, _FRAMES), 1):
        content = io.BytesIO()
        frame.save(content, "JPEG", quality=95)
        write_bytes(folder / f"{number:05d}.jpg", content.getvalue())


def _write_captions(
    collection: Collection, names: list[str], item_column: str, columns: list[str], folder: Path
) -> None:
    assert collection.captions is not None
    captions = (
        [
            names[item],
            text,
            caption_id,
            *(_cell(collection.metadata[column][item]) for column in columns),
        ]
        for text, caption_id, item in zip(
            collection.captions, collection.caption_ids, collection.caption_items, strict=True
        )
    )
    _write_table(folder / "captions.tsv", [item_column, *_RESERVED, *columns], captions)


def _picture_name(item: str, position: int, suffix: str, used_names: set[str]) -> str:
    """Choose a file name for an item: its id if that is one, else one with its number.

    Names that differ by capitals only would be one file on some systems.
    """
    name = item if item.lower().endswith(suffix.lower()) else f"{item}{suffix}"
    if not is_safe_name(name) or ":" in name or name.startswith(".") or name.lower() in used_names:
        name = f"{position:07d}{suffix}"
    used_names.add(name.lower())
    return name


def _copy(source: Path, target: Path) -> None:
    """Copy a file.

    Raises:
        StorageError: if the file system refuses.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"can't copy {source} to {target}: {reason}") from error


def _cell(value: Value) -> str:
    return "" if value is None else str(value)


def _write_table(path: Path, header: list[str], rows: Iterable[list[str]]) -> None:
    clean = ("\t".join(map(_in_one_line, row)) for row in (header, *rows))
    write_text(path, "".join(f"{line}\n" for line in clean))


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    write_text(path, "".join(f"{_in_one_line(line)}\n" for line in lines))


def _in_one_line(text: str) -> str:
    """Replace tabs and line breaks of a text; other blanks, as in names of files, stay."""
    return _BREAKS.sub(" ", text)
