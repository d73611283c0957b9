"""Which end of a byte its first bit is."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.choices import BitOrder
from modalhash.errors import UnknownNameError

__all__ = ["BitOrder", "from_little", "read_bit_order", "to_little"]


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


def to_little(codes: Any, bit_order: BitOrder | str) -> Any:
    """Read packed codes of any bit order as ours, whose first bit is the low end.

    What is no (n, p) uint8 stays as it is, for a later check to refuse.

    Args:
        codes: (n, p) uint8.
        bit_order: that they are in.

    Raises:
        UnknownNameError: if there is no such order.

    Example:
        >>> to_little(np.array([[0b10100000]], np.uint8), "big").tolist() == [[0b101]]
        True
    """
    order = read_bit_order(bit_order)
    is_packed = isinstance(codes, np.ndarray) and codes.dtype == np.uint8 and codes.ndim == 2
    return from_little(codes, order) if is_packed else codes
