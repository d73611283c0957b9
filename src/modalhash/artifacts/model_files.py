"""Saving and loading models: safetensors, JSON and ONNX, no pickle."""

from pathlib import Path

from modalhash.artifacts.hub_models import find_model_folder
from modalhash.artifacts.model import HashModel

__all__ = ["load_model", "save_model"]


def save_model(model: HashModel, folder: Path) -> HashModel:
    """Save a model: weights first, then the card, then the record that makes them a model.

    A tuned encoder is saved with it. Of a model in ONNX files, the files are copied.

    Args:
        model: what to save.
        folder: the run folder; made if missing.

    Returns:
        The model with its fingerprint filled in.

    Raises:
        StorageError: if the file system refuses.
    """
    record = model.write_files(folder)
    return HashModel(
        model.hasher, record, device=model.device, folder=folder, encoder=model.loaded_encoder
    )


def load_model(folder: Path | str, *, device: str = "auto") -> HashModel:
    """Load a model that `train`, `export_onnx` or `push_to_hub` wrote.

    ONNX Runtime computes a model in ONNX files, and one that has such files beside its weights
    where torch isn't installed; else torch does. The codes are the same.

    Args:
        folder: the run folder, or any folder with the model's files; or `hf://OWNER/NAME`, with
            `@REVISION` behind or not: a model on a hub, which is fetched once.
        device: where its encoder will compute.

    Raises:
        DamagedArtifactError: if a file is missing or its content differs from what it should be.
        NewerFormatError: if a newer version wrote it.
        ArtifactError: if it holds a run that isn't finished.
        MissingExtraError: if torch isn't installed and there are no ONNX files.
        ModelUnavailableError: if it can't be had from the hub.
    """
    return HashModel.from_folder(find_model_folder(folder), device=device)
