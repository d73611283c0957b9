"""Feature signs: the signs of the widest-spread dimensions of a shared space, a floor.

R. Yamada, A. Asai, H. Hajishirzi: "Efficient passage retrieval with hashing for open-domain
question answering", ACL 2021, takes the signs of an encoder's outputs for codes.
https://doi.org/10.18653/v1/2021.acl-short.123

Pictures and texts that lie in one space, as those of CLIP do, agree dimension by dimension. The
sign of a dimension, less its mean in its modality, is one bit; where there are more dimensions than
bits, those that vary most are taken, the same ones for both modalities. Nothing is learned beyond
means and variances, and no labels are used.

Objective: none; with means m_v, m_t and variances of the training pairs::

    code_j(x) = sign(x_d(j) - m_d(j))       d(j): the dimension with the j-th largest
                                            variance(image_d) + variance(text_d)

Differs from the paper: there, encoders are trained for the sign; here they are as they are, which
many vector stores call binary quantization. Scaled features are centred by modality, for balanced
bits and because encoders put pictures and texts on two sides of the space.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from modalhash.errors import SettingError
from modalhash.layers import ScalingRule, linear_head
from modalhash.methods.base import (
    ClosedFormMethod,
    FeatureShapes,
    Heads,
    TrainingSettings,
    TrainingView,
)

__all__ = ["FeatureSign", "FeatureSignSettings", "widest_dimensions"]


@dataclass(frozen=True)
class FeatureSignSettings:
    """Feature signs have no settings."""


def widest_dimensions(variances: Tensor, n_bits: int) -> Tensor:
    """Find the places of the largest variances, falling; of equal ones the earlier comes first.

    Args:
        variances: (d,).
        n_bits: b, at most d.

    Returns:
        (b,) int64.

    Example:
        >>> widest_dimensions(torch.tensor([1.0, 3.0, 2.0, 3.0]), 3).tolist()
        [1, 3, 2]
    """
    return variances.argsort(descending=True, stable=True)[:n_bits]


class FeatureSign(ClosedFormMethod):
    """Signs of features; see the module's docstring."""

    name = "feature-sign"
    title = "feature signs"
    settings_class = FeatureSignSettings
    settings: FeatureSignSettings
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
        """Solve for heads that pick and centre dimensions.

        Raises:
            SettingError: if the two widths differ, or `n_bits` is more than the width.
        """
        width = shapes.image_width
        if shapes.text_width != width:
            raise SettingError(
                f"feature signs need pictures and texts in one space, but the features are {width} "
                f"and {shapes.text_width} wide: choose an encoder with a shared space, such as "
                "clip, or another method"
            )
        if n_bits > width:
            raise SettingError(
                f"n_bits is {n_bits}, feature signs give at most one a dimension, {width}: choose "
                "fewer bits, or lsh, which gives any number"
            )
        totals, squares = torch.zeros(2, width).double(), torch.zeros(2, width).double()
        for batch in view.batches(shapes.batch_size):
            rows = torch.stack([batch.image.pooled, batch.text.pooled]).double()  # (2, n, d)
            totals += rows.sum(dim=1)
            squares += rows.square().sum(dim=1)
        means = totals / view.n_pairs
        variances = squares / view.n_pairs - means.square()
        picked = torch.eye(width).double()[:, widest_dimensions(variances.sum(dim=0), n_bits)]
        return Heads(linear_head(picked, means[0]), linear_head(picked, means[1]))
