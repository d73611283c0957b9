"""Similarities and loss terms by loops over pairs of rows, in plain Python numbers."""

import math
from collections.abc import Sequence

Row = Sequence[float]
Rows = Sequence[Row]
Matrix = list[list[float]]


def dot(row: Row, other: Row) -> float:
    return sum(one * two for one, two in zip(row, other, strict=True))


def cosine(row: Row, other: Row) -> float:
    """Zero if one of them has no length."""
    lengths = math.sqrt(dot(row, row)) * math.sqrt(dot(other, other))
    return dot(row, other) / lengths if lengths else 0.0


def cosines(rows: Rows, other_rows: Rows) -> Matrix:
    return [[cosine(row, other) for other in other_rows] for row in rows]


def rescaled(rows: Rows) -> Matrix:
    return [[2 * value - 1 for value in line] for line in cosines(rows, rows)]


def symmetric_row_cosines(rows: Rows, other_rows: Rows) -> Matrix:
    one = cosines(rows, other_rows)
    return [[(one[i][j] + one[j][i]) / 2 for j in range(len(one))] for i in range(len(one))]


def unit_product(matrix: Rows, other: Rows) -> Matrix:
    """Product of two square matrices, each of its rows scaled to length 1."""
    size = range(len(matrix))
    product = [[sum(matrix[i][k] * other[k][j] for k in size) for j in size] for i in size]
    return [[value / math.sqrt(dot(line, line)) for value in line] for line in product]


def weighted_sum(weights: Row, matrices: Sequence[Rows]) -> Matrix:
    size = range(len(matrices[0]))
    return [
        [
            sum(weight * matrix[i][j] for weight, matrix in zip(weights, matrices, strict=True))
            for j in size
        ]
        for i in size
    ]


def mean_square_gap(matrix: Rows, other: Rows) -> float:
    gaps = [
        (one - two) ** 2
        for line, other_line in zip(matrix, other, strict=True)
        for one, two in zip(line, other_line, strict=True)
    ]
    return sum(gaps) / len(gaps)


def mean_paired_cosine(rows: Rows, other_rows: Rows) -> float:
    values = [cosine(row, other) for row, other in zip(rows, other_rows, strict=True)]
    return sum(values) / len(values)


def affine(rows: Rows, weights: Rows, offsets: Row) -> Matrix:
    """One output a line of weights."""
    return [
        [
            dot(row, line) + offset for line, offset in zip(weights, offsets, strict=True)
        ]
        for row in rows
    ]  # fmt: skip


def unit(row: Row) -> list[float]:
    length = math.sqrt(dot(row, row))
    return [value / length if length else 0.0 for value in row]
