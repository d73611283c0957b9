"""Checks of features before a hash function reads them; without torch."""

import numpy as np
from numpy.typing import NDArray

from modalhash.errors import FeatureError

__all__ = ["check_pooled"]


def check_pooled(pooled: NDArray[np.float32], width: int) -> None:
    """Refuse pooled features that a hash function can't read.

    Args:
        pooled: what should be (n, `width`), finite.
        width: that the hash function reads.

    Raises:
        FeatureError: if the width differs, or a value isn't finite.
    """
    if pooled.ndim != 2 or pooled.shape[1] != width:
        raise FeatureError(
            f"features have shape {pooled.shape}, the model takes (n, {width}): "
            "use the encoder it was trained with"
        )
    if not np.isfinite(pooled).all():
        row = int(np.flatnonzero(~np.isfinite(pooled).all(axis=1))[0])
        raise FeatureError(f"features hold NaN or infinity, first in row {row}")
