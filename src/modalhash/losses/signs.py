"""What relaxed codes are once they are binarised, for terms that compare with it."""

import torch
from torch import Tensor

__all__ = ["signs_of"]


def signs_of(relaxed: Tensor) -> Tensor:
    """Compute -1 and +1 in the type of relaxed codes of any shape; 0 gives 1, no gradient passes.

    Example:
        >>> signs_of(torch.tensor([[0.5, 0.0, -0.25]]))
        tensor([[ 1.,  1., -1.]])
    """
    return torch.where(relaxed.detach() >= 0, 1.0, -1.0).to(relaxed)
