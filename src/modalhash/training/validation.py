"""How good codes are on held-out training pairs, without labels; whether bits collapsed."""

import logging

import numpy as np
import torch
from numpy.typing import NDArray

from modalhash.codes import Signs, binarise, pack
from modalhash.encoders.base import FeatureTable
from modalhash.layers import ModalityFeatures, ScalingRule
from modalhash.methods.base import TrainingSettings
from modalhash.methods.hasher import Hasher, HashTower
from modalhash.metrics import COLLAPSED_SHARE, evaluate_direction
from modalhash.training.pairs import TrainingData

__all__ = ["constant_bits", "pair_recall", "warn_of_collapse"]

RECALL_AT = 10
SAMPLE = 500
"""Training items that tell which bits are constant, at least, and less than twice as many."""
BLOCK = 1_024
logger = logging.getLogger(__name__)
Rows = NDArray[np.int64]


def both_signs(hasher: Hasher, data: TrainingData, items: Rows) -> tuple[Signs, Signs]:
    """Compute the signs of some items' pictures and of their first texts, (k, b) int8 each.

    They are for watching a training: computed in plain float32, a bit at the border may differ from
    the one that the finished model gives.
    """

    def signs(tower: HashTower, table: FeatureTable, rows: Rows) -> Signs:
        device = tower.scaling.mean.device
        blocks = []
        for start in range(0, len(rows), BLOCK):
            part = rows[start : start + BLOCK]
            parts = [table.pooled(part), *(table.tokens(part) if data.with_tokens else ())]
            with torch.no_grad():
                features = ModalityFeatures(
                    *(torch.from_numpy(array).to(device) for array in parts)
                )
                blocks.append(binarise(tower(features).float().cpu().numpy()))
        return np.concatenate(blocks)

    return (
        signs(hasher.image, data.image, items),
        signs(hasher.text, data.text, data.caption_starts[items]),
    )


def pair_recall(hasher: Hasher, data: TrainingData, items: Rows) -> float:
    """Compute recall@10 by pair over both directions, each item with its first text.

    Ties are averaged: an item whose partner shares its distance with others counts by the
    probability that a random order puts the partner within the first ten.

    Args:
        hasher: towers to judge.
        data: where features come from.
        items: positions of held-out items, at least one.

    Returns:
        Mean of both directions, in [0, 1]; larger is better.
    """
    image_signs, text_signs = both_signs(hasher, data, items)
    image_codes, text_codes = pack(image_signs), pack(text_signs)
    own = np.arange(len(items))
    recalls = [
        evaluate_direction(
            queries, database, hasher.n_bits, direction=direction, query_targets=own,
            recall_at=(RECALL_AT,),
        ).find("recall", k=RECALL_AT, relevance="pair").value
        for direction, queries, database in (
            ("image_to_text", image_codes, text_codes),
            ("text_to_image", text_codes, image_codes),
        )
    ]  # fmt: skip
    return float(np.mean(recalls))


def constant_bits(hasher: Hasher, data: TrainingData) -> tuple[int, int]:
    """Count the bits that never change over a sample of training items: of images, of texts."""
    step = max(1, len(data.items) // SAMPLE)
    return tuple(  # type: ignore[return-value]
        int((signs == signs[0]).all(axis=0).sum())
        for signs in both_signs(hasher, data, data.items[::step])
    )


def warn_of_collapse(
    n_constant: tuple[int, int], n_bits: int, epoch: int, settings: TrainingSettings
) -> None:
    """Log a warning if more than a quarter of either modality's bits are constant.

    Args:
        n_constant: constant bits of images and of texts.
        n_bits: bits of a code.
        epoch: that ended, from 0.
        settings: of the training; the advice leaves out what is set already.
    """
    for name, count in zip(("image", "text"), n_constant, strict=True):
        if count > COLLAPSED_SHARE * n_bits:
            logger.warning(
                "after epoch %d, %d of %d %s bits are the same for every training item: "
                "codes are collapsing; lower learning_rate, or %s",
                epoch + 1,
                count,
                n_bits,
                name,
                advise_on_collapse(name, settings),
            )


def advise_on_collapse(modality: str, settings: TrainingSettings) -> str:
    """Name what may keep codes from collapsing, beside a lower learning rate."""
    if getattr(settings, f"{modality}_scaling") is not ScalingRule.CENTRED_UNIT:
        return f"scale the features (--set {modality}_scaling=centred_unit)"
    return (
        f"raise batch_size, choose another --preset, or look for {modality} features that are all "
        "alike"
    )
