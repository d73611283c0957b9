"""Texts in .mat files of any version: char matrices, cells of texts, cells of cells."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.data.arrays import is_matlab_hdf5, load_older_mat
from modalhash.errors import CollectionError, Defect
from modalhash.extras import import_optional

__all__ = ["read_matlab_variable"]

_FEATURE = "reading .mat files"


def read_matlab_variable(path: Path, keys: tuple[str, ...]) -> list[list[str]] | NDArray[Any]:
    """Read the first of some variables that a .mat file holds.

    Args:
        path: the file, of any version.
        keys: names the variable may have.

    Returns:
        Numbers as a matrix. Texts as one list an entry: a cell of several texts (captions that
        are ragged) stays together; texts lose blanks at their ends, which char matrices pad with.

    Raises:
        CollectionError: if the file can't be read, has none of the variables, or holds something
            that is neither numbers nor texts.
        MissingExtraError: if a package for the file isn't installed.
    """
    try:
        if is_matlab_hdf5(path) is None:
            return _from_old_mat(path, keys)
        return _from_hdf5(path, keys)
    except (OSError, ValueError, TypeError, EOFError) as error:
        if isinstance(error, CollectionError):
            raise
        raise _fault(path, f"can't be read: {error}") from error


def _fault(path: Path, problem: str) -> CollectionError:
    return CollectionError([Defect("unreadable-file", str(path), problem)])


def _missing(path: Path, keys: tuple[str, ...], there: list[str]) -> CollectionError:
    names = ", ".join(name for name in there if not name.startswith(("__", "#"))) or "nothing"
    problem = f"has none of the variables {', '.join(keys)}; it has {names}"
    return CollectionError([Defect("missing-array", str(path), problem)])


def _from_old_mat(path: Path, keys: tuple[str, ...]) -> list[list[str]] | NDArray[Any]:
    sparse = import_optional("scipy.sparse", extra="matlab", feature=_FEATURE)
    stored = load_older_mat(path)
    key = next((key for key in keys if key in stored), None)
    if key is None:
        raise _missing(path, keys, list(stored))
    value = stored[key]
    if sparse.issparse(value):
        value = value.toarray()
    if value.dtype.kind in "fiub":
        return np.asarray(value)
    entries = value.ravel() if 1 in value.shape or value.ndim == 1 else list(value)
    return [list(_texts_of(entry, path, key)) for entry in entries]


def _texts_of(entry: Any, path: Path, key: str) -> list[str]:
    """Return the texts in a cell, however deep."""
    if isinstance(entry, str):
        return [entry.strip()]
    if isinstance(entry, np.ndarray) and (entry.dtype.kind in "OU" or not entry.size):
        return [text for cell in entry.ravel() for text in _texts_of(cell, path, key)]
    problem = f"variable {key!r} holds {type(entry).__name__} in a cell, expected texts"
    raise _fault(path, problem)


def _from_hdf5(path: Path, keys: tuple[str, ...]) -> list[list[str]] | NDArray[Any]:
    h5py = import_optional("h5py", extra="matlab", feature=_FEATURE)
    with h5py.File(path, "r") as stored:
        key = next((key for key in keys if key in stored), None)
        if key is None:
            raise _missing(path, keys, list(stored))
        value = stored[key]
        if h5py.check_ref_dtype(value.dtype):
            cells = value[()].T
            entries = cells.ravel() if 1 in cells.shape else list(cells)
            return [_referred(stored, entry, h5py) for entry in entries]
        if h5py.check_string_dtype(value.dtype):
            return [[text.strip()] for text in np.ravel(value.asstr()[()])]
        if value.attrs.get("MATLAB_class", b"") == b"char":
            return [[_char_row(row)] for row in value[()].T]
        array: NDArray[Any] = value[()]
        return array.T if is_matlab_hdf5(path) else array


def _referred(stored: Any, entry: Any, h5py: Any) -> list[str]:
    """Return the texts that a reference, or a row of references, leads to."""
    if isinstance(entry, np.ndarray):
        return [text for one in entry.ravel() for text in _referred(stored, one, h5py)]
    value = stored[entry]
    if h5py.check_ref_dtype(value.dtype):
        return _referred(stored, value[()].T, h5py)
    if value.attrs.get("MATLAB_empty", 0):
        return []
    return [_char_row(row) for row in np.atleast_2d(value[()].T)]


def _char_row(codes: NDArray[Any]) -> str:
    return np.asarray(codes, "<u2").tobytes().decode("utf-16-le", "replace").strip()
