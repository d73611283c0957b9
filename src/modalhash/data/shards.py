"""Shards: files of many rows each, Parquet or tar, that are read row by row and never as a whole.

`modalhash encode --shards` reads them. A row has an id and a picture, a text or texts, or features
of either. What is wrong with a row is told beside the others; a shard that can't be read to its
end raises.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path, PurePosixPath
from typing import Any, Final

from numpy.typing import NDArray

from modalhash.data.collection import Modality
from modalhash.errors import CollectionError, Defect, InputError, StorageError
from modalhash.files import sha256_of_file

__all__ = [
    "SHARD_SUFFIXES",
    "BadRow",
    "Shard",
    "ShardContent",
    "ShardReader",
    "ShardRow",
    "WantedSides",
    "find_shards",
]

SHARD_SUFFIXES: Final = (".parquet", ".tar")
"""How the names of shards end."""
WantedSides = Mapping[Modality, int | None]
"""Modality to the width of its feature arrays, or None where pictures and texts are read."""


@dataclass(frozen=True)
class ShardContent:
    """What tells a shard from a changed one.

    Attributes:
        name: of the shard.
        n_bytes: size of its file.
        mtime_ns: time of the file's last change, nanoseconds since 1970.
        ctime_ns: the same of its status, which programs that copy files can't set.
        sha256: of its bytes.
    """

    name: str
    n_bytes: int
    mtime_ns: int
    ctime_ns: int
    sha256: str


@dataclass(frozen=True)
class Shard:
    """A file of rows.

    Attributes:
        path: the file.
        name: its name below the folder that was named, with `/` on every system.
    """

    path: Path
    name: str

    def stamp(self) -> tuple[int, int, int]:
        """Return the file's size, and the times of the last change of its content and status.

        Raises:
            CollectionError: if it is gone.
        """
        try:
            status = self.path.stat()
        except OSError as error:
            problem = f"can't be read: {error.strerror or error}"
            raise CollectionError([Defect("unreadable-file", self.name, problem)]) from error
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns

    def content(self) -> ShardContent:
        """Return what tells this shard from a changed one; reads all of it.

        Raises:
            CollectionError: if it can't be read.
        """
        stamp = self.stamp()
        try:
            return ShardContent(self.name, *stamp, sha256_of_file(self.path))
        except StorageError as error:
            raise CollectionError([Defect("unreadable-file", self.name, str(error))]) from error


@dataclass(frozen=True)
class ShardRow:
    """One row.

    Attributes:
        number: of the row in its shard, from 0.
        place: where it is, for people: the shard and the row or sample.
        id: the user's.
        images: its picture, as a file's bytes or a path, or its features (d,); empty if the shard
            has no pictures.
        texts: its texts, or its features (d,); empty if the shard has no texts.
    """

    number: int
    place: str
    id: str | int
    images: tuple[bytes | Path | NDArray[Any], ...]
    texts: tuple[str | NDArray[Any], ...]


@dataclass(frozen=True)
class BadRow:
    """A row that can't be used.

    Attributes:
        number: of the row in its shard, from 0.
        defect: what is wrong with it.
    """

    number: int
    defect: Defect


class ShardReader(ABC):
    """A shard that was opened.

    Attributes:
        sides: the modalities that every row has.
    """

    sides: tuple[Modality, ...]

    @abstractmethod
    def rows(self) -> Iterator[ShardRow | BadRow]:
        """Yield every row in order, or what is wrong with it; pictures aren't decoded yet.

        Raises:
            CollectionError: if the file can't be read any further.
        """


def find_shards(source: str | Path) -> list[Shard]:
    """Return the shards that a folder, a file or a pattern names, by name.

    Args:
        source: a folder, which is searched with all folders below it; a file; or a pattern such as
            `data/2026-*/*.tar` (`**` for folders of any depth). Hidden names and names that begin
            with `_`, which writers of tables use for unfinished work, are passed over.

    Raises:
        InputError: if there are none.
    """
    root, paths = named_files(str(source))
    shards = []
    for path in paths:
        name = path.relative_to(root).as_posix()
        is_hidden = any(part.startswith((".", "_")) for part in PurePosixPath(name).parts)
        if path.suffix.lower() in SHARD_SUFFIXES and not is_hidden and path.is_file():
            shards.append(Shard(path, name))
    if not shards:
        raise InputError(
            f"{source} names no shards: give a folder, a file or a pattern of files whose names "
            f"end in {' or '.join(SHARD_SUFFIXES)}"
        )
    return sorted(shards, key=lambda shard: shard.name)


def named_files(source: str) -> tuple[Path, list[Path]]:
    """Return the folder that names are relative to, and the files that a source names."""
    path = Path(source)
    if path.is_dir():
        return path, list(path.rglob("*"))
    if path.exists() or not has_magic(source):
        return path.parent, [path] if path.exists() else []
    n_fixed = next(place for place, part in enumerate(path.parts) if has_magic(part))
    root = Path(*path.parts[:n_fixed])
    return root, list(root.glob("/".join(path.parts[n_fixed:])))


def id_problem(value: Any) -> str | None:
    """Say what is wrong with an id; None if nothing is."""
    if isinstance(value, str):
        return None if value.strip() else "the id is empty; give every row its own"
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return None
    shown = "nothing" if value is None else f"{value!r} ({type(value).__name__})"
    return f"the id must be a text or a 64-bit integer, not {shown}"


def unreadable(shard: Shard, what: str, error: Exception, place: str = "") -> CollectionError:
    """Return the error of a shard that can't be read as what it should be."""
    reason = " ".join(str(error).split()) or type(error).__name__
    problem = f"can't be read as {what}: {reason}; copy it again"
    return CollectionError([Defect("unreadable-file", f"{shard.name}{place}", problem)])
