"""The manifest of an index folder: what it says, and whether a writer may have written that."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from modalhash.errors import ArtifactError, DamagedArtifactError
from modalhash.files import read_json, sealed

__all__ = [
    "ARTIFACT",
    "MANIFEST",
    "REPAIR_ADVICE",
    "FileRecord",
    "Manifest",
    "SegmentRecord",
    "read_manifest",
]

REPAIR_ADVICE = "keep what is whole with `modalhash repair`, or make the index again"
"""What to do about a damaged file of a segment, or a damaged log."""
FORMAT: Final = 2
MANIFEST: Final = "manifest.json"
ARTIFACT: Final = "modalhash index"
BIT_ORDER: Final = "little"
SEGMENT_NAME = re.compile(r"[0-9]{6,20}")
LOG_NAME = re.compile(r"log\.[0-9]{6,20}")
UID, SHA256 = re.compile(r"[0-9a-f]{32}"), re.compile(r"[0-9a-f]{64}")
ID_KINDS: Final = {"text", "integer"}
MOST_ITEMS, MOST_BITS = 2**53, 2**20


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


def library_version() -> str:
    """Look up the version of modalhash that runs."""
    try:
        return version("modalhash")
    except PackageNotFoundError:
        return "unknown"
