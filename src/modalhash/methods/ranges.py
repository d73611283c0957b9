"""Ranges that settings state on their fields, and the base class that checks them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

from modalhash.errors import SettingError

__all__ = [
    "AT_LEAST_ONE",
    "AT_LEAST_TWO",
    "COSINE_BELOW_ONE",
    "NOT_NEGATIVE",
    "POSITIVE",
    "SHARE",
    "SHARE_ABOVE_ZERO",
    "SHARE_BELOW_ONE",
    "SHARE_BETWEEN",
    "SHARE_TO_HALF",
    "Range",
    "Settings",
    "check_multiple",
    "check_order",
    "field_ranges",
]


@dataclass(frozen=True)
class Range:
    """The values that a setting may have.

    Attributes:
        words: what is expected.
        contains: whether a value is inside.
    """

    words: str
    contains: Callable[[float], bool]


AT_LEAST_ONE: Final = Range("at least 1", lambda value: value >= 1)
AT_LEAST_TWO: Final = Range("at least 2", lambda value: value >= 2)
NOT_NEGATIVE: Final = Range("0 or more", lambda value: value >= 0)
POSITIVE: Final = Range("positive", lambda value: value > 0)
SHARE: Final = Range("in [0, 1]", lambda value: 0 <= value <= 1)
SHARE_ABOVE_ZERO: Final = Range("in (0, 1]", lambda value: 0 < value <= 1)
SHARE_BELOW_ONE: Final = Range("in [0, 1)", lambda value: 0 <= value < 1)
SHARE_BETWEEN: Final = Range("in (0, 1)", lambda value: 0 < value < 1)
SHARE_TO_HALF: Final = Range("in [0, 0.5]", lambda value: 0 <= value <= 0.5)
COSINE_BELOW_ONE: Final = Range("in [-1, 1)", lambda value: -1 <= value < 1)


@dataclass(frozen=True)
class Settings:
    """Settings that state the range of a field in its type, and are checked when they are made.

    Example:
        >>> from typing import Annotated
        >>> @dataclass(frozen=True)
        ... class HeadSettings(Settings):
        ...     dropout: Annotated[float, SHARE_BELOW_ONE] = 0.0
        >>> HeadSettings(dropout=1.5)
        Traceback (most recent call last):
        modalhash.errors.SettingError: dropout is 1.5, expected in [0, 1)
    """

    def __post_init__(self) -> None:
        """Check the range of every field, then the fields together.

        Raises:
            SettingError: naming the first setting out of its range, what came and what was
                expected.
        """
        settings_class: Any = type(self)
        for name, expected in field_ranges(settings_class).items():
            value = getattr(self, name)
            if not expected.contains(value):
                raise SettingError(f"{name} is {value}, expected {expected.words}")
        self.check_together()

    def check_together(self) -> None:
        """Check what several fields ask of each other; does nothing unless filled in."""


@cache
def field_ranges(settings: type[Any]) -> dict[str, Range]:
    """Read the range of each field that states one from the types of a settings class."""
    return {
        name: note
        for name, hint in get_type_hints(settings, include_extras=True).items()
        if get_origin(hint) is Annotated
        for note in get_args(hint)[1:]
        if isinstance(note, Range)
    }


def check_multiple(settings: Any, name: str, divisor_name: str) -> None:
    """Refuse a setting that isn't a multiple of another one.

    Raises:
        SettingError: naming both settings and their values.
    """
    value, divisor = getattr(settings, name), getattr(settings, divisor_name)
    if value % divisor:
        raise SettingError(
            f"{name} is {value}, expected a multiple of {divisor_name}, which is {divisor}"
        )


def check_order(settings: Any, lower_name: str, upper_name: str) -> None:
    """Refuse a lower bound above its upper bound.

    Raises:
        SettingError: naming both settings and their values.
    """
    lower, upper = getattr(settings, lower_name), getattr(settings, upper_name)
    if not lower <= upper:
        raise SettingError(f"{lower_name} is {lower}, expected at most {upper_name}, {upper}")
