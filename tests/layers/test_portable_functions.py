"""Functions made of additions and multiplications, against the C library's."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from modalhash.layers.portable_functions import (
    portable_erfc,
    portable_exp,
    portable_expm1,
    portable_tanh,
)

FUNCTIONS: list[tuple[Callable[[Tensor], Tensor], Callable[[float], float], float]] = [
    (portable_exp, math.exp, 700.0),
    (portable_expm1, math.expm1, 30.0),
    (portable_tanh, math.tanh, 30.0),
    (portable_erfc, math.erfc, 8.0),
]


@pytest.mark.parametrize(("function", "library", "most"), FUNCTIONS)
def test_values_are_the_librarys(
    function: Callable[[Tensor], Tensor], library: Callable[[float], float], most: float
) -> None:
    near = np.geomspace(1e-12, most, 301)
    points = torch.from_numpy(np.concatenate([-near, [0.0], near]))
    expected = torch.tensor([library(point) for point in points.tolist()], dtype=torch.float64)
    # expm1 and tanh take differences of numbers near 1 from 1e-7 on: 1e-16 of 1e-7.
    tolerance = 2e-9 if function in (portable_expm1, portable_tanh) else 1e-13
    torch.testing.assert_close(function(points), expected, rtol=tolerance, atol=0)


def test_the_ends_of_the_exponential() -> None:
    ends = torch.tensor([-torch.inf, -1e4, 1e4, torch.inf], dtype=torch.float64)
    assert portable_exp(ends).tolist() == [0.0, 0.0, math.inf, math.inf]
    far = torch.tensor([-40.0, 40.0], dtype=torch.float64)
    assert portable_tanh(far).tolist() == [-1.0, 1.0]
    assert portable_erfc(far).tolist() == [2.0, 0.0]


@pytest.mark.parametrize(("function", "library", "most"), FUNCTIONS)
def test_a_number_gives_the_same_bits_at_every_place(
    function: Callable[[Tensor], Tensor], library: Callable[[float], float], most: float
) -> None:
    del library
    points = torch.from_numpy(np.random.default_rng(0).uniform(-most, most, 45_001))
    whole = function(points)
    for start, size in ((0, 1), (3, 7), (44_999, 2), (32_760, 17)):
        assert torch.equal(function(points[start : start + size]), whole[start : start + size])
