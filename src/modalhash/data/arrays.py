"""Named arrays of other programs: a folder of .npy files, or an .npz, .mat or .h5 file."""

import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.data.array_errors import ARRAY_ERRORS, read_error, unreadable_file
from modalhash.data.hdf5_files import is_matlab_hdf5, open_hdf5
from modalhash.data.matlab_files import old_mat_shapes, read_old_mat
from modalhash.data.pickled_files import pickled_arrays, read_pickled_file
from modalhash.data.read_limits import ReadBudget
from modalhash.data.text_cells import decode_texts, pack_texts
from modalhash.errors import CollectionError, Defect
from modalhash.files import check_regular_file, map_array, read_regular_text

__all__ = [
    "ARRAY_SUFFIXES",
    "Arrays",
    "find_array",
    "read_arrays",
    "stored_shapes",
]


class Arrays(dict[str, NDArray[Any]]):
    """Name to array: numbers, texts, or tuples of texts where an entry has several.

    Attributes:
        unread: name to why an array that is there can't be read ("is a MATLAB struct").
    """

    def __init__(self, values: Mapping[str, NDArray[Any] | str]) -> None:
        arrays = {name: value for name, value in values.items() if not isinstance(value, str)}
        super().__init__(arrays)
        self.unread = {name: value for name, value in values.items() if isinstance(value, str)}


def read_arrays(path: Path, keys: Collection[str] | None = None) -> Arrays:
    """Read named arrays of a folder or file; nothing is ever unpickled.

    - A folder: `NAME.npy` is the array NAME, mapped into memory rather than read; `NAME.txt` is an
      array of its lines.
    - `.npz`; `.h5`, `.hdf5` and `.h5py` (the data sets at the top); `.mat` of any version, where
      sparse matrices become dense, cells of texts become arrays of texts, and 7.3 (HDF5 written by
      MATLAB) is turned back to MATLAB's order of dimensions.

    - `.pkl`, `.pickle`, `.pt`, `.pth`: a dict of arrays or of PyTorch's tensors, looked at only.

    Byte strings are decoded as UTF-8. Arrays may take 1 GiB, or 100 times the file's size where
    that is more; see `ReadBudget`.

    Args:
        path: the folder or file.
        keys: read these only, if they are there; by default all. In HDF5 a key may lead into a
            group ("param/indexQuery").

    Returns:
        Name to array: numbers or texts, as stored.

    Raises:
        CollectionError: if there is no such file, it can't be read, isn't of these forms, has its
            content in other files, or takes too much memory.
        MissingExtraError: if a .mat or .h5 file needs a package that isn't installed.
    """
    if not path.exists():
        raise unreadable_file(path, "there is no such file or folder; check the path")
    reader = _read_folder if path.is_dir() else _READERS.get(path.suffix.lower())
    if reader is None:
        raise unreadable_file(path, f"is neither a folder nor one of {', '.join(_READERS)}")
    try:
        if not path.is_dir():
            check_regular_file(path)
        return Arrays(reader(path, keys))
    except ARRAY_ERRORS as error:
        raise read_error(path, error) from error


def find_array(arrays: Arrays, keys: Collection[str], path: Path) -> str:
    """Find the first of some names that an array has.

    Raises:
        CollectionError: if there is none, or it can't be read, naming what there is.
    """
    for key in keys:
        if key in arrays:
            return key
        if key in arrays.unread:
            raise CollectionError([Defect("unreadable-array", f"{path}:{key}", arrays.unread[key])])
    is_known = path.suffix.lower() in ARRAY_SUFFIXES
    names = stored_shapes(path) if is_known else [*arrays, *arrays.unread]
    present = ", ".join(names) or "nothing"
    problem = f"has no array {' or '.join(keys)}; it has {present}"
    raise CollectionError([Defect("missing-array", str(path), problem)])


def stored_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Read the names and shapes of a file's arrays, as stored, but not the arrays.

    Raises:
        CollectionError: if the file can't be read.
        MissingExtraError: if it needs a package that isn't installed.
    """
    try:
        if _READERS.get(path.suffix.lower()) is _read_pickled:
            return {name: array.shape for name, array in read_arrays(path).items()}
        if path.suffix.lower() == ".npz":
            with zipfile.ZipFile(path) as archive:
                return {name.removesuffix(".npy"): () for name in archive.namelist()}
        if is_matlab_hdf5(path) is None:
            return old_mat_shapes(path)
        with open_hdf5(path) as file:
            return file.shapes()
    except ARRAY_ERRORS as error:
        raise read_error(path, error) from error


Values = dict[str, NDArray[Any] | str]


def _read_folder(folder: Path, keys: Collection[str] | None) -> Values:
    arrays: Values = {}
    for path in sorted(folder.iterdir()):
        if keys is not None and path.stem not in keys:
            continue
        try:
            if path.suffix.lower() == ".npy":
                arrays[path.stem] = decode_texts(map_array(path))
            elif path.suffix.lower() == ".txt":
                lines = read_regular_text(path).removesuffix("\n").split("\n")
                arrays[path.stem] = pack_texts([line.rstrip("\r") for line in lines])
        except ARRAY_ERRORS as error:
            raise read_error(path, error) from error
    return arrays


def _read_npz(path: Path, keys: Collection[str] | None) -> Values:
    budget = ReadBudget(path)
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if keys is None or name in keys:
                budget.spend(max(member.file_size, _stated_bytes(archive, member)), name)
    with np.load(path, allow_pickle=False) as file:
        names = [name for name in file.files if keys is None or name in keys]
        return {name: decode_texts(np.asarray(file[name])) for name in names}


def _stated_bytes(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    """Read from the header of a stored array how many bytes it takes."""
    with archive.open(member) as file:
        try:
            version = np.lib.format.read_magic(file)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read(file)
        except ValueError:
            return 0  # not an array; numpy says so
    size = dtype.itemsize
    for length in shape:
        size *= length
    return int(size)


def _read_h5(path: Path, keys: Collection[str] | None) -> Values:
    with open_hdf5(path) as file:
        if keys is not None:
            return {name: file.read(name) for name in keys if file.find(name) is not None}
        return {name: file.read(name) for name in file.names()}


def _read_pickled(path: Path, keys: Collection[str] | None) -> Values:
    """Read the arrays or tensors of a dict that was pickled; nothing in it is run."""
    value = read_pickled_file(path)
    arrays = pickled_arrays(value if isinstance(value, dict) else {path.stem: value}, path)
    return {
        name: decode_texts(array) for name, array in arrays.items() if keys is None or name in keys
    }


def _read_mat(path: Path, keys: Collection[str] | None) -> Values:
    if is_matlab_hdf5(path) is not None:
        return _read_h5(path, keys)
    arrays = read_old_mat(path, keys)
    return {name: array for name, array in arrays.items() if keys is None or name in keys}


_READERS: Final[Mapping[str, Callable[[Path, Collection[str] | None], Values]]] = {
    ".npz": _read_npz,
    ".mat": _read_mat,
    ".h5": _read_h5,
    ".hdf5": _read_h5,
    ".h5py": _read_h5,
    ".pkl": _read_pickled,
    ".pickle": _read_pickled,
    ".pt": _read_pickled,
    ".pth": _read_pickled,
}
ARRAY_SUFFIXES: Final = tuple(_READERS)
"""How the names of files of arrays end, in lower case."""
