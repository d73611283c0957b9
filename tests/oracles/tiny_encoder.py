"""An encoder that needs no torch and no weights, and yet knows colours and words.

`python -m tests.oracles.tiny_encoder SECONDS ARGUMENTS...` is the command line with this encoder,
named `tiny`, where each batch takes some seconds and shards are small: time and place to kill it.
"""

import sys
import time
import zlib
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modalhash.encoders import extraction, loading
from modalhash.encoders.base import Identity, ImageTower, TextTower, TowerOutput, require_texts

__all__ = ["SHARD_ROWS", "TINY_TABLES", "TinyImageTower", "TinyTextTower"]

TEXT_WIDTH = 16
SHARD_ROWS = {"image": 8, "text": 32}


class TinyImageTower(ImageTower):
    """Features of a picture: the mean colour of its quarters."""

    width = 12
    seconds = 0.0

    def identity(self) -> Identity:
        return {"name": "tiny-image", "version": 1, "width": self.width}

    def prepare(self, picture: Image.Image) -> NDArray[np.uint8]:
        return np.asarray(picture.resize((2, 2), Image.Resampling.BOX)).reshape(-1)

    def encode(self, prepared: Sequence[NDArray[Any]], *, with_tokens: bool = False) -> TowerOutput:
        time.sleep(self.seconds)
        return TowerOutput(np.stack(prepared).astype(np.float32) / np.float32(255))


class TinyTextTower(TextTower):
    """Features of a text: how many of its words fall into each of some drawers."""

    width = TEXT_WIDTH
    version = 1

    def identity(self) -> Identity:
        return {"name": "tiny-text", "version": self.version, "width": self.width}

    def encode(self, texts: Sequence[str], *, with_tokens: bool = False) -> TowerOutput:
        require_texts(texts)
        pooled = np.zeros((len(texts), TEXT_WIDTH), np.float32)
        for row, text in zip(pooled, texts, strict=True):
            for word in text.lower().split():
                row[zlib.crc32(word.encode()) % TEXT_WIDTH] += 1
        return TowerOutput(pooled)


TINY_TABLES: tuple[tuple[dict[str, Any], Any], ...] = (
    (cast("dict[str, Any]", loading.ENCODERS), "for tests"),
    (cast("dict[str, Any]", loading.IMAGE_TOWERS), lambda request: TinyImageTower()),
    (cast("dict[str, Any]", loading.TEXT_TOWERS), lambda request: TinyTextTower()),
)
"""The tables of encoders, and the entry `tiny` of each."""

if __name__ == "__main__":
    from modalhash.cli.main import main

    for table, entry in TINY_TABLES:
        table["tiny"] = entry
    TinyImageTower.seconds = float(sys.argv[1])
    setattr(extraction, "SHARD_ROWS", SHARD_ROWS)  # noqa: B010 - mypy knows narrower keys
    main(sys.argv[2:])
