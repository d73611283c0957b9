"""PCA + ITQ: principal components of pairs, rotated for their signs, predicted by each modality.

Y. Gong and S. Lazebnik: "Iterative quantization: a procrustean approach to learning binary codes",
CVPR 2011. https://doi.org/10.1109/CVPR.2011.5995432

The paper's own method has one modality. Here picture and text of a pair, side by side, are one
item: its principal components are rotated so that signs lose least, as in the paper. What either
modality knows of the rotated components is then found by ridge regression, and the sign of the
prediction is the code. No labels are used.

Objective, for X = [X_v X_t] of n pairs, centred and scaled so that the variances of images sum up
to w and those of texts to 1 - w, V the b first eigenvectors of X'X and R orthogonal::

    min over B in {-1, +1} and R:  || B - X V R ||^2
    min over P_m:  || X_m P_m - X V R ||^2 + n ridge s_m || P_m ||^2        for m in {v, t}

s_m is the mean variance of a feature of modality m.

Differs from the paper: all that concerns two modalities is ours. Components of each modality by
itself would have no order and no sign in common with the other's, so their codes would be chance
across modalities; components of pairs are one space for both. Unlike the canonical directions of
`cca-itq` they keep what varies most, even where the other modality can't predict it.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from modalhash.errors import SettingError
from modalhash.layers import PairMoments, linear_head, pair_moments
from modalhash.methods.anchored import sampled_pairs
from modalhash.methods.base import (
    CaptionChoice,
    ClosedFormMethod,
    FeatureShapes,
    Heads,
    TrainingSettings,
    TrainingView,
)
from modalhash.methods.cca_itq import itq_rotation
from modalhash.methods.ranges import AT_LEAST_ONE, NOT_NEGATIVE, POSITIVE, SHARE_BETWEEN, Settings

__all__ = ["PcaItq", "PcaItqSettings", "fit_map", "pair_components"]


@dataclass(frozen=True)
class PcaItqSettings(Settings):
    """Settings of PCA + ITQ."""

    image_weight: Annotated[float, SHARE_BETWEEN] = 0.5
    """Share w of the pairs' variance that images have; texts have the rest (ours)."""
    ridge: Annotated[float, POSITIVE] = 0.1
    """Share of the mean variance that is added to each variance in the regression (ours)."""
    rounds: Annotated[int, NOT_NEGATIVE] = 50
    """Alternations between codes and rotation (the paper's 50)."""
    sample: Annotated[int, AT_LEAST_ONE] = 20_000
    """Training pairs, evenly spaced, that the rotation is fitted on, at most (ours)."""


def pair_components(moments: PairMoments, n_bits: int, image_weight: float) -> Tensor:
    """Compute the map from centred features to the first principal components of pairs.

    Args:
        moments: of the features.
        n_bits: b, components.
        image_weight: share of the variance that images have.

    Returns:
        (d_v + d_t, b) float64: the eigenvectors V, times the scale of each feature's modality.

    Raises:
        SettingError: if `n_bits` is more than both widths together.
    """
    width, image_width = len(moments.mean), moments.image_width
    if n_bits > width:
        raise SettingError(
            f"n_bits is {n_bits}, principal components of pairs give at most {width} on features "
            f"of widths {image_width} and {width - image_width}"
        )
    scales = torch.cat(
        [
            torch.full_like(mean, (share / within.trace().item()) ** 0.5)
            for mean, within, share in (
                (moments.image_mean, moments.within_images, image_weight),
                (moments.text_mean, moments.within_texts, 1 - image_weight),
            )
        ]
    )
    _, vectors = torch.linalg.eigh(moments.covariance * torch.outer(scales, scales))
    directions: Tensor = scales[:, None] * vectors.flip(1)[:, :n_bits]
    return directions


def fit_map(within: Tensor, across: Tensor, ridge: float) -> Tensor:
    """Fit the ridge regression from features to targets.

    Args:
        within: (d, d) float64 covariance of the features.
        across: (d, b) float64 covariance of features with targets.
        ridge: share of the mean variance that is added to each variance.
    """
    steadied = within + ridge * within.trace() / len(within) * torch.eye(len(within)).double()
    return torch.cholesky_solve(across, torch.linalg.cholesky(steadied))


class PcaItq(ClosedFormMethod):
    """Rotated principal components of pairs; see the module's docstring."""

    name = "pca-itq"
    title = "PCA + ITQ"
    settings_class = PcaItqSettings
    settings: PcaItqSettings
    training = TrainingSettings(captions=CaptionChoice.ALL, batch_size=4096, drop_last=False)

    def solve(
        self, view: TrainingView, shapes: FeatureShapes, n_bits: int, generator: torch.Generator
    ) -> Heads:
        """Solve for the regressions on rotated components as heads.

        Raises:
            SettingError: if `n_bits` is more than both feature widths together.
        """
        settings = self.settings
        moments = pair_moments(
            (batch.image.pooled, batch.text.pooled) for batch in view.batches(shapes.batch_size)
        )
        directions = pair_components(moments, n_bits, settings.image_weight)
        components = [
            (torch.cat(pair, dim=1).double() - moments.mean) @ directions
            for pair in sampled_pairs(view, shapes.batch_size, settings.sample)
        ]
        rotation = itq_rotation(torch.cat(components), settings.rounds, generator)
        targets = moments.covariance @ directions @ rotation  # (d_v + d_t, b)
        width = moments.image_width
        return Heads(
            linear_head(
                fit_map(moments.within_images, targets[:width], settings.ridge),
                moments.image_mean,
            ),
            linear_head(
                fit_map(moments.within_texts, targets[width:], settings.ridge),
                moments.text_mean,
            ),
        )
