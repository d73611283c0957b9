"""DUCH: deep unsupervised cross-modal contrastive hashing.

G. Mikriukov, M. Ravanbakhsh, B. Demir: "Unsupervised Contrastive Hashing for Cross-Modal Retrieval
in Remote Sensing", International Conference on Acoustics, Speech and Signal Processing, 2022.
https://doi.org/10.1109/ICASSP43922.2022.9746251, the longer https://arxiv.org/abs/2201.08125

A picture and its text are contrasted with each other, and each with another view of itself, so that
a code says what an item shows rather than how. Codes are drawn to common signs and to balanced
bits; a discriminator may learn to tell codes of pictures from codes of texts, which the networks
then prevent. No labels are used.

Objective, for n pairs; h_m = tanh(z_m) of the hash heads, h'_m of the other views, B the sign of
the mean of all four, D the discriminator::

    contrast     = NCE(h_v, h_t) + image_intra_weight NCE(h_v, h'_v)
                   + text_intra_weight NCE(h_t, h'_t)
    quantization = sum over the four codes of |B - h|^2, over all pairs and bits
    balance      = sum over the four codes of |1' h|^2: each bit's sum over the pairs, squared
    adversarial  = - sum over pairs of log D(h_v) + log D(h'_v), D being as it is
    discriminator= - mean log D(h_t) - mean log (1 - D(h_v)) + gradient_penalty (|dD| - 1)^2,
                   of both views, codes being as they are
    L            = contrast + quantization_weight quantization + balance_weight balance
                   + adversarial_weight adversarial + discriminator

NCE is InfoNCE with cosines over `temperature`, negatives from both sides (NT-Xent). Without an
adversarial weight, which is the default, there is no discriminator.

Differs from the paper: its other views are cropped, turned and blurred pictures and translated or
reworded texts. Frozen features allow neither: here the other view is the same feature vector with
some of its entries dropped and noise added, drawn anew each time. The paper's text wasn't read
beyond its abstract: terms and weights are those of the authors' later code for the same losses and
of notes on their code. There B comes from the last epoch's codes, here from the batch's; the
discriminator has an optimiser of its own and batch normalisation, here one optimiser takes both
steps at once on codes and weights that the other step doesn't reach, without normalisation, under
which a gradient penalty for single codes has no meaning; balance sums over the bits of a code
there. Temperature, depth and width are inferred.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import dropout as drop
from torch.nn.functional import softplus

from modalhash.layers import MlpHead, ModalityFeatures
from modalhash.layers.feature_scaling import ScalingRule
from modalhash.losses import NceForm, code_statistics, info_nce, signs_of
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
from modalhash.methods.ranges import AT_LEAST_ONE, NOT_NEGATIVE, POSITIVE, SHARE_BELOW_ONE, Settings

__all__ = [
    "Duch",
    "DuchSettings",
    "balance_loss",
    "discriminator_loss",
    "fooling_loss",
    "other_view",
    "quantization_loss",
]


@dataclass(frozen=True)
class DuchSettings(Settings):
    """Settings of DUCH; weights are the authors', for sums over a batch of 256 pairs."""

    hidden_width: Annotated[int, AT_LEAST_ONE] = 4096
    """Units of each head's hidden layer (inferred)."""
    temperature: Annotated[float, POSITIVE] = 0.5
    """Divides cosines in the contrast (inferred)."""
    image_intra_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the contrast between pictures and their other views."""
    text_intra_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the contrast between texts and their other views."""
    view_dropout: Annotated[float, SHARE_BELOW_ONE] = 0.2
    """Share of the features that the other view loses (ours)."""
    view_noise: Annotated[float, NOT_NEGATIVE] = 0.2
    """Noise of the other view, in root mean squares of the item's features (ours)."""
    quantization_weight: Annotated[float, NOT_NEGATIVE] = 0.001
    """Weight of the squared gaps between codes and common signs, summed."""
    balance_weight: Annotated[float, NOT_NEGATIVE] = 0.01
    """Weight of the squared sums that balance bits."""
    adversarial_weight: Annotated[float, NOT_NEGATIVE] = 0.0
    """Weight of deceiving the discriminator (paper 0.01); 0 is without one (ours)."""
    gradient_penalty: Annotated[float, NOT_NEGATIVE] = 10.0
    """Weight that holds the discriminator's slope at 1."""


def other_view(features: ModalityFeatures, *, dropout: float, noise: float) -> ModalityFeatures:
    """Drop some pooled entries of features and add noise; tokens stay.

    Args:
        features: of n items.
        dropout: share of entries set to 0; the rest grow by 1 / (1 - dropout).
        noise: deviation of what is added, in root mean squares of the item's features.
    """
    pooled = features.pooled
    scale = pooled.detach().square().mean(dim=1, keepdim=True).sqrt()
    remaining = drop(pooled, dropout)
    return replace(features, pooled=remaining + noise * scale * torch.randn_like(pooled))


def quantization_loss(codes: Tensor) -> Tensor:
    """Compute the squared gaps between all codes of a pair and their common signs, summed.

    Args:
        codes: (k, n, b) relaxed codes of k views.

    Returns:
        Scalar; the signs pass no gradient, a mean of 0 counts as +1.
    """
    common = signs_of(codes.mean(dim=0))
    return (common - codes).square().sum()


def balance_loss(codes: Tensor) -> Tensor:
    """Add up the squared sums of each bit of (k, n, b) codes over the pairs."""
    return codes.sum(dim=1).square().sum()


def fooling_loss(discriminator: nn.Module, image_codes: Tensor) -> Tensor:
    """Compute how well the discriminator finds out (n, b) image codes, summed; it doesn't learn."""
    fixed = {name: value.detach() for name, value in discriminator.named_parameters()}
    logits: Tensor = functional_call(discriminator, fixed, (image_codes,))
    return softplus(-logits).sum()


def discriminator_loss(
    discriminator: nn.Module, image_codes: Tensor, text_codes: Tensor, *, penalty: float
) -> Tensor:
    """Compute how badly image codes are told from text codes; only the discriminator learns.

    Args:
        discriminator: (n, b) to (n, 1), large for texts.
        image_codes: (n, b).
        text_codes: (n, b).
        penalty: weight of the squared gap between 1 and its slope, at random points between the
            codes of each pair.

    Returns:
        Scalar.
    """
    image_codes, text_codes = image_codes.detach(), text_codes.detach()
    loss = softplus(-discriminator(text_codes)).mean() + softplus(discriminator(image_codes)).mean()
    if not penalty:
        return loss
    share = torch.rand_like(text_codes)
    between = (share * text_codes + (1 - share) * image_codes).requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(between).sum(), between, create_graph=True)
    total: Tensor = loss + penalty * (slope.norm(dim=1) - 1).square().mean()
    return total


RELEASED: Mapping[str, Any] = {"adversarial_weight": 0.01, "epochs": 100}

DENSE: Mapping[str, Any] = {
    **DENSE_TRAINING,
    "hidden_width": 1024,
    "temperature": 0.3,
    "quantization_weight": 3e-5,
    "balance_weight": 3e-5,
    "learning_rate": 1e-3,
    "batch_size": 128,
    "epochs": 12,
}
"""For dense text features and small collections (ours, chosen on Flickr8k dev)."""


@dataclass
class DuchHeads(Heads):
    """Hash heads and, where it takes part, the discriminator of modalities."""

    discriminator: nn.Sequential | None = None


class Duch(GradientMethod[DuchHeads]):
    """Deep unsupervised cross-modal contrastive hashing; see the module's docstring."""

    name = "duch"
    title = "DUCH"
    settings_class = DuchSettings
    settings: DuchSettings
    training = TrainingSettings(
        epochs=100,
        batch_size=256,
        optimiser=Optimiser.ADAM,
        learning_rate=1e-4,
        weight_decay=5e-4,
        image_scaling=ScalingRule.CENTRED_RMS,
        text_scaling=ScalingRule.CENTRED_RMS,
    )
    smallest_batch = 2
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"dense": DENSE, "paper": RELEASED}
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "without other views": {"image_intra_weight": 0.0, "text_intra_weight": 0.0},
        "without quantization": {"quantization_weight": 0.0},
        "without balance": {"balance_weight": 0.0},
        "with the discriminator": {"adversarial_weight": 0.01},
    }
    removed_parts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "without other views": (
            "image_intra",
            "text_intra",
        ),
        "without quantization": ("quantization",),
        "without balance": ("balance",),
    }

    def build_heads(self, shapes: FeatureShapes, n_bits: int) -> DuchHeads:
        """Make two hash heads and, where it has a weight, the discriminator."""
        settings = self.settings
        heads = DuchHeads(
            image=MlpHead((shapes.image_width, settings.hidden_width, n_bits)),
            text=MlpHead((shapes.text_width, settings.hidden_width, n_bits)),
        )
        if settings.adversarial_weight:
            heads.discriminator = nn.Sequential(
                nn.Linear(n_bits, 2 * n_bits), nn.ReLU(), nn.Linear(2 * n_bits, 1)
            )
        return heads

    def batch_loss(self, heads: DuchHeads, batch: Batch, moment: Moment) -> LossReport:
        """Compute every term of the objective."""
        settings = self.settings
        view = partial(other_view, dropout=settings.view_dropout, noise=settings.view_noise)
        codes = torch.tanh(
            torch.stack(
                [
                    heads.image(batch.image),
                    heads.image(view(batch.image)),
                    heads.text(batch.text),
                    heads.text(view(batch.text)),
                ]
            )
        )  # (4, n, b)
        image, other_image, text, other_text = codes
        nce = partial(
            info_nce, temperature=settings.temperature, form=NceForm.FULL, items=batch.items
        )
        terms = {
            "inter": Term(nce(image, text)),
            "image_intra": Term(nce(image, other_image), settings.image_intra_weight),
            "text_intra": Term(nce(text, other_text), settings.text_intra_weight),
            "quantization": Term(quantization_loss(codes), settings.quantization_weight),
            "balance": Term(balance_loss(codes), settings.balance_weight),
        }
        discriminator = heads.discriminator
        if discriminator is not None:
            images, texts = codes[:2].flatten(0, 1), codes[2:].flatten(0, 1)
            terms["adversarial"] = Term(
                fooling_loss(discriminator, images), settings.adversarial_weight
            )
            terms["discriminator"] = Term(
                discriminator_loss(discriminator, images, texts, penalty=settings.gradient_penalty)
            )
        return LossReport(terms, code_statistics(image, text))
