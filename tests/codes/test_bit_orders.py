"""The other bit order, in the calls that take packed codes, against NumPy's own packing."""

from typing import Any

import numpy as np
import pytest

from modalhash.bridges.forms import bit_strings, hex_strings, sign_vectors, signed_bytes
from modalhash.codes import asymmetric_scores, first_bits, pack, to_little
from modalhash.errors import UnknownNameError
from modalhash.metrics import code_statistics, evaluate_asymmetric, evaluate_direction
from modalhash.search_request import SearchRequest, code_hex

N_BITS = 13


@pytest.fixture
def signs() -> Any:
    return np.where(np.random.default_rng(4).uniform(size=(7, N_BITS)) < 0.5, -1, 1)


@pytest.fixture
def big(signs: Any) -> Any:
    return np.packbits(signs > 0, axis=1)


def test_codes_are_read_from_either_order(signs: Any, big: Any) -> None:
    np.testing.assert_array_equal(to_little(big, "big"), pack(signs))
    np.testing.assert_array_equal(to_little(pack(signs), "little"), pack(signs))
    assert to_little("no codes", "big") == "no codes"
    with pytest.raises(UnknownNameError, match="bit order"):
        to_little(big, "middle")


@pytest.mark.parametrize("n_bits", [1, 5, 8, 11])
def test_the_first_bits_are_cut_in_either_order(signs: Any, big: Any, n_bits: int) -> None:
    expected = np.packbits(signs[:, :n_bits] > 0, axis=1)
    np.testing.assert_array_equal(first_bits(big, n_bits, bit_order="big"), expected)


def test_scores_and_measures_are_the_same(signs: Any, big: Any) -> None:
    ours, relaxed = pack(signs), np.random.default_rng(5).standard_normal((7, N_BITS))
    np.testing.assert_array_equal(
        asymmetric_scores(relaxed, big, N_BITS, bit_order="big"),
        asymmetric_scores(relaxed, ours, N_BITS),
    )
    balance = code_statistics(big, N_BITS, bit_order="big").bit_balance
    np.testing.assert_allclose(balance, (signs > 0).mean(axis=0), rtol=1e-12)
    options: dict[str, Any] = {"direction": "image_to_text", "query_targets": np.arange(7)[::-1]}
    for little, other in (
        (evaluate_direction(ours, ours, N_BITS, **options),
         evaluate_direction(big, big, N_BITS, bit_order="big", **options)),
        (evaluate_asymmetric(relaxed, ours, N_BITS, **options),
         evaluate_asymmetric(relaxed, big, N_BITS, bit_order="big", **options)),
    ):  # fmt: skip
        assert little.measures == other.measures


def test_codes_are_spelt_from_either_order(signs: Any, big: Any) -> None:
    ours = pack(signs)
    assert bit_strings(big, N_BITS, bit_order="big") == [
        "".join("1" if sign > 0 else "0" for sign in row) for row in signs
    ]
    assert hex_strings(big, bit_order="big") == [row.tobytes().hex() for row in ours]
    assert signed_bytes(big, bit_order="big") == signed_bytes(ours)
    np.testing.assert_array_equal(sign_vectors(big, N_BITS, bit_order="big"), signs)


def test_a_request_keeps_its_code_in_our_order(signs: Any, big: Any) -> None:
    ours = pack(signs)[0]
    for code in (big[0], big[:1], big[0].tobytes(), big[0].tobytes().hex()):
        request = SearchRequest(code=code, bit_order="big")
        assert request.code == ours.tobytes().hex()
        assert request.to_json() == {"code": {"hex": ours.tobytes().hex()}}
    assert code_hex(ours) == ours.tobytes().hex()
    with pytest.raises(UnknownNameError, match="bit order"):
        SearchRequest("a dog", bit_order="middle")
