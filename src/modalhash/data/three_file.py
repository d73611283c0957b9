"""Pictures, texts and labels in a file each: `three-file:PATH`.

PATH is a folder with

- `index.mat` or `imgList.mat` (`index`, `imgs` or `FAll`: paths of the pictures on the machine of
  whoever made it) or `index.npy` (the same as texts);
- `caption.mat` or `tagList.mat` (`caption`, `tags` or `YAll`: texts, one or several a picture, or
  bags of words) or `caption.txt` (a line a picture);
- `label.mat` or `labelList.mat` (`category`, `LAll`, `labels` or `label`: 0 and 1).

The pictures are looked up below PATH or `PATH/images` by the last parts of their paths.
"""

from collections import Counter
from pathlib import Path, PureWindowsPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.data.arrays import find_array, read_arrays
from modalhash.data.features import collect_arrays
from modalhash.data.pair_lists import PairList, first_existing, missing_file
from modalhash.data.pictures import PictureFiles
from modalhash.data.reading import Reading
from modalhash.data.text_cells import TextCells, cells_of
from modalhash.data.text_lines import clean_lines
from modalhash.errors import CollectionError, Defect

__all__ = ["read_three_file"]

_INDEX: Final = ("index", "imgs", "FAll")
_CAPTION: Final = ("caption", "tags", "YAll", "captions", "text")
_LABEL: Final = ("category", "LAll", "labels", "label")


def read_three_file(argument: str, *, split_seed: int) -> Reading:
    """Read three files; see `SourceReader` and the module's description."""
    path = Path(argument)
    files = {
        "the paths of the pictures": ("index.mat", "imgList.mat", "index.npy"),
        "the texts": ("caption.mat", "tagList.mat", "caption.txt"),
        "the labels": ("label.mat", "labelList.mat"),
    }
    index, caption, label = (first_existing(path, names) for names in files.values())
    for file, content in zip((index, caption, label), files, strict=True):
        if not file.exists():
            return missing_file(file, f"{content} ({' or '.join(files[content])})")
    notes: list[str] = []
    defects: list[Defect] = []
    try:
        paths = _paths(index)
        texts = _texts(caption, defects)
        labels = _read_variable(label, _LABEL)
    except CollectionError as error:
        return Reading(None, error.defects)
    if labels.dtype.kind in "OU":
        problem = "holds texts, expected 0 and 1"
        return Reading(None, (Defect("bad-label", str(label), problem),))
    n_items = len(paths)
    for file, length in ((caption, len(texts)), (label, len(labels))):
        if length != n_items:
            problem = f"has {length} entries, expected {n_items}, one a picture in {index.name}"
            defects.append(Defect("wrong-shape", str(file), problem))
    if not np.isin(labels, (0, 1)).all():
        wrong = labels[~np.isin(labels, (0, 1))][0]
        defects.append(Defect("bad-label", str(label), f"holds {wrong}; expected 0 and 1 only"))
    if defects:
        return Reading(None, tuple(defects))
    folder, names = _look_up(path, paths, notes)
    source = f"three-file:{path.absolute()}"
    if isinstance(texts, list):
        return _with_texts(
            PairList(path.absolute().name, source, folder, notes=notes),
            (names, texts, labels.astype(np.uint8)),
            caption,
            split_seed,
        )
    ids = _distinct(names)
    arrays: dict[str, NDArray[Any]] = {"text": texts, "labels": labels, "item_ids": np.array(ids)}
    reading = collect_arrays(
        arrays,
        name=path.absolute().name,
        path=path,
        source=source,
        split_seed=split_seed,
        pictures=PictureFiles(folder, names),
        n_pictures=n_items,
        origins={"text": str(caption), "labels": str(label)},
    )
    return Reading(reading.collection, reading.defects, (*notes, *reading.notes))


def _with_texts(
    pairs: PairList,
    rows: tuple[list[str], TextCells, NDArray[np.uint8]],
    caption: Path,
    split_seed: int,
) -> Reading:
    names, texts, labels = rows
    counts = Counter(len(own) for own in texts)
    if len(counts) > 1:
        spread = ", ".join(f"{n} pictures have {k}" for k, n in sorted(counts.items()))
        pairs.notes.append(f"{caption}: the numbers of captions differ: {spread}")
    pairs.label_names = tuple(f"label {column}" for column in range(labels.shape[1]))
    for row, (name, item, own) in enumerate(zip(names, _distinct(names), texts, strict=True)):
        item_labels = [pairs.label_names[column] for column in np.flatnonzero(labels[row])]
        pairs.add(
            name, own, where=f"{caption}: entry {row} (from 0)", item=item, labels=item_labels
        )
    return pairs.reading(split_seed=split_seed)


def _read_variable(file: Path, keys: tuple[str, ...]) -> NDArray[Any]:
    """Read the first of some variables that a file holds."""
    arrays = read_arrays(file, keys)
    return arrays[find_array(arrays, keys, file)]


def _paths(file: Path) -> list[str]:
    if file.suffix == ".npy":
        array = read_arrays(file.parent, ["index"])["index"]
    else:
        array = _read_variable(file, _INDEX)
    if array.dtype.kind != "U":
        problem = f"is {array.dtype} {array.shape}, expected paths as texts, one an entry"
        raise CollectionError([Defect("wrong-shape", str(file), problem)])
    return [str(path) for path in array.ravel()]


def _texts(file: Path, defects: list[Defect]) -> TextCells | NDArray[Any]:
    if file.suffix == ".txt":
        return [(text,) for _, text in clean_lines(file, defects)]
    array = _read_variable(file, _CAPTION)
    return cells_of(array) if array.dtype.kind in "OU" else array


def _look_up(path: Path, paths: list[str], notes: list[str]) -> tuple[Path, list[str]]:
    """Find the pictures here: return a folder, and the names below it.

    The paths keep as many of their last parts as the first of them needs to be found.
    """
    parts = [PureWindowsPath(picture).parts for picture in paths]
    folders = [folder for folder in (path / "images", path) if folder.is_dir()]
    for length in range(max(map(len, parts)), 0, -1):
        names = ["/".join(own[-length:]).lstrip("/") for own in parts]
        for folder in folders:
            if not PureWindowsPath(names[0]).anchor and (folder / names[0]).is_file():
                notes.append(f"{path}: pictures are looked up as {folder / names[0]}, ...")
                return folder, names
    return folders[0], [own[-1] for own in parts]


def _distinct(names: list[str]) -> list[str]:
    """Make names distinct: all get their number if one comes twice."""
    if len(set(names)) == len(names):
        return names
    return [f"{name}@{number}" for number, name in enumerate(names)]
