import re
from typing import Any

import numpy as np
import pytest

from modalhash.codes import pack, read_codes
from modalhash.errors import InputError, ShapeError, UnknownNameError

# Bits 1 0 1 1 0 0 0 0 | 1 0 and 0 1 0 0 1 1 1 1 | 0 1, from the first on.
SIGNS = [[1, -1, 1, 1, -1, -1, -1, -1, 1, -1], [-1, 1, -1, -1, 1, 1, 1, 1, -1, 1]]
LITTLE = [[0b00001101, 0b01], [0b11110010, 0b10]]
BIG = [[0b10110000, 0b10_000000], [0b01001111, 0b01_000000]]


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.float32, np.float64])
def test_signs_of_any_type(dtype: Any) -> None:
    read = read_codes(np.array(SIGNS, dtype))
    assert (read.codes.tolist(), read.n_bits) == (LITTLE, 10)
    assert read.form == "-1 and +1, one column a bit"


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.float64])
def test_zeros_and_ones_of_any_type(dtype: Any) -> None:
    read = read_codes(((np.array(SIGNS) + 1) // 2).astype(dtype))
    assert (read.codes.tolist(), read.n_bits) == (LITTLE, 10)
    assert read.form == "0 and 1, one column a bit"


@pytest.mark.parametrize(("order", "rows"), [("little", LITTLE), ("big", BIG)])
def test_packed_bytes_of_both_orders(order: str, rows: list[list[int]]) -> None:
    read = read_codes(np.array(rows, np.uint8), n_bits=10, bit_order=order)
    assert (read.codes.tolist(), read.n_bits) == (LITTLE, 10)
    assert read.form == f"packed bytes, bit order {order}"


def test_the_orders_are_those_of_numpy() -> None:
    signs = np.where(np.random.default_rng(0).random((20, 13)) < 0.5, 1, -1)
    for order in ("little", "big"):
        packed = np.packbits(signs > 0, axis=1, bitorder=order)
        np.testing.assert_array_equal(
            read_codes(packed, n_bits=13, bit_order=order).codes, pack(signs)
        )


def test_bytes_of_0_and_1_are_what_the_number_of_bits_says() -> None:
    bytes_of_one = np.array([[0, 1], [1, 1]], np.uint8)
    assert read_codes(bytes_of_one, n_bits=2).codes.tolist() == [[2], [3]]
    assert read_codes(bytes_of_one, n_bits=16).codes.tolist() == [[0, 1], [1, 1]]
    assert read_codes(bytes_of_one).n_bits == 2


@pytest.mark.parametrize(
    ("values", "options", "error", "message"),
    [
        (
            np.array(LITTLE, np.uint8), {}, InputError,
            ("codes is packed, 2 bytes a row, which hold 9 to 16 bits: say how many (n_bits, on "
            "the command line --bits 16)"),
        ),
        (
            np.array(LITTLE, np.uint8), {"n_bits": 32}, ShapeError,
            "codes has 2 bytes a row, 32 bits take 4: check n_bits (on the command line --bits)",
        ),
        (
            np.array(BIG, np.uint8), {"n_bits": 10}, ShapeError,
            ("codes has bits set beyond 10, read in bit order little: try bit order big, or check "
            "n_bits"),
        ),
        (
            np.array(LITTLE, np.uint8), {"n_bits": 10, "bit_order": "big"}, ShapeError,
            ("codes has bits set beyond 10, read in bit order big: try bit order little, or check "
            "n_bits"),
        ),
        (
            [[1, 0, -1]], {}, InputError,
            ("codes holds -1, +1 and 0 (row 0, column 1): a code has two values; our rule is that "
            "zero counts as +1, modalhash.codes.binarise applies it"),
        ),
        (
            [[1.0, 0.25]], {}, InputError,
            ("codes holds 0.25 at row 0, column 1, expected -1 and +1, 0 and 1, or packed uint8: "
            "take the signs of relaxed codes first (modalhash.codes.binarise; zero counts as +1); "
            "queries that keep their numbers need asymmetric scoring (on the command line "
            "--scoring asymmetric)"),
        ),
        (
            [[1.0, float("nan")]], {}, InputError,
            ("codes holds nan at row 0, column 1, expected -1 and +1, 0 and 1, or packed uint8: "
            "take the signs of relaxed codes first (modalhash.codes.binarise; zero counts as +1); "
            "queries that keep their numbers need asymmetric scoring (on the command line "
            "--scoring asymmetric)"),
        ),
        (
            SIGNS, {"n_bits": 16}, ShapeError,
            "codes has 10 columns of one bit each, but n_bits is 16",
        ),
        (
            [1, -1], {}, ShapeError,
            "codes is int64 of shape (2,), expected numbers of two axes: one row a code",
        ),
        (
            np.zeros((0, 4)), {}, InputError,
            "codes has shape (0, 4), expected one row and column at least",
        ),
        (
            SIGNS, {"bit_order": "middle"}, UnknownNameError,
            "unknown bit order 'middle'; known: big, little",
        ),
    ],
)  # fmt: skip
def test_what_is_no_code_is_refused(
    values: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        read_codes(values, **options)
