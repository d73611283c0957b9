"""What commands that serve indexes have in common: an option, and reading their settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modalhash.cli.options import Option

if TYPE_CHECKING:
    from modalhash.service import ServiceSettings

__all__ = ["pictures_option", "read_server"]

pictures_option: Option[Any] = click.option(
    "--pictures",
    multiple=True,
    metavar="[NAME=]ROOT",
    help="Where the folder that was indexed lies now, if it was moved: of all indexes, or of NAME; "
    "may be given several times.",
)


def read_server(
    context: click.Context,
    indexes: Sequence[str],
    *,
    config: str | None,
    device: str,
    flags: dict[str, Any],
) -> "tuple[ServiceSettings, dict[str, Path]]":
    """Read the settings of a server, and the folders of the indexes that it serves.

    Args:
        context: of the command; it tells whether --device was given.
        indexes: `[NAME=]INDEX` each; without any, those of the file are served.
        config: the file of settings, or None.
        device: of the models.
        flags: the other options by the names of settings; None leaves a setting as it is.

    Returns:
        The settings, and the folders by name.

    Raises:
        UsageError: if neither the command nor the file names an index.
        InputError: if a setting or an index's name is wrong.
    """
    from modalhash.service import parse_index_arguments, read_settings

    flags = {**flags, "pictures": flags["pictures"] or None}
    if context.get_parameter_source("device") is not click.core.ParameterSource.DEFAULT:
        flags["device"] = device
    settings, named = read_settings(flags, file=config)
    names = list(indexes) or [f"{name}={folder}" for name, folder in named.items()]
    if not names:
        raise click.UsageError("Name at least one index, or a file with a table [indexes].")
    return settings, parse_index_arguments(names)
