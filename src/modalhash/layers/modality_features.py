"""The features of one modality of a batch, as heads receive them."""

from dataclasses import dataclass, replace

from torch import Tensor
from torch.nn.functional import dropout

__all__ = ["ModalityFeatures"]


@dataclass(frozen=True)
class ModalityFeatures:
    """Pooled features and, where a method asks for them, content tokens.

    Attributes:
        pooled: (n, d) float32.
        tokens: (n, t, w) float32, or None.
        token_mask: (n, t) bool, True where a token is real; None exactly where `tokens` is.
        untuned: (n, d) float32 pooled features of the backbone as it was before tuning, where it is
            tuned; else None.
    """

    pooled: Tensor
    tokens: Tensor | None = None
    token_mask: Tensor | None = None
    untuned: Tensor | None = None

    @property
    def reference(self) -> Tensor:
        """(n, d) pooled features to make similarity targets of: they stay what they were.

        A target made of features that learn could be met by making all features alike.
        """
        return self.pooled if self.untuned is None else self.untuned

    def dropped(self, share: float, *, is_training: bool) -> "ModalityFeatures":
        """Drop a share of the pooled values of features, if in training.

        Which are dropped is drawn anew at each call; those that stay grow by 1 / (1 - share).

        Args:
            share: in [0, 1).
            is_training: False gives the features as they are, as encoding sees them.
        """
        if not share or not is_training:
            return self
        return replace(self, pooled=dropout(self.pooled, share))

    def rows(self, chosen: Tensor | slice) -> "ModalityFeatures":
        """Select some items, by a mask (n,) bool, places (k,) int64 or a slice."""

        def select(part: Tensor | None) -> Tensor | None:
            return None if part is None else part[chosen]

        return ModalityFeatures(
            self.pooled[chosen], select(self.tokens), select(self.token_mask), select(self.untuned)
        )

    def row(self, place: int) -> "ModalityFeatures":
        """Select one item, as a batch of one."""
        return self.rows(slice(place, place + 1))

    def __len__(self) -> int:
        """Count the items, n."""
        return len(self.pooled)
