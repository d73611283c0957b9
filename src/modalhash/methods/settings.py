"""Settings of a run from defaults, a preset and a user's changes, checked by name and type."""

from collections.abc import Mapping
from dataclasses import fields, replace
from enum import StrEnum
from math import isfinite
from typing import TYPE_CHECKING, Any, get_type_hints

from modalhash.errors import SettingError, UnknownNameError
from modalhash.numpy_numbers import plain_numbers

if TYPE_CHECKING:
    from modalhash.methods.base import Method, TrainingSettings

__all__ = ["make_method", "read_value"]

TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
EXPECTED = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def make_method(
    method: "type[Method]", *, preset: str | None = None, changes: Mapping[str, Any] | None = None
) -> "tuple[Method, TrainingSettings]":
    """Make a method with its settings, and choose how to train it.

    Args:
        method: the method's class.
        preset: a name among its presets, applied to the defaults.
        changes: setting to value, applied last; texts are read as the setting's type. Method and
            training settings share one name space. Where `epochs` is changed, `least_steps` and
            `most_steps` are 0 unless they are changed as well.

    Raises:
        UnknownNameError: if the preset or a setting is unknown, listing those there are.
        SettingError: if a value has a wrong type or is out of its range.
    """
    if preset is not None and preset not in method.presets:
        raise UnknownNameError(f"preset of {method.name}", preset, method.presets)
    changes = dict(changes or {})
    if "epochs" in changes:
        # Who names epochs means them.
        changes = {"least_steps": 0, "most_steps": 0, **changes}
    settings: Any = method.settings_class()
    training = method.training
    for source in (method.presets[preset] if preset else {}, changes):
        own, shared = split_changes(method, source)
        settings, training = replace(settings, **own), replace(training, **shared)
    return method(settings), training


def split_changes(
    method: "type[Method]", changes: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divide the changes into the method's own settings and those of training, and read them."""
    own_types = get_type_hints(method.settings_class)
    shared_types = get_type_hints(type(method.training))
    own_names = {field.name for field in fields(method.settings_class)}
    shared_names = {field.name for field in fields(type(method.training))}
    own, shared = {}, {}
    for name, value in changes.items():
        if name in own_names:
            own[name] = read_value(name, value, own_types[name])
        elif name in shared_names:
            shared[name] = read_value(name, value, shared_types[name])
        else:
            raise UnknownNameError(f"setting of {method.name}", name, own_names | shared_names)
    return own, shared


def read_value(name: str, value: Any, kind: type) -> Any:
    """Read a value as the setting's type; texts are parsed.

    Args:
        name: of the setting, for messages.
        value: a text, or a value of the type (a whole number passes for a real one).
        kind: bool, int, float, str or an enum of texts.

    Raises:
        SettingError: if it can't be read as that type.

    Example:
        >>> read_value("epochs", "20", int), read_value("both_orders", "no", bool)
        (20, False)
    """
    if issubclass(kind, StrEnum):
        if value not in list(kind):
            known = ", ".join(kind)
            raise SettingError(f"{name} is {value!r}, expected one of: {known}")
        return kind(value)
    value = plain_numbers(value)
    read: Any = value
    if isinstance(value, str):
        read = parsed(value, kind)
    elif kind is float and isinstance(value, int) and not isinstance(value, bool):
        read = float(value)
    is_finite = not isinstance(read, float) or isfinite(read)
    if type(read) is not kind or not is_finite:
        raise SettingError(f"{name} is {value!r}, expected {EXPECTED[kind]}")
    return read


def parsed(text: str, kind: type) -> Any:
    """Parse a text as a bool, int, float or str; None if it isn't one."""
    if kind is bool:
        return True if text.lower() in TRUE else False if text.lower() in FALSE else None
    try:
        return kind(text)
    except ValueError:
        return None
