"""DJSRH: deep joint-semantics reconstructing hashing.

S. Su, Z. Zhong, C. Zhang: "Deep Joint-Semantics Reconstructing Hashing for Large-Scale Unsupervised
Cross-Modal Retrieval", International Conference on Computer Vision, 2019.
https://doi.org/10.1109/ICCV.2019.00312

The similarities of a batch's image features and of its text features are mixed, and two items that
are like the same others are made more alike. Codes must reproduce the result across modalities and,
with less weight, within each. No labels are used. Most unsupervised methods since start from here,
so it is the baseline beside which they are measured.

Objective, for n pairs with features F_v, F_t and c = epoch (from 0)::

    H_m   = tanh(sqrt(c + 1) z_m)                  z_m: output of the hash head of modality m
    S_m   = 2 cos(F_m, F_m) - 1
    J     = image_weight S_v + (1 - image_weight) S_t
    S     = scale ((1 - second_order) J + second_order J J / n)
    intra = MSE(cos(H_v, H_v), S) + MSE(cos(H_t, H_t), S)
    cross = MSE(cos(H_v, H_t), S)
    L     = intra_weight intra + cross

Differs from the paper: it trains all of AlexNet for pictures, with one linear map to codes, and
takes similarities from a frozen copy; here features are frozen, and by default the image head has
a hidden layer, as the text head has (`image_hidden_width=0`: the linear map alone). Features are
cached, so pictures are not flipped or cropped anew each epoch. Constants are those of the released
code.

The factor before the tanh stands for the sign at last. `scale_free` (ours, in the preset `dense`)
lets it grow from .5 to 4 relative to the outputs' own root mean square instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from modalhash.layers import hash_head
from modalhash.layers.feature_scaling import ScalingRule
from modalhash.losses import (
    code_statistics,
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
from modalhash.methods.ranges import NOT_NEGATIVE, POSITIVE, SHARE, Settings

__all__ = ["Djsrh", "DjsrhSettings", "joint_semantics"]


@dataclass(frozen=True)
class DjsrhSettings(Settings):
    """Settings of DJSRH; values of the released code unless the line says otherwise."""

    image_hidden_width: Annotated[int, NOT_NEGATIVE] = 4096
    """Units of the image head's hidden layer; 0 is none (ours; released: a trained AlexNet)."""
    text_hidden_width: Annotated[int, NOT_NEGATIVE] = 4096
    """Units of the text head's hidden layer; 0 is none."""
    image_weight: Annotated[float, SHARE] = 0.9
    """Share of the image similarity, texts have the rest; 0.6 on NUS-WIDE, 0.3 on Wiki."""
    second_order: Annotated[float, SHARE] = 0.4
    """Share of the second-order similarity, J J / n."""
    similarity_scale: Annotated[float, NOT_NEGATIVE] = 1.5
    """Scale of the target; beyond 1 it pushes codes towards signs."""
    intra_weight: Annotated[float, NOT_NEGATIVE] = 0.1
    """Weight of reconstruction within a modality; 0.3 on Wiki."""
    continuation: bool = True
    """Sharpen the tanh by sqrt(epoch + 1); without it the factor stays 1."""
    scale_free: bool = False
    """Let the factor grow relative to the outputs' own size instead (ours)."""
    image_rate_scale: Annotated[float, POSITIVE] = 1.0
    """Factor on the learning rate of the image head; 0.1 where AlexNet is trained too."""


def joint_semantics(
    image_similarity: Tensor,
    text_similarity: Tensor,
    *,
    image_weight: float,
    second_order: float,
    scale: float,
) -> Tensor:
    """Mix two similarity matrices and add that of items which are like the same others.

    Args:
        image_similarity: (n, n), symmetric.
        text_similarity: (n, n), symmetric.
        image_weight: share of the image similarity, in [0, 1].
        second_order: share of the second-order similarity, in [0, 1].
        scale: factor on the result.

    Returns:
        (n, n), not cut to any range.
    """
    joint = image_weight * image_similarity + (1 - image_weight) * text_similarity
    return scale * ((1 - second_order) * joint + second_order * (joint @ joint.T) / len(joint))


RELEASED: Mapping[str, Any] = {"image_rate_scale": 0.1, "epochs": 80}
NUSWIDE: Mapping[str, Any] = {**RELEASED, "image_weight": 0.6}
WIKI: Mapping[str, Any] = {"image_weight": 0.3, "intra_weight": 0.3, "epochs": 200}

DENSE: Mapping[str, Any] = {
    **DENSE_TRAINING,
    "scale_free": True,
    "image_hidden_width": 1024,
    "text_hidden_width": 1024,
    "image_weight": 0.5,
    "second_order": 0.5,
}
"""For dense text features and small collections (ours, chosen on Flickr8k dev).

With half of the target of the second order, unrelated pairs lie at 0. Below it, codes near the
signs meet the target by bits that tell nothing, + for all pictures and - for all texts: with .4 as
in the paper 17 % of the bits of icons.
"""


class Djsrh(GradientMethod[Heads]):
    """Deep joint-semantics reconstructing hashing; see the module's docstring."""

    name = "djsrh"
    title = "DJSRH"
    settings_class = DjsrhSettings
    settings: DjsrhSettings
    training = TrainingSettings(
        epochs=80,
        image_scaling=ScalingRule.CENTRED_RMS,
        text_scaling=ScalingRule.CENTRED_RMS,
    )
    smallest_batch = 2
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "dense": DENSE,
        "paper": RELEASED,
        "mirflickr": RELEASED,
        "nuswide": NUSWIDE,
        "wiki": WIKI,
    }
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "without the second-order part": {"second_order": 0.0},
        "image similarity only": {"image_weight": 1.0},
        "text similarity only": {"image_weight": 0.0},
        "without the intra-modal part": {"intra_weight": 0.0},
        "without the scale": {"similarity_scale": 1.0},
        "without continuation": {"continuation": False},
    }
    removed_parts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "without the intra-modal part": ("intra",),
    }

    def build_heads(self, shapes: FeatureShapes, n_bits: int) -> Heads:
        """Make two hash heads."""
        settings = self.settings
        return Heads(
            image=hash_head(shapes.image_width, settings.image_hidden_width, n_bits),
            text=hash_head(shapes.text_width, settings.text_hidden_width, n_bits),
            rate_scales={"image": settings.image_rate_scale},
        )

    def batch_loss(self, heads: Heads, batch: Batch, moment: Moment) -> LossReport:
        """Compute the two parts of the objective."""
        settings = self.settings
        relax = make_relaxation(settings, moment)
        image = relax(heads.image(batch.image))
        text = relax(heads.text(batch.text))
        with torch.no_grad():
            target = joint_semantics(
                rescaled_cosines(batch.image.reference),
                rescaled_cosines(batch.text.reference),
                image_weight=settings.image_weight,
                second_order=settings.second_order,
                scale=settings.similarity_scale,
            )
        intra = intra_gap(image, text, target)
        cross = similarity_gap(image, text, target)
        terms = {"intra": Term(intra, settings.intra_weight), "cross": Term(cross)}
        return LossReport(terms, target_range(target) | code_statistics(image, text))
