"""Random hyperplanes, which know nothing but the width of the features."""

import torch
from torch import Tensor

__all__ = ["random_hyperplanes"]


def random_hyperplanes(width: int, n_bits: int, generator: torch.Generator) -> Tensor:
    """Draw the normals of hyperplanes, one a bit.

    Returns:
        (d, b) float64, standard normal; the directions of its columns are uniform.
    """
    return torch.randn(n_bits, width, generator=generator, dtype=torch.float64).T
