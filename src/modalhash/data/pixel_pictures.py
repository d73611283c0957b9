"""Pictures that are rows of one array of pixels."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modalhash.data.array_errors import ARRAY_ERRORS, read_error
from modalhash.data.hdf5_files import is_matlab_hdf5, open_hdf5
from modalhash.data.matlab_files import load_old_mat
from modalhash.errors import CollectionError, Defect
from modalhash.files import file_stamp

__all__ = ["PixelPictures", "open_pixels"]

_LOCK: Final = Lock()
"""HDF5 reads one row at a time, whichever thread asks."""


@dataclass(frozen=True)
class PixelPictures:
    """Pictures stored as pixels in an array of a file.

    Attributes:
        file: where.
        key: the array's name.
        n_pictures: rows of the array.
        read_row: returns the (h, w, 3) uint8 pixels of a row.
    """

    file: Path
    key: str
    n_pictures: int
    read_row: Callable[[int], NDArray[np.uint8]]

    def open(self, position: int) -> Image.Image:
        """Copy the picture from the array; see `Pictures.open`."""
        return Image.fromarray(np.ascontiguousarray(self.read_row(position)))

    def stamp(self, position: int) -> str:
        """Combine the file's size and times, and the row; see `Pictures.stamp`."""
        return f"{file_stamp(self.file)}:{position}"

    def digest(self, position: int) -> str:
        """Compute a SHA-256 of the pixels; see `Pictures.digest`."""
        return hashlib.sha256(np.ascontiguousarray(self.read_row(position)).tobytes()).hexdigest()

    def path(self, position: int) -> None:
        """Answer None: the picture has no file of its own."""


def open_pixels(file: Path, key: str) -> PixelPictures:
    """Open an array of pixels without reading it; a relative path is meant from here.

    HDF5 files hold (n, 3, w, h), which is MATLAB's (h, w, 3, n) turned around; older .mat files
    hold (h, w, 3, n) or (n, 3, h, w) and are read as a whole.

    Raises:
        CollectionError: if there is no such array, or it isn't of that shape.
        MissingExtraError: if a package for the file isn't installed.
    """
    file = file.absolute()
    try:
        if is_matlab_hdf5(file) is None:
            return _from_old_mat(file, key)
        with open_hdf5(file) as stored:
            pixels = stored.find(key)
            if pixels is None:
                present = ", ".join(stored.names()) or "nothing"
                raise _fault(file, key, f"isn't there; there is {present}")
            shape, dtype = pixels.shape, pixels.dtype
    except ARRAY_ERRORS as error:
        raise read_error(file, error) from error
    if len(shape) != 4 or shape[1] != 3 or dtype != np.uint8:
        raise _fault(file, key, f"is {dtype} {shape}, expected uint8 (n, 3, width, height)")

    def read_row(position: int) -> NDArray[np.uint8]:
        try:
            with _LOCK, open_hdf5(file) as opened:
                row: NDArray[np.uint8] = opened.find(key)[position]
        except ARRAY_ERRORS as error:
            raise read_error(file, error) from error
        return row.transpose(2, 1, 0)

    return PixelPictures(file, key, shape[0], read_row)


def _from_old_mat(file: Path, key: str) -> PixelPictures:
    array = load_old_mat(file, [key]).get(key)
    if array is None or array.ndim != 4 or array.dtype != np.uint8 or 3 not in array.shape[1:3]:
        came = "isn't there" if array is None else f"is {array.dtype} {array.shape}"
        raise _fault(file, key, f"{came}, expected uint8 (height, width, 3, n) or (n, 3, h, w)")
    rows = array.transpose(3, 0, 1, 2) if array.shape[2] == 3 else array.transpose(0, 2, 3, 1)
    return PixelPictures(file, key, len(rows), lambda position: rows[position])


def _fault(file: Path, key: str, problem: str) -> CollectionError:
    return CollectionError([Defect("wrong-shape", f"{file}:{key}", problem)])
