"""Splits on disk: one JSON file of positions that knows which collection it belongs to."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from modalhash.data.collection import Collection, Positions
from modalhash.data.protocols import split_fingerprint
from modalhash.data.splits import read_splits
from modalhash.errors import CollectionError, InputError
from modalhash.files import read_json, write_text

__all__ = ["read_split_file", "write_split_file"]

_FORMAT: Final = 1


def write_split_file(collection: Collection, path: Path) -> str:
    """Write the splits of a collection as positions, with fingerprints.

    Args:
        collection: whose splits.
        path: the JSON file: `format`, `collection`, `n_items`, `collection_fingerprint`,
            `split_note`, `split_fingerprint` and `splits` (name to positions counted from 0).

    Returns:
        The fingerprint of the splits.

    Raises:
        StorageError: if the file system refuses.
    """
    fingerprint = split_fingerprint(collection)
    head = {
        "format": _FORMAT,
        "collection": collection.name,
        "n_items": collection.n_items,
        "collection_fingerprint": collection.fingerprint(),
        "split_note": collection.split_note,
        "split_fingerprint": fingerprint,
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    splits = [
        f"    {json.dumps(name)}: {json.dumps(items.tolist())}"
        for name, items in collection.splits.items()
    ]
    body = ",\n".join(splits)
    text = "{\n" + "\n".join(lines) + '\n  "splits": {\n' + body + "\n  }\n}\n"
    write_text(path, text)
    return fingerprint


def read_split_file(collection: Collection, path: Path) -> Collection:
    """Give a collection the splits that a file holds.

    Args:
        collection: whose items the splits divide.
        path: a file that `write_split_file` wrote; or a folder of `NAME.txt` files with one item
            id a line, as a run keeps them in `splits/`.

    Returns:
        The collection with these splits only.

    Raises:
        InputError: if the file was written for another collection, or its positions don't fit.
        CollectionError: if a folder's files name items that aren't there, or an item twice.
        DamagedArtifactError: if the file is no such file.
        NewerFormatError: if a newer version wrote it.
    """
    if path.is_dir():
        positions = {item: place for place, item in enumerate(collection.item_ids)}
        reading = read_splits(path, positions, known=())
        # Which splits may share items is the business of whoever made them, and older versions
        # wrote empty files.
        allowed = ("item-in-two-splits", "empty-split")
        defects = [defect for defect in reading.defects if defect.kind not in allowed]
        if defects:
            raise CollectionError(defects)
        splits = {name: items for name, items in reading.splits.items() if len(items)}
        if not splits:
            raise InputError(f"{path} holds no splits: expected files NAME.txt with an id a line")
        return replace(collection, splits=splits, split_note=f"{reading.note} of {path}")
    document = read_json(path, kind="split file", newest_format=_FORMAT)
    if document.get("collection_fingerprint") != collection.fingerprint():
        raise InputError(
            f"{path} divides another collection: {document.get('collection')!r} with "
            f"{document.get('n_items')} items, and this is {collection.name!r} with "
            f"{collection.n_items} (or their texts or labels differ)"
        )
    note = str(document.get("split_note", ""))
    divided = replace(
        collection, splits=_splits(document, collection.n_items, path), split_note=note
    )
    if split_fingerprint(divided) != document.get("split_fingerprint"):
        raise InputError(f"{path} was changed: its splits don't match their fingerprint")
    return divided


def _splits(document: Mapping[str, Any], n_items: int, path: Path) -> dict[str, Positions]:
    """Read the splits of a document.

    Raises:
        InputError: if they are no lists of distinct positions.
    """
    stated = document.get("splits")
    splits = {}
    for name, items in stated.items() if isinstance(stated, dict) else ():
        if (
            not isinstance(items, list)
            or not all(type(item) is int and 0 <= item < n_items for item in items)
            or len(set(items)) < len(items)
        ):
            raise InputError(
                f"split {name!r} of {path} isn't a list of distinct positions from 0 to "
                f"{n_items - 1}"
            )
        splits[name] = np.array(items, np.int64)
    if not splits:
        raise InputError(f"{path} holds no splits")
    return splits
