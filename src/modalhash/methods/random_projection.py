"""Random codes: signs of unrelated random projections, the floor under all floors.

Each modality gets projections of its own, drawn from the seed, of centred features. Image and text
codes know nothing of each other, so cross-modal retrieval is by chance: what a measure says here is
its zero, whatever the encoder. Within one modality this is locality-sensitive hashing (M. Charikar,
"Similarity estimation techniques from rounding algorithms", STOC 2002,
https://doi.org/10.1145/509907.509965); where both modalities lie in one space, `lsh` gives them the
same hyperplanes, and is no longer chance.

Objective: none. Differs from the paper: features are centred first, so that bits are balanced.
"""

from dataclasses import dataclass

import torch

from modalhash.layers import linear_head, random_hyperplanes
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
        """Draw random heads whose offsets centre the training features."""
        image_total = torch.zeros(shapes.image_width, dtype=torch.float64)
        text_total = torch.zeros(shapes.text_width, dtype=torch.float64)
        for batch in view.batches(shapes.batch_size):
            image_total += batch.image.pooled.double().sum(dim=0)
            text_total += batch.text.pooled.double().sum(dim=0)
        image_normals = random_hyperplanes(shapes.image_width, n_bits, generator)
        text_normals = random_hyperplanes(shapes.text_width, n_bits, generator)
        return Heads(
            linear_head(image_normals, image_total / view.n_pairs),
            linear_head(text_normals, text_total / view.n_pairs),
        )
