"""Partial least squares: signs of the directions in which pictures and texts vary together."""

from dataclasses import dataclass

import torch

from modalhash.layers import linear_head
from modalhash.methods import base


@dataclass(frozen=True)
class PartialLeastSquaresSettings:
    """Partial least squares has no settings."""


class PartialLeastSquares(base.ClosedFormMethod):
    """The singular vectors of the covariance between pictures and texts."""

    name, title = "pls", "PLS"
    settings_class = PartialLeastSquaresSettings
    training = base.TrainingSettings(batch_size=4096, drop_last=False)

    def solve(
        self,
        view: base.TrainingView,
        shapes: base.FeatureShapes,
        n_bits: int,
        generator: torch.Generator,
    ) -> base.Heads:
        """Return the leading pairs of directions, turned at random so that bits count alike."""
        pairs = [(batch.image.pooled, batch.text.pooled) for batch in view.batches(4096)]
        image, text = (torch.cat(side).double() for side in zip(*pairs, strict=True))
        means = image.mean(dim=0), text.mean(dim=0)
        left, _, right = torch.linalg.svd((image - means[0]).T @ (text - means[1]))
        width = min(n_bits, len(left), len(right))
        turn = torch.randn(width, n_bits, generator=generator, dtype=torch.float64)
        image_head = linear_head(left[:, :width] @ turn, means[0])
        return base.Heads(image_head, linear_head(right[:width].T @ turn, means[1]))
