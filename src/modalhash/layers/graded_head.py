"""A hash head of several bits a number, for stored items that queries meet with their numbers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from modalhash.codes import GradedBits
from modalhash.errors import ArtifactError, ShapeError
from modalhash.layers.hash_heads import HashHead
from modalhash.layers.modality_features import ModalityFeatures

__all__ = ["GradedHead", "graded_head_from_spec"]


class GradedHead(HashHead):
    """An affine map, and of each number of its output as many bits as `bits` says.

    The relaxed code holds what the bits before leave over; see `modalhash.codes.graded`.

    Args:
        in_width: d.
        bits: of each number.
    """

    steps: Tensor

    def __init__(self, in_width: int, bits: GradedBits) -> None:
        super().__init__()
        self.bits = bits
        self.map = nn.Linear(in_width, len(bits.counts))
        self.register_buffer("steps", torch.tensor(bits.steps, dtype=torch.float32), False)

    def forward(self, features: ModalityFeatures) -> Tensor:
        """Compute (n, b) relaxed codes: all first bits, then all second bits, and so on."""
        rest = self.map(features.pooled)
        parts: list[Tensor] = []
        for level in range(self.bits.counts[0]):
            width = self.bits.width_of(level)
            if level:
                step = self.steps[:width] * 2.0 ** (1 - level)
                before = rest[:, :width]
                rest = torch.where(before >= 0, before - step, before + step)
            parts.append(rest[:, :width])
        return torch.cat(parts, dim=1)

    @property
    def n_bits(self) -> int:
        """Number of bits b."""
        return self.bits.n_bits

    def spec(self) -> dict[str, Any]:
        """Describe kind, width, and the bits of each number with their steps."""
        return {
            "kind": "graded",
            "in_width": self.map.in_features,
            "counts": list(self.bits.counts),
            "steps": list(self.bits.steps),
        }


def graded_head_from_spec(in_width: int, counts: Sequence[Any], steps: Sequence[Any]) -> GradedHead:
    """Make a graded head of its description; its weights are fresh.

    Raises:
        ArtifactError: if a count or step is out of range or no number.
    """
    is_sound = all(isinstance(count, int) for count in counts) and all(
        isinstance(step, int | float) for step in steps
    )
    try:
        if is_sound:
            return GradedHead(in_width, GradedBits(tuple(counts), tuple(map(float, steps))))
    except ShapeError:
        pass
    raise ArtifactError("the model describes a graded hash head whose bits are out of range")
