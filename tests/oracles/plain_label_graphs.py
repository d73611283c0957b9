"""Similarity by labels, graph attention and networks by loops, in plain Python numbers."""

import math
from collections.abc import Callable, Sequence

from tests.oracles.plain_losses import Matrix, Row, Rows, affine, cosine, dot

Edges = Sequence[Sequence[bool]]


def similarity(labels: Rows, grading: float) -> Matrix:
    def of(i: int, j: int) -> float:
        if i == j:
            return 1.0
        is_shared = 1.0 if dot(labels[i], labels[j]) > 0 else 0.0
        return (1 - grading) * is_shared + grading * cosine(labels[i], labels[j])

    return [[of(i, j) for j in range(len(labels))] for i in range(len(labels))]


def links(labels: Rows, threshold: float) -> list[list[bool]]:
    def of(i: int, j: int) -> bool:
        is_close = cosine(labels[i], labels[j]) > threshold - 1e-6
        return i == j or (dot(labels[i], labels[j]) > 0 and is_close)

    return [[of(i, j) for j in range(len(labels))] for i in range(len(labels))]


def logistic(logits: Rows, target: Rows) -> float:
    losses = [
        math.log1p(math.exp(-abs(logit))) + max(logit, 0.0) - wanted * logit
        for line, target_line in zip(logits, target, strict=True)
        for logit, wanted in zip(line, target_line, strict=True)
    ]
    return sum(losses) / len(losses)


def code_logits(rows: Rows, others: Rows, scale: float, offset: float) -> Matrix:
    width = len(rows[0])
    return [[scale * dot(row, other) / width - offset for other in others] for row in rows]


def feature_logits(rows: Rows, others: Rows, scale: float, offset: float) -> Matrix:
    return [[scale * cosine(row, other) - offset for other in others] for row in rows]


def cross_entropy(logits: Rows, labels: Rows) -> float:
    losses = [
        -math.log(1 / (1 + math.exp(-logit)) if label else 1 / (1 + math.exp(logit)))
        for line, label_line in zip(logits, labels, strict=True)
        for logit, label in zip(line, label_line, strict=True)
    ]
    return sum(losses) / len(losses)


def mapped(rows: Rows, function: Callable[[float], float]) -> Matrix:
    return [[function(value) for value in row] for row in rows]


def leaky(value: float) -> float:
    return value if value > 0 else 0.2 * value


def elu(value: float) -> float:
    return value if value > 0 else math.exp(value) - 1


def plus(rows: Rows, others: Rows) -> Matrix:
    return [
        [one + other for one, other in zip(row, other_row, strict=True)]
        for row, other_row in zip(rows, others, strict=True)
    ]


def batch_normalised(rows: Rows, scales: Row, offsets: Row) -> Matrix:
    """By the batch's own means and (biased) variances, as in training."""
    columns = []
    for column, scale, offset in zip(zip(*rows, strict=True), scales, offsets, strict=True):
        mean = sum(column) / len(column)
        variance = sum((value - mean) ** 2 for value in column) / len(column)
        columns.append(
            [scale * (value - mean) / math.sqrt(variance + 1e-5) + offset for value in column]
        )
    return [list(row) for row in zip(*columns, strict=True)]


def attention_weights(mapped_rows: Rows, near: Row, far: Row, edges: Edges) -> Matrix:
    """Of one head: of every node to every other; its own edge is always there."""
    lines = []
    for i, row in enumerate(mapped_rows):
        scores = [
            math.exp(leaky(dot(near, row) + dot(far, other))) if edges[i][j] or i == j else 0.0
            for j, other in enumerate(mapped_rows)
        ]
        lines.append([score / sum(scores) for score in scores])
    return lines


def attention(rows: Rows, weights: Rows, nears: Rows, fars: Rows, edges: Edges) -> Matrix:
    """One layer: a head a line of `nears`, its map an equal share of the lines of `weights`."""
    width = len(nears[0])
    heads = []
    for head, (near, far) in enumerate(zip(nears, fars, strict=True)):
        lines = weights[head * width : (head + 1) * width]
        own = affine(rows, lines, [0.0] * width)
        shares = attention_weights(own, near, far, edges)
        heads.append(
            [
                [sum(share * other[k] for share, other in zip(line, own, strict=True))
                 for k in range(width)]
                for line in shares
            ]
        )  # fmt: skip
    return [[value for head in heads for value in head[i]] for i in range(len(rows))]
