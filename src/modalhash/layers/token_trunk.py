"""The trunk that class and content tokens share, and hash heads on top of it.

Frozen features with separate heads leave the content tokens no way to the hash code. A trunk gives
them one: what a loss on content tokens teaches it, the class vector and thereby the code feel too.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from modalhash.errors import ArtifactError, SettingError
from modalhash.layers.hash_heads import HashHead, are_sizes
from modalhash.layers.modality_features import ModalityFeatures

__all__ = ["TokenTrunk", "TrunkHead", "TrunkKind", "trunk_from_spec"]

FEED_FORWARD = 2
"""Width of a transformer layer's feed-forward part, in widths of the trunk."""


class TrunkKind(StrEnum):
    """How class and content tokens meet.

    - `none`: not at all; features pass unchanged.
    - `attention`: the class vector gathers from projected content tokens by one attention; content
      tokens are projected alone.
    - `transformer`: all tokens attend to each other in pre-norm transformer layers.
    """

    NONE = "none"
    ATTENTION = "attention"
    TRANSFORMER = "transformer"


class TokenTrunk(nn.Module):
    """From pooled features and content tokens of one modality to better ones of the same items.

    The class vector that comes out is the pooled vector plus a learned map of what was gathered,
    which starts at 0: an untrained trunk passes pooled features on as they are. Values at masked
    places reach nothing, and an item without tokens is an item like any other.

    Args:
        kind: how class and content tokens meet.
        pooled_width: d of pooled features.
        token_width: w of content tokens.
        width: of the tokens inside and of content tokens that come out.
        n_heads: heads of the attention; `width` must be a multiple.
        n_layers: transformer layers; `attention` has one attention whatever it says.
        dropout: share dropped in training of what each part adds, in [0, 1).

    Raises:
        SettingError: if a size isn't positive, dropout is out of range, or the width isn't a
            multiple of the heads.
    """

    def __init__(
        self,
        kind: TrunkKind,
        pooled_width: int,
        token_width: int,
        *,
        width: int = 128,
        n_heads: int = 4,
        n_layers: int = 1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        sizes = (pooled_width, token_width, width, n_heads, n_layers)
        if min(sizes) < 1 or not 0 <= dropout < 1 or width % n_heads:
            raise SettingError(
                "a token trunk needs positive sizes, a width that is a multiple of its heads and "
                f"a dropout in [0, 1), got pooled_width {pooled_width}, token_width {token_width}, "
                f"width {width}, n_heads {n_heads}, n_layers {n_layers} and dropout {dropout}"
            )
        self.kind, self.pooled_width, self.token_width = kind, pooled_width, token_width
        self.width, self.n_heads, self.n_layers, self.dropout = width, n_heads, n_layers, dropout
        if kind is TrunkKind.NONE:
            return
        self.class_map = nn.Sequential(nn.LayerNorm(pooled_width), nn.Linear(pooled_width, width))
        self.token_map = nn.Sequential(nn.Linear(token_width, width), nn.LayerNorm(width))
        self.layers = nn.ModuleList(
            [
                TransformerLayer(width, n_heads, dropout)
                for _ in range(n_layers if kind is TrunkKind.TRANSFORMER else 0)
            ]
        )
        if kind is TrunkKind.ATTENTION:
            self.gather = TokenAttention(width, n_heads)
        self.last_norm = nn.LayerNorm(width)
        self.back = nn.Linear(width, pooled_width)
        nn.init.zeros_(self.back.weight)
        nn.init.zeros_(self.back.bias)
        self.drop = nn.Dropout(dropout)

    @property
    def content_width(self) -> int:
        """Width of the content tokens that come out."""
        return self.token_width if self.kind is TrunkKind.NONE else self.width

    def forward(self, features: ModalityFeatures) -> ModalityFeatures:
        """Compute class vectors in place of pooled ones, and content tokens.

        Args:
            features: of n items, with tokens.

        Returns:
            pooled (n, d), tokens (n, t, `content_width`), 0 at masked places, and the mask as is.
        """
        mask = features.token_mask
        assert features.tokens is not None
        assert mask is not None
        tokens = features.tokens.masked_fill(~mask[:, :, None], 0.0)
        if self.kind is TrunkKind.NONE:
            return ModalityFeatures(features.pooled, tokens, mask)
        first, content = self.class_map(features.pooled)[:, None], self.token_map(tokens)
        if self.kind is TrunkKind.ATTENTION:
            gathered = self.gather(first, torch.cat([first, content], dim=1), with_class(mask))
        else:
            both, is_real = torch.cat([first, content], dim=1), with_class(mask)
            for layer in self.layers:
                both = layer(both, is_real)
            both = self.last_norm(both)
            gathered, content = both[:, :1], both[:, 1:]
        if self.kind is TrunkKind.ATTENTION:
            gathered = self.last_norm(gathered)
        class_vector = features.pooled + self.back(self.drop(gathered[:, 0]))
        return ModalityFeatures(class_vector, content.masked_fill(~mask[:, :, None], 0.0), mask)

    def spec(self) -> dict[str, Any]:
        """Describe, as JSON, all that `trunk_from_spec` needs to make a trunk of the same shape."""
        return {
            "kind": str(self.kind),
            "pooled_width": self.pooled_width,
            "token_width": self.token_width,
            "width": self.width,
            "n_heads": self.n_heads,
            "n_layers": self.n_layers,
            "dropout": self.dropout,
        }


class TokenAttention(nn.Module):
    """Multi-head attention of some tokens to others, of which some are padding.

    Args:
        width: of tokens, a multiple of the heads.
        n_heads: h.
    """

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.last = nn.Linear(width, width)

    def forward(self, asking: Tensor, tokens: Tensor, is_real: Tensor) -> Tensor:
        """Gather for each asking token what the others hold.

        Args:
            asking: (n, s, w).
            tokens: (n, t, w).
            is_real: (n, t) bool, at least one an item.

        Returns:
            (n, s, w).
        """
        query, key, value = (
            part(rows).unflatten(2, (self.n_heads, -1)).transpose(1, 2)  # (n, h, s or t, w / h)
            for part, rows in ((self.query, asking), (self.key, tokens), (self.value, tokens))
        )
        attended = scaled_dot_product_attention(query, key, value, is_real[:, None, None, :])
        gathered: Tensor = self.last(attended.transpose(1, 2).flatten(2))
        return gathered


class TransformerLayer(nn.Module):
    """One pre-norm transformer layer: attention and a feed-forward part, each added to its input.

    Args:
        width: of tokens.
        n_heads: heads of the attention.
        dropout: share of what each part adds, dropped in training.
    """

    def __init__(self, width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = TokenAttention(width, n_heads)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, FEED_FORWARD * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(FEED_FORWARD * width, width),
        )
        self.drop = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, is_real: Tensor) -> Tensor:
        """Compute (n, t, w) tokens; real ones depend on real ones only."""
        normed = self.attention_norm(tokens)
        tokens = tokens + self.drop(self.attention(normed, normed, is_real))
        added: Tensor = self.drop(self.feed_forward(self.forward_norm(tokens)))
        return tokens + added


class TrunkHead(HashHead):
    """A trunk and a hash head that reads the class vectors it gives.

    Args:
        trunk: of the modality.
        head: reads pooled features of the trunk's pooled width.
    """

    reads_tokens = True

    def __init__(self, trunk: TokenTrunk, head: HashHead) -> None:
        super().__init__()
        self.trunk, self.head = trunk, head

    def forward(self, features: ModalityFeatures) -> Tensor:
        """Compute (n, b) relaxed codes."""
        relaxed: Tensor = self.head(self.trunk(features))
        return relaxed

    @property
    def n_bits(self) -> int:
        """Number of bits b."""
        return self.head.n_bits

    def spec(self) -> dict[str, Any]:
        """Describe the kind and both parts."""
        return {"kind": "token", "trunk": self.trunk.spec(), "head": self.head.spec()}


def with_class(mask: Tensor) -> Tensor:
    """Extend the mask to (n, 1 + t) class and content tokens; the class token is always real."""
    return torch.cat([mask.new_ones(len(mask), 1), mask], dim=1)


def trunk_from_spec(spec: Mapping[str, Any]) -> TokenTrunk:
    """Make a trunk of the shape that `spec` describes; its weights are fresh.

    Raises:
        ArtifactError: if the description is of no known form.
    """
    match spec:
        case {
            "kind": str(kind),
            "pooled_width": pooled_width,
            "token_width": token_width,
            "width": width,
            "n_heads": n_heads,
            "n_layers": n_layers,
            "dropout": float() | int() as dropout,
        } if (
            kind in list(TrunkKind)
            and are_sizes(pooled_width, token_width, width, n_heads, n_layers)
            and width % n_heads == 0
            and 0 <= dropout < 1
        ):
            return TokenTrunk(
                TrunkKind(kind),
                pooled_width,
                token_width,
                width=width,
                n_heads=n_heads,
                n_layers=n_layers,
                dropout=dropout,
            )
    raise ArtifactError(f"the model describes a token trunk this version can't build: {dict(spec)}")
