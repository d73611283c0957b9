"""Rows of tables: methods with the settings they have, and methods without one of their parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from modalhash.api.method_choice import configure_method
from modalhash.benchmarking.tasks import Variant
from modalhash.errors import InputError, SettingError, UnknownNameError
from modalhash.methods import method_class
from modalhash.methods.base import ClosedFormMethod, Method
from modalhash.methods.local_alignment import HugSettings

__all__ = [
    "ModuleRows",
    "ablation_variants",
    "list_module_rows",
    "method_variants",
    "module_variants",
    "quick_variants",
]

QUICK: Mapping[str, Any] = {"epochs": 2, "least_steps": 0}
"""Settings of a run that shows that a method runs, and not how good it is."""
HUGS = {"": "", "hug": "contrastive", "hug-same": "same", "hug-plus": "plus"}
"""What may stand behind the plus in a row's name, and the hug it means."""


def method_variants(
    names: Sequence[str], *, preset: str = "auto", settings: Mapping[str, Any] | None = None
) -> list[Variant]:
    """Make a variant for every method.

    Args:
        names: of methods; `cfrh+hug` is cfrh hugged by contrast, `cfrh+hug-same` by its own loss,
            `cfrh+hug-plus` by contrast with finer codes.
        preset: "auto", or a name; methods without that preset take their defaults.
        settings: changes for every method that has the setting.

    Raises:
        UnknownNameError: if there is no such method.
        InputError: if no method has one of the settings.
        SettingError: if no method that has one of the settings takes its value.
    """
    parts = {name: name.partition("+") for name in dict.fromkeys(names)}
    classes = {name: method_class(method) for name, (method, _, _) in parts.items()}
    hugs = {name: hug_mode(name, word) for name, (_, _, word) in parts.items()}
    known = {
        name: list_settings(the_class) | (list_hug_settings() if hugs[name] else set())
        for name, the_class in classes.items()
    }
    unused = set(settings or {}).difference(*known.values())
    if unused:
        raise InputError(
            f"no method of {', '.join(classes)} has a setting {', '.join(sorted(unused))}"
        )
    variants = [
        Variant(
            name,
            parts[name][0],
            {key: value for key, value in (settings or {}).items() if key in known[name]},
            preset if preset == "auto" or preset in the_class.presets else "",
            hugs[name],
        )
        for name, the_class in classes.items()
    ]
    for setting in settings or {}:
        check_value(setting, [variant for variant in variants if setting in variant.settings])
    return variants


def check_value(setting: str, variants: Sequence[Variant]) -> None:
    """Refuse a value of a setting that no variant takes, before any is trained.

    A value that some take stays: the others' rows say why they failed.

    Raises:
        SettingError: of the first variant that doesn't take it.
    """
    runnable = [variant for variant in variants if find_error(variant, {}) is None]
    errors = [find_value_error(setting, variant) for variant in runnable]
    if errors and errors[0] is not None and None not in errors:
        raise errors[0]


def find_value_error(setting: str, variant: Variant) -> SettingError | None:
    """Find why a variant doesn't take its value of one setting; None if it does.

    Another setting may be what makes the value fit, or what doesn't fit itself.
    """
    if find_error(variant, variant.settings) is None:
        return None
    return find_error(variant, {setting: variant.settings[setting]})


def find_error(variant: Variant, settings: Mapping[str, Any]) -> SettingError | None:
    """Find why a variant's method can't be made with settings; None if one of its presets can."""
    presets: list[str | None] = [variant.preset or None]
    if variant.preset == "auto":
        presets = [None, *method_class(variant.method).presets]
    error = None
    for preset in presets:
        try:
            configure_method(variant.method, variant.hug or None, preset, settings)
        except SettingError as refusal:
            error = error or refusal
        else:
            return None
    return error


def quick_variants(variants: Sequence[Variant]) -> list[Variant]:
    """Make variants whose training is two epochs, unless their settings say otherwise."""
    return [
        variant
        if issubclass(method_class(variant.method), ClosedFormMethod)
        else replace(variant, settings={**QUICK, **variant.settings})
        for variant in variants
    ]


def ablation_variants(
    name: str, *, preset: str = "auto", settings: Mapping[str, Any] | None = None
) -> list[Variant]:
    """Make the whole method, then one variant for each part that can be turned off.

    Raises:
        UnknownNameError: if there is no such method.
        InputError: if it has no part that can be turned off, or no such setting.
    """
    the_class = method_class(name)
    if not the_class.ablations:
        raise InputError(f"{the_class.title} has no part that can be turned off")
    (whole,) = method_variants([name], preset=preset, settings=settings)
    return [
        whole,
        *(
            Variant(part, name, {**whole.settings, **changes}, whole.preset)
            for part, changes in the_class.ablations.items()
        ),
    ]


@dataclass(frozen=True)
class ModuleRows:
    """The rows of one structural module of a method.

    Attributes:
        module: its name.
        on: row of the whole method.
        off: row without the module.
        shuffled: row with the module fed what belongs to other items.
    """

    module: str
    on: str
    off: str
    shuffled: str


def list_module_rows(name: str) -> list[ModuleRows]:
    """List the rows of a method's structural modules; empty where it has none.

    Raises:
        UnknownNameError: if there is no such method.
    """
    return [
        ModuleRows(
            module,
            name,
            f"{name}, {controls.off}",
            f"{name}, {controls.shuffled}",
        )
        for module, controls in method_class(name).modules.items()
    ]


def module_variants(
    names: Sequence[str], *, preset: str = "auto", settings: Mapping[str, Any] | None = None
) -> list[Variant]:
    """Make each whole method that has structural modules, then their controls.

    Raises:
        UnknownNameError: if there is no such method.
        InputError: if no method has a structural module, or a setting.
    """
    variants = []
    for whole in method_variants(names, preset=preset, settings=settings):
        the_class = method_class(whole.method)
        if not the_class.modules:
            continue
        rows = [whole]
        for controls in the_class.modules.values():
            for part in (controls.off, controls.shuffled):
                changes = {**whole.settings, **the_class.ablations[part]}
                rows.append(Variant(f"{whole.name}, {part}", whole.method, changes, whole.preset))
        variants += rows
    if not variants:
        raise InputError(
            f"{', '.join(names)}: no method with a structural module (graph, filter, memory, label "
            "network); leave out --modules to turn off other parts"
        )
    return variants


def list_settings(method: type[Method]) -> set[str]:
    """List the names of a method's own settings, and of those of training if it is trained."""
    names = {setting.name for setting in fields(method.settings_class)}
    if not issubclass(method, ClosedFormMethod):
        names |= {setting.name for setting in fields(type(method.training))}
    return names


def list_hug_settings() -> set[str]:
    """List the names of the settings of hugging."""
    return {setting.name for setting in fields(HugSettings)}


def hug_mode(name: str, word: str) -> str:
    """Look up the hug that the word behind the plus in a name means; "" is none.

    Raises:
        UnknownNameError: if that says nothing.
    """
    if word not in HUGS:
        raise UnknownNameError(f"addition to a method in {name!r}:", word, [*HUGS][1:])
    return HUGS[word]
