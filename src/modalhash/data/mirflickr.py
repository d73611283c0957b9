"""MIRFlickr-25K in its official layout: `mirflickr:PATH` and `mirflickr-all:PATH`.

PATH holds the two archives as they unpack::

    im1.jpg ... im25000.jpg         or in mirflickr/ or images/
    meta/tags/tags1.txt ...         one tag a line; or mirflickr/meta/tags/
    doc/common_tags.txt             the tags that 20 of all 25,000 pictures have, with their counts
    sky.txt, dog.txt, dog_r1.txt    the annotations: one picture number a line, counted from 1;
                                    in annotations/, mirflickr25k_annotations_v080/ or PATH itself

The 24 "potential" labels are read (`dog.txt`); the stricter "relevant" ones (`dog_r1.txt`) are
not. `mirflickr` keeps what the cross-modal papers keep: pictures with a label and a tag that at
least 20 pictures have, as `doc/common_tags.txt` counts them; without that file, tags are counted
over all `tags*.txt` that are there. `mirflickr-all` keeps every picture with a label and any tag.
"""

from collections import Counter
from pathlib import Path
from typing import Final

from modalhash.data.pair_lists import PairList, first_existing, missing_file
from modalhash.data.reading import Reading
from modalhash.data.text_lines import clean_lines
from modalhash.errors import Defect

__all__ = ["read_mirflickr", "read_mirflickr_all"]

LABELS: Final = (
    "animals", "baby", "bird", "car", "clouds", "dog", "female", "flower", "food", "indoor", "lake",
    "male", "night", "people", "plant_life", "portrait", "river", "sea", "sky", "structures",
    "sunset", "transport", "tree", "water",
)  # fmt: skip
MIN_PICTURES_OF_A_TAG: Final = 20


def read_mirflickr(argument: str, *, split_seed: int) -> Reading:
    """Read the part with frequent tags; see `SourceReader` and the module's description."""
    return _read(Path(argument), MIN_PICTURES_OF_A_TAG, split_seed)


def read_mirflickr_all(argument: str, *, split_seed: int) -> Reading:
    """Read every picture with a label and a tag; see the module's description."""
    return _read(Path(argument), 1, split_seed)


def _read(path: Path, min_pictures: int, split_seed: int) -> Reading:
    name = "mirflickr" if min_pictures > 1 else "mirflickr-all"
    root = path / "mirflickr" if (path / "mirflickr").is_dir() else path
    annotations = _annotations(path)
    if annotations is None:
        expected = "the annotations (mirflickr25k_annotations_v080.zip: sky.txt, dog.txt, ...)"
        return missing_file(path / "annotations", expected)
    tag_folder = first_existing(root, ("meta/tags", "tags"))
    if not tag_folder.is_dir():
        return missing_file(tag_folder, "the tags of the pictures (tags1.txt, ...)")
    pairs = PairList(name, f"{name}:{path.absolute()}", _pictures(root), LABELS)
    labels = _labels(annotations, pairs.defects)
    tags = {number: _tags(tag_folder, number, pairs.defects) for number in sorted(labels)}
    frequent_tags = None
    if min_pictures > 1:
        frequent_tags = _frequent_tags(root, tag_folder, min_pictures, pairs)
    left_out = 0
    for number, own in tags.items():
        if not (own if frequent_tags is None else frequent_tags.intersection(own)):
            left_out += 1
            continue
        where = str(tag_folder / f"tags{number}.txt")
        pairs.add(f"im{number}.jpg", [" ".join(own)], where=where, labels=labels[number])
    if left_out:
        frequent = f"a tag that {min_pictures} pictures have" if min_pictures > 1 else "any tag"
        pairs.notes.append(f"{path}: {left_out} labelled pictures without {frequent} are left out")
    return pairs.reading(split_seed=split_seed)


def _frequent_tags(root: Path, tags: Path, min_pictures: int, pairs: PairList) -> set[str]:
    """List the tags that enough of all pictures have, labelled or not."""
    file = first_existing(root, ("doc/common_tags.txt", "common_tags.txt"))
    counts: Counter[str] = Counter()
    if file.exists():
        for line, text in clean_lines(file, pairs.defects):
            tag, *number = text.split()
            if len(number) != 1 or not number[0].isdecimal():
                problem = f"holds {text!r}, expected a tag and the number of its pictures"
                pairs.defects.append(Defect("wrong-column", f"{file}:{line}", problem))
                return set()
            counts[tag] = int(number[0])
    else:
        for path in sorted(tags.glob("tags*.txt")):
            counts.update({text.strip() for _, text in clean_lines(path, [])} - {""})
        note = "doc/common_tags.txt isn't there: tags are counted over all files of tags"
        pairs.notes.append(f"{root}: {note}")
    return {tag for tag, count in counts.items() if count >= min_pictures}


def _annotations(path: Path) -> Path | None:
    folders = ("annotations", "mirflickr25k_annotations_v080", "mirflickr/annotations", ".")
    return next((path / name for name in folders if (path / name / "sky.txt").exists()), None)


def _pictures(root: Path) -> Path:
    return root / "images" if (root / "images").is_dir() else root


def _labels(folder: Path, defects: list[Defect]) -> dict[int, list[str]]:
    """Map picture numbers to labels."""
    labels: dict[int, list[str]] = {}
    for label in LABELS:
        for line, text in clean_lines(folder / f"{label}.txt", defects):
            if text.strip().isdecimal() and int(text) > 0:
                labels.setdefault(int(text), []).append(label)
            else:
                problem = f"holds {text!r}, expected a picture's number, counted from 1"
                defects.append(Defect("wrong-column", f"{folder / label}.txt:{line}", problem))
                break
    return labels


def _tags(folder: Path, number: int, defects: list[Defect]) -> list[str]:
    lines = clean_lines(folder / f"tags{number}.txt", defects)
    return [tag for _, text in lines if (tag := text.strip())]
