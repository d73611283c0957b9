"""Places that are evenly spaced: a part that stands for all items."""

import torch
from torch import Tensor

__all__ = ["evenly_spaced"]


def evenly_spaced(n: int, most: int) -> Tensor:
    """Choose places in `range(n)`, all of them or `most` evenly spaced ones, as (m,) int64.

    Example:
        >>> evenly_spaced(3, 8), evenly_spaced(9, 3)
        (tensor([0, 1, 2]), tensor([0, 3, 6]))
    """
    return torch.arange(min(n, most)) * n // min(n, most)
