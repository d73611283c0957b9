"""A small made paired data set, and a table of features that notes how it is read."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modalhash.training import TrainingData

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


class PlainTable:
    """Features in memory.

    Args:
        pooled: (n, d) float32.
        tokens: (n, t, w) float32, if there are any.
        token_mask: (n, t) bool with them.
    """

    def __init__(
        self,
        pooled: Floats,
        tokens: Floats | None = None,
        token_mask: NDArray[np.bool_] | None = None,
    ) -> None:
        self.all_pooled, self.all_tokens, self.all_masks = pooled, tokens, token_mask
        self.most_rows = self.most_token_rows = 0

    @property
    def width(self) -> int:
        return int(self.all_pooled.shape[1])

    @property
    def dtype(self) -> str:
        return "float32"

    @property
    def token_shape(self) -> tuple[int, int] | None:
        if self.all_tokens is None:
            return None
        _, length, width = self.all_tokens.shape
        return length, width

    def __len__(self) -> int:
        return len(self.all_pooled)

    def pooled(self, rows: Rows) -> Floats:
        self.most_rows = max(self.most_rows, len(rows))
        return self.all_pooled[rows]

    def tokens(self, rows: Rows) -> tuple[Floats, NDArray[np.bool_]]:
        assert self.all_tokens is not None
        assert self.all_masks is not None
        self.most_token_rows = max(self.most_token_rows, len(rows))
        return self.all_tokens[rows], self.all_masks[rows]


@dataclass(frozen=True)
class MadePairs:
    """Pictures with several captions each, of items that share concepts.

    Attributes:
        image: table of picture features and tokens, one row an item.
        text: table of caption features and tokens.
        caption_starts: (n + 1,) first caption of each item, and their number.
        labels: (n, c) uint8, the concepts of each item.
        items: positions of the training items; the others are unseen.
    """

    image: PlainTable
    text: PlainTable
    caption_starts: Rows
    labels: NDArray[np.uint8]
    items: Rows

    @property
    def unseen(self) -> Rows:
        return np.setdiff1d(np.arange(len(self.labels)), self.items)

    def data(self, *, n_items: int | None = None) -> TrainingData:
        """What training takes, with all that a method may need, of the first training items."""
        return TrainingData(
            self.image,
            self.text,
            self.caption_starts,
            self.items[:n_items],
            self.labels,
            with_tokens=True,
        )


def made_pairs(
    n_train: int = 200, n_unseen: int = 100, *, seed: int = 0, one_space: bool = False
) -> MadePairs:
    """Make items of one or two of eight concepts; features are noisy mixtures of the concepts.

    Pictures and texts are mixed each in their own way, into widths 24 and 20; with `one_space` they
    are mixed in the same way, into 24 dimensions.
    """
    generator = np.random.default_rng(seed)
    n, n_concepts = n_train + n_unseen, 8
    labels = np.zeros((n, n_concepts), np.uint8)
    labels[np.arange(n), np.arange(n) % n_concepts] = 1
    labels[np.arange(n), generator.integers(0, n_concepts, n)] = 1
    latent = labels + 0.2 * generator.normal(size=(n, n_concepts))
    counts = 1 + np.arange(n) % 3
    starts = np.concatenate([[0], np.cumsum(counts)])
    owner = np.repeat(np.arange(n), counts)

    shared_mixing = generator.normal(size=(n_concepts, 24)) if one_space else None

    def table(rows: NDArray[np.float64], width: int, n_tokens: int) -> PlainTable:
        mixing = shared_mixing
        if mixing is None:
            mixing = generator.normal(size=(n_concepts, width))
        pooled = rows @ mixing + 0.3 * generator.normal(size=(len(rows), width)) + 1
        tokens = np.repeat(pooled[:, None, : width // 2], n_tokens, axis=1)
        tokens += 0.5 * generator.normal(size=tokens.shape)
        mask = np.arange(n_tokens) < generator.integers(1, n_tokens + 1, len(rows))[:, None]
        tokens[~mask] = 0
        return PlainTable(pooled.astype(np.float32), tokens.astype(np.float32), mask)

    return MadePairs(
        table(latent, 24, 4),
        table(latent[owner], 24 if one_space else 20, 6),
        starts.astype(np.int64),
        labels,
        np.sort(generator.permutation(n)[:n_train]).astype(np.int64),
    )
