"""A pre-norm transformer layer written out token by token."""

import math
from collections.abc import Mapping, Sequence

from tests.oracles.plain_losses import Matrix, Row, Rows, affine, dot

Weights = Mapping[str, Sequence[Sequence[float]] | Sequence[float]]


def layer_normalised(row: Row, scales: Row, offsets: Row) -> list[float]:
    mean = sum(row) / len(row)
    variance = sum((one - mean) ** 2 for one in row) / len(row)
    return [
        scale * (one - mean) / math.sqrt(variance + 1e-5) + offset
        for one, scale, offset in zip(row, scales, offsets, strict=True)
    ]


def plus(rows: Rows, others: Rows) -> Matrix:
    return [[a + b for a, b in zip(*pair, strict=True)] for pair in zip(rows, others, strict=True)]


def attended(query: Rows, key: Rows, value: Rows, n_heads: int) -> Matrix:
    width = len(query[0]) // n_heads
    out = [[0.0] * len(query[0]) for _ in query]
    for head in range(n_heads):
        part = slice(head * width, (head + 1) * width)
        for i, asking in enumerate(query):
            weights = [math.exp(dot(asking[part], one[part]) / math.sqrt(width)) for one in key]
            for place in range(part.start, part.stop):
                gathered = [w * row[place] for w, row in zip(weights, value, strict=True)]
                out[i][place] = sum(gathered) / sum(weights)
    return out


def transformer_layer(
    tokens: Rows, weights: Mapping[str, list[list[float]]], n_heads: int
) -> Matrix:
    """Tokens of one item through a layer without dropout; `weights` is its state by name."""

    def mapped(rows: Rows, name: str) -> Matrix:
        return affine(rows, weights[f"{name}.weight"], weights[f"{name}.bias"])  # type: ignore[arg-type]

    def normed(rows: Rows, name: str) -> Matrix:
        scales, offsets = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return [layer_normalised(row, scales, offsets) for row in rows]  # type: ignore[arg-type]

    seen = normed(tokens, "attention_norm")
    query, key, value = (mapped(seen, f"attention.{name}") for name in ("query", "key", "value"))
    tokens = plus(tokens, mapped(attended(query, key, value, n_heads), "attention.last"))
    hidden = mapped(normed(tokens, "forward_norm"), "feed_forward.0")
    hidden = [[one * (1 + math.erf(one / math.sqrt(2))) / 2 for one in row] for row in hidden]
    return plus(tokens, mapped(hidden, "feed_forward.3"))
