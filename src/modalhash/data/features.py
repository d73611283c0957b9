"""Features that another program made, as a collection: `features:PATH`.

PATH is a folder of .npy and .txt files, or an .npz, .mat, .h5, .pt or .pkl file, with these named
arrays (in a folder `image` is the file `image.npy`, and arrays of texts may be .txt files with one
text a line):

================ ================= ============================================================
array            shape             meaning
================ ================= ============================================================
`image`          (n, d)            features of the pictures, one row an item
`text`           (t, d)            features of the texts; optional beside `captions`
`caption_items`  (t,)              optional if t = n: the item of each text, counted from 0
`labels`         (n, c) or (n,)    optional: 0/1 columns (true and false too; (n, 1) of 0 and 1 is
                                   one column), or the class of each item
`label_names`    (c,) texts        optional
`item_ids`       (n,) texts        optional
`caption_ids`    (t,) texts        optional
`captions`       (t,) texts        optional: the texts themselves, to show in answers
`split_NAME`     (k,)              optional: items of a split, counted from 0
================ ================= ============================================================

In a folder, splits may also be `splits/NAME.txt` with one item id a line. Instead of whole arrays
there may be parts that end in a split's name: `image_train`, `text_train`, `labels_train`,
`image_test`, ...; the parts follow each other, `train` first and the others by name, and each is a
split.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.data.arrays import read_arrays
from modalhash.data.collection import Collection, Modality, Pictures, Positions
from modalhash.data.feature_roles import (
    ArrayFindings,
    read_caption_items,
    read_captions,
    read_ids,
    read_labels,
    read_position_splits,
    split_cells,
    whole_vector,
)
from modalhash.data.reading import Reading
from modalhash.data.splits import SplitReading, make_splits, read_splits
from modalhash.errors import CollectionError, Defect

__all__ = ["collect_arrays", "read_features"]

_NAMES: Final = (
    "image", "text", "caption_items", "labels", "label_names", "item_ids", "caption_ids", "captions"
)  # fmt: skip
_PER_ITEM_OR_TEXT: Final = ("image", "text", "caption_items", "labels", *_NAMES[-3:])
_ROWS_AT_ONCE: Final = 8192


def read_features(argument: str, *, split_seed: int) -> Reading:
    """Read precomputed features; see `SourceReader` and the module's description."""
    path = Path(argument)
    try:
        arrays = read_arrays(path)
    except CollectionError as error:
        return Reading(None, error.defects)
    unread = {name: f"{path}:{name}" for name in arrays.unread}
    unreadable = [name for name in unread if name in _NAMES or name.startswith("split_")]
    defects = [Defect("unreadable-array", unread[name], arrays.unread[name]) for name in unreadable]
    if defects:
        return Reading(None, tuple(defects))
    reading = collect_arrays(
        arrays,
        name=path.absolute().stem,
        path=path,
        source=f"features:{path.absolute()}",
        split_seed=split_seed,
    )
    notes = [f"{unread[name]} isn't read: it {reason}" for name, reason in arrays.unread.items()]
    return Reading(reading.collection, reading.defects, (*notes, *reading.notes))


def collect_arrays(
    arrays: Mapping[str, NDArray[Any]],
    *,
    name: str,
    path: Path,
    source: str,
    split_seed: int,
    pictures: Pictures | None = None,
    n_pictures: int = 0,
    origins: Mapping[str, str] | None = None,
) -> Reading:
    """Make a collection of named arrays; the module's description says which.

    Args:
        arrays: the arrays; `image` may be missing beside `pictures`, and `text` beside `captions`.
        name: of the collection.
        path: where they come from, for messages.
        source: how `load_collection` finds the collection again.
        split_seed: seed of the splits, if the arrays say none.
        pictures: of the items, if there are some.
        n_pictures: how many.
        origins: where each array comes from, for messages ("FILE:XAll"); by default `path`.
    """
    findings = ArrayFindings(path, origins or {})
    whole = {key: np.atleast_1d(array) for key, array in arrays.items()}
    arrays, splits = _join_parts(whole, findings)
    arrays = split_cells(arrays, findings)
    sides = tuple(
        side
        for side, other in (("image", pictures is not None), ("text", "captions" in arrays))
        if side in arrays or not (other and arrays.keys() & {"image", "text"})
    )
    if findings.defects or not _has_right_shapes(arrays, sides, findings):
        return Reading(None, tuple(findings.defects))
    n_items = len(arrays["image"]) if "image" in sides else n_pictures
    n_texts = len(arrays["text"]) if "text" in sides else np.size(arrays["captions"])
    if pictures is not None and n_pictures != n_items:
        findings.add("wrong-shape", "image", f"has {n_items} rows for {n_pictures} pictures")
    caption_items = read_caption_items(arrays, n_items, n_texts, findings)
    item_ids = read_ids(arrays, "item_ids", n_items, findings)
    caption_ids = read_ids(arrays, "caption_ids", n_texts, findings)
    captions = read_captions(arrays, n_texts, findings)
    labels, label_names = read_labels(arrays, n_items, findings)
    splits |= read_position_splits(arrays, n_items, findings)
    if findings.defects:
        return Reading(None, tuple(findings.defects))
    features: dict[Modality, NDArray[np.float32]] = {}
    notes: list[str] = []
    if "image" in sides:
        features["image"] = _finite(arrays["image"], "image", item_ids, findings)
    if "text" in sides:
        owners = [item_ids[item] for item in caption_items]
        features["text"] = _finite(arrays["text"], "text", owners, findings)
    for side, array in features.items():
        notes += _zero_rows(array, findings.where(side))
    positions = {item: place for place, item in enumerate(item_ids)}
    reading = SplitReading()
    if path.is_dir():
        reading = read_splits(path / "splits", positions, known=())
    findings.defects += reading.defects
    for text, item in zip(captions or (), caption_items, strict=False):
        if not text.strip():
            problem = f"item {item_ids[item]!r} has an empty text; write one"
            findings.add("empty-text", "captions", problem, item_ids[item])
    if splits:
        reading.splits, reading.note = splits, f"given in {path.name}: {', '.join(splits)}"
    elif not reading.splits:
        reading.splits, reading.note = make_splits(item_ids, seed=split_seed)
    collection = Collection(
        name=name,
        item_ids=item_ids,
        caption_ids=caption_ids,
        caption_items=caption_items,
        captions=captions,
        pictures=pictures,
        labels=labels,
        label_names=label_names,
        splits=reading.splits,
        features=features,
        source=source,
        split_note=reading.note,
    )
    return Reading(
        collection, tuple(findings.defects), (*_unread(arrays, path), *findings.notes, *notes)
    )


def _zero_rows(features: NDArray[np.float32], where: str) -> list[str]:
    """Say which rows are all zero: a text without any known word, a picture that failed."""
    blocks = range(0, len(features), _ROWS_AT_ONCE)
    empty = np.concatenate([~features[start : start + _ROWS_AT_ONCE].any(1) for start in blocks])
    rows = np.flatnonzero(empty)
    if not len(rows):
        return []
    first = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
    description = f"{where}: {len(rows)} of {len(features)} rows are all zero: row {first} (from 0)"
    return [f"{description}; each should hold something, and they stay in"]


def _unread(arrays: Mapping[str, NDArray[Any]], path: Path) -> tuple[str, ...]:
    unread = [key for key in arrays if key not in _NAMES and not key.startswith("split_")]
    if not unread:
        return ()
    return (f"{path}: arrays that aren't read: {', '.join(sorted(unread))}",)


def _join_parts(
    arrays: Mapping[str, NDArray[Any]], findings: ArrayFindings
) -> tuple[dict[str, NDArray[Any]], dict[str, Positions]]:
    """Put parts such as `image_train` and `image_test` together; return the splits they make."""
    given_parts = {key.removeprefix("image_") for key in arrays if key.startswith("image_")}
    parts = sorted(given_parts, key=lambda part: (part != "train", part))
    if "image" in arrays or not parts:
        return dict(arrays), {}
    joined = {
        key: array
        for key, array in arrays.items()
        if not any(key == f"{start}_{part}" for start in _PER_ITEM_OR_TEXT for part in parts)
    }
    for start in _PER_ITEM_OR_TEXT:
        part_arrays = [arrays[f"{start}_{part}"] for part in parts if f"{start}_{part}" in arrays]
        if part_arrays and len(part_arrays) < len(parts):
            missing = next(part for part in parts if f"{start}_{part}" not in arrays)
            findings.add(
                "missing-array", f"{start}_{missing}", f"is missing beside image_{missing}"
            )
        elif len({(array.ndim, array.shape[1:]) for array in part_arrays}) > 1:
            shapes = " and ".join(str(array.shape) for array in part_arrays)
            findings.add(
                "wrong-shape", f"{start}_{parts[0]}", f"doesn't fit the other parts: {shapes}"
            )
        elif part_arrays:
            joined[start] = np.concatenate(part_arrays)
    lengths = [len(arrays[f"image_{part}"]) for part in parts]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    if "caption_items" in joined:
        joined["caption_items"] = _shifted_items(arrays, parts, starts, findings)
    splits = {
        part: np.arange(start, start + length, dtype=np.int64)
        for part, start, length in zip(parts, starts[:-1], lengths, strict=True)
    }
    return joined, splits


def _shifted_items(
    arrays: Mapping[str, NDArray[Any]], parts: list[str], starts: Positions, findings: ArrayFindings
) -> Positions:
    """Count the items of texts through all parts, not from 0 in each."""
    shifted = []
    for part, start in zip(parts, starts[:-1], strict=True):
        name = f"caption_items_{part}"
        items = whole_vector(arrays[name])
        if items is None:
            problem = f"has shape {arrays[name].shape}; expected whole numbers, one a text"
            findings.add("wrong-shape", name, problem)
        else:
            shifted.append(items + start)
    return np.concatenate([*shifted, np.empty(0, np.int64)])


def _has_right_shapes(
    arrays: Mapping[str, NDArray[Any]], sides: tuple[str, ...], findings: ArrayFindings
) -> bool:
    for side in sides:
        if side not in arrays:
            names = ", ".join(sorted(arrays)) or "nothing"
            findings.add("missing-array", side, f"is missing; there is {names}")
        elif arrays[side].ndim != 2 or arrays[side].dtype.kind not in "fiub":
            shape, dtype = arrays[side].shape, arrays[side].dtype
            findings.add(
                "wrong-shape", side, f"is {dtype} {shape}; expected numbers of shape (n, d)"
            )
        elif 0 in arrays[side].shape:
            findings.add("wrong-shape", side, f"is empty: its shape is {arrays[side].shape}")
    return not findings.defects


def _finite(
    array: NDArray[Any], name: str, items: tuple[str, ...] | list[str], findings: ArrayFindings
) -> NDArray[np.float32]:
    """Convert features to float32 (a memory map stays one); rows that aren't finite are defects."""
    with np.errstate(over="ignore"):  # what float32 can't hold is reported as infinite
        features = array if array.dtype == np.float32 else array.astype(np.float32)
    for start in range(0, len(features), _ROWS_AT_ONCE):
        block = features[start : start + _ROWS_AT_ONCE]
        for row in start + np.flatnonzero(~np.isfinite(block).all(axis=1)):
            wrong = features[row][~np.isfinite(features[row])][0]
            problem = f"row {row} (from 0), item {items[row]!r}, holds {wrong}; features are finite"
            findings.add("nan-feature", name, problem, items[row])
    return features
