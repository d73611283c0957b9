"""Models whose codes can be worked out by hand: one weight a bit, on arrays."""

from collections.abc import Sequence

import torch

from modalhash.artifacts import HashModel, ModelRecord
from modalhash.layers import FeatureScaling, LinearHead, ScalingRule
from modalhash.methods.hasher import Hasher, HashTower

__all__ = ["linear_tower", "plain_model"]


def linear_tower(weights: Sequence[Sequence[float]], offsets: Sequence[float]) -> HashTower:
    """Return a tower: bit j is the sign of weights[j] . features + offsets[j]."""
    head = LinearHead(len(weights[0]), len(weights))
    with torch.no_grad():
        head.map.weight.copy_(torch.tensor(weights))
        head.map.bias.copy_(torch.tensor(offsets))
    return HashTower(FeatureScaling(ScalingRule.NONE, len(weights[0])), head)


def plain_model(
    image: HashTower, text: HashTower, *, dtype: str = "float32", encoder: str = "precomputed"
) -> HashModel:
    """Return a model of two towers; its record holds what tests need and nothing true."""
    hasher = Hasher(image, text)
    widths = {"image": {"width": image.width}, "text": {"width": text.width}}
    identity = {
        "name": encoder,
        **{side: {"name": "precomputed", "version": 1, **state} for side, state in widths.items()},
    }
    record = ModelRecord(
        method="cca-sign",
        title="CCA + sign",
        n_bits=hasher.n_bits,
        settings={"ridge": 0.5},
        training={"epochs": 20},
        seed=7,
        encoder={
            "name": encoder,
            "identity": identity,
            "image_state": widths["image"],
            "text_state": widths["text"],
        },
        feature_dtype={"image": dtype, "text": dtype},
        trained_on={"collection": "pairs", "source": "", "fingerprint": "f0", "split": "train"},
        towers=hasher.spec(),
        results={"best_epoch": 3},
    )
    return HashModel(hasher, record, device="cpu")
