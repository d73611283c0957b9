"""Graph convolution, enhancement and second-order similarity by loops, in plain numbers."""

import math

from tests.oracles.plain_losses import Matrix, Row, Rows, affine, cosines, dot


def product(matrix: Rows, other: Rows) -> Matrix:
    columns = list(zip(*other, strict=True))
    return [[dot(row, column) for column in columns] for row in matrix]


def convolved(rows: Rows, edges: Rows, weight: Rows, bias: Row) -> Matrix:
    """`weight` has one line per input width."""
    mapped = product(rows, weight)
    return [
        [value + offset for value, offset in zip(line, bias, strict=True)]
        for line in product(edges, mapped)
    ]


def positive(rows: Rows) -> Matrix:
    return [[max(value, 0.0) for value in row] for row in rows]


def pair_matrix(rows: Rows, left: Rows, right: Rows) -> Matrix:
    """`left` and `right` have one line per output."""
    nothing = [0.0] * len(left)
    return cosines(affine(rows, left, nothing), affine(rows, right, nothing))


def row_sums_of_one(edges: Rows) -> Matrix:
    return [[value / sum(abs(one) for one in line) for value in line] for line in edges]


def shared_words(rows: Rows) -> Matrix:
    """1 where two rows share a place that both fill, and for a row with itself; else -1."""
    return [
        [
            1.0 if i == j or any(a > 0 and b > 0 for a, b in zip(one, other, strict=True)) else -1.0
            for j, other in enumerate(rows)
        ]
        for i, one in enumerate(rows)
    ]


def stretched(matrix: Rows) -> Matrix:
    """Away from the mean, cut to [-1, 1]."""
    entries = [value for line in matrix for value in line]
    mean, largest, smallest = sum(entries) / len(entries), max(entries), min(entries)

    def stretch(value: float) -> float:
        if value <= mean:
            value *= math.exp(-0.5 * (mean - value) / (mean - smallest))
        else:
            value *= math.exp((value - mean) / (largest - mean))
        return min(max(value, -1.0), 1.0)

    return [[stretch(value) for value in line] for line in matrix]


def amplified(matrix: Rows, thresholds: Row, ends: Row, shares: Row) -> Matrix:
    def amplify(value: float) -> float:
        if value < thresholds[0]:
            return value + shares[0] * math.exp(ends[0] - value) * value
        if value > thresholds[1]:
            return value + shares[1] * math.exp(value - ends[1]) * value
        return value

    return [[amplify(value) for value in line] for line in matrix]


def second_order(matrix: Rows) -> Matrix:
    """How alike two rows are, as the mean product over all items."""
    return [[dot(line, other) / len(matrix) for other in matrix] for line in matrix]
