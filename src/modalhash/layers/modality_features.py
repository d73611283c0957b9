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
    """

    pooled: Tensor
    tokens: Tensor | None = None
    token_mask: Tensor | None = None

    def __len__(self) -> int:
        """Return n."""
        return len(self.pooled)
