"""What a former model says of a collection that a compatible model is trained on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["FormerTables"]


@dataclass(frozen=True)
class FormerTables:
    """Relaxed codes of a former model for a collection.

    Attributes:
        image: (n, b) float32, row = item position; zeros where an item isn't learned from.
        text: (t, b) float32, row = caption position; likewise.
    """

    image: NDArray[np.float32]
    text: NDArray[np.float32]
