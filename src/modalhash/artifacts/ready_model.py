"""The ready model: codes of `offline-shared` that need no training, no captions and no network.

Codes are the signs of the encoder's features in directions that travel with the library: the
principal directions of made pictures, rotated by ITQ. Both modalities share them. In the longest
codes, which `find` takes, pictures have several bits in each principal direction, and texts meet
them with numbers. The model's weights, and so its fingerprint and its codes, are the same
everywhere.
"""

from collections.abc import Iterable
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from modalhash.artifacts.model import HashModel
from modalhash.artifacts.model_files import load_model
from modalhash.artifacts.model_record import ModelRecord
from modalhash.codes import GradedBits
from modalhash.encoders import Encoder, default_cache_folder, load_encoder
from modalhash.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from modalhash.methods.hasher import Hasher

__all__ = [
    "READY_GRADED",
    "READY_LENGTHS",
    "READY_NAME",
    "READY_USUAL",
    "ROTATIONS_FILE",
    "read_ready_name",
    "ready_model",
    "ready_onnx_folder",
]

READY_NAME = "offline-shared"
READY_LENGTHS = (64, 256, 384)
"""Bits of the ready models."""
READY_USUAL, READY_GRADED = 256, 384
"""The usual length, and that of graded codes, which are for queries with numbers."""
ROTATIONS_FILE = "ready_model.safetensors"


def read_ready_name(name: str) -> int | None:
    """Read the number of bits from the name of a ready model; None if it is no such name.

    Raises:
        InputError: if there is no ready model of that many bits.

    Example:
        >>> read_ready_name("offline-shared"), read_ready_name("offline-shared:64")
        (256, 64)
        >>> read_ready_name("runs/photos")
    """
    kind, colon, bits = name.partition(":")
    if kind != READY_NAME:
        return None
    if not colon:
        return READY_USUAL
    if bits not in map(str, READY_LENGTHS):
        names = list_choices(f"{READY_NAME}:{length}" for length in READY_LENGTHS)
        raise InputError(f"there is no ready model {name!r}: name {names}")
    return int(bits)


def list_choices(choices: Iterable[str]) -> str:
    """Write choices as words: `64, 256 or 384`."""
    *first, last = choices
    return f"{', '.join(first)} or {last}"


def ready_model(n_bits: int = READY_USUAL, *, device: str = "auto") -> HashModel:
    """Open the model that needs no training: texts find pictures at once.

    Pictures become mixtures of the class names that EfficientNet-Lite0 finds in them, texts are
    MiniLM's, and nothing is downloaded. A model that is trained on captioned pictures of yours
    finds more.

    Args:
        n_bits: 64 or 256 for codes that Hamming distance compares; 384 for graded codes, which
            find most by the default scoring, and less than 256 bits by Hamming distance.
        device: where its encoder computes.

    Raises:
        InputError: if there is none of that many bits.
        MissingExtraError: if a package that the encoder needs isn't installed; without torch, if
            there are no ONNX files of it either.

    Example:
        >>> model = ready_model()
        >>> codes = model.encode_texts(["a dog in the snow", "a puppy in deep snow", "a red car"])
        >>> codes.shape
        (3, 32)
    """
    if n_bits not in READY_LENGTHS:
        known = list_choices(map(str, READY_LENGTHS))
        raise InputError(
            f"n_bits is {n_bits}, but ready models have {known} bits: choose one of these, or "
            "learn codes from your own pictures with modalhash train"
        )
    if not find_spec("torch"):
        return load_ready_onnx(n_bits)
    import torch
    from safetensors.torch import load as load_tensors

    from modalhash.artifacts.shared_hasher import make_graded_hasher, make_shared_hasher
    from modalhash.layers import ScalingRule

    content = (files("modalhash.artifacts") / ROTATIONS_FILE).read_bytes()
    tensors = load_tensors(content)
    if n_bits == READY_GRADED:
        bits = GradedBits(
            tuple(tensors["graded_counts"].tolist()), tuple(tensors["graded_steps"].tolist())
        )
        hasher = make_graded_hasher(tensors["graded_directions"].double(), bits)
    else:
        rotation = tensors[f"rotation_{n_bits}"].double()
        origin = torch.zeros(len(rotation), dtype=torch.float64)
        hasher = make_shared_hasher(rotation, origin, origin, ScalingRule.NONE)
    encoder = load_encoder(READY_NAME, device=device)
    return HashModel(hasher, describe_ready_model(n_bits, encoder, hasher), device=device)


def ready_onnx_folder(n_bits: int) -> Path:
    """Name the folder where a ready model's ONNX files are kept, in the user's cache."""
    return default_cache_folder().parent / "onnx" / f"{READY_NAME}-{n_bits}"


def load_ready_onnx(n_bits: int) -> HashModel:
    """Load a ready model's ONNX files.

    Raises:
        MissingExtraError: if it wasn't exported on this machine.
    """
    folder = ready_onnx_folder(n_bits)
    if not folder.is_dir():
        raise MissingExtraError(
            "torch",
            "offline",
            f"the ready model, which has no ONNX files in {folder} (modalhash export "
            f"{READY_NAME}:{n_bits} --format onnx --with-encoder writes them, where torch is),",
        )
    return load_model(folder)


def describe_ready_model(n_bits: int, encoder: Encoder, hasher: "Hasher") -> ModelRecord:
    """Describe a ready model: it has seen no collection."""
    return ModelRecord(
        method="shared-space",
        title="Ready model",
        n_bits=n_bits,
        settings={},
        training={},
        seed=0,
        encoder={
            "name": encoder.name,
            "identity": dict(encoder.identity()),
            "image_state": dict(encoder.image.state()),
            "text_state": dict(encoder.text.state()),
        },
        feature_dtype={"image": "float16", "text": "float16"},
        trained_on={
            "collection": "made pictures of class names",
            "source": "",
            "fingerprint": "",
            "split": "all",
            "n_items": 0,
            "split_note": "no collection",
        },
        towers=hasher.spec(),
    )
