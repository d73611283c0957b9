"""A model's weights as a hasher of torch: safetensors, no pickle."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from modalhash.artifacts.model_record import RECORD, WEIGHTS, ModelRecord, compute_sha256
from modalhash.errors import ArtifactError, DamagedArtifactError, InputError
from modalhash.files import open_regular_file, report_damage
from modalhash.layers import HashHead, build_head
from modalhash.methods import REGISTRY as METHOD_REGISTRY
from modalhash.methods.hasher import Hasher

__all__ = ["load_hasher"]


def load_hasher(folder: Path, record: ModelRecord) -> Hasher:
    """Load the hash functions that `serialise_weights` wrote.

    Args:
        folder: of the model.
        record: what the model says of itself.

    Raises:
        DamagedArtifactError: if the file is missing, or its content differs from what it should be.
        ArtifactError: if the record describes towers of no known form.
    """
    try:
        with open_regular_file(folder / WEIGHTS) as file:
            weights = file.read()
    except OSError as error:
        raise DamagedArtifactError(
            f"can't read {folder / WEIGHTS}: {error.strerror or error}; take it from a backup, or "
            "train again"
        ) from error
    if compute_sha256(weights) != record.weights_sha256:
        raise DamagedArtifactError(
            f"{folder / WEIGHTS} is damaged: its checksum isn't the one in {RECORD}; "
            "take it from a backup, or train again"
        )
    check_size(folder, record, len(weights))
    try:
        with report_damage(folder / RECORD, "take it from a backup, or train again"):
            hasher = Hasher.from_spec(record.towers, head_builder(record))
        hasher.load_state_dict(load_tensors(weights))
    except (SafetensorError, RuntimeError) as error:
        raise DamagedArtifactError(
            f"{folder / WEIGHTS} doesn't fit the towers in {RECORD}: {error}"
        ) from error
    return hasher


def check_size(folder: Path, record: ModelRecord, n_bytes: int) -> None:
    """Refuse towers that are larger than their weights, before they take any memory.

    Args:
        folder: of the model.
        record: that describes the towers.
        n_bytes: of the weights file.

    Raises:
        DamagedArtifactError: if they are, or no towers of this version are described.
    """
    try:
        with (
            torch.device("meta"),  # shapes only
            report_damage(folder / RECORD, "take it from a backup, or train again"),
        ):
            state = Hasher.from_spec(record.towers, head_builder(record)).state_dict()
    except RuntimeError as error:
        raise DamagedArtifactError(
            f"{folder / RECORD} is damaged: its towers can't be built ({error})"
        ) from error
    if sum(value.numel() * value.element_size() for value in state.values()) > n_bytes:
        raise DamagedArtifactError(
            f"{folder / WEIGHTS} doesn't fit the towers in {RECORD}: it is smaller than they are"
        )


def head_builder(record: ModelRecord) -> Callable[[Mapping[str, Any]], HashHead]:
    """Find the builder of a model's heads: the known kinds, then those of the method's package.

    A method's package is needed for kinds of heads that this version doesn't know, and not else.
    """

    def build(spec: Mapping[str, Any]) -> HashHead:
        try:
            return build_head(spec)
        except ArtifactError:
            if not record.method_package:
                raise
            try:
                method = METHOD_REGISTRY.load(record.method, from_file=True)
            except InputError as unknown:
                raise ArtifactError(
                    f"the model's hash head is of the method {record.method!r} of the package "
                    f"{record.method_package}: install that package"
                ) from unknown
            head: HashHead = method.build_head(spec)
            return head

    return build
