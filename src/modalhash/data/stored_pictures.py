"""Pictures that are no files of their own: members of tars, cells of tables."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image

from modalhash.data.pictures import PICTURE_FORMATS, read_picture
from modalhash.errors import CollectionError, Defect
from modalhash.files import file_stamp, open_regular_file

__all__ = ["FilePicture", "StoredPicture", "StoredPictures"]


class StoredPicture(Protocol):
    """A picture file inside another file."""

    @property
    def place(self) -> Path:
        """What messages call it."""

    def read(self) -> bytes:
        """Read the picture file's bytes.

        Raises:
            CollectionError: if they can't be read.
        """

    def stamp(self) -> str:
        """Describe the state of the picture's file or cell; see `Pictures.stamp`."""


@dataclass(frozen=True)
class StoredPictures:
    """Pictures inside other files.

    Attributes:
        pictures: in item order.
        formats: what Pillow may take them for.
    """

    pictures: Sequence[StoredPicture]
    formats: tuple[str, ...] = PICTURE_FORMATS

    def open(self, position: int) -> Image.Image:
        """Open the picture; see `Pictures.open`."""
        return self._open(position, None)

    def open_scaled(self, position: int, side: int) -> Image.Image:
        """Open the picture, smaller where that is quicker; see `ScalablePictures.open_scaled`."""
        return self._open(position, side)

    def _open(self, position: int, side: int | None) -> Image.Image:
        picture = self.pictures[position]
        content = io.BytesIO(picture.read())
        return read_picture(picture.place, formats=self.formats, content=content, side=side)

    def stamp(self, position: int) -> str:
        """Describe the picture's state; see `Pictures.stamp`."""
        return self.pictures[position].stamp()

    def digest(self, position: int) -> str:
        """Compute the SHA-256 of the picture file's bytes; see `Pictures.digest`."""
        return hashlib.sha256(self.pictures[position].read()).hexdigest()

    def path(self, position: int) -> None:
        """Answer None: the picture has no file of its own."""


@dataclass(frozen=True)
class FilePicture:
    """A picture file beside pictures that are stored elsewhere; see `StoredPicture`.

    Attributes:
        place: the file.
    """

    place: Path

    def read(self) -> bytes:
        """Read the file's bytes.

        Raises:
            CollectionError: if it can't be read.
        """
        try:
            with open_regular_file(self.place) as file:
                return file.read()
        except OSError as error:
            problem = f"can't be read: {error.strerror or error}"
            raise CollectionError([Defect("missing-picture", str(self.place), problem)]) from error

    def stamp(self) -> str:
        """Combine the file's size and times."""
        return file_stamp(self.place)
