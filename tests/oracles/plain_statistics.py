"""How near relaxed codes are to signs, and the factor before the tanh, in plain numbers."""

import math
from typing import Any

from tests.oracles.plain_losses import Rows

__all__ = ["code_statistics", "squashed", "tanh_factor"]


def code_statistics(image: Rows, text: Rows) -> dict[str, float]:
    """What a run logs of relaxed codes of both modalities."""
    found = {}
    for name, rows in (("image", image), ("text", text)):
        sizes = [abs(value) for row in rows for value in row]
        cosines = [
            sum(abs(value) for value in row)
            / math.sqrt(len(row) * sum(value * value for value in row) or 1e-300)
            for row in rows
        ]
        found[f"{name}_size"] = sum(sizes) / len(sizes)
        found[f"{name}_sign_cosine"] = sum(cosines) / len(cosines)
        found[f"{name}_saturated"] = sum(size > 0.99 for size in sizes) / len(sizes)
    return found


def tanh_factor(settings: Any, outputs: Rows, epoch: int, n_epochs: int = 20) -> float:
    """The factor on outputs at the first step of an epoch: sqrt(c + 1), or relative to their size,
    with a square that grows evenly from 1/4 to 16."""
    if not settings.continuation:
        return 1.0
    if not settings.scale_free:
        return math.sqrt(epoch + 1)
    values = [value for row in outputs for value in row]
    size = math.sqrt(sum(value * value for value in values) / len(values))
    return math.sqrt(0.25 + (16 - 0.25) * epoch / n_epochs) / size


def squashed(settings: Any, outputs: Rows, epoch: int) -> list[list[float]]:
    """Relaxed codes of the outputs of a head at the first step of an epoch of 20."""
    factor = tanh_factor(settings, outputs, epoch)
    return [[math.tanh(factor * value) for value in row] for row in outputs]
