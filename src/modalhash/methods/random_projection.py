"""Random codes: signs of unrelated random projections, the floor under all floors.

Each modality gets projections of its own, drawn from the seed, of centred features. Image and text
codes know nothing of each other, so cross-modal retrieval is by chance: what a measure says here is
its zero. Within one modality this is locality-sensitive hashing (M. Charikar, "Similarity
estimation techniques from rounding algorithms", STOC 2002, https://doi.org/10.1145/509907.509965).

Objective: none. Differs from the paper: features are centred first, so that bits are balanced.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from modalhash.layers import LinearHead
from modalhash.methods.base import (
    ClosedFormMethod,
    FeatureShapes,
    Heads,
    TrainingSettings,
    TrainingView,
)

__all__ = ["RandomProjection", "RandomProjectionSettings"]


@dataclass(frozen=True)
class RandomProjectionSettings:
    """Random codes have no settings."""


class RandomProjection(ClosedFormMethod):
    """Random codes; see the module's docstring."""

    name = "random"
    title = "random"
    settings_class = RandomProjectionSettings
    settings: RandomProjectionSettings
    training = TrainingSettings(batch_size=4096, drop_last=False)

    def solve(
        self, view: TrainingView, shapes: FeatureShapes, n_bits: int, generator: torch.Generator
    ) -> Heads:
        """Return random heads whose offsets centre the training features."""
        image_total = torch.zeros(shapes.image_width, dtype=torch.float64)
        text_total = torch.zeros(shapes.text_width, dtype=torch.float64)
        for batch in view.batches(shapes.batch_size):
            image_total += batch.image.pooled.double().sum(dim=0)
            text_total += batch.text.pooled.double().sum(dim=0)
        return Heads(
            random_head(image_total / view.n_pairs, n_bits, generator),
            random_head(text_total / view.n_pairs, n_bits, generator),
        )


def random_head(mean: Tensor, n_bits: int, generator: torch.Generator) -> LinearHead:
    """Return a head of (d, b) standard normal weights that maps `mean` (d,) to zero."""
    head = LinearHead(len(mean), n_bits)
    weights = torch.randn(n_bits, len(mean), generator=generator, dtype=torch.float64)
    with torch.no_grad():
        head.map.weight.copy_(weights)
        head.map.bias.copy_(-(weights @ mean))
    return head
