"""Write a model's folder: weights first, then the card, then the record that makes them a model."""

from dataclasses import asdict
from pathlib import Path

from modalhash.artifacts.card import model_card
from modalhash.artifacts.hash_functions import HashFunctions
from modalhash.artifacts.model_record import (
    CARD,
    FORMAT,
    OPTIONAL,
    RECORD,
    WEIGHTS,
    ModelRecord,
    compute_sha256,
)
from modalhash.files import sealed, write_bytes, write_json, write_text

__all__ = ["write_model"]


def write_model(folder: Path, record: ModelRecord, hasher: HashFunctions) -> ModelRecord:
    """Write weights, card and record.

    Args:
        folder: the run folder; made if missing.
        record: what the model says of itself.
        hasher: its hash functions, of torch.

    Returns:
        The record with the hash of the weights filled in.

    Raises:
        StorageError: if the file system refuses.
    """
    from modalhash.artifacts.model_weights import serialise_weights
    from modalhash.methods.hasher import Hasher

    assert isinstance(hasher, Hasher)
    weights = serialise_weights(hasher)
    document = asdict(record) | {"weights_sha256": compute_sha256(weights)}
    written = ModelRecord(**document)
    for name in OPTIONAL:
        if not document[name]:
            del document[name]
    write_bytes(folder / WEIGHTS, weights)
    write_text(folder / CARD, model_card(document))
    write_json(folder / RECORD, sealed({"format": FORMAT, **document}))
    return written
