"""The one reader of all layouts of arrays; `array_layouts` says what a layout is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.data.array_layouts import ARRAY_FILE, ARRAY_LAYOUTS, ArrayLayout, Slot
from modalhash.data.arrays import Arrays, find_array, read_arrays, stored_shapes
from modalhash.data.collection import Positions
from modalhash.data.feature_parts import FeatureParts, Part, positions_from_zero, turn_to_rows
from modalhash.data.features import collect_arrays
from modalhash.data.pickled_files import (
    holds_objects,
    pickled_arrays,
    read_object_npy,
    read_pickled_file,
)
from modalhash.data.pixel_pictures import PixelPictures, open_pixels
from modalhash.data.reading import Reading
from modalhash.errors import CollectionError, Defect

__all__ = [
    "read_coco_87k",
    "read_coco_122k",
    "read_dgcpn",
    "read_iall_yall_lall",
    "read_nine_array",
    "read_ucch",
    "read_ucmfh",
]

PART_WORDS: Final = re.compile(
    r"(?P<set>.*?)[-_.]?(?:train|query|test|retrieval|database|db|tr|te)", re.IGNORECASE
)
"""A file's name that ends in a part's, after the data set's."""


@dataclass
class LoadedArrays:
    """The arrays of a layout.

    Attributes:
        name: of the collection.
        parts: split ("" for all items) to what is there of its features and labels.
        positions: split to positions, as stored.
        origins: split to where its positions come from.
        pictures: the pixels, if they are there.
        notes: what a reader should know.
    """

    name: str
    parts: dict[str, Part] = field(default_factory=dict)
    positions: dict[str, NDArray[Any]] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    pictures: PixelPictures | None = None
    notes: list[str] = field(default_factory=list)


def read_array_source(argument: str, *, split_seed: int, source: str) -> Reading:
    """Read a source of the table; see `SourceReader` and the module's description."""
    path = Path(argument)
    name = f"{source}:{path.absolute()}"
    try:
        layout, files = choose_layout(ARRAY_LAYOUTS[source], path)
        loaded = load_slots(layout, files, path)
        if layout.has_parts:
            return collect_parts(layout, loaded, path, name, split_seed)
        return collect_whole(layout, loaded, path, name, split_seed)
    except CollectionError as error:
        return Reading(None, error.defects)


read_nine_array: Final = partial(read_array_source, source="nine-array")
read_iall_yall_lall: Final = partial(read_array_source, source="iall-yall-lall")
read_ucch: Final = partial(read_array_source, source="ucch")
read_dgcpn: Final = partial(read_array_source, source="dgcpn")
read_ucmfh: Final = partial(read_array_source, source="ucmfh")
read_dcmh_mat: Final = partial(read_array_source, source="dcmh-mat")
read_coco_122k: Final = partial(read_array_source, source="coco-122k")
read_coco_87k: Final = partial(read_array_source, source="coco-87k")

SlotFiles = list[tuple[Slot, Path, str]]
"""Each slot's files, and the data set that a file's name names."""


def choose_layout(layouts: tuple[ArrayLayout, ...], path: Path) -> tuple[ArrayLayout, SlotFiles]:
    """Find the first layout whose files are there, and these files.

    Raises:
        CollectionError: if there is none, naming what the last of them lacks; or if there are
            files of several data sets.
    """
    if path.exists() and not path.is_dir():
        names = {} if is_without_keys(path) else stored_shapes(path)
        for layout in layouts:
            if layout is layouts[-1] or any(
                key in names for slot in layout.slots if slot.side == "image" for key in slot.keys
            ):
                return layout, [(slot, path, path.stem) for slot in layout.slots]
    folder, start = (path, "") if path.is_dir() else (path.parent, path.name)
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    for layout in layouts:
        matched = match_files(layout, files, start)
        if layout is layouts[-1] or not missing_slots(layout, matched):
            break
    sets = {name for _, _, name in matched if name}
    if len(sets) > 1:
        raise several_sets(path, sets)
    if missing := missing_slots(layout, matched):
        present = (
            ", ".join(dict.fromkeys(file.name for _, file, _ in matched)) or "none of its files"
        )
        contents = {"image": "features or pixels", "text": "texts' features", "labels": "labels"}
        problem = f"isn't there: the {contents.get(missing[0].side, 'split')}; {path} has {present}"
        where = str(folder / missing[0].example.replace("\\", ""))
        raise CollectionError([Defect("missing-file", where, problem)])
    return layout, matched


def is_without_keys(path: Path) -> bool:
    """Tell whether a file is one array, or a pickle, whose names show only when it is read."""
    return path.suffix.lower() in (".npy", ".pkl", ".pickle")


def match_files(layout: ArrayLayout, files: list[Path], start: str) -> SlotFiles:
    """Find the files of each slot, of data sets whose names begin with `start`."""
    matched: SlotFiles = []
    for slot in layout.slots:
        for file in files:
            match = re.fullmatch(slot.file, file.name, re.IGNORECASE)
            if match is None or file.is_dir():
                continue
            name = match.groupdict().get("set") or ""
            if slot.file == ARRAY_FILE:
                words = PART_WORDS.fullmatch(file.stem)
                if not (words["set"] if words else file.stem).startswith(start):
                    continue
            elif name and not name.startswith(start):
                continue
            matched.append((slot, file, name))
    return matched


def missing_slots(layout: ArrayLayout, matched: SlotFiles) -> list[Slot]:
    """List the required slots that no file fills."""
    filled = [slot for slot, _, _ in matched]
    return [slot for slot in layout.slots if slot.is_required and slot not in filled]


def several_sets(path: Path, sets: set[str]) -> CollectionError:
    """Describe, as an error, a folder with files of several data sets."""
    names = " and ".join(sorted(sets))
    problem = f"holds files of {names}: add one of these names to the path"
    return CollectionError([Defect("two-sets", str(path), problem)])


def load_slots(layout: ArrayLayout, files: SlotFiles, path: Path) -> LoadedArrays:
    """Read the arrays of a layout.

    Raises:
        CollectionError: if a file can't be read or lacks its array, or if two files hold one.
    """
    names = [name for _, _, name in files if name]
    name = path.absolute().name if path.is_dir() else path.absolute().stem
    if layout.name:
        name = layout.name.replace("{set}", names[0] if names else name)
    loaded = LoadedArrays(name)
    owners: dict[tuple[str, str], list[Path]] = {}
    unread: list[str] = []
    for file in dict.fromkeys(file for _, file, _ in files):
        slots = [slot for slot, own, _ in files if own == file]
        load_file(file, slots, loaded, owners, unread)
    check_owners(owners, {file: set_name for _, file, set_name in files if set_name}, path)
    if not loaded.parts:
        keys = ", ".join(slot.keys[0] for slot in layout.slots[:4])
        problem = f"has none of the arrays {keys}, ...; it has {', '.join(unread) or 'nothing'}"
        raise CollectionError([Defect("missing-array", str(path), problem)])
    if unread and layout.has_parts:
        loaded.notes.append(f"{path}: arrays that aren't read: {', '.join(unread)}")
    return loaded


def load_file(
    file: Path,
    slots: list[Slot],
    loaded: LoadedArrays,
    owners: dict[tuple[str, str], list[Path]],
    unread: list[str],
) -> None:
    """Read the arrays of one file into the slots that it fills.

    Raises:
        CollectionError: if it can't be read, or lacks an array that is required of it.
    """
    keys = [key for slot in slots for key in slot.keys]
    shapes = {} if is_without_keys(file) else stored_shapes(file)
    pixels = next((key for key in keys if len(shapes.get(key, ())) == 4), None)
    arrays = read_named(file, [key for key in keys if key != pixels])
    known = {key.partition("/")[0] for key in keys}
    unread += [f"{file.name}:{name}" for name in shapes if name not in known]
    for slot in slots:
        if slot.side == "image" and pixels is not None:
            loaded.pictures = open_pixels(file, pixels)
            if not any(key in arrays for key in slot.keys):
                loaded.parts.setdefault(slot.part, Part({}, {}))
                continue
        is_there = not slot.keys or any(key in arrays or key in arrays.unread for key in slot.keys)
        if not is_there and not slot.is_required:
            continue
        key = find_array(arrays, slot.keys, file) if slot.keys else next(iter(arrays))
        origin = f"{file}:{key}" if slot.keys else str(file)
        owners.setdefault((slot.side, slot.part), []).append(file)
        if slot.side == "positions":
            loaded.positions[slot.part], loaded.origins[slot.part] = arrays[key], origin
        else:
            part = loaded.parts.setdefault(slot.part, Part({}, {}))
            loaded.parts[slot.part] = Part(
                {**part.arrays, slot.side: arrays[key]}, {**part.origins, slot.side: origin}
            )


def read_named(file: Path, keys: list[str]) -> Arrays:
    """Read named arrays of a file of any kind; of a .npy file the one array it is.

    Raises:
        CollectionError: if it can't be read.
    """
    if file.suffix.lower() == ".npy":
        if holds_objects(file):
            return Arrays({file.stem: read_object_npy(file)})
        return read_arrays(file.parent, [file.stem])
    if file.suffix.lower() not in (".pkl", ".pickle"):
        return read_arrays(file, keys)
    document = read_pickled_file(file)
    if not isinstance(document, dict):
        problem = f"holds a {type(document).__name__}, expected a dict of {', '.join(keys)}"
        raise CollectionError([Defect("missing-array", str(file), problem)])
    return Arrays(pickled_arrays(document, file))


def check_owners(
    owners: Mapping[tuple[str, str], list[Path]], set_names: Mapping[Path, str], path: Path
) -> None:
    """Refuse arrays that two files hold, or files whose names are of different data sets.

    Args:
        owners: array to the files that hold it.
        set_names: file to the data set in its name, where the layout says where that stands.
        path: what was asked for.

    Raises:
        CollectionError: if it is so.
    """
    files = dict.fromkeys(file for own in owners.values() for file in own)
    words = {file: PART_WORDS.fullmatch(file.stem) for file in files}
    sets = {file: match["set"] for file, match in words.items() if match}
    if any(len(own) > 1 for own in owners.values()):
        own = next(own for own in owners.values() if len(own) > 1)
        names = {set_names.get(file) or sets.get(file, file.stem) for file in own}
        if len(names) > 1:
            raise several_sets(path, names)
        problem = f"{' and '.join(file.name for file in own)} hold the same array; keep one of them"
        raise CollectionError([Defect("two-sets", str(path), problem)])
    if len(sets) == len(files) and len(set(sets.values())) > 1:
        raise several_sets(path, set(sets.values()))


def collect_parts(
    layout: ArrayLayout, loaded: LoadedArrays, path: Path, source: str, split_seed: int
) -> Reading:
    """Make a collection of features that are given in parts."""
    reading = FeatureParts(loaded.name, source, path, loaded.parts).reading(split_seed=split_seed)
    notes = (*loaded.notes, *reading.notes)
    if reading.collection is None or not layout.trains_on_database:
        return Reading(reading.collection, reading.defects, notes)
    splits = {"train": reading.collection.splits["database"], **reading.collection.splits}
    if layout.n_validation:
        splits, notes = take_validation(splits, layout.n_validation, path, notes)
    return Reading(replace(reading.collection, splits=splits), reading.defects, notes)


def take_validation(
    splits: dict[str, Positions], n_validation: int, path: Path, notes: tuple[str, ...]
) -> tuple[dict[str, Positions], tuple[str, ...]]:
    """Make the first items of the queries the split `dev`; if there are too few, say so instead."""
    queries = splits["test"]
    if len(queries) <= n_validation:
        problem = f"the test part has {len(queries)} rows, and its first {n_validation} should be "
        return splits, (*notes, f"{path}: {problem}for validation; all of them are queries")
    parted = {"dev": queries[:n_validation], "test": queries[n_validation:]}
    return splits | parted, notes


def collect_whole(
    layout: ArrayLayout, loaded: LoadedArrays, path: Path, source: str, split_seed: int
) -> Reading:
    """Make a collection of features of all items."""
    part = turn_to_rows(loaded.parts[""], loaded.notes)
    n_items = len(part.arrays["text"])
    stored = {loaded.origins[split]: array for split, array in loaded.positions.items()}
    from_zero = positions_from_zero(stored, n_items, loaded.notes)
    splits = {f"split_{split}": from_zero[loaded.origins[split]] for split in loaded.positions}
    if layout.last_rows:
        splits = last_rows(layout, loaded, path, n_items)
    reading = collect_arrays(
        {**part.arrays, **splits},
        name=loaded.name,
        path=path,
        source=source,
        split_seed=split_seed,
        pictures=loaded.pictures,
        n_pictures=loaded.pictures.n_pictures if loaded.pictures else 0,
        origins={**part.origins, **{f"split_{key}": own for key, own in loaded.origins.items()}},
    )
    return Reading(reading.collection, reading.defects, (*loaded.notes, *reading.notes))


def last_rows(
    layout: ArrayLayout, loaded: LoadedArrays, path: Path, n_items: int
) -> dict[str, NDArray[Any]]:
    """Take the last rows for queries; if they don't fit, say so and make no splits."""
    names = layout.last_rows.items()
    n_queries = next((n for key, n in names if key in loaded.name.lower()), 0)
    if not 0 < n_queries < n_items:
        known = ", ".join(f"{n:,} of {key}" for key, n in names)
        loaded.notes.append(
            f"{path}: UCCH's queries are the last rows ({known}), which doesn't fit {n_items} rows "
            f"of {loaded.name!r}; other splits are made"
        )
        return {}
    database = np.arange(n_items - n_queries)
    queries = np.arange(n_items - n_queries, n_items)
    return {"split_train": database, "split_database": database, "split_test": queries}
