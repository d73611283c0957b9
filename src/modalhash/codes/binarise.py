"""From relaxed values to signs."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modalhash.errors import ShapeError

__all__ = ["Signs", "binarise"]

Signs = NDArray[np.int8]
"""(n, b) int8 of -1 and +1."""


def binarise(relaxed: ArrayLike) -> Signs:
    """Compute the signs of relaxed values; zero counts as +1.

    Args:
        relaxed: (n, b) real numbers, finite.

    Returns:
        (n, b) int8 of -1 and +1.

    Raises:
        ShapeError: if `relaxed` is not two-dimensional, or holds NaN.

    Example:
        >>> binarise([[0.3, -2.0, 0.0]])
        array([[ 1, -1,  1]], dtype=int8)
    """
    values: NDArray[Any] = np.asarray(relaxed)
    if values.ndim != 2:
        raise ShapeError(f"relaxed has shape {values.shape}, expected two axes (n, b)")
    if np.isnan(values).any():
        raise ShapeError("relaxed holds NaN, which has no sign: check the features and the model")
    return np.where(values >= 0, 1, -1).astype(np.int8)
