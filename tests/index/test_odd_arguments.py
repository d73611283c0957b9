"""What isn't a number of hits, a radius or codes is refused in one sentence."""

import re
from typing import Any

import numpy as np
import pytest

from modalhash.errors import InputError, ShapeError
from modalhash.index import HashIndex, build_index

CODES = np.array([[1, 2], [3, 4]], np.uint8)
ODD = [2.0, True, "3", None, float("nan"), float("inf"), [3]]


@pytest.fixture
def index() -> HashIndex:
    return build_index(["a", "b"], CODES, 16)


@pytest.mark.parametrize("value", ODD, ids=repr)
def test_a_number_that_is_not_whole_is_refused(index: HashIndex, value: Any) -> None:
    message = re.escape(f"k is {value!r}, expected a whole number")
    with pytest.raises(InputError, match=f"^{message}$"):
        index.search(CODES, value)
    if value is not None:  # which is no radius; the contract tests ask for a limit then
        message = re.escape(f"radius is {value!r}, expected a whole number")
        with pytest.raises(InputError, match=f"^{message}$"):
            index.search_radius(CODES, value)
    message = re.escape(f"n_bits is {value!r}, expected a positive number (16 to 256 are usual)")
    with pytest.raises(InputError, match=f"^{message}$"):
        build_index(["a"], CODES[:1], value)


def test_numbers_of_numpy_are_whole(index: HashIndex) -> None:
    one: Any = np.uint8(1)
    zero: Any = np.int64(0)
    assert index.search(CODES[:1], one).ids.tolist() == [["a"]]
    assert index.search_radius(CODES[:1], zero).ids.tolist() == ["a"]


@pytest.mark.parametrize("codes", [[[1, 2]], "ab", None])
def test_codes_that_are_no_array_are_refused(index: HashIndex, codes: Any) -> None:
    message = f"query codes are of type {type(codes).__name__}, expected an array (q, p) uint8"
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        index.search(codes, 1)
