"""Options that several commands share, and how their values are read."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = [
    "cache_option",
    "captions_option",
    "changes",
    "cutoffs",
    "device_option",
    "encoder_option",
    "json_option",
    "overwrite_option",
    "skip_bad_option",
]

Command = TypeVar("Command", bound=Callable[..., Any])
Option = Callable[[Command], Command]

device_option: Option[Any] = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps."
)
cache_option: Option[Any] = click.option(
    "--cache",
    type=click.Path(file_okay=False),
    help="Folder that keeps features  [default: the user's cache folder, or $MODALHASH_CACHE].",
)
encoder_option: Option[Any] = click.option(
    "--encoder",
    default="offline",
    show_default=True,
    help="offline, clip, clip:MODEL, bow, precomputed, or a pair IMAGE+TEXT such as offline+bow.",
)
captions_option: Option[Any] = click.option(
    "--captions",
    type=click.Choice(["first", "all"]),
    default="first",
    show_default=True,
    help="Use each picture's first caption, or all of them.",
)
overwrite_option: Option[Any] = click.option(
    "--overwrite", is_flag=True, help="Take the place of what is there."
)
skip_bad_option: Option[Any] = click.option(
    "--skip-bad", is_flag=True, help="Leave out items with defects, and say how many."
)
json_option: Option[Any] = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."
)


def changes(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """Read `key=value` texts."""
    read = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{text!r} isn't KEY=VALUE", context, parameter)
        read[key.strip().replace("-", "_")] = value.strip()
    return read


def cutoffs(
    context: click.Context, parameter: click.Parameter, text: str
) -> tuple[int | None, ...]:
    """Read cut-offs such as `50,5000,all`."""
    read: list[int | None] = []
    for part in text.split(","):
        word = part.strip()
        if word == "all":
            read.append(None)
        elif word.isdigit() and int(word) > 0:
            read.append(int(word))
        else:
            raise click.BadParameter(f"{word!r} is neither a number nor 'all'", context, parameter)
    return tuple(read)
