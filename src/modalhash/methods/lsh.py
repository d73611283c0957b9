"""LSH: the sides of random hyperplanes, the same ones for both modalities of a shared space.

A. Gionis, P. Indyk, R. Motwani: "Similarity search in high dimensions via hashing", VLDB 1999.
https://www.vldb.org/conf/1999/P49.pdf
M. Charikar: "Similarity estimation techniques from rounding algorithms", STOC 2002.
https://doi.org/10.1145/509907.509965

A bit says on which side of a random hyperplane through the origin an item lies. Two items at an
angle differ in each bit with the chance angle / pi, whichever modality they are from, if they lie
in one space, as pictures and texts of CLIP do. Nothing is learned, and no labels are used.

Objective: none; with standard normal r_j, drawn once::

    code_j(x) = sign(r_j . x)        P[code_j(x) differs from code_j(y)] = angle(x, y) / pi

Features of one width are taken to lie in one space and meet the same hyperplanes. Of two widths
they can't, so each modality gets hyperplanes of its own: across modalities the codes are then
chance, as those of `random` always are, and good for searching within one modality only.

Differs from the paper: features are scaled to unit length, centred on the training mean of their
modality and scaled again first. Encoders put all pictures on one side of the space and all texts on
another; without centring most hyperplanes would tell the modality and nothing else.
"""

from dataclasses import dataclass

import torch

from modalhash.layers import ScalingRule, linear_head, random_hyperplanes
from modalhash.methods.base import (
    ClosedFormMethod,
    FeatureShapes,
    Heads,
    TrainingSettings,
    TrainingView,
)

__all__ = ["Lsh", "LshSettings"]


@dataclass(frozen=True)
class LshSettings:
    """Locality-sensitive hashing has no settings."""


class Lsh(ClosedFormMethod):
    """Random hyperplanes; see the module's docstring."""

    name = "lsh"
    title = "LSH"
    settings_class = LshSettings
    settings: LshSettings
    training = TrainingSettings(
        batch_size=4096,
        drop_last=False,
        image_scaling=ScalingRule.CENTRED_UNIT,
        text_scaling=ScalingRule.CENTRED_UNIT,
    )

    def solve(
        self,
        view: TrainingView,
        shapes: FeatureShapes,
        n_bits: int,
        generator: torch.Generator,
    ) -> Heads:
        """Draw hyperplanes through the origin of the scaled features."""
        image_normals = random_hyperplanes(shapes.image_width, n_bits, generator)
        text_normals = image_normals
        if shapes.text_width != shapes.image_width:
            text_normals = random_hyperplanes(shapes.text_width, n_bits, generator)
        image_origin = torch.zeros(shapes.image_width, dtype=torch.float64)
        text_origin = torch.zeros(shapes.text_width, dtype=torch.float64)
        return Heads(
            linear_head(image_normals, image_origin), linear_head(text_normals, text_origin)
        )
