"""Contrastive terms written out pair by pair."""

import math
from collections.abc import Sequence

Rows = Sequence[Sequence[float]]


def dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    return dot(one, other) / math.sqrt(dot(one, one) * dot(other, other))


def row_contrast(
    positive: float, negatives: Sequence[float], temperature: float, prior: float
) -> float:
    """Minus the log of the partner's share, from cosines."""
    partner = math.exp(positive / temperature)
    summed = sum(math.exp(one / temperature) for one in negatives)
    if prior:
        count = len(negatives)
        summed = max(
            (summed - prior * count * partner) / (1 - prior), count * math.exp(-1 / temperature)
        )
    return -math.log(partner / (partner + summed))


def info_nce(
    image: Rows, text: Rows, *, temperature: float, prior: float = 0.0, items: Sequence[int]
) -> float:
    """Both directions, negatives from the other modality."""
    n, total = len(image), 0.0
    for i in range(n):
        others = [j for j in range(n) if items[j] != items[i]]
        positive = cosine(image[i], text[i])
        to_texts = [cosine(image[i], text[j]) for j in others]
        to_images = [cosine(image[j], text[i]) for j in others]
        total += row_contrast(positive, to_texts, temperature, prior)
        total += row_contrast(positive, to_images, temperature, prior)
    return total / (2 * n)


def full_info_nce(
    image: Rows, text: Rows, *, temperature: float, prior: float = 0.0, items: Sequence[int]
) -> float:
    """Negatives from both modalities."""
    n, total = len(image), 0.0
    views = [*image, *text]
    for i in range(2 * n):
        partner = views[(i + n) % (2 * n)]
        negatives = [
            cosine(views[i], views[j]) for j in range(2 * n) if items[j % n] != items[i % n]
        ]
        total += row_contrast(cosine(views[i], partner), negatives, temperature, prior)
    return total / (2 * n)
