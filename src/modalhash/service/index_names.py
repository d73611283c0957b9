"""What indexes are called in addresses."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from modalhash.errors import InputError
from modalhash.hub import is_hub_name

__all__ = ["parse_index_arguments", "parse_picture_folders", "split_picture_folder"]

NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


def parse_index_arguments(arguments: Sequence[str]) -> dict[str, Path]:
    """Read what stands on the command line: `FOLDER` or `NAME=FOLDER`.

    An index on a hub stays as it is written, to be fetched when it is opened.

    Raises:
        InputError: if a name comes twice or doesn't suit an address.

    Example:
        >>> sorted(parse_index_arguments(["a/photos.index", "b=c"]))
        ['b', 'photos']
    """
    folders: dict[str, Path] = {}
    for argument in arguments:
        name, equals, folder = argument.partition("=")
        if not equals:
            name, folder = name_index(argument), argument
        if not NAME.fullmatch(name):
            raise InputError(
                f"an index can't be served as {name!r}: name it with letters, digits, '-', '_' "
                "and '.', as in NAME=FOLDER"
            )
        if name in folders:
            raise InputError(f"two indexes are named {name!r}: name one of them, NAME=FOLDER")
        folders[name] = Path(folder) if is_hub_name(folder) else Path(folder).resolve()
    return folders


def name_index(argument: str) -> str:
    """Name an index after its folder, or its repository on a hub.

    Example:
        >>> name_index("a/photos.index"), name_index("hf://datasets/anna/photos@v2")
        ('photos', 'photos')
    """
    if is_hub_name(argument):
        return argument.partition("@")[0].rpartition("/")[2]
    return Path(argument).resolve().name.removesuffix(".index")


def split_picture_folder(argument: str) -> tuple[str, str]:
    """Split `NAME=FOLDER` into the name of an index and a folder; of `FOLDER` the name is "".

    Example:
        >>> split_picture_folder("photos=a/b"), split_picture_folder("a/b=c")
        (('photos', 'a/b'), ('', 'a/b=c'))
    """
    name, equals, folder = argument.partition("=")
    return (name, folder) if equals and NAME.fullmatch(name) else ("", argument)


def parse_picture_folders(arguments: Sequence[str]) -> dict[str, Path]:
    """Read where pictures lie now: `FOLDER`, of all indexes, or `NAME=FOLDER` of one.

    Returns:
        The folders by the name of the index; "" is of all that aren't named.

    Raises:
        InputError: if an index is named twice, or there are two folders for all.

    Example:
        >>> parse_picture_folders(["photos=a"])["photos"].name
        'a'
    """
    folders: dict[str, Path] = {}
    for argument in arguments:
        name, folder = split_picture_folder(argument)
        if name in folders:
            which = f"the index {name!r}" if name else "all indexes"
            raise InputError(f"two folders of pictures are named for {which}: name one")
        folders[name] = Path(folder)
    return folders
