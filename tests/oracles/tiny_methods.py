"""Two methods that exist for tests: one that uses all of the contract, one that goes wrong."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from modalhash.layers import HashHead, LinearHead, ModalityFeatures, ScalingRule
from modalhash.losses import cosine_similarities, similarity_gap
from modalhash.methods.base import (
    Batch,
    FeatureShapes,
    GradientMethod,
    Heads,
    LossReport,
    Moment,
    Needs,
    Term,
    TrainingSettings,
    TrainingView,
)


class TokenHead(HashHead):
    """The mean of an item's real tokens, dropped out, mapped to codes."""

    def __init__(self, token_width: int, n_bits: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.25)
        self.map = nn.Linear(token_width, n_bits)

    def forward(self, features: ModalityFeatures) -> Tensor:
        assert features.tokens is not None
        assert features.token_mask is not None
        weights = features.token_mask[:, :, None].float()
        mean = (features.tokens * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1)
        relaxed: Tensor = self.map(self.dropout(mean))
        return relaxed

    @property
    def n_bits(self) -> int:
        return self.map.out_features

    def spec(self) -> dict[str, Any]:
        return {"kind": "token", "token_width": self.map.in_features, "n_bits": self.n_bits}


class Memory(nn.Module):
    """What is learned without gradient."""

    bank: Tensor
    centre: Tensor
    n_updates: Tensor

    def __init__(self, n_pairs: int, n_bits: int, token_width: int) -> None:
        super().__init__()
        self.register_buffer("bank", torch.zeros(n_pairs, n_bits))
        self.register_buffer("centre", torch.zeros(token_width))
        self.register_buffer("n_updates", torch.zeros((), dtype=torch.int64))


@dataclass(frozen=True)
class TokenSettings:
    """None."""


@dataclass
class TokenMethodHeads(Heads):
    """Hash heads, a classifier and a memory bank."""

    classifier: nn.Sequential
    memory: Memory


class TokenMethod(GradientMethod[TokenMethodHeads]):
    """Needs tokens and labels, keeps a memory bank and batch statistics, fills in both hooks."""

    name = "token"
    title = "Token"
    needs = frozenset({Needs.TOKENS, Needs.LABELS})
    training = TrainingSettings(epochs=3, batch_size=16)
    settings_class = TokenSettings

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.events: list[str] = []
        self.seen: list[Batch] = []

    def build_heads(self, shapes: FeatureShapes, n_bits: int) -> TokenMethodHeads:
        assert shapes.image_token_width is not None
        assert shapes.text_token_width is not None
        assert shapes.n_classes is not None
        self.events.append("build_heads")
        classifier = nn.Sequential(nn.BatchNorm1d(n_bits), nn.Linear(n_bits, shapes.n_classes))
        return TokenMethodHeads(
            TokenHead(shapes.image_token_width, n_bits),
            TokenHead(shapes.text_token_width, n_bits),
            classifier=classifier,
            memory=Memory(shapes.n_pairs, n_bits, shapes.image_token_width),
            rate_scales={"auxiliary.classifier": 0.1, "text": 2.0},
        )

    def batch_loss(self, heads: TokenMethodHeads, batch: Batch, moment: Moment) -> LossReport:
        assert batch.labels is not None
        assert heads.image.training
        self.seen.append(batch)
        memory = heads.memory
        image, text = torch.tanh(heads.image(batch.image)), torch.tanh(heads.text(batch.text))
        target = cosine_similarities(batch.labels, batch.labels)
        logits = heads.classifier(image)
        terms = {
            "pairs": Term(similarity_gap(image, text, target)),
            "classes": Term(binary_cross_entropy_with_logits(logits, batch.labels), 0.1),
            "memory": Term(mse_loss(text, memory.bank[batch.positions]), 0.1),
        }
        with torch.no_grad():
            memory.bank[batch.positions] = image
        return LossReport(terms)

    def before_training(self, heads: TokenMethodHeads, view: TrainingView) -> None:
        self.note("before_training", heads)
        memory = heads.memory
        total, count = torch.zeros_like(memory.centre), 0
        for batch in view.batches(50):
            assert batch.image.tokens is not None
            total += batch.image.tokens[:, 0].sum(dim=0)
            count += len(batch)
        assert count == view.n_pairs
        memory.centre.copy_(total / count + 0.01 * torch.randn_like(total))

    def after_epoch(self, heads: TokenMethodHeads, view: TrainingView, moment: Moment) -> None:
        self.note(f"after_epoch {moment.epoch}", heads)
        memory = heads.memory
        memory.n_updates += 1
        memory.centre += 0.01 * torch.randn_like(memory.centre)
        memory.bank += 0.1 * torch.randn_like(memory.bank)

    def note(self, event: str, heads: TokenMethodHeads) -> None:
        assert not heads.image.training
        assert not torch.is_grad_enabled()
        self.events.append(event)


class Fault(StrEnum):
    """What goes wrong after the first epoch."""

    NONE = "none"
    LOSS = "loss"
    TERM = "term"
    WEIGHTS = "weights"
    HOOK = "hook"
    COLLAPSE = "collapse"
    GOOD_ONCE = "good_once"
    GOOD_ALWAYS = "good_always"


@dataclass(frozen=True)
class FaultySettings:
    """What goes wrong."""

    fault: Fault = Fault.NONE
    """From the second epoch on, in its third step or in the hook after it."""


class FaultyMethod(GradientMethod[Heads]):
    """Linear heads that pull paired codes together, until something goes wrong."""

    name = "faulty"
    title = "Faulty"
    settings_class = FaultySettings
    settings: FaultySettings
    training = TrainingSettings(
        epochs=4,
        learning_rate=1 / 64,
        image_scaling=ScalingRule.STANDARDISED,
        text_scaling=ScalingRule.STANDARDISED,
    )

    def build_heads(self, shapes: FeatureShapes, n_bits: int) -> Heads:
        return Heads(
            LinearHead(shapes.image_width, n_bits),
            LinearHead(shapes.text_width, n_bits),
            rate_scales={"text": 0.5},
        )

    def batch_loss(self, heads: Heads, batch: Batch, moment: Moment) -> LossReport:
        # A method is given nothing that it doesn't need.
        assert batch.labels is None
        assert batch.image.tokens is batch.text.tokens is None
        image, text = torch.tanh(heads.image(batch.image)), torch.tanh(heads.text(batch.text))
        gap = mse_loss(image, text)
        total, extra, weight = gap, torch.zeros(()), 1.0
        if moment.epoch and moment.step == 2:
            if self.settings.fault is Fault.LOSS:
                weight = torch.inf
            if self.settings.fault is Fault.TERM:
                extra = torch.full((), torch.nan)
        if (
            moment.epoch
            and moment.step == moment.n_steps - 1
            and (self.settings.fault is Fault.WEIGHTS)
        ):
            # The root of a square has no slope at zero.
            total = gap + ((image - image) ** 2).sum().sqrt()
        return LossReport({"gap": Term(total, weight)}, {"extra": extra})

    def after_epoch(self, heads: Heads, view: TrainingView, moment: Moment) -> None:
        image, text = heads.image, heads.text
        assert isinstance(image, LinearHead)
        assert isinstance(text, LinearHead)
        assert bool(torch.isfinite(image.map.weight).all())
        match self.settings.fault:
            case Fault.HOOK if moment.epoch:
                image.map.bias[0] = torch.nan
            case Fault.COLLAPSE:
                image.map.weight[3:] = 0
                image.map.bias[3:] = -1
            case Fault.GOOD_ONCE | Fault.GOOD_ALWAYS as fault:
                sign = 1 if fault is Fault.GOOD_ALWAYS or moment.epoch == 1 else -1
                text.map.weight.copy_(sign * image.map.weight)
                text.map.bias.copy_(sign * image.map.bias)
