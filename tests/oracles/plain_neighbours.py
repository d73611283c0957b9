"""Neighbourhoods of a graph over all pairs, and what is made of them, by loops in plain numbers."""

from tests.oracles.plain_losses import Matrix, Rows, cosines, dot, weighted_sum


def fused_cosines(image: Rows, text: Rows, image_weight: float) -> Matrix:
    return weighted_sum(
        (image_weight, 1 - image_weight), (cosines(image, image), cosines(text, text))
    )


def neighbour_weights(similarities: Rows, n_kept: int) -> Matrix:
    """Similarities to the strongest others, negative ones as 0, divided by their sum."""
    rows = []
    for i, line in enumerate(similarities):
        others = sorted((j for j in range(len(line)) if j != i), key=lambda j: -line[j])
        kept = {j: max(line[j], 0.0) for j in others[:n_kept]}
        total = sum(kept.values())
        rows.append([kept.get(j, 0.0) / total if total else 0.0 for j in range(len(line))])
    return rows


def coherence(weights: Rows, n_kept: int) -> Matrix:
    return [[n_kept * dot(one, other) for other in weights] for one in weights]


def kept_similarities(similarities: Rows, n_kept: int) -> Matrix:
    """Similarities to the strongest of all, itself among them; others are 0."""
    rows = []
    for line in similarities:
        least = sorted(line, reverse=True)[n_kept - 1]
        rows.append([value if value >= least else 0.0 for value in line])
    return rows
