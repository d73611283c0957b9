"""IAPR TC-12 with the labels of its segmented version (SAIAPR): `iapr:PATH`.

PATH holds the archives as they unpack::

    iaprtc12/images/00/25.jpg                        or images/
    iaprtc12/annotations_complete_eng/00/25.eng      title and description, Latin-1
    saiapr_tc-12/00/labels.txt                       picture, region, label number a line
    saiapr_tc-12/wlist.txt                           optional: label number and name a line

Pictures with a description and, where there are labels, at least one of them are kept.
"""

import re
from html import unescape
from pathlib import Path
from typing import Final

from modalhash.data.pair_lists import PairList, first_existing, missing_file
from modalhash.data.reading import Reading
from modalhash.data.text_lines import clean_lines
from modalhash.errors import Defect
from modalhash.files import read_regular_text

__all__ = ["read_iapr"]

_ELEMENT: Final = re.compile(r"<(TITLE|DESCRIPTION|LOCATION|IMAGE)>(.*?)</\1>", re.DOTALL)


def read_iapr(argument: str, *, split_seed: int) -> Reading:
    """Read IAPR TC-12; see `SourceReader` and the module's description."""
    path = Path(argument)
    root = path / "iaprtc12" if (path / "iaprtc12").is_dir() else path
    texts = root / "annotations_complete_eng"
    if not texts.is_dir():
        return missing_file(texts, "the English descriptions (iaprtc12.tgz)")
    pairs = PairList("iapr", f"iapr:{path.absolute()}", first_existing(root, ("images",)))
    labels = _labels(path, pairs)
    undescribed = unlabelled = 0
    for file in sorted(texts.rglob("*.eng")):
        try:
            elements = dict(_ELEMENT.findall(read_regular_text(file, "latin-1")))
        except OSError as error:
            problem = f"can't be read: {error.strerror or error}"
            pairs.defects.append(Defect("unreadable-file", str(file), problem))
            continue
        number = file.stem
        picture = file.relative_to(texts).with_suffix(".jpg").as_posix()
        description = unescape(elements.get("DESCRIPTION", "")).strip()
        if not description:
            undescribed += 1
        elif labels and number not in labels:
            unlabelled += 1
        else:
            metadata = {
                name.lower(): unescape(elements[name]).strip() or None
                for name in ("TITLE", "LOCATION")
                if name in elements
            }
            own = labels.get(number, set())
            pairs.add(picture, [description], where=str(file), labels=own, metadata=metadata)
    if undescribed or unlabelled:
        pairs.notes.append(
            f"{path}: {undescribed} pictures without description and {unlabelled} without label "
            "are left out"
        )
    return pairs.reading(split_seed=split_seed)


def _labels(path: Path, pairs: PairList) -> dict[str, set[str]]:
    """Map picture numbers to labels, and add the labels that occur to the list."""
    names: dict[str, str] = {}
    for file in sorted(path.rglob("wlist.txt"))[:1]:
        for _, text in clean_lines(file, pairs.defects):
            number, _, name = text.strip().partition("\t")
            names[number.strip()] = name.strip()
    labels: dict[str, set[str]] = {}
    for file in sorted(path.rglob("labels.txt")):
        for line, text in clean_lines(file, pairs.defects):
            cells = text.split()
            if len(cells) != 3 or not all(cell.isdecimal() for cell in cells):
                problem = f"holds {text!r}, expected picture, region and label number"
                pairs.defects.append(Defect("wrong-column", f"{file}:{line}", problem))
                break
            label = names.get(cells[2], f"label {cells[2]}")
            labels.setdefault(cells[0], set()).add(label)
    pairs.label_names = tuple(sorted(set().union(*labels.values())))
    if not labels:
        pairs.notes.append(f"{path}: no labels.txt (saiapr_tc-12), so there are no labels")
    return labels
