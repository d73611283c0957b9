"""Shards: files of many rows each, Parquet or tar, that are read row by row and never as a whole.

`modalhash encode --shards` reads them. A row has an id and a picture, a text or texts, or features
of either. What is wrong with a row is told beside the others; a shard that can't be read to its
end raises.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from numpy.typing import NDArray

from modalhash.data.arrow_tables import open_arrow
from modalhash.data.collection import Modality
from modalhash.data.path_patterns import expand_pattern
from modalhash.data.table_columns import GivenColumns, divide_source
from modalhash.data.tars import TAR_SUFFIXES
from modalhash.errors import CollectionError, Defect, InputError, StorageError
from modalhash.files import sha256_of_file

__all__ = [
    "SHARD_SUFFIXES",
    "BadRow",
    "Shard",
    "ShardContent",
    "ShardReader",
    "ShardRow",
    "SideWidths",
    "find_shards",
]

logger = logging.getLogger(__name__)

SHARD_SUFFIXES: Final = (".parquet", *TAR_SUFFIXES)
"""How the names of shards end, in lower case."""
SideWidths = Mapping[Modality, int | None]
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
        """Read the file's size, and the times of the last change of its content and status.

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
        """Compute a text that tells this shard from a changed one; reads all of it.

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
    """Find the shards that a folder, a file or a pattern names, by name.

    A Parquet file that only describes the tar or the folder of the same name, as img2dataset writes
    it beside them, is passed over.

    Args:
        source: a folder, which is searched with all folders below it; a file; or a pattern such as
            `data/2026-*/*.tar` (`**` for folders of any depth) or `{00000..00012}.tar`. Hidden
            names and names that begin with `_`, which writers of tables use for unfinished work,
            are passed over.

    Raises:
        InputError: if there are none, or columns are named.
    """
    if divide_source(str(source))[1] != GivenColumns():
        raise InputError(
            "--columns names columns of a collection, and shards are read by their own names: "
            "leave out --shards, or rename the columns as the page on scale says"
        )
    root, paths = expand_pattern(source)
    shards: list[Shard] = []
    descriptions: list[Shard] = []
    for path in paths:
        name = path.relative_to(root).as_posix()
        is_hidden = any(part.startswith((".", "_")) for part in PurePosixPath(name).parts)
        if not path.name.lower().endswith(SHARD_SUFFIXES) or is_hidden or not path.is_file():
            continue
        (descriptions if describes_another(path) else shards).append(Shard(path, name))
    if descriptions:
        logger.info(
            "%d Parquet files only describe tars or folders of the same names: passed over",
            len(descriptions),
        )
    if not shards:
        raise InputError(
            f"{source} names no shards: give a folder, a file or a pattern of files whose names "
            f"end in {' or '.join(SHARD_SUFFIXES)}{no_shards_hint(descriptions)}"
        )
    return sorted(shards, key=lambda shard: shard.name)


def describes_another(path: Path) -> bool:
    """Tell whether a Parquet file only describes the tar or the folder beside it.

    Its name is theirs, and it has img2dataset's columns but none of pictures.
    """
    if path.suffix.lower() != ".parquet":
        return False
    if not any(path.with_suffix(suffix).exists() for suffix in (*TAR_SUFFIXES, "")):
        return False
    try:
        file = open_arrow(path, "parquet")
    except (OSError, ValueError):
        return False  # it is no Parquet file, which reading it will tell
    has_pictures = any(file.holds_pictures(column) for column in file.names)
    return not has_pictures and "key" in file.names and "status" in file.names


def no_shards_hint(descriptions: Sequence[Shard]) -> str:
    """Say what to do about Parquet files that describe folders of pictures."""
    if not descriptions:
        return ""
    folder = descriptions[0].path.parent
    return (
        f"; {descriptions[0].name} describes the pictures beside it, which are a collection: "
        f"text-files:{folder}, without --shards"
    )


def id_problem(value: Any) -> str | None:
    """Say what is wrong with an id; None if nothing is."""
    if isinstance(value, str):
        return None if value.strip() else "the id is empty; give every row its own"
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return None
    description = "nothing" if value is None else f"{value!r} ({type(value).__name__})"
    return f"the id must be a text or a 64-bit integer, not {description}"


def unreadable(shard: Shard, noun: str, error: Exception, place: str = "") -> CollectionError:
    """Describe, as an error, a shard that can't be read."""
    reason = " ".join(str(error).split()) or type(error).__name__
    problem = f"can't be read as {noun}: {reason}; copy it again"
    return CollectionError([Defect("unreadable-file", f"{shard.name}{place}", problem)])
