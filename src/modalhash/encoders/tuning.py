"""Encoders whose weights were learned with the hash functions: which they are, and their files."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from modalhash.data.collection import Modality
from modalhash.encoders.base import Encoder
from modalhash.encoders.frames import FrameTower
from modalhash.encoders.network_towers import NetworkTower
from modalhash.encoders.transformer_models import quiet
from modalhash.errors import SettingError, StorageError
from modalhash.files import create_part_folder, sync_folder

__all__ = ["save_tuned", "tunable_towers", "tuned_folders"]

FOLDER = "encoder"


def tunable_towers(encoder: Encoder) -> dict[Modality, NetworkTower]:
    """List the towers of an encoder that can be tuned.

    Raises:
        SettingError: if there is none.
    """
    towers: dict[Modality, NetworkTower] = {}
    image = encoder.image.tower if isinstance(encoder.image, FrameTower) else encoder.image
    if isinstance(image, NetworkTower):
        towers["image"] = image
    if isinstance(encoder.text, NetworkTower):
        towers["text"] = encoder.text
    if not towers:
        raise SettingError(
            f"tune_encoder is true, but the encoder {encoder.name!r} has no tower that can be "
            "tuned: take clip:MODEL or vit:MODEL+bert:MODEL"
        )
    return towers


def tuned_folders(encoder: Encoder) -> dict[Modality, str]:
    """Find the folders of the tuned towers in a model's folder, by modality.

    Towers of one loaded model share a folder, which any program that reads CLIP models can open.
    """
    towers = tunable_towers(encoder)
    if len(towers) == 2 and towers["image"].model is towers["text"].model:
        return {"image": FOLDER, "text": FOLDER}
    return {modality: f"{FOLDER}/{modality}" for modality in towers}


def save_tuned(encoder: Encoder, folders: Mapping[Modality, str], root: Path) -> None:
    """Write tuned towers as `transformers` writes models: safetensors, JSON, tokenizer.

    The files appear when all of them are complete, in place of what was there.

    Args:
        encoder: whose towers.
        folders: what `tuned_folders` gave.
        root: the model's folder; made if missing.

    Raises:
        StorageError: if the file system refuses.
    """
    towers = tunable_towers(encoder)
    try:
        root.mkdir(parents=True, exist_ok=True)
        part = create_part_folder(root / FOLDER, suffix=".part")
        try:
            for modality, name in folders.items():
                folder = part / name
                if not (folder / "config.json").exists():
                    with quiet():
                        towers[modality].model.network.save_pretrained(folder)
                towers[modality].save_beside(folder)
            for path in part.rglob("*"):
                if path.is_file():
                    with path.open("rb") as file:
                        os.fsync(file.fileno())
                else:
                    sync_folder(path)
            shutil.rmtree(root / FOLDER, ignore_errors=True)
            (part / FOLDER).rename(root / FOLDER)
            sync_folder(root)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise StorageError(f"can't write {root / FOLDER}: {error.strerror or error}") from error
