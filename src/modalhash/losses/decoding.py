"""Decoding: features made again from codes."""

from enum import StrEnum

from torch import Tensor
from torch.nn.functional import mse_loss, normalize

from modalhash.losses.signs import signs_of

__all__ = ["DecodeFrom", "DecodeTarget", "decoder_input", "decoding_loss"]


class DecodeTarget(StrEnum):
    """What decoders reproduce: features as the method sees them, or rows of length 1."""

    RAW = "raw"
    UNIT = "unit"


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


def decoding_loss(
    decoded: Tensor, features: Tensor, *, target: DecodeTarget, sum_rows: bool
) -> Tensor:
    """Compute the squared error between decoded and input features of one modality.

    Args:
        decoded: (n, d) decoder output.
        features: (n, d) what went into the encoder.
        target: whether to reproduce them as they are or as rows of length 1.
        sum_rows: sum over d instead of averaging.

    Returns:
        Scalar, the mean over n.
    """
    if target is DecodeTarget.UNIT:
        features = normalize(features, dim=1)
    error = mse_loss(decoded, features)
    return error * features.shape[1] if sum_rows else error
