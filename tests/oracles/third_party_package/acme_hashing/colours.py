"""An encoder that sees colours in nine places, and counts words by a checksum."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modalhash.encoders import EncoderFactory, ImageTower, TextTower, TowerOutput, TowerRequest


class ColourTower(ImageTower):
    """The mean colours of nine places."""

    width = 27

    def identity(self) -> Mapping[str, Any]:
        """Return name and version."""
        return {"name": "acme-colours", "version": 1, "width": self.width}

    def prepare(self, picture: Image.Image) -> NDArray[Any]:
        """Return a picture of 3 x 3 pixels."""
        return np.asarray(picture.convert("RGB").resize((3, 3), Image.Resampling.BOX))

    def encode(self, prepared: Sequence[NDArray[Any]], *, with_tokens: bool = False) -> TowerOutput:
        """Return the nine colours as numbers from 0 to 1."""
        del with_tokens
        colours = np.stack(prepared).reshape(len(prepared), -1)
        return TowerOutput((colours / 255).astype(np.float32))


class WordTower(TextTower):
    """Words, counted in as many places as the encoder's option says."""

    def __init__(self, width: int) -> None:
        self.width = width

    def identity(self) -> Mapping[str, Any]:
        """Return name, version and width."""
        return {"name": "acme-words", "version": 1, "width": self.width}

    def encode(self, texts: Sequence[str], *, with_tokens: bool = False) -> TowerOutput:
        """Return the counts of words by their checksum."""
        del with_tokens
        counts = np.zeros((len(texts), self.width), np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                counts[row, zlib.crc32(word.encode()) % self.width] += 1
        return TowerOutput(counts)


class Colours(EncoderFactory):
    """Colours and words; `colours:SIZE` counts words in SIZE places."""

    def image_tower(self, request: TowerRequest) -> ImageTower:
        """Return the tower of pictures."""
        return ColourTower()

    def text_tower(self, request: TowerRequest) -> TextTower:
        """Return the tower of texts."""
        return WordTower(int(request.options or 64))
