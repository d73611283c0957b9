"""Packed codes as other systems spell them; queries must be spelt as the stored codes are.

Everywhere, bit j of a code is bit j % 8 of byte j // 8, counted from the low end, so byte forms
keep our bytes, and forms of one character or number a bit begin with bit 0. Hamming distances don't
depend on the order of bits, as long as queries and stored codes have the same one.
"""

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import BitOrder, Codes, check_codes, to_little, unpack

__all__ = ["bit_strings", "hex_strings", "sign_vectors", "signed_bytes"]


def bit_strings(
    codes: Codes, n_bits: int, *, bit_order: BitOrder | str = BitOrder.LITTLE
) -> list[str]:
    """Spell codes as texts of 0 and 1, character j for bit j: PostgreSQL's `bit(n)`.

    Args:
        codes: (n, p) uint8, packed by `pack`.
        n_bits: bits of a code.
        bit_order: of the codes, "little" (ours) or "big".

    Returns:
        n texts of `n_bits` characters.

    Raises:
        ShapeError: if the codes don't fit `n_bits`.

    Example:
        >>> bit_strings(np.array([[0b00000110]], np.uint8), 4)
        ['0110']
    """
    codes = to_little(codes, bit_order)
    check_codes(codes, n_bits)
    bits = np.unpackbits(codes, axis=1, count=n_bits, bitorder="little")
    text = (bits + np.uint8(ord("0"))).tobytes().decode("ascii")
    return [text[start : start + n_bits] for start in range(0, len(text), n_bits)]


def hex_strings(codes: Codes, *, bit_order: BitOrder | str = BitOrder.LITTLE) -> list[str]:
    """Spell codes in hexadecimal, two digits a byte: Elasticsearch's bit vectors.

    Args:
        codes: (n, p) uint8, packed by `pack`.
        bit_order: of the codes, "little" (ours) or "big"; what is spelt is ours.

    Returns:
        n texts of 2 p characters.

    Example:
        >>> hex_strings(np.array([[6, 255]], np.uint8))
        ['06ff']
    """
    codes = to_little(codes, bit_order)
    width, text = 2 * codes.shape[1], codes.tobytes().hex()
    return [text[start : start + width] for start in range(0, len(text), width)]


def signed_bytes(codes: Codes, *, bit_order: BitOrder | str = BitOrder.LITTLE) -> list[list[int]]:
    """Spell codes as bytes from -128 to 127: OpenSearch's binary vectors.

    Args:
        codes: (n, p) uint8, packed by `pack`.
        bit_order: of the codes, "little" (ours) or "big"; what is spelt is ours.

    Returns:
        n lists of p integers.

    Example:
        >>> signed_bytes(np.array([[6, 255]], np.uint8))
        [[6, -1]]
    """
    codes = to_little(codes, bit_order)
    spelt: list[list[int]] = np.ascontiguousarray(codes).view(np.int8).tolist()
    return spelt


def sign_vectors(
    codes: Codes, n_bits: int, *, bit_order: BitOrder | str = BitOrder.LITTLE
) -> NDArray[np.float32]:
    """Spell codes as vectors of -1 and +1, whose dot product is bits - 2 * distance: Qdrant.

    Args:
        codes: (n, p) uint8, packed by `pack`.
        n_bits: bits of a code.
        bit_order: of the codes, "little" (ours) or "big".

    Returns:
        (n, n_bits) float32.

    Raises:
        ShapeError: if the codes don't fit `n_bits`.

    Example:
        >>> sign_vectors(np.array([[0b110]], np.uint8), 3).tolist()
        [[-1.0, 1.0, 1.0]]
    """
    return unpack(codes, n_bits, bit_order=bit_order).astype(np.float32)
