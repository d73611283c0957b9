"""Directions of a shared space whose signs are codes, found from pictures alone."""

import torch
from torch import Tensor

from modalhash.methods.cca_itq import itq_rotation

__all__ = ["rotated_directions"]

ROTATION_ROUNDS = 30


def rotated_directions(pictures: Tensor, n_bits: int, seed: int) -> tuple[Tensor, Tensor]:
    """Find the principal directions of pictures, rotated so that signs lose least (ITQ).

    Args:
        pictures: (n, d) float64 points of the shared space, at least one.
        n_bits: b, at most d.
        seed: draws the rotation that ITQ starts from.

    Returns:
        The mean of the pictures, (d,), and the directions, (d, b) float64 of orthonormal columns.
    """
    mean = pictures.mean(dim=0)
    centred = pictures - mean
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    directions = vectors.flip(1)[:, :n_bits]
    generator = torch.Generator().manual_seed(seed)
    return mean, directions @ itq_rotation(centred @ directions, ROTATION_ROUNDS, generator)
