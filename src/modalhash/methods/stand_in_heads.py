"""Heads that stand in for a method's own while it is hugged."""

from typing import Any

from torch import Tensor

from modalhash.layers import HashHead, ModalityFeatures, TrunkHead

__all__ = ["ConstantHead", "PrecomputedTrunkHead"]


class PrecomputedTrunkHead(HashHead):
    """A head on a trunk that has seen this batch already: it reads what the trunk gave.

    Args:
        head: on its trunk.
        features: of the batch.
        seen: what the trunk made of them.
    """

    reads_tokens = True

    def __init__(self, head: HashHead, features: ModalityFeatures, seen: ModalityFeatures) -> None:
        super().__init__()
        self.head, self.features, self.seen = head, features, seen
        self.training = head.training

    def forward(self, features: ModalityFeatures) -> Tensor:
        """Compute (n, b) relaxed codes; features of other items go through the trunk."""
        assert isinstance(self.head, TrunkHead)
        if features is not self.features:
            return self.head.forward(features)
        relaxed: Tensor = self.head.head(self.seen)
        return relaxed

    @property
    def n_bits(self) -> int:
        """Number of bits b."""
        return self.head.n_bits

    def spec(self) -> dict[str, Any]:
        """Describe the head."""
        return self.head.spec()


class ConstantHead(HashHead):
    """A stand-in for a head that gives the same vectors whatever it reads.

    Args:
        vectors: (n, b).
    """

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.vectors = vectors

    def forward(self, features: ModalityFeatures) -> Tensor:
        """Pass on the vectors."""
        return self.vectors

    @property
    def n_bits(self) -> int:
        """Width of the vectors."""
        return self.vectors.shape[1]

    def spec(self) -> dict[str, Any]:
        """Name the kind; no model is made of it."""
        return {"kind": "given"}
