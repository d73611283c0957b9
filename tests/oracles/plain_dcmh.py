"""The objective of DCMH by loops over pairs, in plain Python numbers."""

import math
from collections.abc import Sequence

from tests.oracles.plain_losses import Rows, dot


def logistic(logit: float, wanted: float) -> float:
    return math.log1p(math.exp(-abs(logit))) + max(logit, 0.0) - wanted * logit


def one_side(
    relaxed: Rows,
    positions: Sequence[int],
    kept: Rows,
    others: Rows,
    signs: Rows,
    labels: Rows,
    *,
    scale: float,
    offset: float,
    places: Sequence[int] | None = None,
) -> dict[str, float]:
    """What one head minimises: `kept` holds its own codes already, `others` the other head's."""
    places = range(len(kept)) if places is None else places
    n, m, n_bits = len(relaxed), len(places), len(relaxed[0])
    pairs = quantization = 0.0
    for code, i in zip(relaxed, positions, strict=True):
        for j in places:
            wanted = 1.0 if i == j or dot(labels[i], labels[j]) > 0 else 0.0
            pairs += logistic(scale * dot(code, others[j]) / n_bits - offset, wanted)
        quantization += sum((one - sign) ** 2 for one, sign in zip(code, signs[i], strict=True))
    balance = sum(sum(column) ** 2 for column in zip(*kept, strict=True))
    return {
        "pairs": pairs / (n * m),
        "quantization": quantization / (n * m),
        "balance": balance / (n * len(kept)),
    }


def objective(
    image: Rows,
    text: Rows,
    positions: Sequence[int],
    kept_image: Rows,
    kept_text: Rows,
    signs: Rows,
    labels: Rows,
    *,
    scale: float,
    offset: float,
    places: Sequence[int] | None = None,
) -> dict[str, float]:
    """All terms of a batch, whose codes take their places among the kept ones first."""
    kept_image, kept_text = list(kept_image), list(kept_text)
    for place, image_code, text_code in zip(positions, image, text, strict=True):
        kept_image[place], kept_text[place] = image_code, text_code
    sides = [
        one_side(
            own, positions, kept, others, signs, labels, scale=scale, offset=offset, places=places
        )
        for own, kept, others in ((image, kept_image, kept_text), (text, kept_text, kept_image))
    ]
    return {name: sides[0][name] + sides[1][name] for name in sides[0]}
