"""COCO as features: `coco-122k:PATH` and `coco-87k:PATH`.

- `coco-122k`: UCCH's HDF5 file `MSCOCO_deep_doc2vec_data_rand.h5py` with `XAll`, `YAll`, `LAll`
  (or a folder that holds it); the rows are shuffled and have no splits of their own: the protocol
  `ucch` takes the last 5,000 for queries.
- `coco-87k`: a folder with `COCO.mat` (HDF5: features `XAll`, labels `LAll`, perhaps pixels `IAll`,
  and the indices `param/indexQuery` and `param/indexDatabase`, counted from 1) and `COCO_BoW.npy`
  (bags of words).
"""

from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from modalhash.data.arrays import read_arrays
from modalhash.data.feature_parts import Part, positions_from_zero, turn_to_rows
from modalhash.data.features import collect_arrays
from modalhash.data.pair_lists import first_existing, missing_file
from modalhash.data.pixel_pictures import open_pixels
from modalhash.data.reading import Reading
from modalhash.errors import CollectionError, Defect
from modalhash.extras import import_optional

__all__ = ["read_coco_87k", "read_coco_122k"]

_INDICES: Final = {"test": "param/indexQuery", "database": "param/indexDatabase"}
_FILE_122K: Final = "MSCOCO_deep_doc2vec_data_rand.h5py"


def read_coco_122k(argument: str, *, split_seed: int) -> Reading:
    """Read UCCH's file of 122,218 pairs; see `SourceReader` and the module's description."""
    path = Path(argument)
    file = path / _FILE_122K if path.is_dir() else path
    try:
        stored = read_arrays(file)
    except CollectionError as error:
        return Reading(None, error.defects)
    keys = {"image": "XAll", "text": "YAll", "labels": "LAll"}
    missing = [key for key in keys.values() if key not in stored]
    if missing:
        problem = f"has no array {missing[0]}; it has {', '.join(stored) or 'nothing'}"
        return Reading(None, (Defect("missing-array", str(file), problem),))
    notes: list[str] = []
    origins = {side: f"{file}:{key}" for side, key in keys.items()}
    part = turn_to_rows(Part({side: stored[key] for side, key in keys.items()}, origins), notes)
    reading = collect_arrays(
        part.arrays,
        name="coco-122k",
        path=file,
        source=f"coco-122k:{path.absolute()}",
        split_seed=split_seed,
        origins=origins,
    )
    return Reading(reading.collection, reading.defects, (*notes, *reading.notes))


def read_coco_87k(argument: str, *, split_seed: int) -> Reading:
    """Read the file of 87,081 pairs; see the module's description."""
    path = Path(argument)
    file, words = path / "COCO.mat", path / "COCO_BoW.npy"
    if not file.exists():
        return missing_file(file, "the features, labels and indices")
    if not words.exists():
        return missing_file(first_existing(path, (words.name,)), "the bags of words")
    try:
        arrays, indices, has_pixels = _read_hdf5(file)
        arrays["text"] = read_arrays(path)["COCO_BoW"]
        pictures = open_pixels(file, "IAll") if has_pixels else None
    except CollectionError as error:
        return Reading(None, error.defects)
    origins = {"image": f"{file}:XAll", "labels": f"{file}:LAll", "text": str(words)}
    notes: list[str] = []
    part = turn_to_rows(Part(arrays, origins), notes)
    n_items = len(part.arrays["text"])
    origins |= {f"split_{name}": f"{file}:{key}" for name, key in _INDICES.items()}
    stored = {origins[f"split_{name}"]: array for name, array in indices.items()}
    from_zero = positions_from_zero(stored, n_items, notes)
    splits = {f"split_{name}": from_zero[origins[f"split_{name}"]] for name in indices}
    reading = collect_arrays(
        {**part.arrays, **splits},
        name="coco-87k",
        path=path,
        source=f"coco-87k:{path.absolute()}",
        split_seed=split_seed,
        pictures=pictures,
        n_pictures=pictures.n_pictures if pictures else 0,
        origins=origins,
    )
    return Reading(reading.collection, reading.defects, (*notes, *reading.notes))


def _read_hdf5(file: Path) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]], bool]:
    """Return features and labels, the indices, and whether there are pixels.

    Raises:
        CollectionError: if the file isn't HDF5, or lacks something.
    """
    h5py = import_optional("h5py", extra="matlab", feature="reading .mat and .h5 files")
    try:
        with h5py.File(file, "r") as stored:
            needed = ("LAll", *_INDICES.values(), *(() if "IAll" in stored else ("XAll",)))
            for key in needed:
                if key not in stored:
                    problem = f"has no {key!r}; it has {', '.join(map(repr, stored))}"
                    raise CollectionError([Defect("missing-array", str(file), problem)])
            arrays = {"labels": stored["LAll"][()]}
            if "XAll" in stored:
                arrays["image"] = stored["XAll"][()]
            indices = {name: stored[key][()] for name, key in _INDICES.items()}
            return arrays, indices, "IAll" in stored
    except OSError as error:
        problem = f"can't be read as HDF5: {error}"
        raise CollectionError([Defect("unreadable-file", str(file), problem)]) from error
