"""The iterative approximation of the sign by ever steeper tanh."""

import math

import torch
from torch import Tensor

__all__ = ["continuation_factor", "relative_factor", "relaxed_codes"]

FIRST_FACTOR, LAST_FACTOR = 0.5, 4.0
"""Course of the relative factor: at 4, the mean size of a normal bit's tanh is .86."""


def continuation_factor(epoch: int) -> float:
    """Compute `sqrt(epoch + 1)`, by which outputs are multiplied before the tanh.

    The rule of DJSRH's line of methods: constant within an epoch, 1 in the first. As it grows,
    tanh(factor * z) approaches sign(z).

    Args:
        epoch: from 0.

    Example:
        >>> continuation_factor(0), continuation_factor(3)
        (1.0, 2.0)
    """
    return math.sqrt(epoch + 1)


def relative_factor(progress: float) -> float:
    """Compute the factor on outputs of root mean square 1, from 0.5 at the start to 4 at the end.

    Its square grows evenly, as that of `continuation_factor` does.

    Args:
        progress: share of the training that is done, in [0, 1].

    Example:
        >>> relative_factor(0.0), relative_factor(1.0)
        (0.5, 4.0)
    """
    first, last = FIRST_FACTOR**2, LAST_FACTOR**2
    return math.sqrt(first + (last - first) * progress)


def relaxed_codes(
    outputs: Tensor, *, continuation: bool, scale_free: bool, epoch: int, progress: float
) -> Tensor:
    """Squash the outputs of a head towards the signs, the more the longer training lasts.

    By the epochs, outputs of a size of .05 stay in the linear range of tanh to the end. Scale-free,
    the factor is relative to the outputs' root mean square in the batch, which carries no gradient:
    training ends near the signs whatever the features' scale.

    Args:
        outputs: (n, b).
        continuation: whether the tanh gets steeper at all; else the factor stays 1.
        scale_free: whether the factor is relative to the outputs' own size.
        epoch: from 0.
        progress: share of the training that is done, in [0, 1].

    Returns:
        (n, b) in [-1, 1]; outputs that are all 0 stay 0.

    Example:
        >>> outputs = torch.tensor([[0.01, -0.01]])
        >>> relaxed_codes(outputs, continuation=True, scale_free=True, epoch=9, progress=1.0)
        tensor([[ 0.9993, -0.9993]])
    """
    if not continuation:
        return torch.tanh(outputs)
    if not scale_free:
        return torch.tanh(continuation_factor(epoch) * outputs)
    size = outputs.detach().square().mean().sqrt()
    size = torch.where(size > 0, size, torch.ones_like(size))
    return torch.tanh(relative_factor(progress) / size * outputs)
