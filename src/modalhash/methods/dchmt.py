"""DCHMT: differentiable cross-modal hashing via multimodal transformers.

J. Tu, X. Liu, Z. Lin, R. Hong, M. Wang: "Differentiable Cross-modal Hashing via Multimodal
Transformers", ACM International Conference on Multimedia, 2022.
https://doi.org/10.1145/3503161.3548187

Each bit selects between two scores by a softmax, so that a code is a row of probabilities with a
gradient, and needs no sign and no tanh to be learned. Items that share a label are drawn together;
others are pushed apart until a share of their bits differs, and no farther. Labels are needed to
learn, never to encode.

Objective, for n pairs with labels l and, of pictures (v) and texts (t), differences z_m of the two
scores of each of b bits::

    S_ij = (1 - label_grading) [l_i . l_j > 0] + label_grading cos(l_i, l_j),    S_ii = 1
    p_m  = sigmoid(z_m), which is the softmax's second part; the first is 1 - p_m
    D(p, p')_ij = sqrt(2) |p_i - p'_j|              between rows of all 2 b probabilities
    M    = sqrt(2 b unlike_share)                   of two codes with this share of unlike bits
    near = sum over (v, t), (v, v), (t, t) of mean_ij S_ij D_ij^2
    far  = sum over (v, t), (v, v), (t, t) of mean_ij (1 - S_ij) max(0, M - D_ij)^2
    quantization = mean over m in v, t of 1 - mean (2 p_m - 1)^2
    L = near + far + quantization_weight quantization

Differs from the paper: it fine-tunes CLIP's two transformers, and its head reads what they give;
here features are frozen (`tune_encoder` learns them too). Of two scores only their difference
counts in a softmax, so the head gives that, and its sign is the selected bit: the same codes, with
one row of weights a bit for two. In the authors' later code an attention stands before the scores,
which is a linear map where it sees one token; it is left out. `quantization` is of that later code,
and off by default as in the first. `label_grading`, 0 in the paper, normalisation
and dropout are ours. Constants are those of the released code.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from modalhash.layers import hidden_head
from modalhash.layers.feature_scaling import ScalingRule
from modalhash.losses import code_statistics, label_similarity
from modalhash.methods.base import (
    Batch,
    FeatureShapes,
    GradientMethod,
    Heads,
    LossReport,
    Moment,
    Needs,
    Optimiser,
    Schedule,
    Term,
    TrainingSettings,
)
from modalhash.methods.ranges import (
    AT_LEAST_ONE,
    NOT_NEGATIVE,
    SHARE,
    SHARE_ABOVE_ZERO,
    SHARE_BELOW_ONE,
    Settings,
)

__all__ = [
    "Dchmt",
    "DchmtSettings",
    "far_loss",
    "near_loss",
    "selection_distances",
    "undecided",
]

TINY = 1e-12


@dataclass(frozen=True)
class DchmtSettings(Settings):
    """Settings of DCHMT; values of the released code unless the line says otherwise."""

    hidden_width: Annotated[int, AT_LEAST_ONE] = 128
    """Units of each head's hidden layer."""
    is_normalised: bool = False
    """Normalise hidden layers by the batch, with leaky ReLUs for ReLUs (ours)."""
    input_dropout: Annotated[float, SHARE_BELOW_ONE] = 0.0
    """Share of picture features dropped on their way in (ours)."""
    dropout: Annotated[float, SHARE_BELOW_ONE] = 0.0
    """Share of hidden units dropped in both heads (ours)."""
    label_grading: Annotated[float, SHARE] = 0.0
    """Share of the label rows' cosine in the target; 0 asks only for a shared label (ours)."""
    unlike_share: Annotated[float, SHARE_ABOVE_ZERO] = 0.5
    """Share of bits that unlike items need to differ in (vartheta; 0.75 in the later code)."""
    quantization_weight: Annotated[float, NOT_NEGATIVE] = 0.0
    """Weight of undecided bits; 0.001 in the later code."""


def selection_distances(selected: Tensor, other_selected: Tensor) -> Tensor:
    """Compute squared distances between the rows of all softmax probabilities.

    Args:
        selected: (n, b) probabilities of +1; those of -1 are what is left to 1.
        other_selected: (m, b).

    Returns:
        (n, m) in [0, 2 b]: of probabilities of 0 and 1, twice the number of unlike bits.

    Example:
        >>> selection_distances(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
        tensor([[2., 0.]])
    """
    left, right = selected - 0.5, other_selected - 0.5  # nearer to 0: less is lost to rounding
    squares = left.square().sum(dim=1)[:, None] + right.square().sum(dim=1)
    return 2 * (squares - 2 * left @ right.T).clamp_min(0)


def near_loss(distances: Tensor, similarity: Tensor) -> Tensor:
    """Compute the squared distances of alike items, as a mean over all (n, m) pairs."""
    return (similarity * distances).mean()


def far_loss(distances: Tensor, similarity: Tensor, margin: float) -> Tensor:
    """Compute by how much unlike items are too near, squared, as a mean over all pairs.

    Args:
        distances: (n, m), squared.
        similarity: (n, m) of 0 and 1.
        margin: distance, not squared, from which on nothing is asked.

    Returns:
        Scalar. Items at one place get no gradient: no direction leads apart.
    """
    gap = (margin - distances.clamp_min(TINY).sqrt()).clamp_min(0)
    return ((1 - similarity) * gap.square()).mean()


def undecided(selected: Tensor) -> Tensor:
    """Compute how undecided bits are, `1 - mean (2 p - 1)^2` of (n, b): 1 at 1/2, 0 at 0 and 1."""
    return 1 - (2 * selected - 1).square().mean()


DENSE: Mapping[str, Any] = {
    "hidden_width": 512,
    "is_normalised": True,
    "label_grading": 0.5,
    "input_dropout": 0.5,
    "dropout": 0.2,
    "image_scaling": "standardised",
    "learning_rate": 2e-3,
    "weight_decay": 0.1,
    "schedule": "one_cycle",
    "batch_size": 128,
    "epochs": 20,
    "least_steps": 500,
    "text_scaling": "unit",
}
"""For dense text features and small collections (ours, chosen on Flickr8k dev)."""


class Dchmt(GradientMethod[Heads]):
    """Differentiable cross-modal hashing; see the module's docstring."""

    name = "dchmt"
    title = "DCHMT"
    needs = frozenset({Needs.LABELS})
    smallest_batch = 2
    settings_class = DchmtSettings
    settings: DchmtSettings
    training = TrainingSettings(
        epochs=100,
        batch_size=64,
        optimiser=Optimiser.ADAMW,
        learning_rate=1e-3,
        weight_decay=0.2,
        schedule=Schedule.COSINE,
        gradient_clip=1.0,
        image_scaling=ScalingRule.CENTRED_RMS,
        text_scaling=ScalingRule.CENTRED_RMS,
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"dense": DENSE, "paper": {}}
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "with opposite codes asked for": {"unlike_share": 1.0},
    }

    def build_heads(self, shapes: FeatureShapes, n_bits: int) -> Heads:
        """Make two hash heads."""
        settings = self.settings
        image, text = (
            hidden_head(
                (width, settings.hidden_width, n_bits),
                dropout=settings.dropout,
                is_normalised=settings.is_normalised,
            )
            for width in (shapes.image_width, shapes.text_width)
        )
        return Heads(image, text)

    def batch_loss(self, heads: Heads, batch: Batch, moment: Moment) -> LossReport:
        """Compute the parts of the objective."""
        settings, labels = self.settings, batch.labels
        assert labels is not None
        is_training = heads.image.training
        features = batch.image.dropped(settings.input_dropout, is_training=is_training)
        image = torch.sigmoid(heads.image(features))
        text = torch.sigmoid(heads.text(batch.text))
        similarity = label_similarity(labels, settings.label_grading)
        margin = math.sqrt(2 * heads.image.n_bits * settings.unlike_share)
        distances = [
            selection_distances(left, right)
            for left, right in ((image, text), (image, image), (text, text))
        ]
        near = torch.stack([near_loss(side, similarity) for side in distances]).sum()
        far = torch.stack([far_loss(side, similarity, margin) for side in distances]).sum()
        return LossReport(
            {
                "near": Term(near),
                "far": Term(far),
                "quantization": Term(
                    (undecided(image) + undecided(text)) / 2, settings.quantization_weight
                ),
            },
            code_statistics(2 * image - 1, 2 * text - 1),
        )
