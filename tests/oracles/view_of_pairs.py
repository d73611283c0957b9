"""Training pairs in memory, as methods read them before training."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from modalhash.layers import ModalityFeatures
from modalhash.methods.base import Batch

LARGEST_BATCH = 4


class MadeView:
    """Random features; batches are small, so that a few pairs take several.

    Args:
        n_pairs: how many.
        image_width: of picture features.
        text_width: of text features.
        times: factor on all features.
    """

    def __init__(
        self, n_pairs: int, image_width: int, text_width: int, *, times: float = 1.0
    ) -> None:
        generator = np.random.default_rng(0)
        self.image, self.text = (
            torch.from_numpy(times * generator.normal(size=(n_pairs, width)))
            for width in (image_width, text_width)
        )
        self.n_pairs = n_pairs

    def batch(self, positions: Tensor) -> Batch:
        return Batch(
            ModalityFeatures(self.image[positions]),
            ModalityFeatures(self.text[positions]),
            None,
            positions,
        )

    def batches(self, batch_size: int) -> Iterator[Batch]:
        size = min(batch_size, LARGEST_BATCH)
        for start in range(0, self.n_pairs, size):
            yield self.batch(torch.arange(start, min(start + size, self.n_pairs)))
