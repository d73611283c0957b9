"""Reading the nodes of a graph over all training pairs, as methods with such graphs need them."""

from collections.abc import Iterator

import torch
from torch import Tensor

from modalhash.layers import evenly_spaced
from modalhash.losses import fused_rows
from modalhash.methods.base import Batch, TrainingView

__all__ = ["fused_batches", "read_nodes"]

READ_BATCH = 1024


def fused_batches(view: TrainingView, image_weight: float) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the positions (n,) of pairs and their joined features (n, d), all pairs in order."""
    for batch in view.batches(READ_BATCH):
        yield batch.positions, fused_features(batch, image_weight)


def fused_features(batch: Batch, image_weight: float) -> Tensor:
    """Join the features (n, d) of a batch; their inner products are similarities."""
    return fused_rows(batch.image.reference, batch.text.reference, image_weight=image_weight)


def read_nodes(view: TrainingView, image_weight: float, most: int) -> tuple[Tensor, Tensor]:
    """Read the joined features of all pairs, or of evenly spaced ones where there are more.

    Args:
        view: of the training pairs.
        image_weight: share of the image similarity.
        most: nodes there may be.

    Returns:
        Positions (m,) int64 of the nodes among the pairs, ascending, and features (m, d).
    """
    places = evenly_spaced(view.n_pairs, most)
    features = []
    for positions, rows in fused_batches(view, image_weight):
        places = places.to(positions.device)
        features.append(rows[torch.isin(positions, places)])
    return places, torch.cat(features)
