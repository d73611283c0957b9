"""What can be said of codes without a query: are their bits used, balanced and independent."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modalhash.codes import BitOrder, Codes, binarise, check_codes, to_little, unpack
from modalhash.errors import InputError, ShapeError

__all__ = ["COLLAPSED_SHARE", "CodeStatistics", "code_statistics", "quantisation_error"]

Floats = NDArray[np.float64]

BLOCK_ROWS = 1 << 14
COLLAPSED_SHARE: Final = 0.25
"""Codes of which a larger share of bits is constant have collapsed: their numbers say little."""


@dataclass(frozen=True)
class CodeStatistics:
    """How well a set of codes uses its bits.

    Attributes:
        bit_balance: (b,) share of +1 of each bit; 0.5 is balanced.
        bit_entropy: (b,) entropy of each bit in bits, 0 (constant) to 1 (balanced).
        bit_correlation: (b, b) Pearson correlations of the bits; 0 for constant bits, which have
            none, but 1 on the diagonal.
        mean_entropy: mean of `bit_entropy`; 1 is best.
        mean_correlation: mean absolute correlation of two different bits; 0 is best. 0 for codes
            of one bit.
        n_constant_bits: bits that are the same in all codes.
        n_distinct_codes: different codes.
    """

    bit_balance: Floats
    bit_entropy: Floats
    bit_correlation: Floats
    mean_entropy: float
    mean_correlation: float
    n_constant_bits: int
    n_distinct_codes: int


def code_statistics(
    codes: Codes, n_bits: int, *, bit_order: BitOrder | str = BitOrder.LITTLE
) -> CodeStatistics:
    """Compute how balanced and how correlated the bits of a set of codes are.

    Args:
        codes: (n, p) uint8, packed.
        n_bits: bits of a code.
        bit_order: of the codes, "little" (ours) or "big".

    Returns:
        The statistics of the set.

    Raises:
        ShapeError: if `codes` isn't packed codes of `n_bits`.
        InputError: if there are none.

    Example:
        >>> from modalhash.codes import pack
        >>> statistics = code_statistics(pack([[1, 1, -1], [-1, -1, -1]]), 3)
        >>> statistics.bit_balance.tolist(), statistics.mean_correlation, statistics.mean_entropy
        ([0.5, 0.5, 0.0], 0.3333333333333333, 0.6666666666666666)
    """
    codes = to_little(codes, bit_order)
    check_codes(codes, n_bits)
    if not len(codes):
        raise InputError("codes is empty, expected at least one row")
    sums, products = np.zeros(n_bits), np.zeros((n_bits, n_bits))
    for first in range(0, len(codes), BLOCK_ROWS):
        # Sums of 16,384 products of -1 and +1 are exact in float32.
        signs = unpack(codes[first : first + BLOCK_ROWS], n_bits).astype(np.float32)
        sums += signs.sum(axis=0)
        products += signs.T @ signs
    means = sums / len(codes)
    covariance = products / len(codes) - np.outer(means, means)
    is_constant = np.abs(sums) == len(codes)
    deviations = np.where(is_constant, 1.0, np.sqrt(1 - means**2 + is_constant))
    correlation = np.where(
        is_constant[:, None] | is_constant, 0.0, covariance / np.outer(deviations, deviations)
    )
    np.fill_diagonal(correlation, 1.0)
    balance = (1 + means) / 2
    entropy = binary_entropy(balance)
    n_pairs = n_bits * (n_bits - 1)
    apart = np.abs(correlation).sum() - n_bits
    return CodeStatistics(
        bit_balance=balance,
        bit_entropy=entropy,
        bit_correlation=correlation,
        mean_entropy=float(entropy.mean()),
        mean_correlation=float(apart / n_pairs) if n_pairs else 0.0,
        n_constant_bits=int(is_constant.sum()),
        n_distinct_codes=len(np.unique(codes, axis=0)),
    )


def quantisation_error(relaxed: ArrayLike) -> float:
    """Compute how far relaxed values are from their signs: the mean squared difference.

    Args:
        relaxed: (n, b) real numbers, one row at least.

    Returns:
        Mean over all n * b values; 0 if all are -1 or +1 already.

    Raises:
        ShapeError: if it isn't two-dimensional, or holds NaN.
        InputError: if it is empty.

    Example:
        >>> quantisation_error([[0.5, -1.0]])
        0.125
    """
    values = np.asarray(relaxed, np.float64)
    if values.ndim != 2:
        raise ShapeError(f"relaxed has shape {values.shape}, expected two axes (n, b)")
    if not values.size:
        raise InputError("relaxed is empty, expected at least one value")
    return float(np.mean((values - binarise(values)) ** 2))


def binary_entropy(share: Floats) -> Floats:
    """Compute the entropy in bits of something that happens with probability `share`."""
    both = np.stack([share, 1 - share])
    logs = np.log2(np.where(both > 0, both, 1.0))
    entropy: Floats = -(both * logs).sum(axis=0) + 0.0
    return entropy
