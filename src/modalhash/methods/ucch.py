"""UCCH: unsupervised contrastive cross-modal hashing.

P. Hu, H. Zhu, J. Lin, D. Peng, Y.-P. Zhao, X. Peng: "Unsupervised Contrastive Cross-Modal Hashing",
IEEE Transactions on Pattern Analysis and Machine Intelligence, vol. 45, 2023.
https://doi.org/10.1109/TPAMI.2022.3177356

A bank keeps one binary code for each training pair and follows the networks with momentum. What the
networks give is contrasted with the bank's codes, so binary codes take part in learning without
being relaxed; a ranking loss between the modalities weakens items that are far from the query
already, and spreads its push over all others instead of the hardest alone, since the hardest
negatives often are of the same kind. No labels are used.

Objective, for n pairs with outputs z_v, z_t of the hash heads; w_i is row i of the bank, unit(x)
has length 1::

    h_m      = unit(tanh(z_m)),   e(m, i, k) = exp(sign(w_k) . h_mi / T)
    p(m, i)  = e(m, i, i) / (e(m, i, i) + sum over drawn rows k of e(m, i, k))
    contrast = - mean_i log p(v, i) - mean_i log p(t, i)
    w_i     <- unit(momentum w_i + (1 - momentum) unit(h_vi + h_ti))        after the step's loss
    s_ij     = h_vi . h_tj,   s'_ij = s_ij where s_ij >= s_ii - margin, else s_ij - shift
    ranking  = mean_i (margin - s_ii + log sum_j exp(s'_ij)), plus the same from texts to pictures
    L        = contrast_share contrast + (1 - contrast_share) ranking

In the first epochs the signs of the batch's own h_v + h_t stand in for the bank.

Differs from the paper: features are frozen, so pictures aren't cropped or flipped anew. The rows
that a batch is contrasted with are drawn once for the whole batch, not for each of its items, and
all of the bank is taken where it has no more rows; a pair's own row, and rows of its item's other
texts, are no negatives, where the released code may draw them. Formulas and constants are those of
the released code; the formulas of the paper were not compared with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from modalhash.layers import MlpHead
from modalhash.layers.feature_scaling import ScalingRule
from modalhash.losses import code_statistics, signs_of
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
from modalhash.methods.controls import NamedModule, shuffle_items
from modalhash.methods.ranges import (
    AT_LEAST_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    SHARE_BELOW_ONE,
    Settings,
)

__all__ = ["CodeBank", "Ucch", "UcchSettings", "bank_contrast", "ranking_loss"]


@dataclass(frozen=True)
class UcchSettings(Settings):
    """Settings of UCCH; values of the released code for MIRFlickr-25K."""

    hidden_width: Annotated[int, AT_LEAST_ONE] = 8192
    """Units of each hidden layer."""
    image_hidden_layers: Annotated[int, NOT_NEGATIVE] = 2
    """Hidden layers of the image head; 0 is a linear map."""
    text_hidden_layers: Annotated[int, NOT_NEGATIVE] = 1
    """Hidden layers of the text head; 0 is a linear map."""
    contrast_share: Annotated[float, SHARE] = 0.7
    """Weight of the contrast with the bank; the ranking loss has the rest (0.9 by the program)."""
    temperature: Annotated[float, POSITIVE] = 0.9
    """Divides inner products of unit vectors with signs."""
    n_negatives: Annotated[int, AT_LEAST_ONE] = 4096
    """Rows of the bank that a batch is contrasted with."""
    bank_momentum: Annotated[float, SHARE_BELOW_ONE] = 0.4
    """Share of a row of the bank that stays when its pair is seen."""
    warm_epochs: Annotated[int, NOT_NEGATIVE] = 1
    """First epochs, in which the batch's own signs stand in for the bank."""
    margin: Annotated[float, NOT_NEGATIVE] = 0.2
    """Cosine by which the partner should stand above others."""
    shift: Annotated[float, NOT_NEGATIVE] = 0.1
    """Taken off cosines that are below the partner's by more than the margin (program: 1)."""
    shuffled_bank: bool = False
    """Give pairs the codes that the bank has for other pairs: a control (ours)."""


class CodeBank(nn.Module):
    """One vector for each training pair, whose signs are the pair's code so far.

    Args:
        n_pairs: rows.
        n_bits: b.
    """

    rows: Tensor
    owners: Tensor

    def __init__(self, n_pairs: int, n_bits: int) -> None:
        super().__init__()
        signs = torch.randint(2, (n_pairs, n_bits)) * 2.0 - 1
        self.register_buffer("rows", signs / n_bits**0.5)
        self.register_buffer("owners", torch.full((n_pairs,), -1))  # items, as they are seen

    def draw(self, n_rows: int) -> Tensor:
        """Draw (k,) positions of rows at random, or take all where there are no more."""
        size, device = len(self.rows), self.rows.device
        if n_rows >= size:
            return torch.arange(size, device=device)
        return torch.randint(size, (n_rows,), device=device)

    @torch.no_grad()
    def renew(self, positions: Tensor, items: Tensor, fused: Tensor, momentum: float) -> None:
        """Move the rows at (n,) positions towards (n, b) fused outputs, and note their items."""
        fused = normalize(fused.detach(), dim=1)
        moved = momentum * self.rows[positions] + (1 - momentum) * fused
        self.rows[positions] = normalize(moved, dim=1)
        self.owners[positions] = items


def bank_contrast(
    relaxed: Tensor, own: Tensor, others: Tensor, is_negative: Tensor, temperature: float
) -> Tensor:
    """Compute how little the own code stands out among others, the mean over items.

    Args:
        relaxed: (n, b), rows of length 1.
        own: (n, b) -1 and +1, the code that each item should be like.
        others: (m, b) -1 and +1.
        is_negative: (n, m) bool, which of the others an item is told apart from.
        temperature: divides inner products.

    Returns:
        Scalar; 0 where no item has a negative.

    Example:
        >>> one = torch.ones(1, 4) / 2
        >>> bank_contrast(one, torch.ones(1, 4), torch.ones(3, 4), torch.ones(1, 3) > 0, 1.0)
        tensor(1.3863)
    """
    positive = (relaxed * own).sum(dim=1, keepdim=True) / temperature
    scores = (relaxed @ others.T / temperature).masked_fill(~is_negative, -torch.inf)
    return (torch.cat([positive, scores], dim=1).logsumexp(dim=1) - positive[:, 0]).mean()


def ranking_loss(
    image: Tensor, text: Tensor, *, margin: float, shift: float, items: Tensor | None = None
) -> Tensor:
    """Compute how little partners stand above all others, from both modalities.

    Args:
        image: (n, b), rows of length 1.
        text: (n, b) of the partners.
        margin: others within it of the partner, or above, count in full.
        shift: taken off the cosines of the rest.
        items: (n,) what pairs belong to; pairs of one item aren't told apart. None: each to an item
            of its own.

    Returns:
        Scalar: the sum of both directions' means.
    """
    n = len(image)
    items = torch.arange(n, device=image.device) if items is None else items
    itself = torch.eye(n, dtype=torch.bool, device=image.device)
    counts = (items[:, None] != items[None]) | itself
    scores = image @ text.T
    partner = scores.diagonal()

    def direction(similarities: Tensor) -> Tensor:
        is_near = similarities >= partner[:, None] - margin
        considered = torch.where(is_near, similarities, similarities - shift).masked_fill(
            ~counts, -torch.inf
        )
        return (margin - partner + considered.logsumexp(dim=1)).mean()

    return direction(scores) + direction(scores.T)


RELEASED: Mapping[str, Any] = {"contrast_share": 0.7, "shift": 0.1, "epochs": 20}

DENSE: Mapping[str, Any] = {
    **DENSE_TRAINING,
    "hidden_width": 1024,
    "image_hidden_layers": 1,
    "contrast_share": 0.3,
    "temperature": 2.0,
    "learning_rate": 1e-3,
    "batch_size": 128,
    "epochs": 10,
}
"""For dense text features and small collections (ours, chosen on Flickr8k dev)."""


@dataclass
class UcchHeads(Heads):
    """Hash heads and the bank of codes."""

    bank: CodeBank


class Ucch(GradientMethod[UcchHeads]):
    """Unsupervised contrastive cross-modal hashing; see the module's docstring."""

    name = "ucch"
    title = "UCCH"
    settings_class = UcchSettings
    settings: UcchSettings
    training = TrainingSettings(
        epochs=20,
        batch_size=256,
        optimiser=Optimiser.ADAM,
        learning_rate=1e-4,
        weight_decay=1e-6,
        gradient_clip=1.0,
        image_scaling=ScalingRule.CENTRED_RMS,
        text_scaling=ScalingRule.CENTRED_RMS,
    )
    smallest_batch = 2
    unhuggable: ClassVar[Mapping[str, str]] = {
        "same": "keeps a bank of codes, which local embeddings would overwrite",
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "dense": DENSE,
        "paper": RELEASED,
        "mirflickr": RELEASED,
    }
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "without the ranking loss": {"contrast_share": 1.0},
        "without the contrast with the bank": {"contrast_share": 0.0},
        "with a shuffled bank": {"shuffled_bank": True},
        "bank without momentum": {"bank_momentum": 0.0},
        "ranking without the shift": {"shift": 0.0},
    }
    removed_parts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "without the ranking loss": ("ranking",),
        "without the contrast with the bank": ("contrast",),
    }
    modules: ClassVar[Mapping[str, NamedModule]] = {
        "bank": NamedModule("without the contrast with the bank", "with a shuffled bank"),
    }

    def build_heads(self, shapes: FeatureShapes, n_bits: int) -> UcchHeads:
        """Make two hash heads and the bank."""
        settings = self.settings
        image_hidden = [settings.hidden_width] * settings.image_hidden_layers
        text_hidden = [settings.hidden_width] * settings.text_hidden_layers
        return UcchHeads(
            image=MlpHead((shapes.image_width, *image_hidden, n_bits)),
            text=MlpHead((shapes.text_width, *text_hidden, n_bits)),
            bank=CodeBank(shapes.n_pairs, n_bits),
        )

    def batch_loss(self, heads: UcchHeads, batch: Batch, moment: Moment) -> LossReport:
        """Compute both parts of the objective, then renew the bank's rows of these pairs."""
        settings = self.settings
        bank = heads.bank
        image_relaxed = torch.tanh(heads.image(batch.image))
        text_relaxed = torch.tanh(heads.text(batch.text))
        image, text = normalize(image_relaxed, dim=1), normalize(text_relaxed, dim=1)
        items = batch.positions if batch.items is None else batch.items
        is_warm = moment.epoch < settings.warm_epochs
        if is_warm:
            own = others = signs_of(image + text)
            owners = items
        else:
            drawn = bank.draw(settings.n_negatives)
            own, others = signs_of(bank.rows[batch.positions]), signs_of(bank.rows[drawn])
            owners = bank.owners[drawn]
        if settings.shuffled_bank:
            own = shuffle_items(own)
        is_negative = items[:, None] != owners[None]
        contrast = bank_contrast(image, own, others, is_negative, settings.temperature)
        contrast = contrast + bank_contrast(text, own, others, is_negative, settings.temperature)
        ranking = ranking_loss(
            image, text, margin=settings.margin, shift=settings.shift, items=batch.items
        )
        momentum = 0.0 if is_warm else settings.bank_momentum
        bank.renew(batch.positions, items, image + text, momentum)
        share = settings.contrast_share
        agreement = (own == signs_of(image + text)).to(image).mean()
        terms = {"contrast": Term(contrast, share), "ranking": Term(ranking, 1 - share)}
        watched = {"bank_agreement": agreement, **code_statistics(image_relaxed, text_relaxed)}
        return LossReport(terms, watched)
