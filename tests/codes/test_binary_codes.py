import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from modalhash.codes import (
    Signs,
    binarise,
    check_codes,
    code_width,
    first_bits,
    hamming,
    hamming_distances,
    pack,
    pairwise_distances,
    unpack,
)
from modalhash.errors import InputError, ShapeError
from tests.oracles.plain_codes import plain_distances, plain_pack

WIDTHS = (1, 7, 8, 9, 11, 16, 31, 64, 65, 128, 200)


def random_signs(n_rows: int, n_bits: int, seed: int = 0) -> Signs:
    return np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), (n_rows, n_bits))


def test_zero_binarises_to_plus_one() -> None:
    signs = binarise([[0.0, -0.0, 1e-30, -1e-30]])
    assert_array_equal(signs, np.array([[1, 1, 1, -1]], np.int8))
    assert signs.dtype == np.int8


def test_infinity_has_a_sign_and_nan_has_none() -> None:
    assert_array_equal(binarise([[np.inf, -np.inf]]), [[1, -1]])
    message = "relaxed holds NaN, which has no sign: check the features and the model"
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        binarise([[1.0, np.nan]])


def test_binarise_refuses_one_axis() -> None:
    message = "relaxed has shape (3,), expected two axes (n, b)"
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        binarise([1.0, 2.0, 3.0])


@pytest.mark.parametrize("n_bits", WIDTHS)
def test_pack_equals_the_plain_form_and_unpack_undoes_it(n_bits: int) -> None:
    signs = random_signs(5, n_bits)
    codes = pack(signs)
    assert codes.dtype == np.uint8
    assert codes.shape == (5, code_width(n_bits))
    assert_array_equal(codes, plain_pack(signs.tolist()))
    assert_array_equal(unpack(codes, n_bits), signs)


def test_no_rows_pack_to_no_rows() -> None:
    assert pack(np.zeros((0, 12), np.int8)).shape == (0, 2)
    assert unpack(np.zeros((0, 2), np.uint8), 12).shape == (0, 12)


@pytest.mark.parametrize("n_bits", WIDTHS)
def test_distances_equal_the_plain_count_and_the_dot_law(n_bits: int) -> None:
    queries, items = random_signs(3, n_bits, 1), random_signs(7, n_bits, 2)
    distances = hamming_distances(pack(queries), pack(items))
    assert distances.dtype == np.int32
    assert_array_equal(distances, plain_distances(queries.tolist(), items.tolist()))
    dots = queries.astype(np.int64) @ items.astype(np.int64).T
    assert_array_equal(distances, (n_bits - dots) // 2)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, items = pack(random_signs(11, 64, 1)), pack(random_signs(13, 64, 2))
    whole = hamming_distances(queries, items)
    monkeypatch.setattr(hamming, "BLOCK_BYTES", 8 * 13 * 2)  # two queries a block
    assert_array_equal(hamming_distances(queries, items), whole)


@given(st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_masks_and_permutations_change_no_distance(n_bits: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    queries, items = random_signs(2, n_bits, seed), random_signs(3, n_bits, seed + 1)
    distances = hamming_distances(pack(queries), pack(items))
    mask = random_signs(1, n_bits, seed + 2)
    order = generator.permutation(n_bits)
    changed = [pack((signs * mask)[:, order]) for signs in (queries, items)]
    assert_array_equal(hamming_distances(*changed), distances)


def test_pairwise_is_the_diagonal() -> None:
    one, other = pack(random_signs(6, 21, 1)), pack(random_signs(6, 21, 2))
    assert_array_equal(pairwise_distances(one, other), np.diag(hamming_distances(one, other)))
    message = "codes is (6, 3), other_codes (5, 3): rows pair up"
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        pairwise_distances(one, other[:5])


def test_distances_refuse_other_widths() -> None:
    message = (
        "query_codes has 8 bytes per row, database_codes has 16: "
        "encode both with the same number of bits"
    )
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        hamming_distances(np.zeros((1, 8), np.uint8), np.zeros((1, 16), np.uint8))


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (
            np.zeros((2, 2), np.int64),
            "codes is int64 of shape (2, 2), expected uint8 of shape (n, 2)",
        ),
        (
            np.zeros((2, 3), np.uint8),
            "codes has 3 bytes per row, 12 bits take 2: check the number of bits it was made with",
        ),
        (
            np.full((2, 2), 0x10, np.uint8),
            "codes has bits set beyond 12: it was packed from the high end, or made with more bits",
        ),
    ],
)
def test_check_codes_says_what_is_wrong(codes: NDArray[np.uint8], message: str) -> None:
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        check_codes(codes, 12)


def test_every_bit_may_be_set() -> None:
    for n_bits in WIDTHS:
        check_codes(pack(np.ones((1, n_bits), np.int8)), n_bits)


def test_pack_refuses_what_is_no_sign() -> None:
    message = "signs holds values other than -1 and +1: call `binarise` first"
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        pack([[1, 0, -1]])


def test_widths_must_be_positive() -> None:
    message = "n_bits is 0, expected a positive number (16 to 256 are usual)"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        code_width(0)


@pytest.mark.parametrize("n_bits", [1, 7, 8, 9, 15, 16])
def test_first_bits_are_those_of_the_signs_and_padding_is_zero(n_bits: int) -> None:
    signs = random_signs(20, 16)
    codes = pack(signs)
    short = first_bits(codes, n_bits)
    assert_array_equal(short, plain_pack(signs[:, :n_bits].tolist()))
    check_codes(short, n_bits)
    assert_array_equal(codes, pack(signs))  # a copy was cut
    assert first_bits(codes[:0], n_bits).shape == (0, code_width(n_bits))


def test_more_bits_than_the_codes_hold_are_refused() -> None:
    message = (
        "codes is uint8 of shape (2, 1), expected uint8 of 2 columns or more, which hold 9 bits"
    )
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        first_bits(pack([[1, -1], [1, 1]]), 9)
    with pytest.raises(ShapeError, match="codes is float64 of shape"):
        first_bits(np.zeros((2, 2)), 9)  # type: ignore[arg-type]
