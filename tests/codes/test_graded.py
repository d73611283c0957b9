"""Graded codes: several bits a number, decoded by hand and by plain loops."""

import numpy as np
import pytest

from modalhash.codes import GradedBits, pack
from modalhash.errors import ShapeError

BITS = GradedBits((3, 2, 2, 1), (4.0, 2.0, 1.0, 0.5))


def test_bits_stand_for_halves_of_their_step() -> None:
    # Three first bits, three second bits, one third bit.
    assert BITS.numbers.tolist() == [0, 1, 2, 3, 0, 1, 2, 0]
    assert BITS.weights.tolist() == [4, 2, 1, 0.5, 2, 1, 0.5, 1]
    signs = np.array([[1, -1, 1, 1, -1, -1, 1, 1]])
    assert BITS.decode(pack(signs)).tolist() == [[4 - 2 + 1, -2 - 1, 1 + 0.5, 0.5]]


def test_stored_items_ask_with_what_they_stand_for() -> None:
    signs = np.where(np.random.default_rng(0).random((6, BITS.n_bits)) < 0.5, -1, 1)
    codes = pack(signs)
    numbers, values = BITS.query_numbers(codes), BITS.decode(codes)
    for first in range(6):
        for second in range(6):
            score = sum(numbers[first, bit] * signs[second, bit] for bit in range(BITS.n_bits))
            product = sum(values[first, place] * values[second, place] for place in range(4))
            assert score == product  # sums of binary fractions are exact


def test_heads_without_graded_bits_have_none() -> None:
    assert GradedBits.of_head({"kind": "linear", "in_width": 4, "n_bits": 8}) is None
    assert GradedBits.of_head({"kind": "graded", "counts": [2, 1], "steps": [1.0, 1.0]}) == (
        GradedBits((2, 1), (1.0, 1.0))
    )


@pytest.mark.parametrize(
    ("counts", "steps"),
    [((), ()), ((1, 2), (1.0, 1.0)), ((9,), (1.0,)), ((1,), (0.0,)), ((1,), (1.0, 1.0))],
)
def test_what_stands_for_nothing_is_refused(
    counts: tuple[int, ...], steps: tuple[float, ...]
) -> None:
    with pytest.raises(ShapeError, match="graded bits have"):
        GradedBits(counts, steps)
