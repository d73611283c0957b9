"""Hash heads of kernel regressions: features to a space of both modalities, and that to bits.

The second map is one for both modalities, learned so that its first bits are codes of their own.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from modalhash.layers.byte_dropout import ByteDropout
from modalhash.layers.hash_heads import HashHead
from modalhash.layers.kernel_regression import gaussian_kernel
from modalhash.layers.modality_features import ModalityFeatures

__all__ = ["BitMap", "KernelHead", "kernel_head_from_spec"]


class BitMap(nn.Module):
    """From the common space to relaxed codes: an affine map, and what a hidden layer adds to it.

    The hidden layer adds nothing at first.

    Args:
        width: k, of the common space.
        hidden_width: units of the hidden layer; 0 is none.
        n_bits: b.
        dropout: share of hidden units dropped in training, in [0, 1); see `ByteDropout`.
    """

    def __init__(self, width: int, hidden_width: int, n_bits: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.sizes = (width, hidden_width, n_bits)
        self.affine = nn.Linear(width, n_bits)
        self.hidden: nn.Sequential | None = None
        if hidden_width:
            last = nn.Linear(hidden_width, n_bits)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.hidden = nn.Sequential(
                nn.Linear(width, hidden_width), nn.ReLU(), ByteDropout(dropout), last
            )

    def forward(self, common: Tensor) -> Tensor:
        """Compute (n, b) relaxed codes of (n, k) points whose lengths are about 1."""
        relaxed: Tensor = self.affine(common)
        if self.hidden is not None:
            relaxed = relaxed + self.hidden(common * math.sqrt(self.sizes[0]))
        return relaxed

    def first_bits(self, n_bits: int) -> "BitMap":
        """Shorten the map to the first `n_bits` bits, with copies of its weights."""
        width, hidden_width, _ = self.sizes
        short = BitMap(width, hidden_width, n_bits)
        state = self.state_dict()
        ends = [name for name in state if name.startswith(("affine.", "hidden.3."))]
        short.load_state_dict({**state, **{name: state[name][:n_bits] for name in ends}})
        return short


class KernelHead(HashHead):
    """A kernel regression to the common space, then bits.

    Args:
        in_width: d of the features.
        n_landmarks: m rows that features are compared with; zeros until `set_regression`.
        sharpness: of the Gaussian kernel.
        bits: from the common space to relaxed codes; both modalities share it.
    """

    landmarks: Tensor
    weights: Tensor

    def __init__(self, in_width: int, n_landmarks: int, sharpness: float, bits: BitMap) -> None:
        super().__init__()
        self.sharpness = sharpness
        self.bits = bits
        self.register_buffer("landmarks", torch.zeros(n_landmarks, in_width))
        self.register_buffer("weights", torch.zeros(n_landmarks, bits.sizes[0]))

    def set_regression(self, landmarks: Tensor, weights: Tensor) -> None:
        """Take over what `kernel_ridge` found: landmarks (m, d) and weights (m, k)."""
        self.landmarks.copy_(landmarks)
        self.weights.copy_(weights)

    def common(self, features: ModalityFeatures) -> Tensor:
        """Map features to (n, k) points of the common space."""
        return gaussian_kernel(features.pooled, self.landmarks, self.sharpness) @ self.weights

    def forward(self, features: ModalityFeatures) -> Tensor:
        """Compute (n, b) relaxed codes."""
        relaxed: Tensor = self.bits(self.common(features))
        return relaxed

    @property
    def n_bits(self) -> int:
        """Number of bits b."""
        return self.bits.sizes[2]

    def first_bits(self, n_bits: int) -> "KernelHead":
        """Shorten the head to the first `n_bits` bits."""
        short = KernelHead(
            self.landmarks.shape[1], len(self.landmarks), self.sharpness,
            self.bits.first_bits(n_bits),
        )  # fmt: skip
        short.set_regression(self.landmarks, self.weights)
        return short

    def spec(self) -> dict[str, Any]:
        """Describe kind, sizes and sharpness."""
        width, hidden_width, n_bits = self.bits.sizes
        return {
            "kind": "kernel",
            "in_width": self.landmarks.shape[1],
            "n_landmarks": len(self.landmarks),
            "sharpness": self.sharpness,
            "width": width,
            "hidden_width": hidden_width,
            "n_bits": n_bits,
        }


def kernel_head_from_spec(spec: Mapping[str, Any]) -> KernelHead:
    """Make a head of the shape that `spec` describes, whose sizes are checked already."""
    bits = BitMap(spec["width"], spec["hidden_width"], spec["n_bits"])
    return KernelHead(spec["in_width"], spec["n_landmarks"], spec["sharpness"], bits)
