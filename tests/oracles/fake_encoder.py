"""Towers and pictures that are quick, predictable and countable, for tests of extraction."""

import hashlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modalhash.data.collection import Collection
from modalhash.encoders.base import (
    Encoder,
    Identity,
    ImageTower,
    TextTower,
    TowerOutput,
    require_texts,
)


@dataclass
class GreyPictures:
    """Pictures of one grey value each; `values` may be changed to change a picture."""

    values: list[int]
    opened: list[int] = field(default_factory=list)
    digested: list[int] = field(default_factory=list)
    touched: int = 0

    def open(self, position: int) -> Image.Image:
        self.opened.append(position)
        return Image.new("RGB", (4, 4), (self.values[position],) * 3)

    def stamp(self, position: int) -> str:
        return f"{self.values[position]} {self.touched}"

    def digest(self, position: int) -> str:
        self.digested.append(position)
        return hashlib.sha256(str(self.values[position]).encode()).hexdigest()

    def path(self, position: int) -> Path | None:
        return None


class GreyTower(ImageTower):
    """Features of a grey picture: its value, its square root, and one token of the value."""

    width = 2
    token_width = 1

    def __init__(self, seconds: float = 0.0, version: int = 1) -> None:
        self.seconds, self.version = seconds, version
        self.batches: list[int] = []
        self._lock = threading.Lock()

    def identity(self) -> Identity:
        return {"name": "grey", "version": self.version, "width": self.width}

    def prepare(self, picture: Image.Image) -> NDArray[np.uint8]:
        return np.asarray(picture)[0, 0, :1]

    def encode(self, prepared: Sequence[NDArray[Any]], *, with_tokens: bool = False) -> TowerOutput:
        with self._lock:
            self.batches.append(len(prepared))
        time.sleep(self.seconds)
        values = np.stack(prepared).astype(np.float32)
        pooled = np.concatenate([values, np.sqrt(values)], axis=1)
        if not with_tokens:
            return TowerOutput(pooled)
        return TowerOutput(pooled, values[:, None, :], np.ones((len(values), 1), np.bool_))


class LengthTower(TextTower):
    """Features of a text: its length; one token a word, holding the word's length."""

    width = 1
    token_width = 1

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def identity(self) -> Identity:
        return {"name": "length", "version": 1, "width": self.width}

    def encode(self, texts: Sequence[str], *, with_tokens: bool = False) -> TowerOutput:
        require_texts(texts)
        self.encoded += texts
        pooled = np.array([[len(text)] for text in texts], np.float32)
        if not with_tokens:
            return TowerOutput(pooled)
        lengths = [[len(word) for word in text.split()] for text in texts]
        longest = max(map(len, lengths))
        tokens = np.zeros((len(texts), longest, 1), np.float32)
        mask = np.zeros((len(texts), longest), np.bool_)
        for row, words in enumerate(lengths):
            tokens[row, : len(words), 0] = words
            mask[row, : len(words)] = True
        return TowerOutput(pooled, tokens, mask)


def grey_collection(n_items: int, *, name: str = "grey") -> Collection:
    """Return a collection of grey pictures with two texts each."""
    texts = [
        " ".join(["word"] * (1 + item % 3) + ["x" * caption])
        for item in range(n_items)
        for caption in (1, 2)
    ]
    return Collection(
        name,
        tuple(f"item{item}" for item in range(n_items)),
        tuple(f"item{item}#{caption}" for item in range(n_items) for caption in (0, 1)),
        np.repeat(np.arange(n_items), 2),
        captions=tuple(texts),
        pictures=GreyPictures([1 + item % 200 for item in range(n_items)]),
    )


def grey_encoder(seconds: float = 0.0) -> Encoder:
    """Return an encoder of the two towers above."""
    return Encoder("grey", GreyTower(seconds), LengthTower())
