"""Nested codes of large collections: regressions on a part of the items, predictions as drawn.

Fitted on all items of a large collection, and with its predictions kept, a regression would take
time and memory that grow with the items: 10^13 multiplications and 5 GB for a million. Here it is
fitted on evenly spaced items alone, and what it says of an item is computed when a step draws it.
Most items are left out of such a fit anyway. Those in it are many times as many as the directions
that they determine, so that an item's own share in its prediction is small.

What is kept of each block of pairs goes into tensors that are there from the start: small ones
between large ones that are freed would let the process grow with the pairs.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from modalhash.layers import KernelHead, ModalityFeatures, evenly_spaced, kernel_weights
from modalhash.methods.base import Batch, TrainingView
from modalhash.methods.former_codes import FormerCodes, join_former
from modalhash.methods.item_blocks import ItemBlock, item_blocks
from modalhash.methods.nested_memory import BLOCK, find_first_pairs
from modalhash.methods.shared_space import principal_directions, row_moments

__all__ = ["LargeMemory", "fit_on_part", "sample_points"]

SAMPLE = 5_000
"""Pairs that the bits begin with."""
Likeness = Callable[[ItemBlock], tuple[Tensor, Tensor]]


class LargeMemory(nn.Module):
    """What is kept of a large collection's training items: the targets, as halves, and the owners.

    Args:
        n_pairs: N.
        n_items: n.
        width: k of the common space.
    """

    owners: Tensor
    targets: Tensor

    def __init__(self, n_pairs: int, n_items: int, width: int) -> None:
        super().__init__()
        self.register_buffer("owners", torch.zeros(n_pairs, dtype=torch.int64))
        self.register_buffer("targets", torch.zeros(n_items, width, dtype=torch.float16))

    def meet(self, image: KernelHead, text: KernelHead, batch: Batch) -> tuple[Tensor, Tensor]:
        """Compute targets and points of a batch's items, each item once, with its first pair there.

        Returns:
            As `Memory` does: targets (u, k) and points (4, u, k). A picture is met in the
            collection as it is met as an unseen one, and so is the text.
        """
        items, chosen = find_first_pairs(self.owners, batch.positions)
        picture = image.common(ModalityFeatures(batch.image.pooled[chosen]))
        sentence = text.common(ModalityFeatures(batch.text.pooled[chosen]))
        points = torch.stack([picture, sentence, picture, sentence])
        return self.targets[items].float(), points


def fit_on_part(
    image: KernelHead,
    text: KernelHead,
    memory: LargeMemory,
    view: TrainingView,
    likeness: Likeness,
    *,
    n_fitted: int,
    ridge: float,
) -> None:
    """Fill in targets and owners of all items, and solve both regressions on some of them.

    Args:
        image: head of pictures; as many items as it has landmarks, evenly spaced, become these.
        text: head of texts.
        memory: of the training items.
        view: the training pairs.
        likeness: what makes items alike, as two matrices of rows side by side.
        n_fitted: items that principal directions and regressions are fitted on, evenly spaced.
        ridge: penalty of the regressions' weights.
    """
    n_items = len(memory.targets)
    fitted = evenly_spaced(n_items, n_fitted)
    mean, covariance = row_moments(
        torch.cat(likeness(block), dim=1) for _, block in selected_items(view, fitted)
    )
    directions = principal_directions(covariance, memory.targets.shape[1]).float()
    counts, start = torch.empty(n_items, dtype=torch.int64), 0
    for block in item_blocks(view.batches(BLOCK)):
        rows = torch.cat(likeness(block), dim=1).cpu()
        end = start + len(rows)
        memory.targets[start:end] = ((rows - mean.float()) @ directions).half()
        counts[start:end] = block.n_texts
        start = end
    memory.owners.copy_(torch.repeat_interleave(counts))
    start = 0
    for places, block in selected_items(view, evenly_spaced(n_items, len(image.landmarks))):
        end = start + len(places)
        image.landmarks[start:end], text.landmarks[start:end] = block.image, block.text
        start = end
    for head in (image, text):
        rows_and_targets = (
            (
                (block.image if head is image else block.text).cpu(),
                memory.targets[places].float().cpu(),
            )
            for places, block in selected_items(view, fitted)
        )
        landmarks = head.landmarks.cpu()
        weights = kernel_weights(rows_and_targets, landmarks, sharpness=head.sharpness, ridge=ridge)
        head.set_regression(landmarks, weights)


def selected_items(view: TrainingView, places: Tensor) -> Iterator[tuple[Tensor, ItemBlock]]:
    """Yield those of the training items that stand at ascending places, with the places."""
    start = 0
    for block in item_blocks(view.batches(BLOCK)):
        end = start + len(block.n_texts)
        inside = places[(places >= start) & (places < end)]
        if len(inside):
            yield inside, block.select((inside - start).to(block.n_texts.device))
        start = end


def sample_points(
    image: KernelHead, text: KernelHead, view: TrainingView
) -> tuple[Tensor, Tensor, FormerCodes | None]:
    """Compute points of the common space for evenly spaced pairs, (s, k) pictures and texts.

    Returns:
        Both on the CPU, and what a former model says of the pairs, if there is one.
    """
    step = -(-view.n_pairs // SAMPLE)
    n_chosen, start = -(-view.n_pairs // step), 0
    pictures, texts = torch.empty(2, n_chosen, image.weights.shape[1])
    former = list[FormerCodes | None]()
    for batch in view.batches(BLOCK):
        chosen = torch.nonzero(batch.positions % step == 0)[:, 0]
        end = start + len(chosen)
        pictures[start:end] = image.common(ModalityFeatures(batch.image.pooled[chosen]))
        texts[start:end] = text.common(ModalityFeatures(batch.text.pooled[chosen]))
        former.append(batch.former and batch.former.select(chosen))
        start = end
    return pictures, texts, join_former(former)
