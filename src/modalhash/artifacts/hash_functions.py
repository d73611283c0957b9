"""What a model needs of its hash functions, whether torch or ONNX Runtime computes them."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["HashFunctions", "TowerFunction"]


class TowerFunction(Protocol):
    """From features of one modality to relaxed codes, as `HashTower` computes it."""

    @property
    def width(self) -> int:
        """Width d of the pooled features it takes."""

    @property
    def n_bits(self) -> int:
        """Number of bits b."""

    @property
    def reads_tokens(self) -> bool:
        """Whether it reads content tokens besides pooled features."""

    def relaxed(
        self,
        pooled: NDArray[np.float32],
        tokens: NDArray[np.float32] | None = None,
        token_mask: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float32]:
        """Compute (n, b) relaxed codes; their signs are the codes."""


class HashFunctions(Protocol):
    """The hash functions of both modalities, as `Hasher` has them."""

    @property
    def image(self) -> TowerFunction:
        """That of pictures."""

    @property
    def text(self) -> TowerFunction:
        """That of texts."""

    @property
    def fine(self) -> Any | None:
        """What makes finer codes; None if there is nothing."""

    @property
    def reads_tokens(self) -> bool:
        """Whether one reads content tokens besides pooled features."""

    def fine_coder(self) -> Any:
        """Find what makes finer codes; raises `FeatureError` if there is nothing."""

    def fine_codes(
        self,
        modality: Literal["image", "text"],
        pooled: NDArray[np.float32],
        tokens: NDArray[np.float32],
        token_mask: NDArray[np.bool_],
    ) -> NDArray[np.uint8]:
        """Compute finer codes, (n, s)."""

    def fine_queries(
        self,
        modality: Literal["image", "text"],
        pooled: NDArray[np.float32],
        tokens: NDArray[np.float32],
        token_mask: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """Compute what queries meet finer codes with, (n, s, w)."""

    def spec(self) -> Mapping[str, Any]:
        """Describe the hash functions as JSON."""
