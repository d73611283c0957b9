"""The plus of hugging: local embeddings are also quantized, for finer codes to rerank by.

What HuggingHash+ and hugged methods share. A product quantizer a concept, with a learned rotation,
takes part in the local alignment from some epoch on: exact embeddings of one modality are aligned
with quantized ones of the other, as a search compares them. Loss, start and upkeep stand here; the
quantizer itself is `layers.product_quantizer`, and what is saved with a model `layers.fine_codes`.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from modalhash.errors import SettingError
from modalhash.layers import GeluHead, HashHead, ModalityFeatures
from modalhash.layers.fine_codes import LocalCoder
from modalhash.layers.ghost_vlad import MODALITIES
from modalhash.layers.product_quantizer import (
    MOST_CODEWORDS,
    ProductQuantizer,
    Quantized,
    RotationRule,
    SubspaceSimilarity,
)
from modalhash.losses import local_alignment
from modalhash.losses.neighbour_contrast import (
    neighbour_targets,
    others_contrast,
    soft_contrast,
)
from modalhash.losses.quantization import (
    asymmetric_alignment,
    float_share,
    reconstruction_error,
)
from modalhash.methods.base import Batch, Moment, TrainingView
from modalhash.methods.controls import shuffle_edges
from modalhash.methods.local_alignment import (
    AlignedHeads,
    HugSettings,
    rows_of,
    trunk_pass,
)
from modalhash.methods.ranges import (
    AT_LEAST_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    SHARE_BELOW_ONE,
    Range,
    Settings,
)

__all__ = [
    "FineSettings",
    "QuantizedForward",
    "add_fine_coder",
    "after_fine_epoch",
    "before_fine_training",
    "check_fine_settings",
    "fine_alignment",
]

logger = logging.getLogger(__name__)
CODEBOOK_SIZE = Range(f"2 to {MOST_CODEWORDS}", lambda value: 2 <= value <= MOST_CODEWORDS)
SAMPLE_BATCH, RENEWAL_SAMPLE = 256, 1024


class QuantizedForward(StrEnum):
    """What the quantizer gives out in training.

    - `soft`: mixtures of codewords.
    - `st`: the nearest codewords, with the gradient of the mixtures.
    - `late`: `soft` in the first half of training, then `st`: the end sees what a search uses.
    """

    SOFT = "soft"
    ST = "st"
    LATE = "late"


@dataclass(frozen=True)
class FineSettings(Settings):
    """Settings of finer codes; MeCoQ and HCQ are the same first author's quantization methods."""

    fine_subspaces: Annotated[int, AT_LEAST_ONE] = 8
    """Sub-spaces, and so bytes, of a concept's code (ours for a width of 128; HCQ 32 for 512)."""
    fine_codewords: Annotated[int, CODEBOOK_SIZE] = 64
    """Codewords of a sub-space, up to 256 (ours: about a fortieth of the pairs; HCQ 256)."""
    fine_rotation: RotationRule = RotationRule.CAYLEY
    """How each concept's rotation is learned; `none` is plain product quantization (ours)."""
    fine_rotation_rate: Annotated[float, NOT_NEGATIVE] = 0.1
    """Factor on the learning rate of rotations (ours: faster ones leave codewords behind)."""
    fine_sharpness: Annotated[float, POSITIVE] = 10.0
    """Factor on similarities before the softmax over codewords (MeCoQ; HCQ 1)."""
    fine_forward: QuantizedForward = QuantizedForward.LATE
    """What the quantizer gives out in training (ours)."""
    fine_start: Annotated[float, SHARE_BELOW_ONE] = 0.2
    """Share of the epochs before the quantizer starts (ours)."""
    fine_sample: Annotated[int, AT_LEAST_ONE] = 10_000
    """Pairs that codebooks start from, at most (ours)."""
    fine_reconstruction_weight: Annotated[float, NOT_NEGATIVE] = 0.1
    """Weight of the squared error of quantization in the local loss (ours; HCQ 0)."""
    fine_orthogonality_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the gap to orthogonality, for the rotation `penalty` (ours)."""
    fine_neighbour_share: Annotated[float, SHARE] = 0.0
    """Share of each local target that goes to items with like features; 0 is InfoNCE (ours)."""
    fine_neighbour_temperature: Annotated[float, POSITIVE] = 0.2
    """Temperature of the softmax over like items (ours)."""
    fine_neighbour_text: Annotated[float, SHARE] = 0.8
    """Weight of text features in what makes items alike; images have the rest (ours)."""
    fine_neighbours_shuffled: bool = False
    """Take the neighbours of other pairs for an item's own: a control (ours)."""
    fine_neighbour_inside: Annotated[float, NOT_NEGATIVE] = 0.0
    """Weight of the same targets among items of one modality; off without a share (ours)."""
    fine_local: bool = True
    """Quantize local embeddings; without them the class vector gets all bytes: a control (ours)."""
    fine_residual: bool = False
    """Add each local embedding, times a learned gain, to the class vector's embedding (ours)."""
    fine_class: bool = True
    """Quantize the class vector too, as one more part beside the concepts (HCQ)."""
    fine_class_hidden: Annotated[int, AT_LEAST_ONE] = 512
    """Units of the hidden layer of the class vector's map (ours)."""
    fine_class_dropout: Annotated[float, SHARE_BELOW_ONE] = 0.1
    """Share of these units dropped in training (ours)."""
    fine_class_input_dropout: Annotated[float, SHARE_BELOW_ONE] = 0.2
    """Share of the class vector dropped in training before its map (ours)."""
    fine_class_share: Annotated[float, SHARE] = 0.5
    """Weight of the class vector among all parts when reranking (ours; HCQ gives all the same)."""
    fine_code_share: Annotated[float, SHARE] = 0.125
    """Weight of the hash code in the score that reranks; finer codes have the rest (HCQ 1 in 8)."""

    def first_epoch(self, n_epochs: int) -> int:
        """Compute the first epoch, from 0, that the quantizer takes part in."""
        if not self.fine_start:
            return 0
        return max(1, round(self.fine_start * n_epochs))


def check_fine_settings(settings: FineSettings, hug: HugSettings) -> None:
    """Refuse a hug that finer codes can't be learned in.

    Raises:
        SettingError: if there is no local alignment, or local embeddings can't be cut into equal
            parts.
    """
    if not settings.fine_local and not settings.fine_class:
        raise SettingError(
            "fine_local and fine_class are both off, which leaves nothing to make finer codes of: "
            "turn one on"
        )
    if settings.fine_residual and not (settings.fine_local and settings.fine_class):
        raise SettingError(
            "fine_residual adds local embeddings to the class vector's, so it needs fine_local and "
            "fine_class: turn both on, or leave fine_residual out"
        )
    if hug.hug_width % settings.fine_subspaces:
        raise SettingError(
            f"hug_width is {hug.hug_width}, expected a multiple of fine_subspaces "
            f"({settings.fine_subspaces})"
        )
    if not hug.hug_weight:
        raise SettingError(
            f"hug_weight is {hug.hug_weight:g}, but finer codes are learned inside the local "
            "alignment: choose a positive weight, or do without finer codes"
        )


def count_subspaces(settings: FineSettings, hug: HugSettings) -> int:
    """Count the sub-spaces of each part.

    A class vector alone gets those of all parts, or the most below that divide its width.
    """
    if settings.fine_local:
        return settings.fine_subspaces
    most = settings.fine_subspaces * (hug.hug_concepts + 1)
    return max(count for count in range(1, most + 1) if hug.hug_width % count == 0)


def add_fine_coder(heads: AlignedHeads, settings: FineSettings, hug: HugSettings) -> None:
    """Put a finer coder on heads: on their local embeddings, the class vector, or both.

    Without local embeddings nothing is hugged: the alignment is taken off the heads.
    """
    if not settings.fine_local:
        heads.hug = None
    vlad = None if heads.hug is None else heads.hug.vlad
    quantizer = ProductQuantizer(
        (vlad.n_concepts if vlad is not None else 0) + settings.fine_class,
        hug.hug_width,
        n_subspaces=count_subspaces(settings, hug),
        n_codewords=settings.fine_codewords,
        rotation=settings.fine_rotation,
        similarity=SubspaceSimilarity.L2,
        sharpness=settings.fine_sharpness,
    )
    heads.fine = LocalCoder(
        vlad,
        heads.image.trunk.content_width,
        heads.text.trunk.content_width,
        quantizer,
        class_maps=make_class_maps(heads, settings, hug.hug_width) if settings.fine_class else None,
        class_share=settings.fine_class_share if settings.fine_class else 0.0,
        is_residual=settings.fine_residual,
        code_weight=settings.fine_code_share,
        fine_weight=1 - settings.fine_code_share,
    )
    heads.rate_scales = {
        **heads.rate_scales,
        "fine.quantizer.rotation": settings.fine_rotation_rate,
        "fine.quantizer.codebooks": 1.0,  # a group of their own: their gradients begin later
    }


def make_class_maps(
    heads: AlignedHeads, settings: FineSettings, width: int
) -> dict[Literal["image", "text"], HashHead]:
    """Make fresh maps from the class vectors of both modalities to embeddings."""
    return {
        modality: GeluHead(
            (trunk.pooled_width, settings.fine_class_hidden, width),
            dropout=settings.fine_class_dropout,
            input_dropout=settings.fine_class_input_dropout,
        )
        for modality, trunk in zip(MODALITIES, (heads.image.trunk, heads.text.trunk), strict=True)
    }


def fine_alignment(
    heads: AlignedHeads,
    batch: Batch,
    moment: Moment,
    contents: tuple[ModalityFeatures, ModalityFeatures],
    *,
    settings: FineSettings,
    hug: HugSettings,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute the local loss with quantization: the total, and its terms.

    Args:
        heads: with a finer coder.
        batch: n pairs.
        moment: decides the blend of exact and quantized.
        contents: what the trunks gave for the pictures and for the texts.
        settings: weights and forms.
        hug: with the temperature.
    """
    coder = heads.fine
    assert isinstance(coder, LocalCoder)
    watched = dict[str, Tensor]()
    if heads.hug is None:
        image_local, text_local = (
            coder.local_embeddings(content, modality)
            for content, modality in zip(contents, MODALITIES, strict=True)
        )
    else:
        image_local, text_local = heads.hug(*contents)
        watched = heads.hug.ghost_shares(image_local, text_local)
    image, text = (
        replace(side, vectors=coder.parts(content, modality, side.vectors))
        for side, content, modality in zip(
            (image_local, text_local), contents, MODALITIES, strict=True
        )
    )
    local = image, text
    has_content = image.has_content & text.has_content
    targets = None
    if settings.fine_neighbour_share:
        targets = neighbour_targets(
            batch.image.reference[has_content],
            batch.text.reference[has_content],
            share=settings.fine_neighbour_share,
            temperature=settings.fine_neighbour_temperature,
            text_weight=settings.fine_neighbour_text,
        )
        if settings.fine_neighbours_shuffled:
            targets = shuffle_edges(targets)
        exact = soft_alignment(image.vectors, text.vectors, has_content, hug, targets)
    else:
        exact = local_alignment(
            image.vectors,
            text.vectors,
            temperature=hug.hug_temperature,
            has_content=has_content,
            items=batch.items,
        )
    terms = {"hug": exact, **watched}
    if targets is not None and settings.fine_neighbour_inside:
        terms["inside"] = mean_of(
            others_contrast(torch.einsum("ikw,jkw->kij", rows, rows) / hug.hug_temperature, targets)
            for rows in (image.vectors[has_content], text.vectors[has_content])
        )
        exact = exact + settings.fine_neighbour_inside * terms["inside"]
    first = settings.first_epoch(moment.n_epochs)
    if moment.epoch < first:
        return exact, terms
    rotated = [coder.quantizer.rotate(side.vectors) for side in local]
    is_late = 2 * moment.epoch >= moment.n_epochs
    straight = settings.fine_forward is QuantizedForward.ST or (
        settings.fine_forward is QuantizedForward.LATE and is_late
    )
    quantized: list[Quantized] = [
        coder.quantizer(rows, straight_through=straight) for rows in rotated
    ]
    if coder.training:
        for side, output in zip(local, quantized, strict=True):
            coder.quantizer.count(output.codes[side.has_content])
    directions = [
        quantized_alignment(
            rotated[query_side], quantized[1 - query_side].output, has_content, hug,
            targets=targets, items=batch.items,
        )
        for query_side in (0, 1)
    ]  # fmt: skip
    terms["quantized"] = (directions[0] + directions[1]) / 2
    share = float_share(moment.epoch, moment.n_epochs, first)
    total = share * exact + (1 - share) * terms["quantized"]
    terms["reconstruction"] = mean_of(
        reconstruction_error(rows[side.has_content], output.hard[side.has_content])
        for rows, side, output in zip(rotated, local, quantized, strict=True)
    )
    total = total + settings.fine_reconstruction_weight * terms["reconstruction"]
    if settings.fine_rotation is RotationRule.PENALTY:
        terms["orthogonality"] = coder.quantizer.rotation.penalty()
        total = total + settings.fine_orthogonality_weight * terms["orthogonality"]
    return total, terms


def soft_alignment(
    image: Tensor, text: Tensor, has_content: Tensor, settings: HugSettings, targets: Tensor
) -> Tensor:
    """Compute the local alignment of both directions to soft targets, a scalar.

    Args:
        image: (n, k, w) local embeddings.
        text: (n, k, w) of the partners.
        has_content: (n,) bool, which pairs take part.
        settings: with the temperature.
        targets: (m, m) of those that take part.
    """
    if not len(targets):
        return (image.sum() + text.sum()) * 0.0
    scores = torch.einsum("ikw,jkw->kij", image[has_content], text[has_content])
    scores = scores / settings.hug_temperature
    return (soft_contrast(scores, targets) + soft_contrast(scores.mT, targets)) / 2


def quantized_alignment(
    queries: Tensor,
    quantized: Tensor,
    has_content: Tensor,
    settings: HugSettings,
    *,
    targets: Tensor | None,
    items: Tensor | None,
) -> Tensor:
    """Compute the alignment of exact queries to quantized partners, a scalar.

    Args:
        queries: (n, k, w) rotated.
        quantized: (n, k, w) of the partners.
        has_content: (n,) bool, which pairs take part.
        settings: with temperature and prior.
        targets: (m, m) soft targets of those that take part, or None.
        items: (n,) what pairs belong to, or None.
    """
    if targets is None:
        return asymmetric_alignment(
            queries,
            quantized,
            temperature=settings.hug_temperature,
            has_content=has_content,
            items=items,
        )
    if not len(targets):
        return (queries.sum() + quantized.sum()) * 0.0
    quantized_items = normalize(quantized[has_content], dim=2)
    scores = torch.einsum("ikw,jkw->kij", queries[has_content], quantized_items)
    return soft_contrast(scores / settings.hug_temperature, targets)


def mean_of(values: Iterable[Tensor]) -> Tensor:
    """Compute the mean of scalars."""
    return torch.stack(list(values)).mean()


def before_fine_training(heads: AlignedHeads, view: TrainingView, settings: FineSettings) -> None:
    """Start the quantizer if it takes part from the first epoch on."""
    if not settings.fine_start:
        start(heads, view, settings)


def after_fine_epoch(
    heads: AlignedHeads, view: TrainingView, moment: Moment, settings: FineSettings
) -> None:
    """Start the quantizer when its time has come; later on, look after it.

    Free rotations are made orthogonal again, rotations and codewords that aren't learned by
    gradient are solved for, and codewords that no item used are set anew.
    """
    coder = heads.fine
    assert isinstance(coder, LocalCoder)
    quantizer, first = coder.quantizer, settings.first_epoch(moment.n_epochs)
    if moment.epoch + 1 < first:
        return
    if moment.epoch + 1 == first:
        start(heads, view, settings)
        return
    quantizer.rotation.project()
    if settings.fine_rotation is RotationRule.PROCRUSTES:
        quantizer.align(sampled_embeddings(heads, view, settings.fine_sample))
    is_last = moment.epoch + 1 == moment.n_epochs
    n_dead, n_all = int((quantizer.use == 0).sum()), quantizer.use.numel()
    logger.info(
        "in epoch %d, %d of %d codewords were used", moment.epoch + 1, n_all - n_dead, n_all
    )
    if n_dead and not is_last:
        quantizer.renew(sampled_embeddings(heads, view, RENEWAL_SAMPLE))
    quantizer.use.zero_()


def start(heads: AlignedHeads, view: TrainingView, settings: FineSettings) -> None:
    """Set rotations and codewords from a sample of the training pairs."""
    coder = heads.fine
    assert isinstance(coder, LocalCoder)
    rows = sampled_embeddings(heads, view, settings.fine_sample)
    if len(rows):
        coder.quantizer.start(rows)


def sampled_embeddings(heads: AlignedHeads, view: TrainingView, most: int) -> Tensor:
    """Sample embeddings of both modalities, (n, l, w), of up to `most` training pairs.

    They are taken evenly from all pairs; items without content are left out.
    """
    coder = heads.fine
    assert isinstance(coder, LocalCoder)
    stride = -(-view.n_pairs // most)
    samples = []
    for batch in view.batches(SAMPLE_BATCH):
        is_chosen = batch.positions % stride == 0
        if not bool(is_chosen.any()):
            continue
        contents = trunk_pass(heads, rows_of(batch, is_chosen))
        for modality, content in zip(MODALITIES, contents, strict=True):
            local = coder.local_embeddings(content, modality)
            parts = coder.parts(content, modality, local.vectors)
            samples.append(parts[local.has_content])
    return torch.cat(samples)
