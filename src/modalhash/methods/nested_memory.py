"""What nested codes keep of training items while they learn: targets, and predictions for them."""

import torch
from torch import Tensor, nn

from modalhash.methods.pair_agreement import PairAgreement, measure_agreement

__all__ = ["BLOCK", "SMALLEST_BATCH", "Memory"]

BLOCK = 2048
"""Pairs read at a time before training."""
SMALLEST_BATCH = 2
"""Items that a step compares, at least."""


class Memory(nn.Module):
    """What regressions found for the training items; kept in checkpoints, never in the model.

    Args:
        n_pairs: N.
        n_items: n.
        width: k of the common space.
    """

    owners: Tensor
    targets: Tensor
    points: Tensor
    texts: Tensor
    is_trusted: Tensor

    def __init__(self, n_pairs: int, n_items: int, width: int) -> None:
        super().__init__()
        self.register_buffer("owners", torch.zeros(n_pairs, dtype=torch.int64))
        self.register_buffer("targets", torch.zeros(n_items, width))
        self.register_buffer("points", torch.zeros(3, n_items, width))
        self.register_buffer("texts", torch.zeros(n_pairs, width))
        self.register_buffer("is_trusted", torch.ones(n_items, dtype=torch.bool))

    def measure_agreement(self, items: Tensor) -> PairAgreement:
        """Measure how well left-out predictions of items' pictures and of their texts agree."""
        width = self.texts.shape[1]
        owners, texts = self.owners.cpu(), self.texts.cpu()
        sums = torch.zeros(len(self.targets), width).index_add_(0, owners, texts)
        return measure_agreement(self.points[0].cpu()[items], sums[items])

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Collect what is kept of the items of pairs, each item once, with its first pair there.

        Items whose pairs look wrong are left out, unless hardly another is there.

        Args:
            positions: (n,) int64 of pairs.

        Returns:
            Targets (u, k), and points (4, u, k) of the common space: pictures and texts as unseen
            ones are met, then as those in the collection are.
        """
        pairs = positions.sort().values  # those of one item are one after another
        owners = self.owners[pairs]
        is_first = torch.ones_like(owners, dtype=torch.bool)
        is_first[1:] = owners[1:] != owners[:-1]
        items, chosen = owners[is_first], pairs[is_first]
        is_trusted = self.is_trusted[items]
        if int(is_trusted.sum()) >= SMALLEST_BATCH:
            items, chosen = items[is_trusted], chosen[is_trusted]
        picture, stored_picture, stored_text = self.points[:, items]
        points = torch.stack([picture, self.texts[chosen], stored_picture, stored_text])
        return self.targets[items], points
