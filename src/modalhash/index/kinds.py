"""The kinds of index by name, and the class that opens a folder.

Two tables say what a name means. `SEARCHERS` names what searches inside one process: indexes of
those kinds are all an `EmbeddedIndex`. `INDEX_CLASSES` names whole indexes: classes that fill in
`HashIndex`. A class is loaded when it is first asked for.

Installed packages add to both through the entry point group `modalhash.indexes`. A folder says in
its manifest of which kind it is; a manifest never makes the library import a module that it names
itself.
"""

import logging
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from modalhash.errors import (
    ArtifactError,
    DamagedArtifactError,
    InputError,
    ModalhashError,
    UnknownNameError,
)
from modalhash.files import peek_json, read_json, sealed, write_json
from modalhash.index.base import HashIndex
from modalhash.index.milvus_settings import MILVUS, MILVUS_MANIFEST
from modalhash.index.searcher_table import REGISTRY, SEARCHERS
from modalhash.registries import is_class_path

__all__ = [
    "INDEX_CLASSES",
    "class_of_folder",
    "discard_folders",
    "index_class",
    "read_index_manifest",
    "write_index_manifest",
]

logger = logging.getLogger(__name__)

EMBEDDED: Final = "modalhash.index.embedded:EmbeddedIndex"
INDEX_CLASSES: dict[str, str] = {MILVUS: "modalhash.index.milvus:MilvusIndex"}
"""Name of a kind to the class of its indexes, `MODULE:CLASS`; kinds in `SEARCHERS` are embedded."""
MANIFEST: Final = "manifest.json"
ARTIFACT: Final = "modalhash index of another class"
FORMAT: Final = 1


def index_class(kind: str, *, from_file: bool = False) -> type[HashIndex]:
    """Load the class of a kind of index.

    Args:
        kind: a name in `SEARCHERS` or `INDEX_CLASSES`, one that an installed package registers, or
            `MODULE:CLASS`.
        from_file: whether a file chose the name; see `Registry.load`.

    Raises:
        InputError: if a class can't be loaded or isn't whole; the message names the package.
        UnknownNameError: if there is no such kind, listing those there are.
    """
    if kind in INDEX_CLASSES:
        return load_class(INDEX_CLASSES[kind])
    if kind in SEARCHERS:
        return load_class(EMBEDDED)
    if kind not in REGISTRY and not is_class_path(kind):
        raise UnknownNameError("kind of index", kind, [*INDEX_CLASSES, *REGISTRY.names()])
    loaded = REGISTRY.load(kind, from_file=from_file)
    return loaded if issubclass(loaded, HashIndex) else load_class(EMBEDDED)


def load_class(path: str) -> type[HashIndex]:
    """Load one of this library's own classes of `MODULE:CLASS`."""
    module, _, name = path.partition(":")
    loaded: type[HashIndex] = getattr(import_module(module), name)
    return loaded


def class_of_folder(folder: Path) -> type[HashIndex]:
    """Load the class that opens an index folder.

    Raises:
        ArtifactError: if the folder is of a kind that isn't installed here, naming it.
        DamagedArtifactError: if the folder holds no index.
        StorageError: if it can't be read.
    """
    if (folder / MILVUS_MANIFEST).is_file():
        return index_class(MILVUS)
    kind = stated_kind(folder)
    if kind is None:
        return index_class("exact")  # the embedded index says what is wrong with the folder
    try:
        return index_class(kind, from_file=True)
    except InputError as error:
        raise ArtifactError(
            f"{folder} is an index of kind {kind!r}, which can't be loaded here: install the "
            f"package that provides it ({error})"
        ) from error


def discard_folders(folders: Sequence[Path]) -> None:
    """Remove what indexes keep outside their folders, which are being removed.

    Embedded indexes keep nothing there. What can't be removed is said in the log.
    """
    for folder in folders:
        if (folder / MILVUS_MANIFEST).is_file() or stated_kind(folder) is not None:
            try:
                with class_of_folder(folder).open(folder) as index:
                    index.discard()
            except ModalhashError as error:
                logger.warning("codes of %s may still be on a server: %s", folder, error)


def stated_kind(folder: Path) -> str | None:
    """Read the kind of an index that isn't an embedded one; None for anything else."""
    document = peek_json(folder / MANIFEST)
    if document is not None and document.get("artifact") == ARTIFACT:
        return str(document.get("kind"))
    return None


def write_index_manifest(folder: Path, kind: str, content: Mapping[str, Any]) -> None:
    """Write the manifest by which `open_index` finds the class of a folder again.

    For classes of other packages. The manifest is replaced in one step, so a class that keeps
    everything in it is safe from kills.

    Args:
        folder: made if missing.
        kind: name of the class in the table of kinds.
        content: JSON values that `read_index_manifest` gives back.

    Raises:
        StorageError: if the file system refuses; the old manifest is kept.
    """
    document = {"format": FORMAT, "artifact": ARTIFACT, "kind": kind, "content": dict(content)}
    write_json(folder / MANIFEST, sealed(document))


def read_index_manifest(folder: Path, kind: str) -> dict[str, Any]:
    """Read what `write_index_manifest` wrote.

    Raises:
        DamagedArtifactError: if there is no such manifest, or it was changed.
        NewerFormatError: if a newer modalhash wrote it.
        StorageError: if it can't be read.
    """
    path = folder / MANIFEST
    document = read_json(path, kind="index", newest_format=FORMAT)
    if document.get("artifact") != ARTIFACT or document.get("kind") != kind:
        raise DamagedArtifactError(f"{folder} is no index of kind {kind!r}: {path} says otherwise")
    if sealed(document) != document or not isinstance(document.get("content"), dict):
        raise DamagedArtifactError(f"{path} is damaged: it was changed; make the index again")
    return dict(document["content"])
