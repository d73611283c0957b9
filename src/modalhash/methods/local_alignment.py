"""Hugging: align what content tokens say, so that the code of the class token gets better.

J. Wang, Z. Zeng, B. Chen, Y. Wang, D. Liao, G. Li, Y. Wang, S.-T. Xia: "Hugs bring double benefits:
unsupervised cross-modal hashing with multi-granularity aligned transformers", International
Journal of Computer Vision, 2024. https://doi.org/10.1007/s11263-024-02009-7

What HuggingHash, HuggingHash+ and hugged methods share. A trunk a modality lets class and
content tokens meet; GhostVLAD sums content tokens up as a few local embeddings, each of them a
concept that both modalities share; the k-th of a picture is aligned with the k-th of its text. None
of it is needed for a code but the trunk.
"""

import logging
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor, nn

from modalhash.layers import (
    AssignNorm,
    GhostVlad,
    LocalEmbeddings,
    ModalityFeatures,
    ProjectionNorm,
    TokenTrunk,
    TrunkHead,
    TrunkKind,
)
from modalhash.layers.ghost_vlad import MODALITIES
from modalhash.losses import local_alignment
from modalhash.methods.base import (
    Batch,
    Heads,
    Moment,
    TrainingView,
)
from modalhash.methods.controls import shuffle_items
from modalhash.methods.ranges import (
    AT_LEAST_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE_BELOW_ONE,
    Settings,
    check_multiple,
)

__all__ = [
    "AlignedHeads",
    "HugSettings",
    "LocalAlignment",
    "make_trunk",
    "rows_of",
    "trunk_pass",
    "warn_of_missing_trunk",
]

logger = logging.getLogger(__name__)
RESTART_BATCH, RESTART_TOKENS, RESTART_BATCHES = 256, 256, 20
"""A restart looks at up to 256 tokens a modality of each of up to 20 batches of 256 pairs."""
EMPTY_SHARE = 0.01
"""Share of all assignments below which a cluster counts as empty."""


@dataclass(frozen=True)
class HugSettings(Settings):
    """Settings of trunks and local alignment; HCQ is the same first author's WWW 2022 method."""

    hug_weight: Annotated[float, NOT_NEGATIVE] = 0.3
    """Weight of the local alignment; 0 is a handshake (ours for frozen features; 1 fine-tuned)."""
    hug_temperature: Annotated[float, POSITIVE] = 0.1
    """Temperature of the local alignment (ours for frozen features; HCQ 0.05)."""
    hug_concepts: Annotated[int, AT_LEAST_ONE] = 7
    """Local embeddings an item (HCQ; its results hardly depended on it)."""
    hug_ghosts: Annotated[int, NOT_NEGATIVE] = 1
    """Ghost clusters, for tokens that say little (HCQ)."""
    hug_width: Annotated[int, AT_LEAST_ONE] = 128
    """Width of local embeddings (ours for frozen features; HCQ 512)."""
    hug_restart: bool = True
    """Start the clusters anew from tokens after the first epoch (ours; HCQ keeps random ones)."""
    hug_trunk: TrunkKind = TrunkKind.TRANSFORMER
    """How class and content tokens meet (ours: frozen features have no other common path)."""
    hug_trunk_width: Annotated[int, AT_LEAST_ONE] = 128
    """Width of tokens inside the trunk (ours)."""
    hug_trunk_heads: Annotated[int, AT_LEAST_ONE] = 4
    """Attention heads of the trunk (ours)."""
    hug_trunk_layers: Annotated[int, AT_LEAST_ONE] = 1
    """Transformer layers of the trunk (ours)."""
    hug_trunk_dropout: Annotated[float, SHARE_BELOW_ONE] = 0.1
    """Share dropped in training of what each part of the trunk adds (HCQ)."""
    hug_shuffled: bool = False
    """Align each picture with the words of another pair's text: a control (ours)."""

    def check_together(self) -> None:
        """Check that attention heads share the trunk's width evenly."""
        check_multiple(self, "hug_trunk_width", "hug_trunk_heads")


def make_trunk(settings: HugSettings, pooled_width: int, token_width: int | None) -> TokenTrunk:
    """Make a fresh trunk of one modality."""
    assert token_width is not None
    return TokenTrunk(
        settings.hug_trunk,
        pooled_width,
        token_width,
        width=settings.hug_trunk_width,
        n_heads=settings.hug_trunk_heads,
        n_layers=settings.hug_trunk_layers,
        dropout=settings.hug_trunk_dropout,
    )


class LocalAlignment(nn.Module):
    """GhostVLAD over what trunks give, and the watch over its clusters.

    Args:
        settings: of the alignment.
        image_width: w of the content tokens that come out of the image trunk.
        text_width: of those of the text trunk.
        width: of local embeddings; None as the settings say.
    """

    image_masses: Tensor
    text_masses: Tensor

    def __init__(
        self, settings: HugSettings, image_width: int, text_width: int, *, width: int | None = None
    ) -> None:
        super().__init__()
        self.settings = settings
        self.vlad = GhostVlad(
            image_width,
            text_width,
            width=width or settings.hug_width,
            n_concepts=settings.hug_concepts,
            n_ghosts=settings.hug_ghosts,
            assign_norm=AssignNorm.BATCH,
            projection_norm=ProjectionNorm.AFTER,
        )
        n_clusters = settings.hug_concepts + settings.hug_ghosts
        self.register_buffer("image_masses", torch.zeros(n_clusters))
        self.register_buffer("text_masses", torch.zeros(n_clusters))

    @classmethod
    def for_heads(
        cls, heads: "AlignedHeads", settings: HugSettings, *, width: int | None = None
    ) -> "LocalAlignment":
        """Make an alignment that fits the trunks of both heads."""
        widths = (heads.image.trunk.content_width, heads.text.trunk.content_width)
        return cls(settings, *widths, width=width)

    def forward(
        self, image: ModalityFeatures, text: ModalityFeatures
    ) -> tuple[LocalEmbeddings, LocalEmbeddings]:
        """Compute the local embeddings of n pairs from the trunks' outputs.

        In training, cluster masses are added up until the epoch ends.
        """
        embeddings = self.vlad(image, "image"), self.vlad(text, "text")
        if self.training:
            self.image_masses += embeddings[0].masses
            self.text_masses += embeddings[1].masses
        if self.settings.hug_shuffled:
            return embeddings[0], shuffle_embeddings(embeddings[1])
        return embeddings

    def alignment(
        self, image: LocalEmbeddings, text: LocalEmbeddings, items: Tensor | None
    ) -> Tensor:
        """Compute the contrastive local alignment, a scalar."""
        return local_alignment(
            image.vectors,
            text.vectors,
            temperature=self.settings.hug_temperature,
            has_content=image.has_content & text.has_content,
            items=items,
        )

    def ghost_shares(self, image: LocalEmbeddings, text: LocalEmbeddings) -> dict[str, Tensor]:
        """Compute the share of each modality's assignments that ghosts take, for the log."""
        return {
            f"{name}_ghost_share": shares(embeddings.masses)[self.settings.hug_concepts :].sum()
            for name, embeddings in (("image", image), ("text", text))
        }

    def after_epoch(self, heads: "AlignedHeads", view: TrainingView, moment: Moment) -> None:
        """Start the clusters anew after the first epoch; warn of empty ones; forget the masses."""
        if moment.epoch == 0 and moment.n_epochs > 1 and self.settings.hug_restart:
            samples = self.sampled_tokens(heads, view)
            if len(samples) > self.settings.hug_concepts:
                self.vlad.restart(samples, torch.default_generator)
        if moment.epoch + 1 in (moment.n_epochs // 2, moment.n_epochs):
            self.warn_of_empty_clusters(moment.epoch)
        self.image_masses.zero_()
        self.text_masses.zero_()

    def sampled_tokens(self, heads: "AlignedHeads", view: TrainingView) -> Tensor:
        """Sample projected tokens of both modalities from all over the training pairs."""
        stride = max(1, -(-view.n_pairs // (RESTART_BATCH * RESTART_BATCHES)))
        samples = []
        for place, batch in enumerate(view.batches(RESTART_BATCH)):
            if place % stride:
                continue
            for modality, content in zip(MODALITIES, trunk_pass(heads, batch), strict=True):
                assert content.tokens is not None
                assert content.token_mask is not None
                projected = self.vlad.project(content.tokens, content.token_mask, modality)
                real = projected[content.token_mask]
                chosen = torch.randperm(len(real))[:RESTART_TOKENS]
                samples.append(real[chosen.to(real.device)])
        return torch.cat(samples)

    def warn_of_empty_clusters(self, epoch: int) -> None:
        """Log a warning for real clusters that hold next to nothing in both modalities."""
        image, text = shares(self.image_masses), shares(self.text_masses)
        for cluster in range(self.settings.hug_concepts):
            if max(image[cluster], text[cluster]) < EMPTY_SHARE:
                logger.warning(
                    "in epoch %d, concept %d holds %.2f %% of the image and %.2f %% of the text "
                    "assignments: it aligns nothing; lower hug_concepts (now %d)",
                    epoch + 1,
                    cluster + 1,
                    100 * image[cluster],
                    100 * text[cluster],
                    self.settings.hug_concepts,
                )


def shuffle_embeddings(embeddings: LocalEmbeddings) -> LocalEmbeddings:
    """Give each item the local embeddings of another item."""
    return replace(
        embeddings,
        vectors=shuffle_items(embeddings.vectors),
        has_content=shuffle_items(embeddings.has_content),
    )


@dataclass
class AlignedHeads(Heads):
    """Hash heads on trunks and, unless its weight is 0, the alignment of local embeddings."""

    image: TrunkHead
    text: TrunkHead
    hug: LocalAlignment | None = None


def trunk_pass(heads: AlignedHeads, batch: Batch) -> tuple[ModalityFeatures, ModalityFeatures]:
    """Compute what the trunks of both heads make of a batch's pictures and texts."""
    return heads.image.trunk(batch.image), heads.text.trunk(batch.text)


def shares(masses: Tensor) -> Tensor:
    """Divide masses by their sum, 0 where there is none."""
    return masses / masses.sum().clamp_min(torch.finfo(masses.dtype).tiny)


def rows_of(batch: Batch, chosen: Tensor) -> Batch:
    """Select the chosen pairs of a batch; all of them leave it as it is."""
    if bool(chosen.all()):
        return batch

    return Batch(
        batch.image.rows(chosen),
        batch.text.rows(chosen),
        None if batch.labels is None else batch.labels[chosen],
        batch.positions[chosen],
        None if batch.items is None else batch.items[chosen],
    )


def warn_of_missing_trunk() -> None:
    """Log that without a trunk local alignment can't reach the code."""
    logger.warning(
        "hug_trunk is none: unless the encoder is tuned too, content tokens have no path to the "
        "hash heads, so hugging can't change a code; choose attention or transformer"
    )
