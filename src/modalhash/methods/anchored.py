"""What closed-form methods take from the training pairs besides plain moments."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from modalhash.layers import AnchorGraph, PairMoments, pair_moments
from modalhash.methods.base import Batch, TrainingView

__all__ = ["AnchoredMoments", "anchored_moments", "sampled_pairs"]


@dataclass(frozen=True)
class AnchoredMoments:
    """Moments of features and of their ties Z to anchors; each modality has a graph of its own.

    Attributes:
        moments: of rows [x_v z_v] as images and [x_t z_t] as texts.
        image_features: places of x_v in the moments.
        image_ties: places of z_v.
        text_features: places of x_t.
        text_ties: places of z_t.
    """

    moments: PairMoments
    image_features: slice
    image_ties: slice
    text_features: slice
    text_ties: slice

    def covariance(self, rows: slice, columns: slice) -> Tensor:
        """Compute a block of the covariance, float64."""
        return self.moments.covariance[rows, columns]

    def mean(self, place: slice) -> Tensor:
        """Compute a part of the mean, float64."""
        return self.moments.mean[place]

    def inverse_degrees(self, ties: slice) -> Tensor:
        """Compute the anchors' 1 / mean weight, (k,) float64; 0 for an anchor without items."""
        degrees = self.mean(ties)
        return torch.where(degrees > 0, 1 / degrees, torch.zeros_like(degrees))


def anchored_moments(
    view: TrainingView,
    batch_size: int,
    *,
    n_anchors: int,
    n_nearest: int,
    sample: int,
    generator: torch.Generator,
    is_shuffled: bool = False,
) -> AnchoredMoments:
    """Place anchors in both modalities and sum up, in two passes over the pairs.

    Args:
        view: the training pairs.
        batch_size: pairs read at a time.
        n_anchors: anchors of a modality, at most.
        n_nearest: anchors that an item is tied to, at most.
        sample: pairs, evenly spaced, that anchors are placed by, at most.
        generator: draws the first anchors.
        is_shuffled: tie each item to the anchors of a random item of its batch: a control.

    Raises:
        FeatureError: if the features of a modality are the same in all pairs.
    """
    drawn = list(sampled_pairs(view, batch_size, sample))
    image_graph, text_graph = (
        AnchorGraph.fit(torch.cat(rows), n_anchors, n_nearest, generator)
        for rows in zip(*drawn, strict=True)
    )

    def ordered_batches() -> Iterator[tuple[Batch, Tensor]]:
        for batch in view.batches(batch_size):
            n = len(batch)
            yield batch, torch.randperm(n, generator=generator) if is_shuffled else torch.arange(n)

    moments = pair_moments(
        (
            with_ties(batch.image.pooled, image_graph, order),
            with_ties(batch.text.pooled, text_graph, order),
        )
        for batch, order in ordered_batches()
    )
    image_width, text_width = image_graph.anchors.shape[1], text_graph.anchors.shape[1]
    middle = moments.image_width
    return AnchoredMoments(
        moments,
        slice(0, image_width),
        slice(image_width, middle),
        slice(middle, middle + text_width),
        slice(middle + text_width, None),
    )


def with_ties(rows: Tensor, graph: AnchorGraph, order: Tensor) -> Tensor:
    """Join features and the weights of the items in an order (n,) side by side, (n, d + k)."""
    return torch.cat([rows.double(), graph.weights(rows)[order]], dim=1)


def sampled_pairs(
    view: TrainingView, batch_size: int, sample: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield image and text features of at most `sample` pairs, evenly spaced over all."""
    stride = -(-view.n_pairs // sample)
    for batch in view.batches(batch_size):
        is_sampled = batch.positions % stride == 0
        yield batch.image.pooled[is_sampled], batch.text.pooled[is_sampled]
