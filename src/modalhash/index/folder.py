"""An index folder: segments that never change, a write log, and a manifest that is replaced last.

::

    manifest.json            what the folder holds: segments, log, files and checksums
    000003/                  a segment: rows that were written once
        codes.npy            (n, p) uint8
        ids.npy              integer ids; or id_ends.npy and id_text.npy, the run of all texts
        id_keys.npy          what ids are looked up by, ascending; id_order.npy their rows
        items.sqlite         metadata by row
        ...                  what the segment's searcher wrote
    dead.000005.npy          bits of the deleted rows of all segments, one segment after the other
    log.000005               changes since the manifest was written
    writer.lock              who may change the folder

Changes are appended to the log. A checkpoint writes recent rows as a new segment and a new, empty
log, then replaces the manifest in one step, then removes what it doesn't name. So a kill leaves the
old state or the new, never a mix; what it may leave lying is removed by the next checkpoint.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes
from modalhash.errors import (
    ArtifactError,
    DamagedArtifactError,
    InputError,
    ModalhashError,
    StorageError,
)
from modalhash.files import (
    check_regular_file,
    map_array,
    own_path,
    peek_json,
    read_json,
    sealed,
    sha256_of_file,
    sync_folder,
    write_json,
    write_with,
)

__all__ = [
    "REPAIR_ADVICE",
    "FileRecord",
    "Manifest",
    "SegmentRecord",
    "check_file",
    "file_record",
    "flush_file",
    "names_in",
    "newest_generation",
    "read_array",
    "read_manifest",
    "refuse_foreign",
    "remove_unlisted",
    "write_codes",
    "write_manifest",
]

REPAIR_ADVICE = "keep what is whole with `modalhash repair`, or make the index again"
"""What to do about a damaged file of a segment, or a damaged log."""

FORMAT = 2
MANIFEST = "manifest.json"
ARTIFACT = "modalhash index"
BIT_ORDER = "little"
VERIFIED_BYTES = 64 << 20
"""Files up to this size are compared with their checksums when opened."""
OURS = re.compile(
    r"(?P<segment>\d{6,})|dead\.(?P<dead>\d{6,})\.npy|log\.(?P<log>\d{6,})"
    r"|[a-z_]+\.(?P<old>\d{6,})\.(?:npy|sqlite)"  # of format 1
)
SEGMENT_NAME = re.compile(r"[0-9]{6,20}")
LOG_NAME = re.compile(r"log\.[0-9]{6,20}")
UID, SHA256 = re.compile(r"[0-9a-f]{32}"), re.compile(r"[0-9a-f]{64}")
ID_KINDS = {"text", "integer"}
MOST_ITEMS, MOST_BITS = 2**53, 2**20
UNFINISHED = re.compile(r"\.(?:dead\.\d{6,}\.npy|log\.\d{6,}|manifest\.json)\..+\.part")


@dataclass(frozen=True)
class FileRecord:
    """What the manifest says of one file.

    Attributes:
        name: within its folder.
        n_bytes: its size.
        sha256: of its content.
    """

    name: str
    n_bytes: int
    sha256: str


@dataclass(frozen=True)
class SegmentRecord:
    """What the manifest says of one segment.

    Attributes:
        name: of its folder.
        n_rows: how many rows it has, deleted ones too.
        n_dead: how many of them are deleted.
        searcher: kind of its searcher.
        parameters: of the searcher.
        files: what its folder holds.
    """

    name: str
    n_rows: int
    n_dead: int
    searcher: str
    parameters: Mapping[str, Any]
    files: Sequence[FileRecord]


@dataclass(frozen=True)
class Manifest:
    """What an index folder holds.

    Attributes:
        uid: 32 hexadecimal digits, drawn when the index was made.
        generation: grows with each checkpoint.
        version: number of changes before those in the log.
        kind: name in the table of kinds.
        parameters: what was asked of the kind.
        n_bits: bits of a code.
        n_items: number of items before those in the log.
        id_kind: "text", "integer", or None while there were no items yet.
        model_fingerprint: of the model that made the codes, or "".
        segments: in the order of insertion.
        dead: bits of deleted rows; None if there are none.
        log: name of the write log.
    """

    uid: str
    generation: int
    version: int
    kind: str
    parameters: Mapping[str, Any]
    n_bits: int
    n_items: int
    id_kind: str | None
    model_fingerprint: str
    segments: Sequence[SegmentRecord]
    dead: FileRecord | None
    log: str

    def document(self) -> dict[str, Any]:
        """Write the manifest as JSON, with a checksum over the rest of itself."""
        return sealed(
            {
                "format": FORMAT,
                "artifact": ARTIFACT,
                "modalhash": library_version(),
                "bit_order": BIT_ORDER,
                **asdict(self),
            }
        )


def read_manifest(folder: Path) -> Manifest:
    """Read and check the manifest of an index folder.

    Raises:
        DamagedArtifactError: if there is none, or it isn't what was written.
        NewerFormatError: if a newer modalhash wrote it.
        StorageError: if it can't be read.
    """
    path = folder / MANIFEST
    document = read_json(path, kind="index", newest_format=FORMAT)
    if document.get("artifact") != ARTIFACT:
        raise DamagedArtifactError(
            f"{folder} is no index folder: its {MANIFEST} is of another sort"
        )
    if document["format"] != FORMAT:
        raise ArtifactError(
            f"{path} has format {document['format']} (written by modalhash "
            f"{document.get('modalhash')}), which this version no longer reads: make the index "
            "again, from the collection or from the codes and ids that lie in the folder"
        )
    if sealed(document) != document:
        raise DamagedArtifactError(f"{path} is damaged: it was changed; make the index again")
    try:
        return manifest_of(document)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedArtifactError(
            f"{path} is damaged: {error} is missing or of another sort; make the index again"
        ) from error


def manifest_of(document: Mapping[str, Any]) -> Manifest:
    """Make a manifest from its JSON.

    Raises:
        KeyError, TypeError, ValueError: if something is missing, unknown, of another type or out of
            range.
    """
    names = set(Manifest.__dataclass_fields__) - {"segments", "dead"}
    segments = [
        SegmentRecord(**record | {"files": [FileRecord(**file) for file in record["files"]]})
        for record in document["segments"]
    ]
    dead = None if document["dead"] is None else FileRecord(**document["dead"])
    manifest = Manifest(**{name: document[name] for name in names}, segments=segments, dead=dead)
    check_manifest(manifest)
    return manifest


def check_manifest(manifest: Manifest) -> None:
    """Refuse values that no writer writes; names are checked where paths are made of them.

    Raises:
        ValueError: naming what is wrong.
    """
    counts = [("generation", manifest.generation), ("version", manifest.version)]
    counts += [("n_items", manifest.n_items), ("n_bits", manifest.n_bits - 1)]
    for segment in manifest.segments:
        counts += [("n_rows", segment.n_rows), ("n_dead", segment.n_dead)]
        check_files(segment.files)
        check_plain(segment.name, SEGMENT_NAME, "the name of a segment")
        check_type(segment.searcher, str, "a searcher")
        check_type(segment.parameters, dict, "the parameters of a searcher")
    for name, count in counts:
        if type(count) is not int or not 0 <= count < MOST_ITEMS:
            raise ValueError(name)
    if manifest.n_bits > MOST_BITS or manifest.id_kind not in {None, *ID_KINDS}:
        raise ValueError("n_bits or id_kind")
    if manifest.segments and manifest.id_kind is None:
        raise ValueError("id_kind")
    check_plain(manifest.log, LOG_NAME, "the name of the log")
    check_plain(manifest.uid, UID, "uid")
    check_files([] if manifest.dead is None else [manifest.dead])
    for name, kind in (("kind", str), ("parameters", dict), ("model_fingerprint", str)):
        check_type(getattr(manifest, name), kind, name)


def check_files(records: Sequence[FileRecord]) -> None:
    """Refuse descriptions of files that no writer writes."""
    for record in records:
        check_plain(record.sha256, SHA256, "a checksum")
        if type(record.n_bytes) is not int or record.n_bytes < 0:
            raise ValueError("the size of a file")


def check_plain(value: object, pattern: re.Pattern[str], name: str) -> None:
    """Refuse what isn't a text of a pattern."""
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(name)


def check_type(value: object, kind: type, name: str) -> None:
    """Refuse what is of another type."""
    if not isinstance(value, kind):
        raise TypeError(name)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Make a manifest the current one, then remove what it doesn't name.

    Raises:
        StorageError: if the file system refuses; the old one stays.
    """
    try:
        write_json(folder / MANIFEST, manifest.document())
    finally:
        remove_unlisted(folder)


def library_version() -> str:
    """Look up the version of modalhash that runs."""
    try:
        return version("modalhash")
    except PackageNotFoundError:
        return "unknown"


def check_file(folder: Path, record: FileRecord, *, read_all: bool = False) -> Path:
    """Check a file and give its path.

    Args:
        folder: where it lies.
        record: what the manifest says of it.
        read_all: compare the checksum however large the file is.

    Raises:
        DamagedArtifactError: if it is missing, of another size, or (up to `VERIFIED_BYTES`)
            of another content, naming the file.
        StorageError: if it can't be read.
    """
    path = own_path(folder, record.name)
    try:
        check_regular_file(path)
        n_bytes = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DamagedArtifactError(f"{path} is missing; {REPAIR_ADVICE}") from error
    except OSError as error:
        raise StorageError(f"can't read {path}: {error.strerror or error}") from error
    if n_bytes != record.n_bytes:
        raise DamagedArtifactError(
            f"{path} is damaged: it has {n_bytes} bytes, not {record.n_bytes}; {REPAIR_ADVICE}"
        )
    if (read_all or n_bytes <= VERIFIED_BYTES) and sha256_of_file(path) != record.sha256:
        raise DamagedArtifactError(
            f"{path} is damaged: its content doesn't match its checksum; {REPAIR_ADVICE}"
        )
    return path


def file_record(folder: Path, name: str) -> FileRecord:
    """Describe a file that was written."""
    path = folder / name
    try:
        return FileRecord(name, path.stat().st_size, sha256_of_file(path))
    except OSError as error:
        raise StorageError(f"can't read {path}: {error.strerror or error}") from error


def read_array(path: Path) -> NDArray[Any]:
    """Map an array file, read only.

    Raises:
        DamagedArtifactError: if it is no array file.
        StorageError: if it can't be read.
    """
    try:
        return np.asarray(map_array(path))
    except OSError as error:
        raise StorageError(f"can't read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError, TypeError, OverflowError, SyntaxError, MemoryError) as error:
        raise DamagedArtifactError(f"{path} is damaged: {error}; {REPAIR_ADVICE}") from error


def write_codes(path: Path, blocks: Callable[[], Iterable[Codes]], n_rows: int, width: int) -> None:
    """Write codes block by block as one .npy file; never more than a block is in memory.

    Raises:
        StorageError: if the file system refuses.
    """

    def write(file: Any) -> None:
        shape = {"descr": "|u1", "fortran_order": False, "shape": (n_rows, width)}
        np.lib.format.write_array_header_1_0(file, shape)
        for block in blocks():
            file.write(np.ascontiguousarray(block).data)

    write_with(path, write)


def flush_file(path: Path) -> None:
    """Flush a file, written by name, and its folder's entry to disk.

    Raises:
        StorageError: if the file system refuses.
    """
    try:
        with path.open("rb+") as file:
            os.fsync(file.fileno())
        sync_folder(path.parent)
    except OSError as error:
        raise StorageError(f"can't write {path}: {error.strerror or error}") from error


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder whose manifest says that it holds something else.

    Raises:
        InputError: if it does. A manifest that can't be read is no obstacle: saving mends it.
    """
    document = peek_json(folder / MANIFEST)
    if document is not None and document.get("artifact") != ARTIFACT:
        raise InputError(
            f"folder {folder} holds something else: its {MANIFEST} isn't that of an index; "
            "choose another folder"
        )


def newest_generation(folder: Path) -> int:
    """Find the highest generation of the manifest and of anything that a kill left there."""
    matches = (OURS.fullmatch(name) for name in names_in(folder))
    numbers = [int(match[match.lastgroup or 0]) for match in matches if match]
    with suppress(ModalhashError):
        numbers.append(read_manifest(folder).generation)
    return max(numbers, default=0)


def names_in(folder: Path) -> list[str]:
    """List the names of what lies in a folder, none if there is no such folder."""
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def remove_unlisted(folder: Path) -> None:
    """Remove what is ours in an index folder and isn't named by its manifest.

    Without a manifest that is all; with one that can't be read, nothing. What the system doesn't
    remove now (an open file on Windows) is left to the next checkpoint.
    """
    listed: set[str] = set()
    if (folder / MANIFEST).exists():
        try:
            manifest = read_manifest(folder)
        except ModalhashError:
            return
        listed = {manifest.log, *(segment.name for segment in manifest.segments)}
        if manifest.dead is not None:
            listed.add(manifest.dead.name)
    with suppress(OSError):
        for name in names_in(folder):
            if name not in listed and (OURS.fullmatch(name) or UNFINISHED.fullmatch(name)):
                remove(folder / name)


def remove(path: Path) -> None:
    """Remove a file or a segment's folder, as far as the system lets us."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
