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
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes
from modalhash.errors import (
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
    sha256_of_file,
    sync_folder,
    write_json,
    write_with,
)
from modalhash.index.manifest import (
    ARTIFACT,
    MANIFEST,
    REPAIR_ADVICE,
    FileRecord,
    Manifest,
    read_manifest,
)

__all__ = [
    "check_file",
    "file_record",
    "flush_file",
    "names_in",
    "newest_generation",
    "read_array",
    "refuse_foreign",
    "remove_unlisted",
    "write_codes",
    "write_manifest",
]

VERIFIED_BYTES = 64 << 20
"""Files up to this size are compared with their checksums when opened."""
OURS = re.compile(
    r"(?P<segment>\d{6,})|dead\.(?P<dead>\d{6,})\.npy|log\.(?P<log>\d{6,})"
    r"|[a-z_]+\.(?P<old>\d{6,})\.(?:npy|sqlite)"  # of format 1
)
UNFINISHED = re.compile(r"\.(?:dead\.\d{6,}\.npy|log\.\d{6,}|manifest\.json)\..+\.part")


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Make a manifest the current one, then remove what it doesn't name.

    Raises:
        StorageError: if the file system refuses; the old one stays.
    """
    try:
        write_json(folder / MANIFEST, manifest.document())
    finally:
        remove_unlisted(folder)


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
