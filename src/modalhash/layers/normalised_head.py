"""A hash head with batch normalisation, whose last hidden layer is a feature that losses read."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from modalhash.errors import SettingError
from modalhash.layers.graph_attention import ResidualGraphAttention
from modalhash.layers.hash_heads import HashHead, MlpHead
from modalhash.layers.modality_features import ModalityFeatures

__all__ = ["NormalisedHead", "hidden_head"]

LEAK = 0.2
"""Slope of leaky ReLUs below 0."""


class NormalisedHead(HashHead):
    """Affine maps with batch normalisation and leaky ReLU, whose last hidden layer is a feature.

    In evaluation mode the normalisation uses the means and variances of training. Graph attention
    may follow the feature; its edges exist in training only, and in evaluation each item attends
    to itself alone.

    Args:
        widths: input width, hidden widths, number of bits; at least three.
        input_dropout: share of the input dropped in training, in [0, 1).
        dropout: share of each hidden layer dropped in training.
        n_attention_heads: heads of the graph attention after the feature; 0 for none.
        attention_dropout: share of the attention's inputs and weights dropped in training.

    Raises:
        SettingError: if there are fewer than three widths, one isn't positive, a share is out of
            range, or the feature's width isn't a multiple of the attention heads.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        input_dropout: float = 0.0,
        dropout: float = 0.0,
        n_attention_heads: int = 0,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        shares = (input_dropout, dropout, attention_dropout)
        if len(widths) < 3 or min(widths) < 1 or not all(0 <= share < 1 for share in shares):
            raise SettingError(
                "a normalised hash head needs at least three positive widths and dropouts in "
                f"[0, 1), got widths {tuple(widths)} and dropouts {shares}"
            )
        self.widths, self.n_attention_heads = tuple(widths), n_attention_heads
        parts: list[nn.Module] = [nn.Dropout(input_dropout)]
        for before, after in pairwise(widths[:-1]):
            parts += [nn.Linear(before, after), nn.BatchNorm1d(after)]
            parts += [nn.LeakyReLU(LEAK), nn.Dropout(dropout)]
        self.trunk = nn.Sequential(*parts)
        self.attention: ResidualGraphAttention | None = None
        if n_attention_heads:
            self.attention = ResidualGraphAttention(
                widths[-2], n_attention_heads, dropout=attention_dropout
            )
        self.last = nn.Linear(widths[-2], widths[-1])

    def forward(self, features: ModalityFeatures) -> Tensor:
        """Compute (n, b) relaxed codes."""
        relaxed: Tensor = self.last(self.attended(self.trunk(features.pooled)))
        return relaxed

    def attended(self, hidden: Tensor, adjacency: Tensor | None = None) -> Tensor:
        """Compute the (n, d) feature that the last map reads, from the trunk's output.

        Args:
            hidden: (n, d).
            adjacency: (n, n) bool edges in training; None lets each item attend to itself alone.
        """
        return hidden if self.attention is None else self.attention(hidden, adjacency)

    @property
    def n_bits(self) -> int:
        """Number of bits b."""
        return self.widths[-1]

    def spec(self) -> dict[str, Any]:
        """Describe kind, widths and attention heads; dropout acts in training only."""
        return {
            "kind": "normalised",
            "widths": list(self.widths),
            "n_attention_heads": self.n_attention_heads,
        }


def hidden_head(
    widths: Sequence[int], *, dropout: float = 0.0, is_normalised: bool = False
) -> HashHead:
    """Make a head with hidden layers: of ReLUs, or batch-normalised with leaky ReLUs.

    Args:
        widths: input width, hidden widths, number of bits; at least three.
        dropout: share of hidden units dropped in training, in [0, 1).
        is_normalised: which kind.

    Raises:
        SettingError: as both kinds say.
    """
    if is_normalised:
        return NormalisedHead(widths, dropout=dropout)
    return MlpHead(widths, dropout=dropout)
