"""A transformer over one token a modality, and the hash head that reads one modality through it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from modalhash.errors import ArtifactError, SettingError
from modalhash.layers.hash_heads import HashHead, MlpHead, are_sizes
from modalhash.layers.modality_features import ModalityFeatures
from modalhash.layers.token_trunk import TransformerLayer

__all__ = ["FusionHead", "FusionTransformer"]


class FusionTransformer(nn.Module):
    """Transformer layers that a picture's and a text's tokens pass, alone or together.

    Args:
        width: of tokens.
        n_heads: heads of the attention; `width` must be a multiple.
        n_layers: transformer layers.
        dropout: share dropped in training of what each part adds, in [0, 1).

    Raises:
        SettingError: if a size isn't positive, dropout is out of range, or the width isn't a
            multiple of the heads.
    """

    def __init__(self, width: int, *, n_heads: int, n_layers: int, dropout: float = 0.0) -> None:
        super().__init__()
        if min(width, n_heads, n_layers) < 1 or width % n_heads or not 0 <= dropout < 1:
            raise SettingError(
                "a fusion transformer needs positive sizes, a width that is a multiple of its "
                f"heads and a dropout in [0, 1), got width {width}, n_heads {n_heads}, n_layers "
                f"{n_layers} and dropout {dropout}"
            )
        self.width, self.n_heads, self.n_layers, self.dropout = width, n_heads, n_layers, dropout
        self.layers = nn.ModuleList(
            [TransformerLayer(width, n_heads, dropout) for _ in range(n_layers)]
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Compute (n, t, w) tokens of length sqrt(w): those of an item see each other."""
        is_real = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        for layer in self.layers:
            tokens = layer(tokens, is_real)
        scaled: Tensor = normalize(tokens, dim=2) * self.width**0.5
        return scaled

    def spec(self) -> dict[str, Any]:
        """Describe the sizes."""
        return {
            "width": self.width,
            "n_heads": self.n_heads,
            "n_layers": self.n_layers,
            "dropout": self.dropout,
        }


class FusionHead(HashHead):
    """One modality's features as a single token through the transformer, then to relaxed codes.

    The partner has no place in it: what a token sees is itself.

    Args:
        in_width: d.
        transformer: in training, that of the other modality too; saved with each head.
        head: from tokens to codes.
    """

    def __init__(self, in_width: int, transformer: FusionTransformer, head: MlpHead) -> None:
        super().__init__()
        # No offset: it would outweigh centred features at first, and make all tokens alike.
        self.token_map = nn.Sequential(
            nn.Linear(in_width, transformer.width, bias=False), nn.LayerNorm(transformer.width)
        )
        self.in_width, self.transformer, self.head = in_width, transformer, head

    def forward(self, features: ModalityFeatures) -> Tensor:
        """Compute (n, b) relaxed codes."""
        alone: Tensor = self.transformer(self.token_map(features.pooled)[:, None])[:, 0]
        relaxed: Tensor = self.head(ModalityFeatures(alone))
        return relaxed

    @property
    def n_bits(self) -> int:
        """Number of bits b."""
        return self.head.n_bits

    def spec(self) -> dict[str, Any]:
        """Describe kind, sizes and both parts."""
        return {
            "kind": "fusion",
            "in_width": self.in_width,
            "transformer": self.transformer.spec(),
            "head": self.head.spec(),
        }


def fusion_head_from_spec(
    in_width: int, transformer: Mapping[str, Any], head: Mapping[str, Any]
) -> FusionHead:
    """Make a head of the shape described, with a transformer of its own; its weights are fresh.

    Raises:
        ArtifactError: if a description is of no known form.
    """
    match transformer, head:
        case (
            {
                "width": width,
                "n_heads": n_heads,
                "n_layers": n_layers,
                "dropout": float() | int() as dropout,
            },
            {
                "kind": "mlp",
                "widths": [first, _, *_] as widths,
                "dropout": float() | int() as head_dropout,
            },
        ) if (
            are_sizes(width, n_heads, n_layers, *widths)
            and width % n_heads == 0
            and first == width
            and 0 <= min(dropout, head_dropout) <= max(dropout, head_dropout) < 1
        ):
            fusion = FusionTransformer(width, n_heads=n_heads, n_layers=n_layers, dropout=dropout)
            return FusionHead(in_width, fusion, MlpHead(widths, dropout=head_dropout))
    raise ArtifactError(
        "the model describes a fusion head this version can't build: "
        f"{ {'transformer': dict(transformer), 'head': dict(head)} }"
    )
