"""Made codes for the index benchmarks: the worst case, and ones like learned codes."""

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes

COPIED_SHARE, FLIPPED = 0.5, 0.05
BLOCK_ROWS = 1 << 18


def uniform_codes(n: int, width: int, generator: np.random.Generator) -> Codes:
    """Return codes of independent random bits: no index can do anything with them."""
    return generator.integers(0, 256, (n, width), dtype=np.uint8)


def real_like_codes(base: Codes, n: int, generator: np.random.Generator) -> Codes:
    """Return codes drawn from learned ones: half are copies, half have each bit flipped at 5 %.

    So there are as many dense and empty places as the model makes, and items that share a code.
    """
    codes = np.ascontiguousarray(base[generator.integers(0, len(base), n)])
    for start in range(0, n, BLOCK_ROWS):
        block = codes[start : start + BLOCK_ROWS]
        flips = flipped_bits(len(block), base.shape[1], generator)
        flips[generator.random(len(block)) < COPIED_SHARE] = 0
        block ^= flips
    return codes


def clustered_codes(n: int, width: int, generator: np.random.Generator) -> Codes:
    """Return codes around some hundred directions, in place of learned ones.

    A centre is taken with weight 1 / rank, and 12 % of its bits are flipped.
    """
    weights = 1 / np.arange(1, 501)
    centres = uniform_codes(500, width, generator)
    chosen = centres[generator.choice(500, n, p=weights / weights.sum())]
    return chosen ^ flipped_bits(n, width, generator, share=0.12)


def flipped_bits(
    n: int, width: int, generator: np.random.Generator, share: float = FLIPPED
) -> NDArray[np.uint8]:
    """Return (n, width) bytes of which each bit is 1 with a probability."""
    return np.packbits(generator.random((n, 8 * width)) < share, axis=1)
