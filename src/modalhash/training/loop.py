"""The training loop: the only one there is."""

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from modalhash.errors import SettingError, TrainingError
from modalhash.files import write_text
from modalhash.layers import FeatureScaling, TokenReduction
from modalhash.layers.feature_scaling import unit_rows
from modalhash.methods.base import (
    CaptionChoice,
    ClosedFormMethod,
    FeatureShapes,
    GradientMethod,
    Heads,
    Method,
    Moment,
    Needs,
    TrainingSettings,
)
from modalhash.methods.compatibility import add_former_terms
from modalhash.methods.hasher import Hasher, HashTower
from modalhash.progress import Progress, silent
from modalhash.seeds import check_seed
from modalhash.training.checkpoints import Checkpoint, Checkpoints
from modalhash.training.live_features import LiveFeatures
from modalhash.training.optimisers import make_optimiser, optimiser_tensors, restore_optimiser
from modalhash.training.pairs import Pairs, TrainingData
from modalhash.training.reduced_tokens import ReducedTable, fit_reduction
from modalhash.training.requirements import (
    UNCENTRED_RULES,
    check_last_batch,
    check_needs,
    check_row_lengths,
    check_sizes,
    warn_of_parallel_rows,
    warn_of_unlabelled,
    warn_of_zeros,
)
from modalhash.training.schedules import rate_factor
from modalhash.training.validation import constant_bits, pair_recall, warn_of_collapse

__all__ = ["TrainingPlan", "TrainingResult", "train_method"]

logger = logging.getLogger(__name__)
SCALING_BATCH = 4096
CHECKED_AT_ONCE = 1 << 20
"""Numbers checked at a time; a check of all takes twice the memory of what it checks."""
MOST_BITS = 1 << 16
"""Bits of a code at most: one of 8 KiB. Weights for more could take all memory."""
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class TrainingPlan:
    """What to train.

    Attributes:
        method: the method with its settings.
        settings: how to train it.
        n_bits: b.
        seed: decides initial weights, orders, captions, dropout and the validation split.
        device: where; closed-form methods solve on the CPU.
        run_folder: where `checkpoint/` and `log.jsonl` go; None keeps neither.
    """

    method: Method
    settings: TrainingSettings
    n_bits: int
    seed: int = 0
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - immutable
    run_folder: Path | None = None

    def __post_init__(self) -> None:
        """Check the range of bits and seed."""
        if self.n_bits < 1:
            raise SettingError(f"n_bits is {self.n_bits}, expected a positive number: 16 to 256")
        if self.n_bits > MOST_BITS:
            raise SettingError(f"n_bits is {self.n_bits}, expected {MOST_BITS} at most: 16 to 256")
        check_seed(self.seed)


@dataclass(frozen=True)
class TrainingResult:
    """What training gives.

    Attributes:
        hasher: the towers, on the CPU, in evaluation mode.
        log: one entry an epoch: epoch, loss, each term's mean, validation value, constant bits,
            seconds; empty for closed-form methods.
        best_epoch: epoch (from 0) the towers are from; None for closed-form methods.
    """

    hasher: Hasher
    log: tuple[Mapping[str, Any], ...]
    best_epoch: int | None


def train_method(
    plan: TrainingPlan, data: TrainingData, *, resume: bool = False, progress: Progress = silent
) -> TrainingResult:
    """Train a method on pairs.

    The same plan on the same data gives the same codes on the same machine with the same number of
    threads, whether or not it was interrupted and resumed.

    Args:
        plan: what to train and how.
        data: features, items and labels; the method sees labels and tokens only if it needs them.
        resume: go on from the last checkpoint in the plan's folder, if there is one.
        progress: told of every step.

    Returns:
        The towers and the log.

    Raises:
        FeatureError: if the method needs labels or tokens that aren't there.
        InputError: if there are too few items to train on, or to choose the best epoch with.
        TrainingError: if the loss or a weight isn't finite; the last good checkpoint is kept.
    """
    check_needs(plan.method, plan.settings, data)
    needs = plan.method.needs
    data = replace(
        data,
        labels=data.labels if Needs.LABELS in needs else None,
        with_tokens=Needs.TOKENS in needs,
    )
    if isinstance(plan.method, ClosedFormMethod):
        whole = replace(plan.settings, validation_share=0.0)  # there are no epochs to choose from
        plan = replace(plan, device=torch.device("cpu"), settings=whole)
    trained_data, held_out = data.without(plan.settings.validation_share, plan.seed)
    check_sizes(trained_data, held_out, plan.settings.validation_share)
    if trained_data.labels is not None:
        warn_of_unlabelled(trained_data.labels, trained_data.items)
    with seeded(plan.seed, plan.device):
        trained_data, image_reduction, text_reduction = reduced(
            trained_data, held_out, plan.settings
        )
        pairs = scale_pairs(plan, trained_data)
        check_last_batch(plan.method, plan.settings, pairs.n_pairs)
        shapes = feature_shapes(plan, trained_data, pairs)
        if isinstance(plan.method, ClosedFormMethod):
            generator = torch.Generator().manual_seed(plan.seed)
            progress("solve", 0, 1)
            heads = plan.method.solve(pairs, shapes, plan.n_bits, generator)
            progress("solve", 1, 1)
            result = TrainingResult(hasher_of(heads, pairs).cpu(), (), None)
        else:
            method = plan.method
            assert isinstance(method, GradientMethod)
            plan = replace(plan, settings=bound_epochs(plan.settings, pairs))
            run = GradientRun(plan, method, trained_data, held_out, pairs=pairs, shapes=shapes)
            result = run.train(resume=resume, progress=progress)
        result.hasher.set_reductions(image_reduction, text_reduction)
        return result


class GradientRun:
    """One run of a gradient method: its parts, optimiser and log."""

    def __init__(
        self,
        plan: TrainingPlan,
        method: GradientMethod[Any],
        data: TrainingData,
        held_out: Rows,
        *,
        pairs: Pairs,
        shapes: FeatureShapes,
    ) -> None:
        self.plan, self.method, self.data, self.held, self.pairs = (
            plan,
            method,
            data,
            held_out,
            pairs,
        )
        self.heads = method.build_heads(shapes, plan.n_bits)
        self.parts = self.heads.modules()
        scales = dict(self.heads.rate_scales)
        if pairs.live:
            self.parts["encoder"] = pairs.live.modules()
            scales |= {f"encoder.{name}": scale for name, scale in pairs.live.rate_scales().items()}
        self.parts.to(plan.device)
        self.optimiser = make_optimiser(self.parts, scales, plan.settings)
        self.log: list[dict[str, Any]] = []
        self.best_epoch: int | None = None
        self.best_value = -1.0
        self.best_parts: dict[str, Tensor] = {}

    def train(self, *, resume: bool, progress: Progress) -> TrainingResult:
        """Run all epochs that aren't done yet."""
        folder = self.plan.run_folder
        checkpoints = Checkpoints(folder / "checkpoint") if folder else None
        first = self.restore(checkpoints) if checkpoints and resume else 0
        if not first:
            self.parts.eval()
            with torch.no_grad():
                self.method.before_training(self.heads, self.pairs)
        n_epochs = self.plan.settings.epochs
        for epoch in range(first, n_epochs):
            started = time.perf_counter()
            means = self.run_epoch(epoch, progress)
            self.finish_epoch(epoch, means, time.perf_counter() - started)
            if folder:
                lines = (json.dumps(entry) + "\n" for entry in self.log)
                write_text(folder / "log.jsonl", "".join(lines))
            if checkpoints:
                checkpoints.save(self.checkpoint(epoch + 1))
        if self.best_epoch is not None:
            self.parts.load_state_dict(self.best_parts)
        self.parts.eval()
        best = n_epochs - 1 if self.best_epoch is None else self.best_epoch
        return TrainingResult(hasher_of(self.heads, self.pairs).cpu(), tuple(self.log), best)

    def run_epoch(self, epoch: int, progress: Progress) -> dict[str, float]:
        """Take every step of one epoch; return the mean loss and the mean of each term."""
        settings = self.plan.settings
        n_steps = self.pairs.n_steps(
            settings.batch_size, drop_last=settings.drop_last, most=settings.most_steps
        )
        all_steps = n_steps * settings.epochs
        totals: dict[str, float] = {}
        self.parts.train()
        with seeded(self.plan.seed * 1_000_003 + epoch + 1, self.plan.device):
            batches = self.pairs.epoch(
                epoch,
                self.plan.seed,
                settings.batch_size,
                drop_last=settings.drop_last,
                most=settings.most_steps,
            )
            for step, batch in enumerate(batches):
                moment = Moment(epoch, settings.epochs, step, n_steps)
                self.set_rate(epoch * n_steps + step, all_steps)
                report = self.method.batch_loss(self.heads, batch, moment)
                report = add_former_terms(
                    report,
                    self.method,
                    self.heads,
                    batch,
                    moment,
                    weight=settings.compatibility_weight,
                )
                values = {"loss": report.total.item()}
                values |= {name: value.item() for name, value in report.values.items()}
                self.check_finite(values, epoch, step)
                self.optimiser.zero_grad()
                report.total.backward()  # type: ignore[no-untyped-call]
                if settings.gradient_clip:
                    nn.utils.clip_grad_norm_(self.parts.parameters(), settings.gradient_clip)
                self.optimiser.step()
                for name, value in values.items():
                    totals[name] = totals.get(name, 0.0) + value
                means = {name: total / (step + 1) for name, total in totals.items()}
                progress(
                    "train", epoch * n_steps + step + 1, all_steps, {"epoch": epoch + 1} | means
                )
            self.check_parts(epoch)
            self.parts.eval()
            with torch.no_grad():
                self.method.after_epoch(self.heads, self.pairs, Moment(epoch, settings.epochs))
            self.check_parts(epoch)
        return {name: total / n_steps for name, total in totals.items()}

    def finish_epoch(self, epoch: int, means: Mapping[str, float], seconds: float) -> None:
        """Judge the epoch and write it to the log."""
        hasher = hasher_of(self.heads, self.pairs)
        data = self.data.present()
        n_constant = constant_bits(hasher, data)
        if epoch + 1 in (self.plan.settings.epochs // 2, self.plan.settings.epochs):
            warn_of_collapse(n_constant, self.plan.n_bits, epoch, self.plan.settings)
        entry: dict[str, Any] = {"epoch": epoch, **means}
        if len(self.held):
            value = pair_recall(hasher, data, self.held)
            entry["validation_recall_at_10"] = value
            if value > self.best_value:
                self.best_value, self.best_epoch = value, epoch
                self.best_parts = cloned(self.parts)
        entry |= {
            "constant_image_bits": n_constant[0],
            "constant_text_bits": n_constant[1],
            "seconds": round(seconds, 3),
        }
        self.log.append(entry)

    def set_rate(self, step: int, n_steps: int) -> None:
        """Set every parameter group's learning rate for a step."""
        factor = rate_factor(self.plan.settings.schedule, step, n_steps)
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.settings.learning_rate * group["scale"] * factor

    def check_finite(self, values: Mapping[str, float], epoch: int, step: int) -> None:
        """Stop before a non-finite loss reaches the weights."""
        if np.isfinite(list(values.values())).all():
            return
        terms = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        raise self.not_finite(f"the loss is not finite in step {step + 1} ({terms})", epoch)

    def check_parts(self, epoch: int) -> None:
        """Stop before non-finite weights reach a checkpoint."""
        for name, tensor in self.parts.state_dict().items():
            parts = tensor.flatten().split(CHECKED_AT_ONCE)
            if not all(bool(torch.isfinite(part).all()) for part in parts):
                raise self.not_finite(f"{name} is not finite at the end", epoch)

    def not_finite(self, event: str, epoch: int) -> TrainingError:
        """Describe, as an error, what happened in an epoch, what is kept and the way out."""
        if not epoch:
            state = "no epoch was finished"
        elif self.plan.run_folder:
            state = f"the checkpoint after epoch {epoch} is kept in {self.plan.run_folder}"
        else:
            state = "nothing is kept of a run without a folder"
        return TrainingError(
            f"{event} of epoch {epoch + 1}; {state}; lower learning_rate "
            f"(now {self.plan.settings.learning_rate:g}) or scale the features"
        )

    def checkpoint(self, epochs_done: int) -> Checkpoint:
        """Capture where the run stands."""
        return Checkpoint(
            epochs_done,
            self.best_epoch,
            self.best_value,
            self.log,
            dict(self.parts.state_dict()),
            optimiser_tensors(self.optimiser),
            self.best_parts,
        )

    def restore(self, checkpoints: Checkpoints) -> int:
        """Take up the last checkpoint; return how many epochs are done."""
        checkpoint = checkpoints.load()
        if checkpoint is None:
            return 0
        self.parts.load_state_dict(checkpoint.parts)
        restore_optimiser(self.optimiser, checkpoint.optimiser)
        self.log, self.best_epoch = checkpoint.log, checkpoint.best_epoch
        self.best_value, self.best_parts = checkpoint.best_value, checkpoint.best_parts
        logger.info("going on after epoch %d", checkpoint.epochs_done)
        return checkpoint.epochs_done


def scale_pairs(plan: TrainingPlan, data: TrainingData) -> Pairs:
    """Fit scalings on the training pairs, and pair the data with them."""
    settings = plan.settings
    image_scaling = FeatureScaling(settings.image_scaling, data.image.width)
    text_scaling = FeatureScaling(settings.text_scaling, data.text.width)
    live = None
    if data.live_image or data.live_text:
        live = LiveFeatures(
            data.live_image,
            data.live_text,
            settings,
            plan.device,
            with_tokens=data.with_tokens,
        )
    pairs = Pairs(data, settings.captions, image_scaling, text_scaling, plan.device, live=live)
    for scaling, batches, modality in (
        (image_scaling, pairs.pooled_images(SCALING_BATCH), "image"),
        (text_scaling, pairs.pooled_texts(SCALING_BATCH), "text"),
    ):
        mean_cosine = fit_scaling(scaling, batches, pairs.n_pairs, modality)
        if isinstance(plan.method, GradientMethod):  # closed forms centre for themselves
            warn_of_parallel_rows(mean_cosine, scaling.rule, modality)
        scaling.to(plan.device)
    return pairs


def reduced(
    data: TrainingData, held_out: Rows, settings: TrainingSettings
) -> tuple[TrainingData, TokenReduction | None, TokenReduction | None]:
    """Reduce the data's tokens as the settings say; the fitted reductions are returned too.

    Reductions are fitted on the training items, images as they are and texts by their first;
    reduced tokens of training and held-out items are kept in memory. Tokens of a tower that is
    tuned aren't reduced.
    """
    if not data.with_tokens:
        return data, None, None
    starts = data.caption_starts
    image = text = None
    if not data.live_image:
        image = fit_reduction(
            data.image,
            data.items,
            width=settings.image_token_width,
            grid=settings.image_token_grid,
            modality="image",
        )
    if not data.live_text:
        text = fit_reduction(
            data.text,
            starts[data.items],
            width=settings.text_token_width,
            grid=0,
            modality="text",
        )
    if image:
        rows = np.concatenate([data.items, held_out])
        data = replace(data, image=ReducedTable(data.image, image, rows))
    if text:
        rows = np.concatenate([starts[data.items], starts[held_out]])
        if settings.captions in (CaptionChoice.RANDOM, CaptionChoice.ALL):
            every = [np.arange(starts[item], starts[item + 1]) for item in data.items]
            rows = np.concatenate([*every, starts[held_out]])
        data = replace(data, text=ReducedTable(data.text, text, rows))
    return data, image, text


def fit_scaling(
    scaling: FeatureScaling, batches: Iterator[Tensor], n_pairs: int, modality: str
) -> float:
    """Fit a scaling to pooled features, and check in the same pass that it suits them.

    Returns:
        The mean cosine between two rows, a row with itself among them; 0 where the rule centres
        rows, so that nobody needs it.

    Raises:
        FeatureError: if some rows are so long that nothing else would count.
    """
    # One tensor from the start: small ones kept between large ones that are freed would let the
    # process grow by a batch a batch.
    row_lengths = torch.empty(n_pairs, dtype=torch.float64)
    total = torch.zeros_like(scaling.mean, dtype=torch.float64)
    is_centred = scaling.rule not in UNCENTRED_RULES

    def measure_rows() -> Iterator[Tensor]:
        start = 0
        for pooled in batches:
            row_lengths[start : start + len(pooled)] = pooled.double().norm(dim=1)
            start += len(pooled)
            if not is_centred:
                total.add_(unit_rows(pooled.double()).sum(dim=0))
            yield pooled

    rows = measure_rows()
    scaling.fit(rows)
    for _ in rows:  # a rule that needs no fitting reads nothing
        pass
    warn_of_zeros(int((row_lengths == 0).sum()), n_pairs, modality)
    check_row_lengths(row_lengths, scaling.rule, modality)
    return float(total.square().sum()) / len(row_lengths) ** 2


def bound_epochs(settings: TrainingSettings, pairs: Pairs) -> TrainingSettings:
    """Fit the number of epochs, at least one, to the least and the most steps in all."""
    n_steps = pairs.n_steps(settings.batch_size, drop_last=settings.drop_last)
    n_epochs = max(settings.epochs, -(-settings.least_steps // n_steps))
    if settings.most_steps:
        n_epochs = max(1, min(n_epochs, settings.most_steps // n_steps))
    return replace(settings, epochs=n_epochs)


def feature_shapes(plan: TrainingPlan, data: TrainingData, pairs: Pairs) -> FeatureShapes:
    """Collect the widths that heads are built for."""
    image_tokens, text_tokens = (
        table.token_shape if data.with_tokens else None
        for table in (data.present().image, data.present().text)
    )
    return FeatureShapes(
        image_width=data.image.width,
        text_width=data.text.width,
        image_token_width=image_tokens[1] if image_tokens else None,
        text_token_width=text_tokens[1] if text_tokens else None,
        n_classes=None if data.labels is None else data.labels.shape[1],
        n_pairs=pairs.n_pairs,
        batch_size=min(plan.settings.batch_size, pairs.n_pairs),
        n_items=len(data.items),
    )


def hasher_of(heads: Heads, pairs: Pairs) -> Hasher:
    """Build the towers of both modalities, scaling and hash head, and what makes finer codes."""
    return Hasher(
        HashTower(pairs.image_scaling, heads.image),
        HashTower(pairs.text_scaling, heads.text),
        heads.fine,
    )


def cloned(parts: nn.ModuleDict) -> dict[str, Tensor]:
    """Copy all tensors to the CPU."""
    return {name: value.detach().cpu().clone() for name, value in parts.state_dict().items()}


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's generators inside the block and put back what they were after it."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
