"""Samples in tars, as webdataset and img2dataset write them: `key.jpg` beside `key.txt`.

Members with the same name up to the first point are a sample, and that name is its key: a picture
(`.jpg`, `.jpeg`, `.png`, `.webp`) and a text (`.txt`, or `caption` in `.json`), in upper or lower
case. Each line of a `.txt` is a caption, unless the `.json` has the same text as one caption. A
`caption` may be a list.
"""

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from modalhash.data.collection import Modality
from modalhash.data.pictures import PICTURE_SUFFIXES
from modalhash.errors import CollectionError, Defect
from modalhash.files import open_regular_file

__all__ = ["TAR_ERRORS", "TarMember", "TarSample", "read_tar_samples"]

TAR_ERRORS: Final = (OSError, tarfile.TarError, EOFError, ValueError)
"""What reading a damaged tar raises."""
ENCODING_PROBLEM: Final = "isn't UTF-8 text; save it as UTF-8"


@dataclass(frozen=True)
class TarMember:
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

    @property
    def place(self) -> str:
        """Return where it is, as defects say it."""
        return f"{self.tar}:{self.name}"

    def read(self) -> bytes:
        """Return the content.

        Raises:
            CollectionError: if the tar can't be read, or ends before it.
        """
        try:
            with open_regular_file(self.tar) as file:
                file.seek(self.start)
                content = file.read(self.size)
        except OSError as error:
            problem = f"can't be read: {error.strerror or error}"
            raise CollectionError([Defect("unreadable-file", str(self.tar), problem)]) from error
        if len(content) < self.size:
            problem = "is cut off: the tar ends before it; copy the tar again"
            raise CollectionError([Defect("unreadable-file", self.place, problem)])
        return content


@dataclass
class TarSample:
    """The members of a sample.

    Attributes:
        key: its name.
        pictures: its pictures, in the tar's order.
        text: the `.txt`.
        document: the `.json`.
        repeated: names of members that come twice.
    """

    key: str
    pictures: list[TarMember] = field(default_factory=list)
    text: TarMember | None = None
    document: TarMember | None = None
    repeated: list[str] = field(default_factory=list)

    def has(self, side: Modality) -> bool:
        """Tell whether a member of a modality is there."""
        return bool(self.pictures if side == "image" else self.text or self.document)

    def add(self, suffix: str, member: TarMember) -> None:
        """Take note of a member; a second one of its kind is repeated."""
        known = [own for own in (*self.pictures, self.text, self.document) if own is not None]
        if any(own.name.lower() == member.name.lower() for own in known):
            self.repeated.append(member.name)
        elif f".{suffix}" in PICTURE_SUFFIXES:
            self.pictures.append(member)
        elif suffix == "txt":
            self.text = member
        elif suffix == "json":
            self.document = member

    def read_captions(self, defects: list[Defect]) -> tuple[str, ...]:
        """Read the texts of the sample, each in one line; what is wrong goes to `defects`.

        Raises:
            CollectionError: if the tar can't be read.
        """
        whole = "" if self.text is None else self.decode(self.text, defects)
        lines = [" ".join(line.split()) for line in whole.splitlines()]
        captions = tuple(line for line in lines if line)
        if len(captions) == 1 or self.document is None or defects:
            return captions
        stated = self.read_document(self.document, defects)
        return stated if not captions or stated == (" ".join(captions),) else captions

    def decode(self, member: TarMember, defects: list[Defect]) -> str:
        """Decode a member as UTF-8, with or without a byte order mark."""
        try:
            return member.read().decode("utf-8-sig")
        except UnicodeDecodeError:
            defects.append(Defect("bad-encoding", member.place, ENCODING_PROBLEM, (self.key,)))
            return ""

    def read_document(self, member: TarMember, defects: list[Defect]) -> tuple[str, ...]:
        """Read `caption` of a member that is a JSON object: a text, or a list of texts."""
        text = self.decode(member, defects)
        if not text:
            return ()
        try:
            document: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            problem = f"isn't valid JSON: {error}"
            defects.append(Defect("unreadable-file", member.place, problem, (self.key,)))
            return ()
        caption = document.get("caption") if isinstance(document, dict) else None
        given = caption if isinstance(caption, list) else [caption]
        texts = [" ".join(text.split()) for text in given if isinstance(text, str)]
        return tuple(text for text in texts if text)


def read_tar_samples(path: Path) -> dict[str, TarSample]:
    """Read the list of a tar's members, without their content.

    Returns:
        Key to sample, in the tar's order.

    Raises:
        OSError, tarfile.TarError, EOFError, ValueError: if it can't be read; see `TAR_ERRORS`.
    """
    samples: dict[str, TarSample] = {}
    for suffix, key, member in read_members(path):
        samples.setdefault(key, TarSample(key)).add(suffix, member)
    return samples


def read_members(path: Path) -> Iterator[tuple[str, str, TarMember]]:
    """Yield the suffix in lower case, the sample's key, and each regular file of a tar."""
    with open_regular_file(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
        for entry in tar:
            folder, _, name = entry.name.removeprefix("./").rpartition("/")
            stem, _, suffix = name.partition(".")
            if entry.isfile() and not entry.issparse() and stem:
                key = f"{folder}/{stem}" if folder else stem
                yield (
                    suffix.lower(),
                    key,
                    TarMember(path, entry.name, entry.offset_data, entry.size),
                )
