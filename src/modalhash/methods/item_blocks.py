"""Training pairs read as items: each item once, with the mean of its texts."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from modalhash.layers.feature_scaling import unit_rows
from modalhash.methods.base import Batch

__all__ = ["ItemBlock", "item_blocks", "pictures_and_texts"]


@dataclass(frozen=True)
class ItemBlock:
    """Some training items, each once.

    Attributes:
        image: (k, d_v) picture features.
        text: (k, d_t) features of each item's first text.
        mean_text: (k, d_t) mean features of all its texts, scaled to length 1.
        labels: (k, c), or None.
        n_texts: (k,) int64, pairs that each item has.
    """

    image: Tensor
    text: Tensor
    mean_text: Tensor
    labels: Tensor | None
    n_texts: Tensor

    def select(self, chosen: Tensor) -> "ItemBlock":
        """Select some of the items."""
        labels = None if self.labels is None else self.labels[chosen]
        return ItemBlock(
            self.image[chosen],
            self.text[chosen],
            self.mean_text[chosen],
            labels,
            self.n_texts[chosen],
        )


def item_blocks(batches: Iterable[Batch]) -> Iterator[ItemBlock]:
    """Yield the items that pairs belong to, in order, each whole.

    Args:
        batches: all pairs in order, those of one item one after another; without `items` each pair
            is an item.
    """
    left: list[PairRows] = []
    for batch in batches:
        rows = PairRows.join([*left, PairRows.of(batch)])
        # The last item may go on in the next batch.
        n_whole = int((rows.items != rows.items[-1]).sum())
        left = [rows.part(n_whole, len(rows.items))]
        if n_whole:
            yield rows.part(0, n_whole).block()
    if left:
        yield left[0].block()


@dataclass(frozen=True)
class PairRows:
    """Pooled features (n, d), labels and items (n,) of pairs in order."""

    image: Tensor
    text: Tensor
    labels: Tensor | None
    items: Tensor

    @classmethod
    def of(cls, batch: Batch) -> "PairRows":
        """Read a batch's rows."""
        items = batch.positions if batch.items is None else batch.items
        return cls(batch.image.pooled, batch.text.pooled, batch.labels, items)

    @classmethod
    def join(cls, parts: Sequence["PairRows"]) -> "PairRows":
        """Join rows one after another."""
        labels = [part.labels for part in parts if part.labels is not None]
        return cls(
            torch.cat([part.image for part in parts]),
            torch.cat([part.text for part in parts]),
            torch.cat(labels) if labels else None,
            torch.cat([part.items for part in parts]),
        )

    def part(self, start: int, end: int) -> "PairRows":
        """Select some of the rows."""
        labels = None if self.labels is None else self.labels[start:end]
        return PairRows(self.image[start:end], self.text[start:end], labels, self.items[start:end])

    def block(self) -> ItemBlock:
        """Collect the rows' items."""
        _, places, counts = torch.unique_consecutive(
            self.items, return_inverse=True, return_counts=True
        )
        first = counts.cumsum(0) - counts
        sums = torch.zeros(len(counts), self.text.shape[1]).to(self.text)
        sums.index_add_(0, places, self.text)
        labels = None if self.labels is None else self.labels[first]
        return ItemBlock(self.image[first], self.text[first], unit_rows(sums), labels, counts)


def pictures_and_texts(block: ItemBlock, image_weight: float) -> tuple[Tensor, Tensor]:
    """Compute rows (k, d_v) and (k, d_t) that, side by side, have the fused inner products."""
    return math.sqrt(image_weight) * block.image, math.sqrt(1 - image_weight) * block.mean_text
