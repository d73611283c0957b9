"""Training pairs in memory, as a closed-form method reads them, and what it solves for."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from modalhash.layers import ModalityFeatures
from modalhash.methods.base import Batch, ClosedFormMethod, FeatureShapes, Heads

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PairedView:
    """Pairs of rows, given to a method as they are.

    Attributes:
        image: (n, d_v).
        text: (n, d_t).
    """

    image: Floats
    text: Floats

    @property
    def n_pairs(self) -> int:
        return len(self.image)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        for start in range(0, self.n_pairs, batch_size):
            rows = slice(start, start + batch_size)
            image, text = (
                ModalityFeatures(torch.tensor(one[rows], dtype=torch.float32))
                for one in (self.image, self.text)
            )
            positions = torch.arange(start, start + len(image))
            yield Batch(image, text, None, positions)


def solved_heads(
    method: ClosedFormMethod,
    image: Floats,
    text: Floats,
    n_bits: int,
    *,
    seed: int = 0,
    batch_size: int = 3,
) -> Heads:
    """Heads that a method finds for pairs that aren't scaled."""
    shapes = FeatureShapes(
        image_width=image.shape[1],
        text_width=text.shape[1],
        n_pairs=len(image),
        batch_size=batch_size,
    )
    generator = torch.Generator().manual_seed(seed)
    return method.solve(PairedView(image, text), shapes, n_bits, generator)


def relaxed_codes(heads: Heads, image: Floats, text: Floats) -> tuple[Floats, Floats]:
    """Outputs of both heads, (n, b) each."""
    found = []
    for head, rows in ((heads.image, image), (heads.text, text)):
        features = ModalityFeatures(torch.tensor(rows, dtype=torch.float32))
        found.append(head(features).detach().double().numpy())
    return found[0], found[1]
