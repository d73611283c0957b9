"""Between signs and packed codes."""

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modalhash.codes.binarise import Signs
from modalhash.codes.bit_order import BitOrder, from_little, read_bit_order
from modalhash.errors import InputError, ShapeError

__all__ = ["Codes", "check_codes", "code_width", "first_bits", "pack", "unpack"]

Codes = NDArray[np.uint8]
"""(n, p) uint8 of packed bits, p = code_width(n_bits)."""


def code_width(n_bits: int) -> int:
    """Count the bytes that a packed code of `n_bits` takes.

    Raises:
        InputError: if `n_bits` is not a positive whole number.

    Example:
        >>> code_width(64), code_width(12)
        (8, 2)
    """
    number: Any = n_bits
    if isinstance(number, bool) or not isinstance(number, Integral) or n_bits < 1:
        raise InputError(f"n_bits is {n_bits!r}, expected a positive number (16 to 256 are usual)")
    return -(-n_bits // 8)


def pack(signs: ArrayLike, *, bit_order: BitOrder | str = BitOrder.LITTLE) -> Codes:
    """Pack signs, eight to a byte; +1 becomes bit 1, padding bits are zero.

    Args:
        signs: (n, b) of -1 and +1.
        bit_order: of the result, "little" (ours) or "big".

    Returns:
        (n, p) uint8.

    Raises:
        ShapeError: if `signs` is not two-dimensional or holds anything but -1 and +1.
        UnknownNameError: if there is no such bit order.

    Example:
        >>> pack([[1, -1, 1]]), pack([[1, -1, 1]], bit_order="big")
        (array([[5]], dtype=uint8), array([[160]], dtype=uint8))
    """
    values = np.asarray(signs)
    if values.ndim != 2:
        raise ShapeError(f"signs has shape {values.shape}, expected two axes (n, b)")
    code_width(values.shape[1])
    is_one = values == 1
    if not (is_one | (values == -1)).all():
        raise ShapeError("signs holds values other than -1 and +1: call `binarise` first")
    return np.packbits(is_one, axis=1, bitorder=read_bit_order(bit_order).value)


def unpack(codes: Codes, n_bits: int, *, bit_order: BitOrder | str = BitOrder.LITTLE) -> Signs:
    """Undo `pack`.

    Args:
        codes: (n, p) uint8.
        n_bits: how many bits each row really holds.
        bit_order: of the codes, "little" (ours) or "big".

    Returns:
        (n, n_bits) int8 of -1 and +1.

    Raises:
        ShapeError: if the width of `codes` doesn't fit `n_bits`, or padding bits are set.
        UnknownNameError: if there is no such bit order.

    Example:
        >>> unpack(pack([[1, -1, 1]]), 3)
        array([[ 1, -1,  1]], dtype=int8)
    """
    if codes.ndim == 2 and codes.dtype == np.uint8:
        codes = from_little(codes, bit_order)  # reversing bits twice changes nothing
    check_codes(codes, n_bits)
    bits = np.unpackbits(codes, axis=1, count=n_bits, bitorder="little")
    return bits.astype(np.int8) * np.int8(2) - np.int8(1)


def first_bits(codes: Codes, n_bits: int, *, bit_order: BitOrder | str = BitOrder.LITTLE) -> Codes:
    """Cut each code to its first bits, packed; padding bits are zero.

    Args:
        codes: (n, p) uint8 of `n_bits` or more.
        n_bits: how many bits to keep.
        bit_order: of the codes and the result, "little" (ours) or "big".

    Returns:
        (n, code_width(n_bits)) uint8, a copy.

    Raises:
        ShapeError: if `codes` is not two-dimensional uint8, or too narrow to hold `n_bits`.

    Example:
        >>> first_bits(pack([[1, -1, 1, 1]]), 3)
        array([[5]], dtype=uint8)
    """
    width = code_width(n_bits)
    if codes.ndim != 2 or codes.dtype != np.uint8 or codes.shape[1] < width:
        raise ShapeError(
            f"codes is {codes.dtype} of shape {codes.shape}, expected uint8 of {width} columns or "
            f"more, which hold {n_bits} bits"
        )
    short: Codes = codes[:, :width].copy()
    mask = np.array([[0xFF >> (8 * width - n_bits)]], np.uint8)
    short[:, -1] &= from_little(mask, bit_order)[0, 0]
    return short


def check_codes(codes: Codes, n_bits: int, *, name: str = "codes") -> None:
    """Refuse anything but packed codes of `n_bits`.

    Args:
        codes: what should be (n, p) uint8.
        n_bits: how many bits each row should hold.
        name: the argument's name, for the message.

    Raises:
        ShapeError: if it is not two-dimensional uint8 of the right width, or padding bits are set.
    """
    width = code_width(n_bits)
    if codes.ndim != 2 or codes.dtype != np.uint8:
        raise ShapeError(
            f"{name} is {codes.dtype} of shape {codes.shape}, expected uint8 of shape (n, {width})"
        )
    if codes.shape[1] != width:
        raise ShapeError(
            f"{name} has {codes.shape[1]} bytes per row, {n_bits} bits take {width}: "
            "check the number of bits it was made with"
        )
    padding = np.uint8(0xFF << (n_bits - 8 * (width - 1)) & 0xFF)
    if padding and (codes[:, -1] & padding).any():
        raise ShapeError(
            f"{name} has bits set beyond {n_bits}: "
            "it was packed from the high end, or made with more bits"
        )
