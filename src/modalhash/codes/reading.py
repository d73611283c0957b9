"""Codes as other programs write them: packed bytes of either bit order, -1 and +1, 0 and 1."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modalhash.codes.bit_order import BitOrder, read_bit_order
from modalhash.codes.packing import Codes, check_codes, code_width, pack
from modalhash.errors import InputError, ShapeError

__all__ = ["ReadCodes", "read_codes"]


@dataclass(frozen=True)
class ReadCodes:
    """Codes in our form, and what they were.

    Attributes:
        codes: (n, p) uint8, packed.
        n_bits: bits of a code.
        form: what was found, for people ("-1 and +1, one column a bit").
    """

    codes: Codes
    n_bits: int
    form: str


def read_codes(
    values: ArrayLike,
    *,
    n_bits: int | None = None,
    bit_order: BitOrder | str = BitOrder.LITTLE,
    name: str = "codes",
) -> ReadCodes:
    """Read codes that any program made.

    Three forms are told apart by their values, and `form` says which was found: -1 and +1, or 0
    and 1 (0 means -1), of any type of number with one column a bit; or packed bytes (uint8). The
    number of bits isn't in packed bytes, so those need `n_bits`.

    Args:
        values: (n, b) numbers or booleans, or (n, p) uint8; one row at least.
        n_bits: bits of a code; None is the number of columns.
        bit_order: of packed bytes.
        name: the argument's name, for messages.

    Returns:
        The codes, packed our way.

    Raises:
        ShapeError: if it isn't two-dimensional or has another number of bits.
        InputError: if it has no rows, holds other values, or is packed and lacks `n_bits`.
        UnknownNameError: if there is no such bit order.

    Example:
        >>> read_codes([[0, 1, 1], [1, 0, 0]]).codes.tolist()
        [[6], [1]]
        >>> read_codes(np.array([[0b10100000]], np.uint8), n_bits=3, bit_order="big").codes.tolist()
        [[5]]
    """
    order = read_bit_order(bit_order)
    array: NDArray[Any] = np.asarray(values)
    if array.ndim != 2 or array.dtype.kind not in "buif":
        raise ShapeError(
            f"{name} is {array.dtype} of shape {array.shape}, expected numbers of two axes: one "
            "row a code"
        )
    if not array.size:
        raise InputError(f"{name} has shape {array.shape}, expected one row and column at least")
    if array.dtype == np.uint8 and is_packed(array, n_bits, name):
        assert n_bits is not None
        return read_packed(array, n_bits, order, name)
    if n_bits is not None and n_bits != array.shape[1]:
        raise ShapeError(
            f"{name} has {array.shape[1]} columns of one bit each, but n_bits is {n_bits}"
        )
    return read_columns(array, name)


def is_packed(array: NDArray[np.uint8], n_bits: int | None, name: str) -> bool:
    """Tell whether bytes hold eight bits each or one.

    Raises:
        InputError: if they are packed and `n_bits` doesn't say how many bits they hold.
    """
    holds_one_bit = int(array.max()) <= 1
    if n_bits is not None:
        return not (holds_one_bit and array.shape[1] == n_bits)
    if not holds_one_bit:
        width = array.shape[1]
        raise InputError(
            f"{name} is packed, {width} bytes a row, which hold {8 * width - 7} to {8 * width} "
            f"bits: say how many (n_bits, on the command line --bits {8 * width})"
        )
    return False


def read_packed(array: NDArray[np.uint8], n_bits: int, bit_order: BitOrder, name: str) -> ReadCodes:
    """Read packed bytes in our bit order."""
    width = code_width(n_bits)
    if array.shape[1] != width:
        raise ShapeError(
            f"{name} has {array.shape[1]} bytes a row, {n_bits} bits take {width}: check n_bits "
            "(on the command line --bits)"
        )
    codes: Codes = np.ascontiguousarray(array)
    if bit_order is BitOrder.BIG:
        codes = np.packbits(np.unpackbits(codes, axis=1), axis=1, bitorder="little")
    try:
        check_codes(codes, n_bits, name=name)
    except ShapeError as error:
        other = next(order for order in BitOrder if order is not bit_order)
        raise ShapeError(
            f"{name} has bits set beyond {n_bits}, read in bit order {bit_order}: try bit order "
            f"{other}, or check n_bits"
        ) from error
    return ReadCodes(codes, n_bits, f"packed bytes, bit order {bit_order}")


def read_columns(array: NDArray[Any], name: str) -> ReadCodes:
    """Read codes of one column a bit, packed."""
    is_one, is_zero, is_minus = array == 1, array == 0, array == -1
    is_other = ~(is_one | is_zero | is_minus)
    if is_other.any():
        row, column = np.argwhere(is_other)[0]
        raise InputError(
            f"{name} holds {array[row, column]} at row {row}, column {column}, expected -1 and +1, "
            "0 and 1, or packed uint8: take the signs of relaxed codes first "
            "(modalhash.codes.binarise; zero counts as +1); queries that keep their numbers need "
            "asymmetric scoring (on the command line --scoring asymmetric)"
        )
    if is_zero.any() and is_minus.any():
        row, column = np.argwhere(is_zero)[0]
        raise InputError(
            f"{name} holds -1, +1 and 0 (row {row}, column {column}): a code has two values; "
            "our rule is that zero counts as +1, modalhash.codes.binarise applies it"
        )
    form = "0 and 1" if is_zero.any() else "-1 and +1"
    packed = pack(np.where(is_one, 1, -1))
    return ReadCodes(packed, array.shape[1], f"{form}, one column a bit")
