"""UCMFH in a one-modality form: a fusion transformer that teaches, and codes of one item alone.

X. Xia, G. Dong, F. Li, L. Zhu, X. Ying: "When CLIP Meets Cross-Modal Hashing Retrieval: A New
Strong Baseline", Information Fusion, 2023. https://doi.org/10.1016/j.inffus.2023.101968

The published method puts the features of a picture and of its text side by side through a
transformer and contrasts the two halves that come out, then contrasts the codes of two heads that
read them. No labels are used. Its codes need both sides of a pair, also those of queries: a picture
without a text has no code. That can't be served, and it measures retrieval with the answer in hand.

This form keeps the parts and takes the leak out. A picture's and a text's features are one token
each. Through the transformer they pass together in training, as the teacher; for a code, each
passes alone. The codes learn from contrast with the partner's code, and from the teacher, which
sees both sides: items whose fused tokens are alike may have codes that are alike.

Objective, for n pairs; e_v, e_t are the tokens of a pair that passed together, f = unit(e_v + e_t),
h_m = tanh of the head on a token that passed alone::

    fusion   = NCE(e_v, e_t)
    contrast = NCE(h_v, h_t)
    P        = softmax(cos(f, f) / teacher_temperature), no gradient passes
    teacher  = cross-entropy of softmax(cos(h_v, h_t) / temperature) to P, mean of both directions
    L        = fusion + hash_weight contrast + teacher_weight teacher

NCE is InfoNCE with cosines over `temperature`, negatives from both sides.

Differs from the paper: codes are of one modality, as said. Each side is a token, where the released
code makes one token of both; each has its linear map, so features needn't be as wide as each other;
tokens are normalised before the layers, and have length sqrt(width) after them where theirs have 1.
In the released code the only token of a pair meets no other in training, but all of the batch's in
evaluation, so that a code there depends on batch mates too; here tokens meet those of their own
pair alone, and only in training. The teacher term is ours. Transformer and heads have optimisers of
their own with momentum 0.5 there, one with 0.9 and rates in the same ratio here. Formulas and
constants are those of the released code; the paper's text wasn't read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from modalhash.layers import FusionHead, FusionTransformer, MlpHead
from modalhash.layers.feature_scaling import ScalingRule
from modalhash.losses import (
    NceForm,
    code_statistics,
    cosine_similarities,
    info_nce,
    soft_contrast,
)
from modalhash.methods.base import (
    DENSE_TRAINING,
    Batch,
    FeatureShapes,
    GradientMethod,
    Heads,
    LossReport,
    Moment,
    Optimiser,
    Term,
    TrainingSettings,
)
from modalhash.methods.ranges import (
    AT_LEAST_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE_BELOW_ONE,
    Settings,
    check_multiple,
)

__all__ = ["PairFusion", "Ucmfh", "UcmfhSettings", "teacher_loss", "teacher_targets"]


@dataclass(frozen=True)
class UcmfhSettings(Settings):
    """Settings of UCMFH; values of the released code unless the line says otherwise."""

    token_width: Annotated[int, AT_LEAST_ONE] = 512
    """Width of a modality's token (released: both together 1024)."""
    n_layers: Annotated[int, AT_LEAST_ONE] = 2
    """Transformer layers."""
    n_attention_heads: Annotated[int, AT_LEAST_ONE] = 4
    """Attention heads of a layer."""
    fusion_dropout: Annotated[float, SHARE_BELOW_ONE] = 0.1
    """Share dropped in training of what each part of a layer adds."""
    hidden_width: Annotated[int, AT_LEAST_ONE] = 4096
    """Units of each hash head's hidden layer."""
    hidden_dropout: Annotated[float, SHARE_BELOW_ONE] = 0.3
    """Share of them dropped in training."""
    temperature: Annotated[float, POSITIVE] = 0.5
    """Divides cosines in all contrasts."""
    fusion_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the contrast between tokens that passed together."""
    hash_weight: Annotated[float, NOT_NEGATIVE] = 0.5
    """Weight of the contrast between codes."""
    teacher_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of what the fused tokens teach the codes (ours)."""
    teacher_temperature: Annotated[float, POSITIVE] = 0.2
    """Divides cosines of fused tokens; the larger, the more alike all items count (ours)."""
    fusion_rate_scale: Annotated[float, POSITIVE] = 0.1
    """Factor on the learning rate of the transformer."""

    def check_together(self) -> None:
        """Check that attention heads share the tokens' width evenly."""
        check_multiple(self, "token_width", "n_attention_heads")


class PairFusion(nn.Module):
    """The teacher: both sides of a pair through the transformer together; training only.

    Args:
        image_map: from image features to tokens, that of the image head.
        text_map: that of the text head.
        transformer: that of both heads.
    """

    def __init__(
        self, image_map: nn.Module, text_map: nn.Module, transformer: FusionTransformer
    ) -> None:
        super().__init__()
        self.image_map, self.text_map, self.transformer = image_map, text_map, transformer

    def forward(self, image_features: Tensor, text_features: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the tokens (n, w) of pictures and of texts, each having seen its partner's."""
        tokens = torch.stack([self.image_map(image_features), self.text_map(text_features)], dim=1)
        seen = self.transformer(tokens)
        return seen[:, 0], seen[:, 1]


def teacher_targets(image_tokens: Tensor, text_tokens: Tensor, temperature: float) -> Tensor:
    """Compute how alike pairs are by their fused tokens.

    Args:
        image_tokens: (n, w), rows of one length.
        text_tokens: (n, w) of the partners.
        temperature: divides cosines.

    Returns:
        (n, n), rows sum to 1; no gradient passes.
    """
    fused = normalize((image_tokens + text_tokens).detach(), dim=1)
    return (fused @ fused.T / temperature).softmax(dim=1)


def teacher_loss(image: Tensor, text: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Compute the mean cross-entropy of codes' likeness across modalities to targets; a scalar.

    Args:
        image: (n, b) relaxed codes.
        text: (n, b) of the partners.
        targets: (n, n), rows sum to 1.
        temperature: divides cosines of codes.
    """
    scores = cosine_similarities(image, text) / temperature
    return soft_contrast(torch.stack([scores, scores.T]), targets)


RELEASED: Mapping[str, Any] = {"epochs": 100}

DENSE: Mapping[str, Any] = {
    **DENSE_TRAINING,
    "token_width": 128,
    "n_layers": 1,
    "hidden_width": 1024,
    "fusion_dropout": 0.0,
    "hidden_dropout": 0.0,
    "temperature": 0.3,
    "fusion_weight": 0.2,
    "hash_weight": 1.0,
    "teacher_temperature": 0.1,
    "fusion_rate_scale": 1.0,
    "learning_rate": 2e-3,
    "batch_size": 128,
    "epochs": 12,
}
"""For dense text features and small collections (ours, chosen on Flickr8k dev)."""


@dataclass
class UcmfhHeads(Heads):
    """Two heads on one transformer, and the teacher of the same parts."""

    image: FusionHead
    text: FusionHead
    teacher: PairFusion


class Ucmfh(GradientMethod[UcmfhHeads]):
    """UCMFH in a one-modality form; see the module's docstring."""

    name = "ucmfh"
    title = "UCMFH, one modality"
    settings_class = UcmfhSettings
    settings: UcmfhSettings
    training = TrainingSettings(
        epochs=100,
        batch_size=128,
        optimiser=Optimiser.ADAM,
        learning_rate=1e-3,
        weight_decay=0.0,
        image_scaling=ScalingRule.CENTRED_RMS,
        text_scaling=ScalingRule.CENTRED_RMS,
    )
    smallest_batch = 2
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"dense": DENSE, "paper": RELEASED}
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "without the teacher": {"teacher_weight": 0.0},
        "without the contrast of codes": {"hash_weight": 0.0},
        "without the contrast of fused tokens": {"fusion_weight": 0.0},
    }
    removed_parts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "without the teacher": ("teacher",),
        "without the contrast of codes": ("contrast",),
        "without the contrast of fused tokens": ("fusion",),
    }

    def build_heads(self, shapes: FeatureShapes, n_bits: int) -> UcmfhHeads:
        """Make two heads on one transformer, and the teacher of the same parts."""
        settings = self.settings
        transformer = FusionTransformer(
            settings.token_width,
            n_heads=settings.n_attention_heads,
            n_layers=settings.n_layers,
            dropout=settings.fusion_dropout,
        )
        image, text = (
            FusionHead(
                width,
                transformer,
                MlpHead(
                    (settings.token_width, settings.hidden_width, n_bits),
                    dropout=settings.hidden_dropout,
                ),
            )
            for width in (shapes.image_width, shapes.text_width)
        )
        teacher = PairFusion(image.token_map, text.token_map, transformer)
        scale = settings.fusion_rate_scale
        return UcmfhHeads(
            image=image,
            text=text,
            teacher=teacher,
            rate_scales={
                "image.transformer": scale, "image.token_map": scale, "text.token_map": scale,
            },
        )  # fmt: skip

    def batch_loss(self, heads: UcmfhHeads, batch: Batch, moment: Moment) -> LossReport:
        """Compute the contrasts of fused tokens and of codes, and what the teacher asks."""
        settings = self.settings
        image = torch.tanh(heads.image(batch.image))
        text = torch.tanh(heads.text(batch.text))
        image_tokens, text_tokens = heads.teacher(batch.image.pooled, batch.text.pooled)
        targets = teacher_targets(image_tokens, text_tokens, settings.teacher_temperature)
        nce = partial(
            info_nce, temperature=settings.temperature, form=NceForm.FULL, items=batch.items
        )
        fusion, contrast = nce(image_tokens, text_tokens), nce(image, text)
        teacher = teacher_loss(image, text, targets, settings.temperature)
        terms = {
            "fusion": Term(fusion, settings.fusion_weight),
            "contrast": Term(contrast, settings.hash_weight),
            "teacher": Term(teacher, settings.teacher_weight),
        }
        watched = {"own_target": targets.diagonal().mean(), **code_statistics(image, text)}
        return LossReport(terms, watched)
