"""Tars of pictures and texts, as img2dataset and webdataset write them: `webdataset:PATH`.

PATH is a tar or a folder of tars (`00000.tar`, ...). Members with the same name up to the first
point are a sample: a picture (`.jpg`, `.jpeg`, `.png`, `.webp`) with a text (`.txt`, or `caption`
in `.json`). Tars are read in place; samples without picture or text are left out and counted.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from modalhash.data.collection import Collection
from modalhash.data.pair_lists import missing_file
from modalhash.data.pictures import PICTURE_SUFFIXES, read_picture
from modalhash.data.reading import Reading
from modalhash.data.splits import make_splits
from modalhash.errors import CollectionError, Defect

__all__ = ["Member", "caption_of", "read_webdataset"]


@dataclass(frozen=True)
class Member:
    """A file inside a tar.

    Attributes:
        tar: the tar.
        name: its name there.
        start: byte at which its content starts.
        size: bytes of its content.
    """

    tar: Path
    name: str
    start: int
    size: int

    def read(self) -> bytes:
        """Return the content.

        Raises:
            CollectionError: if the tar can't be read.
        """
        try:
            with self.tar.open("rb") as file:
                file.seek(self.start)
                return file.read(self.size)
        except OSError as error:
            problem = f"can't be read: {error.strerror or error}"
            raise CollectionError([Defect("unreadable-file", str(self.tar), problem)]) from error


@dataclass(frozen=True)
class TarPictures:
    """Pictures inside tars.

    Attributes:
        members: in item order.
    """

    members: Sequence[Member]

    def open(self, position: int) -> Image.Image:
        """Return the picture; see `Pictures.open`."""
        member = self.members[position]
        return read_picture(member.tar / member.name, content=io.BytesIO(member.read()))

    def stamp(self, position: int) -> str:
        """Return the tar's modification time and the member's place; see `Pictures.stamp`."""
        member = self.members[position]
        return f"{member.tar.stat().st_mtime_ns}:{member.start}:{member.size}"

    def digest(self, position: int) -> str:
        """Return the SHA-256 of the member; see `Pictures.digest`."""
        return hashlib.sha256(self.members[position].read()).hexdigest()

    def path(self, position: int) -> None:
        """Return None: the picture has no file of its own."""


@dataclass
class Sample:
    """What is known of a sample so far."""

    picture: Member | None = None
    text: str = ""
    where: str = ""


@dataclass
class Samples:
    """All samples, and what was wrong."""

    of: dict[str, Sample] = field(default_factory=dict)
    defects: list[Defect] = field(default_factory=list)


def read_webdataset(argument: str, *, split_seed: int) -> Reading:
    """Read tars; see `SourceReader` and the module's description."""
    path = Path(argument)
    tars = sorted(path.glob("*.tar")) if path.is_dir() else [path]
    if not tars or not tars[0].exists():
        return missing_file(path, "a tar, or a folder of tars")
    samples = Samples()
    for tar in tars:
        try:
            _read_tar(tar, samples)
        except (OSError, tarfile.TarError) as error:
            problem = f"can't be read as a tar: {error}"
            samples.defects.append(Defect("unreadable-file", str(tar), problem))
    kept = {key: one for key, one in samples.of.items() if one.picture and one.text.strip()}
    notes = []
    if left_out := len(samples.of) - len(kept):
        notes.append(f"{path}: {left_out} samples without picture or text are left out")
    if not kept:
        samples.defects.append(Defect("no-items", str(path), "has no picture with a text"))
        return Reading(None, tuple(samples.defects), tuple(notes))
    ids = tuple(kept)
    splits, note = make_splits(ids, seed=split_seed)
    collection = Collection(
        name=path.absolute().stem,
        item_ids=ids,
        caption_ids=tuple(f"{key}#0" for key in ids),
        caption_items=np.arange(len(ids), dtype=np.int64),
        captions=tuple(" ".join(one.text.split()) for one in kept.values()),
        pictures=TarPictures([one.picture for one in kept.values() if one.picture]),
        splits=splits,
        source=f"webdataset:{path.absolute()}",
        split_note=note,
    )
    return Reading(collection, tuple(samples.defects), tuple(notes))


def _read_tar(path: Path, samples: Samples) -> None:
    first_of: set[str] = set()
    with tarfile.open(path, "r:") as tar:
        for entry in tar:
            folder, _, name = entry.name.removeprefix("./").rpartition("/")
            stem, _, suffix = name.partition(".")
            if not entry.isfile() or not stem:
                continue
            key = f"{folder}/{stem}" if folder else stem
            if key in samples.of and key not in first_of:
                key_in = samples.of[key].where
                problem = f"sample {key!r} is also in {key_in}; give every sample its own name"
                samples.defects.append(Defect("duplicate-id", str(path), problem, (key,)))
                continue
            first_of.add(key)
            sample = samples.of.setdefault(key, Sample(where=str(path)))
            member = Member(path, entry.name, entry.offset_data, entry.size)
            if f".{suffix.lower()}" in PICTURE_SUFFIXES:
                sample.picture = member
            elif suffix == "txt":
                sample.text = member.read().decode("utf-8", "replace")
            elif suffix == "json" and not sample.text:
                sample.text = caption_of(member, samples.defects)


def caption_of(member: Member, defects: list[Defect]) -> str:
    """Return the caption in a member that is a JSON object; "" without one."""
    try:
        document: Any = json.loads(member.read())
    except ValueError as error:
        problem = f"isn't valid JSON: {error}"
        defects.append(Defect("unreadable-file", f"{member.tar}:{member.name}", problem))
        return ""
    caption = document.get("caption") if isinstance(document, dict) else None
    return caption if isinstance(caption, str) else ""
