"""Named arrays of other programs: a folder of .npy files, or an .npz, .mat or .h5 file."""

import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.errors import CollectionError, Defect
from modalhash.extras import import_optional

__all__ = ["is_matlab_hdf5", "load_older_mat", "read_arrays"]

Arrays = dict[str, NDArray[Any]]
_FEATURE: Final = "reading .mat and .h5 files"
_HDF5_SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"


def read_arrays(path: Path) -> Arrays:
    """Read every named array of a folder or file; nothing is ever unpickled.

    - A folder: `NAME.npy` is the array NAME, mapped into memory rather than read; `NAME.txt` is an
      array of its lines.
    - `.npz`; `.h5`, `.hdf5` and `.h5py` (the data sets at the top); `.mat` of any version, where
      sparse matrices become dense, cells of texts become arrays of texts, and 7.3 (HDF5 written by
      MATLAB) is turned back to MATLAB's order of dimensions.

    Args:
        path: the folder or file.

    Returns:
        Name to array: numbers or texts, as stored.

    Raises:
        CollectionError: if there is no such file, it can't be read, or it isn't of these forms.
        MissingExtraError: if a .mat or .h5 file needs a package that isn't installed.
    """
    reader = _read_folder if path.is_dir() else _READERS.get(path.suffix.lower())
    if not path.exists():
        raise _fault("unreadable-file", path, "there is no such file or folder; check the path")
    if reader is None:
        known = ", ".join(_READERS)
        raise _fault("unreadable-file", path, f"is neither a folder nor one of {known}")
    try:
        return reader(path)
    except (OSError, ValueError, TypeError, EOFError, KeyError, zipfile.BadZipFile) as error:
        if isinstance(error, CollectionError):
            raise
        raise _fault("unreadable-file", path, f"can't be read: {error}") from error


def _fault(kind: str, path: Path, problem: str) -> CollectionError:
    return CollectionError([Defect(kind, str(path), problem)])


def _read_folder(folder: Path) -> Arrays:
    arrays: Arrays = {}
    for path in sorted(folder.iterdir()):
        try:
            if path.suffix == ".npy":
                arrays[path.stem] = np.load(path, mmap_mode="r", allow_pickle=False)
            elif path.suffix == ".txt":
                text = path.read_text(encoding="utf-8-sig").removesuffix("\n")
                arrays[path.stem] = np.array([line.rstrip("\r") for line in text.split("\n")])
        except (OSError, ValueError, EOFError) as error:
            raise _fault("unreadable-file", path, f"can't be read: {error}") from error
    return arrays


def _read_npz(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _read_h5(path: Path) -> Arrays:
    h5py = import_optional("h5py", extra="matlab", feature=_FEATURE)
    with h5py.File(path, "r") as file:
        return {
            name: item.asstr()[()] if h5py.check_string_dtype(item.dtype) else item[()]
            for name, item in file.items()
            if isinstance(item, h5py.Dataset)
        }


def is_matlab_hdf5(path: Path) -> bool | None:
    """Tell whether a file is HDF5 by MATLAB (7.3), whose dimensions are turned around.

    Returns:
        True for MATLAB's own, False for HDF5 by another program, None for no HDF5 at all.
    """
    with path.open("rb") as file:
        start = file.read(520)
    if start[:19] == b"MATLAB 7.3 MAT-file" and start[512:] == _HDF5_SIGNATURE:
        return True
    return False if start.startswith(_HDF5_SIGNATURE) else None


def load_older_mat(path: Path, variable: str | None = None) -> dict[str, Any]:
    """Read a .mat file older than 7.3 with scipy.

    Args:
        path: the file.
        variable: read this one only.

    Raises:
        ValueError: if it is damaged, whatever scipy says of it.
        MissingExtraError: if scipy isn't installed.
    """
    io = import_optional("scipy.io", extra="matlab", feature=_FEATURE)
    try:
        stored: dict[str, Any] = io.loadmat(path, variable_names=variable and [variable])
    except (io.matlab.MatReadError, LookupError, ArithmeticError, NotImplementedError) as error:
        raise ValueError(str(error)) from error
    except zlib.error as error:
        raise ValueError(f"its compressed content is damaged ({error})") from error
    return stored


def _read_mat(path: Path) -> Arrays:
    by_matlab = is_matlab_hdf5(path)
    if by_matlab is not None:
        stored = _read_h5(path)
        return {name: array.T for name, array in stored.items()} if by_matlab else stored
    sparse = import_optional("scipy.sparse", extra="matlab", feature=_FEATURE)
    arrays: Arrays = {}
    for name, array in load_older_mat(path).items():
        if name.startswith("__"):
            continue
        dense: NDArray[Any] = array.toarray() if sparse.issparse(array) else array
        if dense.dtype == object:  # a cell array
            texts = [cell.item() if cell.size == 1 else None for cell in dense.ravel()]
            if not all(isinstance(text, str) for text in texts):
                continue
            dense = np.array(texts)
        arrays[name] = np.char.rstrip(dense) if dense.dtype.kind == "U" else dense
    return arrays


_READERS: Final[Mapping[str, Callable[[Path], Arrays]]] = {
    ".npz": _read_npz,
    ".mat": _read_mat,
    ".h5": _read_h5,
    ".hdf5": _read_h5,
    ".h5py": _read_h5,
}
