"""What nested codes with and without labels have in common; see `nested`."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from modalhash.layers import BitMap, KernelFit, KernelHead, kernel_ridge
from modalhash.layers.feature_scaling import ScalingRule
from modalhash.losses import code_statistics, soft_contrast
from modalhash.methods.base import (
    Batch,
    CaptionChoice,
    FeatureShapes,
    GradientMethod,
    Heads,
    LossReport,
    Moment,
    Optimiser,
    Schedule,
    Term,
    TrainingSettings,
    TrainingView,
)
from modalhash.methods.code_lengths import code_lengths, length_shares
from modalhash.methods.item_blocks import ItemBlock, item_blocks
from modalhash.methods.ranges import (
    AT_LEAST_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    SHARE_BELOW_ONE,
    Settings,
)
from modalhash.methods.shared_space import first_rotation, principal_directions, row_moments

__all__ = ["Memory", "NestedMethod", "NestedSettings", "partner_contrast"]

BLOCK = 2048
"""Pairs read at a time before training."""


@dataclass(frozen=True)
class NestedSettings(Settings):
    """Settings of nested codes; chosen on Flickr8k dev, the same for every collection."""

    image_weight: Annotated[float, SHARE] = 0.2
    """Share of the pictures in what makes two items alike; the mean of an item's texts has the
    rest."""
    target_width: Annotated[int, AT_LEAST_ONE] = 256
    """Principal directions of pictures and texts together that the common space has, at most."""
    n_landmarks: Annotated[int, AT_LEAST_ONE] = 6144
    """Items that features are compared with, at most; up to as many the regression is exact."""
    sharpness: Annotated[float, POSITIVE] = 1.0
    """Of the Gaussian kernel between features of length 1."""
    ridge: Annotated[float, POSITIVE] = 0.1
    """Penalty of the regression's weights; the larger, the smoother."""
    hidden_width: Annotated[int, NOT_NEGATIVE] = 1024
    """Units of the hidden layer between common space and bits; 0 is an affine map alone."""
    dropout: Annotated[float, SHARE_BELOW_ONE] = 0.5
    """Share of hidden units dropped in training."""
    shortest: Annotated[int, NOT_NEGATIVE] = 16
    """Shortest prefix that is a code; its doublings are too. 0: the whole code alone."""
    pair_weight: Annotated[float, NOT_NEGATIVE] = 0.4
    """Weight of finding the partner."""
    pair_temperature: Annotated[float, POSITIVE] = 0.2
    """Divides cosines of codes where partners are sought."""
    neighbour_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of finding the neighbours."""
    neighbour_temperature: Annotated[float, POSITIVE] = 0.3
    """Divides cosines of codes where neighbours are sought."""
    target_temperature: Annotated[float, POSITIVE] = 0.15
    """Divides the similarities of items that say who is a neighbour."""
    similarity_weight: Annotated[float, NOT_NEGATIVE] = 10.0
    """Weight of the squared difference between cosines of codes and similarities."""
    sharpening: Annotated[float, NOT_NEGATIVE] = 3.0
    """What the factor inside the tanh has grown by at the end; it begins at 1."""
    left_out: bool = True
    """Show the bits what an item's own share leaves out; False shows them fitted items only."""


def partner_contrast(scores: Tensor) -> Tensor:
    """Compute InfoNCE of scores (n, n) divided by their temperature, both directions' mean.

    It is `losses.info_nce` of whole batches in which no item comes twice, at a third of its time.
    """
    own = torch.arange(len(scores), device=scores.device)
    return (cross_entropy(scores, own) + cross_entropy(scores.T, own)) / 2


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

    def __init__(self, n_pairs: int, n_items: int, width: int) -> None:
        super().__init__()
        self.register_buffer("owners", torch.zeros(n_pairs, dtype=torch.int64))
        self.register_buffer("targets", torch.zeros(n_items, width))
        self.register_buffer("points", torch.zeros(4, n_items, width))

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Collect what is kept of the items of pairs, each item once.

        Args:
            positions: (n,) int64 of pairs.

        Returns:
            Targets (u, k), and points (4, u, k) of the common space: pictures and texts as unseen
            ones are met, then as those in the collection are.
        """
        places = torch.unique(self.owners[positions])
        return self.targets[places], self.points[:, places]


@dataclass
class NestedHeads(Heads):
    """Two regressions that share the map to bits, and what they found for training items."""

    image: KernelHead
    text: KernelHead
    memory: Memory


class NestedMethod(GradientMethod[NestedHeads]):
    """Nested codes up to what makes two items alike; see `nested`."""

    settings: NestedSettings
    smallest_batch = 2
    training = TrainingSettings(
        epochs=6,
        least_steps=200,
        batch_size=1024,
        optimiser=Optimiser.ADAMW,
        learning_rate=5e-3,
        weight_decay=0.0,
        schedule=Schedule.ONE_CYCLE,
        captions=CaptionChoice.ALL,
        image_scaling=ScalingRule.CENTRED_UNIT,
        text_scaling=ScalingRule.CENTRED_UNIT,
    )
    tunes_encoders = False
    unhuggable: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("contrastive", "same", "plus"),
        "solves for its maps of pooled features, which a trunk of tokens can't stand in for",
    )
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "first texts only": {"captions": "first"},
        "texts only make items alike": {"image_weight": 0.0},
        "fitted instead of left-out items": {"left_out": False},
        "without the hidden layer": {"hidden_width": 0},
        "without partners": {"pair_weight": 0.0},
        "without neighbours": {"neighbour_weight": 0.0},
        "without similarities": {"similarity_weight": 0.0},
        "without sharpening": {"sharpening": 0.0},
        "one length": {"shortest": 0},
    }
    removed_parts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "without partners": ("pairs",),
        "without neighbours": ("neighbours",),
        "without similarities": ("similarities",),
    }

    @abstractmethod
    def likeness(self, block: ItemBlock) -> tuple[Tensor, Tensor]:
        """Compute two matrices of rows that, side by side, make items alike: pictures, and more."""

    @abstractmethod
    def likeness_width(self, shapes: FeatureShapes) -> int:
        """Count the columns of what `likeness` gives."""

    def build_heads(self, shapes: FeatureShapes, n_bits: int) -> NestedHeads:
        """Make both regressions, the bits that they share, and the memory of training items."""
        settings = self.settings
        n_items = shapes.n_items or shapes.n_pairs
        width = min(settings.target_width, self.likeness_width(shapes))
        n_landmarks = min(settings.n_landmarks, n_items)
        bits = BitMap(width, settings.hidden_width, n_bits, dropout=settings.dropout)
        return NestedHeads(
            image=KernelHead(shapes.image_width, n_landmarks, settings.sharpness, bits),
            text=KernelHead(shapes.text_width, n_landmarks, settings.sharpness, bits),
            memory=Memory(shapes.n_pairs, n_items, width),
        )

    def before_training(self, heads: NestedHeads, view: TrainingView) -> None:
        """Make targets, solve both regressions, and rotate the first directions to bits."""
        memory, image, text = heads.memory, heads.image, heads.text
        self.set_targets(memory, view)
        for head, name, places in ((image, "image", (0, 2)), (text, "text", (1, 3))):
            fit = self.regression(head, name, memory, view)
            head.set_regression(fit.landmarks, fit.weights)
            left_out = fit.left_out if self.settings.left_out else fit.fitted
            for place, points in zip(places, (left_out, fit.fitted), strict=True):
                memory.points[place] = points
        generator = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
        points = memory.points.transpose(0, 1).flatten(0, 1).cpu()
        weights = first_rotation(points, image.n_bits, generator)
        image.bits.affine.weight.copy_(weights.T)
        image.bits.affine.bias.zero_()

    def set_targets(self, memory: Memory, view: TrainingView) -> None:
        """Fill in targets, and whose pairs are whose."""
        rows = (
            torch.cat(self.likeness(items), dim=1) for items in item_blocks(view.batches(BLOCK))
        )
        mean, covariance = row_moments(rows)
        directions = principal_directions(covariance, memory.targets.shape[1]).float()
        targets, counts = [], []
        for block in item_blocks(view.batches(BLOCK)):
            likeness = torch.cat(self.likeness(block), dim=1).cpu()
            targets.append((likeness - mean.float()) @ directions)
            counts.append(block.n_texts.cpu())
        memory.targets.copy_(torch.cat(targets))
        memory.owners.copy_(torch.repeat_interleave(torch.cat(counts)))

    def regression(
        self, head: KernelHead, modality: str, memory: Memory, view: TrainingView
    ) -> KernelFit:
        """Fit one modality's regression to the targets, on the CPU."""
        settings, targets = self.settings, memory.targets.cpu()

        def blocks() -> Iterator[tuple[Tensor, Tensor]]:
            start = 0
            for block in item_blocks(view.batches(BLOCK)):
                rows = (block.image if modality == "image" else block.text).cpu()
                yield rows, targets[start : start + len(rows)]
                start += len(rows)

        return kernel_ridge(
            blocks,
            len(targets),
            n_landmarks=len(head.landmarks),
            sharpness=settings.sharpness,
            ridge=settings.ridge,
        )

    def batch_loss(self, heads: NestedHeads, batch: Batch, moment: Moment) -> LossReport:
        """Compute the objective over all lengths."""
        settings, memory, head = self.settings, heads.memory, heads.image
        targets, points = memory(batch.positions)
        done = (moment.epoch + moment.step / moment.n_steps) / moment.n_epochs
        relaxed = torch.tanh((1 + settings.sharpening * done) * head.bits(points))
        alike = targets @ targets.T
        neighbours = (alike / settings.target_temperature).softmax(dim=1)
        lengths = code_lengths(head.n_bits, settings.shortest)
        losses = dict.fromkeys(("pairs", "neighbours", "similarities"), torch.zeros(()))
        for length, share in zip(lengths, length_shares(len(lengths)), strict=True):
            codes = normalize(relaxed[..., :length], dim=-1)
            image, text, stored_image, stored_text = codes
            both = torch.stack([image @ stored_text.T, text @ stored_image.T])
            parts = {
                "pairs": partner_contrast(image @ text.T / settings.pair_temperature),
                "neighbours": soft_contrast(both / settings.neighbour_temperature, neighbours),
                "similarities": (both - alike).square().mean(),
            }
            losses = {name: losses[name] + share * part for name, part in parts.items()}
        weights = {
            "pairs": settings.pair_weight,
            "neighbours": settings.neighbour_weight,
            "similarities": settings.similarity_weight * 2,
        }
        terms = {name: Term(loss, weights[name]) for name, loss in losses.items()}
        return LossReport(terms, code_statistics(relaxed[0], relaxed[1]))
