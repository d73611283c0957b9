"""Bit orders: the first bit at the low or the high end of a byte."""

import numpy as np
import pytest

from modalhash.codes import from_little, pack, unpack
from modalhash.errors import UnknownNameError


def test_the_first_bit_is_at_the_low_or_the_high_end() -> None:
    signs = [[1, -1, -1, -1, -1, -1, -1, -1, 1, 1]]
    assert pack(signs).tolist() == [[1, 2 + 1]]
    assert pack(signs, bit_order="big").tolist() == [[128, 128 + 64]]


@pytest.mark.parametrize("n_bits", [8, 13, 64])
def test_orders_are_those_of_numpy(n_bits: int) -> None:
    signs = np.random.default_rng(0).choice([-1, 1], (5, n_bits))
    little, big = pack(signs), pack(signs, bit_order="big")
    np.testing.assert_array_equal(big, np.packbits(signs > 0, axis=1))
    np.testing.assert_array_equal(from_little(little, "big"), big)
    np.testing.assert_array_equal(unpack(big, n_bits, bit_order="big"), signs)
    np.testing.assert_array_equal(unpack(little, n_bits), signs)


def test_an_unknown_order_lists_the_known() -> None:
    with pytest.raises(UnknownNameError, match="unknown bit order 'middle'"):
        pack([[1]], bit_order="middle")
