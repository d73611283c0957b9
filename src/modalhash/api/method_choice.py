"""Choose what a training was not told: the method and its preset."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from modalhash.data import Collection, Positions
from modalhash.encoders import Encoder
from modalhash.encoders.bow import BagOfWordsTower
from modalhash.encoders.precomputed import PrecomputedTextTower
from modalhash.methods import method_class
from modalhash.methods.base import Method, TrainingSettings
from modalhash.methods.hugged_method import configure_hugged_method
from modalhash.methods.settings import make_method, read_value

__all__ = [
    "AUTO",
    "choose_method",
    "choose_preset",
    "configure_method",
    "find_training_items",
]

logger = logging.getLogger(__name__)
AUTO: Final = "auto"
LABELLED_DEFAULT, UNLABELLED_DEFAULT, TOKEN_DEFAULT = "nested-labelled", "nested", "cfrh"
"""Methods that `auto` stands for: with labels, without, and where gradients have to pass through
an encoder or through trunks of content tokens."""
SPARSITY_SAMPLE = 1000
NO_TRAINING_SPLIT: Final = "name the items to learn from with --split (split in Python)"
TUNING_PRESET = "finetuned"


def choose_method(
    collection: Collection,
    split: str = "train",
    *,
    hug: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> str:
    """Choose the method that `auto` stands for, and log the reason.

    It is `nested-labelled` where an item to learn from has a label, else `nested`; where content
    tokens are to be aligned or the encoder is to be tuned, which takes a method that is trained by
    gradient from end to end, `cfrh`.

    Args:
        collection: whose labels count.
        split: the items to learn from.
        hug: as `train` takes it.
        settings: as `train` takes them, `tune_encoder` among them.

    Raises:
        SettingError: if `tune_encoder` is neither true nor false.
        UnknownNameError: if there is no such split.
    """
    tunes = read_value("tune_encoder", (settings or {}).get("tune_encoder", False), bool)
    if hug is not None or tunes:
        reason = "content tokens are to be aligned" if hug else "the encoder is to be tuned"
        name = TOKEN_DEFAULT
    elif (
        collection.labels is not None
        and collection.labels[find_training_items(collection, split)].any()
    ):
        name, reason = LABELLED_DEFAULT, "there are labels to learn from"
    else:
        name, reason = UNLABELLED_DEFAULT, "there are no labels to learn from"
    logger.info("method %s, as %s (--method names another)", name, reason)
    return name


def choose_preset(
    method: type[Method], collection: Collection, encoder: Encoder, *, tunes: bool = False
) -> str | None:
    """Choose the preset that suits a collection's features, and log the reason.

    Args:
        method: the class.
        collection: its texts say whether they are sparse.
        encoder: of the collection.
        tunes: whether the encoder's weights are learned too; a preset `finetuned` is for that.
    """
    if tunes and TUNING_PRESET in method.presets:
        logger.info("preset %s, as the encoder is tuned (--preset names another)", TUNING_PRESET)
        return TUNING_PRESET
    is_sparse = has_sparse_texts(collection, encoder)
    preset = method.preset_for(has_sparse_texts=is_sparse)
    if preset is not None:
        kind = "sparse" if is_sparse else "dense"
        logger.info("preset %s, as text features are %s (--preset names another)", preset, kind)
    return preset


def has_sparse_texts(collection: Collection, encoder: Encoder) -> bool:
    """Tell whether most values of the text features are zero, as in bags of words."""
    if isinstance(encoder.text, PrecomputedTextTower) and "text" in collection.features:
        sample = collection.features["text"][:SPARSITY_SAMPLE]
        return bool((sample == 0).mean() > 0.5)
    return isinstance(encoder.text, BagOfWordsTower)


def configure_method(
    method: str | type[Method] | Method,
    hug: str | None,
    preset: str | None,
    settings: Mapping[str, Any],
) -> tuple[Method, TrainingSettings]:
    """Build a method with its settings, hugged if requested, and the settings of its training.

    The settings of a method object are what `settings` changes; it takes no preset.
    """
    the_class = method_class(method)
    if isinstance(method, Method):
        settings = method.record() | dict(settings)
    if hug is None:
        return make_method(the_class, preset=preset, changes=settings)
    return configure_hugged_method(the_class, hug, preset=preset, changes=settings)


def find_training_items(collection: Collection, split: str) -> Positions:
    """Find the items to learn from.

    Raises:
        UnknownNameError: if there is no such split, with the way out.
    """
    return collection.split(split, advice=NO_TRAINING_SPLIT if split == "train" else "")
