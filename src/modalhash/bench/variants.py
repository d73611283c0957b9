"""Rows of tables: methods with the settings they have, and methods without one of their parts."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from modalhash.bench.grid import Variant
from modalhash.errors import InputError
from modalhash.methods import method_class
from modalhash.methods.base import ClosedFormMethod, Method
from modalhash.methods.settings import configured_method

__all__ = ["ablation_variants", "method_variants"]


def method_variants(
    names: Sequence[str], *, preset: str = "auto", settings: Mapping[str, Any] | None = None
) -> list[Variant]:
    """Return a variant for every method.

    Args:
        names: of methods.
        preset: "auto", or a name; methods without that preset take their defaults.
        settings: changes for every method that has the setting.

    Raises:
        UnknownNameError: if there is no such method.
        InputError: if no method has one of the settings.
        SettingError: if a value is wrong.
    """
    classes = {name: method_class(name) for name in dict.fromkeys(names)}
    unused = set(settings or {}).difference(*(known_settings(found) for found in classes.values()))
    if unused:
        raise InputError(
            f"no method of {', '.join(classes)} has a setting {', '.join(sorted(unused))}"
        )
    return [
        Variant(
            name,
            name,
            fitting(found, settings or {}),
            preset if preset == "auto" or preset in found.presets else "",
        )
        for name, found in classes.items()
    ]


def ablation_variants(
    name: str, *, preset: str = "auto", settings: Mapping[str, Any] | None = None
) -> list[Variant]:
    """Return the whole method, then one variant for each part that can be turned off.

    Raises:
        UnknownNameError: if there is no such method.
        InputError: if it has no part that can be turned off, or no such setting.
        SettingError: if a value is wrong.
    """
    found = method_class(name)
    if not found.ablations:
        raise InputError(f"{found.title} has no part that can be turned off")
    (whole,) = method_variants([name], preset=preset, settings=settings)
    return [
        whole,
        *(
            Variant(part, name, {**whole.settings, **changes}, whole.preset)
            for part, changes in found.ablations.items()
        ),
    ]


def known_settings(method: type[Method]) -> set[str]:
    """Return the names of a method's own settings, and of those of training if it is trained."""
    names = {one.name for one in fields(method.settings_class)}
    if not issubclass(method, ClosedFormMethod):
        names |= {one.name for one in fields(type(method.training))}
    return names


def fitting(method: type[Method], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a method has, after checking their values."""
    chosen = {key: value for key, value in settings.items() if key in known_settings(method)}
    configured_method(method, changes=chosen)
    return chosen
