"""Networks that labels guide: what they make of a batch, and the terms they are taught by."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from modalhash.layers import LandmarkHead, NormalisedHead
from modalhash.losses import LabelTarget, signs_of
from modalhash.methods.base import Batch, Heads
from modalhash.methods.landmarks import LandmarkOutputs

__all__ = [
    "LabelGuidedHeads",
    "Outputs",
    "classification_loss",
    "feedback_loss",
    "guidance_loss",
    "label_encoder_loss",
    "label_outputs",
    "network_outputs",
    "quantization_loss",
    "student_outputs",
    "trunk_outputs",
]


@dataclass
class LabelGuidedHeads(Heads):
    """Networks of pictures and texts with classifiers, and the label encoder unless left out."""

    image: NormalisedHead | LandmarkHead
    text: NormalisedHead | LandmarkHead
    image_classes: nn.Linear
    text_classes: nn.Linear
    label: NormalisedHead | None = field(default=None, kw_only=True)
    label_classes: nn.Linear | None = field(default=None, kw_only=True)

    @property
    def networks(self) -> tuple[NormalisedHead, NormalisedHead]:
        """The networks of pictures and of texts; landmarks may stand beside them."""
        image, text = (
            head.head if isinstance(head, LandmarkHead) else head
            for head in (self.image, self.text)
        )
        assert isinstance(image, NormalisedHead)
        assert isinstance(text, NormalisedHead)
        return image, text


@dataclass(frozen=True)
class Outputs:
    """What one network makes of a batch.

    Attributes:
        features: (n, d).
        relaxed: (n, b) in (-1, 1).
        classes: (n, c) logits.
    """

    features: Tensor
    relaxed: Tensor
    classes: Tensor


def label_outputs(heads: LabelGuidedHeads, labels: Tensor) -> Outputs | None:
    """Compute what the label encoder makes of (n, c) labels; None where it is left out."""
    if heads.label is None or heads.label_classes is None:
        return None
    return network_outputs(heads.label, heads.label_classes, heads.label.trunk(labels))


def network_outputs(
    head: NormalisedHead,
    classifier: nn.Module,
    hidden: Tensor,
    links: Tensor | None = None,
    gathered: Tensor | None = None,
) -> Outputs:
    """Compute a network's outputs from its trunk's output, (n, d), attending along (n, n) links.

    What was gathered of landmarks, (n, b), is added before the tanh.
    """
    features = head.attended(hidden, links)
    relaxed = head.last(features)
    if gathered is not None:
        relaxed = relaxed + gathered
    return Outputs(features, torch.tanh(relaxed), classifier(features))


def trunk_outputs(heads: LabelGuidedHeads, batch: Batch) -> tuple[Tensor, Tensor]:
    """Compute the trunks' outputs for the pictures and for the texts of a batch, (n, d) each."""
    image, text = heads.networks
    return image.trunk(batch.image.pooled), text.trunk(batch.text.pooled)


def student_outputs(
    heads: LabelGuidedHeads,
    hidden: tuple[Tensor, Tensor],
    links: Tensor | None = None,
    gathered: LandmarkOutputs | None = None,
) -> tuple[Outputs, Outputs]:
    """Compute the outputs of the networks of pictures and of texts from their trunks' outputs."""
    image, text = heads.networks
    added = (None, None) if gathered is None else (gathered.image, gathered.text)
    return (
        network_outputs(image, heads.image_classes, hidden[0], links, added[0]),
        network_outputs(text, heads.text_classes, hidden[1], links, added[1]),
    )


def label_encoder_loss(label: Outputs, target: LabelTarget) -> Tensor:
    """Compute the gap of codes and features of the label encoder to the target, a scalar."""
    return target.code_loss(label.relaxed, label.relaxed) + target.feature_loss(
        label.features, label.features
    )


def guidance_loss(student: Outputs, label: Outputs, target: LabelTarget) -> Tensor:
    """Compute the gap of a network to the label encoder, which gets no gradient; a scalar."""
    return target.code_loss(student.relaxed, label.relaxed.detach()) + target.feature_loss(
        student.features, label.features.detach()
    )


def classification_loss(outputs: Sequence[Outputs], labels: Tensor) -> Tensor:
    """Compute the binary cross entropies of networks' classes, each a mean over n c, summed."""
    losses = [binary_cross_entropy_with_logits(output.classes, labels) for output in outputs]
    return torch.stack(losses).sum()


def feedback_loss(relaxed: Sequence[Tensor], teachers: Sequence[Tensor]) -> Tensor:
    """Compute the squared errors of relaxed codes to their teachers', summed over the networks.

    Args:
        relaxed: (n, b) each, with gradient.
        teachers: (n, b) each, which get none.

    Returns:
        Scalar; each error is a mean over n b.
    """
    pairs = zip(relaxed, teachers, strict=True)
    return torch.stack([mse_loss(codes, teacher.detach()) for codes, teacher in pairs]).sum()


def quantization_loss(relaxed: Sequence[Tensor], voters: Sequence[Tensor] = ()) -> Tensor:
    """Compute the squared errors of relaxed codes to the signs of the sum of all, summed.

    Args:
        relaxed: (n, b) each, pulled to the common signs.
        voters: (n, b) each, which count in the sum without being pulled.

    Returns:
        Scalar; each error is a mean over n b. A sum of zero has the sign +1.
    """
    votes = torch.stack([*relaxed, *voters]).detach().sum(dim=0)
    signs = signs_of(votes)
    return torch.stack([mse_loss(codes, signs) for codes in relaxed]).sum()
