"""Decoding: features made again from codes."""

from enum import StrEnum

import torch
from torch import Tensor
from torch.nn.functional import mse_loss, normalize

from modalhash.losses.signs import signs_of

__all__ = [
    "DecodeFrom",
    "DecodeTarget",
    "decoder_input",
    "decoding_loss",
    "decoding_target",
    "unexplained_share",
]


class DecodeTarget(StrEnum):
    """What decoders reproduce, and in which unit their error is.

    - `raw`: features as the method sees them, the mean squared error;
    - `unit`: rows of length 1, the same;
    - `standard`: features less the batch's mean, divided by one number so that their variance is 1.
      The mean squared error is then the share of the variance that is left unexplained, and neither
      it nor a decoder's weights depend on the features' scale and width.
    """

    RAW = "raw"
    UNIT = "unit"
    STANDARD = "standard"


class DecodeFrom(StrEnum):
    """What decoders read: relaxed codes (CCAH), or their signs, which teach no head (DSAH)."""

    RELAXED = "relaxed"
    SIGNS = "signs"


def decoder_input(relaxed: Tensor, rule: DecodeFrom) -> Tensor:
    """Compute what a decoder reads of (n, b) relaxed codes; the sign of 0 is 1.

    Example:
        >>> import torch
        >>> decoder_input(torch.tensor([[0.5, 0.0, -0.25]]), DecodeFrom.SIGNS)
        tensor([[ 1.,  1., -1.]])
    """
    if rule is DecodeFrom.RELAXED:
        return relaxed
    return signs_of(relaxed)


def decoding_target(features: Tensor, rule: DecodeTarget) -> Tensor:
    """Compute what a decoder should make of the codes of features (n, d).

    Items that are all alike have no variance: it counts as a millionth of the features' mean square
    at least, and as 1 where all features are 0.

    Example:
        >>> import torch
        >>> decoding_target(torch.tensor([[5.0, 1.0], [1.0, 1.0]]), DecodeTarget.STANDARD)
        tensor([[ 1.4142,  0.0000],
                [-1.4142,  0.0000]])
    """
    match rule:
        case DecodeTarget.RAW:
            return features
        case DecodeTarget.UNIT:
            return normalize(features, dim=1)
        case DecodeTarget.STANDARD:
            deviations = features - features.mean(dim=0)
            square = features.square().mean()
            least = torch.where(square > 0, 1e-6 * square, 1.0)
            return deviations / torch.maximum(deviations.square().mean(), least).sqrt()


def decoding_loss(
    decoded: Tensor, features: Tensor, *, target: DecodeTarget, sum_rows: bool
) -> Tensor:
    """Compute the squared error between decoded and input features of one modality.

    Args:
        decoded: (n, d) decoder output.
        features: (n, d) what went into the encoder.
        target: what of them to reproduce.
        sum_rows: sum over d instead of averaging.

    Returns:
        Scalar, the mean over n.
    """
    error = mse_loss(decoded, decoding_target(features, target))
    return error * features.shape[1] if sum_rows else error


def unexplained_share(decoded: Tensor, target: Tensor) -> Tensor:
    """Compute the share of the variance of a target (n, d) that decoded features leave unexplained.

    0 where they are equal, 1 where only the mean is known; it may be above 1. A target whose rows
    are all alike has no variance: the share is then 0.

    Example:
        >>> import torch
        >>> target = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
        >>> unexplained_share(target / 2, target)
        tensor(0.2500)
    """
    variance = (target - target.mean(dim=0)).square().sum()
    error = (decoded - target).square().sum()
    return torch.where(variance > 0, error / variance, torch.zeros_like(error))
