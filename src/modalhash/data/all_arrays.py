"""Files of all images, all texts, all labels: `iall-yall-lall:PATH` and `ucch:PATH`.

PATH is a folder, or a folder and the start of the files' names (`data/mirflickr25k`)::

    mirflickr25k-iall.mat        IAll: pixels, HDF5 by MATLAB, (n, 3, 224, 224)
    mirflickr25k-iall-vgg.mat    XAll: features (n, 4096), instead or beside; also ...-xall-vgg.mat
    mirflickr25k-yall.mat        YAll: bags of words (n, d)
    mirflickr25k-lall.mat        LAll: labels (n, c) of 0 and 1

`iall-yall-lall` has no splits: choose a protocol. `ucch` takes the last rows for queries, as UCCH
does with its shuffled files: 2,000 of MIRFlickr and IAPR, 2,100 of NUS-WIDE, 5,000 of COCO. It also
reads `iapr-tc12-rand.mat` (`VDatabase`, `YDatabase`, `databaseL`, `VTest`, `YTest`, `testL`) and
`MSCOCO_deep_doc2vec_data_rand.h5py` (`XAll`, `YAll`, `LAll`).
"""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.data.arrays import is_matlab_hdf5, read_arrays
from modalhash.data.feature_parts import FeatureParts, Part, turn_to_rows
from modalhash.data.features import collect_arrays
from modalhash.data.pixel_pictures import PixelPictures, open_pixels
from modalhash.data.reading import Reading
from modalhash.errors import CollectionError, Defect
from modalhash.extras import import_optional

__all__ = ["read_all_arrays", "read_ucch"]

_FILE: Final = re.compile(r"(.+?)-([ixyl]all)([-_.]\w+)?\.(mat|h5|hdf5|h5py)", re.IGNORECASE)
_IAPR: Final = {
    "database": {"image": "VDatabase", "text": "YDatabase", "labels": "databaseL"},
    "test": {"image": "VTest", "text": "YTest", "labels": "testL"},
}
_UCCH_QUERIES: Final = {"mirflickr": 2000, "nus": 2100, "coco": 5000, "iapr": 2000}


@dataclass
class AllArrays:
    """What the files of one data set hold.

    Attributes:
        name: the start of the files' names.
        part: the features and labels.
        pictures: the pixels, if they are there.
        notes: what is worth knowing.
    """

    name: str
    part: Part
    pictures: PixelPictures | None = None
    notes: list[str] = field(default_factory=list)


def read_all_arrays(argument: str, *, split_seed: int) -> Reading:
    """Read the files without splits; see `SourceReader` and the module's description."""
    path = Path(argument)
    try:
        found = _find(path)
        return _collect(found, path, f"iall-yall-lall:{path.absolute()}", {}, split_seed)
    except CollectionError as error:
        return Reading(None, error.defects)


def read_ucch(argument: str, *, split_seed: int) -> Reading:
    """Read UCCH's files, last rows as queries; see the module's description."""
    path = Path(argument)
    source = f"ucch:{path.absolute()}"
    try:
        file = _single_file(path)
        if file is not None:
            arrays = read_arrays(file)
            if "VDatabase" in arrays:
                return _read_iapr(arrays, file, source, split_seed)
            found = AllArrays(file.stem, _part_of(arrays, file))
        else:
            found = _find(path)
    except CollectionError as error:
        return Reading(None, error.defects)
    found.part = turn_to_rows(found.part, found.notes)
    n_items = len(found.part.arrays["text"])
    n_queries = next((n for key, n in _UCCH_QUERIES.items() if key in found.name.lower()), 0)
    if not 0 < n_queries < n_items:
        known = ", ".join(f"{n:,} of {key}" for key, n in _UCCH_QUERIES.items())
        found.notes.append(
            f"{path}: UCCH's queries are the last rows ({known}), which doesn't fit {n_items} rows "
            f"of {found.name!r}; other splits are made"
        )
        return _collect(found, path, source, {}, split_seed)
    splits: dict[str, NDArray[Any]] = {
        "split_train": np.arange(n_items - n_queries),
        "split_database": np.arange(n_items - n_queries),
        "split_test": np.arange(n_items - n_queries, n_items),
    }
    return _collect(found, path, source, splits, split_seed)


def _collect(
    found: AllArrays, path: Path, source: str, splits: dict[str, NDArray[Any]], split_seed: int
) -> Reading:
    part = turn_to_rows(found.part, found.notes)  # no change where that was done before
    reading = collect_arrays(
        {**part.arrays, **splits},
        name=found.name,
        path=path,
        source=source,
        split_seed=split_seed,
        pictures=found.pictures,
        n_pictures=found.pictures.n_pictures if found.pictures else 0,
        origins=part.origins,
    )
    return Reading(reading.collection, reading.defects, (*found.notes, *reading.notes))


def _find(path: Path) -> AllArrays:
    """Find the files of one data set and read all but its pixels.

    Raises:
        CollectionError: if there is none, or more than one data set.
    """
    folder, start = (path, "") if path.is_dir() else (path.parent, path.name)
    files: dict[str, dict[str, list[Path]]] = {}
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = _FILE.fullmatch(file.name)
        if match and match[1].startswith(start):
            files.setdefault(match[1], {}).setdefault(match[2].lower(), []).append(file)
    if len(files) != 1:
        problem = (
            f"holds files of {' and '.join(files)}: add one of these names to the path"
            if files
            else "has no files NAME-iall.mat, NAME-yall.mat, NAME-lall.mat"
        )
        raise CollectionError([Defect("missing-file", str(path), problem)])
    [(name, kinds)] = files.items()
    if "yall" not in kinds or not kinds.keys() & {"iall", "xall"}:
        there = ", ".join(file.name for own in kinds.values() for file in own)
        problem = f"has only {there}; expected -iall or -xall, and -yall"
        raise CollectionError([Defect("missing-file", str(path), problem)])
    found = AllArrays(name, Part({}, {}))
    arrays: dict[str, NDArray[Any]] = {}
    origins: dict[str, str] = {}
    for file in (*kinds.get("iall", ()), *kinds.get("xall", ())):
        pixels = _pixel_key(file)
        if pixels is not None:
            found.pictures = open_pixels(file, pixels)
        else:
            arrays["image"], origins["image"] = _array(file, ("XAll", "IAll", "FAll"))
    arrays["text"], origins["text"] = _array(kinds["yall"][0], ("YAll",))
    if "lall" in kinds:
        arrays["labels"], origins["labels"] = _array(kinds["lall"][0], ("LAll",))
    found.part = Part(arrays, origins)
    return found


def _pixel_key(file: Path) -> str | None:
    """Return the name of an array of pixels, or None if the file holds features."""
    if is_matlab_hdf5(file) is None:
        return next((key for key, array in read_arrays(file).items() if array.ndim == 4), None)
    h5py = import_optional("h5py", extra="matlab", feature="reading .mat and .h5 files")
    with h5py.File(file, "r") as stored:
        return next((key for key in stored if getattr(stored[key], "ndim", 0) == 4), None)


def _array(file: Path, keys: tuple[str, ...]) -> tuple[NDArray[Any], str]:
    arrays = read_arrays(file)
    key = next((key for key in keys if key in arrays), None)
    if key is None:
        problem = f"has no array {' or '.join(keys)}; it has {', '.join(arrays) or 'nothing'}"
        raise CollectionError([Defect("missing-array", str(file), problem)])
    return arrays[key], f"{file}:{key}"


def _single_file(path: Path) -> Path | None:
    """Return UCCH's one-file data sets: IAPR's and COCO's."""
    if path.is_file():
        return path
    names = ("iapr-tc12-rand.mat", "MSCOCO_deep_doc2vec_data_rand.h5py")
    return next((path / name for name in names if (path / name).exists()), None)


def _part_of(arrays: dict[str, NDArray[Any]], file: Path) -> Part:
    keys = {"image": "XAll", "text": "YAll", "labels": "LAll"}
    missing = [key for key in keys.values() if key not in arrays]
    if missing:
        problem = f"has no array {missing[0]}; it has {', '.join(arrays) or 'nothing'}"
        raise CollectionError([Defect("missing-array", str(file), problem)])
    return Part(
        {side: arrays[key] for side, key in keys.items()},
        {side: f"{file}:{key}" for side, key in keys.items()},
    )


def _read_iapr(
    arrays: dict[str, NDArray[Any]], file: Path, source: str, split_seed: int
) -> Reading:
    parts = FeatureParts("iapr-tc12", source, file)
    for part, keys in _IAPR.items():
        given = {side: arrays[key] for side, key in keys.items() if key in arrays}
        origins = {side: f"{file}:{key}" for side, key in keys.items()}
        parts.parts[part] = Part(given, origins)
    reading = parts.reading(split_seed=split_seed)
    if reading.collection is None:
        return reading
    splits = reading.collection.splits
    with_train = {"train": splits["database"], **splits}
    collection = replace(reading.collection, splits=with_train)
    return Reading(collection, reading.defects, reading.notes)
