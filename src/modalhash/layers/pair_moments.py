"""Means and covariances of paired features, from one pass over them."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from modalhash.errors import FeatureError

__all__ = ["PairMoments", "pair_moments"]

TINY_SHARE = 1e-12
"""Share of a variance that is rounding."""


@dataclass(frozen=True)
class PairMoments:
    """First and second moments of image and text features, taken together.

    Attributes:
        count: n, pairs.
        image_width: d_v.
        mean: (d_v + d_t,) float64, images first.
        covariance: (d_v + d_t, d_v + d_t) float64, with n in the divisor.
    """

    count: int
    image_width: int
    mean: Tensor
    covariance: Tensor

    @property
    def image_mean(self) -> Tensor:
        """The (d_v,) mean of image features."""
        return self.mean[: self.image_width]

    @property
    def text_mean(self) -> Tensor:
        """The (d_t,) mean of text features."""
        return self.mean[self.image_width :]

    @property
    def within_images(self) -> Tensor:
        """The (d_v, d_v) covariance of image features."""
        return self.covariance[: self.image_width, : self.image_width]

    @property
    def across(self) -> Tensor:
        """The (d_v, d_t) covariance of image with text features."""
        return self.covariance[: self.image_width, self.image_width :]

    @property
    def within_texts(self) -> Tensor:
        """The (d_t, d_t) covariance of text features."""
        return self.covariance[self.image_width :, self.image_width :]


def pair_moments(pairs: Iterable[tuple[Tensor, Tensor]]) -> PairMoments:
    """Sum up means and covariances in float64; memory is that of one batch and the result.

    Args:
        pairs: batches of image features (n, d_v) and text features (n, d_t) of the same pairs; at
            least one pair in all.

    Returns:
        The moments.

    Raises:
        FeatureError: if the features of a modality are the same in all pairs.

    Example:
        >>> image, text = torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [4.0]])
        >>> moments = pair_moments([(image, text)])
        >>> moments.mean.tolist(), moments.covariance.tolist()
        ([2.0, 2.0], [[1.0, 2.0], [2.0, 4.0]])
    """
    count = image_width = 0
    total = squares = torch.zeros(0)
    for image, text in pairs:
        rows = torch.cat([image, text], dim=1).double()
        if not count:
            image_width = image.shape[1]
            total, squares = rows.new_zeros(rows.shape[1]), rows.new_zeros(rows.shape[1:] * 2)
        count += len(rows)
        total += rows.sum(dim=0)
        squares += rows.T @ rows
    mean = total / count
    moments = PairMoments(count, image_width, mean, squares / count - torch.outer(mean, mean))
    for name, within, part in (
        ("image", moments.within_images, squares[:image_width, :image_width]),
        ("text", moments.within_texts, squares[image_width:, image_width:]),
    ):
        if within.trace() <= TINY_SHARE * part.trace() / count:
            raise FeatureError(
                f"the {name} features of all {count} training pairs are the same: check the "
                "encoder and its input"
            )
    return moments
