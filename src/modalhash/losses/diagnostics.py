"""What a run's log tells of a target and of relaxed codes besides the loss."""

import math

import torch
from torch import Tensor

__all__ = ["code_statistics", "saturated_share", "sign_cosine", "target_range"]

SATURATED = 0.99


def target_range(target: Tensor) -> dict[str, Tensor]:
    """Find the smallest, mean and largest entry of a similarity target, as scalars by name."""
    smallest, largest = torch.aminmax(target.detach())
    return {"target_min": smallest, "target_mean": target.detach().mean(), "target_max": largest}


def saturated_share(relaxed: Tensor) -> Tensor:
    """Compute the share of relaxed codes beyond 0.99 in size, where tanh passes little gradient.

    Args:
        relaxed: (n, b) in [-1, 1].

    Returns:
        Scalar in [0, 1].
    """
    return (relaxed.detach().abs() > SATURATED).float().mean()


def code_statistics(image: Tensor, text: Tensor) -> dict[str, Tensor]:
    """Measure how near relaxed codes (n, b) of both modalities are to their signs.

    Returns:
        Scalars by name, for each modality: `size`, the mean |h|; `sign_cosine`, the mean cosine
        between an item's relaxed code and its signs; `saturated`, as of `saturated_share`.
    """
    return {
        f"{name}_{measure}": value
        for name, relaxed in (("image", image), ("text", text))
        for measure, value in (
            ("size", relaxed.detach().abs().mean()),
            ("sign_cosine", sign_cosine(relaxed.detach())),
            ("saturated", saturated_share(relaxed)),
        )
    }


def sign_cosine(relaxed: Tensor) -> Tensor:
    """Compute the mean cosine between relaxed codes (n, b) and their signs; 1 for signs.

    Example:
        >>> sign_cosine(torch.tensor([[0.5, -0.5], [1.0, 0.0]]))
        tensor(0.8536)
    """
    lengths = relaxed.square().sum(dim=1).sqrt().clamp_min(torch.finfo(relaxed.dtype).tiny)
    return (relaxed.abs().sum(dim=1) / lengths).mean() / math.sqrt(relaxed.shape[1])
