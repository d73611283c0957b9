"""Codes of embeddings that no model was trained for: signs after random rotations.

Embeddings of d numbers are multiplied with random orthogonal matrices until there is a number for
each bit; its sign is the bit (Charikar, "Similarity estimation techniques from rounding
algorithms", STOC 2002; with orthogonal rows Ji et al., "Super-bit locality-sensitive hashing",
NIPS 2012). The query keeps its numbers, and the score of an item,

    score = sum_i x_i s_i / sum_i |x_i|,

then has the cosine of the two embeddings as its mean over random rotations: for a row r, the mean
of <r, q> sign(<r, d>) is the cosine times the mean of |<r, q>|. It differs from the cosine by less
than about 1 / sqrt(bits).
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modalhash.errors import InputError, ShapeError
from modalhash.seeds import check_seed

__all__ = ["RandomRotation", "read_embeddings", "usual_bits"]

FEWEST_BITS = 256
BITS_STEP = 64
Floats = NDArray[np.float32]


def read_embeddings(embeddings: ArrayLike) -> NDArray[np.float32]:
    """Make an array of embeddings, as an embedding model gives them.

    Args:
        embeddings: (d,) or (n, d) numbers; lists will do.

    Returns:
        float32 of the same shape; numbers that aren't finite stay.

    Raises:
        ShapeError: if these are no numbers, or not equally many in each row.

    Example:
        >>> read_embeddings([[1, 2], [3, 4]]).shape
        (2, 2)
    """
    try:
        return np.asarray(embeddings, np.float32)
    except (TypeError, ValueError) as error:
        raise ShapeError(
            "embeddings aren't rows of equally many numbers: check the embedding model"
        ) from error


def usual_bits(n_dimensions: int) -> int:
    """Choose the bits of a code where nobody says: one a dimension, and 256 at least.

    Example:
        >>> usual_bits(6), usual_bits(384), usual_bits(1000)
        (256, 384, 1024)
    """
    return max(FEWEST_BITS, -(-n_dimensions // BITS_STEP) * BITS_STEP)


@dataclass(frozen=True)
class RandomRotation:
    """Rows of random rotations: they make the numbers whose signs are bits.

    Attributes:
        rows: (b, d) float32; any d that follow each other from a multiple of d are orthonormal.
    """

    rows: Floats

    @classmethod
    def draw(cls, n_dimensions: int, n_bits: int, *, seed: int = 0) -> Self:
        """Draw rotations.

        The same seed gives the same rows with one version of NumPy on one machine; what must last
        is saved.

        Args:
            n_dimensions: numbers of an embedding, d.
            n_bits: bits of a code, b.
            seed: of the random numbers.

        Raises:
            InputError: if either number isn't positive.
        """
        if n_dimensions < 1 or n_bits < 1:
            raise InputError(
                f"n_dimensions is {n_dimensions} and n_bits is {n_bits}: expected at least 1 each"
            )
        check_seed(seed)
        generator = np.random.default_rng(seed)
        blocks = []
        for _ in range(-(-n_bits // n_dimensions)):
            gaussian = generator.standard_normal((n_dimensions, n_dimensions))
            orthogonal, triangular = np.linalg.qr(gaussian)
            # Without these signs the rotations wouldn't be uniformly distributed.
            blocks.append((orthogonal * np.sign(np.diag(triangular))).T)
        return cls(np.concatenate(blocks)[:n_bits].astype(np.float32))

    @property
    def n_bits(self) -> int:
        """Bits of a code."""
        return len(self.rows)

    @property
    def n_dimensions(self) -> int:
        """Numbers of an embedding."""
        return int(self.rows.shape[1])

    def relax(self, embeddings: ArrayLike) -> Floats:
        """Multiply embeddings with the rotations: the numbers before the sign.

        Args:
            embeddings: (n, d) numbers; lists as embedding models give them will do.

        Returns:
            (n, b) float32.

        Raises:
            InputError: if a number isn't finite.
            ShapeError: if there aren't d numbers each, naming both widths.
        """
        array = read_embeddings(embeddings)
        if array.ndim != 2 or array.shape[1] != self.n_dimensions:
            raise ShapeError(
                f"embeddings have the shape {array.shape}, expected (n, {self.n_dimensions}): the "
                "store was made with an embedding model of that width"
            )
        if not np.isfinite(array).all():
            raise InputError("embeddings have numbers that aren't finite: check the model")
        relaxed: Floats = array @ self.rows.T
        return relaxed
