"""Read a model's folder: its record and its hash functions."""

from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

from modalhash.artifacts.hash_functions import HashFunctions
from modalhash.artifacts.model_record import FORMAT, OPTIONAL, RECORD, WEIGHTS, ModelRecord
from modalhash.artifacts.onnx_files import find_onnx, open_onnx_hasher
from modalhash.artifacts.record_checks import find_odd_entries
from modalhash.errors import ArtifactError, DamagedArtifactError, MissingExtraError
from modalhash.files import read_json

__all__ = ["read_model"]


def read_model(folder: Path) -> tuple[ModelRecord, HashFunctions]:
    """Read a model's record and hash functions; errors as `load_model` says."""
    record = read_record(folder)
    place = find_onnx(folder)
    has_weights = (folder / WEIGHTS).exists()
    if place is not None and not (has_weights and find_spec("torch")):
        return record, open_onnx_hasher(place, record)
    if not find_spec("torch"):
        raise MissingExtraError(
            "torch",
            "offline",
            f"the model in {folder}, which has no ONNX files (modalhash export {folder} --format "
            "onnx --with-encoder, run where torch is, writes them),",
        )
    from modalhash.artifacts.weights_files import load_hasher

    return record, load_hasher(folder, record)


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
