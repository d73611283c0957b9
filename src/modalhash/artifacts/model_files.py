"""Saving and loading models: safetensors and JSON, no pickle."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from modalhash.artifacts.card import model_card
from modalhash.artifacts.model import HashModel
from modalhash.artifacts.model_record import (
    CARD,
    FORMAT,
    OPTIONAL,
    RECORD,
    WEIGHTS,
    ModelRecord,
    compute_sha256,
)
from modalhash.artifacts.model_weights import serialise_weights
from modalhash.artifacts.record_checks import find_odd_entries
from modalhash.errors import ArtifactError, DamagedArtifactError, InputError
from modalhash.files import (
    open_regular_file,
    read_json,
    report_damage,
    sealed,
    write_bytes,
    write_json,
    write_text,
)
from modalhash.layers import HashHead, build_head
from modalhash.methods import REGISTRY as METHOD_REGISTRY
from modalhash.methods.hasher import Hasher

__all__ = ["load_model", "save_model"]


def save_model(model: HashModel, folder: Path) -> HashModel:
    """Save a model: weights first, then the card, then the record that makes them a model.

    A tuned encoder is saved with it.

    Args:
        model: what to save.
        folder: the run folder; made if missing.

    Returns:
        The model with its fingerprint filled in.

    Raises:
        StorageError: if the file system refuses.
    """
    if model.tuned_folders:
        from modalhash.encoders.tuning import save_tuned

        save_tuned(model.encoder, model.tuned_folders, folder)
    weights = serialise_weights(model.hasher)
    document = asdict(model.record) | {"weights_sha256": compute_sha256(weights)}
    record = ModelRecord(**document)
    for name in OPTIONAL:
        if not document[name]:
            del document[name]
    write_bytes(folder / WEIGHTS, weights)
    write_text(folder / CARD, model_card(document))
    write_json(folder / RECORD, sealed({"format": FORMAT, **document}))
    return HashModel(
        model.hasher, record, device=model.device, folder=folder, encoder=model.loaded_encoder
    )


def load_model(folder: Path | str, *, device: str = "auto") -> HashModel:
    """Load a model that `save_model` wrote.

    Args:
        folder: the run folder, or any folder with the model's files.
        device: where its encoder will compute.

    Raises:
        DamagedArtifactError: if a file is missing or its content differs from what it should be.
        NewerFormatError: if a newer version wrote it.
        ArtifactError: if it holds a run that isn't finished.
    """
    folder = Path(folder)
    if not (folder / RECORD).exists() and (folder / "checkpoint").is_dir():
        raise ArtifactError(
            f"{folder} holds a run that isn't finished: go on with the `modalhash train` command "
            "it was started with, and --resume"
        )
    document = read_json(folder / RECORD, kind="model", newest_format=FORMAT)
    for name in ("format", "checksum"):
        document.pop(name, None)
    known = {entry.name for entry in fields(ModelRecord)}
    odd = (known ^ document.keys()) - OPTIONAL
    if odd:
        raise DamagedArtifactError(
            f"{folder / RECORD} is damaged: missing or unknown entries: {', '.join(sorted(odd))}"
        )
    if wrong := find_odd_entries(document):
        raise DamagedArtifactError(
            f"{folder / RECORD} is damaged: {', '.join(wrong)} of another sort than this version "
            "writes; take it from a backup, or train again"
        )
    record = ModelRecord(**document)
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
    return HashModel(hasher, record, device=device, folder=folder)


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
