"""Which end of a byte its first bit is."""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from modalhash.errors import UnknownNameError

__all__ = ["BitOrder", "from_little", "read_bit_order"]


class BitOrder(StrEnum):
    """Which end of a byte its first bit is.

    - `little`: the low end; ours, and `np.packbits(..., bitorder="little")`.
    - `big`: the high end; `np.packbits` without more, and sentence-transformers.
    """

    LITTLE = "little"
    BIG = "big"


def read_bit_order(bit_order: BitOrder | str) -> BitOrder:
    """Read the name of a bit order.

    Raises:
        UnknownNameError: if there is no such order.
    """
    if bit_order not in list(BitOrder):
        raise UnknownNameError("bit order", str(bit_order), BitOrder)
    return BitOrder(bit_order)


def from_little(codes: NDArray[np.uint8], bit_order: BitOrder | str) -> NDArray[np.uint8]:
    """Write packed codes of ours, whose first bit is the low end, in another bit order.

    Args:
        codes: (n, p) uint8.
        bit_order: to write them in.

    Raises:
        UnknownNameError: if there is no such order.

    Example:
        >>> from_little(np.array([[0b101]], np.uint8), "big").tolist() == [[0b10100000]]
        True
    """
    if read_bit_order(bit_order) is BitOrder.LITTLE:
        return codes
    return np.packbits(np.unpackbits(codes, axis=1, bitorder="little"), axis=1)
