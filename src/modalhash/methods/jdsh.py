"""JDSH: joint-modal distribution-based similarity hashing.

S. Liu, S. Qian, Y. Guan, J. Zhan, L. Ying: "Joint-modal Distribution-based Similarity Hashing for
Large-scale Unsupervised Deep Cross-modal Retrieval", ACM SIGIR Conference on Research and
Development in Information Retrieval, 2020. https://doi.org/10.1145/3397271.3401086

The similarities of a batch's image features and of its text features are mixed with a third: two
items are alike when one's pictures and the other's texts see the rest of the batch alike. Where the
mixed similarities lie decides which pairs are surely near or surely far; those are weighted up.
Codes reproduce the result within each modality and across the two. No labels are used.

Objective, for n pairs with features F_v, F_t and c = epoch (from 0)::

    H_m   = tanh(sqrt(c + 1) z_m)                  z_m: output of the hash head of modality m
    S_m   = 2 cos(F_m, F_m) - 1
    X     = cos(rows of S_v, rows of S_t)
    J     = image_weight S_v + text_weight S_t + fusion_weight (X + X^T) / 2
    W(s)  = (1 + left_weight exp(minimum - s)) s   if s < left
            (1 + right_weight exp(s - maximum)) s  if s > right
            s                                      otherwise
    S     = similarity_scale W(J)
    intra = MSE(cos(H_v, H_v), S) + MSE(cos(H_t, H_t), S)
    cross = MSE(cos(H_v, H_t), S) + MSE(cos(H_t, H_v), S) - pair_weight mean_i cos(H_v[i], H_t[i])
    L     = intra_weight intra + cross

Differs from the paper: `left`, `right`, `minimum` and `maximum` were found for one data set with
AlexNet. By default they are found anew on the training pairs, by a rule of ours that takes the
released code's names for its word: from the median of J, so many deviations down and up, each side
with its own. The released code trains all of AlexNet for pictures, with one linear map to codes;
here features are frozen, and the image head has a hidden layer as the text head has
(`image_hidden_width=0`: the linear map alone). Features are cached, so pictures are not flipped or
cropped anew each epoch. All other constants are those of the released code, whose versions give
1.33 to 1.47 for the scale.

The factor before the tanh stands for the sign at last. `scale_free` (ours, in the preset `dense`)
lets it grow from .5 to 4 relative to the outputs' own root mean square instead.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from modalhash.layers import hash_head
from modalhash.layers.feature_scaling import ScalingRule
from modalhash.losses import (
    CrossSimilarity,
    code_statistics,
    cross_gap,
    distribution_weighted,
    fused_affinity,
    intra_gap,
    rescaled_cosines,
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
    TrainingView,
)
from modalhash.methods.continuation import make_relaxation
from modalhash.methods.ranges import NOT_NEGATIVE, Settings, check_order

__all__ = ["Bounds", "BoundsRule", "Jdsh", "JdshSettings", "SimilarityBounds", "fit_bounds"]

SAMPLE = 50_000
"""Similarities from which bounds are fitted, at least, where there are as many."""
RELEASED_BATCH_SIZE = 32
"""Batch size of the released code, for the fit where a caller names none."""


class BoundsRule(StrEnum):
    """Where near and far pairs begin: found on the training pairs, or as the settings say."""

    FITTED = "fitted"
    GIVEN = "given"


@dataclass(frozen=True)
class JdshSettings(Settings):
    """Settings of JDSH; values of the released code unless the line says otherwise."""

    image_hidden_width: Annotated[int, NOT_NEGATIVE] = 4096
    """Units of the image head's hidden layer; 0 is none (ours; released: a trained AlexNet)."""
    text_hidden_width: Annotated[int, NOT_NEGATIVE] = 4096
    """Units of the text head's hidden layer; 0 is none."""
    image_weight: Annotated[float, NOT_NEGATIVE] = 0.5
    """Weight of the image similarity in the joint one; 0.4 on NUS-WIDE."""
    text_weight: Annotated[float, NOT_NEGATIVE] = 0.1
    """Weight of the text similarity; 0.3 on NUS-WIDE."""
    fusion_weight: Annotated[float, NOT_NEGATIVE] = 0.4
    """Weight of the similarity seen through both modalities; 0.3 on NUS-WIDE."""
    similarity_scale: Annotated[float, NOT_NEGATIVE] = 1.4
    """Scale of the target; beyond 1 it pushes codes towards signs; 1.33 on NUS-WIDE."""
    bounds: BoundsRule = BoundsRule.FITTED
    """Where near and far pairs begin (ours; released: given)."""
    left: float = -0.528
    """Joint similarity below which pairs are far, where bounds are given."""
    right: float = -0.138
    """Joint similarity above which pairs are near, where bounds are given."""
    minimum: float = -0.52
    """About the smallest joint similarity, where bounds are given."""
    maximum: float = 0.68
    """About the largest joint similarity, where bounds are given."""
    left_deviations: Annotated[float, NOT_NEGATIVE] = 2.0
    """Deviations from the median down to where pairs are far, where bounds are fitted."""
    right_deviations: Annotated[float, NOT_NEGATIVE] = 4.0
    """Deviations from the median up to where pairs are near, where bounds are fitted."""
    left_weight: Annotated[float, NOT_NEGATIVE] = 0.1
    """Share by which the similarity of far pairs is enlarged; 0.2 on NUS-WIDE."""
    right_weight: Annotated[float, NOT_NEGATIVE] = 0.2
    """Share by which the similarity of near pairs is enlarged."""
    intra_weight: Annotated[float, NOT_NEGATIVE] = 0.1
    """Weight of reconstruction within a modality."""
    pair_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the partners' cosine inside the part across modalities."""
    continuation: bool = True
    """Sharpen the tanh by sqrt(epoch + 1); without it the factor stays 1."""
    scale_free: bool = False
    """Let the factor grow relative to the outputs' own size instead (ours)."""

    def check_together(self) -> None:
        """Check that thresholds are in order."""
        check_order(self, "left", "right")


@dataclass(frozen=True)
class Bounds:
    """Where similarities lie.

    Attributes:
        left: below it pairs are far.
        right: above it pairs are near.
        minimum: about the smallest.
        maximum: about the largest.
    """

    left: float
    right: float
    minimum: float
    maximum: float


def fit_bounds(similarities: Tensor, *, left_deviations: float, right_deviations: float) -> Bounds:
    """Tell from a sample of similarities which are surely small and surely large.

    Both sides of the median have a deviation of their own: the root of the mean squared distance to
    the median of what lies on that side.

    Args:
        similarities: (k,) of different items, at least one.
        left_deviations: how many below the median pairs begin to be far.
        right_deviations: how many above it they begin to be near.

    Example:
        >>> fit_bounds(
        ...     torch.tensor([0.0, 0.0, 0.0, -0.5, 1.0]), left_deviations=2, right_deviations=0.5
        ... )
        Bounds(left=-1.0, right=0.5, minimum=-0.5, maximum=1.0)
    """
    middle = similarities.median()
    deviations = []
    for side in (middle - similarities, similarities - middle):
        distances = side[side > 0]
        deviations.append(distances.square().mean().sqrt() if len(distances) else 0 * middle)
    return Bounds(
        left=float(middle - left_deviations * deviations[0]),
        right=float(middle + right_deviations * deviations[1]),
        minimum=float(similarities.min()),
        maximum=float(similarities.max()),
    )


class SimilarityBounds(nn.Module):
    """The bounds that a training run weights by, kept in its checkpoints.

    Args:
        bounds: at first.
        batch_size: of the batches they are fitted on.
    """

    values: Tensor

    def __init__(self, bounds: Bounds, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.register_buffer("values", torch.zeros(4))
        self.set(bounds)

    def set(self, bounds: Bounds) -> None:
        """Put other bounds in their place."""
        values = (bounds.left, bounds.right, bounds.minimum, bounds.maximum)
        self.values.copy_(self.values.new_tensor(values))

    def get(self) -> Bounds:
        """Read the bounds."""
        return Bounds(*self.values.tolist())


NUSWIDE: Mapping[str, Any] = {
    "bounds": "given",
    "image_weight": 0.4,
    "text_weight": 0.3,
    "fusion_weight": 0.3,
    "similarity_scale": 1.33,
    "left": -0.6456,
    "right": -0.276,
    "minimum": -0.64,
    "maximum": 0.75,
    "left_weight": 0.2,
}
"""The constants released for NUS-WIDE; the middle of its right threshold is that of its left."""

DENSE: Mapping[str, Any] = {
    **DENSE_TRAINING,
    "scale_free": True,
    "image_hidden_width": 1024,
    "text_hidden_width": 1024,
    "image_weight": 0.2,
    "text_weight": 0.3,
    "fusion_weight": 0.5,
    "similarity_scale": 1.5,
    "intra_weight": 0.5,
    "pair_weight": 0.2,
    "batch_size": 128,
    "epochs": 20,
}
"""For dense text features and small collections (ours, chosen on Flickr8k dev).

Unrelated pairs lie at 0, and similarity within modalities counts more than by .1: else codes near
the signs meet targets below 0 by bits that tell nothing, + for all pictures and - for all texts.
"""


@dataclass
class JdshHeads(Heads):
    """Hash heads and the bounds of near and far pairs."""

    bounds: SimilarityBounds


class Jdsh(GradientMethod[JdshHeads]):
    """Joint-modal distribution-based similarity hashing; see the module's docstring."""

    name = "jdsh"
    title = "JDSH"
    settings_class = JdshSettings
    settings: JdshSettings
    training = TrainingSettings(
        epochs=300,
        image_scaling=ScalingRule.CENTRED_RMS,
        text_scaling=ScalingRule.CENTRED_RMS,
    )
    smallest_batch = 2
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "dense": DENSE,
        "paper": {"bounds": "given"},
        "mirflickr": {"bounds": "given"},
        "nuswide": NUSWIDE,
    }
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "without the fused part": {"fusion_weight": 0.0},
        "without weighting": {"left_weight": 0.0, "right_weight": 0.0},
        "far pairs not weighted": {"left_weight": 0.0},
        "near pairs not weighted": {"right_weight": 0.0},
        "without the intra-modal part": {"intra_weight": 0.0},
        "without the partners' cosine": {"pair_weight": 0.0},
        "without the scale": {"similarity_scale": 1.0},
        "without continuation": {"continuation": False},
    }
    removed_parts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "without the intra-modal part": ("intra",),
    }

    def build_heads(self, shapes: FeatureShapes, n_bits: int) -> JdshHeads:
        """Make two hash heads, and room for the bounds."""
        settings = self.settings
        stated = Bounds(settings.left, settings.right, settings.minimum, settings.maximum)
        return JdshHeads(
            image=hash_head(shapes.image_width, settings.image_hidden_width, n_bits),
            text=hash_head(shapes.text_width, settings.text_hidden_width, n_bits),
            bounds=SimilarityBounds(stated, shapes.batch_size or RELEASED_BATCH_SIZE),
        )

    def before_training(self, heads: JdshHeads, view: TrainingView) -> None:
        """Fit the bounds, unless they are given."""
        bounds = heads.bounds
        if self.settings.bounds is BoundsRule.GIVEN:
            return
        sample = self.sampled(view.batches(bounds.batch_size))
        if len(sample):
            bounds.set(
                fit_bounds(
                    sample,
                    left_deviations=self.settings.left_deviations,
                    right_deviations=self.settings.right_deviations,
                )
            )

    def sampled(self, batches: Iterable[Batch]) -> Tensor:
        """Sample (k,) joint similarities of different items of the first batches."""
        parts, count = [torch.zeros(0)], 0
        for batch in batches:
            joint = self.joint_similarity(batch)
            rows, columns = torch.triu_indices(len(joint), len(joint), 1)
            parts.append(joint[rows, columns].cpu())
            count += len(rows)
            if count >= SAMPLE:
                break
        return torch.cat(parts)

    def joint_similarity(self, batch: Batch) -> Tensor:
        """Compute (n, n) mixed similarities, neither weighted nor scaled; symmetric."""
        settings = self.settings
        return fused_affinity(
            rescaled_cosines(batch.image.reference),
            rescaled_cosines(batch.text.reference),
            image_weight=settings.image_weight,
            text_weight=settings.text_weight,
            cross_weight=settings.fusion_weight,
            scale=1.0,
            rule=CrossSimilarity.SYMMETRIC_ROW_COSINE,
        )

    def target(self, batch: Batch, bounds: Bounds) -> Tensor:
        """Compute the (n, n) weighted and scaled similarities of a batch, without gradient."""
        settings = self.settings
        with torch.no_grad():
            return settings.similarity_scale * distribution_weighted(
                self.joint_similarity(batch),
                left=bounds.left,
                right=bounds.right,
                minimum=bounds.minimum,
                maximum=bounds.maximum,
                left_weight=settings.left_weight,
                right_weight=settings.right_weight,
            )

    def batch_loss(self, heads: JdshHeads, batch: Batch, moment: Moment) -> LossReport:
        """Compute the two parts of the objective."""
        settings, bounds = self.settings, heads.bounds.get()
        relax = make_relaxation(settings, moment)
        image = relax(heads.image(batch.image))
        text = relax(heads.text(batch.text))
        target = self.target(batch, bounds)
        intra = intra_gap(image, text, target)
        cross = cross_gap(image, text, target, pair_weight=settings.pair_weight)
        terms = {"intra": Term(intra, settings.intra_weight), "cross": Term(cross)}
        return LossReport(terms, target_range(target) | code_statistics(image, text))
