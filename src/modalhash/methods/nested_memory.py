"""What nested codes keep of training items while they learn: targets, and predictions for them."""

import torch
from torch import Tensor, nn

from modalhash.methods.pair_agreement import PairAgreement, measure_agreement

__all__ = ["BLOCK", "SMALLEST_BATCH", "Memory", "find_first_pairs"]

BLOCK = 2048
"""Pairs read at a time before training."""
SMALLEST_BATCH = 2
"""Items that a step compares, at least."""


def find_first_pairs(owners: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Find the items of some pairs, each once, with its first pair there.

    Args:
        owners: (N,) int64, ascending: the item of each training pair.
        positions: (n,) int64 of the pairs, all different.

    Returns:
        (u,) int64 items, ascending, and (u,) int64 places in `positions`.

    Example:
        >>> find_first_pairs(torch.tensor([0, 0, 1, 1]), torch.tensor([3, 1, 0]))
        (tensor([0, 1]), tensor([2, 0]))
    """
    order = positions.argsort()  # pairs of one item are one after another
    items = owners[positions[order]]
    is_first = torch.ones_like(items, dtype=torch.bool)
    is_first[1:] = items[1:] != items[:-1]
    return items[is_first], order[is_first]


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
        items, places = find_first_pairs(self.owners, positions)
        chosen = positions[places]
        is_trusted = self.is_trusted[items]
        if int(is_trusted.sum()) >= SMALLEST_BATCH:
            items, chosen = items[is_trusted], chosen[is_trusted]
        picture, stored_picture, stored_text = self.points[:, items]
        points = torch.stack([picture, self.texts[chosen], stored_picture, stored_text])
        return self.targets[items], points
