"""Which settings of a method are searched, and between which values.

There is one rule for all methods, around the values that a preset gives, so that a new method needs
no declaration; a user names settings and ranges of their own.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, get_type_hints

from modalhash.errors import InputError, SettingError, UnknownNameError
from modalhash.methods.base import ClosedFormMethod, Method, TrainingSettings
from modalhash.methods.settings import make_method, read_value

__all__ = [
    "Dimension",
    "count_epochs",
    "format_value",
    "list_setting_types",
    "make_named_space",
    "make_usual_space",
]

LEARNED = ("learning_rate", "weight_decay", "epochs", "batch_size")
"""Settings of training that are searched, where a method is trained by gradient."""
WEIGHT_DECAYS = (1e-6, 1e-2)
RATE_FACTOR, WEIGHT_FACTOR, COUNT_FACTOR = 10, 4, 2
DIGITS = 3
"""Significant digits of numbers that are tried: settings that people can read."""
Value = bool | int | float | str


@dataclass(frozen=True)
class Dimension:
    """The values of one setting.

    Attributes:
        low: smallest value, of numbers.
        high: largest value, of numbers.
        is_log: whether numbers are drawn on a log scale.
        is_whole: whether they are whole.
        choices: the values themselves, where these are listed.
    """

    low: float = 0.0
    high: float = 0.0
    is_log: bool = False
    is_whole: bool = False
    choices: tuple[Value, ...] = ()

    def __str__(self) -> str:
        if self.choices:
            return ", ".join(format_value(value) for value in self.choices)
        scale = ", log scale" if self.is_log else ""
        return f"{format_value(self.low)} to {format_value(self.high)}{scale}"

    def tidy(self, value: Value) -> Value:
        """Round a proposed value to few digits, still within the range."""
        if self.choices or self.is_whole or isinstance(value, bool | str):
            return value
        return min(max(round_digits(value), self.low), self.high)

    def holds(self, value: Value) -> bool:
        """Tell whether a value is one of these."""
        if self.choices:
            return value in self.choices
        return not isinstance(value, bool | str) and self.low <= value <= self.high


def format_value(value: Value) -> str:
    """Format a value as a user writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def round_digits(value: float) -> float:
    """Round a number to few significant digits.

    Example:
        >>> round_digits(0.00123456)
        0.00123
    """
    return float(f"{value:.{DIGITS}g}")


def make_usual_space(
    method: type[Method], *, preset: str | None, changes: Mapping[str, Any], n_items: int
) -> dict[str, Dimension]:
    """Make the space that is searched unless a user names settings.

    Of training: learning rate (a tenth to ten times its value, log scale), weight decay (1e-6 to
    1e-2, log scale), epochs (half to twice, log scale) and batch size (half, once, twice). Of the
    method's own: shares (0 to 1) and other positive numbers (a quarter to four times, log scale).
    Not searched: what is switched off (0), true or false, the method's own whole numbers (widths,
    counts, which change what a run costs), and what `changes` sets.

    Args:
        method: the method's class.
        preset: whose values are the middle, or None for the defaults.
        changes: settings that stay as the user says.
        n_items: training items of each trial.

    Raises:
        InputError: if the method has no such setting.
    """
    space = {}
    for name in list_searchable_settings(method):
        dimension = None
        if name not in changes:
            dimension = make_default_dimension(method, name, preset, changes, n_items)
        if dimension is not None and not (dimension.is_whole and name not in LEARNED):
            space[name] = dimension
    if not space:
        known = ", ".join(name for name in list_setting_types(method) if name not in changes)
        if not known:
            raise InputError(f"{method.title} has no settings to search")
        raise InputError(
            f"{method.title} has no settings that are searched unless they are named: name some "
            f"of {known} with their ranges (over, on the command line --over)"
        )
    return space


def make_named_space(
    method: type[Method],
    texts: Sequence[str],
    *,
    preset: str | None,
    changes: Mapping[str, Any],
    n_items: int,
) -> dict[str, Dimension]:
    """Make the space of the settings that a user names, with their ranges.

    Args:
        method: the method's class.
        texts: `NAME`, `NAME=LOW:HIGH`, `NAME=LOW:HIGH:log` or `NAME=VALUE,VALUE,...`.
        preset: whose values are the middle of ranges that aren't given.
        changes: settings that stay as the user says.
        n_items: training items of each trial.

    Raises:
        UnknownNameError: if the method has no such setting.
        SettingError: if a range can't be read, is empty, isn't given where it must be, or the
            method refuses its ends.
    """
    types = list_setting_types(method)
    space = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip().replace("-", "_")
        if name not in types:
            raise UnknownNameError(f"setting of {method.name}", name, types)
        if name in changes:
            raise SettingError(f"{name} is set and searched: leave one of them out")
        if equals:
            space[name] = read_dimension(name, values, types[name])
        else:
            dimension = list_choices(types[name]) or make_default_dimension(
                method, name, preset, changes, n_items
            )
            if dimension is None:
                raise SettingError(
                    f"{name} has no range of its own: give one, as in --over {name}=LOW:HIGH"
                )
            space[name] = dimension
        for end in space[name].choices or (space[name].low, space[name].high):
            make_method(method, preset=preset, changes={**changes, name: end})
    return space


def list_searchable_settings(method: type[Method]) -> list[str]:
    """List the settings that the usual space is made of."""
    own = [setting.name for setting in fields(method.settings_class)]
    return own if issubclass(method, ClosedFormMethod) else [*LEARNED, *own]


def list_setting_types(method: type[Method]) -> dict[str, type]:
    """List the settings that can be named, with their types."""
    types: dict[str, type] = dict(get_type_hints(method.settings_class))
    if not issubclass(method, ClosedFormMethod):
        types = {**get_type_hints(TrainingSettings), **types}
    return types


def make_default_dimension(
    method: type[Method],
    name: str,
    preset: str | None,
    changes: Mapping[str, Any],
    n_items: int,
) -> Dimension | None:
    """Make the range around a setting's own value, by the rule of `make_usual_space`; or None."""
    configured, training = make_method(method, preset=preset, changes=changes)
    if hasattr(configured.settings, name):
        return make_dimension_around(configured.settings, name)
    match name:
        case "learning_rate":
            return scale_dimension(training.learning_rate, RATE_FACTOR)
        case "weight_decay":
            return Dimension(*WEIGHT_DECAYS, is_log=True)
        case "epochs":
            return count_dimension(count_epochs(training, n_items))
        case "batch_size":
            size, least = training.batch_size, max(2, method.smallest_batch)
            sizes = (size // 2, size, 2 * size)
            fitting = tuple(
                size_choice for size_choice in sizes if least <= size_choice <= n_items
            ) or (size,)
            return Dimension(choices=fitting)
        case _:
            return make_dimension_around(training, name)


def count_epochs(training: TrainingSettings, n_items: int) -> int:
    """Count the epochs that a training takes, one pair an item."""
    n_steps = max(1, n_items // training.batch_size)
    n_epochs = max(training.epochs, math.ceil(training.least_steps / n_steps))
    return (
        max(1, min(n_epochs, training.most_steps // n_steps)) if training.most_steps else n_epochs
    )


def make_dimension_around(settings: Any, name: str) -> Dimension | None:
    """Make the range around one of a settings object; None if the rule has none for it."""
    value = getattr(settings, name)
    if isinstance(value, bool | str):
        return None
    if isinstance(value, int):
        return count_dimension(value) if value > 1 else None
    if value <= 0:
        return None
    if value <= 1 and not allows(settings, name, 1.5):
        low = 0.0 if allows(settings, name, 0.0) else 0.05
        return Dimension(low, 1.0 if allows(settings, name, 1.0) else 0.95)
    return scale_dimension(value, WEIGHT_FACTOR)


def allows(settings: Any, name: str, value: float) -> bool:
    """Tell whether a settings object takes a value."""
    try:
        replace(settings, **{name: value})
    except SettingError:
        return False
    return True


def scale_dimension(value: float, factor: float) -> Dimension:
    """Make a range of positive numbers around a value."""
    return Dimension(round_digits(value / factor), round_digits(value * factor), is_log=True)


def count_dimension(value: int) -> Dimension:
    """Make a range of whole numbers around a value."""
    low = max(1, value // COUNT_FACTOR)
    return Dimension(low, value * COUNT_FACTOR, is_log=True, is_whole=True)


def list_choices(kind: type) -> Dimension | None:
    """List all values of a type that has few, or None."""
    if kind is bool:
        return Dimension(choices=(False, True))
    if issubclass(kind, StrEnum):
        return Dimension(choices=tuple(member.value for member in kind))
    return None


def read_dimension(name: str, text: str, kind: type) -> Dimension:
    """Read the values that a user wrote.

    Raises:
        SettingError: if they can't be read, or the range is empty.
    """
    if ":" not in text:
        read = [read_value(name, word.strip(), kind) for word in text.split(",")]
        plain = [str(value) if isinstance(value, StrEnum) else value for value in read]
        return Dimension(choices=tuple(dict.fromkeys(plain)))
    low_text, _, rest = text.partition(":")
    high_text, _, scale = rest.partition(":")
    if kind not in (int, float) or scale not in ("", "log"):
        raise SettingError(
            f"{name}={text} isn't a range: expected LOW:HIGH or LOW:HIGH:log of a number, or "
            "values parted by commas"
        )
    low, high = (read_value(name, word.strip(), kind) for word in (low_text, high_text))
    if low >= high or (scale and low <= 0):
        above = " above 0" if scale else ""
        raise SettingError(f"{name}={text}: expected the smaller end first{above}")
    return Dimension(low, high, is_log=bool(scale), is_whole=kind is int)
