"""Samples in tars, as webdataset and img2dataset write them: `key.jpg` beside `key.txt`.

Members with the same name up to the first point are a sample, and that name is its key: a picture
(`.jpg`, `.jpeg`, `.png`, `.webp`) and a text (`.txt`, or `caption` in `.json`), in upper or lower
case. Each line of a `.txt` is a caption, unless the `.json` has the same text as one caption. A
`caption` may be a list. `SampleKeys` names other members and fields. A `.tar.gz` is unpacked to a
temporary file when it is first read.
"""

import gzip
import json
import tarfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Lock
from typing import IO, Any, Final

from modalhash.data.collection import Modality
from modalhash.data.pictures import PICTURE_SUFFIXES
from modalhash.data.read_limits import ReadBudget
from modalhash.errors import CollectionError, Defect
from modalhash.files import file_stamp, open_regular_file

__all__ = [
    "TAR_ERRORS",
    "TAR_SUFFIXES",
    "SampleKeys",
    "TarMember",
    "TarSample",
    "is_tar",
    "read_tar_samples",
]

TAR_SUFFIXES: Final = (".tar", ".tar.gz", ".tgz")
"""How the names of tars end, in lower case."""

TAR_ERRORS: Final = (OSError, tarfile.TarError, EOFError, ValueError)
"""What reading a damaged tar raises."""
ENCODING_PROBLEM: Final = "isn't UTF-8 text; save it as UTF-8"


_UNPACKED: "OrderedDict[tuple[Path, str], Any]" = OrderedDict()
_LOCK: Final = Lock()
_KEPT_TARS: Final = 2
"""Compressed tars that stay unpacked at a time."""
_BLOCK: Final = 1 << 20


def is_tar(path: Path) -> bool:
    """Tell whether a file's name is that of a tar, compressed or not."""
    return path.name.lower().endswith(TAR_SUFFIXES)


@dataclass(frozen=True)
class SampleKeys:
    """Which members and fields of a sample hold its picture and its texts.

    Attributes:
        images: suffixes of pictures, in lower case ("img.png"); empty for the usual ones.
        captions: suffixes of texts ("prompt"), or fields of the `.json`; empty for `.txt` and
            `caption`.
    """

    images: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()

    def is_picture(self, suffix: str) -> bool:
        """Tell whether a member with a suffix is a picture."""
        return suffix in self.images if self.images else f".{suffix}" in PICTURE_SUFFIXES

    def is_text(self, suffix: str) -> bool:
        """Tell whether a member with a suffix is a text."""
        return suffix in (self.captions or ("txt",))

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields of the `.json` that may hold the texts."""
        return self.captions or ("caption",)


def open_tar(path: Path) -> IO[bytes]:
    """Open a tar's content; a compressed one is unpacked to a temporary file first.

    Raises:
        OSError: if it can't be read.
        CollectionError: if it unpacks to far more than it is large.
    """
    if path.suffix.lower() == ".tar":
        return open_regular_file(path)
    key = (path.absolute(), file_stamp(path))
    with _LOCK:
        if key not in _UNPACKED:
            while len(_UNPACKED) >= _KEPT_TARS:
                _UNPACKED.popitem(last=False)[1].close()
            _UNPACKED[key] = unpack_tar(path)
        _UNPACKED.move_to_end(key)
        return Path(_UNPACKED[key].name).open("rb")


def unpack_tar(path: Path) -> Any:
    """Unpack a compressed tar to a temporary file, which goes when it is closed.

    Raises:
        OSError: if it can't be read, or is damaged.
        CollectionError: if it unpacks to far more than it is large.
    """
    budget = ReadBudget(path)
    target = NamedTemporaryFile(prefix="modalhash-", suffix=".tar")  # noqa: SIM115 - stays open
    try:
        with open_regular_file(path) as packed, gzip.GzipFile(fileobj=packed) as file:
            while block := file.read(_BLOCK):
                budget.spend(len(block), path.name)
                target.write(block)
        target.flush()
    except BaseException:
        target.close()
        raise
    return target


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
        """Read the content.

        Raises:
            CollectionError: if the tar can't be read, or ends before it.
        """
        try:
            with open_tar(self.tar) as file:
                file.seek(self.start)
                content = file.read(self.size)
        except (OSError, EOFError) as error:
            problem = f"can't be read: {getattr(error, 'strerror', None) or error}"
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
        keys: which members hold its picture and its texts.
        pictures: its pictures, in the tar's order.
        text: the `.txt`.
        document: the `.json`.
        repeated: names of members that come twice.
    """

    key: str
    keys: SampleKeys = field(default_factory=SampleKeys)
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
        elif self.keys.is_picture(suffix):
            self.pictures.append(member)
        elif self.keys.is_text(suffix):
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
        stated = self.stated_captions(self.read_fields(defects))
        return stated if not captions or stated == (" ".join(captions),) else captions

    def decode(self, member: TarMember, defects: list[Defect]) -> str:
        """Decode a member as UTF-8, with or without a byte order mark."""
        try:
            return member.read().decode("utf-8-sig")
        except UnicodeDecodeError:
            defects.append(Defect("bad-encoding", member.place, ENCODING_PROBLEM, (self.key,)))
            return ""

    def read_fields(self, defects: list[Defect]) -> Mapping[str, Any]:
        """Read the `.json`; empty if there is none, or it is no object."""
        text = "" if self.document is None else self.decode(self.document, defects)
        if self.document is None or not text:
            return {}
        try:
            document: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            problem = f"isn't valid JSON: {error}"
            defects.append(Defect("unreadable-file", self.document.place, problem, (self.key,)))
            return {}
        return document if isinstance(document, dict) else {}

    def stated_captions(self, fields: Mapping[str, Any]) -> tuple[str, ...]:
        """Read the texts in the fields of the `.json`: a text, or a list of texts."""
        stated = next((fields[name] for name in self.keys.fields if name in fields), None)
        captions = stated if isinstance(stated, list) else [stated]
        texts = [" ".join(text.split()) for text in captions if isinstance(text, str)]
        return tuple(text for text in texts if text)


def read_tar_samples(path: Path, keys: SampleKeys | None = None) -> dict[str, TarSample]:
    """Read the list of a tar's members, without their content.

    Args:
        path: the tar.
        keys: which members hold pictures and texts; by default the usual ones.

    Returns:
        Key to sample, in the tar's order.

    Raises:
        OSError, tarfile.TarError, EOFError, ValueError: if it can't be read; see `TAR_ERRORS`.
    """
    samples: dict[str, TarSample] = {}
    for suffix, key, member in read_members(path):
        samples.setdefault(key, TarSample(key, keys or SampleKeys())).add(suffix, member)
    return samples


def read_members(path: Path) -> Iterator[tuple[str, str, TarMember]]:
    """Yield the suffix in lower case, the sample's key, and each regular file of a tar."""
    with open_tar(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
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
