"""The encoder of `tiny_encoder` with content tokens: the quarters of a picture, words of a text."""

import zlib
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from modalhash.encoders import loading
from modalhash.encoders.base import Identity, TowerOutput
from tests.oracles.tiny_encoder import TEXT_WIDTH, TinyImageTower, TinyTextTower

__all__ = ["TOKEN_TABLES"]


class TokenImageTower(TinyImageTower):
    """Tokens are the mean colours of the quarters."""

    token_width = 3

    def identity(self) -> Identity:
        return {"name": "token-image", "version": 1, "width": self.width}

    def encode(self, prepared: Sequence[NDArray[Any]], *, with_tokens: bool = False) -> TowerOutput:
        pooled = super().encode(prepared).pooled
        if not with_tokens:
            return TowerOutput(pooled)
        return TowerOutput(pooled, pooled.reshape(-1, 4, 3), np.ones((len(pooled), 4), np.bool_))


class TokenTextTower(TinyTextTower):
    """Tokens say which drawer each word falls into."""

    token_width = TEXT_WIDTH

    def identity(self) -> Identity:
        return {"name": "token-text", "version": 1, "width": self.width}

    def encode(self, texts: Sequence[str], *, with_tokens: bool = False) -> TowerOutput:
        pooled = super().encode(texts).pooled
        if not with_tokens:
            return TowerOutput(pooled)
        words = [text.lower().split() for text in texts]
        most = max((len(one) for one in words), default=0)
        tokens = np.zeros((len(texts), most, TEXT_WIDTH), np.float32)
        mask = np.zeros((len(texts), most), np.bool_)
        for row, text in enumerate(words):
            for place, word in enumerate(text):
                tokens[row, place, zlib.crc32(word.encode()) % TEXT_WIDTH] = 1
                mask[row, place] = True
        return TowerOutput(pooled, tokens, mask)


TOKEN_TABLES: tuple[tuple[dict[str, Any], Any], ...] = (
    (cast("dict[str, Any]", loading.ENCODERS), "for tests"),
    (cast("dict[str, Any]", loading.IMAGE_TOWERS), lambda request: TokenImageTower()),
    (cast("dict[str, Any]", loading.TEXT_TOWERS), lambda request: TokenTextTower()),
)
"""The tables of encoders, and the entry `tokens` of each."""
