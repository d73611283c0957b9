"""SSAH: self-supervised adversarial hashing networks.

C. Li, C. Deng, N. Li, W. Liu, X. Gao, D. Tao: "Self-Supervised Adversarial Hashing Networks for
Cross-Modal Retrieval", IEEE Conference on Computer Vision and Pattern Recognition, 2018.
https://doi.org/10.1109/CVPR.2018.00446

A network that reads labels learns features and codes of its own, which are as alike as the labels
are, and teaches both to the networks of pictures and of texts. Two critics, one a modality, tell
features of labels from features of the modality; the networks learn to be taken for the labels'.
Labels are needed to learn, never to encode.

Objective, for n pairs with labels l, features f_m and relaxed codes h_m = tanh(z_m) of pictures
(v), texts (t) and labels (l), critics D_v and D_t, and b bits; sg stops the gradient::

    S_ij = (1 - label_grading) [l_i . l_j > 0] + label_grading cos(l_i, l_j),    S_ii = 1
    J(T) = mean_ij [log(1 + exp T_ij) - S_ij T_ij]
    P(h, h') = J(s h h'^T / b - o),    Q(f, f') = J(s cos(f, f') - o)
               s = logit_scale, or b / 2,    o = logit_offset
    label    = P(h_l, h_l) + Q(f_l, f_l)
    guide    = sum over m in v, t of P(h_m, sg h_l) + Q(f_m, sg f_l)
    classes  = sum over m in v, t, l of BCE(classifier_m(f_m), l)
    quantization = sum over m in v, t, l of MSE(h_m, sign(sg(h_v + h_t + h_l)))
    adversary = sum over m in v, t of BCE(sg D_m (f_m), 1)            critics stand, networks learn
    critics  = sum over m in v, t of [BCE(D_m(sg f_m), 0) + BCE(D_m(sg f_l), 1)] / 4
    L = guide_weight (label + guide) + class_weight classes + quantization_weight quantization
        + adversary_weight adversary + critics

Differs from the paper: it trains all of CNN-F for pictures, and pools neighbouring words of a bag
at six widths; here features are frozen, and read as they come. Pairs are those within a batch, not
of a batch with all training pairs. All parts step together, where the paper trains the label
network, the critics and the two others in turn, each over several passes. Hidden layers are
normalised by the batch, not by neighbouring units. The pairwise term is the likelihood of the
paper's text; its code takes a squared difference instead. Classes are learned by cross entropy, not
by squared errors, and feature likenesses are cosines. `label_grading`, `logit_scale`,
`logit_offset` and dropout are ours, and off in the preset `paper`, which has the released weights
and widths, and our learning rate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from modalhash.layers import NormalisedHead, ScalingRule
from modalhash.losses import LabelTarget, code_statistics, label_similarity
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
)
from modalhash.methods.controls import NamedModule, shuffle_items
from modalhash.methods.label_networks import (
    LabelGuidedHeads,
    Outputs,
    classification_loss,
    guidance_loss,
    label_encoder_loss,
    label_outputs,
    quantization_loss,
    student_outputs,
    trunk_outputs,
)
from modalhash.methods.ranges import AT_LEAST_ONE, NOT_NEGATIVE, SHARE, SHARE_BELOW_ONE, Settings

__all__ = ["Ssah", "SsahSettings", "adversary_loss", "critic_loss", "make_critic"]


@dataclass(frozen=True)
class SsahSettings(Settings):
    """Settings of SSAH; values of the released code unless the line says otherwise."""

    hidden_width: Annotated[int, AT_LEAST_ONE] = 4096
    """Units of the first hidden layer for texts and for labels."""
    feature_width: Annotated[int, AT_LEAST_ONE] = 512
    """Width of all features, the last hidden layers."""
    input_dropout: Annotated[float, SHARE_BELOW_ONE] = 0.0
    """Share of picture features dropped on their way in (ours)."""
    image_dropout: Annotated[float, SHARE_BELOW_ONE] = 0.0
    """Share of hidden units dropped in the network of pictures (ours)."""
    text_dropout: Annotated[float, SHARE_BELOW_ONE] = 0.0
    """Share of hidden units dropped in the network of texts (ours)."""
    label_grading: Annotated[float, SHARE] = 0.0
    """Share of the label rows' cosine in the target; 0 asks only for a shared label (ours)."""
    logit_scale: Annotated[float, NOT_NEGATIVE] = 0.0
    """Logit of two equal codes, before the offset; 0 takes half of their bits."""
    logit_offset: Annotated[float, NOT_NEGATIVE] = 0.0
    """Taken from all logits, so that unlike codes needn't be opposite (ours)."""
    guide_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the label network's loss and guidance; 0 leaves it out, and the critics with it."""
    class_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of classification (eta)."""
    quantization_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of quantization (beta)."""
    adversary_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of being taken for the labels' features; 0 leaves the critics out (delta)."""
    shuffled_labels: bool = False
    """Let the label network read the labels of other pairs: a control (ours)."""


def make_critic(width: int) -> nn.Sequential:
    """Make a fresh critic: of a feature of this width, the logit that it is of labels."""
    return nn.Sequential(
        nn.Linear(width, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 1)
    )


def adversary_loss(critic: nn.Module, features: Tensor) -> Tensor:
    """Compute how far features are from passing for the labels'; the critic gets no gradient.

    Args:
        critic: from (n, d) to (n, 1) logits.
        features: (n, d), which learn.
    """
    standing = {name: parameter.detach() for name, parameter in critic.named_parameters()}
    logits = torch.func.functional_call(critic, standing, (features,))
    return binary_cross_entropy_with_logits(logits, torch.ones_like(logits))


def critic_loss(critic: nn.Module, features: Tensor, label_features: Tensor) -> Tensor:
    """Compute how badly a critic tells features from the labels', which both get no gradient.

    Args:
        critic: from (n, d) to (n, 1) logits.
        features: (n, d) of a modality, for which 0 is right.
        label_features: (n, d), for which 1 is right.

    Returns:
        Scalar, the sum of both mean cross entropies.
    """
    wrong, right = critic(features.detach()), critic(label_features.detach())
    return binary_cross_entropy_with_logits(
        wrong, torch.zeros_like(wrong)
    ) + binary_cross_entropy_with_logits(right, torch.ones_like(right))


DENSE: Mapping[str, Any] = {
    "hidden_width": 256,
    "feature_width": 256,
    "input_dropout": 0.5,
    "image_dropout": 0.2,
    "label_grading": 0.5,
    "logit_scale": 12.0,
    "logit_offset": 2.0,
    "quantization_weight": 0.1,
    "adversary_weight": 0.01,
    "optimiser": "adamw",
    "learning_rate": 2e-3,
    "weight_decay": 0.5,
    "schedule": "one_cycle",
    "batch_size": 128,
    "epochs": 20,
    "least_steps": 800,
    "text_scaling": "unit",
}
"""For dense text features and small collections (ours, after MS2GAH's).

Where inputs are dropped, critics soon tell the features apart for certain; with more weight the
networks then learn to please them rather than the labels.
"""


@dataclass
class SsahHeads(LabelGuidedHeads):
    """Networks that labels guide and, unless left out, the critic of each modality."""

    image_critic: nn.Sequential | None = None
    text_critic: nn.Sequential | None = None


class Ssah(GradientMethod[SsahHeads]):
    """Self-supervised adversarial hashing networks; see the module's docstring."""

    name = "ssah"
    title = "SSAH"
    needs = frozenset({Needs.LABELS})
    smallest_batch = 2
    settings_class = SsahSettings
    settings: SsahSettings
    training = TrainingSettings(
        epochs=100,
        batch_size=128,
        optimiser=Optimiser.ADAM,
        learning_rate=1e-3,
        weight_decay=0.0,
        schedule=Schedule.EXPONENTIAL,
        image_scaling=ScalingRule.STANDARDISED,
        text_scaling=ScalingRule.CENTRED_RMS,
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"dense": DENSE, "paper": {}}
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "without the label network": {"guide_weight": 0.0},
        "with a shuffled label network": {"shuffled_labels": True},
        "without the critics": {"adversary_weight": 0.0},
        "without classification": {"class_weight": 0.0},
        "without quantization": {"quantization_weight": 0.0},
    }
    removed_parts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "without the label network": (
            "label",
            "guide",
            "adversary",
            "critics",
        ),
        "without the critics": (
            "adversary",
            "critics",
            "image_critic",
            "text_critic",
        ),
        "without classification": ("classes",),
        "without quantization": ("quantization",),
    }
    modules: ClassVar[Mapping[str, NamedModule]] = {
        "label network": NamedModule("without the label network", "with a shuffled label network"),
    }

    def build_heads(self, shapes: FeatureShapes, n_bits: int) -> SsahHeads:
        """Make the networks of pictures, texts and labels, their classifiers, and the critics."""
        settings, n_classes = self.settings, shapes.n_classes
        assert n_classes is not None
        width = settings.feature_width
        image = NormalisedHead(
            (shapes.image_width, width, n_bits),
            input_dropout=settings.input_dropout,
            dropout=settings.image_dropout,
        )
        text = NormalisedHead(
            (shapes.text_width, settings.hidden_width, width, n_bits),
            dropout=settings.text_dropout,
        )
        label = None
        if settings.guide_weight:
            label = NormalisedHead((n_classes, settings.hidden_width, width, n_bits))
        image_classes, text_classes = nn.Linear(width, n_classes), nn.Linear(width, n_classes)
        heads = SsahHeads(image, text, image_classes, text_classes, label=label)
        if label is not None:
            heads.label_classes = nn.Linear(width, n_classes)
        if label is not None and settings.adversary_weight:
            heads.image_critic, heads.text_critic = make_critic(width), make_critic(width)
        return heads

    def batch_loss(self, heads: SsahHeads, batch: Batch, moment: Moment) -> LossReport:
        """Compute the weighted parts of the objective."""
        settings, labels = self.settings, batch.labels
        assert labels is not None
        target = LabelTarget(
            label_similarity(labels, settings.label_grading),
            settings.logit_scale or heads.image.n_bits / 2,
            settings.logit_offset,
        )
        students = student_outputs(heads, trunk_outputs(heads, batch))
        label = label_outputs(heads, shuffle_items(labels) if settings.shuffled_labels else labels)
        networks = [*students] if label is None else [*students, label]
        terms = {} if label is None else self.guide_terms(students, label, target)
        classes = classification_loss(networks, labels)
        quantization = quantization_loss([network.relaxed for network in networks])
        terms["classes"] = Term(classes, settings.class_weight)
        terms["quantization"] = Term(quantization, settings.quantization_weight)
        if label is not None and heads.image_critic is not None and heads.text_critic is not None:
            critics = heads.image_critic, heads.text_critic
            terms |= self.critic_terms(critics, students, label)
        image, text = students
        return LossReport(terms, code_statistics(image.relaxed, text.relaxed))

    def guide_terms(
        self, students: tuple[Outputs, Outputs], label: Outputs, target: LabelTarget
    ) -> dict[str, Term]:
        """Compute what the label network learns, and what it teaches both students."""
        weight, (image, text) = self.settings.guide_weight, students
        label_loss = label_encoder_loss(label, target)
        guide = guidance_loss(image, label, target) + guidance_loss(text, label, target)
        return {"label": Term(label_loss, weight), "guide": Term(guide, weight)}

    def critic_terms(
        self,
        critics: tuple[nn.Module, nn.Module],
        students: tuple[Outputs, Outputs],
        label: Outputs,
    ) -> dict[str, Term]:
        """Compute what the critics learn, and how far the students are from deceiving them."""
        judged = [
            (critic, student.features) for critic, student in zip(critics, students, strict=True)
        ]
        adversary = torch.stack([adversary_loss(*pair) for pair in judged]).sum()
        loss = torch.stack([critic_loss(*pair, label.features) for pair in judged]).sum() / 4
        return {
            "adversary": Term(adversary, self.settings.adversary_weight),
            "critics": Term(loss),
        }
