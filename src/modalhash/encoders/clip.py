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

Only safetensors weights are read.
"""

from typing import Any

from torch import Tensor, nn

from modalhash.encoders.network_towers import NetworkImageTower, NetworkTextTower
from modalhash.encoders.picture_preparation import load_preparation
from modalhash.encoders.transformer_models import (
    LoadedModel,
    from_source,
    load_model,
    longest_input,
    transformers_package,
)

__all__ = ["DEFAULT_MODEL", "ClipImageTower", "ClipTextTower", "load_clip"]

KIND = "clip"
DEFAULT_MODEL = "openai/clip-vit-base-patch32"
MODEL_TYPES = ("chinese_clip", "clip", "siglip")
TUNING_RATE = 0.002
"""Heads at 1e-3 and CLIP at 2e-6, as MITH tunes it."""


def load_clip(source: str) -> LoadedModel:
    """Load a model of the CLIP family from a folder or by its hub name.

    Raises:
        MissingExtraError: if `transformers` isn't installed.
        ModelUnavailableError: if it can't be had.
        UnknownNameError: if it is a model of another family.
    """
    return load_model(source, kind=KIND, model_types=MODEL_TYPES)


class ClipImageTower(NetworkImageTower):
    """The image side of a CLIP-family model.

    Args:
        source: hub name or local folder.
        device: where it computes, as torch names it.
        model: what `load_clip` gave for the source; loaded if None.

    Raises:
        MissingExtraError: if `transformers` isn't installed.
        ModelUnavailableError: if the model can't be had; with the way out.
        UnknownNameError: if it is a model of another family.
        SettingError: if the device isn't there.
    """

    kind = KIND
    tuning_rate = TUNING_RATE

    def __init__(
        self, source: str = DEFAULT_MODEL, device: str = "cpu", model: LoadedModel | None = None
    ) -> None:
        super().__init__(model or load_clip(source), load_preparation(source, kind=KIND), device)
        network = self.model.network
        is_siglip = self.model.kind == "siglip"
        self._vision: Any = network.vision_model
        self._project: nn.Module = nn.Identity() if is_siglip else network.visual_projection
        self.network = nn.ModuleDict({"model": self._vision, "projection": self._project})
        self.hash_weights()
        hidden = int(network.config.vision_config.hidden_size)
        self.width = hidden if is_siglip else int(network.config.projection_dim)
        self.token_width = self.width
        self.network.to(self._device)

    def compute(self, pixels: Tensor, *, with_tokens: bool) -> tuple[Tensor, Tensor | None]:
        """Compute the (n, d) pooled features of (n, 3, h, w) pixels and their (n, t, w) patches."""
        output = self._vision(pixel_values=pixels)
        pooled = self._project(output.pooler_output)
        if not with_tokens:
            return pooled, None
        states = output.last_hidden_state
        if self.model.kind != "siglip":  # there the norm is applied and no class token leads
            states = self._vision.post_layernorm(states[:, 1:])
        return pooled, self._project(states)


class ClipTextTower(NetworkTextTower):
    """The text side of a CLIP-family model; what is longer than the model allows is cut off.

    Args:
        source: hub name or local folder.
        device: where it computes, as torch names it.
        model: what `load_clip` gave for the source; loaded if None.

    Raises:
        MissingExtraError: if `transformers` isn't installed.
        ModelUnavailableError: if the model can't be had; with the way out.
        UnknownNameError: if it is a model of another family.
        SettingError: if the device isn't there.
    """

    kind = KIND
    tuning_rate = TUNING_RATE

    def __init__(
        self, source: str = DEFAULT_MODEL, device: str = "cpu", model: LoadedModel | None = None
    ) -> None:
        model = model or load_clip(source)
        config = model.network.config
        tokenizer = from_source(transformers_package(KIND).AutoTokenizer, source, kind=KIND)
        longest = longest_input(tokenizer, int(config.text_config.max_position_embeddings))
        super().__init__(model, tokenizer, longest, device)
        is_siglip = model.kind == "siglip"
        self._text: Any = model.network.text_model
        self._project: nn.Module = self._head() if is_siglip else model.network.text_projection
        # SigLIP's projection lives inside its text model.
        parts = {"model": self._text} | ({} if is_siglip else {"projection": self._project})
        self.network = nn.ModuleDict(parts)
        self.hash_weights()
        self.pad_to = longest if is_siglip else 0
        self.width = int(config.text_config.projection_size if is_siglip else config.projection_dim)
        self.token_width = self.width
        self.network.to(self._device)

    def _head(self) -> nn.Module:
        inner = getattr(self._text, "text_model", self._text)
        head: nn.Module = inner.head
        return head

    def compute(
        self, pieces: Tensor, attended: Tensor, *, with_tokens: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Compute pooled features (n, d) and the states (n, t, w) of every position."""
        # SigLIP was trained to attend to its padding.
        mask = None if self.model.kind == "siglip" else attended.long()
        output = self._text(input_ids=pieces, attention_mask=mask)
        states = output.last_hidden_state
        if self.model.kind == "siglip":
            pooled = output.pooler_output
        elif self.model.kind == "chinese_clip":
            pooled = self._project(states[:, 0])
        else:
            pooled = self._project(output.pooler_output)
        return pooled, self._project(states) if with_tokens else None
