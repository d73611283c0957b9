"""CCA + sign: the signs of canonical variates, a floor.

H. Hotelling: "Relations between two sets of variates", Biometrika 28, 1936; as a
hashing baseline in Y. Gong and S. Lazebnik, "Iterative quantization", CVPR 2011.
https://doi.org/10.1109/CVPR.2011.5995432

Image and text features are mapped to the directions in which they correlate most; each direction is
one bit. No labels are used. The first directions carry most of the correlation and each bit counts
alike, so more bits add weaker ones: `cca-itq` mends that by a rotation.

Objective: see `modalhash.layers.canonical_correlation`.

Differs from the paper: the ridge is a share of the mean variance, so that one value suits features
of any scale; each caption of a picture makes a training pair.
"""

from dataclasses import dataclass
from typing import Annotated

import torch

from modalhash.layers import canonical_maps
from modalhash.methods.base import (
    CaptionChoice,
    ClosedFormMethod,
    FeatureShapes,
    Heads,
    TrainingSettings,
    TrainingView,
)
from modalhash.methods.ranges import POSITIVE, Settings

__all__ = ["CcaSign", "CcaSignSettings"]


@dataclass(frozen=True)
class CcaSignSettings(Settings):
    """Settings of CCA + sign."""

    ridge: Annotated[float, POSITIVE] = 0.5
    """Share of the mean variance that is added to each variance (ours)."""


class CcaSign(ClosedFormMethod):
    """Signs of canonical variates; see the module's docstring."""

    name = "cca-sign"
    title = "CCA + sign"
    settings_class = CcaSignSettings
    settings: CcaSignSettings
    training = TrainingSettings(captions=CaptionChoice.ALL, batch_size=4096, drop_last=False)

    def solve(
        self, view: TrainingView, shapes: FeatureShapes, n_bits: int, generator: torch.Generator
    ) -> Heads:
        """Solve for the canonical maps as heads; nothing is random.

        Raises:
            SettingError: if `n_bits` is more than the smaller feature width.
        """
        batches = view.batches(shapes.batch_size)
        pairs = ((batch.image.pooled, batch.text.pooled) for batch in batches)
        image, text = canonical_maps(pairs, n_bits, ridge=self.settings.ridge).heads()
        return Heads(image, text)
