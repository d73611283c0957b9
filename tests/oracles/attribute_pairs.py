"""Pairs that share attributes, as tokens: what hugging is for, made small.

An item has one to three of a few attributes and an instance vector of its own. Each content token
shows one of its attributes, through a random matrix of its modality, or is background that has
nothing to do with the item; the class vector is a noisy mean. Items that share an attribute are
relevant to each other.
"""

import numpy as np
from numpy.typing import NDArray

from tests.oracles.paired_features import MadePairs, PlainTable

__all__ = ["attribute_pairs"]

N_ATTRIBUTES, LATENT, WIDTH = 10, 12, 24


def attribute_pairs(n_train: int = 400, n_unseen: int = 150, *, seed: int = 0) -> MadePairs:
    """Make pairs; labels are attributes, one caption an item."""
    generator = np.random.default_rng(seed)
    n = n_train + n_unseen
    attributes = generator.normal(size=(N_ATTRIBUTES, LATENT))
    labels = np.zeros((n, N_ATTRIBUTES), np.uint8)
    for item in range(n):
        labels[item, generator.choice(N_ATTRIBUTES, generator.integers(1, 4), replace=False)] = 1
    instances = 0.3 * generator.normal(size=(n, LATENT))
    mean = labels @ attributes / labels.sum(axis=1, keepdims=True) + instances

    def table(n_tokens: int) -> PlainTable:
        mixing = generator.normal(size=(LATENT, WIDTH)) / np.sqrt(LATENT)
        tokens = np.zeros((n, n_tokens, LATENT))
        for item in range(n):
            own = np.flatnonzero(labels[item])
            for place in range(n_tokens):
                is_background = generator.random() < 0.25
                shown = 0 if is_background else attributes[generator.choice(own)] + instances[item]
                tokens[item, place] = shown + 0.3 * generator.normal(size=LATENT)
        mask: NDArray[np.bool_] = (
            np.arange(n_tokens) < generator.integers(n_tokens - 2, n_tokens + 1, n)[:, None]
        )
        pooled = (mean + 0.8 * generator.normal(size=mean.shape)) @ mixing
        seen = (tokens @ mixing).astype(np.float32)
        seen[~mask] = 0
        return PlainTable(pooled.astype(np.float32), seen, mask)

    return MadePairs(
        table(8),
        table(6),
        np.arange(n + 1, dtype=np.int64),
        labels,
        np.sort(generator.permutation(n)[:n_train]).astype(np.int64),
    )
