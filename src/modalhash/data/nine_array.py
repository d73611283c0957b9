"""Nine arrays, one or three files: `nine-array:PATH`.

PATH is a .mat, .h5 or .npz file, or a folder of them (`mir_train.mat`, `mir_query.mat`,
`mir_database.mat`), with `I_tr`, `T_tr`, `L_tr` (image, text and labels of the training items),
the same with `te` (queries) and `db` (database). Without `db`, the training items are the
database. Training rows that are also rows of the database count as one item.
"""

import re
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from modalhash.data.arrays import read_arrays
from modalhash.data.feature_parts import FeatureParts, Part
from modalhash.data.reading import Reading
from modalhash.errors import CollectionError, Defect

__all__ = ["read_nine_array"]

_KEY: Final = re.compile(r"([ITL])_(tr|te|db)")
_SIDES: Final = {"I": "image", "T": "text", "L": "labels"}
_PARTS: Final = {"tr": "train", "te": "test", "db": "database"}
_SUFFIXES: Final = (".mat", ".h5", ".hdf5", ".npz")


def read_nine_array(argument: str, *, split_seed: int) -> Reading:
    """Read nine arrays; see `SourceReader` and the module's description."""
    path = Path(argument)
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES)
    parts = FeatureParts(path.absolute().stem, f"nine-array:{path.absolute()}", path)
    arrays: dict[str, dict[str, NDArray[Any]]] = {}
    origins: dict[str, dict[str, str]] = {}
    unread: list[str] = []
    try:
        for file in files:
            for key, array in read_arrays(file).items():
                if match := _KEY.fullmatch(key):
                    part, side = _PARTS[match[2]], _SIDES[match[1]]
                    arrays.setdefault(part, {})[side] = array
                    origins.setdefault(part, {})[side] = f"{file}:{key}"
                else:
                    unread.append(f"{file.name}:{key}")
    except CollectionError as error:
        return Reading(None, error.defects)
    if not arrays:
        found = ", ".join(unread) or "nothing"
        problem = f"has none of the arrays I_tr, T_tr, L_tr, I_te, ...; it has {found}"
        return Reading(None, (Defect("missing-array", str(path), problem),))
    parts.parts = {part: Part(arrays[part], origins[part]) for part in arrays}
    reading = parts.reading(split_seed=split_seed)
    notes = (f"{path}: arrays that aren't read: {', '.join(unread)}",) if unread else ()
    return Reading(reading.collection, reading.defects, (*notes, *reading.notes))
