"""Find near codes: the index contract, its kinds, and how to build and open one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modalhash.codes import BitOrder, Codes, to_little
from modalhash.index.base import HashIndex
from modalhash.index.checking import check_model
from modalhash.index.filters import parse_filter
from modalhash.index.folder import check_file
from modalhash.index.hits import (
    Hits,
    IdArray,
    IdKind,
    Ids,
    ItemBlock,
    Metadata,
    QueryHits,
    RadiusHits,
)
from modalhash.index.item_changes import ItemChange, Operation
from modalhash.index.kinds import (
    INDEX_CLASSES,
    class_of_folder,
    index_class,
    read_index_manifest,
    write_index_manifest,
)
from modalhash.index.log import read_log
from modalhash.index.manifest import read_manifest
from modalhash.index.rerank import ByteFeatures, FeatureScorer, FineScorer, RelaxedScorer
from modalhash.index.search_limits import check_limits, check_radius, check_top_k, is_relaxed
from modalhash.index.searchable import SearchableIndex
from modalhash.index.searcher_table import SEARCHERS as KINDS
from modalhash.index.searchers import stated_choice
from modalhash.numpy_numbers import takes_numpy_numbers

if TYPE_CHECKING:
    from modalhash.index.repairing import Repair

__all__ = [
    "INDEX_CLASSES",
    "KINDS",
    "ByteFeatures",
    "FeatureScorer",
    "FineScorer",
    "HashIndex",
    "Hits",
    "IdArray",
    "IdKind",
    "Ids",
    "ItemBlock",
    "ItemChange",
    "Metadata",
    "Operation",
    "QueryHits",
    "RadiusHits",
    "RelaxedScorer",
    "SearchableIndex",
    "build_index",
    "check_kind",
    "check_limits",
    "check_model",
    "check_radius",
    "check_top_k",
    "find_damage",
    "is_relaxed",
    "open_index",
    "parse_filter",
    "read_index_manifest",
    "repair_index",
    "stated_choice",
    "verify_index",
    "write_index_manifest",
]


@takes_numpy_numbers
def check_kind(kind: str, parameters: Mapping[str, Any] | None = None) -> None:
    """Refuse a kind that there isn't, or parameters that it doesn't take; costs nothing.

    Args:
        kind: a name in `KINDS` or `INDEX_CLASSES`.
        parameters: of the kind, by name.

    Raises:
        SettingError: if a parameter is unknown, or out of its range.
        UnknownNameError: if there is no such kind, listing those there are.
    """
    index_class(kind).check_parameters(kind, parameters or {})


@takes_numpy_numbers
def build_index(
    ids: Ids,
    codes: Codes,
    n_bits: int,
    *,
    metadata: Sequence[Metadata] | None = None,
    kind: str = "flat",
    parameters: Mapping[str, Any] | None = None,
    model_fingerprint: str = "",
    folder: str | Path | None = None,
    bit_order: BitOrder | str = BitOrder.LITTLE,
) -> HashIndex:
    """Make an index of some items.

    Args:
        ids: n distinct ids, texts or integers.
        codes: (n, p) uint8, packed by `pack`; copied.
        n_bits: bits of a code.
        metadata: n mappings of names to JSON values; None is the same as n empty ones.
        kind: a name in `KINDS` or `INDEX_CLASSES`. With "milvus" the codes are kept by the server
            whose `url` is among the parameters.
        parameters: of the kind, by name; what is left out is chosen.
        model_fingerprint: says which model made the codes.
        folder: where to write and keep it; the codes are then never wholly in memory. None keeps
            it in memory; `save` writes it.
        bit_order: of the codes, "little" (ours) or "big"; the index keeps ours.

    Raises:
        InputError: if ids are not distinct or not of one kind, or metadata isn't JSON.
        SettingError: if a parameter is unknown, or out of its range.
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
        ids,
        to_little(codes, bit_order),
        n_bits,
        kind=kind,
        metadata=metadata,
        parameters=parameters,
        model_fingerprint=model_fingerprint,
        folder=folder,
    )


def open_index(folder: str | Path, *, expect_model: str | None = None) -> HashIndex:
    """Open a saved index of any kind; changes are kept in its folder, or on its server.

    Args:
        folder: what `HashIndex.save` wrote.
        expect_model: fingerprint of the model whose codes will be searched for; None asks nothing.

    Raises:
        ArtifactError: if the index is of another model, damaged (naming the file), newer, or of a
            kind that isn't installed here.
        StorageError: if it can't be read.
    """
    return class_of_folder(Path(folder)).open(folder, expect_model=expect_model)


def verify_index(folder: str | Path) -> None:
    """Read every byte of a saved index and compare it with the checksums.

    Opening does so only for files of up to 64 MiB.

    Raises:
        DamagedArtifactError: if a file is missing or doesn't match, naming it.
        StorageError: if one can't be read.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    for segment in manifest.segments:
        for record in segment.files:
            check_file(folder / segment.name, record, read_all=True)
    if manifest.dead is not None:
        check_file(folder, manifest.dead, read_all=True)
    for _ in read_log(
        folder / manifest.log, manifest.uid, manifest.n_bits, version=manifest.version
    ):
        pass


def find_damage(folder: str | Path) -> list[str]:
    """Read every byte of a saved index and return all that is damaged, one sentence each.

    Raises:
        StorageError: if the folder can't be read.
    """
    from modalhash.index.repairing import find_damage as find

    return find(folder)


def repair_index(folder: str | Path) -> "Repair":
    """Keep what is whole of a damaged index; see `modalhash.index.repairing.repair_index`."""
    from modalhash.index.repairing import repair_index as repair

    return repair(folder)
