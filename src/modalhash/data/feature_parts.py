"""What the layouts of feature files share: rows turned the right way, parts put together."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.data.collection import Positions
from modalhash.data.features import collect_arrays
from modalhash.data.reading import Reading
from modalhash.errors import Defect

__all__ = ["FeatureParts", "Part", "positions_from_zero", "turn_to_rows"]

_SIDES: Final = ("image", "text", "labels")


@dataclass(frozen=True)
class Part:
    """Features of some items.

    Attributes:
        arrays: `image`, `text` and perhaps `labels`, rows aligned.
        origins: where each array comes from ("FILE:I_tr"), for messages.
    """

    arrays: Mapping[str, NDArray[Any]]
    origins: Mapping[str, str]


@dataclass
class FeatureParts:
    """Features given as training, query and database part, as most papers' files are.

    Attributes:
        name: of the collection.
        source: how `load_collection` finds it again.
        path: what was asked for.
        parts: "train", "test", "database"; `test` must be there, and one of the others.
    """

    name: str
    source: str
    path: Path
    parts: dict[str, Part] = field(default_factory=dict)

    def reading(self, *, split_seed: int) -> Reading:
        """Put the parts together; training items that are in the database too count once."""
        defects = [
            Defect("missing-array", str(self.path), f"has no {noun}")
            for noun, is_present in (
                ("query part", "test" in self.parts),
                ("training or database part", self.parts.keys() & {"train", "database"}),
            )
            if not is_present
        ]
        notes: list[str] = []
        parts = {name: turn_to_rows(part, notes) for name, part in self.parts.items()}
        for part in parts.values():
            defects += _row_defects(part)
        if not defects:
            defects += _width_defects(parts)
        if defects:
            return Reading(None, tuple(defects), tuple(notes))
        order = [name for name in ("database", "train", "test") if name in parts]
        sizes = {name: len(parts[name].arrays["image"]) for name in order}
        ids = {name: [f"{name}-{row}" for row in range(sizes[name])] for name in order}
        rows = {name: np.arange(sizes[name]) for name in order}
        splits: dict[str, Positions] = {}
        start = 0
        for name in order:
            splits[name] = np.arange(start, start + sizes[name], dtype=np.int64)
            if name == "train" and "database" in parts:
                splits[name], rows[name] = _find_rows(parts["train"], parts["database"], start)
                n_repeated = sizes[name] - len(rows[name])
                notes.append(
                    f"{self.path}: {n_repeated} of {sizes[name]} training rows are rows of the "
                    "database and count once"
                )
            start += len(rows[name])
        arrays: dict[str, NDArray[Any]] = {
            side: np.concatenate([parts[name].arrays[side][rows[name]] for name in order])
            for side in _SIDES
            if all(side in parts[name].arrays for name in order)
        }
        arrays["item_ids"] = np.array([ids[name][row] for name in order for row in rows[name]])
        arrays |= {f"split_{name}": splits[name] for name in order}
        reading = collect_arrays(
            arrays,
            name=self.name,
            path=self.path,
            source=self.source,
            split_seed=split_seed,
            origins=parts[order[0]].origins,
        )
        return Reading(reading.collection, reading.defects, (*notes, *reading.notes))


def turn_to_rows(part: Part, notes: list[str]) -> Part:
    """Turn the matrices of a part so that each has a row an item, and note which were turned.

    They are turned only if that is the one way to give all of them the same number of rows.
    """
    matrices = {
        side: array
        for side, array in part.arrays.items()
        if side in _SIDES and array.ndim == 2 and 1 not in array.shape
    }
    if len({len(array) for array in matrices.values()}) <= 1:
        return part
    common = set.intersection(*({*array.shape} for array in matrices.values()))
    if len(common) != 1:
        return part
    [n_rows] = common
    arrays = dict(part.arrays)
    for side, array in matrices.items():
        if len(array) != n_rows:
            arrays[side] = array.T
            notes.append(
                f"{part.origins.get(side, side)}: has shape {array.shape} and is turned: an item "
                f"is a row, and the others have {n_rows}"
            )
    return Part(arrays, part.origins)


def positions_from_zero(
    indices: Mapping[str, NDArray[Any]], n_items: int, notes: list[str]
) -> dict[str, NDArray[Any]]:
    """Convert indices to start at 0; if none is 0 and one is `n_items`, they start at 1.

    Args:
        indices: where they come from, for the note, to whole numbers as stored.
        n_items: how many items there are.
        notes: is told when they were counted from 1.
    """
    flat = {where: np.ravel(array) for where, array in indices.items()}
    numbers = np.concatenate([np.empty(0), *flat.values()])
    if not len(numbers) or numbers.min() < 1 or numbers.max() != n_items:
        return flat
    notes.append(
        f"{' and '.join(flat)}: the indices go from {int(numbers.min())} to {n_items}, the number "
        "of items, so they are counted from 1"
    )
    return {where: array - 1 for where, array in flat.items()}


def _row_defects(part: Part) -> list[Defect]:
    """Say which arrays are missing, of another number of rows, or hold no labels."""
    defects = []
    for side in ("image", "text"):
        if side not in part.arrays:
            present = ", ".join(part.origins.values()) or "nothing"
            problem = f"lacks the {side} features of this part; it has {present}"
            defects.append(Defect("missing-array", next(iter(part.origins.values()), ""), problem))
    rows = {side: len(np.atleast_1d(array)) for side, array in part.arrays.items()}
    expected = rows.get("image")
    for side, n_rows in rows.items():
        shape = part.arrays[side].shape
        if expected is not None and n_rows != expected and max(shape, default=0) != expected:
            problem = f"has shape {shape}; expected {expected} rows, as many as the image features"
            defects.append(Defect("wrong-shape", part.origins.get(side, side), problem))
    labels = part.arrays.get("labels", np.zeros((0, 2)))
    if labels.ndim == 2 and 1 not in labels.shape and not np.isin(labels, (0, 1)).all():
        wrong = labels[~np.isin(labels, (0, 1))][0]
        problem = f"holds {wrong}; expected 0 and 1 only"
        defects.append(Defect("bad-label", part.origins["labels"], problem))
    return defects


def _width_defects(parts: Mapping[str, Part]) -> list[Defect]:
    """Say where a part's matrix has another width than that of the first part."""
    first, *others = parts.values()
    return [
        Defect(
            "wrong-shape",
            part.origins.get(side, side),
            f"has shape {part.arrays[side].shape}; expected {first.arrays[side].shape[1:]} "
            f"behind the rows, as {first.origins.get(side, side)} has",
        )
        for part in others
        for side in _SIDES
        if side in part.arrays and side in first.arrays
        if part.arrays[side].shape[1:] != first.arrays[side].shape[1:]
    ]


def _find_rows(train: Part, database: Part, n_database: int) -> tuple[Positions, Positions]:
    """Find training rows in the database.

    Returns:
        The position of each training row, counting those that aren't in the database from
        `n_database` on; and the training rows that aren't in it.
    """
    places: dict[bytes, list[int]] = {}
    for row, key in enumerate(_row_keys(database)):
        places.setdefault(key, []).append(row)
    positions: list[int] = []
    new: list[int] = []
    for row, key in enumerate(_row_keys(train)):
        if own := places.get(key):
            positions.append(own.pop(0))
        else:
            positions.append(n_database + len(new))
            new.append(row)
    return np.array(positions, np.int64), np.array(new, np.int64)


def _row_keys(part: Part) -> list[bytes]:
    image = np.asarray(part.arrays["image"], np.float32)
    text = np.asarray(part.arrays["text"], np.float32)
    return [
        hashlib.blake2b(a.tobytes() + b.tobytes(), digest_size=16).digest()
        for a, b in zip(image, text, strict=True)
    ]
