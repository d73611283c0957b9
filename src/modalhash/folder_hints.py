"""The hint that a message ends with, where a folder of one kind was named for another."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Final

__all__ = ["explain_wrong_folder"]

MARKS: Final = {"codes.json": "codes", "model.json": "run", "manifest.json": "index"}
"""The file that tells the kind of a folder."""
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
"""The expected kind of folder and the actual one, to the way out."""


def explain_wrong_folder(folder: Path, kind: str, name: str) -> str:
    """Explain why a folder isn't of the expected kind, and what to do.

    Args:
        folder: that was named.
        kind: expected, "index", "model" or "codes".
        name: the file that such a folder has.
    """
    if not folder.exists():
        return f"there is no folder {folder}: {nearest_folder(folder)}"
    actual = next((content for mark, content in MARKS.items() if (folder / mark).is_file()), "")
    hint = HINTS.get((kind, actual), "").format(folder=folder)
    return f"{folder} is no {kind} folder: it has no {name}{'; ' if hint else ''}{hint}"


def nearest_folder(folder: Path) -> str:
    """Name the folder beside that is spelt most like one that isn't there."""
    try:
        beside = [path.name for path in folder.parent.iterdir() if path.is_dir()]
    except OSError:
        beside = []
    close = get_close_matches(folder.name, beside, n=1)
    return f"did you mean {folder.parent / close[0]}?" if close else "check the path"
