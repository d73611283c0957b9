"""Items to add, and pictures, as a request carries them."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from modalhash.errors import StorageError
from modalhash.picture_arrays import PictureInput, picture_from_array
from modalhash.search_request import Code, code_hex

__all__ = ["NewItem", "NewText", "picture_bytes"]


@dataclass(frozen=True)
class NewText:
    """A text of an item to add.

    Attributes:
        text: the words.
        id: by default the item's id, `#` and a number.
        code: its code, if it is made already.
        bit_order: of the code, "little" (ours) or "big".
    """

    text: str
    id: str | int | None = None
    code: Code | None = None
    bit_order: str = "little"

    def to_json(self) -> dict[str, Any]:
        """Convert the query to its part of a request."""
        document: dict[str, Any] = {"text": self.text}
        if self.id is not None:
            document["id"] = self.id
        if self.code is not None:
            document["code"] = {"hex": code_hex(self.code, self.bit_order)}
        return document


@dataclass(frozen=True)
class NewItem:
    """An item to add: a picture or its code, or texts, or both.

    Attributes:
        id: of the item.
        image: its picture.
        image_code: the picture's code, if it is made already.
        texts: its texts.
        metadata: what else is known of it.
        bit_order: of the picture's code, "little" (ours) or "big".
    """

    id: str | int
    image: "PictureInput | None" = None
    image_code: Code | None = None
    texts: Sequence[str | NewText] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    bit_order: str = "little"

    def to_json(self) -> dict[str, Any]:
        """Convert the item to its part of a request.

        Raises:
            StorageError: if the picture's file can't be read.
        """
        document: dict[str, Any] = {"id": self.id, "metadata": dict(self.metadata)}
        if self.image is not None:
            document["image"] = base64.b64encode(picture_bytes(self.image)).decode()
        if self.image_code is not None:
            document["image_code"] = {"hex": code_hex(self.image_code, self.bit_order)}
        document["texts"] = [
            (NewText(text) if isinstance(text, str) else text).to_json() for text in self.texts
        ]
        return document


def picture_bytes(picture: "PictureInput") -> bytes:
    """Read the bytes of a picture's file; an opened picture and pixels become a PNG file.

    Raises:
        InputError: if an array has no pixels.
        StorageError: if the file can't be read.
    """
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, str | PathLike):
        try:
            return Path(picture).read_bytes()
        except OSError as error:
            raise StorageError(f"can't read {picture}: {error.strerror or error}") from error
    if isinstance(picture, np.ndarray):
        picture = picture_from_array(picture)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
