"""Files that hold a pickle: plain ones, PyTorch's of both kinds, and .npy files of objects.

Nothing is ever unpickled; see `array_pickles`.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.data.array_errors import read_error
from modalhash.data.array_pickles import (
    PICKLE_ERRORS,
    PickledStorage,
    read_array_pickle,
    read_pickle_stream,
    unreadable_pickle,
)
from modalhash.data.read_limits import ReadBudget
from modalhash.errors import CollectionError, Defect
from modalhash.files import open_regular_file

__all__ = ["holds_objects", "pickled_arrays", "read_object_npy", "read_pickled_file"]

_TORCH_MAGIC: Final = 0x1950A86A20F9469CFC6C
"""The first pickle of a file that `torch.save` wrote before PyTorch 1.6."""
_ERRORS: Final = (*PICKLE_ERRORS, zipfile.BadZipFile, NotImplementedError, RuntimeError)


def read_pickled_file(path: Path) -> Any:
    """Read a pickle, or what `torch.save` wrote; tensors become arrays.

    Raises:
        CollectionError: if the file can't be read, is damaged, holds anything but numbers, texts,
            arrays and tensors, or takes too much memory.
    """
    try:
        with open_regular_file(path) as file:
            is_zip = file.read(4) == b"PK\x03\x04"
            file.seek(0)
            if is_zip:
                return _read_torch_zip(file, path)
            size = path.stat().st_size
            first = read_pickle_stream(file, size).finish()
            if first != _TORCH_MAGIC:
                return read_array_pickle(path)
            return _read_older_torch(file, size)
    except _ERRORS as error:
        raise unreadable_pickle(path, error) from error


def pickled_arrays(document: Mapping[Any, Any], path: Path) -> dict[str, NDArray[Any]]:
    """Make arrays of what a pickled dict holds: arrays, numbers, texts, and lists of these.

    Raises:
        CollectionError: if a list takes too much memory, or holds lists of different lengths.
    """
    budget = ReadBudget(path)
    arrays = {}
    for key, value in document.items():
        if not isinstance(value, np.ndarray):
            budget.spend(8 * count_leaves(value, {}), str(key))
        try:
            arrays[str(key)] = np.asarray(value)
        except ValueError as error:  # lists of different lengths
            raise read_error(path, error) from error
    return arrays


def count_leaves(value: Any, counted: dict[int, int]) -> int:
    """Count the values in lists of lists; a pickle can name one list many times.

    Args:
        value: a list, a tuple, or anything else, which counts as its length in bytes or as 1.
        counted: what was counted before, by identity.
    """
    if not isinstance(value, list | tuple):
        return int(getattr(value, "nbytes", 8)) // 8
    if id(value) not in counted:
        counted[id(value)] = sum(count_leaves(member, counted) for member in value)
    return counted[id(value)]


def _read_torch_zip(file: IO[bytes], path: Path) -> Any:
    """Read an archive with `NAME/data.pkl` and the numbers in `NAME/data/KEY`."""
    budget = ReadBudget(path)
    with zipfile.ZipFile(file) as archive:
        members = {member.filename: member for member in archive.infolist()}
        pickles = [name for name in members if name.endswith("data.pkl") and name.count("/") < 2]
        if len(pickles) != 1:
            raise ValueError("it is a zip archive, and none that torch.save wrote")
        folder = pickles[0].removesuffix("data.pkl")
        if (
            archive.read(f"{folder}byteorder") != b"little"
            if f"{folder}byteorder" in members
            else 0
        ):
            raise ValueError("its numbers are stored big end first")

        def read_storage(storage: PickledStorage) -> NDArray[Any]:
            name = f"{folder}data/{storage.key}"
            budget.spend(members[name].file_size, name)
            return np.frombuffer(archive.read(name), storage.dtype)

        budget.spend(members[pickles[0]].file_size, pickles[0])
        with archive.open(pickles[0]) as stream:
            return read_pickle_stream(stream, members[pickles[0]].file_size).finish(read_storage)


def _read_older_torch(file: IO[bytes], size: int) -> Any:
    """Read pickles of a version, the system, the value and the keys; the numbers follow."""
    read_pickle_stream(file, size)
    read_pickle_stream(file, size)
    value = read_pickle_stream(file, size)
    keys = read_pickle_stream(file, size).finish()
    storages: dict[str, NDArray[Any]] = {}
    for key in keys:
        dtype = value.storages[key].dtype
        length = int.from_bytes(file.read(8), "little")
        n_bytes = min(length * dtype.itemsize, size - file.tell())
        storages[key] = np.frombuffer(file.read(n_bytes), dtype)
    return value.finish(lambda storage: storages[storage.key])


def holds_objects(path: Path) -> bool:
    """Tell whether a .npy file holds Python objects instead of numbers or texts.

    Raises:
        CollectionError: if the file can't be read.
    """
    try:
        with open_regular_file(path) as file:
            return _read_npy_header(file).hasobject
    except _ERRORS as error:
        raise read_error(path, error) from error


def _read_npy_header(file: IO[bytes]) -> np.dtype[Any]:
    """Read the head of a .npy file and return the dtype."""
    if np.lib.format.read_magic(file) == (1, 0):
        return np.lib.format.read_array_header_1_0(file)[2]
    return np.lib.format.read_array_header_2_0(file)[2]


def read_object_npy(path: Path) -> NDArray[Any]:
    """Read a .npy file of an array of objects, each an array, as one array with all their rows.

    DGCPN's Wikipedia arrays are such files: an array a class, or a batch.

    Raises:
        CollectionError: if the file can't be read, or its objects aren't arrays of one width.
    """
    try:
        with open_regular_file(path) as file:
            _read_npy_header(file)
            size = path.stat().st_size
            members = read_pickle_stream(file, size, allows_objects=True).finish()
    except _ERRORS as error:
        raise unreadable_pickle(path, error) from error
    arrays = [np.asarray(member) for member in members]
    if len({array.shape[1:] for array in arrays}) != 1 or not arrays[0].ndim:
        shapes = ", ".join(str(array.shape) for array in arrays[:5])
        problem = f"holds arrays of the shapes {shapes}, expected arrays of one width"
        raise CollectionError([Defect("wrong-shape", str(path), problem)])
    return np.concatenate(arrays)
