"""Items with several texts each, as methods read them before training."""

from collections.abc import Iterator

import torch
from torch import Tensor

from modalhash.layers import ModalityFeatures
from modalhash.methods.base import Batch

IMAGE_WIDTH, TEXT_WIDTH, N_ITEMS, N_TEXTS = 4, 3, 10, 2


def unit(rows: Tensor) -> Tensor:
    lengths: Tensor = rows.norm(dim=1, keepdim=True)
    return rows / lengths


class TextsView:
    """Items with two texts each, all pairs in order, in batches that cut items apart."""

    def __init__(self, n_items: int = N_ITEMS, *, size: int = 3) -> None:
        generator = torch.Generator().manual_seed(0)
        self.image = unit(torch.randn(n_items, IMAGE_WIDTH, generator=generator))
        self.text = unit(torch.randn(n_items * N_TEXTS, TEXT_WIDTH, generator=generator))
        self.labels = (torch.rand(n_items, 4, generator=generator) < 0.5).float()
        self.n_pairs, self.size = n_items * N_TEXTS, size

    def batch(self, positions: Tensor) -> Batch:
        items = positions // N_TEXTS
        return Batch(
            ModalityFeatures(self.image[items]),
            ModalityFeatures(self.text[positions]),
            self.labels[items],
            positions,
            items + 100,
        )

    def batches(self, batch_size: int) -> Iterator[Batch]:
        del batch_size
        for start in range(0, self.n_pairs, self.size):
            yield self.batch(torch.arange(start, min(start + self.size, self.n_pairs)))
