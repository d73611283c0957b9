"""What data must hold before a method can be trained on it."""

import logging

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from modalhash.errors import FeatureError, InputError, SettingError
from modalhash.layers import ScalingRule
from modalhash.methods.base import (
    CaptionChoice,
    GradientMethod,
    Method,
    Needs,
    TrainingSettings,
)
from modalhash.training.pairs import TrainingData
from modalhash.training.validation import RECALL_AT

__all__ = [
    "UNCENTRED_RULES",
    "check_last_batch",
    "check_needs",
    "check_row_lengths",
    "check_sizes",
    "warn_of_parallel_rows",
    "warn_of_unlabelled",
    "warn_of_zeros",
]

logger = logging.getLogger(__name__)
Rows = NDArray[np.int64]
TOO_LONG, PARALLEL = 100, 0.9
KEEP_LENGTHS = (ScalingRule.NONE, ScalingRule.STANDARDISED)
UNCENTRED_RULES = (ScalingRule.NONE, ScalingRule.UNIT)


def check_needs(method: Method, settings: TrainingSettings, data: TrainingData) -> None:
    """Refuse data without what the method needs, before any work.

    Raises:
        FeatureError: naming what is missing and what to run.
        SettingError: if tokens are needed of texts that are averaged.
    """
    if Needs.LABELS in method.needs and data.labels is None:
        raise FeatureError(
            f"{method.title} learns from labels, but the collection has none: "
            "add labels.tsv, or choose an unsupervised method"
        )
    if Needs.TOKENS in method.needs:
        present = data.present()
        for name, table in (("image", present.image), ("text", present.text)):
            if table.token_shape is None:
                raise FeatureError(
                    f"{method.title} needs token features, but there are none for the {name} side: "
                    "run `modalhash features` with --tokens and an encoder that has them"
                )
        if settings.captions is CaptionChoice.MEAN:
            raise SettingError(
                f"captions is mean, but {method.title} reads tokens, which have no mean: "
                "choose random, first or all"
            )
    if data.live_image or data.live_text:
        if not (isinstance(method, GradientMethod) and method.tunes_encoders):
            raise SettingError(
                f"tune_encoder is true, but {method.title} solves for its heads and has no "
                "gradient for an encoder: choose another method, or leave the encoder as it is"
            )
        if settings.captions is CaptionChoice.MEAN:
            raise SettingError(
                "captions is mean, but the encoder is tuned on texts, which have no mean: choose "
                "random, first or all"
            )
    smallest, size = method.smallest_batch, settings.batch_size
    if size < smallest or 0 < len(data.items) < smallest:
        noun, count = (
            ("batch_size", size) if size < smallest else ("training items", len(data.items))
        )
        raise SettingError(
            f"{noun}: {count}, but {method.title} compares the pairs of a batch with each other "
            f"and needs at least {smallest}"
        )


def check_last_batch(method: Method, settings: TrainingSettings, n_pairs: int) -> None:
    """Refuse an epoch whose last batch is too small for the method.

    Raises:
        SettingError: if it is kept, and smaller than the method's smallest batch.
    """
    size = n_pairs % settings.batch_size
    if not settings.drop_last and 0 < size < method.smallest_batch:
        raise SettingError(
            f"drop_last is false, which leaves {size} of {n_pairs} pairs to the last batch, but "
            f"{method.title} compares the pairs of a batch with each other and needs at least "
            f"{method.smallest_batch}: set drop_last=true, or another batch_size"
        )


def warn_of_unlabelled(labels: NDArray[np.uint8], items: Rows) -> None:
    """Log how many training items have no label at all, if any."""
    count = int((labels[items].sum(axis=1) == 0).sum())
    if count:
        logger.warning(
            "%d of %d training items have no label: they count as similar to nothing but "
            "themselves",
            count,
            len(items),
        )


def warn_of_zeros(n_zeros: int, n_rows: int, modality: str) -> None:
    """Log how many training rows hold nothing but zeros, if any, as texts without known words."""
    if n_zeros:
        logger.warning(
            "%d of %d training %s rows are all zeros: they are similar to nothing and teach "
            "nothing",
            n_zeros,
            n_rows,
            modality,
        )


def check_row_lengths(lengths: Tensor, rule: ScalingRule, modality: str) -> None:
    """Refuse rows of features that are so long that nothing else would count.

    Rules that bring rows to one length take any rows.

    Args:
        lengths: (n,) Euclidean lengths of the training rows as they come.
        rule: how they will be scaled.
        modality: "image" or "text", for the message.

    Raises:
        FeatureError: if the rule keeps lengths, and a row is more than 100 times as long as the
            median of the rows that aren't zero.
    """
    present = lengths[lengths > 0]
    if rule not in KEEP_LENGTHS or not len(present):
        return
    is_long = lengths > TOO_LONG * present.median()
    if is_long.any():
        first = int(is_long.nonzero()[0])
        raise FeatureError(
            f"{int(is_long.sum())} of {len(lengths)} training {modality} rows are more than "
            f"{TOO_LONG} times as long as the median row (the first is training row {first}), so "
            "codes would tell them apart and nothing else: correct or remove them, or set "
            f"{modality}_scaling=centred_unit, which brings all rows to one length"
        )


def warn_of_parallel_rows(mean_cosine: float, rule: ScalingRule, modality: str) -> None:
    """Log that features that aren't centred are nearly parallel, so that bits may become constant.

    Args:
        mean_cosine: mean cosine between two training rows, a row with itself among them.
        rule: how they will be scaled.
        modality: "image" or "text", for the message.
    """
    if rule in UNCENTRED_RULES and mean_cosine > PARALLEL:
        logger.warning(
            "training %s rows are nearly parallel (mean cosine %.2f), so similarities hardly "
            "differ and bits may become constant: %s_scaling=centred_unit takes out what all rows "
            "share",
            modality,
            mean_cosine,
            modality,
        )


def check_sizes(trained: TrainingData, held_out: Rows, share: float) -> None:
    """Refuse too few items.

    Raises:
        InputError: if fewer than 2 items are left to train on, or so few are held out that every
            epoch would be the best.
    """
    if len(trained.items) < 2:
        raise InputError(f"{len(trained.items)} training items: at least 2 are needed")
    if share and len(held_out) <= RECALL_AT:
        raise InputError(
            f"validation_share is {share:g}, which holds out {len(held_out)} of "
            f"{len(trained.items) + len(held_out)} training items: choosing the best epoch by "
            f"recall@{RECALL_AT} takes at least {RECALL_AT + 1}; raise it, or set it to 0"
        )
