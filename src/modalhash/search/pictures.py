"""Pictures that a search index keeps itself, because they have no file of their own.

They lie in `pictures/`, each under a name that is never used again: a picture is never overwritten,
so that a change which doesn't happen leaves the old one alone. Metadata name them as
`pictures/NAME`; whatever else metadata say, only such names are files of the index.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from PIL import Image

from modalhash.errors import InputError, StorageError
from modalhash.files import is_plain_name, own_path, remove_file, sync_folder, write_with
from modalhash.index import HashIndex, Metadata

__all__ = [
    "PICTURES",
    "add_pictures",
    "check_new_pictures",
    "list_kept_pictures",
    "name_folder",
    "new_picture_name",
    "picture_names",
    "remove_pictures",
    "remove_unnamed_pictures",
    "write_picture",
]

PICTURES = "pictures"
PREFIX = f"{PICTURES}/"
SUFFIX = ".png"


def new_picture_name(identity: str | int) -> str:
    """Choose a name, never used before, for the file of an item's picture."""
    digest = blake2b(str(identity).encode(), digest_size=16).hexdigest()
    return f"{digest}-{secrets.token_hex(6)}{SUFFIX}"


def name_folder(identity: str | int, image: str | None) -> dict[str, str]:
    """Name the folder of an item's picture below the one that is indexed, as metadata.

    Args:
        identity: of the item: its picture's path below that folder, with forward slashes.
        image: the picture's file.

    Returns:
        The entry `folder`; nothing of a picture that lies in that folder itself, or whose id is
        something else.

    Example:
        >>> name_folder("2021/alps/a.jpg", "/photos/2021/alps/a.jpg")
        {'folder': '2021/alps'}
    """
    if image is None or not isinstance(identity, str):
        return {}
    folder = identity.rpartition("/")[0]
    is_its_path = Path(image).as_posix().endswith(f"/{identity}")
    return {"folder": folder} if folder and is_its_path else {}


def name_kept_picture(metadata: Metadata) -> str | None:
    """Name the picture that an index keeps for an item; None if it keeps none."""
    image = metadata.get("image")
    if not isinstance(image, str) or not image.startswith(PREFIX):
        return None
    name = image.removeprefix(PREFIX)
    return name if is_plain_name(name) else None


def list_kept_pictures(rows: Iterable[Metadata]) -> list[str]:
    """List the pictures that an index keeps for some items, each once."""
    names = (name_kept_picture(metadata) for metadata in rows)
    return list(dict.fromkeys(name for name in names if name is not None))


def check_new_pictures(folder: Path, rows: Iterable[Metadata]) -> list[str]:
    """List the pictures that new items state and that aren't there yet."""
    return [name for name in list_kept_pictures(rows) if not (folder / PICTURES / name).exists()]


def add_pictures(
    folder: Path, pictures: Iterable[tuple[str, Image.Image]], expected: Sequence[str]
) -> None:
    """Write new pictures, on disk when this returns.

    Args:
        folder: of the search index.
        pictures: names and pictures.
        expected: names that items state and that aren't there yet.

    Raises:
        InputError: if a name is taken, or no item states it.
        DamagedArtifactError: if the folder of the pictures is a link to another folder.
        StorageError: if the file system refuses.
    """
    left, place = set(expected), own_path(folder, PICTURES)
    for name, picture in pictures:
        if name not in left:
            raise InputError(
                f"picture {name!r} has no place: a picture's name is new, and its item states it "
                f"as image '{PREFIX}{name}'"
            )
        left.remove(name)
        write_picture(place / name, picture)


def write_picture(path: Path, picture: Image.Image) -> None:
    """Write a PNG file."""
    write_with(path, lambda file: picture.save(file, "PNG"))


def remove_pictures(folder: Path, names: Sequence[str]) -> None:
    """Remove pictures for good; those that aren't there are passed over.

    Raises:
        DamagedArtifactError: if the folder of the pictures is a link to another folder.
        StorageError: if the file system refuses.
    """
    place = own_path(folder, PICTURES)
    if not names or not place.is_dir():
        return
    try:
        for name in names:
            remove_file(place, name)
        sync_folder(place)
    except OSError as error:
        raise StorageError(f"can't write {place}: {error.strerror or error}") from error


def picture_names(folder: Path) -> list[str]:
    """List the pictures that lie in an index folder."""
    place = own_path(folder, PICTURES)
    return sorted(path.name for path in place.glob(f"*{SUFFIX}")) if place.is_dir() else []


def remove_unnamed_pictures(folder: Path, images: HashIndex | None) -> None:
    """Remove pictures that no item states, such as earlier versions left; the lock is held.

    Raises:
        StorageError: if the file system refuses.
    """
    lying: Mapping[str, Any] = dict.fromkeys(picture_names(folder))
    if not lying or images is None:
        return
    named = {name for block in images.blocks() for name in list_kept_pictures(block.metadata)}
    remove_pictures(folder, [name for name in lying if name not in named])
