"""The features of one modality of a batch, as heads receive them."""

from dataclasses import dataclass

from torch import Tensor

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

    def __len__(self) -> int:
        """Return n."""
        return len(self.pooled)
