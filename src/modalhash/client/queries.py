"""What is asked of a server, and how it is written as JSON."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from modalhash.errors import InputError, StorageError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Code", "NewItem", "NewText", "Picture", "Query", "code_hex", "picture_bytes"]

Code = str | bytes | NDArray[np.uint8]
"""A packed code: in hexadecimal, as bytes, or (p,) or (1, p) uint8."""
Picture = "str | PathLike[str] | bytes | Image"
"""A picture: a file's path, a file's bytes, or a picture that is open."""


@dataclass(frozen=True)
class Query:
    """One search of a batch. At least one of the first four is needed; several are combined.

    Attributes:
        text: words to search for.
        id: an item of the index: more like this.
        code: a code of the index's width.
        minus_text: words to lead away from.
        modality: what `code` is of, "text" or "image"; then its relevance is known.
        id_side: the side that `id` is on; `images` by default.
        weights: how much each part of a combination counts.
        target: `images`, `texts` or `both`.
        k: hits of a side at most.
        where: only what passes this filter.
        radius: only items at this distance at most.
        min_relevance: only items that are relevant with this probability at least.
        rerank: how many nearest are put in order by something finer: a number, "auto" or "all".
        rerank_by: "auto", "fine", "features" or "relaxed".
        explain: say why each hit is where it is.

    Example:
        >>> Query("a dog", minus_text="snow", k=3).to_json()
        {'text': 'a dog', 'minus_text': 'snow', 'k': 3}
    """

    text: str | None = None
    id: str | int | None = None
    code: Code | None = None
    minus_text: str | None = None
    modality: str | None = None
    id_side: str | None = None
    weights: Mapping[str, float] | None = None
    target: str | None = None
    k: int | None = None
    where: str | None = None
    radius: int | None = None
    min_relevance: float | None = None
    rerank: int | str | None = None
    rerank_by: str | None = None
    explain: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the document of a request; what isn't said is left to the server.

        Raises:
            InputError: if the code isn't one packed code.
        """
        plain: dict[str, Any] = {
            "text": self.text,
            "id": self.id,
            "minus_text": self.minus_text,
            "id_side": self.id_side,
            "weights": None if self.weights is None else dict(self.weights),
            "target": self.target,
            "k": self.k,
            "filter": self.where,
            "radius": self.radius,
            "min_relevance": self.min_relevance,
            "rerank": self.rerank,
            "rerank_by": self.rerank_by,
            "explain": self.explain or None,
        }
        if self.code is not None:
            of = {} if self.modality is None else {"modality": self.modality}
            plain["code"] = {"hex": code_hex(self.code), **of}
        return {name: value for name, value in plain.items() if value is not None}


@dataclass(frozen=True)
class NewText:
    """A text of an item to add.

    Attributes:
        text: the words.
        id: by default the item's id, `#` and a number.
        code: its code, if it is made already.
    """

    text: str
    id: str | int | None = None
    code: Code | None = None

    def to_json(self) -> dict[str, Any]:
        """Return its part of a request."""
        document: dict[str, Any] = {"text": self.text}
        if self.id is not None:
            document["id"] = self.id
        if self.code is not None:
            document["code"] = {"hex": code_hex(self.code)}
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
    """

    id: str | int
    image: "str | PathLike[str] | bytes | Image | None" = None
    image_code: Code | None = None
    texts: Sequence[str | NewText] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return its part of a request.

        Raises:
            StorageError: if the picture's file can't be read.
        """
        document: dict[str, Any] = {"id": self.id, "metadata": dict(self.metadata)}
        if self.image is not None:
            document["image"] = base64.b64encode(picture_bytes(self.image)).decode()
        if self.image_code is not None:
            document["image_code"] = {"hex": code_hex(self.image_code)}
        document["texts"] = [
            (NewText(one) if isinstance(one, str) else one).to_json() for one in self.texts
        ]
        return document


def code_hex(code: Code) -> str:
    """Return a packed code in hexadecimal.

    Raises:
        InputError: if it isn't one packed code.

    Example:
        >>> code_hex(np.array([[143, 2]], np.uint8))
        '8f02'
    """
    if isinstance(code, str):
        return code
    if isinstance(code, bytes):
        return code.hex()
    if code.dtype != np.uint8 or code.size != code.shape[-1]:
        raise InputError(
            f"code is {code.dtype} of shape {code.shape}, expected one packed code: uint8 of "
            "shape (p,) or (1, p), as the library's pack gives it"
        )
    return code.tobytes().hex()


def picture_bytes(picture: "str | PathLike[str] | bytes | Image") -> bytes:
    """Return the bytes of a picture's file.

    Raises:
        StorageError: if the file can't be read.
    """
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, str | PathLike):
        try:
            return Path(picture).read_bytes()
        except OSError as error:
            raise StorageError(f"can't read {picture}: {error.strerror or error}") from error
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
