"""Pictures of a table in memory; see `StoredPicture`."""

import hashlib
import io
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modalhash.data.pictures import upright_rgb
from modalhash.errors import CollectionError, Defect, InputError
from modalhash.picture_arrays import picture_from_array

__all__ = ["DatasetPicture", "MemoryPicture", "PicturePath"]


@dataclass(frozen=True)
class PicturePath:
    """The path of a picture that a data set names without storing it.

    Attributes:
        path: the file.
    """

    path: str


@dataclass(frozen=True)
class MemoryPicture:
    """A picture in memory.

    Attributes:
        content: a file's bytes, an opened picture, or pixels, (h, w, 3) uint8.
        label: what messages call it.
    """

    content: bytes | Image.Image | NDArray[np.uint8] = field(repr=False)
    label: str

    @property
    def place(self) -> Path:
        """Return what messages call it."""
        return Path(self.label)

    def read(self) -> bytes:
        """Give the picture file's bytes; an opened picture and pixels become a BMP file.

        Raises:
            CollectionError: if the pixels are of another shape, or the picture can't be decoded.
        """
        if isinstance(self.content, bytes):
            return self.content
        try:
            is_array = isinstance(self.content, np.ndarray)
            picture = upright_rgb(
                picture_from_array(self.content) if is_array else self.content  # type: ignore[arg-type]
            )
        except InputError as error:
            defect = Defect("unreadable-picture", self.label, str(error))
            raise CollectionError([defect]) from error
        file = io.BytesIO()
        picture.save(file, "BMP")
        return file.getvalue()

    @cached_property
    def _digest(self) -> str:
        return hashlib.sha256(self.read()).hexdigest()

    def stamp(self) -> str:
        """Compute the SHA-256 of the bytes, once."""
        return self._digest


@dataclass(frozen=True)
class DatasetPicture:
    """A picture in a cell of a data set of Hugging Face, which is read when it is wanted.

    Attributes:
        cells: the column, as a data set that gives tables of Arrow.
        column: its name.
        row: of the cell, from 0.
        label: what messages call the data set.
    """

    cells: Any = field(repr=False)
    column: str
    row: int
    label: str

    @property
    def place(self) -> Path:
        """Return what messages call it."""
        return Path(f"{self.label}, row {self.row + 1}")

    def read(self) -> bytes:
        """Read the picture file's bytes.

        Raises:
            CollectionError: if the data set can't be read any more.
        """
        try:
            cell = self.cells[self.row : self.row + 1][self.column][0].as_py()
        except (OSError, ValueError, IndexError) as error:
            problem = f"can't be read: {error}"
            raise CollectionError([Defect("unreadable-file", str(self.place), problem)]) from error
        content: bytes = cell["bytes"] if isinstance(cell, dict) else cell
        return content

    def stamp(self) -> str:
        """Compute the SHA-256 of the bytes: a data set in memory has no time of change."""
        return hashlib.sha256(self.read()).hexdigest()
