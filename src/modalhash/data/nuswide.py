r"""NUS-WIDE in its official layout: `nuswide-10:PATH` and `nuswide-21:PATH`.

PATH holds the archives as they unpack::

    ImageList/Imagelist.txt                  a picture a line: actor\0001_2124494179.jpg
    Groundtruth/AllLabels/Labels_sky.txt     0 or 1 a line, in that order; one file a concept
    NUS_WID_Tags/AllTags1k.txt               0 or 1 for each of 1,000 tags, a picture a line
    NUS_WID_Tags/TagList1k.txt               the 1,000 tags (or the first of Final_Tag_List.txt)
    NUS_WID_Tags/All_Tags.txt                or else: photo id, then its tags, blanks between
    Flickr/actor/0001_2124494179.jpg         the pictures, fetched by their URLs; or images/

The 10 or 21 concepts that most pictures show are kept, and the pictures that show one of them and
have one of the 1,000 tags. Programs take the texts from AllTags1k.txt; without it they come from
All_Tags.txt (of the tags in TagList1k.txt, if that is there), which gives other bags of words.
"""

import re
from pathlib import Path, PureWindowsPath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from modalhash.data.pair_lists import PairList, first_existing, missing_file
from modalhash.data.reading import Reading
from modalhash.data.text_lines import clean_lines
from modalhash.errors import Defect

__all__ = ["read_nuswide_10", "read_nuswide_21"]

_LABEL_FILE: Final = re.compile(r"Labels_(\w+)\.txt")


def read_nuswide_10(argument: str, *, split_seed: int) -> Reading:
    """Read the pictures of the 10 most frequent concepts; see the module's description."""
    return _read(Path(argument), 10, split_seed)


def read_nuswide_21(argument: str, *, split_seed: int) -> Reading:
    """Read the pictures of the 21 most frequent concepts; see the module's description."""
    return _read(Path(argument), 21, split_seed)


def _read(path: Path, n_concepts: int, split_seed: int) -> Reading:
    list_file = first_existing(path, ("ImageList/Imagelist.txt", "Imagelist.txt"))
    if not list_file.exists():
        return missing_file(list_file, "the list of all pictures (ImageList.zip)")
    label_folder = first_existing(path, ("Groundtruth/AllLabels", "AllLabels"))
    if not label_folder.is_dir():
        return missing_file(label_folder, "the labels, a file a concept (Groundtruth.zip)")
    tag_names = ("AllTags1k.txt", "All_Tags.txt")
    folders = ("NUS_WID_Tags", ".")
    tag_file = first_existing(path, [f"{own}/{name}" for name in tag_names for own in folders])
    if not tag_file.exists():
        return missing_file(tag_file, "the tags of the photos (NUS_WID_Tags.zip)")
    name = f"nuswide-{n_concepts}"
    folder = first_existing(path, ("Flickr", "images"))
    pairs = PairList(name, f"{name}:{path.absolute()}", folder)
    names = [
        PureWindowsPath(text.strip()).as_posix()
        for _, text in clean_lines(list_file, pairs.defects)
    ]
    concepts = _concepts(label_folder, len(names), pairs.defects)
    if pairs.defects:
        return Reading(None, tuple(pairs.defects))
    order = sorted(concepts, key=lambda concept: (-int(concepts[concept].sum()), concept))
    if len(order) < n_concepts:
        problem = f"has {len(order)} files Labels_CONCEPT.txt, expected {n_concepts} at least"
        return Reading(None, (Defect("missing-file", str(label_folder), problem),))
    pairs.label_names = tuple(sorted(order[:n_concepts]))
    if tag_file.name == "AllTags1k.txt":
        texts = _texts_of_rows(tag_file, path, len(names), pairs.defects)
    else:
        tags = _tags(tag_file, pairs.defects)
        texts = [tags.get(name.rpartition("_")[2].partition(".")[0], "") for name in names]
        note = "AllTags1k.txt, which programs read, isn't there: the texts come from All_Tags.txt"
        pairs.notes.append(f"{path}: {note}")
    labels = np.stack([concepts[concept] for concept in pairs.label_names], axis=1)
    rows = np.flatnonzero(labels.any(axis=1)) if texts else np.zeros(0, np.int64)
    untagged = 0
    for row in rows:
        if not texts[row]:
            untagged += 1
            continue
        own = [pairs.label_names[column] for column in np.flatnonzero(labels[row])]
        pairs.add(names[row], [texts[row]], where=str(tag_file), labels=own)
    pairs.notes.append(
        f"{path}: the {n_concepts} most frequent concepts are {', '.join(pairs.label_names)}; "
        f"{len(names) - len(rows)} pictures without one of them and {untagged} without a tag are "
        "left out"
    )
    return pairs.reading(split_seed=split_seed)


def _concepts(folder: Path, n_rows: int, defects: list[Defect]) -> dict[str, NDArray[np.bool_]]:
    """Read for each concept whether each picture shows it."""
    concepts = {}
    for path in sorted(folder.iterdir()):
        match = _LABEL_FILE.fullmatch(path.name)
        if match is None:
            continue
        column = [text.strip() for _, text in clean_lines(path, defects)]
        wrong = next((row for row, cell in enumerate(column) if cell not in ("0", "1")), None)
        if wrong is not None:
            problem = f"holds {column[wrong]!r}, expected 0 or 1"
            defects.append(Defect("bad-label", f"{path}:{wrong + 1}", problem))
        elif len(column) != n_rows:
            problem = f"has {len(column)} lines, expected {n_rows}, one a picture of the list"
            defects.append(Defect("wrong-shape", str(path), problem))
        else:
            concepts[match[1]] = np.array(column) == "1"
    return concepts


def _texts_of_rows(path: Path, root: Path, n_rows: int, defects: list[Defect]) -> list[str]:
    """Join the tags of each picture, blanks between, that a file of 0 and 1 gives it."""
    places = (path.parent, root, root / "ConceptsList")
    lists = [place / name for name in ("TagList1k.txt", "Final_Tag_List.txt") for place in places]
    list_file = next((file for file in lists if file.exists()), lists[0])
    known = [text.strip() for _, text in clean_lines(list_file, defects)]
    texts = []
    for line, row in clean_lines(path, defects):
        cells = row.split()
        if not set(cells) <= {"0", "1"} or len(cells) > len(known):
            problem = f"has {len(cells)} cells, expected 0 and 1 for each of {len(known)} tags"
            defects.append(Defect("wrong-column", f"{path}:{line}", problem))
            return []
        texts.append(" ".join(tag for tag, cell in zip(known, cells, strict=False) if cell == "1"))
    if len(texts) != n_rows:
        problem = f"has {len(texts)} lines, expected {n_rows}, one a picture of the list"
        defects.append(Defect("wrong-shape", str(path), problem))
    return texts


def _tags(path: Path, defects: list[Defect]) -> dict[str, str]:
    """Map photo ids to tags, blanks between; photos without a counted tag are left out."""
    list_file = path.with_name("TagList1k.txt")
    known = {text.strip() for _, text in clean_lines(list_file, [])}
    tags = {}
    for _, text in clean_lines(path, defects):
        photo, *own = text.split()
        counted = [tag for tag in own if not known or tag in known]
        if counted:
            tags[photo] = " ".join(counted)
    return tags
