"""The exact arithmetic of `modalhash.layers` as ONNX nodes: the same bits as torch computes.

Each function here does, operation by operation, what its namesake in `layers/exact_products.py`,
`layers/exact_operations.py` or `layers/portable_functions.py` does. All of it is additions,
multiplications, divisions, roots and rounding of single numbers, which IEEE arithmetic rounds alike
everywhere, and products whose sums need no rounding; so every runtime that computes float64 gives
the same bits.

Values are float32 unless a name says `wide`, which is float64.
"""

from typing import Final

import numpy as np
from torch import Tensor

from modalhash.layers.exact_products import FACTOR_BITS, PART, SUM_BITS, product_operand
from modalhash.layers.portable_functions import (
    ERFC_CENTRE,
    ERFC_COEFFICIENTS,
    INVERSE_FACTORIALS,
    LEAST,
    LN2_HIGH,
    LN2_LOW,
    LOG2_E,
    MOST,
)
from modalhash.model_export.graph import GraphBuilder

__all__ = ["ExactGraph"]

Float = type[np.float32] | type[np.float64]
POWER_FACTOR: Final = 2.0**52 + 1.0
POWER_SHARE: Final = 2.0**-53
"""S. M. Rump, T. Ogita, S. Oishi: "Accurate floating-point summation part I", SIAM J. Sci. Comput.
31, 2008: with `q = (2^52 + 1) p`, `q - (q - 2^-53 q)` is the power of two at or below p. ONNX
Runtime would take a factor of `1 - 2^-53` for 1, and leave it out."""
LEAST_POWER: Final[dict[Float, float]] = {np.float32: 2.0**-127, np.float64: 2.0**-900}
"""Stands for the power of two of 0, and for float32 of numbers below the normal ones."""
FRACTION_BITS: Final[dict[Float, int]] = {np.float32: 23, np.float64: 52}
SMALL: Final = 1e-7
"""Below, `portable_expm1` takes two terms of its series."""


class ExactGraph:
    """Adds exact computations to a graph.

    Args:
        graph: where nodes go.
    """

    def __init__(self, graph: GraphBuilder) -> None:
        self.graph = graph

    def wide(self, value: str) -> str:
        """Convert to float64."""
        return self.graph.cast(value, np.float64)

    def narrow(self, wide: str) -> str:
        """Convert to float32, to the nearest."""
        return self.graph.cast(wide, np.float32)

    def with_number(
        self, operator: str, value: str, number: float, dtype: Float = np.float64
    ) -> str:
        """Combine a value with a number, by `Add`, `Sub`, `Mul`, `Div`, `Max` or `Min`."""
        return self.graph.add(operator, value, self.graph.constant(number, dtype))

    def round_together(self, values: str, n_bits: int, dtype: Float, axis: int | None = 1) -> str:
        """Round values along an axis to multiples of one quantum; None: each by itself."""
        graph = self.graph
        largest = graph.add("Abs", values)
        if axis is not None:
            axes = graph.constant([axis], np.int64)
            largest = graph.add("ReduceMax", largest, axes, keepdims=1)
        largest = self.wide(largest) if dtype is np.float32 else largest
        large = self.with_number("Mul", largest, POWER_FACTOR)
        below = graph.add("Sub", large, self.with_number("Mul", large, POWER_SHARE))
        power = graph.add("Sub", large, below)
        power = self.with_number("Max", power, LEAST_POWER[dtype])
        shift = self.with_number("Mul", power, 1.5 * 2.0 ** (1 + FRACTION_BITS[dtype] - n_bits))
        shift = self.narrow(shift) if dtype is np.float32 else shift
        return graph.add("Sub", graph.add("Add", values, shift), shift)

    def factor(self, values: str, axis: int | None = 1) -> str:
        """Round one side's part of a sum of products, as float64."""
        return self.wide(self.round_together(values, FACTOR_BITS, np.float32, axis))

    def product(self, left: str, right: Tensor) -> str:
        """Multiply (n, k) values by (k, m) weights, as float64."""
        graph = self.graph
        operand = product_operand(right.detach().cpu())
        sizes = graph.constant([len(part) for part in operand], np.int64)
        lefts = [left] if len(operand) == 1 else []
        lefts = lefts or graph.add_many("Split", (left, sizes), len(operand), axis=1)
        total = ""
        for part, other in zip(lefts, operand, strict=True):
            # A factor has at most 23 significant bits: float32 holds it in half the space.
            weights = self.wide(graph.constant(other.numpy(), np.float32))
            terms = graph.add("MatMul", self.factor(part), weights)
            total = graph.add("Add", total, terms) if total else terms
        return total

    def sum(self, wide: str, n_terms: int) -> str:
        """Add float64 values (n, `n_terms`) along the rows, to (n, 1)."""
        n_bits = SUM_BITS - max(0, n_terms - 1).bit_length()
        axes = self.graph.constant([1], np.int64)
        return self.graph.add(
            "ReduceSum", self.round_together(wide, n_bits, np.float64), axes, keepdims=1
        )

    def mean(self, wide: str, n_terms: int) -> str:
        """Average float64 values (n, `n_terms`) along the rows, to (n, 1)."""
        return self.with_number("Div", self.sum(wide, n_terms), float(n_terms))

    def polynomial(self, wide: str, coefficients: tuple[float, ...]) -> str:
        """Evaluate a polynomial by Horner's rule, highest power first."""
        total = self.with_number("Mul", wide, coefficients[0])
        for coefficient in coefficients[1:-1]:
            total = self.graph.add("Mul", self.with_number("Add", total, coefficient), wide)
        return self.with_number("Add", total, coefficients[-1])

    def exp(self, wide: str) -> str:
        """Compute exponentials of float64 values."""
        graph = self.graph
        inside = self.with_number("Max", self.with_number("Min", wide, MOST), LEAST)
        halvings = graph.add("Round", self.with_number("Mul", inside, LOG2_E))
        rest = graph.add("Sub", inside, self.with_number("Mul", halvings, LN2_HIGH))
        rest = graph.add("Sub", rest, self.with_number("Mul", halvings, LN2_LOW))
        place = graph.cast(self.with_number("Add", halvings, 1023.0), np.int64)
        table = graph.constant([0.0, *(2.0**power for power in range(-1022, 1024))], np.float64)
        result = graph.add(
            "Mul", self.polynomial(rest, INVERSE_FACTORIALS), graph.add("Gather", table, place)
        )
        is_low = graph.add("Less", wide, graph.constant(LEAST, np.float64))
        result = graph.add("Where", is_low, graph.constant(0.0, np.float64), result)
        is_high = graph.add("Greater", wide, graph.constant(MOST, np.float64))
        return graph.add("Where", is_high, graph.constant(np.inf, np.float64), result)

    def softmax(self, values: str, n_terms: int) -> str:
        """Compute the softmax of (n, `n_terms`) float32 values along the rows."""
        wide = self.wide(values)
        axes = self.graph.constant([1], np.int64)
        largest = self.graph.add("ReduceMax", wide, axes, keepdims=1)
        raised = self.exp(self.graph.add("Sub", wide, largest))
        return self.narrow(self.graph.add("Div", raised, self.sum(raised, n_terms)))

    def expm1(self, wide: str) -> str:
        """Compute exponentials less 1 of float64 values."""
        graph = self.graph
        is_small = graph.add("Less", graph.add("Abs", wide), graph.constant(SMALL, np.float64))
        half_square = self.with_number("Mul", graph.add("Mul", wide, wide), 0.5)
        raised = self.with_number("Sub", self.exp(wide), 1.0)
        return graph.add("Where", is_small, graph.add("Add", wide, half_square), raised)

    def erfc(self, wide: str) -> str:
        """Compute the complement of the error function of float64 values."""
        graph = self.graph
        sizes = graph.add("Abs", wide)
        place = graph.add(
            "Div",
            self.with_number("Sub", sizes, ERFC_CENTRE),
            self.with_number("Add", sizes, ERFC_CENTRE),
        )
        falling = self.exp(graph.add("Neg", graph.add("Mul", sizes, sizes)))
        upper = graph.add("Mul", self.polynomial(place, ERFC_COEFFICIENTS), falling)
        is_negative = graph.add("Less", wide, graph.constant(0.0, np.float64))
        lower = graph.add("Sub", graph.constant(2.0, np.float64), upper)
        return graph.add("Where", is_negative, lower, upper)

    def linear(self, values: str, weight: Tensor, bias: Tensor | None) -> str:
        """Map (n, k) values by weights (m, k) and a bias (m,)."""
        mapped = self.product(values, weight.detach().t())
        if bias is not None:
            offset = self.graph.constant(bias.detach().cpu().double().numpy(), np.float64)
            mapped = self.graph.add("Add", mapped, offset)
        return self.narrow(mapped)

    def gelu(self, values: str) -> str:
        """Compute GELU, by the error function."""
        wide = self.wide(values)
        tail = self.with_number("Mul", self.erfc(self.with_number("Mul", wide, -(0.5**0.5))), 0.5)
        return self.narrow(self.graph.add("Mul", wide, tail))

    def elu(self, values: str) -> str:
        """Compute ELU."""
        graph = self.graph
        wide = self.wide(values)
        below = self.expm1(self.with_number("Min", wide, 0.0))
        is_positive = graph.add("Greater", wide, graph.constant(0.0, np.float64))
        return self.narrow(graph.add("Where", is_positive, wide, below))

    def normalise_layer(
        self, values: str, width: int, weight: Tensor, bias: Tensor, epsilon: float
    ) -> str:
        """Normalise (n, `width`) rows to mean 0 and variance 1, then scale and shift."""
        graph = self.graph
        wide = self.wide(values)
        centred = graph.add("Sub", wide, self.mean(wide, width))
        variance = self.mean(graph.add("Mul", centred, centred), width)
        deviation = graph.add("Sqrt", self.with_number("Add", variance, epsilon))
        result = graph.add("Div", centred, deviation)
        scale, shift = (
            graph.constant(part.detach().cpu().double().numpy(), np.float64)
            for part in (weight, bias)
        )
        return self.narrow(graph.add("Add", graph.add("Mul", result, scale), shift))

    def unit_rows(self, values: str, width: int, least: float) -> str:
        """Scale (n, `width`) rows to length 1; lengths below `least` count as `least`."""
        wide = self.wide(values)
        squares = self.sum(self.graph.add("Mul", wide, wide), width)
        lengths = self.narrow(self.graph.add("Sqrt", squares))
        return self.graph.add("Div", values, self.with_number("Max", lengths, least, np.float32))


assert PART <= 512, "factors of longer parts wouldn't fit into float64 sums"
