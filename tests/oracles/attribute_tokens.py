"""Made items of a few attributes each, whose content tokens show one attribute each."""

import numpy as np
from numpy.typing import NDArray

from tests.oracles.paired_features import MadePairs, PlainTable

N_ATTRIBUTES, LATENT_WIDTH = 20, 16


def attribute_pairs(n_train: int = 500, n_unseen: int = 200, *, seed: int = 0) -> MadePairs:
    """Make pictures with one caption each.

    An item has one to three of twenty attributes and an instance vector of its own. A content token
    is one of its attributes, some of the instance, and noise, through a random matrix of its
    modality; a quarter of the tokens is background that has nothing to do with the item. The class
    vector is the mean attribute, some of the instance and more noise, through a matrix of its own.
    """
    generator = np.random.default_rng(seed)
    n = n_train + n_unseen
    attributes = generator.normal(size=(N_ATTRIBUTES, LATENT_WIDTH))
    labels = np.zeros((n, N_ATTRIBUTES), np.uint8)
    for item in range(n):
        labels[item, generator.choice(N_ATTRIBUTES, generator.integers(1, 4), replace=False)] = 1
    instance = 0.5 * generator.normal(size=(n, LATENT_WIDTH))
    backgrounds = generator.normal(size=(6, LATENT_WIDTH))

    def table(width: int, n_tokens: int) -> PlainTable:
        pooled = labels @ attributes / labels.sum(axis=1, keepdims=True) + instance
        pooled = pooled + 0.5 * generator.normal(size=pooled.shape)
        tokens: NDArray[np.float64] = np.zeros((n, n_tokens, LATENT_WIDTH))
        for item in range(n):
            own = np.flatnonzero(labels[item])
            tokens[item] = attributes[generator.choice(own, n_tokens)] + instance[item]
            is_background = generator.random(n_tokens) < 0.25
            tokens[item, is_background] = backgrounds[
                generator.integers(0, len(backgrounds), is_background.sum())
            ]
        tokens += 0.3 * generator.normal(size=tokens.shape)
        mask = np.arange(n_tokens) < generator.integers(3, n_tokens + 1, n)[:, None]
        tokens = tokens @ generator.normal(size=(LATENT_WIDTH, width))
        tokens[~mask] = 0
        return PlainTable(
            (pooled @ generator.normal(size=(LATENT_WIDTH, width))).astype(np.float32),
            tokens.astype(np.float32),
            mask,
        )

    return MadePairs(
        table(24, 9),
        table(20, 8),
        np.arange(n + 1, dtype=np.int64),
        labels,
        np.arange(n_train, dtype=np.int64),
    )
