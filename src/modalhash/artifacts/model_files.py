"""Saving and loading models: safetensors, JSON and ONNX, no pickle."""

from dataclasses import asdict, fields
from importlib.util import find_spec
from pathlib import Path

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
from modalhash.artifacts.onnx_files import copy_onnx_model, find_onnx, open_onnx_hasher
from modalhash.artifacts.record_checks import find_odd_entries
from modalhash.errors import ArtifactError, DamagedArtifactError, MissingExtraError
from modalhash.files import read_json, sealed, write_bytes, write_json, write_text

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
    if model.is_in_onnx:
        return save_onnx_model(model, folder)
    from modalhash.artifacts.model_weights import serialise_weights

    if model.tuned_folders:
        from modalhash.encoders.tuning import save_tuned

        save_tuned(model.encoder, model.tuned_folders, folder)
    weights = serialise_weights(model.hasher_in_torch)
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
    """Load a model that `save_model` or `export_onnx` wrote.

    ONNX Runtime computes a model in ONNX files, and one that has such files beside its weights
    where torch isn't installed; else torch does. The codes are the same.

    Args:
        folder: the run folder, or any folder with the model's files.
        device: where its encoder will compute.

    Raises:
        DamagedArtifactError: if a file is missing or its content differs from what it should be.
        NewerFormatError: if a newer version wrote it.
        ArtifactError: if it holds a run that isn't finished.
        MissingExtraError: if torch isn't installed and there are no ONNX files.
    """
    folder = Path(folder)
    record = read_record(folder)
    place = find_onnx(folder)
    has_weights = (folder / WEIGHTS).exists()
    if place is not None and not (has_weights and find_spec("torch")):
        hasher = open_onnx_hasher(place, record)
        return HashModel(hasher, record, device=device, folder=folder)
    if not find_spec("torch"):
        raise MissingExtraError(
            "torch",
            "offline",
            f"the model in {folder}, which has no ONNX files (modalhash export {folder} --format "
            "onnx --with-encoder, run where torch is, writes them),",
        )
    from modalhash.artifacts.weights_files import load_hasher

    return HashModel(load_hasher(folder, record), record, device=device, folder=folder)


def read_record(folder: Path) -> ModelRecord:
    """Read what a model says of itself; errors as in `load_model`."""
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
    return ModelRecord(**document)


def save_onnx_model(model: HashModel, folder: Path) -> HashModel:
    """Save a model in ONNX files: a copy of its folder."""
    place = find_onnx(model.folder) if model.folder else None
    assert place is not None, "a model in ONNX files knows its folder"
    copy_onnx_model(place, folder)
    return HashModel(
        model.hasher, model.record, device=model.device, folder=folder, encoder=model.loaded_encoder
    )
