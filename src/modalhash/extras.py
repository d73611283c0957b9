"""Import optional dependencies where they are used, with an error that names the extra."""

from importlib import import_module
from types import ModuleType

from modalhash.errors import MissingExtraError

__all__ = ["import_optional"]


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
