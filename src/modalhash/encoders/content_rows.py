"""The rows of one modality of a collection, as extraction sees them."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.data.collection import Collection, Modality, Moments, open_for_side
from modalhash.data.frames import frames_of
from modalhash.encoders.base import ImageTower, TextTower, Tower, TowerOutput
from modalhash.encoders.frames import FrameTower
from modalhash.errors import FeatureError

__all__ = ["PictureRows", "Rows", "TextRows", "joint_hash", "require_finite"]


class Rows(ABC):
    """What extraction must know of the rows of one modality.

    Attributes:
        modality: "image" or "text".
        tower: what encodes them.
    """

    modality: Modality
    tower: Tower

    @abstractmethod
    def __len__(self) -> int:
        """Count the rows."""

    @abstractmethod
    def name(self, row: int) -> str:
        """Name a row for messages."""

    @abstractmethod
    def stamp(self, row: int) -> str:
        """Describe a row by a text that is cheap to get and changes with the row's content."""

    @abstractmethod
    def digest(self, row: int) -> str:
        """Compute a SHA-256 of the row's content.

        Raises:
            CollectionError: if a picture can't be read.
        """

    @abstractmethod
    def prepare(self, row: int) -> Any:
        """Prepare the tower's input for a row; runs in a thread.

        Raises:
            CollectionError: if a picture can't be read.
            FeatureError: if a text is empty.
        """

    @abstractmethod
    def encode(self, prepared: Sequence[Any], *, with_tokens: bool) -> TowerOutput:
        """Encode a batch of prepared rows."""


class PictureRows(Rows):
    """The pictures of a collection."""

    def __init__(self, collection: Collection, tower: ImageTower) -> None:
        assert collection.pictures is not None
        self.collection, self.pictures = collection, collection.pictures
        self.tower: ImageTower = tower
        self.modality: Modality = "image"

    def __len__(self) -> int:
        """Count the rows."""
        return self.collection.n_items

    def name(self, row: int) -> str:
        """Name a row for messages."""
        return f"picture {self.collection.item_ids[row]!r} of {self.collection.name!r}"

    def stamp(self, row: int) -> str:
        """Describe the row's state; see `ContentRows.stamp`."""
        return self.pictures.stamp(row)

    def digest(self, row: int) -> str:
        """Compute a SHA-256 of the row's content."""
        return self.pictures.digest(row)

    def prepare(self, row: int) -> NDArray[Any]:
        """Open a picture, or a video's frames, and return the tower's input for it."""
        if isinstance(self.tower, FrameTower):
            side = self.tower.picture_side
            frames = frames_of(self.pictures, row, self.tower.frames, side=side)
            return self.tower.prepare_frames(frames)
        if isinstance(self.pictures, Moments):
            frames = self.pictures.pooled_frames(row, side=self.tower.picture_side)
            return FrameTower(self.tower).prepare_frames(frames)
        return self.tower.prepare(open_for_side(self.pictures, row, self.tower.picture_side))

    def encode(self, prepared: Sequence[NDArray[Any]], *, with_tokens: bool) -> TowerOutput:
        """Encode a batch of prepared rows.

        Where a tower of single pictures meets videos, a whole video is the mean of its frames; its
        tokens are those of the middle one.
        """
        if isinstance(self.tower, FrameTower) or not isinstance(self.pictures, Moments):
            return self.tower.encode(prepared, with_tokens=with_tokens)
        if with_tokens:
            middle = [frames[len(frames) // 2] for frames in prepared]
            return self.tower.encode(middle, with_tokens=True)
        return FrameTower(self.tower).encode(prepared)


class TextRows(Rows):
    """The texts of a collection."""

    def __init__(self, collection: Collection, tower: TextTower) -> None:
        assert collection.captions is not None
        self.collection, self.captions = collection, collection.captions
        self.tower: TextTower = tower
        self.modality: Modality = "text"

    def __len__(self) -> int:
        """Count the rows."""
        return self.collection.n_captions

    def name(self, row: int) -> str:
        """Name a row for messages."""
        return f"text {self.collection.caption_ids[row]!r} of {self.collection.name!r}"

    def stamp(self, row: int) -> str:
        """Describe the row's state; see `ContentRows.stamp`."""
        return self.digest(row)

    def digest(self, row: int) -> str:
        """Compute a SHA-256 of the row's content."""
        return hashlib.sha256(self.captions[row].encode()).hexdigest()

    def prepare(self, row: int) -> str:
        """Read the text, which must not be empty."""
        text = self.captions[row]
        if not text.strip():
            raise FeatureError(f"{self.name(row)} is empty: give it a word or leave it out")
        return text

    def encode(self, prepared: Sequence[str], *, with_tokens: bool) -> TowerOutput:
        """Encode a batch of prepared rows."""
        return self.tower.encode(prepared, with_tokens=with_tokens)


def joint_hash(texts: Iterable[str]) -> str:
    """Compute a SHA-256 over texts in their order."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()


def require_finite(array: NDArray[np.float32], name: Callable[[int], str]) -> None:
    """Refuse NaN and infinity.

    Raises:
        FeatureError: naming the first row that holds one.
    """
    if not np.isfinite(array).all():
        finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
        raise FeatureError(
            f"{name(int(np.argmin(finite)))} has features that aren't finite (NaN or infinity): "
            "check it, or leave it out of the collection"
        )
