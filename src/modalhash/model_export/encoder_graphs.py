"""Encoders as ONNX graphs, by torch's own exporter, and what is needed beside the network."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from modalhash.encoders import ImageTower, TextTower
from modalhash.encoders.frames import FrameTower
from modalhash.encoders.network_towers import NetworkImageTower, NetworkTextTower
from modalhash.encoders.offline_image import OfflineImageTower
from modalhash.encoders.offline_shared import OfflineSharedImageTower, OfflineSharedTextTower
from modalhash.encoders.offline_text import LONGEST, OfflineTextTower
from modalhash.encoders.picture_preparation import CentreSquare, PicturePreparation
from modalhash.encoders.word_knowledge import UNKNOWN_PIECE
from modalhash.errors import InputError
from modalhash.extras import import_optional
from modalhash.model_export.graph import OPSET

__all__ = ["ExportedTower", "export_image_tower", "export_text_tower"]

SAMPLE_TEXTS: Final = ("A dog, 2 cats & a café!", "Ein Hund läuft durch den Schnee", "犬 и собака")
"""Texts whose word pieces the tokenizer in a file must give as the tower's own does."""


@dataclass(frozen=True)
class ExportedTower:
    """What is known of an exported encoder of one modality.

    Attributes:
        about: what `onnx.json` says of it.
        tokenizer: JSON of the tokenizer; "" for pictures.
    """

    about: Mapping[str, Any]
    tokenizer: str = ""


class PictureNetwork(nn.Module):
    """From (n, h, w, 3) uint8 pictures to (n, d) features, as a picture tower computes them."""

    def __init__(self, tower: ImageTower) -> None:
        super().__init__()
        self.tower = tower
        if isinstance(tower, NetworkImageTower):
            self.network = tower.network  # its weights are found

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute the features."""
        tower = self.tower
        if isinstance(tower, NetworkImageTower):
            return tower.compute(tower.scale_pixels(pixels), with_tokens=False)[0]
        if isinstance(tower, OfflineSharedImageTower):
            return tower.mix(tower.pictures.grids(pixels).mean(dim=1))
        assert isinstance(tower, OfflineImageTower)
        return tower.grids(pixels).mean(dim=1)


class TextNetwork(nn.Module):
    """From (n, t) word pieces and their mask to (n, d) features, as a text tower computes them."""

    def __init__(self, tower: TextTower) -> None:
        super().__init__()
        self.tower = tower
        if isinstance(tower, NetworkTextTower):
            self.network = tower.network

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Compute the features."""
        tower, attended = self.tower, attention_mask.bool()
        if isinstance(tower, NetworkTextTower):
            return tower.compute(input_ids, attended, with_tokens=False)[0]
        if isinstance(tower, OfflineSharedTextTower):
            pooled = tower.texts.vectors(input_ids, attended)[0]
            return functional.normalize(pooled - torch.from_numpy(tower.mean), dim=1)
        assert isinstance(tower, OfflineTextTower)
        return tower.vectors(input_ids, attended)[0]


def export_image_tower(tower: ImageTower, path: Path) -> ExportedTower:
    """Export a picture tower to a file.

    Raises:
        InputError: if it is of a kind that can't be exported.
        MissingExtraError: if the package `onnx` isn't installed.
    """
    inner = tower.tower if isinstance(tower, FrameTower) else tower
    preparation: CentreSquare | PicturePreparation
    if isinstance(inner, NetworkImageTower):
        preparation = inner.preparation
        picture = {"kind": "resize and crop", **preparation.to_json()}
        size = (preparation.height, preparation.width)
    elif isinstance(inner, OfflineImageTower | OfflineSharedImageTower):
        preparation = OfflineImageTower.preparation
        picture = {"kind": "centre square", "side": preparation.side}
        size = (preparation.side, preparation.side)
    else:
        raise cannot_export(inner)
    sample = torch.arange(2 * size[0] * size[1] * 3).reshape(2, *size, 3).remainder(256)
    write_trace(path, PictureNetwork(inner), {"pixels": sample.to(torch.uint8)}, {0: "n"})
    about = {
        "identity": dict(inner.identity()),
        "width": inner.width,
        "picture": picture,
        "picture_side": inner.picture_side,
    }
    return ExportedTower(about)


def export_text_tower(tower: TextTower, path: Path) -> ExportedTower:
    """Export a text tower to a file.

    Raises:
        InputError: if it is of a kind that can't be exported, or its tokenizer can't be.
        MissingExtraError: if the package `onnx` isn't installed.
    """
    about: dict[str, Any]
    if isinstance(tower, OfflineTextTower | OfflineSharedTextTower):
        texts = tower.texts if isinstance(tower, OfflineSharedTextTower) else tower
        tokenizer = texts.tokenizer_json
        known: dict[str, Any] = {"rule": "latin", "unknown": UNKNOWN_PIECE}
        about = {"longest": LONGEST, "fill": 0, "pad_to": 0, "known": known}
    elif isinstance(tower, NetworkTextTower):
        tokenizer = tokenizer_of(tower)
        marks = [int(mark) for mark in tower.tokenizer.all_special_ids]
        known = {"rule": "no mark", "marks": marks}
        fill = int(tower.tokenizer.pad_token_id or 0)
        about = {"longest": tower.longest, "fill": fill, "pad_to": tower.pad_to, "known": known}
    else:
        raise cannot_export(tower)
    length = max(7, tower.pad_to) if isinstance(tower, NetworkTextTower) else 7
    # One text is shorter: what is traced must read the mask.
    mask = torch.ones(2, length, dtype=torch.int64)
    mask[1, 4:] = 0
    inputs = {"input_ids": torch.arange(2 * length).reshape(2, length) % 5, "attention_mask": mask}
    write_trace(path, TextNetwork(tower), inputs, {0: "n", 1: "t"})
    about = {"identity": dict(tower.identity()), "width": tower.width, **about}
    return ExportedTower(about, tokenizer)


def tokenizer_of(tower: NetworkTextTower) -> str:
    """Write the tokenizer of a tower as the package `tokenizers` reads it.

    Raises:
        InputError: if it isn't of that package, or gives other word pieces by itself.
    """
    tokenizers = import_optional("tokenizers", extra="onnx", feature="the export to ONNX")
    backend = getattr(tower.tokenizer, "backend_tokenizer", None)
    if backend is not None:
        text: str = backend.to_str()
        own = tokenizers.Tokenizer.from_str(text)
        own.no_padding()
        own.enable_truncation(tower.longest)
        pieces = [encoding.ids for encoding in own.encode_batch(list(SAMPLE_TEXTS))]
        options = {"truncation": True, "max_length": tower.longest}
        if pieces == tower.tokenizer(list(SAMPLE_TEXTS), **options)["input_ids"]:
            return text
    raise InputError(
        f"the tokenizer of {tower.model.source} ({type(tower.tokenizer).__name__}) can't be "
        "written as one file: export the model without --with-encoder"
    )


def cannot_export(tower: object) -> InputError:
    """Make the error of a tower that can't be exported."""
    return InputError(
        f"the export to ONNX can't write an encoder of the class {type(tower).__name__}: it writes "
        "offline, offline-shared, clip, vit and bert; leave --with-encoder out"
    )


def write_trace(
    path: Path, network: nn.Module, inputs: Mapping[str, Tensor], sizes: Mapping[int, str]
) -> None:
    """Write a network as ONNX by running it once.

    Args:
        path: of the file.
        network: from the inputs, in order, to (n, d) features.
        inputs: name to a sample.
        sizes: dimension to the name of a size that varies, of all inputs.

    Raises:
        InputError: if torch can't.
    """
    import_optional("onnx", extra="onnx-export", feature="the export to ONNX")
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what the tracer takes for constant
            torch.onnx.export(
                network.eval(),
                tuple(inputs.values()),
                str(path),
                input_names=list(inputs),
                output_names=["features"],
                dynamic_axes={**{name: dict(sizes) for name in inputs}, "features": {0: "n"}},
                opset_version=OPSET,
                dynamo=False,  # the other exporter takes more packages, and can't follow MiniLM
            )
    except (RuntimeError, TypeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0][:200]
        raise InputError(
            f"torch {torch.__version__} can't write this encoder as ONNX ({reason}): take the "
            "versions that constraints.txt names, or leave --with-encoder out"
        ) from error
