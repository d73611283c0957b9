"""Find near codes: the index contract, its kinds, and how to build and open one."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

from modalhash.codes import Codes
from modalhash.errors import UnknownNameError
from modalhash.index.base import (
    HashIndex,
    Hits,
    IdArray,
    IdKind,
    Ids,
    Metadata,
    QueryHits,
    RadiusHits,
)
from modalhash.index.folder import part_path, read_manifest

__all__ = [
    "KINDS",
    "HashIndex",
    "Hits",
    "IdArray",
    "IdKind",
    "Ids",
    "Metadata",
    "QueryHits",
    "RadiusHits",
    "build_index",
    "index_class",
    "open_index",
    "verify_index",
]

KINDS: Mapping[str, str] = {
    "exact": "modalhash.index.exact:ExactIndex",
    "flat": "modalhash.index.faiss_flat:FaissFlatIndex",
}
"""Name of a kind to the class that makes it, loaded when first asked for."""


def index_class(kind: str) -> type[HashIndex]:
    """Return the class of a kind.

    Raises:
        UnknownNameError: if there is no such kind, listing those there are.
    """
    if kind not in KINDS:
        raise UnknownNameError("kind of index", kind, KINDS)
    module, _, name = KINDS[kind].partition(":")
    found: type[HashIndex] = getattr(import_module(module), name)
    return found


def build_index(
    ids: Ids,
    codes: Codes,
    n_bits: int,
    *,
    metadata: Sequence[Metadata] | None = None,
    kind: str = "flat",
    model_fingerprint: str = "",
) -> HashIndex:
    """Make an index of some items.

    Args:
        ids: n distinct ids, texts or integers.
        codes: (n, p) uint8, packed by `pack`; copied.
        n_bits: bits of a code.
        metadata: n mappings of names to JSON values; None is the same as n empty ones.
        kind: a name in `KINDS`.
        model_fingerprint: says which model made the codes.

    Raises:
        InputError: if ids are not distinct or not of one kind, or metadata isn't JSON.
        ShapeError: if the codes don't fit `n_bits`, or the numbers of items differ.
        UnknownNameError: if there is no such kind.

    Example:
        >>> from modalhash.codes import pack
        >>> codes = pack([[1, 1, 1], [-1, -1, 1]])
        >>> index = build_index(["dog", "cat"], codes, 3, metadata=[{"year": 2020}, {}])
        >>> hits = index.search(pack([[-1, 1, 1]]), k=5)
        >>> hits.ids, hits.distances
        (array([['dog', 'cat']], dtype=object), array([[1, 1]], dtype=int32))
        >>> index.metadata(hits.ids[0])
        [{'year': 2020}, {}]
    """
    return index_class(kind).build(
        ids, codes, n_bits, metadata=metadata, model_fingerprint=model_fingerprint
    )


def open_index(folder: str | Path, *, expect_model: str | None = None) -> HashIndex:
    """Open a saved index of any kind.

    Args:
        folder: what `HashIndex.save` wrote.
        expect_model: fingerprint of the model whose codes will be searched for; None asks nothing.

    Raises:
        ArtifactError: if the index is of another model, damaged (naming the file), or newer.
        StorageError: if it can't be read.
    """
    folder = Path(folder)
    return index_class(read_manifest(folder).kind).open(folder, expect_model=expect_model)


def verify_index(folder: str | Path) -> None:
    """Read every byte of a saved index and compare it with the checksums.

    Opening does so only for files of up to 64 MiB.

    Raises:
        DamagedArtifactError: if a file is missing or doesn't match, naming it.
        StorageError: if one can't be read.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    for part in manifest.files:
        part_path(folder, manifest, part, read_all=True)
