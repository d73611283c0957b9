import math

import pytest
import torch
from torch.testing import assert_close

from modalhash.losses import former_agreement


def test_it_is_the_mean_over_numbers_written_out() -> None:
    generator = torch.Generator().manual_seed(0)
    relaxed, former = (
        torch.randn(4, 3, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    total, sizes = 0.0, 0.0
    for row in range(4):
        for bit in range(3):
            number, other = float(relaxed[row, bit]), float(former[row, bit])
            sign = 1 if other >= 0 else -1
            total += abs(other) * math.log(1 + math.exp(-2.5 * number * sign))
            sizes += abs(other)
    expected = torch.tensor(total / sizes, dtype=torch.float64)
    assert_close(former_agreement(relaxed, former, sharpness=2.5), expected, rtol=1e-12, atol=0)


def test_only_relative_sizes_of_the_former_numbers_count() -> None:
    relaxed, former = torch.tensor([[1.0, -2.0, 0.5]]), torch.tensor([[0.1, 0.2, -0.4]])
    first, second = (former_agreement(relaxed, scale * former) for scale in (1, 100))
    assert_close(first, second, rtol=1e-6, atol=0)


def test_a_bit_that_the_former_model_could_have_set_either_way_is_free() -> None:
    relaxed = torch.tensor([[3.0, 3.0]], requires_grad=True)
    loss = former_agreement(relaxed, torch.tensor([[-1.0, 0.0]]))
    (gradient,) = torch.autograd.grad(loss, relaxed)
    assert gradient[0, 0] > 0
    assert gradient[0, 1] == 0


@pytest.mark.parametrize(
    ("relaxed", "former", "expected"),
    [
        (torch.zeros(1, 1), torch.ones(1, 1), math.log(2)),
        (torch.full((2, 3), 100.0), torch.ones(2, 3), 0.0),
        (torch.full((2, 3), -100.0), torch.ones(2, 3), 100.0),
        (torch.ones(2, 3), torch.zeros(2, 3), 0.0),
        (torch.zeros(0, 3), torch.zeros(0, 3), 0.0),
    ],
)
def test_extremes(relaxed: torch.Tensor, former: torch.Tensor, expected: float) -> None:
    value = former_agreement(relaxed, former)
    assert_close(value, torch.tensor(expected), rtol=1e-6, atol=1e-6)


def test_the_gradient_is_that_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(1)
    relaxed, former = (
        torch.randn(3, 2, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    assert torch.autograd.gradcheck(
        lambda rows: former_agreement(rows, former), (relaxed.requires_grad_(),)
    )
