"""Find the pictures that a list names: in which folder they are, and under which spelling."""

import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Final

from modalhash.data.pictures import PICTURE_SUFFIXES, is_safe_name

__all__ = ["PictureFolder", "find_picture_folder"]

_USUAL_FOLDERS: Final = ("images", "imgs", "image", "pictures", "photos", "jpg", "jpgs")
_TRIED_NAMES: Final = 100
_TRIED_FOLDERS: Final = 200


@dataclass
class PictureFolder:
    """A folder of pictures; its subfolders are listed when a name asks for them.

    Attributes:
        path: the folder.
    """

    path: Path
    _listed: dict[str, Mapping[str, str]] = field(default_factory=dict)

    def find(self, name: str) -> str | None:
        """Find the file that a name means; None if there is none.

        It is the file itself; else the one whose name is the same text in another Unicode form;
        else, where the name has no suffix of a picture, the one picture with that stem.
        """
        folder, _, file = name.rpartition("/")
        stored = self._files(folder)
        for key in (file, unicodedata.normalize("NFC", file)):
            if key in stored:
                return f"{folder}/{stored[key]}" if folder else stored[key]
        if not file.lower().endswith(PICTURE_SUFFIXES):
            for suffix in PICTURE_SUFFIXES:
                for spelling in (suffix, suffix.upper()):
                    if file + spelling in stored:
                        return f"{name}{spelling}"
        return None

    def similar(self, name: str) -> str | None:
        """Find a picture that a name may have meant: another case, folder or separator."""
        turned = name.replace("\\", "/")
        if turned != name and self.find(turned):
            return self.find(turned)
        return self._by_folded_name.get(_folded(turned)) or self._by_folded_name.get(
            _folded(turned.rpartition("/")[2])
        )

    @cached_property
    def _by_folded_name(self) -> dict[str, str]:
        similar: dict[str, str] = {}
        for root, folders, files in os.walk(self.path):
            folders.sort()
            below = Path(root).relative_to(self.path)
            for file in sorted(files):
                name = (below / file).as_posix()
                similar.setdefault(_folded(name), name)
                similar.setdefault(_folded(file), name)
        return similar

    def _files(self, folder: str) -> Mapping[str, str]:
        """List the files of a subfolder by their names as stored and in composed form."""
        if folder not in self._listed:
            path = self.path / folder
            names = os.listdir(path) if path.is_dir() else []  # noqa: PTH208
            composed = {unicodedata.normalize("NFC", name): name for name in names}
            self._listed[folder] = composed | {name: name for name in names}
        return self._listed[folder]


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def find_picture_folder(
    root: Path, names: Iterable[str], folders: Sequence[str] = ()
) -> PictureFolder:
    """Find the folder below `root` in which most of some pictures are.

    Args:
        root: where the list is; its folders and their folders are tried, likely ones first.
        names: of pictures.
        folders: what the folder is likely to be called, in any case.

    Returns:
        The folder; where no picture is found, the first of the usual ones that is there, or `root`.
    """
    usual = [*(name.lower() for name in folders), *_USUAL_FOLDERS]
    tried = [name for name in islice(names, _TRIED_NAMES) if is_safe_name(name)]
    candidates = [PictureFolder(path) for path in _candidate_folders(root, usual)]
    counts = [sum(folder.find(name) is not None for name in tried) for folder in candidates]
    if not any(counts):
        likely = (folder for folder in candidates[1:] if folder.path.name.lower() in usual)
        return next(likely, candidates[0])
    return candidates[counts.index(max(counts))]


def _candidate_folders(root: Path, usual: Sequence[str]) -> list[Path]:
    """List a folder and the folders in it, two levels deep, the likely ones first."""
    folders, level = [root], [root]
    for _ in range(2):
        level = [folder for parent in level for folder in _subfolders(parent, usual)]
        folders += level
        if len(folders) > _TRIED_FOLDERS:
            break
    return folders[:_TRIED_FOLDERS]


def _subfolders(folder: Path, usual: Sequence[str]) -> list[Path]:
    if not folder.is_dir():
        return []
    paths = [path for path in folder.iterdir() if path.is_dir() and path.name[0] not in "._@"]
    order = {name: place for place, name in enumerate(usual)}
    return sorted(paths, key=lambda path: (order.get(path.name.lower(), len(order)), path.name))
