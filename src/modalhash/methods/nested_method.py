"""What nested codes with and without labels have in common; see `nested`."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from modalhash.layers import BitMap, FurtherRows, KernelFit, KernelHead, kernel_ridge
from modalhash.layers.feature_scaling import ScalingRule
from modalhash.losses import (
    code_statistics,
    measure_scaled_difference,
    partner_contrast,
    soft_contrast,
    straight_through_signs,
)
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
from modalhash.methods.controls import NamedModule, shuffle_edges
from modalhash.methods.former_codes import FormerCodes, join_former
from modalhash.methods.item_blocks import ItemBlock, item_blocks
from modalhash.methods.large_nested import LargeMemory, fit_on_part, sample_points
from modalhash.methods.nested_memory import BLOCK, SMALLEST_BATCH, Memory
from modalhash.methods.pair_agreement import SMOOTH_RIDGE
from modalhash.methods.ranges import (
    AT_LEAST_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    SHARE_BELOW_ONE,
    Settings,
)
from modalhash.methods.shared_space import (
    first_weights,
    principal_directions,
    ridge_map,
    row_moments,
)

__all__ = ["NestedMethod", "NestedSettings"]

FEWEST_WEIGHED = 200
"""Items below which nothing is said about which pairs are wrong."""
MOST_SAMPLED = 8192
"""Items, evenly spaced, that tell whether many pairs look wrong."""
LEAST_WRONG_SHARE = 0.08
"""Estimated share of wrong pairs from which on pairs are weighed; up to .02 where none is wrong."""


@dataclass(frozen=True)
class NestedSettings(Settings):
    """Settings of nested codes; chosen on Flickr8k, the same for every collection."""

    image_weight: Annotated[float, SHARE] = 0.2
    """Share of the pictures in what makes two items alike; the mean of an item's texts has the
    rest."""
    target_width: Annotated[int, AT_LEAST_ONE] = 256
    """Principal directions of pictures and texts together that the common space has, at most."""
    n_landmarks: Annotated[int, AT_LEAST_ONE] = 6144
    """Items that features are compared with, at most; up to as many the regression is exact."""
    large_from: Annotated[int, AT_LEAST_ONE] = 50_000
    """Items above which a collection is large: predictions are computed as steps draw items."""
    large_fitted: Annotated[int, AT_LEAST_ONE] = 150_000
    """Items that the regression of a large collection is fitted on, at most; evenly spaced."""
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
    pair_emphasis: Annotated[float, SHARE] = 0.25
    """What the codes find: 0 items of the same kind, 1 the very partner; the share of the partners'
    term in the loss."""
    pair_temperature: Annotated[float, POSITIVE] = 0.15
    """Divides cosines of codes where partners are sought."""
    neighbour_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of finding the neighbours."""
    shuffled_neighbours: bool = False
    """Let items find the neighbours of other items: a control."""
    neighbour_temperature: Annotated[float, POSITIVE] = 0.2
    """Divides cosines of codes where neighbours are sought."""
    target_temperature: Annotated[float, POSITIVE] = 0.15
    """Divides the similarities of items that say who is a neighbour."""
    similarity_weight: Annotated[float, NOT_NEGATIVE] = 10.0
    """Weight of the squared difference between similarities and scaled cosines of codes."""
    sharpening: Annotated[float, NOT_NEGATIVE] = 3.0
    """What the factor inside the tanh has grown by at the end; it begins at 1."""
    hamming_share: Annotated[float, SHARE] = 0.5
    """Share of the loss in which queries are codes too, as a search by Hamming distance has them;
    in the rest queries keep their numbers."""
    rotates: bool = False
    """Rotate the first directions by ITQ, so that bits begin with equally much to say."""
    weighs_pairs: bool = True
    """Learn less from pairs that look wrong, where many do; False trusts every pair."""
    left_out: bool = True
    """Show the bits what an item's own share leaves out; False shows them fitted items only."""


@dataclass
class NestedHeads(Heads):
    """Two regressions that share the map to bits, and what they found for training items."""

    image: KernelHead
    text: KernelHead
    memory: Memory | LargeMemory


class NestedMethod(GradientMethod[NestedHeads]):
    """Nested codes up to what makes two items alike; see `nested`."""

    settings: NestedSettings
    smallest_batch = SMALLEST_BATCH
    training = TrainingSettings(
        epochs=6,
        least_steps=400,
        most_steps=600,
        batch_size=512,
        optimiser=Optimiser.ADAMW,
        learning_rate=5e-3,
        weight_decay=0.0,
        schedule=Schedule.ONE_CYCLE,
        captions=CaptionChoice.ALL,
        image_scaling=ScalingRule.CENTRED_UNIT,
        text_scaling=ScalingRule.CENTRED_UNIT,
        compatibility_weight=0.2,  # bits begin as the former ones
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
        "without partners": {"pair_emphasis": 0.0},
        "without neighbours": {"neighbour_weight": 0.0},
        "with shuffled neighbours": {"shuffled_neighbours": True},
        "without similarities": {"similarity_weight": 0.0},
        "without sharpening": {"sharpening": 0.0},
        "one length": {"shortest": 0},
        "learned for Hamming distances alone": {"hamming_share": 1.0},
        "learned for queries with numbers alone": {"hamming_share": 0.0},
    }
    removed_parts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "without partners": ("pairs",),
        "without neighbours": ("neighbours",),
        "without similarities": ("similarities",),
    }
    modules: ClassVar[Mapping[str, NamedModule]] = {
        "neighbours": NamedModule("without neighbours", "with shuffled neighbours"),
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
        make_memory = LargeMemory if n_items > settings.large_from else Memory
        bits = BitMap(width, settings.hidden_width, n_bits, dropout=settings.dropout)
        return NestedHeads(
            image=KernelHead(shapes.image_width, n_landmarks, settings.sharpness, bits),
            text=KernelHead(shapes.text_width, n_landmarks, settings.sharpness, bits),
            memory=make_memory(shapes.n_pairs, n_items, width),
        )

    def before_training(self, heads: NestedHeads, view: TrainingView) -> None:
        """Make targets, solve both regressions, and let bits begin as the first directions."""
        memory, image, text = heads.memory, heads.image, heads.text
        if isinstance(memory, LargeMemory):
            fit_on_part(
                image,
                text,
                memory,
                view,
                self.likeness,
                n_fitted=self.settings.large_fitted,
                ridge=self.settings.ridge,
            )
            pictures, texts, former = sample_points(image, text, view)
            self.begin_bits(image.bits, torch.cat([pictures, texts]), former)
            return
        self.set_targets(memory, view)
        self.solve_regressions(heads, memory, view)
        if self.settings.weighs_pairs and self.settings.left_out:
            self.weigh_pairs(heads, memory, view)
        former = join_former(batch.former for batch in view.batches(BLOCK))
        if former is None:
            points = torch.cat([memory.points.flatten(0, 1), memory.texts])
        else:
            points = torch.cat([memory.points[0][memory.owners], memory.texts])
        self.begin_bits(image.bits, points.cpu(), former)

    def solve_regressions(
        self,
        heads: NestedHeads,
        memory: Memory,
        view: TrainingView,
        *,
        item_weights: Tensor | None = None,
        ridge: float | None = None,
    ) -> None:
        """Solve both regressions, and keep what they predict; each item counts by its weight."""
        left_out = self.settings.left_out
        fit = self.regression(
            heads.image, "image", memory, view, item_weights=item_weights, ridge=ridge
        )
        heads.image.set_regression(fit.landmarks, fit.weights)
        memory.points[0] = fit.left_out if left_out else fit.fitted
        memory.points[1] = fit.fitted
        fit = self.regression(
            heads.text, "text", memory, view, item_weights=item_weights, ridge=ridge
        )
        heads.text.set_regression(fit.landmarks, fit.weights)
        memory.points[2] = fit.fitted
        memory.texts.copy_(fit.further if left_out else fit.fitted[memory.owners.cpu()])

    def weigh_pairs(self, heads: NestedHeads, memory: Memory, view: TrainingView) -> None:
        """Solve the regressions again with less of the pairs that look wrong, if many do.

        Pairs are weighed twice, the second time by regressions that count wrong pairs less; those
        that are more probably wrong than right take no part in learning bits. Where fewer than
        `LEAST_WRONG_SHARE` look wrong, or features can't tell, nothing changes.
        """
        n_items = len(memory.targets)
        if n_items < FEWEST_WEIGHED:
            return
        sample = torch.arange(0, n_items, -(-n_items // MOST_SAMPLED))
        agreement = memory.measure_agreement(sample)
        if not agreement.is_clear or agreement.wrong_share < LEAST_WRONG_SHARE:
            return
        if len(sample) < n_items:
            agreement = memory.measure_agreement(torch.arange(n_items))
        self.solve_regressions(
            heads, memory, view, item_weights=agreement.weights, ridge=SMOOTH_RIDGE
        )
        agreement = memory.measure_agreement(torch.arange(n_items))
        memory.is_trusted.copy_(agreement.probabilities <= 0.5)
        self.solve_regressions(heads, memory, view, item_weights=agreement.weights)

    def begin_bits(self, bits: BitMap, points: Tensor, former: FormerCodes | None) -> None:
        """Let bits begin as the first directions of the common space, or as a former model's.

        Args:
            bits: the map from the common space.
            points: (p, k); with a former model those of pictures, then those of the pairs' texts.
            former: what it says of the same pairs: bits begin as what tells its numbers best.
        """
        if former is not None:
            weights, bias = ridge_map(points, torch.cat([former.image, former.text]))
            bits.affine.bias.copy_(bias)
        else:
            generator = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
            rotates = self.settings.rotates
            weights = first_weights(points, bits.sizes[2], generator, rotates=rotates)
            bits.affine.bias.zero_()
        bits.affine.weight.copy_(weights.T)

    def relaxed_pairs(self, heads: NestedHeads, batch: Batch) -> tuple[Tensor, Tensor]:
        """Compute relaxed codes of pairs as unseen ones are met, left out of the regressions."""
        memory = heads.memory
        if isinstance(memory, LargeMemory):
            return heads.image(batch.image), heads.text(batch.text)
        picture = memory.points[0][memory.owners[batch.positions]]
        image, text = heads.image.bits(torch.stack([picture, memory.texts[batch.positions]]))
        return image, text

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
        self,
        head: KernelHead,
        modality: str,
        memory: Memory,
        view: TrainingView,
        *,
        item_weights: Tensor | None = None,
        ridge: float | None = None,
    ) -> KernelFit:
        """Fit one modality's regression to the targets, on the CPU; all texts are further rows."""
        settings, targets = self.settings, memory.targets.cpu()

        def blocks() -> Iterator[tuple[Tensor, Tensor]]:
            start = 0
            for block in item_blocks(view.batches(BLOCK)):
                rows = (block.image if modality == "image" else block.text).cpu()
                yield rows, targets[start : start + len(rows)]
                start += len(rows)

        def texts() -> Iterator[FurtherRows]:
            owners = memory.owners.cpu()
            first_texts = torch.cat(
                [block.text.cpu() for block in item_blocks(view.batches(BLOCK))]
            )
            start = 0
            for batch in view.batches(BLOCK):
                items = owners[start : start + len(batch)]
                start += len(batch)
                rows = batch.text.pooled.cpu()
                yield FurtherRows(rows, items, first_texts[items], targets[items])

        return kernel_ridge(
            blocks,
            len(targets),
            n_landmarks=len(head.landmarks),
            sharpness=settings.sharpness,
            ridge=settings.ridge if ridge is None else ridge,
            further=texts() if modality == "text" else (),
            item_weights=item_weights,
        )

    def batch_loss(self, heads: NestedHeads, batch: Batch, moment: Moment) -> LossReport:
        """Compute the objective over all lengths."""
        settings, memory, head = self.settings, heads.memory, heads.image
        if isinstance(memory, LargeMemory):
            targets, points = memory.meet(heads.image, heads.text, batch)
        else:
            targets, points = memory(batch.positions)
        done = (moment.epoch + moment.step / moment.n_steps) / moment.n_epochs
        factor = 1 + settings.sharpening * done
        relaxed = head.bits(points)
        squashed = torch.tanh(factor * relaxed)
        ways = (
            (1 - settings.hamming_share, relaxed[:2], straight_through_signs(relaxed, factor)),
            (settings.hamming_share, squashed[:2], squashed),
        )
        alike = targets @ targets.T
        neighbours = (alike / settings.target_temperature).softmax(dim=1)
        if settings.shuffled_neighbours:
            neighbours = shuffle_edges(neighbours)
        lengths = code_lengths(head.n_bits, settings.shortest)
        losses = dict.fromkeys(("pairs", "neighbours", "similarities"), torch.zeros(()))
        for length, length_share in zip(lengths, length_shares(len(lengths)), strict=True):
            for way_share, queries, codes in ways:
                if not way_share:
                    continue
                parts = self.compare(queries[..., :length], codes[..., :length], alike, neighbours)
                share = length_share * way_share
                losses = {name: losses[name] + share * part for name, part in parts.items()}
        kind = 1 - settings.pair_emphasis
        weights = {
            "pairs": settings.pair_emphasis,
            "neighbours": kind * settings.neighbour_weight,
            "similarities": kind * settings.similarity_weight * 2,
        }
        terms = {name: Term(loss, weights[name]) for name, loss in losses.items()}
        return LossReport(terms, code_statistics(squashed[0], squashed[1]))

    def compare(
        self, queries: Tensor, codes: Tensor, alike: Tensor, neighbours: Tensor
    ) -> dict[str, Tensor]:
        """Compute the terms of one length.

        Args:
            queries: (2, u, b) unseen pictures and unseen texts, as queries.
            codes: (4, u, b) unseen pictures, unseen texts, stored pictures and stored texts, as
                what is searched.
            alike: (u, u) similarities of the items.
            neighbours: (u, u), how much each item deserves of each; rows sum to 1.

        Returns:
            Scalars `pairs`, `neighbours` and `similarities`.
        """
        settings = self.settings
        image_query, text_query = normalize(queries, dim=-1)
        image, text, stored_image, stored_text = normalize(codes, dim=-1)
        both = torch.stack([image_query @ stored_text.T, text_query @ stored_image.T])
        pairs = torch.stack([image_query @ text.T, text_query @ image.T])
        return {
            "pairs": partner_contrast(pairs / settings.pair_temperature),
            "neighbours": soft_contrast(both / settings.neighbour_temperature, neighbours),
            "similarities": measure_scaled_difference(both, alike),
        }
