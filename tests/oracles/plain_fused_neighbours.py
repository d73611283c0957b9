"""FSH's similarity and objective, pair by pair, on a few items."""

from math import exp

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def nearest(row: Matrix, anchors: Matrix, count: int) -> list[int]:
    """Places of the nearest anchors."""
    distances = [float(np.linalg.norm(row - anchor)) for anchor in anchors]
    return sorted(range(len(anchors)), key=lambda place: distances[place])[:count]


def fused_similarity(
    views: tuple[Matrix, Matrix],
    anchors: list[int],
    *,
    neighbours: int,
    image_weight: float,
    bandwidth: float,
) -> Matrix:
    """How like each item is to each anchor: neighbours in one modality, compared with those in the
    other."""
    found = np.zeros((len(views[0]), len(anchors)))
    for here, there, weight in ((0, 1, image_weight), (1, 0, 1 - image_weight)):
        places = views[here][anchors]
        lengths = [[float(np.linalg.norm(one - other)) for other in places] for one in places]
        scale = 2 * bandwidth * float(np.mean(lengths))
        for item, row in enumerate(views[here]):
            own = nearest(row, places, neighbours)
            for column, anchor in enumerate(anchors):
                across = nearest(views[there][anchor], views[there][anchors], neighbours)
                kernels = [exp(-lengths[one][other] / scale) for one in own for other in across]
                found[item, column] += weight * float(np.mean(kernels))
    return found


def fusion_loss(
    views: tuple[Matrix, Matrix],
    similarities: Matrix,
    codes: Matrix,
    anchor_codes: Matrix,
    maps: tuple[Matrix, Matrix],
    *,
    regression_weight: float,
    ridge: float,
) -> float:
    """FSH's objective."""
    total = 0.0
    for code, row in zip(codes, similarities, strict=True):
        for anchor_code, similarity in zip(anchor_codes, row, strict=True):
            total -= similarity * float(code @ anchor_code)
    for features, one in zip(views, maps, strict=True):
        total += regression_weight * float(((codes - features @ one) ** 2).sum())
        spread = float((features**2).sum()) / features.shape[1]
        total += regression_weight * ridge * spread * float((one**2).sum())
    return total
