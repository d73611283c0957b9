"""What relaxed codes are once they are binarised, for terms that compare with it."""

import torch
from torch import Tensor

__all__ = ["signs_of", "straight_through_signs"]


def signs_of(relaxed: Tensor) -> Tensor:
    """Compute -1 and +1 in the type of relaxed codes of any shape; 0 gives 1, no gradient passes.

    Example:
        >>> signs_of(torch.tensor([[0.5, 0.0, -0.25]]))
        tensor([[ 1.,  1., -1.]])
    """
    return torch.where(relaxed.detach() >= 0, 1.0, -1.0).to(relaxed)


def straight_through_signs(relaxed: Tensor, factor: float = 1.0) -> Tensor:
    """Compute the signs of relaxed codes of any shape, with the gradient of `tanh(factor relaxed)`.

    The value is what an index stores; the gradient is largest where a bit is about to turn.

    Args:
        relaxed: of any shape.
        factor: positive; the larger, the fewer values are near enough to zero to be moved.

    Example:
        >>> relaxed = torch.tensor([0.0, -0.5], requires_grad=True)
        >>> signs = straight_through_signs(relaxed)
        >>> signs.sum().backward()
        >>> signs.tolist(), [round(value, 4) for value in relaxed.grad.tolist()]  # 1 - tanh^2
        ([1.0, -1.0], [1.0, 0.7864])
    """
    soft = torch.tanh(factor * relaxed)
    return soft + (signs_of(relaxed) - soft).detach()
