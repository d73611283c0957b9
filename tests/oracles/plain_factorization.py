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


def sparse_loss(
    pictures: Matrix,
    texts: Matrix,
    codes: Matrix,
    latent: Matrix,
    *,
    atoms: Matrix,
    links: Matrix,
    basis: Matrix,
    sparsity: float,
    text_weight: float,
    link_weight: float,
) -> float:
    """LSSH's objective."""
    total = 0.0
    for picture, text, code, concept in zip(pictures, texts, codes, latent, strict=True):
        total += square(picture - code @ atoms)
        total += sparsity * float(np.abs(code).sum())
        total += text_weight * square(text - concept @ basis)
        total += link_weight * square(concept - code @ links)
    return total


def lasso(target: Matrix, dictionary: Matrix, sparsity: float) -> Matrix:
    """The code of one item by many passes over its numbers, each set to its best value."""
    code = np.zeros(len(dictionary))
    for _ in range(2_000):
        for place, atom in enumerate(dictionary):
            left = target - code @ dictionary + code[place] * atom
            pull, size = float(left @ atom), float(atom @ atom)
            code[place] = np.sign(pull) * max(abs(pull) - sparsity / 2, 0) / size
    return code
