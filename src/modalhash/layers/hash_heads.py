"""Hash heads: from the features of one modality to relaxed codes before any squashing.

A head describes itself as JSON (`spec`), so that a saved model is rebuilt without its method. In
evaluation mode an item's output depends on nothing but the item: heads take no batch statistics.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from modalhash.errors import SettingError
from modalhash.layers.modality_features import ModalityFeatures

__all__ = ["GeluHead", "HashHead", "LinearHead", "MlpHead", "are_sizes", "hash_head"]


class HashHead(nn.Module, ABC):
    """From features to relaxed codes; the sign of its output is the code."""

    reads_tokens: bool = False
    """Whether it reads content tokens besides pooled features."""

    @abstractmethod
    def forward(self, features: ModalityFeatures) -> Tensor:
        """Compute (n, b) relaxed codes, unbounded; methods squash them as their papers say."""

    @property
    @abstractmethod
    def n_bits(self) -> int:
        """Number of bits b."""

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """Describe, as JSON, all that `build_head` needs to make a head of the same shape."""


class LinearHead(HashHead):
    """One affine map, for closed-form methods.

    Args:
        in_width: d.
        n_bits: b.
    """

    def __init__(self, in_width: int, n_bits: int) -> None:
        super().__init__()
        self.map = nn.Linear(in_width, n_bits)

    def forward(self, features: ModalityFeatures) -> Tensor:
        """Compute (n, b) relaxed codes."""
        relaxed: Tensor = self.map(features.pooled)
        return relaxed

    @property
    def n_bits(self) -> int:
        """Number of bits b."""
        return self.map.out_features

    def spec(self) -> dict[str, Any]:
        """Describe kind and sizes."""
        return {"kind": "linear", "in_width": self.map.in_features, "n_bits": self.n_bits}


class LayeredHead(HashHead):
    """What heads that are a row of layers on pooled features have in common."""

    widths: tuple[int, ...]
    layers: nn.Sequential

    def forward(self, features: ModalityFeatures) -> Tensor:
        """Compute (n, b) relaxed codes."""
        relaxed: Tensor = self.layers(features.pooled)
        return relaxed

    @property
    def n_bits(self) -> int:
        """Number of bits b."""
        return self.widths[-1]


class MlpHead(LayeredHead):
    """Affine maps with ReLU and dropout between them.

    Args:
        widths: input width, hidden widths, number of bits; at least two.
        dropout: share of hidden units dropped in training, in [0, 1).

    Raises:
        SettingError: if there are fewer than two widths, one isn't positive, or dropout is out of
            range.
    """

    def __init__(self, widths: Sequence[int], *, dropout: float = 0.0) -> None:
        super().__init__()
        if len(widths) < 2 or min(widths) < 1 or not 0 <= dropout < 1:
            raise SettingError(
                f"a hash head needs at least two positive widths and a dropout in [0, 1), "
                f"got widths {tuple(widths)} and dropout {dropout}"
            )
        self.widths, self.dropout = tuple(widths), dropout
        parts: list[nn.Module] = []
        for before, after in pairwise(widths[:-1]):
            parts += [nn.Linear(before, after), nn.ReLU()]
            if dropout:
                parts.append(nn.Dropout(dropout))
        self.layers = nn.Sequential(*parts, nn.Linear(widths[-2], widths[-1]))

    def spec(self) -> dict[str, Any]:
        """Describe kind, widths and dropout."""
        return {"kind": "mlp", "widths": list(self.widths), "dropout": self.dropout}


class GeluHead(LayeredHead):
    """An affine map, layer normalisation and GELU, and an affine map to codes.

    Args:
        widths: input width, hidden width, number of bits.
        dropout: share of hidden units dropped in training, in [0, 1).
        input_dropout: share of features dropped in training, in [0, 1).

    Raises:
        SettingError: if there aren't three positive widths, or a dropout is out of range.
    """

    def __init__(
        self, widths: Sequence[int], *, dropout: float = 0.0, input_dropout: float = 0.0
    ) -> None:
        super().__init__()
        is_share = all(0 <= share < 1 for share in (dropout, input_dropout))
        if len(widths) != 3 or min(widths) < 1 or not is_share:
            raise SettingError(
                "a GELU hash head needs three positive widths and dropouts in [0, 1), got widths "
                f"{tuple(widths)}, dropout {dropout} and input_dropout {input_dropout}"
            )
        self.widths, self.dropout, self.input_dropout = tuple(widths), dropout, input_dropout
        self.layers = nn.Sequential(
            nn.Dropout(input_dropout),
            nn.Linear(widths[0], widths[1]),
            nn.LayerNorm(widths[1]),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(widths[1], widths[2]),
        )

    def spec(self) -> dict[str, Any]:
        """Describe kind, widths and dropouts."""
        return {
            "kind": "gelu",
            "widths": list(self.widths),
            "dropout": self.dropout,
            "input_dropout": self.input_dropout,
        }


def hash_head(width: int, hidden_width: int, n_bits: int) -> MlpHead:
    """Make a head with one hidden layer, or none where its width is 0."""
    return MlpHead((width, hidden_width, n_bits) if hidden_width else (width, n_bits))


def are_sizes(*values: object) -> bool:
    """Tell whether all values are positive whole numbers."""
    return all(isinstance(value, int) and value > 0 for value in values)
