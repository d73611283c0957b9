"""Anchor graphs written out as n x n matrices, and the problems that are solved on them."""

import numpy as np
import torch
from numpy.typing import NDArray

from modalhash.layers import AnchorGraph

Floats = NDArray[np.float64]


def plain_affinities(
    image: Floats, text: Floats, n_anchors: int, n_nearest: int, seed: int
) -> tuple[Floats, Floats]:
    """S = Z diag(Z'1)^-1 Z' of both modalities, (n, n) each; anchors as methods place them."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for rows in (image, text):
        tensor = torch.tensor(rows, dtype=torch.float32)
        graph = AnchorGraph.fit(tensor, n_anchors, n_nearest, generator)
        ties = graph.weights(tensor).numpy()
        affinity = np.zeros((len(rows), len(rows)))
        for anchor in range(ties.shape[1]):
            degree = ties[:, anchor].sum()
            if degree > 0:
                affinity += np.outer(ties[:, anchor], ties[:, anchor]) / degree
        found.append(affinity)
    return found[0], found[1]


def steadied(rows: Floats, ridge: float) -> Floats:
    """X'X + n ridge s I of centred rows, with s the mean variance of a feature."""
    squares = rows.T @ rows
    added: Floats = ridge * np.trace(squares) / len(squares) * np.eye(len(squares))
    return squares + added


def same_directions(found: Floats, wanted: Floats) -> Floats:
    """Cosine of each column with its like, without its sign."""
    lengths = np.linalg.norm(found, axis=0) * np.linalg.norm(wanted, axis=0)
    cosines: Floats = np.abs((found * wanted).sum(axis=0)) / lengths
    return cosines
