"""Exponential and error function made of additions and multiplications alone.

Libraries compute these by the instructions a processor has, and the last numbers of an array, which
fill no vector register, by other code than the first: their last bits depend on the processor and
on a number's place. IEEE additions, multiplications, divisions and roots are exactly rounded
everywhere, and so is what is made of them one operation at a time.
"""

import torch
from torch import Tensor

__all__ = ["portable_erfc", "portable_exp", "portable_expm1", "portable_tanh"]

LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10
"""Their sum is ln 2; the first has 32 significant bits, so that whole multiples of it are exact."""
LEAST, MOST = -708.0, 709.0
"""Below and above, a float64 exponential leaves the range of normal numbers."""
INVERSE_FACTORIALS = (
    1 / 6227020800, 1 / 479001600, 1 / 39916800, 1 / 3628800, 1 / 362880, 1 / 40320, 1 / 5040,
    1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0, 1.0,
)  # fmt: skip
"""Of 13 down to 0."""
ERFC_CENTRE = 3.0
ERFC_COEFFICIENTS = (
    -3.6410152980314752e-09, -2.1695977996809756e-09, 3.654423869193241e-08,
    3.3410056799353215e-08, -2.2251497924970352e-07, -2.985990196500411e-07,
    1.2435316256483257e-06, 2.1229015829547324e-06, -7.973889625561072e-06,
    -1.2861691088915762e-05, 6.405528582105432e-05, 4.525562086188602e-05,
    -0.0005970617186575995, 0.0007077463847767089, 0.004269136309848642, -0.02439249931353144,
    0.07166583719903666, -0.15011593650100638, 0.24560380171231647, -0.32623356004303417,
    0.17900115118138996,
)  # fmt: skip
"""Of `erfc(x) exp(x^2)` in `t = (x - 3) / (x + 3)`, highest power first: the interpolation at 21
Chebyshev nodes, relative error below 1e-14 for 0 <= x <= 8."""


def polynomial(values: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """Evaluate a polynomial by Horner's rule, highest power first."""
    total = torch.full_like(values, coefficients[0])
    for coefficient in coefficients[1:]:
        total.mul_(values).add_(coefficient)
    return total


def portable_exp(values: Tensor) -> Tensor:
    """Compute `exp(values)` of float64 values, to about 1e-15 of itself; 0 below -708.

    Example:
        >>> portable_exp(torch.tensor([0.0, 1.0], dtype=torch.float64))
        tensor([1.0000, 2.7183], dtype=torch.float64)
    """
    inside = values.clamp(LEAST, MOST)
    halvings = (inside * LOG2_E).round_()
    rest = (inside - halvings * LN2_HIGH) - halvings * LN2_LOW  # |rest| <= ln 2 / 2
    powers = ((halvings.to(torch.int64) + 1023) << 52).view(torch.float64)
    result = polynomial(rest, INVERSE_FACTORIALS) * powers
    result = torch.where(values < LEAST, torch.zeros_like(result), result)
    return torch.where(values > MOST, torch.full_like(result, torch.inf), result)


def portable_expm1(values: Tensor) -> Tensor:
    """Compute `exp(values) - 1` of float64 values; near 0 two terms of its series."""
    is_small = values.abs() < 1e-7
    return torch.where(is_small, values + values * values * 0.5, portable_exp(values) - 1.0)


def portable_tanh(values: Tensor) -> Tensor:
    """Compute `tanh(values)` of float64 values: `-expm1(-2 |x|) / (1 + exp(-2 |x|))`, signed."""
    falling = portable_expm1(values.abs() * -2.0)
    return -falling / (falling + 2.0) * values.sign()


def portable_erfc(values: Tensor) -> Tensor:
    """Compute `1 - erf(values)` of float64 values, to about 1e-14 of itself up to 8."""
    sizes = values.abs()
    scaled = polynomial((sizes - ERFC_CENTRE) / (sizes + ERFC_CENTRE), ERFC_COEFFICIENTS)
    upper = scaled * portable_exp(-(sizes * sizes))
    return torch.where(values < 0, 2.0 - upper, upper)
