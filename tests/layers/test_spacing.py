import pytest
from numpy.testing import assert_array_equal

from modalhash.layers import evenly_spaced


@pytest.mark.parametrize(
    ("n", "most", "expected"),
    [(5, 5, [0, 1, 2, 3, 4]), (5, 2, [0, 2]), (10, 4, [0, 2, 5, 7]), (7, 1, [0]), (1, 9, [0])],
)
def test_evenly_spaced(n: int, most: int, expected: list[int]) -> None:
    assert_array_equal(evenly_spaced(n, most), expected)
