"""CCA + ITQ: canonical variates, rotated so that signs lose least.

Y. Gong and S. Lazebnik: "Iterative quantization: a procrustean approach to learning binary codes",
CVPR 2011. https://doi.org/10.1109/CVPR.2011.5995432

Image and text features are mapped to the directions in which they correlate most. An orthogonal
rotation, shared by both modalities, then spreads what the first directions know over all bits, by
minimising the error that signs make. No labels are used.

Objective, with Z the variates of both modalities, one below the other, and R orthogonal::

    min over B in {-1, +1} and R:  || B - Z R ||^2
    alternating B = sign(Z R) and R = U V^T of the SVD Z^T B = U D V^T

Differs from the paper: there, CCA joins images to labels; here it joins images to texts. Each
canonical direction is weighted by its correlation before the rotation, which keeps weak directions
from drowning strong ones. The ridge is a share of the mean variance.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from modalhash.layers import canonical_maps
from modalhash.losses import signs_of
from modalhash.methods.anchored import sampled_pairs
from modalhash.methods.base import (
    CaptionChoice,
    ClosedFormMethod,
    FeatureShapes,
    Heads,
    TrainingSettings,
    TrainingView,
)
from modalhash.methods.ranges import AT_LEAST_ONE, NOT_NEGATIVE, POSITIVE, Settings

__all__ = ["CcaItq", "CcaItqSettings", "itq_rotation"]


@dataclass(frozen=True)
class CcaItqSettings(Settings):
    """Settings of CCA + ITQ."""

    ridge: Annotated[float, POSITIVE] = 0.5
    """Share of the mean variance that is added to each variance (ours)."""
    correlation_power: Annotated[float, NOT_NEGATIVE] = 1.0
    """Power of the correlation that weighs its direction; 0 is plain CCA (ours)."""
    rounds: Annotated[int, NOT_NEGATIVE] = 50
    """Alternations between codes and rotation (the paper's 50)."""
    sample: Annotated[int, AT_LEAST_ONE] = 20_000
    """Training pairs, evenly spaced, that the rotation is fitted on, at most (ours)."""


def itq_rotation(variates: Tensor, rounds: int, generator: torch.Generator) -> Tensor:
    """Find the rotation under which signs lose least.

    Args:
        variates: (n, b) float64, centred.
        rounds: alternations; the error never grows.
        generator: draws the random rotation it starts from.

    Returns:
        (b, b) float64, orthogonal.
    """
    size = variates.shape[1]
    start = torch.randn(size, size, generator=generator, dtype=torch.float64)
    rotation: Tensor = torch.linalg.qr(start).Q
    for _ in range(rounds):
        rotated = variates @ rotation
        signs = signs_of(rotated)
        left, _, right = torch.linalg.svd(variates.T @ signs)
        rotation = torch.mm(left, right)
    return rotation


class CcaItq(ClosedFormMethod):
    """Rotated canonical variates; see the module's docstring."""

    name = "cca-itq"
    title = "CCA + ITQ"
    settings_class = CcaItqSettings
    settings: CcaItqSettings
    training = TrainingSettings(captions=CaptionChoice.ALL, batch_size=4096, drop_last=False)

    def solve(
        self, view: TrainingView, shapes: FeatureShapes, n_bits: int, generator: torch.Generator
    ) -> Heads:
        """Solve for the rotated canonical maps as heads.

        Raises:
            SettingError: if `n_bits` is more than the smaller feature width.
        """
        settings = self.settings
        pairs = (
            (batch.image.pooled, batch.text.pooled) for batch in view.batches(shapes.batch_size)
        )
        maps = canonical_maps(pairs, n_bits, ridge=settings.ridge)
        maps = maps.weighted(maps.correlations**settings.correlation_power)
        parts = []
        for image_rows, text_rows in sampled_pairs(view, shapes.batch_size, settings.sample):
            parts.append((image_rows.double() - maps.image_mean) @ maps.image_map)
            parts.append((text_rows.double() - maps.text_mean) @ maps.text_map)
        rotation = itq_rotation(torch.cat(parts), settings.rounds, generator)
        image, text = maps.heads(rotation)
        return Heads(image, text)
