"""What each named array of a collection means: ids, captions, labels, splits; and what is wrong."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.data.collection import Positions
from modalhash.data.text_cells import cells_of, decode_texts, pack_texts
from modalhash.errors import Defect

__all__ = [
    "ArrayFindings",
    "read_caption_items",
    "read_captions",
    "read_ids",
    "read_labels",
    "read_position_splits",
    "split_cells",
    "whole_vector",
]


@dataclass
class ArrayFindings:
    """What was found wrong so far.

    Attributes:
        path: the file or folder.
        origins: array to where it comes from, where that isn't `path`.
        defects: what is wrong.
        notes: what a reader should know and is no defect.
    """

    path: Path
    origins: Mapping[str, str] = field(default_factory=dict)
    defects: list[Defect] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def where(self, name: str) -> str:
        """Describe where an array comes from."""
        default = self.path / f"{name}.npy" if self.path.is_dir() else f"{self.path}:{name}"
        return self.origins.get(name, str(default))

    def add(self, kind: str, name: str, problem: str, *items: str) -> None:
        """Note that something is wrong with an array."""
        self.defects.append(Defect(kind, self.where(name), problem, items))


def whole_vector(array: NDArray[Any]) -> Positions | None:
    """Convert whole numbers (MATLAB stores (n, 1) floats) to a vector; None if it isn't one."""
    flat = np.ravel(array)
    if flat.size != max(array.shape, default=1) or flat.dtype.kind not in "fiub":
        return None
    whole = flat.astype(np.int64) if np.isfinite(flat).all() else flat
    return whole if np.array_equal(whole, flat) and whole.dtype == np.int64 else None


def read_caption_items(
    arrays: Mapping[str, NDArray[Any]], n_items: int, n_texts: int, findings: ArrayFindings
) -> Positions:
    """Read the item of each text; by default each item has one."""
    if "caption_items" not in arrays:
        if n_items != n_texts:
            findings.add(
                "missing-array",
                "caption_items",
                f"is missing: {n_texts} texts for {n_items} items need the item of each text",
            )
        return np.arange(n_items, dtype=np.int64)
    items = whole_vector(arrays["caption_items"])
    if items is None or len(items) != n_texts:
        shape = arrays["caption_items"].shape
        problem = f"has shape {shape}; expected {n_texts} whole numbers, the item of each text"
        findings.add("wrong-shape", "caption_items", problem)
    elif not np.array_equal(np.unique(items), np.arange(n_items)):
        problem = f"must name every item from 0 to {n_items - 1} at least once, and no other"
        findings.add("wrong-shape", "caption_items", problem)
    elif np.any(np.diff(items) < 0):
        problem = "isn't sorted: put the texts of one item together, in the order of the items"
        findings.add("wrong-shape", "caption_items", problem)
    else:
        return items
    return np.arange(n_items, dtype=np.int64)


def read_ids(
    arrays: Mapping[str, NDArray[Any]], name: str, length: int, findings: ArrayFindings
) -> tuple[str, ...]:
    """Read ids: distinct texts or whole numbers; by default they count from 0."""
    if name not in arrays:
        return tuple(map(str, range(length)))
    ids = text_values(arrays[name], name, findings)
    if len(ids) != length:
        findings.add("wrong-shape", name, f"has {len(ids)} ids; expected {length}")
    elif len(set(ids)) < length or not all(text.strip() for text in ids):
        first: dict[str, int] = {}
        twice = next(
            item_id
            for row, item_id in enumerate(ids)
            if not item_id.strip() or first.setdefault(item_id, row) != row
        )
        findings.add(
            "duplicate-id", name, f"{twice!r} is empty or comes twice; ids must be distinct"
        )
    return ids


def text_values(array: NDArray[Any], name: str, findings: ArrayFindings) -> tuple[str, ...]:
    """Convert an array to texts; whole numbers become texts, other things a defect."""
    try:
        flat = np.ravel(decode_texts(np.asarray(array)))
    except UnicodeDecodeError:
        findings.add("bad-encoding", name, "holds bytes that aren't UTF-8 text; save it as UTF-8")
        return ()
    if flat.dtype.kind in "UO":
        return tuple(str(text).removeprefix("\ufeff") for text in flat)
    numbers = whole_vector(flat)
    if numbers is None or flat.dtype.kind == "b":
        findings.add("wrong-shape", name, f"holds {flat.dtype}; expected texts or whole numbers")
        return ()
    return tuple(map(str, numbers.tolist()))


def read_captions(
    arrays: Mapping[str, NDArray[Any]], n_texts: int, findings: ArrayFindings
) -> tuple[str, ...] | None:
    """Read the texts themselves; None if there are none."""
    if "captions" not in arrays:
        return None
    if arrays["captions"].dtype.kind not in "SUO":
        problem = f"holds numbers ({arrays['captions'].dtype}); expected texts"
        findings.add("wrong-shape", "captions", problem)
        return None
    captions = text_values(arrays["captions"], "captions", findings)
    if len(captions) != n_texts and not findings.defects:
        problem = f"has {len(captions)} texts; expected {n_texts}, one a row of text"
        findings.add("wrong-shape", "captions", problem)
    return captions


def split_cells(
    arrays: Mapping[str, NDArray[Any]], findings: ArrayFindings
) -> dict[str, NDArray[Any]]:
    """Give each text a row of its own where `captions` has several texts an item."""
    split = dict(arrays)
    for name, array in arrays.items():
        if array.dtype != object or all(isinstance(text, str) for text in array.flat):
            continue
        if name != "captions" or "caption_items" in arrays:
            findings.add("wrong-shape", name, "has several texts in an entry; expected one")
            continue
        cells = [own or ("",) for own in cells_of(array)]
        split["captions"] = pack_texts([text for own in cells for text in own])
        split["caption_items"] = np.arange(len(cells)).repeat([len(own) for own in cells])
    return split


def read_labels(
    arrays: Mapping[str, NDArray[Any]], n_items: int, findings: ArrayFindings
) -> tuple[NDArray[np.uint8] | None, tuple[str, ...]]:
    """Read labels.

    Returns:
        (n, c) of 0 and 1, or None; and the names of the columns.
    """
    if "labels" not in arrays:
        return None, ()
    names: tuple[str, ...] = ()
    if "label_names" in arrays:
        names = text_values(arrays["label_names"], "label_names", findings)
    numbers = label_numbers(arrays["labels"], findings)
    if numbers.shape == (n_items, 1) and has_label_columns(numbers, n_items, len(names)):
        findings.notes.append(
            f"{findings.where('labels')}: one column of 0 and 1 is one label; for two classes, "
            "give a vector or the names of both"
        )
    matrix, names = (
        read_label_columns(numbers, names, findings)
        if has_label_columns(numbers, n_items, len(names))
        else read_classes(numbers, n_items, names, findings)
    )
    if matrix is not None and len(names) != matrix.shape[1]:
        problem = f"has {len(names)} names for {matrix.shape[1]} columns of labels"
        findings.add("wrong-shape", "label_names", problem)
    return matrix, names


def has_label_columns(labels: NDArray[Any], n_items: int, n_names: int) -> bool:
    """Tell whether labels are 0/1 columns rather than the class of each item.

    One column of 0 and 1 is a concept, unless there are names for more; so is a vector of true and
    false.
    """
    if labels.ndim == 2 and labels.shape[1] > 1:
        return bool(labels.shape[0] == n_items)
    is_column = labels.dtype.kind == "b" or labels.shape == (n_items, 1)
    is_bits = labels.size == n_items and bool(np.isin(labels, (0, 1)).all())
    return bool(is_column and is_bits and n_names < 2)


def label_numbers(labels: NDArray[Any], findings: ArrayFindings) -> NDArray[Any]:
    """Turn labels that are texts into numbers; names of classes stay texts.

    Texts may be 0 and 1 with blanks between, numbers, or true and false.
    """
    if labels.dtype.kind not in "SU":
        return labels
    texts = [text.strip().lower() for text in text_values(labels, "labels", findings)]
    if texts and set(texts) <= {"true", "false"}:
        return np.array([text == "true" for text in texts]).reshape(labels.shape)
    rows = [text.replace(",", " ").split() for text in texts]
    if texts and len({len(row) for row in rows}) == 1 and rows[0]:
        with suppress(ValueError):
            numbers = np.array([[float(cell) for cell in row] for row in rows])
            return numbers if numbers.shape[1] > 1 else numbers.reshape(labels.shape)
    return labels


def read_label_columns(
    numbers: NDArray[Any], names: tuple[str, ...], findings: ArrayFindings
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Read 0/1 columns."""
    columns = numbers.reshape(len(numbers), -1)
    if not np.isin(columns, (0, 1)).all():
        wrong = columns[~np.isin(columns, (0, 1))][0]
        findings.add("bad-label", "labels", f"holds {wrong}; expected 0 and 1 only")
    matrix = (columns == 1).astype(np.uint8)
    return matrix, names or tuple(f"label {column}" for column in range(matrix.shape[1]))


def read_classes(
    numbers: NDArray[Any], n_items: int, names: tuple[str, ...], findings: ArrayFindings
) -> tuple[NDArray[np.uint8] | None, tuple[str, ...]]:
    """Read the class of each item: a number, or a name."""
    if numbers.dtype.kind in "SU":
        texts = np.array(text_values(numbers, "labels", findings), dtype=str)
        if len(texts) == n_items and all(text.strip() for text in texts):
            distinct_texts = np.unique(texts)
            matrix = (texts[:, None] == distinct_texts).astype(np.uint8)
            return matrix, tuple(map(str, distinct_texts))
    classes = whole_vector(numbers)
    if classes is None or len(classes) != n_items:
        problem = f"has shape {numbers.shape}; expected ({n_items}, c) of 0/1 or {n_items} classes"
        findings.add("bad-label", "labels", problem)
        return None, ()
    distinct = np.arange(len(names)) if names else np.unique(classes)
    if not np.isin(classes, distinct).all():
        problem = f"has classes outside 0 to {len(names) - 1}, for which there are names"
        findings.add("bad-label", "labels", problem)
    matrix = (classes[:, None] == distinct).astype(np.uint8)
    return matrix, names or tuple(f"class {number}" for number in distinct)


def read_position_splits(
    arrays: Mapping[str, NDArray[Any]], n_items: int, findings: ArrayFindings
) -> dict[str, Positions]:
    """Read the arrays `split_NAME`."""
    splits = {}
    for key in sorted(key for key in arrays if key.startswith("split_")):
        items = whole_vector(arrays[key])
        if items is None or not len(items):
            findings.add("empty-split", key, "holds no whole numbers; expected positions from 0")
        elif items.min() < 0 or items.max() >= n_items or len(np.unique(items)) < len(items):
            problem = f"must hold distinct positions from 0 to {n_items - 1}"
            findings.add("unknown-in-split", key, problem)
        else:
            splits[key.removeprefix("split_")] = items
    return splits
