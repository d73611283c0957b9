"""Training pairs: which picture goes with which text, in which order, as scaled batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modalhash.encoders.base import FeatureTable
from modalhash.encoders.feature_tables import ReorderedTable
from modalhash.layers import FeatureScaling, ModalityFeatures
from modalhash.methods.base import Batch, CaptionChoice
from modalhash.methods.former_codes import FormerCodes
from modalhash.training.former import FormerTables
from modalhash.training.live_features import Draw, LiveFeatures, LiveSide, PresentTable

__all__ = ["Pairs", "TrainingData", "hold_out"]

Rows = NDArray[np.int64]

EPOCH_STREAM, SPLIT_STREAM, PICTURE_STREAM = 0, 1, 2
"""Names of the random streams that a seed is split into."""


@dataclass(frozen=True)
class TrainingData:
    """What a method may learn from.

    Attributes:
        image: image features; row = item position.
        text: text features; row = caption position.
        caption_starts: (n + 1,) int64, texts of item i are rows `caption_starts[i]` up to
            `caption_starts[i + 1]`.
        items: positions of the training items, distinct.
        labels: (n, c) uint8 of the whole collection, or None.
        with_tokens: whether batches carry tokens.
        live_image: the pictures themselves, if their tower is tuned; `image` then holds pooled
            features of the tower before tuning.
        live_text: the texts themselves, if their tower is tuned; likewise.
        former: what a former model says of them, if there is one to be compatible with.
    """

    image: FeatureTable
    text: FeatureTable
    caption_starts: Rows
    items: Rows
    labels: NDArray[np.uint8] | None = None
    with_tokens: bool = False
    live_image: LiveSide | None = None
    live_text: LiveSide | None = None
    former: FormerTables | None = None

    def present(self) -> "TrainingData":
        """Replace features of tuned towers by what the towers give when they are read."""
        return replace(
            self,
            image=PresentTable(self.live_image) if self.live_image else self.image,
            text=PresentTable(self.live_text) if self.live_text else self.text,
            live_image=None,
            live_text=None,
        )

    def exchange_texts(self, owners: Rows) -> "TrainingData":
        """Let items learn with the texts of other items, to study what wrong pairs cost.

        Args:
            owners: (n,) int64 of all items of the collection, the item whose texts each one gets;
                every item comes once.
        """
        starts = self.caption_starts
        counts = np.diff(starts)[owners]
        new_starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        rows = np.arange(new_starts[-1]) + np.repeat(starts[owners] - new_starts[:-1], counts)
        return replace(self, text=ReorderedTable(self.text, rows), caption_starts=new_starts)

    def without(self, share: float, seed: int) -> "tuple[TrainingData, Rows]":
        """Hold out a share of the items for validation.

        Args:
            share: in [0, 0.5]; 0 holds out nothing.
            seed: decides which.

        Returns:
            The data without them, and their positions.
        """
        remaining, held_out = hold_out(self.items, share, seed)
        return replace(self, items=remaining), held_out


def hold_out(items: Rows, share: float, seed: int) -> tuple[Rows, Rows]:
    """Divide items into those that are learned from and those held out for validation.

    Args:
        items: (n,) int64.
        share: held out, in [0, 0.5]; 0 holds out nothing.
        seed: decides which.

    Returns:
        Both parts, each in the order of the items.

    Example:
        >>> kept, held = hold_out(np.arange(10, 20), 0.2, seed=0)
        >>> len(kept), len(held), sorted({*kept.tolist(), *held.tolist()}) == list(range(10, 20))
        (8, 2, True)
    """
    n_held = round(share * len(items))
    order = np.random.default_rng((seed, SPLIT_STREAM)).permutation(len(items))
    return items[np.sort(order[n_held:])], items[np.sort(order[:n_held])]


class Pairs:
    """The training pairs under one choice of captions, read in batches, scaled.

    Args:
        data: features and items.
        choice: which text of an item is its partner.
        image_scaling: fitted scaling of image features.
        text_scaling: fitted scaling of text features.
        device: where batches go.
        live: what computes the features of towers that are tuned.
    """

    def __init__(
        self,
        data: TrainingData,
        choice: CaptionChoice,
        image_scaling: FeatureScaling,
        text_scaling: FeatureScaling,
        device: torch.device,
        *,
        live: LiveFeatures | None = None,
    ) -> None:
        self.data, self.choice, self.device, self.live = data, choice, device, live
        self.image_scaling, self.text_scaling = image_scaling, text_scaling
        starts = data.caption_starts
        self.first = starts[data.items]
        self.counts = starts[data.items + 1] - self.first
        if choice is CaptionChoice.ALL:
            self.owner = np.repeat(np.arange(len(data.items)), self.counts)
            before = np.cumsum(self.counts) - self.counts
            self.caption = np.arange(len(self.owner)) - before[self.owner] + self.first[self.owner]
        else:
            self.owner, self.caption = np.arange(len(data.items)), self.first

    @property
    def n_pairs(self) -> int:
        """Number of pairs: items, or texts where all texts count."""
        return len(self.owner)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield all pairs in order, each once, with first captions where one is drawn."""
        yield from self.read(self.in_order(batch_size))

    def in_order(self, batch_size: int) -> list[Rows]:
        """List the places of all pairs, batch by batch."""
        everything = np.arange(self.n_pairs)
        return [
            everything[start : start + batch_size] for start in range(0, self.n_pairs, batch_size)
        ]

    def pooled_images(self, batch_size: int) -> Iterator[Tensor]:
        """Yield the pooled image features of all pairs in order, unscaled, on the CPU."""
        for chosen in self.in_order(batch_size):
            items = self.data.items[self.owner[chosen]]
            yield torch.from_numpy(self.data.image.pooled(items))

    def pooled_texts(self, batch_size: int) -> Iterator[Tensor]:
        """Yield the pooled text features of all pairs in order, unscaled, on the CPU.

        Those of first captions where one is drawn.
        """
        for chosen in self.in_order(batch_size):
            if self.choice is CaptionChoice.MEAN:
                yield self.mean_text(self.owner[chosen])
            else:
                yield torch.from_numpy(self.data.text.pooled(self.caption[chosen]))

    def epoch(
        self, epoch: int, seed: int, batch_size: int, *, drop_last: bool, most: int = 0
    ) -> Iterator[Batch]:
        """Yield the pairs in an order, and with captions, that depend on seed and epoch alone.

        Args:
            epoch: from 0.
            seed: of the run.
            batch_size: pairs a batch; a training set smaller than one gives one batch.
            drop_last: leave out a smaller last batch.
            most: batches at most; 0 is no limit.
        """
        generator = np.random.default_rng((seed, EPOCH_STREAM, epoch))
        order = generator.permutation(self.n_pairs)
        captions = self.caption
        if self.choice is CaptionChoice.RANDOM:
            captions = self.first + generator.integers(0, self.counts)
        n_steps = self.n_steps(batch_size, drop_last=drop_last, most=most)
        starts = range(0, n_steps * batch_size, batch_size)
        places = [order[start : start + batch_size] for start in starts]
        yield from self.read(places, captions, Draw(seed, PICTURE_STREAM, epoch))

    def read(
        self, places: Sequence[Rows], captions: Rows | None = None, draw: Draw | None = None
    ) -> Iterator[Batch]:
        """Yield batches of pairs.

        Args:
            places: of each batch, which pairs.
            captions: the caption row of every pair; the first ones if None.
            draw: how pictures of tuned towers are changed; None leaves them as they are.
        """
        captions = self.caption if captions is None else captions
        if self.live is None:
            for chosen in places:
                yield self.batch(chosen, captions[chosen])
            return
        requests = [
            (chosen, self.data.items[self.owner[chosen]], captions[chosen]) for chosen in places
        ]
        with closing(self.live.read(requests, draw)) as batches:
            for chosen, live in zip(places, batches, strict=True):
                yield self.batch(chosen, captions[chosen], live)

    def n_steps(self, batch_size: int, *, drop_last: bool, most: int = 0) -> int:
        """Count the batches of an epoch; at least one, and at most `most` unless that is 0."""
        full, rest = divmod(self.n_pairs, batch_size)
        n_steps = full + (1 if rest and (not drop_last or not full) else 0)
        return min(n_steps, most) if most else n_steps

    def batch(
        self, chosen: Rows, captions: Rows, live: Mapping[str, ModalityFeatures] | None = None
    ) -> Batch:
        """Collect the pairs `chosen` with the given caption rows, and live features if any."""
        live = live or {}
        owners = self.owner[chosen]
        items = self.data.items[owners]
        image = self.features(self.data.image, items, live.get("image"))
        if self.choice is CaptionChoice.MEAN:
            text = ModalityFeatures(self.mean_text(owners).to(self.device))
        else:
            text = self.features(self.data.text, captions, live.get("text"))
        labels = None
        if self.data.labels is not None:
            labels = torch.from_numpy(self.data.labels[items].astype(np.float32)).to(self.device)
        return Batch(
            self.image_scaling(image),
            self.text_scaling(text),
            labels,
            torch.from_numpy(chosen).to(self.device),
            torch.from_numpy(items).to(self.device),
            self.former_codes(owners, captions),
        )

    def former_codes(self, owners: Rows, captions: Rows) -> FormerCodes | None:
        """Collect what a former model says of some pairs, if there is one; means of mean texts."""
        former = self.data.former
        if former is None:
            return None
        image = torch.from_numpy(former.image[self.data.items[owners]])
        if self.choice is CaptionChoice.MEAN:
            text = self.mean_rows(former.text.__getitem__, owners)
        else:
            text = torch.from_numpy(former.text[captions])
        return FormerCodes(image.to(self.device), text.to(self.device))

    def features(
        self, table: FeatureTable, rows: Rows, live: ModalityFeatures | None = None
    ) -> ModalityFeatures:
        """Read the features of some rows to the device, unscaled: live ones if they are given."""
        pooled = torch.from_numpy(table.pooled(rows)).to(self.device)
        if live is not None:
            return replace(live, untuned=pooled)
        if not self.data.with_tokens:
            return ModalityFeatures(pooled)
        tokens, mask = table.tokens(rows)
        return ModalityFeatures(
            pooled,
            torch.from_numpy(tokens).to(self.device),
            torch.from_numpy(mask).to(self.device),
        )

    def mean_text(self, owners: Rows) -> Tensor:
        """Compute the mean pooled text features of some items, (k, d), on the CPU."""
        return self.mean_rows(self.data.text.pooled, owners)

    def mean_rows(self, read: Callable[[Rows], NDArray[np.float32]], owners: Rows) -> Tensor:
        """Compute the mean of what is read of the texts of some items, (k, d), on the CPU."""
        counts = self.counts[owners]
        rows = np.concatenate(
            [
                np.arange(self.first[owner], self.first[owner] + self.counts[owner])
                for owner in owners
            ]
        )
        sums = np.add.reduceat(read(rows), np.cumsum(counts) - counts, axis=0)
        return torch.from_numpy(sums / counts[:, None].astype(np.float32))
