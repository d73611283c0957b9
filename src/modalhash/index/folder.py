"""An index folder: files named by generation, and a manifest that is replaced last.

::

    manifest.json            what the folder holds: generation, kind, bits, files and checksums
    codes.000003.npy         (n, p) uint8
    numbers.000003.npy       (n,) int64, the number of each item in items.sqlite, ascending
    ids.000003.npy           integer ids; or id_ends and id_text, the run of all texts
    items.000003.sqlite      ids and metadata by number

A save writes the files of a new generation beside those of the old, then replaces the manifest in
one step, then removes the old ones. So a kill leaves the old state or the new, never a mix; what it
may leave lying is removed by the next save.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.errors import DamagedArtifactError, InputError, ModalhashError, StorageError
from modalhash.files import read_json, sha256_of_file, sync_folder, write_array, write_json

__all__ = ["FileRecord", "Manifest", "part_path", "read_array", "read_manifest", "write_folder"]

FORMAT = 1
MANIFEST = "manifest.json"
ARTIFACT = "modalhash index"
BIT_ORDER = "little"
VERIFIED_BYTES = 64 << 20
"""Files up to this size are compared with their checksums when opened."""
GENERATION_FILE = re.compile(r"[a-z_]+\.(\d{6,})\.(?:npy|sqlite)")
UNFINISHED_FILE = re.compile(r"\.(?:[a-z_]+\.\d{6,}\.(?:npy|sqlite)|manifest\.json)\..+\.part")


@dataclass(frozen=True)
class FileRecord:
    """What the manifest says of one file.

    Attributes:
        name: within the folder.
        n_bytes: its size.
        sha256: of its content.
    """

    name: str
    n_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What an index folder holds.

    Attributes:
        kind: name in the table of kinds.
        generation: grows with each save.
        n_bits: bits of a code.
        n_items: number of items.
        id_kind: "text", "integer", or None while there were no items yet.
        model_fingerprint: of the model that made the codes, or "".
        files: part name ("codes") to its file.
    """

    kind: str
    generation: int
    n_bits: int
    n_items: int
    id_kind: str | None
    model_fingerprint: str
    files: Mapping[str, FileRecord]

    def document(self) -> dict[str, Any]:
        """Return the manifest as JSON, with a checksum over the rest of itself."""
        document = {
            "format": FORMAT,
            "artifact": ARTIFACT,
            "modalhash": library_version(),
            "bit_order": BIT_ORDER,
            **asdict(self),
        }
        return {**document, "checksum": checksum(document)}


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
    written = document.pop("checksum", None)
    if written != checksum(document):
        raise DamagedArtifactError(f"{path} is damaged: it was changed; make the index again")
    files = {part: FileRecord(**record) for part, record in document["files"].items()}
    names = ("kind", "generation", "n_bits", "n_items", "id_kind", "model_fingerprint")
    return Manifest(**{name: document[name] for name in names}, files=files)


def checksum(document: Mapping[str, Any]) -> str:
    """Return a SHA-256 of a JSON document that doesn't depend on its layout."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def library_version() -> str:
    """Return the version of modalhash that runs."""
    try:
        return version("modalhash")
    except PackageNotFoundError:
        return "unknown"


def part_path(folder: Path, manifest: Manifest, part: str, *, read_all: bool = False) -> Path:
    """Return the file of a part after checking it.

    Args:
        folder: the index folder.
        manifest: of the folder.
        part: name of the part ("codes").
        read_all: compare the checksum however large the file is.

    Raises:
        DamagedArtifactError: if it is missing, of another size, or (up to `VERIFIED_BYTES`)
            of another content, naming the file.
        StorageError: if it can't be read.
    """
    record = manifest.files.get(part)
    if record is None:
        raise DamagedArtifactError(f"{folder / MANIFEST} is damaged: it lists no {part}")
    path = folder / record.name
    try:
        n_bytes = path.stat().st_size
    except FileNotFoundError as error:
        raise DamagedArtifactError(f"{path} is missing; make the index again") from error
    except OSError as error:
        raise StorageError(f"can't read {path}: {error.strerror or error}") from error
    if n_bytes != record.n_bytes:
        raise DamagedArtifactError(
            f"{path} is damaged: it has {n_bytes} bytes, not {record.n_bytes}; make the index again"
        )
    if (read_all or n_bytes <= VERIFIED_BYTES) and sha256_of_file(path) != record.sha256:
        raise DamagedArtifactError(
            f"{path} is damaged: its content doesn't match its checksum; make the index again"
        )
    return path


def read_array(path: Path) -> NDArray[Any]:
    """Map an array file, read only.

    Raises:
        DamagedArtifactError: if it is no array file.
        StorageError: if it can't be read.
    """
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except OSError as error:
        raise StorageError(f"can't read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise DamagedArtifactError(f"{path} is damaged: {error}; make the index again") from error


def write_folder(
    folder: Path,
    describe: Callable[[int, Mapping[str, FileRecord]], Manifest],
    *,
    arrays: Mapping[str, NDArray[Any]],
    write_items: Callable[[Path], None],
) -> Manifest:
    """Write a new generation of an index and make it the current one.

    Args:
        folder: made if missing.
        describe: makes the manifest from the generation and the files.
        arrays: the arrays by part name.
        write_items: writes the database to the path it gets, an empty file.

    Returns:
        The manifest that was written.

    Raises:
        InputError: if the folder holds the manifest of something else.
        StorageError: if the file system refuses; the old generation stays the current one.
    """
    refuse_foreign(folder)
    generation = 1 + newest_generation(folder)
    # Whatever happens, only files that the manifest on disk doesn't name are removed.
    try:
        files = {
            part: write_part(folder, f"{part}.{generation:06}.npy", array_writer(array))
            for part, array in arrays.items()
        }
        files["items"] = write_part(
            folder, f"items.{generation:06}.sqlite", lambda path: replace_with(path, write_items)
        )
        manifest = describe(generation, files)
        write_json(folder / MANIFEST, manifest.document())
    finally:
        remove_unlisted(folder)
    return manifest


def write_part(folder: Path, name: str, write: Callable[[Path], None]) -> FileRecord:
    """Write one file and describe it."""
    path = folder / name
    write(path)
    return FileRecord(name, path.stat().st_size, sha256_of_file(path))


def array_writer(array: NDArray[Any]) -> Callable[[Path], None]:
    """Return a function that writes an array to the path it gets."""
    return lambda path: write_array(path, array)


def replace_with(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file by name, flush it and give it its name.

    For what writes by path; `files.write_with` serves what writes to an open file.

    Raises:
        StorageError: if the file system refuses.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        try:
            write(Path(name))
            os.fsync(handle)
            Path(name).chmod(0o644)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
        finally:
            os.close(handle)
        Path(name).replace(path)
        sync_folder(path.parent)
    except ModalhashError:
        raise
    except OSError as error:
        raise StorageError(f"can't write {path}: {error.strerror or error}") from error


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder whose manifest says that it holds something else.

    Raises:
        InputError: if it does. A manifest that can't be read is no obstacle: saving mends it.
    """
    try:
        document = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if isinstance(document, dict) and document.get("artifact") != ARTIFACT:
        raise InputError(
            f"folder {folder} holds something else: its {MANIFEST} isn't that of an index; "
            "choose another folder"
        )


def newest_generation(folder: Path) -> int:
    """Return the highest generation of any file in a folder, also of a save that was killed."""
    matches = (GENERATION_FILE.fullmatch(name) for name in names_in(folder))
    return max((int(match[1]) for match in matches if match), default=0)


def names_in(folder: Path) -> list[str]:
    """Return the names of the files in a folder, none if there is no such folder."""
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def remove_unlisted(folder: Path) -> None:
    """Remove the files of an index folder that its manifest doesn't name.

    Without a manifest that is all of them; with one that can't be read, none. What the system
    doesn't remove now (an open file on Windows) is left to the next save.
    """
    listed: set[str] = set()
    if (folder / MANIFEST).exists():
        try:
            listed = {record.name for record in read_manifest(folder).files.values()}
        except ModalhashError:
            return
    with suppress(OSError):
        for name in names_in(folder):
            is_ours = GENERATION_FILE.fullmatch(name) or UNFINISHED_FILE.fullmatch(name)
            if is_ours and name not in listed:
                with suppress(OSError):
                    (folder / name).unlink()
