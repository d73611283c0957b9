"""Where the pictures are that a table names, and under which name."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from modalhash.data.picture_folders import PictureFolder, find_picture_folder
from modalhash.data.table_rows import Item

__all__ = ["find_table_pictures", "without_absolute_names"]


def find_table_pictures(
    items: Mapping[str, Item], base: Path, root: Path, stated_folder: str, folders: Sequence[str]
) -> Path:
    """Find the folder of the pictures that are files: below the tables, else below the root.

    Args:
        items: what the tables list.
        base: the folder of the tables.
        root: the folder that the user named.
        stated_folder: the folder of pictures that the user named, or "".
        folders: what the folder is likely to be called.
    """
    if stated_folder:
        below = root / stated_folder
        return below if below.is_dir() else Path(stated_folder)
    pictures = [item.picture for item in items.values() if isinstance(item.picture, str)]
    names = [(_ends_of_absolute(name) or [name])[-1] for name in pictures]
    if not names:
        return root
    folder = find_picture_folder(base, names, folders)
    if base != root and not any(folder.find(name) for name in names[:100]):
        folder = find_picture_folder(root, names, folders)
    return folder.path


def without_absolute_names(items: Mapping[str, Item], folder: Path) -> dict[str, Item]:
    """Give items whose pictures have absolute names the names that they have below a folder.

    Of `/of/somebody/2024/b.jpg` it is the longest end that is there: `2024/b.jpg`, say, or else
    `b.jpg`. The item's id becomes that name too, unless another item has it.
    """
    pictures, renamed = PictureFolder(folder), dict[str, Item]()
    for item_id, item in items.items():
        new_id = item_id
        if isinstance(item.picture, str) and (ends := _ends_of_absolute(item.picture)):
            name = next((end for end in ends if pictures.find(end)), ends[-1])
            if item_id == item.picture and name not in items and name not in renamed:
                new_id = name
            item.picture = name
        renamed[new_id] = item
    return renamed


def _ends_of_absolute(name: str) -> list[str]:
    """List the ends of an absolute name, the longest first; nothing of another name."""
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    if not posix.is_absolute() and not windows.is_absolute():
        return []
    parts = (posix if posix.is_absolute() else windows).parts[1:]
    return ["/".join(parts[place:]) for place in range(len(parts))]
