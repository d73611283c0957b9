"""What a model states of itself: the content of `model.json`."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

__all__ = ["CARD", "FORMAT", "OPTIONAL", "RECORD", "WEIGHTS", "ModelRecord", "compute_sha256"]

FORMAT = 1
OPTIONAL = frozenset({"compatible_with", "method_package", "shortened_from"})
"""Entries of the record that are left out where they are empty."""
WEIGHTS, RECORD, CARD = "model.safetensors", "model.json", "README.md"


@dataclass(frozen=True)
class ModelRecord:
    """What a model says of itself; the content of `model.json`.

    Attributes:
        method: name in the table of methods.
        title: as people write it.
        n_bits: bits of a code.
        settings: the method's full settings.
        training: the full training settings.
        preset: the preset they came from, or "".
        seed: of the run.
        encoder: `name`, towers' `identity`, their fitted `image_state` and `text_state`; where it
            was tuned, also `tuned`, modality to the folder of its weights in the model's folder,
            and `untuned_identity`, what it was before.
        feature_dtype: modality to the dtype that its features are rounded to, when training and
            when encoding alike.
        trained_on: collection, source, fingerprint, split and counts.
        towers: description that the hasher is rebuilt from.
        results: what training found: best epoch, last losses.
        modalhash: version that wrote it.
        weights_sha256: of the weights file; also the fingerprint of a model that was trained.
        shortened_from: where the codes are the first bits of another model's, that model's `n_bits`
            and `fingerprint`; else empty, and left out of the file.
        method_package: package and version that registered the method, where it isn't one of this
            library; else "", and left out of the file.
        compatible_with: `n_bits` and `fingerprint` of the former models whose codes the model's
            queries search, the one that it was trained with first; else empty, and left out of the
            file.
    """

    method: str
    title: str
    n_bits: int
    settings: Mapping[str, Any]
    training: Mapping[str, Any]
    seed: int
    encoder: Mapping[str, Any]
    feature_dtype: Mapping[str, str]
    trained_on: Mapping[str, Any]
    towers: Mapping[str, Any]
    preset: str = ""
    results: Mapping[str, Any] = field(default_factory=dict)
    modalhash: str = field(default_factory=lambda: version("modalhash"))
    weights_sha256: str = ""
    shortened_from: Mapping[str, Any] = field(default_factory=dict)
    method_package: str = ""
    compatible_with: Sequence[Mapping[str, Any]] = ()


def compute_sha256(content: bytes) -> str:
    """Compute a SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
