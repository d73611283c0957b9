"""Ranges of settings, each with the words that an error says it in."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from modalhash.errors import SettingError

__all__ = [
    "AT_LEAST_ONE",
    "NOT_NEGATIVE",
    "POSITIVE",
    "SHARE",
    "SHARE_ABOVE_ZERO",
    "SHARE_BELOW_ONE",
    "Range",
    "check_ranges",
]


@dataclass(frozen=True)
class Range:
    """The values that a setting may have.

    Attributes:
        words: what is expected.
        holds: whether a value is inside.
    """

    words: str
    holds: Callable[[float], bool]


AT_LEAST_ONE: Final = Range("at least 1", lambda value: value >= 1)
NOT_NEGATIVE: Final = Range("0 or more", lambda value: value >= 0)
POSITIVE: Final = Range("positive", lambda value: value > 0)
SHARE: Final = Range("in [0, 1]", lambda value: 0 <= value <= 1)
SHARE_ABOVE_ZERO: Final = Range("in (0, 1]", lambda value: 0 < value <= 1)
SHARE_BELOW_ONE: Final = Range("in [0, 1)", lambda value: 0 <= value < 1)


def check_ranges(settings: Any, ranges: Mapping[Range, Iterable[str]]) -> None:
    """Refuse settings out of their ranges.

    Args:
        settings: with the named attributes.
        ranges: range to the settings that must be inside.

    Raises:
        SettingError: naming the first setting that isn't, what came and what was expected.

    Example:
        >>> from types import SimpleNamespace
        >>> check_ranges(SimpleNamespace(dropout=1.5), {SHARE_BELOW_ONE: ["dropout"]})
        Traceback (most recent call last):
        modalhash.errors.SettingError: dropout is 1.5, expected in [0, 1)
    """
    for expected, names in ranges.items():
        for name in names:
            value = getattr(settings, name)
            if not expected.holds(value):
                raise SettingError(f"{name} is {value}, expected {expected.words}")
