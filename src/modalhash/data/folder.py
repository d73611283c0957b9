"""A collection in a folder that people write by hand.

::

    photos/
      images/...            any nesting; jpg, png or webp
      captions.tsv          or .csv, .jsonl, .parquet: columns image, caption [, caption_id] and any
                            metadata; as many rows an image as it has captions
      labels.tsv            optional, or .csv, .jsonl, .parquet: image, then one column a concept
                            with 0 and 1 (or true and false)
      splits/NAME.txt       optional: one image name a line

Image names are relative to `images/`. The order of the items is that of their first caption.

Without captions.tsv, all pictures in `images/`, or in any folder below if there is none, are a
collection without texts (`picture_collections`).

Videos are files, or folders of frames in the order of their names; the column and the folder are
called after them, and everything else is the same::

    clips/
      videos/NAME.mp4       or .mov, .mkv, .webm, ...
      videos/NAME/00001.jpg ...
      captions.tsv          columns video, caption, ...
      labels.tsv            video, then one 0/1 column a concept
      splits/NAME.txt       one video name a line
"""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.data.collection import Collection, Pictures, Value
from modalhash.data.folder_labels import read_labels
from modalhash.data.folder_tables import (
    PICTURES,
    VIDEOS,
    ItemKind,
    find_table,
    plain_name,
    type_name,
    with_plain_names,
)
from modalhash.data.folder_unread import list_unread
from modalhash.data.frames import FrameFolders, frame_names
from modalhash.data.path_patterns import is_left_out
from modalhash.data.picture_collections import read_pictures
from modalhash.data.pictures import PICTURE_SUFFIXES, PictureFiles, is_safe_name
from modalhash.data.reading import Reading
from modalhash.data.splits import make_splits, read_splits
from modalhash.data.table_contents import Table
from modalhash.data.tables import typed_values
from modalhash.data.text_lines import ascii_if_broken, quote_text
from modalhash.data.videos import VideoPart, VideoParts
from modalhash.errors import Defect
from modalhash.videos import is_video_name

__all__ = ["read_folder"]


@dataclass
class _Captions:
    """The sound rows of the captions file, and every name that any row gives."""

    table: Table
    kind: ItemKind
    rows: dict[str, list[int]] = field(default_factory=dict)
    ids: dict[int, str] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)


def read_folder(argument: str, *, split_seed: int) -> Reading:
    """Read a folder; see `SourceReader` and the module's description.

    Defects: everything but what shows only when a picture is decoded.
    """
    folder = Path(argument)
    defects: list[Defect] = []
    notes: list[str] = []
    holds_videos = (folder / "videos").is_dir() and not (folder / "images").is_dir()
    kind = VIDEOS if holds_videos else PICTURES
    table = _find_captions(folder, kind, defects)
    if table is None and defects[0].kind == "no-caption-file":
        pictures_only = read_pictures(folder, kind, split_seed=split_seed)
        if pictures_only is not None:
            return pictures_only
    if table is None or not table.is_usable:
        return Reading(None, tuple(defects) + tuple(table.defects if table else ()))
    captions = _read_captions(table, kind)
    defects += table.defects
    if (guess := table.format.describe_guess(table.path)) is not None:
        notes.append(guess)
    if not (folder / kind.folder).is_dir():
        problem = "has no folder images/; put the pictures there"
        return Reading(None, (Defect("no-image-folder", str(folder), problem), *defects))
    if kind is VIDEOS:
        files, frames = _list_videos(folder / kind.folder)
        pictures = {name for name in files if frames.get(name)}
        pictures = pictures or set(filter(is_video_name, files))
    else:
        files, frames = _list_files(folder / kind.folder), {}
        pictures = {name for name in files if name.lower().endswith(PICTURE_SUFFIXES)}
    stored = _other_forms(captions.rows, pictures)
    captions.named |= set(stored.values())
    defects += _match_pictures(folder, captions, files, pictures | set(stored))
    if others := sorted(files - pictures - captions.named):
        expected = "jpg, png or webp" if kind is PICTURES else "folders of frames"
        notes.append(
            f"{len(others)} files in {folder / kind.folder} are no {expected} and aren't read: "
            f"{_first_few(others)}"
        )
    positions = {name: position for position, name in enumerate(captions.rows)}
    known = captions.named | pictures
    labels, label_names = read_labels(folder, kind, positions, known, defects)
    metadata = _item_metadata(captions, notes)
    reading = read_splits(folder / "splits", positions, known=known)
    defects += reading.defects
    notes += list_unread(
        folder,
        kind,
        table.columns,
        has_labels=bool(label_names),
        has_splits=bool(reading.splits or reading.defects),
    )
    if not reading.splits:
        reading.splits, reading.note = make_splits(tuple(positions), seed=split_seed)
    elif outside := len(positions.keys() - _members(positions, reading.splits)):
        notes.append(f"{outside} items of {folder} are in no split; only 'all' has them")
    if not positions:
        return Reading(None, tuple(defects), tuple(notes))
    rows = [row for own in captions.rows.values() for row in own]
    texts = table.columns["caption"]
    collection = Collection(
        name=folder.absolute().name,
        item_ids=tuple(positions),
        caption_ids=tuple(captions.ids[row] for row in rows),
        caption_items=np.repeat(
            np.arange(len(positions), dtype=np.int64),
            [len(own) for own in captions.rows.values()],
        ),
        captions=tuple(texts[row] for row in rows),
        pictures=_pictures(
            folder, kind, tuple(stored.get(name, name) for name in positions), frames
        ),
        labels=labels,
        label_names=label_names,
        metadata=metadata,
        splits=reading.splits,
        source=str(folder.absolute()),
        split_note=reading.note,
    )
    return Reading(collection, tuple(defects), tuple(notes))


def _pictures(
    folder: Path, kind: ItemKind, names: tuple[str, ...], frames: Mapping[str, list[str]]
) -> Pictures:
    if kind is PICTURES:
        return PictureFiles(folder / kind.folder, names)
    if any(map(is_video_name, names)) and not any(frames.get(name) for name in names):
        return VideoParts(folder / kind.folder, tuple(map(VideoPart, names)))
    # A video without frames is among the defects; its name stands in for them.
    own = (frames.get(name) or ["00001.jpg"] for name in names)
    named = zip(names, own, strict=True)
    return FrameFolders(
        folder / kind.folder,
        tuple(tuple(f"{name}/{frame}" for frame in all_) for name, all_ in named),
    )


def _other_forms(names: Iterable[str], present: set[str]) -> dict[str, str]:
    """Map names that exist only in another Unicode form to that form.

    Some systems store "é" as one letter, others as "e" and an accent: it is the same name.
    """
    missing = [name for name in names if name not in present and not name.isascii()]
    if not missing:
        return {}
    composed = {unicodedata.normalize("NFC", name): name for name in sorted(present)}
    forms = ((name, composed.get(unicodedata.normalize("NFC", name))) for name in missing)
    return {name: form for name, form in forms if form is not None}


def _members(positions: Mapping[str, int], splits: Mapping[str, NDArray[np.int64]]) -> set[str]:
    names = list(positions)
    return {names[item] for items in splits.values() for item in items}


def _first_few(names: Sequence[str]) -> str:
    return ", ".join(map(quote_text, names[:3])) + (", ..." if len(names) > 3 else "")


def _find_captions(folder: Path, kind: ItemKind, defects: list[Defect]) -> Table | None:
    table, problem = find_table(folder, "captions", (kind.column, "caption"))
    if problem:
        defects.append(Defect("two-caption-files", str(folder), problem))
    elif table is None:
        problem = (
            "has no captions file: write captions.tsv (or .csv, .jsonl, .parquet) with the "
            f"columns {kind.column} and caption"
        )
        defects.append(Defect("no-caption-file", str(folder), problem))
    return table


def _read_captions(table: Table, kind: ItemKind) -> _Captions:
    """Sort the rows by item; rows with a defect go to the table's defects."""
    captions = _Captions(table, kind)
    captions.named.update(plain_name(item) for defect in table.defects for item in defect.items)
    table.defects[:] = [with_plain_names(defect) for defect in table.defects]
    given_ids = table.columns.get("caption_id")
    line_of_id: dict[str, int] = {}
    names, texts = table.columns[kind.column], table.columns["caption"]
    for row, (raw_name, text) in enumerate(zip(names, texts, strict=True)):
        name = _item_name(table, kind, row, raw_name)
        if name is None:
            continue
        captions.named.add(name)
        if not _is_sound_text(table, row, name, text):
            continue
        own = captions.rows.get(name, [])
        caption_id = f"{name}#{len(own)}"
        if given_ids is not None:
            caption_id = "" if given_ids[row] is None else str(given_ids[row])
        if not caption_id.strip():
            problem = "has no caption_id; write one, or delete the column"
            table.add_defect("empty-id", table.lines[row], problem, name)
        elif caption_id in line_of_id:
            problem = (
                f"the caption_id {quote_text(caption_id)} is already in line "
                f"{line_of_id[caption_id]}; give each caption its own"
            )
            table.add_defect("duplicate-id", table.lines[row], problem, name)
        else:
            line_of_id[caption_id] = table.lines[row]
            captions.ids[row] = caption_id
            captions.rows.setdefault(name, own).append(row)
    return captions


def _item_name(table: Table, kind: ItemKind, row: int, name: Any) -> str | None:
    """Find the name of a row's item; note a defect and return None if there is none."""
    line = table.lines[row]
    if not isinstance(name, str):
        problem = f"the {kind.column} must be a {kind.file} name, not {type_name(name)}"
        table.add_defect("wrong-column", line, problem)
    elif not name.strip():
        problem = f"names no {kind.column}; write its {kind.file} name, or delete the row"
        table.add_defect("empty-id", line, problem)
    elif not is_safe_name(name):
        problem = (
            f"the {kind.column} {quote_text(name)} isn't a name inside {kind.folder}/; "
            "write it relative to that folder, without '..'"
        )
        table.add_defect("unsafe-name", line, problem, ascii_if_broken(name))
    else:
        return plain_name(name)
    return None


def _is_sound_text(table: Table, row: int, name: str, text: Any) -> bool:
    line = table.lines[row]
    if text is None or (isinstance(text, str) and not text.strip()):
        table.add_defect(
            "empty-text", line, f"the caption of {quote_text(name)} is empty; write one", name
        )
    elif not isinstance(text, str):
        problem = f"the caption of {quote_text(name)} must be text, not {type_name(text)}"
        table.add_defect("wrong-column", line, f"{problem}; write each in a row of its own", name)
    elif ascii_if_broken(text) != text or "\0" in text:
        table.add_defect("bad-encoding", line, "the caption holds broken characters", name)
    else:
        return True
    return False


def _list_files(folder: Path) -> set[str]:
    """List the files below a folder, without hidden ones, thumbnails and trash."""
    names: set[str] = set()
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not is_left_out(PurePosixPath(name))]
        relative = Path(root).relative_to(folder)
        names.update(
            (relative / name).as_posix() for name in files if not is_left_out(PurePosixPath(name))
        )
    return names


def _list_videos(folder: Path) -> tuple[set[str], dict[str, list[str]]]:
    """List the entries of a folder of videos, without hidden ones, and the frames of each folder.

    A folder may hold videos or further folders, not both; its videos are named by their path.
    """
    names = {name for name in _list_files(folder) if "/" not in name or is_video_name(name)}
    frames: dict[str, list[str]] = {}
    for root, folders, _ in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        name = Path(root).relative_to(folder).as_posix()
        if name != "." and (not folders or frame_names(Path(root))):
            frames[name] = frame_names(Path(root))
            folders.clear()
    return names | set(frames), frames


def _match_pictures(
    folder: Path, captions: _Captions, files: set[str], pictures: set[str]
) -> list[Defect]:
    """Compare the pictures or videos that captions name with those that are there."""
    defects = []
    kind = captions.kind
    images = folder / kind.folder
    missing = [name for name in captions.rows if name not in pictures]
    similar = _similar_names(pictures) if missing else {}
    for name in missing:
        row = captions.rows[name][0]
        path = images / name
        if name not in files and name.lower().endswith(PICTURE_SUFFIXES) and path.is_file():
            continue  # a link, or hidden: not found by walking, but there
        if name in files:
            defect, problem = f"unsupported-{kind.noun}", kind.requirement
        else:
            slashed = name.replace("\\", "/")
            others = similar.get(_folded(slashed), []) or similar.get(
                _folded(Path(slashed).name), []
            )
            hint = (
                f"there is {quote_text(others[0])}: write that"
                if others
                else "add it to the folder"
            )
            defect, problem = (
                f"missing-{kind.noun}",
                f"isn't in {images}; {hint}, or delete the row",
            )
        problem = f"{kind.noun} {quote_text(name)} {problem}"
        defects.append(Defect(defect, captions.table.where(row), problem, (name,)))
    for name in sorted(pictures - captions.named):
        problem = f"has no caption in {captions.table.path.name}; write one, or move it away"
        where, item = ascii_if_broken(str(images / name)), ascii_if_broken(name)
        defects.append(Defect(f"{kind.noun}-without-caption", where, problem, (item,)))
    return defects


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _similar_names(names: set[str]) -> dict[str, list[str]]:
    """Index names by how they read, and by how their last part reads."""
    similar: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        for key in {_folded(name), _folded(Path(name).name)}:
            similar[key].append(name)
    return similar


def _item_metadata(captions: _Captions, notes: list[str]) -> dict[str, tuple[Value, ...]]:
    """Collect the columns with one value a picture; note those that have several."""
    metadata = {}
    path = captions.table.path
    for column, cells in captions.table.columns.items():
        if column in (captions.kind.column, "caption", "caption_id"):
            continue
        if not all(cell is None or isinstance(cell, str | int | float) for cell in cells):
            notes.append(
                f"column {column!r} of {path} is left out: it holds lists, objects or bytes, and "
                "metadata is a text, a number or true/false"
            )
            continue
        differing = _first_differing(cells, captions.rows)
        if differing:
            notes.append(
                f"column {column!r} of {path} is left out: it differs between the captions of "
                f"{quote_text(differing)}, and metadata belongs to pictures"
            )
            continue
        metadata[column] = typed_values(cells[own[0]] for own in captions.rows.values())
    return metadata


def _first_differing(cells: Sequence[Any], rows: Mapping[str, Sequence[int]]) -> str | None:
    for name, own in rows.items():
        if any(cells[row] != cells[own[0]] for row in own[1:]):
            return name
    return None
