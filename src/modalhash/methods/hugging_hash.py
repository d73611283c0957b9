"""HuggingHash: contrastive hashing of class tokens, helped by aligned content tokens.

J. Wang, Z. Zeng, B. Chen, Y. Wang, D. Liao, G. Li, Y. Wang, S.-T. Xia: "Hugs bring double benefits:
unsupervised cross-modal hashing with multi-granularity aligned transformers", International
Journal of Computer Vision, 2024. https://doi.org/10.1007/s11263-024-02009-7

A handshake hashes the class tokens of a picture and of its text and contrasts the two codes with
those of other items. A hug also sums up the content tokens (patches, words) as a few local
embeddings by a GhostVLAD layer that both modalities share, and contrasts the k-th embedding of a
picture with the k-th of its text: what that teaches the transformers, the class tokens feel. Only
class token, hash head and sign are used for a code. No labels are used.

Objective, for n pairs; c_m, x_m: class vector and content tokens that trunk m gives::

    h_m   = tanh(z_m),  z_m = W2 GELU(LN(W1 c_m + a1)) + a2
    L_g   = InfoNCE(cos(h_v, h_t) / temperature), the mean of both directions
    y_mi  = LN(P_m x_mi)                              content token i in the common space
    alpha = softmax over k + g clusters of BN(w y)    ghosts count in the softmax only
    e_mk  = u / |u|,  u = sum_i alpha_ik (y_mi - c_k)
    L_l   = mean over concepts k of InfoNCE(e_vk . e_tk / hug_temperature)
    L     = L_g + hug_weight L_l

Differs from the paper: we had its abstract, keywords and the opening of its introduction, and found
no code of its authors. Certain: class tokens give codes, content tokens are aggregated by a VLAD
layer into local embeddings that are aligned in training only, contrast at both levels. Inferred
from the first author's HCQ: GhostVLAD, shared by the modalities, 7 concepts and 1 ghost, contrast
within concepts. Ours: the hash head, all temperatures and weights for short codes, ghosts that act
(HCQ drops them before the softmax), statistics of the normalisation by modality, the restart of the
clusters after the first epoch. Frozen features need a trunk, which stands for the backbones' last
layers; the paper presumably trains its transformers whole. Results are not a reproduction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from modalhash.layers import GeluHead, ScalingRule, TrunkHead, TrunkKind
from modalhash.losses import NceForm, code_statistics, info_nce
from modalhash.methods.base import (
    Batch,
    FeatureShapes,
    GradientMethod,
    LossReport,
    Moment,
    Needs,
    Optimiser,
    Schedule,
    Term,
    TrainingSettings,
    TrainingView,
)
from modalhash.methods.controls import NamedModule
from modalhash.methods.local_alignment import (
    AlignedHeads,
    HugSettings,
    LocalAlignment,
    make_trunk,
    trunk_pass,
    warn_of_missing_trunk,
)
from modalhash.methods.ranges import AT_LEAST_ONE, POSITIVE, SHARE_BELOW_ONE

__all__ = ["HuggingHash", "HuggingHashSettings", "code_terms", "make_heads"]


@dataclass(frozen=True)
class HuggingHashSettings(HugSettings):
    """Settings of HuggingHash; the paper's values are unknown, each line says where ours are from.

    Those that start with `hug_` are shared by all methods that hug.
    """

    hidden_width: Annotated[int, AT_LEAST_ONE] = 512
    """Units of the hidden layer of each hash head (ours)."""
    dropout: Annotated[float, SHARE_BELOW_ONE] = 0.1
    """Share of hidden units dropped in training (HCQ)."""
    input_dropout: Annotated[float, SHARE_BELOW_ONE] = 0.0
    """Share of the class vector dropped in training (ours)."""
    temperature: Annotated[float, POSITIVE] = 0.2
    """Temperature of the contrast of codes (ours, of 0.2 to 0.5 in CIBHash, MeCoQ and ConMH)."""
    positive_prior: Annotated[float, SHARE_BELOW_ONE] = 0.0
    """Share of negatives thought to be positives (HCQ 0; MeCoQ 0.1 to 0.15)."""


def make_heads(settings: HuggingHashSettings, shapes: FeatureShapes, n_bits: int) -> AlignedHeads:
    """Make two hash heads on trunks, and the hug unless its weight is 0."""

    def head(pooled_width: int, token_width: int | None) -> TrunkHead:
        return TrunkHead(
            make_trunk(settings, pooled_width, token_width),
            GeluHead(
                (pooled_width, settings.hidden_width, n_bits),
                dropout=settings.dropout,
                input_dropout=settings.input_dropout,
            ),
        )

    heads = AlignedHeads(
        head(shapes.image_width, shapes.image_token_width),
        head(shapes.text_width, shapes.text_token_width),
    )
    if settings.hug_weight:
        heads.hug = LocalAlignment.for_heads(heads, settings)
    if settings.hug_weight and settings.hug_trunk is TrunkKind.NONE:
        warn_of_missing_trunk()
    return heads


def code_terms(
    settings: HuggingHashSettings, image: Tensor, text: Tensor, items: Tensor | None
) -> dict[str, Term]:
    """Compute the terms that the objective has for relaxed codes.

    Args:
        settings: weights and forms.
        image: (n, b) relaxed codes of pictures.
        text: (n, b) of texts.
        items: (n,) what pairs belong to, or None.
    """
    contrast = info_nce(
        image,
        text,
        temperature=settings.temperature,
        form=NceForm.CROSS,
        positive_prior=settings.positive_prior,
        items=items,
    )
    return {"contrast": Term(contrast)}


FINETUNED: Mapping[str, Any] = {
    "hug_weight": 1.0,
    "hug_temperature": 0.05,
    "hug_width": 512,
    "hug_trunk": "none",
    "tune_encoder": True,
    "epochs": 30,
    "weight_decay": 0.01,
    "image_token_width": 0,
    "text_token_width": 0,
    "image_token_grid": 0,
}
"""For backbones that are trained too, which then are the trunk (HCQ); takes an accelerator.

Not measured.
"""
DENSE: Mapping[str, Any] = {
    "hug_trunk": "attention",
    "hug_trunk_dropout": 0.5,
    "temperature": 0.25,
    "dropout": 0.2,
    "input_dropout": 0.1,
    "image_scaling": "standardised",
    "text_scaling": "standardised",
    "epochs": 20,
}
"""For frozen dense features and small collections (ours, chosen on Flickr8k dev and icons).

Contrast learns its pairs by heart, at the cost of neighbours; few epochs, dropout and a small trunk
hold that off. A softer temperature helps short codes, a sharper one long codes: 0.25 is between.
Dimensions of frozen features differ much in size, which standardising evens out.
"""


TRAINING = TrainingSettings(
    epochs=40,
    batch_size=128,
    optimiser=Optimiser.ADAMW,
    learning_rate=1e-3,
    weight_decay=1e-4,
    schedule=Schedule.COSINE,
    image_token_width=128,
    image_token_grid=4,
    text_token_width=128,
    image_scaling=ScalingRule.CENTRED_RMS,
    text_scaling=ScalingRule.CENTRED_RMS,
)
"""How class and content tokens of frozen backbones are trained on."""


class HuggingHash(GradientMethod[AlignedHeads]):
    """Multi-granularity aligned hashing; see the module's docstring."""

    name = "hugging-hash"
    title = "HuggingHash"
    needs = frozenset({Needs.TOKENS})
    settings_class = HuggingHashSettings
    settings: HuggingHashSettings
    training = TRAINING
    smallest_batch = 2
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "dense": DENSE,
        "finetuned": FINETUNED,
        "frozen": {},
    }
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "without the hug": {"hug_weight": 0.0},
        "with a shuffled hug": {"hug_shuffled": True},
        "without the hug and the trunk": {"hug_weight": 0.0, "hug_trunk": "none"},
        "without ghosts": {"hug_ghosts": 0},
        "one concept": {"hug_concepts": 1},
        "without the restart": {"hug_restart": False},
    }
    removed_parts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "without the hug": ("hug",),
        "without the hug and the trunk": ("hug",),
    }
    modules: ClassVar[Mapping[str, NamedModule]] = {
        "hug": NamedModule("without the hug", "with a shuffled hug"),
    }

    def build_heads(self, shapes: FeatureShapes, n_bits: int) -> AlignedHeads:
        """Make two hash heads on trunks, and the hug that acts in training."""
        return make_heads(self.settings, shapes, n_bits)

    def batch_loss(self, heads: AlignedHeads, batch: Batch, moment: Moment) -> LossReport:
        """Compute the contrast of codes and the weighted local alignment."""
        image, text = trunk_pass(heads, batch)
        relaxed = torch.tanh(heads.image.head(image)), torch.tanh(heads.text.head(text))
        terms = code_terms(self.settings, *relaxed, batch.items)
        watched = code_statistics(*relaxed)
        if heads.hug is not None:
            local_image, local_text = heads.hug(image, text)
            alignment = heads.hug.alignment(local_image, local_text, batch.items)
            terms["hug"] = Term(alignment, self.settings.hug_weight)
            watched |= heads.hug.ghost_shares(local_image, local_text)
        return LossReport(terms, watched)

    def after_epoch(self, heads: AlignedHeads, view: TrainingView, moment: Moment) -> None:
        """Start the clusters anew after the first epoch; watch over them."""
        if heads.hug is not None:
            heads.hug.after_epoch(heads, view, moment)
