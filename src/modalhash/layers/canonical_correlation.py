"""Regularised canonical correlation analysis, from one pass over paired features."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from modalhash.errors import SettingError
from modalhash.layers.hash_heads import LinearHead
from modalhash.layers.pair_moments import TINY_SHARE, pair_moments

__all__ = ["CanonicalMaps", "canonical_maps", "inverse_root", "linear_head"]


@dataclass(frozen=True)
class CanonicalMaps:
    """Two affine maps into a common space.

    Attributes:
        image_mean: (d_v,) float64.
        text_mean: (d_t,) float64.
        image_map: (d_v, b) float64.
        text_map: (d_t, b) float64.
        correlations: (b,) float64, the (regularised) canonical correlations, falling.
    """

    image_mean: Tensor
    text_mean: Tensor
    image_map: Tensor
    text_map: Tensor
    correlations: Tensor

    def weighted(self, weights: Tensor) -> "CanonicalMaps":
        """Multiply direction j of the maps by `weights[j]`, (b,) float64."""
        return replace(self, image_map=self.image_map * weights, text_map=self.text_map * weights)

    def heads(self, rotation: Tensor | None = None) -> tuple[LinearHead, LinearHead]:
        """Convert both maps, rotated by (b, b) if one is given, to image and text hash heads."""
        return (
            linear_head(self.image_map, self.image_mean, rotation),
            linear_head(self.text_map, self.text_mean, rotation),
        )


def linear_head(matrix: Tensor, mean: Tensor, rotation: Tensor | None = None) -> LinearHead:
    """Make the head that computes `(x - mean) matrix`, times `rotation` if there is one.

    Args:
        matrix: (d, b) float64.
        mean: (d,) float64.
        rotation: (b, b) float64.
    """
    if rotation is not None:
        matrix = matrix @ rotation
    head = LinearHead(*matrix.shape)
    with torch.no_grad():
        head.map.weight.copy_(matrix.T)
        head.map.bias.copy_(-(mean @ matrix))
    return head


def canonical_maps(
    pairs: Iterable[tuple[Tensor, Tensor]], n_bits: int, *, ridge: float
) -> CanonicalMaps:
    """Solve for the directions in which two modalities correlate most.

    With covariances C (n in the divisor) and C_m' = C_mm + ridge trace(C_mm) / d_m I, the singular
    vectors of C_v'^(-1/2) C_vt C_t'^(-1/2) give the maps C_m'^(-1/2) U and their singular values
    the correlations (Hotelling 1936, ridge as in Vinod 1976).

    Args:
        pairs: batches of image features (n, d_v) and text features (n, d_t) of the same pairs.
        n_bits: b, directions to keep.
        ridge: share of the mean variance added to each variance, positive.

    Returns:
        The maps, in which training features have a variance of at most 1.

    Raises:
        SettingError: if `n_bits` is more than the smaller of the two widths, or `ridge` isn't
            positive.
        FeatureError: if the features of a modality are the same in all pairs.
    """
    if not ridge > 0:
        raise SettingError(f"ridge is {ridge}, expected a positive number")
    moments = pair_moments(pairs)
    image_width, text_width = len(moments.image_mean), len(moments.text_mean)
    if n_bits > min(image_width, text_width):
        raise SettingError(
            f"n_bits is {n_bits}, canonical correlation gives at most "
            f"{min(image_width, text_width)} on features of widths {image_width} and {text_width}"
        )
    image_whitener = inverse_root(moments.within_images, ridge)
    text_whitener = inverse_root(moments.within_texts, ridge)
    left, correlations, right = torch.linalg.svd(
        image_whitener @ moments.across @ text_whitener, full_matrices=False
    )
    return CanonicalMaps(
        moments.image_mean,
        moments.text_mean,
        image_whitener @ left[:, :n_bits],
        text_whitener @ right[:n_bits].T,
        correlations[:n_bits],
    )


def inverse_root(covariance: Tensor, ridge: float) -> Tensor:
    """Compute `(C + ridge trace(C) / d I)^(-1/2)` of a symmetric (d, d) matrix, not all zero."""
    values, vectors = torch.linalg.eigh(covariance)
    # Rounding makes some of the zero eigenvalues negative.
    values = values.clamp_min(TINY_SHARE * covariance.trace())
    roots = (values + ridge * covariance.trace() / len(covariance)).rsqrt()
    whitener: Tensor = (vectors * roots) @ vectors.T
    return whitener
