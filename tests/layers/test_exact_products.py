"""Products and sums that no order changes, against whole numbers of any size and fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from modalhash.layers.exact_products import (
    PART,
    exact_product,
    exact_sum,
    product_operand,
    round_together,
)


def to_nearest_multiples(values: list[float], n_bits: int) -> list[Fraction]:
    """Round values to multiples of 2^-n_bits of the power of two above the largest; ties to even.

    Python's `round` of a fraction rounds ties to even, as IEEE arithmetic does.
    """
    largest = max(abs(value) for value in values)
    quantum = Fraction(2) ** (math.frexp(largest)[1] - n_bits)
    return [round(Fraction(value) / quantum) * quantum for value in values]


def normal(*shape: int, seed: int = 0, spread: float = 1.0) -> Tensor:
    generator = np.random.default_rng(seed)
    values = generator.normal(size=shape) * np.exp(spread * generator.normal(size=shape))
    return torch.from_numpy(values.astype(np.float32))


def test_a_product_is_that_of_rounded_rows_and_columns_in_exact_arithmetic() -> None:
    left, right = normal(3, 7), normal(7, 4, seed=1)
    rows = [to_nearest_multiples(row.tolist(), 22) for row in left]
    columns = [to_nearest_multiples(column.tolist(), 22) for column in right.T]
    expected = [
        [float(sum(a * b for a, b in zip(row, column, strict=True))) for column in columns]
        for row in rows
    ]
    assert exact_product(left, right).tolist() == expected


def test_rounding_is_to_the_nearest_multiple() -> None:
    values = normal(40, seed=2, spread=3)
    expected = [float(value) for value in to_nearest_multiples(values.tolist(), 22)]
    assert round_together(values, 22, 0).tolist() == expected
    wide = [float(value) for value in to_nearest_multiples(values.tolist(), 30)]
    assert round_together(values.double(), 30, 0).tolist() == wide


@pytest.mark.parametrize("n_terms", [1, 10, PART])
def test_terms_in_any_order_give_the_same_bits(n_terms: int) -> None:
    left, right = normal(9, n_terms, spread=2), normal(n_terms, 10, seed=1, spread=2)
    whole = exact_product(left, right)
    for seed in range(5):
        order = torch.from_numpy(np.random.default_rng(seed).permutation(n_terms))
        assert torch.equal(exact_product(left[:, order], right[order]), whole)


@pytest.mark.parametrize(("n_terms", "n_columns"), [(11, 10), (600, 64), (1300, 7)])
def test_rows_are_what_they_are_alone(n_terms: int, n_columns: int) -> None:
    left, right = normal(100, n_terms), normal(n_terms, n_columns, seed=1)
    whole, operand = exact_product(left, right), product_operand(right)
    for size in (1, 3, 64, 99):
        parts = [exact_product(part, operand) for part in torch.split(left, size)]
        assert torch.equal(torch.cat(parts), whole)
    mates = left.clone()
    mates[1:] = 1e30
    assert torch.equal(exact_product(mates, right)[0], whole[0])


def test_the_error_is_that_of_float32() -> None:
    left, right = normal(64, 1300, spread=0), normal(1300, 32, seed=1, spread=0)
    true = left.double() @ right.double()
    # Each part of a sum: 512 terms, both factors off by 2^-23 of the largest at most.
    largest = left.abs().amax(1, keepdim=True).double() * right.abs().amax(0).double()
    bound = 2 * 1300 * largest * 2.0**-22
    errors = (exact_product(left, right) - true).abs()
    assert bool((errors <= bound).all())
    assert float(errors.mean()) < 3 * float(((left @ right).double() - true).abs().mean())


def test_zeros_and_tiny_numbers_are_numbers() -> None:
    assert exact_product(torch.zeros(2, 3), torch.ones(3, 1)).tolist() == [[0.0], [0.0]]
    tiny = torch.full((1, 2), 2.0**-140)
    assert exact_product(tiny, torch.ones(2, 1)).tolist() == [[2.0**-139]]


def test_a_sum_is_that_of_its_terms_whatever_their_order() -> None:
    values = normal(5, 700, spread=2).double()
    whole = exact_sum(values, 1)
    order = torch.from_numpy(np.random.default_rng(0).permutation(700))
    assert torch.equal(exact_sum(values[:, order], 1), whole)
    assert exact_sum(values, (0, 1)).shape == ()
    assert exact_sum(values, 1, keepdim=True).shape == (5, 1)
    for row, total in zip(values.tolist(), whole.tolist(), strict=True):
        # 51 bits less 10 for 700 terms, each off by half a unit.
        slack = 700 * 2.0 ** (math.frexp(max(map(abs, row)))[1] - 41)
        assert abs(total - math.fsum(row)) <= slack
