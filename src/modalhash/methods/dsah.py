"""DSAH: deep semantic-alignment hashing.

D. Yang, D. Wu, W. Zhang, H. Zhang, B. Li, W. Wang: "Deep Semantic-Alignment Hashing for
Unsupervised Cross-Modal Retrieval", International Conference on Multimedia Retrieval, 2020.
https://doi.org/10.1145/3372278.3390673

The similarities of a batch's image features and of its text features are mixed. All three kinds of
similarity between codes, image with image, text with text and image with text, are aligned with
the mixture. Partners get the same code, what a picture's code says of a text is what that text's
picture says of the picture's text, and features of one modality are made again from codes of the
other. No labels are used.

Objective, for n pairs with features F_v, F_t, c = epoch (from 0), low = unrelated_similarity and
K_xy = cos(H_x, H_y)::

    H_m      = tanh(sqrt(c + 1) z_m)               z_m: output of the hash head of modality m
    S_m      = (1 - low) cos(F_m, F_m) + low
    S        = similarity_scale (image_weight S_v + (1 - image_weight) S_t)
    align    = MSE(K_vv, S) + MSE(K_tt, S) + MSE(K_vt, S)
    own      = MSE(K_vv, similarity_scale S_v) + MSE(K_tt, similarity_scale S_t)
    pair     = mean_i (K_vt[i, i] - similarity_scale)^2
    symmetry = MSE(K_vt, K_vt^T)
    decode   = mse(D_v(sign H_t), F_v / |F_v|) + mse(D_t(sign H_v), F_t / |F_t|)
    L        = align + pair_weight pair + symmetry_weight symmetry + decode_weight decode
               + own_weight own

Differs from the paper: its text could not be read; form and constants are those of the code that
goes by its name, whose target is `low = -1`. There the image network is trained in part and takes
targets from a frozen copy; here features are frozen, and the image head has a hidden layer as the
text head has (`image_hidden_width=0`: a linear map alone). Signs pass no gradient, so that there
`decode` teaches decoders only; `decode_from=relaxed` lets heads learn from it too. The optimiser
there is SGD with Nesterov's momentum, here plain momentum. Features are cached, so pictures are
not flipped or cropped anew each epoch.

The factor before the tanh stands for the sign at last. `scale_free` (ours, in the preset `dense`)
lets it grow from .5 to 4 relative to the outputs' own root mean square instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from modalhash.layers import hash_head
from modalhash.layers.feature_scaling import ScalingRule
from modalhash.losses import (
    DecodeFrom,
    DecodeTarget,
    code_statistics,
    cosine_similarities,
    decoder_input,
    decoding_loss,
    diagonal_gap,
    intra_gap,
    rescaled_cosines,
    similarity_gap,
    target_range,
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
from modalhash.methods.ranges import COSINE_BELOW_ONE, NOT_NEGATIVE, SHARE, Settings

__all__ = ["Dsah", "DsahSettings", "asymmetry", "own_gap"]


@dataclass(frozen=True)
class DsahSettings(Settings):
    """Settings of DSAH; values of the released code unless the line says otherwise."""

    image_hidden_width: Annotated[int, NOT_NEGATIVE] = 4096
    """Units of the image head's hidden layer; 0 is none (ours; released: a trained network)."""
    text_hidden_width: Annotated[int, NOT_NEGATIVE] = 4096
    """Units of the text head's hidden layer; 0 is none."""
    image_weight: Annotated[float, SHARE] = 0.9
    """Share of the image similarity in the mixture, texts have the rest."""
    unrelated_similarity: Annotated[float, COSINE_BELOW_ONE] = -1.0
    """What a cosine of 0 asks of codes, before the scale; low."""
    similarity_scale: Annotated[float, NOT_NEGATIVE] = 1.5
    """Scale of the targets; beyond 1 it pushes codes towards signs."""
    pair_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the partners' term."""
    symmetry_weight: Annotated[float, NOT_NEGATIVE] = 2.0
    """Weight of the symmetry of similarities across modalities."""
    decode_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the decoders' term."""
    shuffled_decoders: bool = False
    """Let decoders reproduce the features of other pairs: a control (ours)."""
    decode_from: DecodeFrom = DecodeFrom.SIGNS
    """What decoders read; signs pass no gradient to the heads."""
    own_weight: Annotated[float, NOT_NEGATIVE] = 0.1
    """Weight of alignment with each modality's own similarity."""
    continuation: bool = True
    """Sharpen the tanh by sqrt(epoch + 1); without it the factor stays 1."""
    scale_free: bool = False
    """Let the factor grow relative to the outputs' own size instead (ours)."""


def own_gap(
    image_relaxed: Tensor, text_relaxed: Tensor, image_target: Tensor, text_target: Tensor
) -> Tensor:
    """Compute the gap of codes (n, b) to the target (n, n) of their own modality; a scalar."""
    return similarity_gap(image_relaxed, image_relaxed, image_target) + similarity_gap(
        text_relaxed, text_relaxed, text_target
    )


def asymmetry(paired_similarity: Tensor) -> Tensor:
    """Compute the mean squared difference of (n, n) to its transpose."""
    return mse_loss(paired_similarity, paired_similarity.T)


DENSE: Mapping[str, Any] = {
    **DENSE_TRAINING,
    "scale_free": True,
    "image_hidden_width": 1024,
    "text_hidden_width": 1024,
    "image_weight": 0.4,
    "unrelated_similarity": -0.2,
    "decode_from": "relaxed",
    "batch_size": 128,
    "epochs": 20,
}
"""For dense text features and small collections (ours, chosen on Flickr8k dev).

Cosines of centred features are about 0, and codes can't all be opposites of each other: what a
cosine of 0 asks of codes is moved towards 0.
"""


@dataclass
class DsahHeads(Heads):
    """Hash heads and the decoder of each modality's features."""

    image_decoder: nn.Linear
    text_decoder: nn.Linear


class Dsah(GradientMethod[DsahHeads]):
    """Deep semantic-alignment hashing; see the module's docstring."""

    name = "dsah"
    title = "DSAH"
    settings_class = DsahSettings
    settings: DsahSettings
    training = TrainingSettings(
        epochs=200,
        learning_rate=0.005,
        momentum=0.7,
        image_scaling=ScalingRule.CENTRED_RMS,
        text_scaling=ScalingRule.CENTRED_RMS,
    )
    smallest_batch = 2
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "dense": DENSE,
        "paper": {},
        "mirflickr": {},
    }
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "image similarity only": {"image_weight": 1.0},
        "text similarity only": {"image_weight": 0.0},
        "without the pair term": {"pair_weight": 0.0},
        "without symmetry": {"symmetry_weight": 0.0},
        "without the decoders": {"decode_weight": 0.0},
        "with shuffled decoders": {"shuffled_decoders": True},
        "without the own-modality part": {"own_weight": 0.0},
        "without the scale": {"similarity_scale": 1.0},
        "without continuation": {"continuation": False},
    }
    removed_parts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "without the pair term": ("pair",),
        "without symmetry": ("symmetry",),
        "without the decoders": (
            "decode",
            "image_decoder",
            "text_decoder",
        ),
        "without the own-modality part": ("own",),
    }
    modules: ClassVar[Mapping[str, NamedModule]] = {
        "decoders": NamedModule("without the decoders", "with shuffled decoders"),
    }

    def build_heads(self, shapes: FeatureShapes, n_bits: int) -> DsahHeads:
        """Make two hash heads and two linear decoders, each from the other modality's codes."""
        settings = self.settings
        return DsahHeads(
            image=hash_head(shapes.image_width, settings.image_hidden_width, n_bits),
            text=hash_head(shapes.text_width, settings.text_hidden_width, n_bits),
            image_decoder=nn.Linear(n_bits, shapes.image_width),
            text_decoder=nn.Linear(n_bits, shapes.text_width),
        )

    def batch_loss(self, heads: DsahHeads, batch: Batch, moment: Moment) -> LossReport:
        """Compute the five parts of the objective."""
        settings = self.settings
        relax = make_relaxation(settings, moment)
        image = relax(heads.image(batch.image))
        text = relax(heads.text(batch.text))
        with torch.no_grad():
            image_target, text_target = (
                settings.similarity_scale
                * rescaled_cosines(part.reference, unrelated=settings.unrelated_similarity)
                for part in (batch.image, batch.text)
            )
            share = settings.image_weight
            target = share * image_target + (1 - share) * text_target
        across = cosine_similarities(image, text)
        terms = {
            "align": Term(intra_gap(image, text, target) + mse_loss(across, target)),
            "pair": Term(diagonal_gap(across, settings.similarity_scale), settings.pair_weight),
            "symmetry": Term(asymmetry(across), settings.symmetry_weight),
            "decode": Term(self.decode(heads, batch, image, text), settings.decode_weight),
            "own": Term(own_gap(image, text, image_target, text_target), settings.own_weight),
        }
        return LossReport(terms, target_range(target) | code_statistics(image, text))

    def decode(self, heads: DsahHeads, batch: Batch, image: Tensor, text: Tensor) -> Tensor:
        """Compute the gap of features to those decoded from codes of the other modality."""
        settings = self.settings
        gaps = [
            decoding_loss(
                decoder(decoder_input(relaxed, settings.decode_from)),
                shuffle_items(part.reference) if settings.shuffled_decoders else part.reference,
                target=DecodeTarget.UNIT,
                sum_rows=False,
            )
            for decoder, relaxed, part in (
                (heads.image_decoder, text, batch.image),
                (heads.text_decoder, image, batch.text),
            )
        ]
        return torch.stack(gaps).sum()
