"""What a folder is that was taken for another: the hint that a message ends with."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Final

__all__ = ["explain_wrong_folder"]

MARKS: Final = {"codes.json": "codes", "model.json": "run", "manifest.json": "index"}
"""The file that a folder of ours is known by."""
HINTS: Final[Mapping[tuple[str, str], str]] = {
    ("index", "run"): "it is a run: make an index of it with `modalhash index {folder} -o INDEX`",
    ("index", "codes"): "it holds codes: make an index of them with `modalhash import`",
    ("model", "index"): (
        "it is an index: name the run that it was made of, or {folder}/model, which holds its model"
    ),
    ("model", "codes"): "it holds codes: name the run that made them",
    ("codes", "run"): "it is a run: write codes with `modalhash encode {folder} -o CODES`",
    ("codes", "index"): "it is an index: write codes with `modalhash encode` of its run",
}
"""What was wanted and what the folder is, to the way out."""


def explain_wrong_folder(folder: Path, kind: str, name: str) -> str:
    """Say why a folder isn't what was wanted, and the way out.

    Args:
        folder: that was named.
        kind: what was wanted, "index", "model" or "codes".
        name: the file that such a folder has.
    """
    if not folder.exists():
        return f"there is no folder {folder}: {nearest_folder(folder)}"
    found = next((what for mark, what in MARKS.items() if (folder / mark).is_file()), "")
    hint = HINTS.get((kind, found), "").format(folder=folder)
    return f"{folder} is no {kind} folder: it has no {name}{'; ' if hint else ''}{hint}"


def nearest_folder(folder: Path) -> str:
    """Name the folder beside that is spelt most like one that isn't there."""
    try:
        beside = [one.name for one in folder.parent.iterdir() if one.is_dir()]
    except OSError:
        beside = []
    close = get_close_matches(folder.name, beside, n=1)
    return f"did you mean {folder.parent / close[0]}?" if close else "check the path"
