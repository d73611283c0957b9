"""Wikipedia articles (Rasiwasia et al., ACM Multimedia 2010): `wiki:PATH`, `wiki-articles:PATH`.

2,866 pairs in 10 classes: 128-d SIFT words of a picture and 10-d topics of its text; 2,173 train
and 693 test. PATH is one of

- `wiki.npz`, or a folder that holds it: `image_train`, `text_train`, `label_train` (classes from
  0), the same with `_test`, and `class_names`;
- the original distribution: `raw_features.mat` (`I_tr`, `T_tr`, `I_te`, `T_te`) beside
  `trainset_txt_img_cat.list` and `testset_txt_img_cat.list` (text, picture, class from 1; tabs
  between) and, if it is there, `categories.list`.

`wiki-articles` reads the articles themselves: `texts/TEXT.xml`, whose element `text` is the text,
and `images/CLASS/PICTURE.jpg` or `images/PICTURE.jpg`, beside the same lists. `wiki` reads these
too where there are no features.
"""

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.data.arrays import read_arrays
from modalhash.data.features import collect_arrays
from modalhash.data.pair_lists import PairList, missing_file
from modalhash.data.picture_folders import PictureFolder
from modalhash.data.reading import Reading
from modalhash.data.text_lines import clean_lines
from modalhash.errors import CollectionError, Defect

__all__ = ["read_wiki", "read_wiki_articles"]

_CLASS_NAMES: Final = (
    "art", "biology", "geography", "history", "literature",
    "media", "music", "royalty", "sport", "warfare",
)  # fmt: skip
_LISTS: Final = {"train": "trainset_txt_img_cat.list", "test": "testset_txt_img_cat.list"}
_TEXT: Final = re.compile(r"<text[^>]*>(.*?)</text>", re.DOTALL | re.IGNORECASE)
_SHORT: Final = {"train": "tr", "test": "te"}


def read_wiki(argument: str, *, split_seed: int) -> Reading:
    """Read the Wikipedia set; see `SourceReader` and the module's description."""
    path = Path(argument)
    if path.is_dir():
        files = [path / name for name in ("wiki.npz", "raw_features.mat")]
        path = next((file for file in files if file.exists()), path)
    if path.is_dir() and (path / "texts").is_dir():
        return read_wiki_articles(argument, split_seed=split_seed)
    if path.is_dir():
        problem = "has neither wiki.npz nor raw_features.mat; give the folder that holds one"
        return Reading(None, (Defect("missing-file", str(path), problem),))
    defects: list[Defect] = []
    try:
        stored = read_arrays(path)
        arrays = _from_mat(stored, path, defects) if "I_tr" in stored else _from_npz(stored)
    except CollectionError as error:
        return Reading(None, error.defects)
    if defects:
        return Reading(None, tuple(defects))
    return collect_arrays(
        arrays,
        name="wiki",
        path=path,
        source=f"wiki:{path.absolute()}",
        split_seed=split_seed,
    )


def _from_npz(stored: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Rename the arrays of `wiki.npz` to those of `features`, and give the items ids."""
    names = {
        "label_train": "labels_train",
        "label_test": "labels_test",
        "class_names": "label_names",
    }
    arrays = {names.get(key, key): array for key, array in stored.items()}
    for part in _LISTS:
        n_items = len(arrays.get(f"image_{part}", ()))
        ids = np.array([f"{part}-{number:04d}" for number in range(n_items)])
        arrays[f"item_ids_{part}"] = arrays[f"caption_ids_{part}"] = ids
    return arrays


def _from_mat(
    stored: dict[str, NDArray[Any]], path: Path, defects: list[Defect]
) -> dict[str, NDArray[Any]]:
    """Take features from `raw_features.mat`, ids and classes from the lists beside it."""
    arrays: dict[str, NDArray[Any]] = {}
    names = [name for _, name in clean_lines(path.with_name("categories.list"), [])]
    arrays["label_names"] = np.array(names or _CLASS_NAMES)
    for part, list_name in _LISTS.items():
        for side, letter in (("image", "I"), ("text", "T")):
            if (array := stored.get(f"{letter}_{_SHORT[part]}")) is not None:
                arrays[f"{side}_{part}"] = array
        rows = list(_read_list(path.with_name(list_name), defects))
        texts = [text for _, text, _, _ in rows]
        pictures = [picture for _, _, picture, _ in rows]
        classes = [number - 1 for _, _, _, number in rows]
        arrays[f"item_ids_{part}"] = np.array([f"{part}/{picture}" for picture in pictures])
        arrays[f"caption_ids_{part}"] = np.array([f"{part}/{text}" for text in texts])
        arrays[f"labels_{part}"] = np.array(classes, np.int64)
    return arrays


def _read_list(path: Path, defects: list[Defect]) -> Iterator[tuple[int, str, str, int]]:
    """Yield line, text, picture and class number of a list; a line of another form ends it."""
    for line, row in clean_lines(path, defects):
        columns = row.strip().split("\t")
        if len(columns) != 3 or not columns[2].isdecimal():
            problem = "isn't text, picture and class number with tabs between"
            defects.append(Defect("wrong-column", f"{path}:{line}", problem))
            return
        yield line, columns[0], columns[1], int(columns[2])


def read_wiki_articles(argument: str, *, split_seed: int) -> Reading:
    """Read pictures and XML texts of the articles; see the module's description."""
    path = Path(argument)
    lists = {part: path / name for part, name in _LISTS.items() if (path / name).exists()}
    if not lists or not (path / "texts").is_dir():
        content = "a list of text, picture and class; texts/ and images/ lie beside it"
        return missing_file(path / _LISTS["train"], content)
    source = f"wiki-articles:{path.absolute()}"
    pairs = PairList("wiki-articles", source, path / "images")
    listed = [name.strip() for _, name in clean_lines(path / "categories.list", [])]
    names = listed or list(_CLASS_NAMES)
    pairs.label_names = tuple(names)
    pictures = PictureFolder(pairs.pictures)
    for part, file in lists.items():
        for line, text, picture, number in _read_list(file, pairs.defects):
            where, item = f"{file}:{line}", f"{part}/{picture}"
            if not 1 <= number <= len(names):
                problem = f"names class {number}, and there are {len(names)}"
                pairs.defects.append(Defect("wrong-column", where, problem, (item,)))
                continue
            name = _picture_of(pictures, picture, names[number - 1])
            article = _read_article(path / "texts" / f"{text}.xml", where, item, pairs.defects)
            if article:
                pairs.add(name, [article], where=where, item=item, labels=[names[number - 1]])
                pairs.splits.setdefault(part, []).append(item)
    return pairs.reading(split_seed=split_seed)


def _picture_of(pictures: PictureFolder, name: str, label: str) -> str:
    """Find where a picture is: in the folder of its class, or in that of all."""
    candidates = (f"{label}/{name}", name)
    return next((path for path in map(pictures.find, candidates) if path), f"{label}/{name}.jpg")


def _read_article(file: Path, where: str, item: str, defects: list[Defect]) -> str:
    """Read the text of an article; what is wrong with it becomes a defect of its item.

    The files aren't well-formed XML throughout, so the element is looked for in the text.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        problem = f"the text {file.name} can't be read: {error.strerror or error}"
        defects.append(Defect("missing-text", where, problem, (item,)))
        return ""
    try:
        document = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        document = content.decode("latin-1")
    match = _TEXT.search(document)
    text = " ".join(unescape(match[1] if match else "").split())
    if not text:
        problem = f"{file.name} has no element <text>, or an empty one; delete the line"
        defects.append(Defect("empty-text", where, problem, (item,)))
    return text
