"""The Wikipedia articles of Rasiwasia et al. (ACM Multimedia 2010) as features: `wiki:PATH`.

2,866 pairs in 10 classes: 128-d SIFT words of a picture and 10-d topics of its text; 2,173 train
and 693 test. PATH is one of

- `wiki.npz`, or a folder that holds it: `image_train`, `text_train`, `label_train` (classes from
  0), the same with `_test`, and `class_names`;
- the original distribution: `raw_features.mat` (`I_tr`, `T_tr`, `I_te`, `T_te`) beside
  `trainset_txt_img_cat.list` and `testset_txt_img_cat.list` (text, picture, class from 1; tabs
  between) and, if it is there, `categories.list`.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.data.arrays import read_arrays
from modalhash.data.features import collect_arrays
from modalhash.data.reading import Reading
from modalhash.data.text_lines import clean_lines
from modalhash.errors import CollectionError, Defect

__all__ = ["read_wiki"]

_CLASS_NAMES: Final = (
    "art", "biology", "geography", "history", "literature",
    "media", "music", "royalty", "sport", "warfare",
)  # fmt: skip
_LISTS: Final = {"train": "trainset_txt_img_cat.list", "test": "testset_txt_img_cat.list"}
_SHORT: Final = {"train": "tr", "test": "te"}


def read_wiki(argument: str, *, split_seed: int) -> Reading:
    """Read the Wikipedia set; see `SourceReader` and the module's description."""
    path = Path(argument)
    if path.is_dir():
        found = [path / name for name in ("wiki.npz", "raw_features.mat")]
        path = next((file for file in found if file.exists()), path)
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
        path_of_list = path.with_name(list_name)
        texts, pictures, classes = [], [], []
        for line, row in clean_lines(path_of_list, defects):
            columns = row.split("\t")
            if len(columns) != 3 or not columns[2].strip().isdecimal():
                problem = "isn't text, picture and class number with tabs between"
                defects.append(Defect("wrong-column", f"{path_of_list}:{line}", problem))
                break
            texts.append(columns[0])
            pictures.append(columns[1])
            classes.append(int(columns[2]) - 1)
        arrays[f"item_ids_{part}"] = np.array([f"{part}/{picture}" for picture in pictures])
        arrays[f"caption_ids_{part}"] = np.array([f"{part}/{text}" for text in texts])
        arrays[f"labels_{part}"] = np.array(classes, np.int64)
    return arrays
