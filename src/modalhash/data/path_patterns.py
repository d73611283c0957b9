"""The files that a folder, a file or a pattern (`*`, `**`, `{a,b}`, `{00000..00012}`) names."""

import os
import re
from glob import has_magic
from pathlib import Path, PurePosixPath
from typing import Final

from modalhash.errors import InputError

__all__ = ["expand_braces", "expand_pattern", "is_left_out"]

_INNERMOST: Final = re.compile(r"\{([^{}]*(?:,|\.\.)[^{}]*)\}")
_RANGE: Final = re.compile(r"(\d+)\.\.(\d+)")
_LARGEST_RANGE: Final = 10**7
_LEFT_OUT_FOLDERS: Final = frozenset(
    ("@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "__MACOSX", "lost+found")
)
_LEFT_OUT_FILES: Final = frozenset(("Thumbs.db", "desktop.ini"))


def expand_braces(pattern: str) -> list[str]:
    """Write out the braces of a pattern, as shells and webdataset do.

    Raises:
        InputError: if a range has too many members.

    Example:
        >>> expand_braces("{008..010}.tar"), expand_braces("{train,test}/x")
        (['008.tar', '009.tar', '010.tar'], ['train/x', 'test/x'])
    """
    match = _INNERMOST.search(pattern)
    if match is None:
        return [pattern]
    texts = [
        f"{pattern[: match.start()]}{member}{pattern[match.end() :]}"
        for member in _members(match[1])
    ]
    return [expanded for text in texts for expanded in expand_braces(text)]


def _members(text: str) -> list[str]:
    bounds = _RANGE.fullmatch(text)
    if bounds is None:
        return text.split(",")
    first, last = int(bounds[1]), int(bounds[2])
    if abs(last - first) >= _LARGEST_RANGE:
        raise InputError(f"the pattern {{{text}}} names more than {_LARGEST_RANGE:,} files")
    step = 1 if last >= first else -1
    width = len(bounds[1]) if bounds[1].startswith("0") or len(bounds[1]) == len(bounds[2]) else 0
    return [f"{number:0{width}d}" for number in range(first, last + step, step)]


def expand_pattern(source: str | Path) -> tuple[Path, list[Path]]:
    """List the files that a source names, and find the folder that their names are relative to.

    Args:
        source: a file; a folder, which is searched with all folders below it; or a pattern. A
            file or folder of just that name goes before a pattern.

    Returns:
        The folder, and the files, sorted. Of a folder, files and folders that `is_left_out` names
        are passed over. A file that a brace names and that isn't there is returned all the same.

    Raises:
        InputError: if a range in braces has too many members.
    """
    text = str(source)
    path = Path(text)
    if path.is_dir():
        return path, _files_below(path)
    if path.exists():
        return path.parent, [path]
    files_found: list[Path] = []
    roots: list[Path] = []
    for expanded in expand_braces(text):
        root, files = _expand_wildcards(Path(expanded))
        roots.append(root)
        files_found += files
    if len(roots) == 1:
        return roots[0], sorted(files_found)
    common = Path(os.path.commonpath([str(root.absolute()) for root in roots]))
    return common, sorted({file.absolute() for file in files_found})


def _expand_wildcards(path: Path) -> tuple[Path, list[Path]]:
    if not has_magic(str(path)) or path.exists():
        if path.is_dir():
            return path, _files_below(path)
        return path.parent, [path]
    n_fixed = next(place for place, part in enumerate(path.parts) if has_magic(part))
    root = Path(*path.parts[:n_fixed])
    files: list[Path] = []
    for match in root.glob("/".join(path.parts[n_fixed:])):
        files += _files_below(match) if match.is_dir() else [match]
    return root, [file for file in files if not is_left_out(PurePosixPath(file.relative_to(root)))]


def _files_below(folder: Path) -> list[Path]:
    files = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_left_out(PurePosixPath(name)))
        files += [Path(root, name) for name in names if not is_left_out(PurePosixPath(name))]
    return sorted(files)


def is_left_out(name: PurePosixPath) -> bool:
    """Tell whether a file or folder is none of a user's: hidden, a thumbnail, a system's or trash.

    Example:
        >>> [is_left_out(PurePosixPath(name)) for name in ("a/b.jpg", "@eaDir/b.jpg", ".b.jpg")]
        [False, True, True]
    """
    *folders, file = name.parts
    return (
        any(part in _LEFT_OUT_FOLDERS or part.startswith(".") for part in name.parts)
        or any(part.lower().startswith(".trash") for part in folders)
        or file in _LEFT_OUT_FILES
    )
