"""Why an item is where it is, by hand."""

import re

import numpy as np
import pytest

from modalhash.codes import hamming_distances, pack
from modalhash.errors import InputError, ShapeError
from modalhash.index.explanation import (
    DistanceProfile,
    chance_within,
    compare_bits,
    weigh_bits,
)


def test_bits_by_hand() -> None:
    code, other = pack([[1, 1, -1, -1, 1, 1, 1, 1, -1]]), pack([[1, -1, -1, 1, 1, 1, 1, 1, 1]])
    found = compare_bits(code, other, 9)
    assert (found.agreeing, found.differing, found.distance) == ((0, 2, 4, 5, 6, 7), (1, 3, 8), 3)
    swapped = compare_bits(other, code, 9)
    assert swapped == found


def test_bits_make_the_distance_and_are_complete() -> None:
    codes = pack(np.random.default_rng(0).choice([-1, 1], (20, 37)))
    for row in range(1, 20):
        found = compare_bits(codes[:1], codes[row : row + 1], 37)
        assert found.distance == hamming_distances(codes[:1], codes[row : row + 1])[0, 0]
        assert sorted(found.agreeing + found.differing) == list(range(37))


def test_codes_of_another_width_are_refused() -> None:
    with pytest.raises(ShapeError):
        compare_bits(pack([[1] * 8]), pack([[1] * 9]), 8)


@pytest.mark.parametrize(
    ("distance", "n_bits", "expected"),
    [(0, 4, 1 / 16), (1, 4, 5 / 16), (4, 4, 1.0), (2, 5, 0.5), (0, 256, 0.5**256)],
)
def test_the_chance_of_random_codes(distance: int, n_bits: int, expected: float) -> None:
    assert chance_within(distance, n_bits) == expected


def test_a_profile_by_hand() -> None:
    profile = DistanceProfile(np.array([0, 2, 0, 1, 5]))
    assert (profile.n_bits, profile.n_items, profile.expected) == (4, 8, 2.0)
    assert profile.mean == (2 * 1 + 1 * 3 + 5 * 4) / 8
    assert [profile.ranks(distance) for distance in (1, 3, 4)] == [(1, 2), (3, 3), (4, 8)]
    assert [profile.percentile(distance) for distance in (0, 1, 3, 4)] == [
        100.0, 100 * (6 + 1) / 8, 100 * (5 + 0.5) / 8, 100 * 2.5 / 8,
    ]  # fmt: skip


def test_an_empty_index_has_no_distances() -> None:
    profile = DistanceProfile(np.zeros(5, np.int64))
    message = "the index is empty: there are no distances"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        _ = profile.mean
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        profile.percentile(0)


def test_what_bits_add_to_a_score_by_hand() -> None:
    query = np.array([[4.0, -2.0, 0.0, -1.0, 1.0]], np.float32)
    bits = weigh_bits(query, pack([[1, 1, -1, -1, 1]]), 5)
    np.testing.assert_allclose(
        bits.values, [4 / 8, -2 / 8, 0, 1 / 8, 1 / 8], rtol=0, atol=5 / 2**24
    )
    # Zero counts as +1, so the third bit differs, and weighs nothing.
    assert (bits.agreeing, bits.differing, bits.distance) == ((0, 3, 4), (1, 2), 2)
    assert bits.score == pytest.approx(4 / 8, abs=5 / 2**24)
    with pytest.raises(
        ShapeError, match=re.escape("there are 2 queries and 1 codes, expected one")
    ):
        weigh_bits(np.ones((2, 5)), pack([[1, 1, 1, 1, 1]]), 5)
    with pytest.raises(InputError, match=re.escape("query hold NaN or infinity, first in row 0")):
        weigh_bits(np.full((1, 5), np.nan), pack([[1, 1, 1, 1, 1]]), 5)
