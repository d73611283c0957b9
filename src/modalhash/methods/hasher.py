"""What every method ends as: two towers from features to codes, one modality at a time."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from modalhash.codes import Codes, binarise, pack
from modalhash.errors import ArtifactError, FeatureError
from modalhash.layers import FeatureScaling, HashHead, ModalityFeatures, ScalingRule, build_head

__all__ = ["HashTower", "Hasher"]

CHUNK = 256
"""Rows encoded at a time. Each chunk is filled up to this size, so that a row meets the same
arithmetic alone as among others and its code can't depend on batch mates."""


class HashTower(nn.Module):
    """Scaling and hash head of one modality.

    Args:
        scaling: fitted scaling of pooled features.
        head: learned hash head.
    """

    def __init__(self, scaling: FeatureScaling, head: HashHead) -> None:
        super().__init__()
        self.scaling, self.head = scaling, head

    @property
    def width(self) -> int:
        """Width d of the pooled features it takes."""
        return len(self.scaling.mean)

    def forward(self, features: ModalityFeatures) -> Tensor:
        """Return (n, b) relaxed codes of unscaled features."""
        relaxed: Tensor = self.head(self.scaling(features))
        return relaxed

    def relaxed(
        self,
        pooled: NDArray[np.float32],
        tokens: NDArray[np.float32] | None = None,
        token_mask: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float32]:
        """Compute relaxed codes; their signs are the codes.

        Args:
            pooled: (n, d) float32, unscaled; n may be 0.
            tokens: (n, t, w) float32, where the head reads tokens.
            token_mask: (n, t) bool with them.

        Returns:
            (n, b) float32. A row's values depend on that row alone.

        Raises:
            FeatureError: if the width differs from the model's, or a value isn't finite.
        """
        if pooled.ndim != 2 or pooled.shape[1] != self.width:
            raise FeatureError(
                f"features have shape {pooled.shape}, the model takes (n, {self.width}): "
                "use the encoder it was trained with"
            )
        if not np.isfinite(pooled).all():
            row = int(np.flatnonzero(~np.isfinite(pooled).all(axis=1))[0])
            raise FeatureError(f"features hold NaN or infinity, first in row {row}")
        with torch.inference_mode():
            parts = [
                self(batch)[:used].cpu().numpy()
                for batch, used in chunks(pooled, tokens, token_mask, self.scaling.mean.device)
            ]
        return np.concatenate(parts) if parts else np.zeros((0, self.n_bits), np.float32)

    @property
    def n_bits(self) -> int:
        """Number of bits b."""
        return self.head.n_bits

    def encode(
        self,
        pooled: NDArray[np.float32],
        tokens: NDArray[np.float32] | None = None,
        token_mask: NDArray[np.bool_] | None = None,
    ) -> Codes:
        """Compute packed codes, (n, p) uint8; arguments and errors as in `relaxed`."""
        return pack(binarise(self.relaxed(pooled, tokens, token_mask)))

    def spec(self) -> dict[str, Any]:
        """Return what `from_spec` needs to make a tower of the same shape, as JSON."""
        return {"width": self.width, "scaling": str(self.scaling.rule), "head": self.head.spec()}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> "HashTower":
        """Make a tower of the shape that `spec` describes; its weights are fresh.

        Raises:
            ArtifactError: if the description is of no known form.
        """
        match spec:
            case {"width": int(width), "scaling": str(rule), "head": dict(head)}:
                if rule not in ScalingRule.__members__.values():
                    raise ArtifactError(f"the model describes an unknown scaling {rule!r}")
                return cls(FeatureScaling(ScalingRule(rule), width), build_head(head))
        raise ArtifactError(f"the model describes a tower this version can't build: {dict(spec)}")


class Hasher(nn.Module):
    """The towers of both modalities; never needs both at once.

    Args:
        image: tower of pictures.
        text: tower of texts.
    """

    def __init__(self, image: HashTower, text: HashTower) -> None:
        super().__init__()
        self.image, self.text = image, text
        self.eval()

    @property
    def n_bits(self) -> int:
        """Number of bits b of both towers' codes."""
        return self.image.n_bits

    def spec(self) -> dict[str, Any]:
        """Return both towers' descriptions, as JSON."""
        return {"image": self.image.spec(), "text": self.text.spec()}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> "Hasher":
        """Make a hasher of the shape that `spec` describes; its weights are fresh.

        Raises:
            ArtifactError: if the description is of no known form.
        """
        match spec:
            case {"image": dict(image), "text": dict(text)}:
                return cls(HashTower.from_spec(image), HashTower.from_spec(text))
        raise ArtifactError(f"the model describes towers this version can't build: {dict(spec)}")


def chunks(
    pooled: NDArray[np.float32],
    tokens: NDArray[np.float32] | None,
    token_mask: NDArray[np.bool_] | None,
    device: torch.device,
) -> Iterator[tuple[ModalityFeatures, int]]:
    """Yield features in chunks filled up to `CHUNK` rows by zeros, and how many rows are real."""

    def part(array: NDArray[Any] | None, start: int) -> Tensor | None:
        if array is None:
            return None
        filled = np.zeros((CHUNK, *array.shape[1:]), array.dtype)
        rows = array[start : start + CHUNK]
        filled[: len(rows)] = rows
        return torch.from_numpy(filled).to(device)

    for start in range(0, len(pooled), CHUNK):
        batch = part(pooled.astype(np.float32, copy=False), start)
        assert batch is not None
        yield (
            ModalityFeatures(batch, part(tokens, start), part(token_mask, start)),
            min(CHUNK, len(pooled) - start),
        )
