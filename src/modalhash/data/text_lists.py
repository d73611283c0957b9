"""Names, labels and tags as text files: `vtm-uch:PATH`.

PATH is a folder with a line an item in each of

- `all_imgs.txt`: the picture, `mirflickr/im1.jpg`;
- `all_labels.txt`: 0 and 1, blanks between;
- `all_tags.txt`: tags, commas between.

The pictures come from the data set's own site; they are looked up in PATH, PATH/images and below
by the last part of their names. This layout of MIRFlickr's 20,015 pairs is part of VTM-UCH.
"""

from pathlib import Path
from typing import Final

from modalhash.data.mirflickr import LABELS
from modalhash.data.pair_lists import PairList, missing_file
from modalhash.data.reading import Reading
from modalhash.data.text_lines import clean_lines
from modalhash.errors import Defect

__all__ = ["read_text_lists"]

_FILES: Final = {
    "all_imgs.txt": "a picture's name a line",
    "all_labels.txt": "0 and 1 a line, blanks between",
    "all_tags.txt": "the tags a line, commas between",
}


def read_text_lists(argument: str, *, split_seed: int) -> Reading:
    """Read three lists; see `SourceReader` and the module's description."""
    path = Path(argument)
    for name, content in _FILES.items():
        if not (path / name).exists():
            return missing_file(path / name, content)
    defects: list[Defect] = []
    names, labels, tags = (_lines(path / name, defects) for name in _FILES)
    for name, lines in zip(_FILES, (names, labels, tags), strict=True):
        if len(lines) != len(names):
            problem = f"has {len(lines)} lines, expected {len(names)}, one a picture"
            defects.append(Defect("wrong-shape", str(path / name), problem))
    width = len(labels[0].split()) if labels else 0
    rows = [[_as_bit(cell) for cell in line.split()] for line in labels]
    for number, row in enumerate(rows, start=1):
        if len(row) != width or None in row:
            problem = f"holds {labels[number - 1]!r}, expected {width} times 0 or 1"
            defects.append(Defect("bad-label", f"{path / 'all_labels.txt'}:{number}", problem))
    if defects:
        return Reading(None, tuple(defects))
    folder, pictures = _look_up(path, names)
    pairs = PairList(path.absolute().name, f"vtm-uch:{path.absolute()}", folder)
    pairs.label_names = tuple(f"label {column}" for column in range(width))
    if width == len(LABELS):
        pairs.notes.append(f"{path}: the lists don't name their {width} labels")
    for number, (picture, row, line) in enumerate(zip(pictures, rows, tags, strict=True), start=1):
        text = " ".join(tag.strip() for tag in line.split(","))
        labels = [name for name, bit in zip(pairs.label_names, row, strict=True) if bit]
        pairs.add(picture, [text], where=f"{path / 'all_tags.txt'}:{number}", labels=labels)
    return pairs.reading(split_seed=split_seed)


def _lines(path: Path, defects: list[Defect]) -> list[str]:
    return [text.strip() for _, text in clean_lines(path, defects)]


def _as_bit(cell: str) -> bool | None:
    return {"0": False, "1": True, "0.0": False, "1.0": True}.get(cell)


def _look_up(path: Path, names: list[str]) -> tuple[Path, list[str]]:
    """Find the folder of the pictures and their names below it."""
    last = [name.rpartition("/")[2] for name in names]
    for folder in (path, path / "images"):
        for own in (names, last):
            if own and (folder / own[0]).is_file():
                return folder, own
    return path / "images", last
