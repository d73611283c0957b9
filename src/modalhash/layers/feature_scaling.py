"""Scaling of pooled features, fitted on training features and saved with the model."""

import math
from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum

import torch
from torch import Tensor, nn

from modalhash.layers.modality_features import ModalityFeatures

__all__ = ["FeatureScaling", "ScalingRule"]

TINY = 1e-12


class ScalingRule(StrEnum):
    """How pooled features are scaled before a method sees them.

    - `none`: as they come.
    - `unit`: rows of length 1.
    - `centred_unit`: rows of length 1, minus the training mean of such rows, length 1 again. Takes
      out the direction that all features of one encoder share, which makes their cosines high.
    - `centred_rms`: as `centred_unit`, times the square root of the width, so that the numbers of a
      row are about 1 in size, as the first weights of a network expect. It is for step sizes that a
      paper chose for features as they come.
    - `standardised`: each dimension minus its training mean, divided by its training deviation.
    """

    NONE = "none"
    UNIT = "unit"
    CENTRED_UNIT = "centred_unit"
    CENTRED_RMS = "centred_rms"
    STANDARDISED = "standardised"


class FeatureScaling(nn.Module):
    """Scale pooled features by a rule; tokens pass unchanged.

    Args:
        rule: how.
        width: d.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, rule: ScalingRule, width: int) -> None:
        super().__init__()
        self.rule = rule
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def fit(self, batches: Iterable[Tensor]) -> "FeatureScaling":
        """Fit mean and scale to training features in one pass, in float64; returns itself.

        Args:
            batches: (n, d) float32 each, at least one row in all.
        """
        if self.rule in (ScalingRule.NONE, ScalingRule.UNIT):
            return self
        count = 0
        total = torch.zeros_like(self.mean, dtype=torch.float64)
        squares = torch.zeros_like(total)
        for batch in batches:
            rows = batch.double()
            if self.rule is not ScalingRule.STANDARDISED:
                rows = unit_rows(rows)
            count += len(rows)
            total += rows.sum(dim=0)
            squares += rows.square().sum(dim=0)
        mean = total / count
        self.mean.copy_(mean)
        if self.rule is ScalingRule.STANDARDISED:
            variance = squares / count - mean.square()
            # A dimension that varies by no more than rounding carries nothing: it becomes 0.
            varies = variance > TINY * squares / count
            self.scale.copy_(torch.where(varies, variance.rsqrt(), torch.zeros_like(mean)))
        return self

    def forward(self, features: ModalityFeatures) -> ModalityFeatures:
        """Scale the pooled vectors of features, (n, d) float32."""
        untuned = None if features.untuned is None else self.scale_pooled(features.untuned)
        return replace(features, pooled=self.scale_pooled(features.pooled), untuned=untuned)

    def scale_pooled(self, pooled: Tensor) -> Tensor:
        """Scale pooled vectors, (n, d) float32."""
        match self.rule:
            case ScalingRule.NONE:
                return pooled
            case ScalingRule.UNIT:
                return unit_rows(pooled)
            case ScalingRule.CENTRED_UNIT:
                return unit_rows(unit_rows(pooled) - self.mean)
            case ScalingRule.CENTRED_RMS:
                return unit_rows(unit_rows(pooled) - self.mean) * math.sqrt(len(self.mean))
            case ScalingRule.STANDARDISED:
                return (pooled - self.mean) * self.scale


def unit_rows(rows: Tensor) -> Tensor:
    """Scale rows to length 1; a zero row stays zero."""
    lengths: Tensor = rows.norm(dim=1, keepdim=True)
    return rows / lengths.clamp_min(TINY)
