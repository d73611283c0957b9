"""Networks that labels guide, by loops, in plain Python numbers."""

import math
from collections.abc import Sequence

from torch import nn

from modalhash.layers import NormalisedHead
from tests.oracles import plain_label_graphs as graphs
from tests.oracles.plain_losses import Matrix, Rows, affine, mean_square_gap

Made = dict[str, Matrix]
"""Of one network: its features, relaxed codes and class logits."""


def linear(part: nn.Module, rows: Rows) -> Matrix:
    assert isinstance(part, nn.Linear)
    return affine(rows, part.weight.tolist(), part.bias.tolist())


def network(head: nn.Module, classifier: nn.Module, rows: Rows) -> Made:
    """In training, without dropout."""
    assert isinstance(head, NormalisedHead)
    parts = [part for part in head.trunk if isinstance(part, nn.Linear | nn.BatchNorm1d)]
    hidden = [list(row) for row in rows]
    for map_part, norm in zip(parts[::2], parts[1::2], strict=True):
        hidden = linear(map_part, hidden)
        hidden = graphs.batch_normalised(hidden, norm.weight.tolist(), norm.bias.tolist())
        hidden = graphs.mapped(hidden, graphs.leaky)
    return {
        "features": hidden,
        "relaxed": graphs.mapped(linear(head.last, hidden), math.tanh),
        "classes": linear(classifier, hidden),
    }


def signs(rows: Rows) -> Matrix:
    return graphs.mapped(rows, lambda value: 1.0 if value >= 0 else -1.0)


def voted_gap(codes: Sequence[Rows]) -> float:
    """Summed squared errors of all codes from the signs of their sum."""
    votes = [
        [sum(values) for values in zip(*rows, strict=True)] for rows in zip(*codes, strict=True)
    ]
    return sum(mean_square_gap(one, signs(votes)) for one in codes)


def judged(critic: nn.Module, rows: Rows) -> Matrix:
    """Logits of a critic of linear maps with ReLUs between."""
    assert isinstance(critic, nn.Sequential)
    hidden = [list(row) for row in rows]
    for part in critic:
        if isinstance(part, nn.Linear):
            hidden = linear(part, hidden)
        else:
            hidden = graphs.mapped(hidden, lambda value: max(value, 0.0))
    return hidden
