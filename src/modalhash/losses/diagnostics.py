"""What a run's log tells of a target and of relaxed codes besides the loss."""

import torch
from torch import Tensor

__all__ = ["code_statistics", "saturated_share", "target_range"]

SATURATED = 0.99


def target_range(target: Tensor) -> dict[str, Tensor]:
    """Return the smallest, mean and largest entry of a similarity target, as scalars by name."""
    smallest, largest = torch.aminmax(target.detach())
    return {"target_min": smallest, "target_mean": target.detach().mean(), "target_max": largest}


def saturated_share(relaxed: Tensor) -> Tensor:
    """Return the share of relaxed codes beyond 0.99 in size, where tanh hardly passes gradient.

    Args:
        relaxed: (n, b) in [-1, 1].

    Returns:
        Scalar in [0, 1].
    """
    return (relaxed.detach().abs() > SATURATED).float().mean()


def code_statistics(image: Tensor, text: Tensor) -> dict[str, Tensor]:
    """Measure how near relaxed codes (n, b) of both modalities are to signs, scalars by name."""
    return {"image_saturated": saturated_share(image), "text_saturated": saturated_share(text)}
