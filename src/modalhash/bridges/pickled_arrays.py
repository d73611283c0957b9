"""Write numpy arrays by name as a pickle, for programs that read nothing else.

The pickle is put together from a dozen of its instructions, so no serialiser that could run code is
imported here. What it asks its reader to call is what numpy's own pickles of arrays ask for:
`numpy.ndarray`, `numpy.dtype` and `numpy.core.multiarray._reconstruct`, which every version of
numpy knows. We ourselves read such files without calling anything (`modalhash.data.array_pickles`).
"""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.errors import ShapeError
from modalhash.files import write_with

__all__ = ["write_pickled_arrays"]

PROTOCOL: Final = b"\x80\x04"
"""Protocol 4: Python 3.4 and later; contents may be longer than 4 GiB."""
EMPTY_DICT, MARK, SET_ITEMS, STOP = b"}", b"(", b"u", b"."
TUPLE, TUPLE_OF_1, TUPLE_OF_3 = b"t", b"\x85", b"\x87"
NONE, FALSE, TRUE, REDUCE, BUILD = b"N", b"\x89", b"\x88", b"R", b"b"
BLOCK: Final = 1 << 24


def write_pickled_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a dict of arrays of numbers as one pickle, atomically.

    Args:
        path: the file.
        arrays: name to numbers of any shape; they are written row by row, little-endian.

    Raises:
        ShapeError: if one holds anything but numbers.
        StorageError: if the file system refuses.
    """
    for name, array in arrays.items():
        if array.dtype.kind not in "iuf":
            raise ShapeError(f"{name} is {array.dtype}, expected numbers: only these are pickled")

    def write(file: IO[bytes]) -> None:
        file.write(PROTOCOL + EMPTY_DICT + MARK)
        for name, array in arrays.items():
            file.write(push_text(name))
            write_one(file, array)
        file.write(SET_ITEMS + STOP)

    write_with(path, write)


def write_one(file: IO[bytes], array: NDArray[Any]) -> None:
    """Write what builds one array: an empty one, then its version, shape, dtype, order, content."""
    little = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
    code = f"{little.dtype.kind}{little.dtype.itemsize}"
    file.write(push_import("numpy.core.multiarray", "_reconstruct"))
    file.write(push_import("numpy", "ndarray") + push_number(0) + TUPLE_OF_1 + b"C\x01b")
    file.write(TUPLE_OF_3 + REDUCE)
    shape = MARK + b"".join(push_number(size) for size in little.shape) + TUPLE
    dtype = push_import("numpy", "dtype") + push_text(code) + FALSE + TRUE + TUPLE_OF_3 + REDUCE
    order = (
        MARK
        + push_number(3)
        + push_text("<")
        + NONE * 3
        + push_number(-1) * 2
        + push_number(0)
        + TUPLE
    )
    file.write(MARK + push_number(1) + shape + dtype + order + BUILD + FALSE)
    file.write(b"\x8e" + struct.pack("<Q", little.nbytes))
    content = little.reshape(-1).view(np.uint8)
    for start in range(0, len(content), BLOCK):
        file.write(content[start : start + BLOCK].tobytes())
    file.write(TUPLE + BUILD)


def push_import(module: str, name: str) -> bytes:
    """Make the instruction that names something to import."""
    return b"c" + f"{module}\n{name}\n".encode("ascii")


def push_text(value: str) -> bytes:
    """Make the instruction for a text."""
    encoded = value.encode("utf-8")
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def push_number(value: int) -> bytes:
    """Make the instruction for a whole number of at most eight bytes."""
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    return b"\x8a\x08" + struct.pack("<q", value)
