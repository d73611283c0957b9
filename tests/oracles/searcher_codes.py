"""Made codes of three sorts, as searchers meet them."""

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint8]


def packed(bits: NDArray[np.bool_]) -> Codes:
    """Pack bits as the library does: bit 0 of byte 0 is the first, zeros at the end."""
    return np.packbits(bits, axis=1, bitorder="little")


def uniform_codes(n: int, n_bits: int, seed: int = 0) -> Codes:
    """Return codes of independent random bits: the worst case of any index."""
    return packed(np.random.default_rng(seed).random((n, n_bits)) < 0.5)


def clustered_codes(
    n: int, n_bits: int, *, centres: int, flipped: float = 0.1, seed: int = 0, draw: int = 0
) -> Codes:
    """Return codes that are copies of some centres with flipped bits.

    `seed` decides the centres, `draw` what is drawn from them.
    """
    centre_bits = np.random.default_rng(seed).random((centres, n_bits)) < 0.5
    generator = np.random.default_rng((seed, draw))
    chosen = centre_bits[generator.integers(0, centres, n)]
    return packed(chosen ^ (generator.random((n, n_bits)) < flipped))


def colliding_codes(n: int, n_bits: int, *, distinct: int, seed: int = 0) -> Codes:
    """Return codes of which few are distinct and some are frequent, as learned ones are."""
    generator = np.random.default_rng(seed)
    weights = 1 / np.arange(1, distinct + 1)
    return uniform_codes(distinct, n_bits, seed)[
        generator.choice(distinct, n, p=weights / weights.sum())
    ]
