"""CFRH: CLIP-based fusion-modal reconstructing hashing.

M. Li, Y. Li, M. Ge, L. Ma: "CLIP-based fusion-modal reconstructing hashing for large-scale
unsupervised cross-modal retrieval", International Journal of Multimedia Information Retrieval
12(1), article 2, 2023. https://doi.org/10.1007/s13735-023-00268-7

Each modality has an autoencoder whose middle is the relaxed code. The similarities of frozen image
features and of text features are fused with their complementary product into one affinity matrix.
Codes must reproduce it within each modality and across the two, and decode to the features they
came from. No labels are used.

Objective, for n pairs with features F_v, F_t and c = epoch (from 0)::

    H_m   = tanh(sqrt(c + 1) z_m)                  z_m: output of the hash head of modality m
    S_m   = 2 cos(F_m, F_m) - 1
    X     = cos(rows of S_v, rows of S_t);         S_c = (X + X^T) / 2
    S     = scale (image_weight S_v + text_weight S_t + fusion_weight S_c)
    intra = MSE(cos(H_v, H_v), S) + MSE(cos(H_t, H_t), S)
    cross = MSE(cos(H_v, H_t), S) + MSE(cos(H_t, H_v), S) - mean_i cos(H_v[i], H_t[i])
    decode = gap(D_v(H_v), F_v) + gap(D_t(H_t), F_t)
             gap: mean squared error, of features as they are or standardised
    L     = intra_weight intra + cross_weight cross + decode_weight decode

Differs from the paper: its text and its numbers could not be read, and the authors' repository
lacks the network, the loss and the settings. Certain (figure, abstract): the autoencoders, each
decoding to its own modality's input; the three weighted parts of the fused affinity; intra- and
cross-modal reconstruction; tanh continuation; Wiki, MIRFlickr, NUS-WIDE and COCO as data. Inferred
from the same authors' CAGAN and MOED and from JDSH, whose skeleton the repository names: layer
sizes, the forms of `intra`, `cross` and S_c, all weights, the optimiser. Ours: one linear layer per
decoder with linear output, beside what siblings do instead, as settings. Features are cached, so
pictures are not flipped or cropped anew each epoch.

The factor before the tanh stands for the sign at last. `scale_free` (ours, in the preset `dense`)
lets it grow from .5 to 4 relative to the outputs' own root mean square instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from modalhash.layers import MlpHead, ModalityFeatures
from modalhash.layers.feature_scaling import ScalingRule
from modalhash.losses import (
    CrossSimilarity,
    DecodeTarget,
    code_statistics,
    cross_gap,
    decoding_loss,
    decoding_target,
    fused_affinity,
    intra_gap,
    rescaled_cosines,
    target_range,
    unexplained_share,
)
from modalhash.methods.base import (
    DENSE_TRAINING,
    Batch,
    FeatureShapes,
    GradientMethod,
    Heads,
    LossReport,
    Moment,
    Term,
    TrainingSettings,
)
from modalhash.methods.continuation import make_relaxation
from modalhash.methods.controls import NamedModule, shuffle_items
from modalhash.methods.ranges import AT_LEAST_ONE, NOT_NEGATIVE, Settings

__all__ = ["Cfrh", "CfrhSettings"]


@dataclass(frozen=True)
class CfrhSettings(Settings):
    """Settings of CFRH; the paper's values are unknown, each line says where ours come from."""

    hidden_width: Annotated[int, AT_LEAST_ONE] = 4096
    """Units of the hidden layer of each hash head (CAGAN, JDSH)."""
    image_weight: Annotated[float, NOT_NEGATIVE] = 0.5
    """Weight of the image similarity in the fused affinity (CAGAN, MOED)."""
    text_weight: Annotated[float, NOT_NEGATIVE] = 0.2
    """Weight of the text similarity (CAGAN, MOED)."""
    fusion_weight: Annotated[float, NOT_NEGATIVE] = 0.3
    """Weight of the complementary part (CAGAN, MOED); the authors' script also tries 2, 3, 4."""
    similarity_scale: Annotated[float, NOT_NEGATIVE] = 1.4
    """Scale of the fused affinity (CAGAN, MOED, JDSH; 1.5 for Wiki in JAGH)."""
    intra_weight: Annotated[float, NOT_NEGATIVE] = 0.1
    """Weight of reconstruction within a modality (JDSH, CAGAN)."""
    cross_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of reconstruction across modalities (JDSH, CAGAN)."""
    both_orders: bool = True
    """Count image-text and text-image reconstruction (JDSH); the figure prints one of them."""
    pair_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the partners' cosine inside the part across modalities (JDSH, CAGAN)."""
    decode_weight: Annotated[float, NOT_NEGATIVE] = 0.1
    """Weight of the autoencoders' term (MOED; DSAH and CCAH use 1). Low confidence."""
    decode_target: DecodeTarget = DecodeTarget.RAW
    """Form of the features that decoders reproduce, and unit of the error (ours)."""
    decode_sum: bool = False
    """Sum the squared errors of a row instead of averaging them (ours)."""
    shuffled_decoders: bool = False
    """Let decoders reproduce the features of other pairs: a control (ours)."""
    continuation: bool = True
    """Sharpen the tanh by sqrt(epoch + 1); without it the factor stays 1."""
    scale_free: bool = False
    """Let the factor grow relative to the outputs' own size instead (ours)."""


DENSE: Mapping[str, Any] = {
    **DENSE_TRAINING,
    "scale_free": True,
    "hidden_width": 1024,
    "image_weight": 0.2,
    "text_weight": 0.3,
    "fusion_weight": 0.5,
    "similarity_scale": 1.5,
    "intra_weight": 0.5,
    "pair_weight": 0.2,
}
"""For dense text features and small collections (ours, chosen on Flickr8k dev).

The released siblings' SGD at 0.01 meets features of any length: on long ones it drives bits to
constants in the first epochs and doesn't always bring them back, the less so the fewer bits or
pairs there are (Flickr8k at 16 bits, icons at 64). Sentence vectors also deserve more weight than
bags of words, whose similarity is mostly whether any word is shared. Centred features have cosines
about 0, so that the fused part decides where unrelated pairs lie, here at 0: below it, codes near
the signs meet the target by bits that tell nothing, + for all pictures and - for all texts.
Similarity within modalities counts more than by .1 for the same reason.

On Wiki too: by the plain SGD of the released siblings, or with JAGH's .3 of fusion, over a quarter
of the bits become constant. The scale is JAGH's there.
"""


@dataclass
class CfrhHeads(Heads):
    """Hash heads and the decoder of each modality's features."""

    image_decoder: nn.Linear
    text_decoder: nn.Linear


class Cfrh(GradientMethod[CfrhHeads]):
    """CLIP-based fusion-modal reconstructing hashing; see the module's docstring."""

    name = "cfrh"
    title = "CFRH"
    settings_class = CfrhSettings
    settings: CfrhSettings
    training = TrainingSettings(
        epochs=20,
        image_scaling=ScalingRule.CENTRED_RMS,
        text_scaling=ScalingRule.CENTRED_RMS,
    )
    smallest_batch = 2
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "dense": DENSE,
        "paper": {},
        "mirflickr": {},
        "nuswide": {},
        "coco": {},
        "wiki": DENSE,
    }
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "without the decoders": {"decode_weight": 0.0},
        "with shuffled decoders": {"shuffled_decoders": True},
        "without the fused part": {"fusion_weight": 0.0},
        "image similarity only": {"image_weight": 1.0, "text_weight": 0.0, "fusion_weight": 0.0},
        "text similarity only": {"image_weight": 0.0, "text_weight": 1.0, "fusion_weight": 0.0},
        "without the intra-modal part": {"intra_weight": 0.0},
        "without the part across modalities": {"cross_weight": 0.0},
        "one order across modalities": {"both_orders": False},
        "without the partners' cosine": {"pair_weight": 0.0},
        "without the scale": {"similarity_scale": 1.0},
        "without continuation": {"continuation": False},
    }
    removed_parts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "without the decoders": (
            "decode",
            "image_decoder",
            "text_decoder",
        ),
        "without the intra-modal part": ("intra",),
        "without the part across modalities": ("cross",),
    }
    modules: ClassVar[Mapping[str, NamedModule]] = {
        "decoders": NamedModule("without the decoders", "with shuffled decoders"),
    }

    def build_heads(self, shapes: FeatureShapes, n_bits: int) -> CfrhHeads:
        """Make two hash heads of one hidden layer and two linear decoders."""
        hidden = self.settings.hidden_width
        image_decoder = nn.Linear(n_bits, shapes.image_width)
        text_decoder = nn.Linear(n_bits, shapes.text_width)
        return CfrhHeads(
            image=MlpHead((shapes.image_width, hidden, n_bits)),
            text=MlpHead((shapes.text_width, hidden, n_bits)),
            image_decoder=image_decoder,
            text_decoder=text_decoder,
        )

    def batch_loss(self, heads: CfrhHeads, batch: Batch, moment: Moment) -> LossReport:
        """Compute the three weighted parts of the objective."""
        settings = self.settings
        relax = make_relaxation(settings, moment)
        image_relaxed = relax(heads.image(batch.image))
        text_relaxed = relax(heads.text(batch.text))
        with torch.no_grad():
            affinity = fused_affinity(
                rescaled_cosines(batch.image.reference),
                rescaled_cosines(batch.text.reference),
                image_weight=settings.image_weight,
                text_weight=settings.text_weight,
                cross_weight=settings.fusion_weight,
                scale=settings.similarity_scale,
                rule=CrossSimilarity.SYMMETRIC_ROW_COSINE,
            )
        intra = intra_gap(image_relaxed, text_relaxed, affinity)
        cross = cross_gap(
            image_relaxed,
            text_relaxed,
            affinity,
            both_orders=settings.both_orders,
            pair_weight=settings.pair_weight,
        )
        image_decoded = heads.image_decoder(image_relaxed)
        text_decoded = heads.text_decoder(text_relaxed)
        decode = self.decode(image_decoded, batch.image) + self.decode(text_decoded, batch.text)
        terms = {
            "intra": Term(intra, settings.intra_weight),
            "cross": Term(cross, settings.cross_weight),
            "decode": Term(decode, settings.decode_weight),
        }
        unexplained = {
            "image_unexplained": self.unexplained(image_decoded, batch.image),
            "text_unexplained": self.unexplained(text_decoded, batch.text),
        }
        watched = target_range(affinity) | code_statistics(image_relaxed, text_relaxed)
        return LossReport(terms, watched | unexplained)

    def unexplained(self, decoded: Tensor, features: ModalityFeatures) -> Tensor:
        """Compute the share of variance of the decoder's target that it leaves unexplained."""
        target = decoding_target(features.reference, self.settings.decode_target)
        return unexplained_share(decoded.detach(), target)

    def decode(self, decoded: Tensor, features: ModalityFeatures) -> Tensor:
        """Compute the gap between what a decoder made (n, d) and its own modality's input."""
        settings = self.settings
        reference = features.reference
        if settings.shuffled_decoders:
            reference = shuffle_items(reference)
        return decoding_loss(
            decoded,
            reference,
            target=settings.decode_target,
            sum_rows=settings.decode_sum,
        )
