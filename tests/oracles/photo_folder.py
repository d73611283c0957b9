"""Small collections on disk, written by hand-sized code."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

CAPTIONS = "image\tcaption\na.jpg\ta red square\nb.jpg\ta blue square\na.jpg\tsomething red\n"
COLOURS = ("red", "blue", "green", "black")


def write_picture(path: Path, colour: str = "red", side: int = 8) -> Path:
    """Write a plain picture in the format that the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), colour).save(path)
    return path


def write_folder(
    folder: Path,
    *,
    captions: str | bytes | None = CAPTIONS,
    captions_name: str = "captions.tsv",
    pictures: Sequence[str] = ("a.jpg", "b.jpg"),
    labels: str | None = None,
    splits: Mapping[str, str] | None = None,
) -> Path:
    """Write a collection; texts are written as they are, in UTF-8 with LF."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "images").mkdir(exist_ok=True)
    for number, name in enumerate(pictures):
        write_picture(folder / "images" / name, COLOURS[number % len(COLOURS)])
    if captions is not None:
        content = captions.encode() if isinstance(captions, str) else captions
        (folder / captions_name).write_bytes(content)
    if labels is not None:
        (folder / "labels.tsv").write_bytes(labels.encode())
    for name, text in (splits or {}).items():
        (folder / "splits").mkdir(exist_ok=True)
        (folder / "splits" / f"{name}.txt").write_bytes(text.encode())
    return folder
