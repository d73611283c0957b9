"""DCMH: deep cross-modal hashing.

Q.-Y. Jiang, W.-J. Li: "Deep Cross-Modal Hashing", IEEE Conference on Computer Vision and Pattern
Recognition, 2017. https://doi.org/10.1109/CVPR.2017.348

The first deep method that learns from labels: a picture and a text that share a label must have a
large inner product of codes, by the likelihood of a logistic model. What both heads last gave for
every training pair is kept, so that each batch is compared with all of them. Common signs of both
modalities, solved for after each epoch, pull the codes to -1 and +1. Labels are needed to learn,
never to encode.

Objective, for n pairs of a batch with labels l and relaxed codes f_m of pictures (v) and texts (t),
for all N training pairs with codes F_m as last seen, of which m are compared with, and b bits; sg
stops the gradient::

    S_ij = [l_i . l_j > 0],    S_ii = 1
    J(T) = mean_ij [log(1 + exp T_ij) - S_ij T_ij]                       n rows, m columns
    pairs        = J(s f_v sg F_t^T / b - o) + J(s f_t sg F_v^T / b - o)
                   s = logit_scale, or b / 2;    o = logit_offset
    quantization = (|f_v - B|^2 + |f_t - B|^2) / (n m)
    balance      = (|sum_j F_v,j|^2 + |sum_j F_t,j|^2) / (n N)           the batch's with gradient
    L = pairs + quantization_weight quantization + balance_weight balance
    after each epoch: B = sign(F_v + F_t)

With s = b / 2, o = 0 and m = N these are the paper's equations over its n N pairs.

Differs from the paper: it trains all of CNN-F for pictures; here features are frozen, and the image
head has a hidden layer as the text head has. Both heads step together, where the paper passes over
all pictures and then over all texts. The kept codes start as what fresh heads give, not as noise.
The paper's plain SGD falls linearly to 1e-6, ours along a half cosine to 0. `logit_scale`,
`logit_offset`, `compared`, normalisation and dropout are ours, and off in the preset `paper`.
Constants are those of the authors' code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from modalhash.layers import ScalingRule, hidden_head
from modalhash.losses import LabelTarget, code_statistics
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
    TrainingView,
)
from modalhash.methods.ranges import AT_LEAST_ONE, NOT_NEGATIVE, SHARE_BELOW_ONE, Settings

__all__ = ["CodeMemory", "Dcmh", "DcmhSettings", "alike", "balance_loss", "quantization_loss"]

PASS = 4096
"""Pairs that are read at once to fill the memory."""


@dataclass(frozen=True)
class DcmhSettings(Settings):
    """Settings of DCMH; values of the released code unless the line says otherwise."""

    image_hidden_width: Annotated[int, AT_LEAST_ONE] = 4096
    """Units of the image head's hidden layer (ours, as wide as CNN-F's; released: all of CNN-F)."""
    text_hidden_width: Annotated[int, AT_LEAST_ONE] = 8192
    """Units of the text head's hidden layer."""
    is_normalised: bool = False
    """Normalise hidden layers by the batch, with leaky ReLUs for ReLUs (ours)."""
    input_dropout: Annotated[float, SHARE_BELOW_ONE] = 0.0
    """Share of picture features dropped on their way in (ours)."""
    dropout: Annotated[float, SHARE_BELOW_ONE] = 0.0
    """Share of hidden units dropped in both heads (ours)."""
    logit_scale: Annotated[float, NOT_NEGATIVE] = 0.0
    """Logit of two equal codes of signs, before the offset; 0 takes half of their bits."""
    logit_offset: Annotated[float, NOT_NEGATIVE] = 0.0
    """Taken from all logits, so that unlike codes needn't be opposite (ours)."""
    compared: Annotated[int, NOT_NEGATIVE] = 0
    """Training pairs drawn each step to compare a batch with besides its own; 0 is all."""
    quantization_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the squared distances from the common signs, over all compared pairs (gamma)."""
    balance_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the squared sums of each bit over all training pairs (eta)."""


class CodeMemory(nn.Module):
    """What the heads last gave for every training pair, the pairs' labels, and common signs.

    Args:
        n_pairs: N.
        n_bits: b.
        n_classes: c.
    """

    image: Tensor
    text: Tensor
    signs: Tensor
    labels: Tensor

    def __init__(self, n_pairs: int, n_bits: int, n_classes: int) -> None:
        super().__init__()
        self.register_buffer("image", torch.zeros(n_pairs, n_bits))
        self.register_buffer("text", torch.zeros(n_pairs, n_bits))
        self.register_buffer("signs", torch.ones(n_pairs, n_bits, dtype=torch.int8))
        self.register_buffer("labels", torch.zeros(n_pairs, n_classes, dtype=torch.uint8))

    def keep(self, positions: Tensor, image: Tensor, text: Tensor) -> None:
        """Keep the (n, b) relaxed codes of the pairs at (n,) positions."""
        self.image[positions] = image.detach()
        self.text[positions] = text.detach()

    def solve_signs(self) -> None:
        """Set the common signs to those of the sums of both modalities; 0 gives +1."""
        self.signs.copy_(torch.where(self.image + self.text >= 0, 1, -1))


def alike(
    labels: Tensor, other_labels: Tensor, positions: Tensor, other_positions: Tensor
) -> Tensor:
    """Tell which pairs share a label; a pair is always like itself.

    Args:
        labels: (n, c) of 0 and 1.
        other_labels: (m, c).
        positions: (n,) each pair's place in the training set.
        other_positions: (m,).

    Returns:
        (n, m) of 0 and 1, in the type of `labels`.

    Example:
        >>> one, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0], [0.0, 1.0]])
        >>> alike(one, other, torch.tensor([0]), torch.tensor([1, 2]))
        tensor([[1., 0.]])
    """
    is_shared = labels @ other_labels.T > 0
    return (is_shared | (positions[:, None] == other_positions[None])).to(labels.dtype)


def quantization_loss(relaxed: Tensor, signs: Tensor, n_compared: int) -> Tensor:
    """Compute the squared distance of relaxed codes to signs, over all compared pairs; a scalar.

    Args:
        relaxed: (n, b).
        signs: (n, b) of -1 and +1.
        n_compared: m; the sum is divided by n m.
    """
    return (relaxed - signs).square().sum() / (len(relaxed) * n_compared)


def balance_loss(relaxed: Tensor, all_relaxed: Tensor) -> Tensor:
    """Compute the squared sums of each bit over all training pairs, over n N; a scalar.

    Args:
        relaxed: (n, b) of the batch, with gradient.
        all_relaxed: (N, b) of all pairs, which holds the batch's too.
    """
    sums = all_relaxed.sum(dim=0) + (relaxed - relaxed.detach()).sum(dim=0)  # the batch's learn
    return sums.square().sum() / (len(relaxed) * len(all_relaxed))


DENSE: Mapping[str, Any] = {
    "image_hidden_width": 512,
    "text_hidden_width": 512,
    "is_normalised": True,
    "input_dropout": 0.5,
    "dropout": 0.2,
    "logit_scale": 12.0,
    "logit_offset": 2.0,
    "compared": 1024,
    "balance_weight": 1e-4,
    "optimiser": "adamw",
    "learning_rate": 2e-3,
    "weight_decay": 0.1,
    "schedule": "one_cycle",
    "batch_size": 128,
    "epochs": 20,
    "least_steps": 500,
    "text_scaling": "unit",
}
"""For dense text features and small collections (ours, chosen on Flickr8k dev)."""


@dataclass
class DcmhHeads(Heads):
    """Hash heads and the codes that were last seen."""

    memory: CodeMemory


class Dcmh(GradientMethod[DcmhHeads]):
    """Deep cross-modal hashing; see the module's docstring."""

    name = "dcmh"
    title = "DCMH"
    needs = frozenset({Needs.LABELS})
    smallest_batch = 2
    settings_class = DcmhSettings
    settings: DcmhSettings
    training = TrainingSettings(
        epochs=500,
        batch_size=128,
        optimiser=Optimiser.SGD,
        learning_rate=10**-1.5,
        momentum=0.0,
        weight_decay=0.0,
        schedule=Schedule.COSINE,
        image_scaling=ScalingRule.STANDARDISED,
        text_scaling=ScalingRule.CENTRED_RMS,
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"dense": DENSE, "paper": {}}
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "without quantization": {"quantization_weight": 0.0},
        "without balance": {"balance_weight": 0.0},
    }
    removed_parts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "without quantization": ("quantization",),
        "without balance": ("balance",),
    }

    def build_heads(self, shapes: FeatureShapes, n_bits: int) -> DcmhHeads:
        """Make two hash heads and the memory of codes."""
        settings, n_classes = self.settings, shapes.n_classes
        assert n_classes is not None
        image, text = (
            hidden_head(
                (width, hidden_width, n_bits),
                dropout=settings.dropout,
                is_normalised=settings.is_normalised,
            )
            for width, hidden_width in (
                (shapes.image_width, settings.image_hidden_width),
                (shapes.text_width, settings.text_hidden_width),
            )
        )
        memory = CodeMemory(shapes.n_pairs, n_bits, n_classes)
        return DcmhHeads(image, text, memory)

    def before_training(self, heads: DcmhHeads, view: TrainingView) -> None:
        """Fill the memory with the pairs' labels and with what fresh heads give."""
        memory = heads.memory
        for batch in view.batches(PASS):
            assert batch.labels is not None
            memory.labels[batch.positions] = batch.labels.to(torch.uint8)
            memory.keep(batch.positions, heads.image(batch.image), heads.text(batch.text))
        memory.solve_signs()

    def batch_loss(self, heads: DcmhHeads, batch: Batch, moment: Moment) -> LossReport:
        """Compute the three parts of the objective, and keep the batch's codes."""
        settings, memory, labels = self.settings, heads.memory, batch.labels
        assert labels is not None
        is_training = heads.image.training
        image = heads.image(batch.image.dropped(settings.input_dropout, is_training=is_training))
        text = heads.text(batch.text)
        memory.keep(batch.positions, image, text)
        places = self.compared_places(batch.positions, len(memory.image))
        target = LabelTarget(
            alike(labels, memory.labels[places].to(labels.dtype), batch.positions, places),
            settings.logit_scale or heads.image.n_bits / 2,
            settings.logit_offset,
        )
        signs = memory.signs[batch.positions].to(image.dtype)
        pairs = target.code_loss(image, memory.text[places]) + target.code_loss(
            text, memory.image[places]
        )
        quantization = quantization_loss(image, signs, len(places)) + quantization_loss(
            text, signs, len(places)
        )
        balance = balance_loss(image, memory.image) + balance_loss(text, memory.text)
        return LossReport(
            {
                "pairs": Term(pairs),
                "quantization": Term(quantization, settings.quantization_weight),
                "balance": Term(balance, settings.balance_weight),
            },
            code_statistics(image, text),
        )

    def compared_places(self, positions: Tensor, n_pairs: int) -> Tensor:
        """Choose the places of the training pairs that a batch is compared with, (m,)."""
        n_drawn = self.settings.compared
        if not n_drawn or len(positions) + n_drawn >= n_pairs:
            return torch.arange(n_pairs, device=positions.device)
        drawn = torch.randperm(n_pairs, device=positions.device)[:n_drawn]
        return torch.cat([positions, drawn])

    def after_epoch(self, heads: DcmhHeads, view: TrainingView, moment: Moment) -> None:
        """Solve for the common signs."""
        heads.memory.solve_signs()
