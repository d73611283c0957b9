"""ViT and DeiT picture towers through `transformers`.

Pooled features are the class token of the last layer after the last norm; content tokens are the
patches after the same norm, row by row. DeiT's distillation token is neither. The tanh pooler that
some models carry isn't used.
"""

from typing import Any, Final

from torch import Tensor, nn

from modalhash.encoders.network_towers import NetworkImageTower
from modalhash.encoders.picture_preparation import load_preparation
from modalhash.encoders.transformer_models import load_model

__all__ = ["DEFAULT_MODEL", "VitImageTower"]

KIND = "vit"
DEFAULT_MODEL = "google/vit-base-patch16-224-in21k"
N_AGGREGATES: Final = {"vit": 1, "deit": 2}
"""Tokens before the first patch: the class token, and DeiT's distillation token."""


class VitImageTower(NetworkImageTower):
    """A ViT or DeiT.

    Args:
        source: hub name or local folder.
        device: where it computes, as torch names it.

    Raises:
        MissingExtraError: if `transformers` isn't installed.
        ModelUnavailableError: if the model can't be had; with the way out.
        UnknownNameError: if it is a model of another family.
        SettingError: if the device isn't there.
    """

    kind = KIND
    tuning_rate = 0.01
    """Heads at 1e-3 and the backbone at 1e-5."""

    def __init__(self, source: str = DEFAULT_MODEL, device: str = "cpu") -> None:
        no_pooler = {kind: {"add_pooling_layer": False} for kind in N_AGGREGATES}
        model = load_model(
            source, kind=KIND, model_types=tuple(sorted(N_AGGREGATES)), options=no_pooler
        )
        super().__init__(model, load_preparation(source, kind=KIND), device)
        self._model: Any = model.network
        self.network = nn.ModuleDict({"model": self._model})
        self.hash_weights()
        self.width = self.token_width = int(model.network.config.hidden_size)
        self.network.to(self._device)

    def compute(self, pixels: Tensor, *, with_tokens: bool) -> tuple[Tensor, Tensor | None]:
        """Compute the (n, d) pooled features of (n, 3, h, w) pixels and their (n, t, w) patches."""
        states = self._model(pixel_values=pixels).last_hidden_state  # after the last norm
        first_patch = N_AGGREGATES[self.model.kind]
        return states[:, 0], states[:, first_patch:] if with_tokens else None
