"""Make pairs of picture and text features with structure to learn, of any number, block by block.

A pair has a point in a latent space: the mean of its two topics' centres (out of `N_TOPICS`), and a
deviation of its own, whose directions differ in variance. Each modality sees the point through its
own random layer of hyperbolic tangents, mixed into `WIDTH` numbers, and noise as long as that. So
partners can be found, but not all; items that share a topic are alike, more or less; and what links
the modalities isn't linear. Block i depends on the seed and on i alone, so the first 10^5 pairs are
the same whether 10^5 or 10^6 are made.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK", "N_TOPICS", "WIDTH", "MadePairs"]

WIDTH, N_TOPICS, LATENT_WIDTH, HIDDEN_WIDTH = 512, 100, 64, 256
BLOCK = 10_000
DEVIATION = 0.7
"""Length of a pair's own deviation; centres of topics have length 1."""
NOISE = 3.0
"""Length of the noise; what is seen of the point has a length of about 1."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class MadePairs:
    """Made pairs of one seed.

    Attributes:
        seed: decides topics, layers, points and noise.
    """

    seed: int = 0

    @cached_property
    def centres(self) -> Floats:
        """The (N_TOPICS, LATENT_WIDTH) centres of topics, of length 1."""
        rows = self.draw(0, 0).standard_normal((N_TOPICS, LATENT_WIDTH), np.float32)
        centres: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return centres

    @cached_property
    def layers(self) -> dict[str, tuple[Floats, Floats]]:
        """The two matrices of each modality's layer: latent to hidden, hidden to features."""
        generator = self.draw(0, 1)
        layers = {}
        for modality in ("image", "text"):
            inner = generator.standard_normal((LATENT_WIDTH, HIDDEN_WIDTH), np.float32)
            outer = generator.standard_normal((HIDDEN_WIDTH, WIDTH), np.float32)
            layers[modality] = (2 * inner, outer / np.float32(np.sqrt(HIDDEN_WIDTH * WIDTH / 2)))
        return layers

    def draw(self, block: int, stream: int) -> np.random.Generator:
        """Make the generator of one of a block's random streams."""
        return np.random.default_rng((self.seed, block, stream))

    def topics(self, block: int) -> NDArray[np.int64]:
        """Draw the (BLOCK, 2) topics of a block's pairs; both may be the same."""
        return self.draw(block, 2).integers(0, N_TOPICS, (BLOCK, 2))

    def labels(self, n_pairs: int) -> NDArray[np.uint8]:
        """Make (n_pairs, N_TOPICS) labels, 1 for each of a pair's topics."""
        labels = np.zeros((n_pairs, N_TOPICS), np.uint8)
        for block, start in enumerate(range(0, n_pairs, BLOCK)):
            part = labels[start : start + BLOCK]
            np.put_along_axis(part, self.topics(block)[: len(part)], 1, axis=1)
        return labels

    def blocks(self, n_pairs: int) -> Iterator[tuple[int, Floats, Floats]]:
        """Yield (start, picture features, text features) block by block, (BLOCK, WIDTH) each."""
        spectrum = 1 / np.arange(1, LATENT_WIDTH + 1, dtype=np.float32) ** 0.5
        spectrum *= np.float32(DEVIATION / np.linalg.norm(spectrum))
        for block, start in enumerate(range(0, n_pairs, BLOCK)):
            generator = self.draw(block, 3)
            points = self.centres[self.topics(block)].mean(axis=1)
            points += generator.standard_normal(points.shape, np.float32) * spectrum
            seen = []
            for inner, outer in self.layers.values():
                rows = np.tanh(points @ inner) @ outer
                noise = generator.standard_normal(rows.shape, np.float32)
                seen.append(rows + np.float32(NOISE / WIDTH**0.5) * noise)
            kept = min(BLOCK, n_pairs - start)
            yield start, seen[0][:kept], seen[1][:kept]
