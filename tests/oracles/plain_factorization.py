"""The objectives of factorizing methods, row by row, on a few items."""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def square(values: Matrix) -> float:
    """The sum of squares."""
    return float((values * values).sum())


def collective_loss(
    views: tuple[Matrix, Matrix],
    latent: Matrix,
    bases: tuple[Matrix, Matrix],
    maps: tuple[Matrix, Matrix],
    *,
    image_weight: float,
    projection_weight: float,
    regularisation: float,
    ridge: float,
) -> float:
    """CMFH's objective; `latent` is (n, b), one row a pair."""
    total = regularisation * square(latent)
    for features, weight, basis, projection in zip(
        views, (image_weight, 1 - image_weight), bases, maps, strict=True
    ):
        for row, code in zip(features, latent, strict=True):
            total += weight * square(row - code @ basis)
            total += projection_weight * square(code - row @ projection)
        total += regularisation * (square(basis) + square(projection))
        spread = square(features) / features.shape[1]
        total += projection_weight * ridge * spread * square(projection)
    return total
