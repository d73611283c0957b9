"""CLIP-family towers through `transformers`: CLIP, SigLIP and Chinese-CLIP by one interface.

Pooled features are what the model compares across modalities: its projected class or end vector,
not normalised. Content tokens go through the same final norm and projection, so that both live in
one space:

==============  =============================  ===============================================
model type      image tokens                   text tokens
==============  =============================  ===============================================
`clip`          patches, norm, projection      between start and end, norm, projection
`chinese_clip`  patches, norm, projection      between [CLS] and [SEP], projection
`siglip`        patches, norm (its attention   before the end, norm, projection
                pooling has no projection)
==============  =============================  ===============================================

Only safetensors weights are read. A model comes from a local folder or by its hub name; then
`transformers` looks into its cache first, and `HF_HUB_OFFLINE=1` keeps it there.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from modalhash.encoders.base import (
    Identity,
    ImageTower,
    TextTower,
    TowerOutput,
    require_texts,
)
from modalhash.encoders.devices import torch_device
from modalhash.encoders.text_batches import encode_by_length, positions_at_once
from modalhash.errors import ModelUnavailableError, UnknownNameError
from modalhash.extras import import_optional

__all__ = ["DEFAULT_MODEL", "ClipImageTower", "ClipTextTower", "PicturePreparation"]

logger = logging.getLogger(__name__)

DEFAULT_MODEL = "openai/clip-vit-base-patch32"
MODEL_TYPES = ("chinese_clip", "clip", "siglip")
HUGE_LENGTH = 100_000
"""Tokenizers without a length limit state an enormous one."""


@dataclass(frozen=True)
class PicturePreparation:
    """How a model wants its pictures, as its `preprocessor_config.json` says.

    Attributes:
        height: of the model's input.
        width: of the model's input.
        shorter_side: bring the shorter side to this many pixels, then cut out the centre;
            None squeezes the whole picture to height x width.
        filter: number of Pillow's resampling filter.
        scale: what pixel values are multiplied with.
        mean: subtracted after that, one a channel.
        deviation: what the rest is divided by, one a channel.
    """

    height: int
    width: int
    shorter_side: int | None
    filter: int
    scale: float
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "PicturePreparation":
        """Read a preprocessor configuration.

        Raises:
            KeyError, TypeError, ValueError: if it isn't of a kind this class can follow.
        """
        size: Any = config["size"]
        crop: Any = config.get("crop_size")
        if isinstance(size, int):
            size = {"shortest_edge": size}
        if isinstance(crop, int):
            crop = {"height": crop, "width": crop}
        shorter_side = size.get("shortest_edge") if config.get("do_resize", True) else None
        has_crop = bool(config.get("do_center_crop", False)) and crop is not None
        if shorter_side is not None and not has_crop:
            raise ValueError("a shortest_edge without a centre crop leaves sizes open")
        target: Any = crop if has_crop else size
        normalises = config.get("do_normalize", True)
        return cls(
            height=int(target["height"]),
            width=int(target["width"]),
            shorter_side=None if shorter_side is None else int(shorter_side),
            filter=int(config.get("resample", Image.Resampling.BICUBIC)),
            scale=float(config.get("rescale_factor", 1 / 255)),
            mean=tuple(map(float, config["image_mean"])) if normalises else (0.0, 0.0, 0.0),
            deviation=tuple(map(float, config["image_std"])) if normalises else (1.0, 1.0, 1.0),
        )

    def __call__(self, picture: Image.Image) -> NDArray[np.uint8]:
        """Resize and cut a picture to (height, width, 3) uint8; scaling is left to the device."""
        picture = picture.convert("RGB")
        if self.shorter_side is None:
            resized = (self.width, self.height)
        else:
            shorter, longer = sorted(picture.size)
            longer = int(self.shorter_side * longer / shorter)
            is_wide = picture.width > picture.height
            resized = (longer, self.shorter_side) if is_wide else (self.shorter_side, longer)
        if picture.size != resized:
            picture = picture.resize(resized, Image.Resampling(self.filter))
        left, top = (resized[0] - self.width) // 2, (resized[1] - self.height) // 2
        return np.asarray(picture.crop((left, top, left + self.width, top + self.height)))


@dataclass(frozen=True)
class LoadedModel:
    """A model of the family and what it was loaded from.

    Attributes:
        network: the whole model, in evaluation mode, float32.
        kind: its model type, one of `MODEL_TYPES`.
        source: the hub name or folder.
    """

    network: Any
    kind: str
    source: str


def load_model(source: str) -> LoadedModel:
    """Load a model of the CLIP family from a folder or by its hub name.

    Raises:
        MissingExtraError: if `transformers` isn't installed.
        ModelUnavailableError: if it can't be had.
        UnknownNameError: if it is a model of another family.
    """
    transformers = import_optional("transformers", extra="clip", feature="the clip encoder")
    config = from_source(transformers.AutoConfig, source)
    if config.model_type not in MODEL_TYPES:
        raise UnknownNameError(f"model type of {source}", config.model_type, MODEL_TYPES)
    network = from_source(transformers.AutoModel, source, use_safetensors=True)
    return LoadedModel(network.float().eval(), config.model_type, source)


def from_source(loader: Any, source: str, **options: Any) -> Any:
    """Call a loader's `from_pretrained` and put any failure into one clear line.

    A hub name is looked up in the local cache first: what is there loads at once, with or without
    a network, and doesn't change under the user's feet.

    Raises:
        ModelUnavailableError: naming the source and the way out.
    """
    folder = Path(source).expanduser()
    is_folder = folder.is_dir()
    if not is_folder and (source.startswith((".", "/", "~")) or source.count("/") != 1):
        raise ModelUnavailableError(f"there is no model folder {source}: check the path")
    try:
        with no_progress_bars():
            if is_folder:
                return loader.from_pretrained(str(folder), **options)
            with suppress(OSError, ValueError):
                return loader.from_pretrained(source, local_files_only=True, **options)
            logger.info("looking for %s on the model hub", source)
            return loader.from_pretrained(source, **options)
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        way_out = (
            "it must hold config.json, model.safetensors, a tokenizer and preprocessor_config.json,"
            " as `save_pretrained` writes them"
            if is_folder
            else "run once with network access, or give a local folder: clip:FOLDER"
        )
        raise ModelUnavailableError(
            f"the model {source} can't be loaded ({reason}): {way_out}"
        ) from error


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keep `transformers` from drawing its own bars for a while."""
    bars = import_optional("transformers.utils.logging", extra="clip", feature="the clip encoder")
    was_enabled = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            bars.enable_progress_bar()


def hash_of_weights(*modules: nn.Module) -> str:
    """Return a SHA-256 over the names, shapes and values of all weights of some modules."""
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            if name.endswith("position_ids"):  # a count, which some versions don't keep
                continue
            digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
            digest.update(np.ascontiguousarray(tensor.numpy()).data)
    return digest.hexdigest()


class ClipImageTower(ImageTower):
    """The image side of a CLIP-family model.

    Args:
        source: hub name or local folder.
        device: where it computes, as torch names it.

    Raises:
        MissingExtraError: if `transformers` isn't installed.
        ModelUnavailableError: if the model can't be had; with the way out.
        UnknownNameError: if it is a model of another family.
        SettingError: if the device isn't there.
    """

    item_bytes = 32 << 20

    def __init__(self, source: str = DEFAULT_MODEL, device: str = "cpu") -> None:
        self._device = torch_device(device)
        self.device = device
        model = load_model(source)
        network = model.network
        self._kind = model.kind
        self._vision: Any = network.vision_model
        self._project: nn.Module = (
            nn.Identity() if model.kind == "siglip" else network.visual_projection
        )
        self.preparation = load_preparation(source)
        self._weights = hash_of_weights(self._vision, self._project)
        hidden = int(network.config.vision_config.hidden_size)
        self.width = hidden if model.kind == "siglip" else int(network.config.projection_dim)
        self.token_width = self.width
        self._vision.to(self._device)
        self._project.to(self._device)

    def identity(self) -> Identity:
        """Return the kind of model, its weights' hash and the preparation of pictures."""
        preparation = asdict(self.preparation)
        return {
            "name": self._kind,
            "version": 1,
            "weights": self._weights,
            "picture": {
                name: list(value) if isinstance(value, tuple) else value
                for name, value in preparation.items()
            },
            "width": self.width,
        }

    def prepare(self, picture: Image.Image) -> NDArray[np.uint8]:
        """Return a picture as (height, width, 3) uint8, cut as the model wants it."""
        return self.preparation(picture)

    @torch.inference_mode()
    def encode(self, prepared: Sequence[NDArray[Any]], *, with_tokens: bool = False) -> TowerOutput:
        """Encode prepared pictures; tokens are the patches, row by row."""
        pixels = torch.from_numpy(np.stack(prepared)).to(self._device).float()
        mean = torch.tensor(self.preparation.mean, device=self._device)
        deviation = torch.tensor(self.preparation.deviation, device=self._device)
        pixels = (pixels * self.preparation.scale - mean) / deviation
        output = self._vision(pixel_values=pixels.permute(0, 3, 1, 2))
        pooled = self._project(output.pooler_output).cpu().numpy()
        if not with_tokens:
            return TowerOutput(pooled)
        states = output.last_hidden_state
        if self._kind != "siglip":  # there the norm is applied already and no class token leads
            states = self._vision.post_layernorm(states[:, 1:])
        tokens = self._project(states).cpu().numpy()
        return TowerOutput(pooled, tokens, np.ones(tokens.shape[:2], np.bool_))


def load_preparation(source: str) -> PicturePreparation:
    """Read how a model wants its pictures.

    Raises:
        ModelUnavailableError: if its configuration can't be had or isn't understood.
    """
    transformers = import_optional("transformers", extra="clip", feature="the clip encoder")
    processor = from_source(transformers.AutoImageProcessor, source)
    try:
        return PicturePreparation.from_config(processor.to_dict())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelUnavailableError(
            f"preprocessor_config.json of {source} can't be followed ({error!r}): expected size, "
            "image_mean and image_std as CLIP, SigLIP and Chinese-CLIP have them"
        ) from error


class ClipTextTower(TextTower):
    """The text side of a CLIP-family model; what is longer than the model allows is cut off.

    Args:
        source: hub name or local folder.
        device: where it computes, as torch names it.

    Raises:
        MissingExtraError: if `transformers` isn't installed.
        ModelUnavailableError: if the model can't be had; with the way out.
        UnknownNameError: if it is a model of another family.
        SettingError: if the device isn't there.
    """

    item_bytes = 8 << 20

    def __init__(self, source: str = DEFAULT_MODEL, device: str = "cpu") -> None:
        transformers = import_optional("transformers", extra="clip", feature="the clip encoder")
        self._device = torch_device(device)
        self.device = device
        model = load_model(source)
        network = model.network
        self._kind = model.kind
        self._text: Any = network.text_model
        is_siglip = model.kind == "siglip"
        self._project: nn.Module = self._head() if is_siglip else network.text_projection
        self._tokenizer = from_source(transformers.AutoTokenizer, source)
        positions = int(network.config.text_config.max_position_embeddings)
        stated = int(self._tokenizer.model_max_length)
        self._longest = min(positions, stated if stated < HUGE_LENGTH else positions)
        self._tokenized(["a"])  # sets the tokenizer's truncation before threads share it
        self._weights = hash_of_weights(self._text, *([] if is_siglip else [self._project]))
        self.width = int(
            network.config.text_config.projection_size
            if is_siglip
            else network.config.projection_dim
        )
        self.token_width = self.width
        self._text.to(self._device)
        self._project.to(self._device)

    def _head(self) -> nn.Module:
        """Return SigLIP's projection, which lives inside its text model."""
        inner = getattr(self._text, "text_model", self._text)
        head: nn.Module = inner.head
        return head

    def identity(self) -> Identity:
        """Return the kind of model, its weights' and tokenizer's hashes and the length limit."""
        tokenizer = json.dumps(
            [sorted(self._tokenizer.get_vocab().items()), type(self._tokenizer).__name__]
        )
        return {
            "name": self._kind,
            "version": 1,
            "weights": self._weights,
            "tokenizer": hashlib.sha256(tokenizer.encode()).hexdigest(),
            "longest": self._longest,
            "width": self.width,
        }

    def encode(self, texts: Sequence[str], *, with_tokens: bool = False) -> TowerOutput:
        """Encode texts, shorter ones first, and return them in the order given."""
        require_texts(texts)
        encodings = self._tokenized(texts)
        return encode_by_length(
            encodings["input_ids"],
            [[not is_special for is_special in row] for row in encodings["special_tokens_mask"]],
            self._compute,
            limit=positions_at_once(self._device.type),
            fill=int(self._tokenizer.pad_token_id or 0),
            pad_to=self._longest if self._kind == "siglip" else 0,
            with_tokens=with_tokens,
        )

    def _tokenized(self, texts: Sequence[str]) -> Mapping[str, Any]:
        """Return word pieces and which of them are marks, unpadded, cut to the longest length."""
        encodings: Mapping[str, Any] = self._tokenizer(
            list(texts),
            truncation=True,
            max_length=self._longest,
            return_attention_mask=False,
            return_special_tokens_mask=True,
        )
        return encodings

    @torch.inference_mode()
    def _compute(
        self, pieces: NDArray[np.int64], mask: NDArray[np.bool_], *, with_tokens: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return the vectors of padded texts and their states; see `TextComputation`."""
        attended = torch.from_numpy(mask).to(self._device)
        output = self._text(
            input_ids=torch.from_numpy(pieces).to(self._device),
            # SigLIP was trained to attend to its padding.
            attention_mask=None if self._kind == "siglip" else attended.long(),
        )
        states = output.last_hidden_state
        if self._kind == "siglip":
            pooled = output.pooler_output
        elif self._kind == "chinese_clip":
            pooled = self._project(states[:, 0])
        else:
            pooled = self._project(output.pooler_output)
        tokens = self._project(states).cpu().numpy() if with_tokens else None
        return pooled.cpu().numpy(), tokens
