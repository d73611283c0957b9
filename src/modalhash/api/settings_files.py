"""Settings of a method in a file, as the search over settings writes and `train` takes them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from modalhash.errors import DamagedArtifactError
from modalhash.files import read_json, write_json

__all__ = ["SettingsFile", "read_settings", "write_settings"]

FORMAT, KIND = 1, "settings"


@dataclass(frozen=True)
class SettingsFile:
    """A method with the settings to train it with.

    Attributes:
        method: its name.
        preset: that the settings change; "" for the method's defaults.
        settings: name to value, as `train` takes them.
        about: where they come from, for people.
    """

    method: str
    preset: str
    settings: Mapping[str, Any]
    about: Mapping[str, Any] = field(default_factory=dict)


def write_settings(path: Path | str, settings: SettingsFile) -> None:
    """Write settings to a JSON file.

    Raises:
        StorageError: if the file system refuses.
    """
    document = {
        "format": FORMAT,
        "modalhash": version("modalhash"),
        "artifact": KIND,
        "method": settings.method,
        "preset": settings.preset,
        "settings": dict(settings.settings),
        "about": dict(settings.about),
    }
    write_json(Path(path), document)


def read_settings(path: Path | str) -> SettingsFile:
    """Read settings from a JSON file.

    Raises:
        DamagedArtifactError, NewerFormatError: if it isn't a file of settings.
    """
    document = read_json(Path(path), kind=KIND, newest_format=FORMAT)
    if document.get("artifact") != KIND or not isinstance(document.get("settings"), dict):
        raise DamagedArtifactError(f"{path} is no file of settings, which `modalhash tune` writes")
    method, preset, about = (document.get(name) for name in ("method", "preset", "about"))
    if not isinstance(method, str) or not isinstance(preset, str):
        raise DamagedArtifactError(f"{path} is damaged: it names no method and preset; tune again")
    return SettingsFile(
        method, preset, document["settings"], about if isinstance(about, dict) else {}
    )
