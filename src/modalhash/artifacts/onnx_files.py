"""Models in ONNX files: the folder that `export_onnx` makes, and how it is read.

::

    model.json            the model's record, as in a run folder
    onnx.json             format, fingerprint, files with checksums, inputs and outputs
    image_head.onnx       hash function of pictures
    text_head.onnx        hash function of texts
    image_encoder.onnx    picture encoder, with --with-encoder
    text_encoder.onnx     text encoder, with it
    tokenizer.json        the text encoder's tokenizer

Such a folder is a model of its own; beside a model's weights it lies in a folder `onnx`.
"""

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from modalhash.artifacts.model_record import CARD, RECORD, ModelRecord
from modalhash.artifacts.onnx_hasher import OnnxHasher, OnnxTower
from modalhash.encoders import Encoder, ImageTower, load_encoder
from modalhash.encoders.frames import FrameTower
from modalhash.encoders.loading import split_pair
from modalhash.encoders.onnx_sessions import OnnxSession
from modalhash.encoders.onnx_towers import OnnxImageTower, OnnxTextTower
from modalhash.errors import (
    ArtifactError,
    DamagedArtifactError,
    ModelUnavailableError,
    StorageError,
)
from modalhash.files import (
    own_path,
    peek_json,
    read_json,
    report_damage,
    sealed,
    sha256_of_file,
    write_json,
)
from modalhash.modalities import MODALITIES, Modality

__all__ = [
    "ONNX_FOLDER",
    "ONNX_MANIFEST",
    "TORCH_FREE",
    "copy_onnx_model",
    "find_onnx",
    "is_onnx_export",
    "open_onnx_encoder",
    "open_onnx_hasher",
    "read_onnx_manifest",
    "write_onnx_manifest",
]

ONNX_FOLDER, ONNX_MANIFEST, ONNX_FORMAT = "onnx", "onnx.json", 1
ARTIFACT: Final = "modalhash onnx export"
ADVICE: Final = "export the model again"
TORCH_FREE: Final = frozenset({"bow", "precomputed"})
"""Encoders that need no torch, and so no ONNX file."""


def is_onnx_export(folder: Path) -> bool:
    """Tell whether a folder holds a model in ONNX files, be it damaged or newer."""
    document = peek_json(folder / ONNX_MANIFEST)
    return document is not None and document.get("artifact") == ARTIFACT


def find_onnx(folder: Path) -> Path | None:
    """Find the folder of a model's ONNX files: itself, or `onnx` in it; None if there are none."""
    for place in (folder, folder / ONNX_FOLDER):
        if (place / ONNX_MANIFEST).is_file():
            return place
    return None


def write_onnx_manifest(folder: Path, document: Mapping[str, Any]) -> None:
    """Write `onnx.json`, with the size and checksum of every file it names.

    Args:
        folder: where the files are.
        document: what it says besides format, artifact and files: `heads`, `encoders`, ...
    """
    names = sorted(set(list_named_files(document)))
    files = {
        name: {"size": (folder / name).stat().st_size, "sha256": sha256_of_file(folder / name)}
        for name in names
    }
    head = {"format": ONNX_FORMAT, "artifact": ARTIFACT}
    write_json(folder / ONNX_MANIFEST, sealed({**head, **document, "files": files}))


def list_named_files(document: Mapping[str, Any]) -> list[str]:
    """List the files that a manifest's heads and encoders name."""
    parts = [*document["heads"].values(), *document["encoders"].values()]
    return [str(part[key]) for part in parts for key in ("file", "tokenizer") if key in part]


def read_onnx_manifest(folder: Path, record: ModelRecord) -> dict[str, Any]:
    """Read and check `onnx.json`.

    Args:
        folder: where it is.
        record: of the model that it should be of.

    Raises:
        ArtifactError: if it is of another model.
        DamagedArtifactError: if it isn't what was written.
        NewerFormatError: if a newer modalhash wrote it.
    """
    path = folder / ONNX_MANIFEST
    document = read_json(path, kind="ONNX export", newest_format=ONNX_FORMAT)
    match document:
        case {
            "artifact": "modalhash onnx export",
            "n_bits": int(n_bits),
            "weights_sha256": str(weights),
            "bit_order": "little",
            "heads": {"image": dict(), "text": dict()},
            "encoders": dict(),
            "files": dict(),
        }:
            pass
        case _:
            raise DamagedArtifactError(
                f"{path} is damaged: an entry is missing or of another sort; {ADVICE}"
            )
    if n_bits != record.n_bits or weights != record.weights_sha256:
        raise ArtifactError(
            f"{folder} holds ONNX files of another model: of {n_bits} bits and the weights "
            f"{weights[:12]}, where {RECORD} says {record.n_bits} bits and "
            f"{record.weights_sha256[:12]}; {ADVICE}"
        )
    return document


def open_file(folder: Path, document: Mapping[str, Any], name: object) -> OnnxSession:
    """Make the session of a file that the manifest names."""
    return OnnxSession(own_path(folder, name), str(document["files"][name]["sha256"]))


def open_onnx_hasher(folder: Path, record: ModelRecord) -> OnnxHasher:
    """Open a model's hash functions; the files are loaded when they are first needed.

    Raises:
        ArtifactError: see `read_onnx_manifest`.
    """
    document = read_onnx_manifest(folder, record)

    def tower(modality: Modality) -> OnnxTower:
        head = document["heads"][modality]
        session = open_file(folder, document, head["file"])
        return OnnxTower(session, int(head["width"]), record.n_bits)

    with report_damage(folder / ONNX_MANIFEST, ADVICE):
        return OnnxHasher(tower("image"), tower("text"), record.towers)


def open_onnx_encoder(folder: Path, record: ModelRecord) -> Encoder:
    """Open a model's encoder.

    Raises:
        ArtifactError: see `read_onnx_manifest`.
        ModelUnavailableError: if the encoder wasn't exported with the model.
    """
    document = read_onnx_manifest(folder, record)
    described, stated = document["encoders"], record.encoder
    name = str(stated["name"])
    kinds = {
        modality: part.partition(":")[0]
        for modality, part in zip(MODALITIES, split_pair(name), strict=True)
    }
    missing = [
        side for side in MODALITIES if side not in described and kinds[side] not in TORCH_FREE
    ]
    if missing:
        raise ModelUnavailableError(
            f"the ONNX files in {folder} lack the {' and the '.join(missing)} encoder of {name!r}: "
            "export the model with --with-encoder"
        )
    with report_damage(folder / ONNX_MANIFEST, ADVICE):
        text_name = "precomputed" if "text" in described else split_pair(name)[1]
        encoder = load_encoder(
            f"precomputed+{text_name}",
            image_state=None if "image" in described else stated["image_state"],
            text_state=None if "text" in described else stated["text_state"],
            from_file=True,
        )
        image, text = encoder.image, encoder.text
        if "image" in described:
            tower = described["image"]
            image = OnnxImageTower(open_file(folder, document, tower["file"]), tower)
            image = framed(image, stated["image_state"])
        if "text" in described:
            text = text_tower(folder, document)
        return Encoder(name, image, text)


def text_tower(folder: Path, document: Mapping[str, Any]) -> OnnxTextTower:
    """Open the text tower that a manifest describes."""
    tower = document["encoders"]["text"]
    tokenizer = own_path(folder, tower["tokenizer"])
    if sha256_of_file(tokenizer) != document["files"][tower["tokenizer"]]["sha256"]:
        raise DamagedArtifactError(
            f"{tokenizer} is damaged: its checksum isn't the one in {ONNX_MANIFEST}; {ADVICE}"
        )
    return OnnxTextTower(open_file(folder, document, tower["file"]), tower, tokenizer)


def framed(tower: OnnxImageTower, state: Mapping[str, Any]) -> ImageTower:
    """Wrap a picture tower into one for videos' frames, if its state says so."""
    if "frames" not in state:
        return tower
    return FrameTower(tower, int(state["frames"]), int(state["frame_grid"]))


def copy_onnx_model(source: Path, folder: Path) -> None:
    """Copy a model in ONNX files to another folder, by links where the file system has them.

    Raises:
        DamagedArtifactError: if the source isn't what was written.
        StorageError: if the file system refuses.
    """
    document = read_json(source / ONNX_MANIFEST, kind="ONNX export", newest_format=ONNX_FORMAT)
    names = [*list_named_files(document), ONNX_MANIFEST, RECORD, CARD]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in dict.fromkeys(names):
            path = own_path(source, name)
            with suppress(OSError):
                os.link(path, folder / name)
                continue
            shutil.copyfile(path, folder / name)
    except OSError as error:
        raise StorageError(f"can't write {folder}: {error.strerror or error}") from error
