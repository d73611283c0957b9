"""Matrix products and sums without rounding error: every order of summation gives the same bits.

A processor adds the terms of a sum in an order that depends on its instructions, on the number of
threads and on the shape of the whole matrix; in floating point another order is another result.
Here the numbers are first rounded to whole multiples of a power of two, a quantum. Those of a row
share one quantum, those of a column too, and the quanta are coarse enough that each sum of products
is a multiple of the product of both quanta, below 2^53 times it. A float64 holds all of these
exactly, so nothing is left to the order: a row's result depends on this row alone, and is the same
on every processor with IEEE arithmetic.

Sums are cut into parts of `PART` terms, which are added in order. Each side keeps `FACTOR_BITS`
bits of the largest number in its part, where a float32 keeps 24 bits of each number.

The idea is that of error-free splitting: K. Ozaki, T. Ogita, S. Oishi, S. M. Rump: "Error-free
transformations of matrix multiplication by using fast routines of matrix multiplication and its
applications", Numerical Algorithms 59, 2012. One slice of each side is enough for hash codes.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["ProductOperand", "exact_product", "exact_sum", "product_operand"]

FACTOR_BITS = 22
"""Bits that a factor of a product keeps; two factors and `PART` terms take 22 + 22 + 9 = 53."""
PART = 512
"""Terms of a sum of products at most; longer sums are added part by part."""
SUM_BITS = 51
"""Bits of a sum of float64 values: as many as `round_together` leaves."""

ProductOperand = Sequence[Tensor]
"""The right side of a product, rounded and cut into parts of `PART` rows, float64."""


class FloatFormat(NamedTuple):
    """How a float dtype lies in memory.

    Attributes:
        integer: dtype of the same size.
        fraction_bits: stored bits of the significand.
        bias: what is added to exponents.
    """

    integer: torch.dtype
    fraction_bits: int
    bias: int


FORMATS = {
    torch.float32: FloatFormat(torch.int32, 23, 127),
    torch.float64: FloatFormat(torch.int64, 52, 1023),
}


def round_together(values: Tensor, n_bits: int, dim: int | tuple[int, ...]) -> Tensor:
    """Round values to multiples of one quantum along dimensions.

    The quantum is a power of two, `2^-n_bits` of the one above the largest magnitude. A number too
    large by 1.5 units of the float's last place but `n_bits` is added and taken away again, which
    leaves what is a multiple of its last place.

    Args:
        values: float32 or float64, finite.
        n_bits: bits that the largest value keeps; at most 22 for float32 and 51 for float64.
        dim: along which the quantum is the same.

    Example:
        >>> round_together(torch.tensor([1.0, 0.3]), 3, 0)  # multiples of 2 / 8
        tensor([1.0000, 0.2500])
    """
    form = FORMATS[values.dtype]
    largest = values.abs().amax(dim, keepdim=True)
    exponents = largest.view(form.integer) >> form.fraction_bits
    # Of 2^fraction_bits quanta; their 1.5-fold is the same with the first fraction bit set.
    exponents = (exponents + (1 + form.fraction_bits - n_bits)).clamp_(1, 2 * form.bias)
    half = 1 << (form.fraction_bits - 1)
    shift = ((exponents << form.fraction_bits) + half).view(values.dtype)
    return (values + shift).sub_(shift)


def product_operand(right: Tensor) -> ProductOperand:
    """Prepare the right side of a product, which many left sides may meet.

    Args:
        right: (..., k, m) of any float dtype, finite.
    """
    return [factor(part, -2) for part in torch.split(right, PART, dim=-2)]


def factor(values: Tensor, dim: int) -> Tensor:
    """Round one side's part of a sum of products along the terms, as float64."""
    return round_together(values.float(), FACTOR_BITS, dim).double()


def exact_product(left: Tensor, right: Tensor | ProductOperand) -> Tensor:
    """Multiply matrices so that each row of the result depends on one row of `left` alone.

    Args:
        left: (..., n, k) of any float dtype, finite.
        right: (..., k, m), or what `product_operand` made of it; in a batch, a matrix for each of
            `left`.

    Returns:
        (..., n, m) float64; bit for bit the same on every processor.

    Example:
        >>> exact_product(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [4.0]]))
        tensor([[11.]], dtype=torch.float64)
    """
    operand = product_operand(right) if isinstance(right, Tensor) else right
    total: Tensor | None = None
    for part, other in zip(torch.split(left, PART, dim=-1), operand, strict=True):
        product = torch.matmul(factor(part, -1), other)
        total = product if total is None else total.add_(product)
    assert total is not None
    return total


def exact_sum(values: Tensor, dim: int | tuple[int, ...], *, keepdim: bool = False) -> Tensor:
    """Add float64 values along one or more dimensions so that their order doesn't matter.

    Example:
        >>> exact_sum(torch.tensor([0.5, 0.25, 0.125], dtype=torch.float64), 0)
        tensor(0.8750, dtype=torch.float64)
    """
    dims = (dim,) if isinstance(dim, int) else dim
    n_terms = math.prod(values.shape[place] for place in dims)
    n_bits = SUM_BITS - max(0, n_terms - 1).bit_length()
    return round_together(values, n_bits, dims).sum(dims, keepdim)
