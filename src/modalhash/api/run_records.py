"""The record of a run: its encoder, the items it learned from, and how training went."""

import hashlib
from typing import Any

from modalhash.data import Collection
from modalhash.encoders import Encoder
from modalhash.encoders.tuning import tunable_towers, tuned_folders
from modalhash.training import TrainingResult

__all__ = ["describe_encoder", "describe_items", "describe_tuning", "summarize_training"]


def describe_encoder(encoder: Encoder) -> dict[str, Any]:
    """Describe an encoder: what `load_encoder` needs to load it again, and how to identify it."""
    return {
        "name": encoder.name,
        "identity": dict(encoder.identity()),
        "image_state": dict(encoder.image.state()),
        "text_state": dict(encoder.text.state()),
    }


def describe_tuning(encoder: Encoder) -> dict[str, Any]:
    """Describe an encoder whose weights were tuned: its identity now and before."""
    before = dict(encoder.identity())
    for tower in tunable_towers(encoder).values():
        tower.hash_weights()
    return {
        "identity": dict(encoder.identity()),
        "untuned_identity": before,
        "tuned": dict(tuned_folders(encoder)),
    }


def describe_items(collection: Collection, split: str) -> dict[str, Any]:
    """Describe the items that a model learned from."""
    items = collection.split(split)
    return {
        "collection": collection.name,
        "source": collection.source,
        "fingerprint": collection.fingerprint(),
        "split": split,
        "n_items": len(items),
        "items_sha256": hashlib.sha256(items.tobytes()).hexdigest(),
        "split_note": collection.split_note,
    }


def summarize_training(result: TrainingResult) -> dict[str, Any]:
    """Summarize a training: its best epoch and its last losses."""
    best = {} if result.best_epoch is None else {"best_epoch": result.best_epoch + 1}
    last = result.log[-1] if result.log else {}
    return best | {name: last[name] for name in last if name not in ("epoch", "seconds")}
