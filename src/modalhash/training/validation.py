"""How good codes are on held-out training pairs, without labels; whether bits collapsed."""

import logging

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Signs, binarise, hamming_distances, pack
from modalhash.encoders.base import FeatureTable
from modalhash.methods.hasher import Hasher, HashTower
from modalhash.training.pairs import TrainingData

__all__ = ["constant_bits", "pair_recall", "warn_of_collapse"]

RECALL_AT = 10
SAMPLE = 2_000
COLLAPSED_SHARE = 0.25
logger = logging.getLogger(__name__)
Rows = NDArray[np.int64]


def signs_of(tower: HashTower, table: FeatureTable, rows: Rows, *, with_tokens: bool) -> Signs:
    """Return the signs of some rows, (k, b) int8."""
    tokens, mask = table.tokens(rows) if with_tokens else (None, None)
    return binarise(tower.relaxed(table.pooled(rows), tokens, mask))


def pair_recall(hasher: Hasher, data: TrainingData, items: Rows) -> float:
    """Return recall@10 by pair over both directions, each item with its first text.

    Ties are averaged: an item whose partner shares its distance with others counts by the
    probability that a random order puts the partner within the first ten.

    Args:
        hasher: towers to judge.
        data: where features come from.
        items: positions of held-out items, at least one.

    Returns:
        Mean of both directions, in [0, 1]; larger is better.
    """
    image_signs = signs_of(hasher.image, data.image, items, with_tokens=data.with_tokens)
    captions = data.caption_starts[items]
    text_signs = signs_of(hasher.text, data.text, captions, with_tokens=data.with_tokens)
    distances = hamming_distances(pack(image_signs), pack(text_signs))
    own = np.diag(distances)
    recalls = []
    for ranking in (distances, distances.T):
        nearer = (ranking < own[:, None]).sum(axis=1)
        tied = (ranking == own[:, None]).sum(axis=1)
        recalls.append(np.clip((RECALL_AT - nearer) / tied, 0, 1).mean())
    return float(np.mean(recalls))


def constant_bits(hasher: Hasher, data: TrainingData) -> tuple[int, int]:
    """Return how many bits never change over a sample of training items: of images, of texts."""
    step = max(1, len(data.items) // SAMPLE)
    items = data.items[::step]
    image_signs = signs_of(hasher.image, data.image, items, with_tokens=data.with_tokens)
    captions = data.caption_starts[items]
    text_signs = signs_of(hasher.text, data.text, captions, with_tokens=data.with_tokens)
    return tuple(int((signs == signs[0]).all(axis=0).sum()) for signs in (image_signs, text_signs))  # type: ignore[return-value]


def warn_of_collapse(n_constant: tuple[int, int], n_bits: int, epoch: int) -> None:
    """Log a warning if more than a quarter of either modality's bits carry nothing."""
    for name, count in zip(("image", "text"), n_constant, strict=True):
        if count > COLLAPSED_SHARE * n_bits:
            logger.warning(
                "after epoch %d, %d of %d %s bits are the same for every training item: "
                "codes are collapsing; lower learning_rate, or scale the features "
                "(--set %s_scaling=centred_unit)",
                epoch + 1,
                count,
                n_bits,
                name,
                name,
            )
