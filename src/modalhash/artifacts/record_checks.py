"""Check the values of a model's record, whoever wrote its file."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from modalhash.codes.fingerprints import is_model_entry

__all__ = ["find_odd_entries"]

MOST_BITS: Final = 1 << 16
FEATURE_DTYPES: Final = ("float16", "float32")


def is_count(value: Any) -> bool:
    """Tell whether a value is a number of bits; a bool is none."""
    return type(value) is int and 0 < value <= MOST_BITS


def is_encoder(value: Any) -> bool:
    """Tell whether a value describes an encoder."""
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return False
    states = [value.get(name) for name in ("identity", "image_state", "text_state")]
    return all(isinstance(state, dict) for state in states) and isinstance(
        value.get("tuned", {}), dict
    )


def has_feature_dtypes(value: Any) -> bool:
    """Tell whether a value gives each modality the dtype of its features."""
    return isinstance(value, dict) and all(
        value.get(modality) in FEATURE_DTYPES for modality in ("image", "text")
    )


def is_other_model(value: Any) -> bool:
    """Tell whether a value names the model that codes were shortened from, or nothing."""
    return value == {} or (
        isinstance(value, dict)
        and is_count(value.get("n_bits"))
        and isinstance(value.get("fingerprint"), str)
    )


def is_list_of_models(value: Any) -> bool:
    """Tell whether a value is a list of models, each named by bits and fingerprint."""
    return isinstance(value, list | tuple) and all(map(is_model_entry, value))


CHECKS: Final[Mapping[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(
        ("method", "title", "preset", "modalhash", "weights_sha256", "method_package"),
        lambda value: isinstance(value, str),
    ),
    **dict.fromkeys(
        ("settings", "training", "trained_on", "towers", "results"),
        lambda value: isinstance(value, dict),
    ),
    "n_bits": is_count,
    "seed": lambda value: type(value) is int,
    "encoder": is_encoder,
    "feature_dtype": has_feature_dtypes,
    "shortened_from": is_other_model,
    "compatible_with": is_list_of_models,
}
"""Entry of a record to the test of its value."""


def find_odd_entries(document: Mapping[str, Any]) -> list[str]:
    """Name the entries of a record whose values are of another sort than a writer's.

    Args:
        document: the entries of `model.json`; what it leaves out isn't looked at.

    Example:
        >>> find_odd_entries({"n_bits": True, "seed": 0})
        ['n_bits']
    """
    return [name for name, value in document.items() if name in CHECKS and not CHECKS[name](value)]
