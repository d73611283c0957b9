"""What every kind of index refuses before it changes anything."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, check_codes
from modalhash.errors import ArtifactError, InputError, ShapeError
from modalhash.index.hits import IdKind, Ids, Metadata
from modalhash.index.ids import IdColumn, format_ids, id_column
from modalhash.index.item_json import to_json

__all__ = ["check_id_kind", "check_item_arrays", "check_known", "check_model", "refuse_twice"]


def check_item_arrays(
    ids: Ids, codes: Codes, metadata: Sequence[Metadata] | None, n_bits: int
) -> tuple[IdColumn | None, list[str | None] | None]:
    """Check items to add, and make a column of ids and JSON documents of them.

    Args:
        ids: n ids; that they are distinct isn't checked.
        codes: (n, p) uint8.
        metadata: n mappings, or None.
        n_bits: of the index.

    Returns:
        The column, None without items; and n documents, None in the place of an empty one, or None
        without metadata.

    Raises:
        InputError: if ids or metadata can't be stored.
        ShapeError: if codes don't fit the index, or the numbers differ.
    """
    check_codes(codes, n_bits)
    if len(ids) != len(codes):
        raise ShapeError(f"{len(ids)} ids for {len(codes)} codes: each item has one of both")
    if metadata is not None and len(metadata) != len(codes):
        raise ShapeError(f"metadata has {len(metadata)} mappings for {len(codes)} items")
    column = id_column(ids)
    if column is None:
        return None, None
    if metadata is None:
        return column, None
    return column, [
        to_json(value, document) if document != {} else None
        for value, document in zip(column, metadata, strict=True)
    ]


def check_id_kind(column: IdColumn, kind: IdKind | None) -> None:
    """Refuse ids of another kind than the index's, None while it has none.

    Raises:
        InputError: if they are.
    """
    if kind is not None and column.kind != kind:
        raise InputError(
            f"ids are of kind {column.kind.value}, the index has {kind.value} ids: "
            "an index has one kind"
        )


def refuse_twice(ids: Sequence[Any]) -> None:
    """Refuse ids that come more than once, if there are any."""
    if ids:
        raise InputError(f"ids holds {format_ids(ids)} more than once: nothing was added")


def check_known(column: IdColumn, is_there: NDArray[np.bool_], outcome: str = "") -> None:
    """Refuse ids that aren't in the index, naming them.

    Raises:
        InputError: if there are any.
    """
    unknown = np.flatnonzero(~is_there)
    if len(unknown):
        names = list(dict.fromkeys(column.take(unknown).tolist()))
        raise InputError(f"the index has no item {format_ids(names)}{outcome}")


def check_model(folder: Path, written: str, expected: str | None) -> None:
    """Refuse an index of another model.

    Raises:
        ArtifactError: if the fingerprints differ.
    """
    if expected is None or written == expected:
        return
    made_by = f"were made by model {written}" if written else "don't say which model made them"
    raise ArtifactError(
        f"the codes of the index {folder} {made_by}, the queries come from model {expected}: "
        "search with the index's model, or build the index again with this one"
    )
