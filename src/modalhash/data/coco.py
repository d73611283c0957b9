"""Microsoft COCO in its official layout: `coco:PATH`, `coco-2014:PATH`, `coco-2017:PATH`.

PATH holds the archives as they unpack::

    annotations/instances_train2014.json    objects of 80 categories: the labels
    annotations/captions_train2014.json     about five captions a picture
    annotations/..._val2014.json            the same of the other part; likewise 2017
    train2014/COCO_train2014_000000000009.jpg, val2014/...; or below images/

`coco` takes the year that is there. Pictures with an object and a caption are kept. The parts are
the splits `train` and `dev`; the papers divide the pictures of both anew (see the protocols).
"""

from pathlib import Path

from modalhash.data.json_files import read_json_lists
from modalhash.data.pair_lists import PairList, missing_file
from modalhash.data.reading import Reading
from modalhash.errors import CollectionError, Defect

__all__ = ["read_coco", "read_coco_2014", "read_coco_2017"]

_SPLITS = {"train": "train", "val": "dev"}


def read_coco(argument: str, *, split_seed: int) -> Reading:
    """Read the year that is there; see the module's description."""
    folder = Path(argument) / "annotations"
    years = [year for year in ("2014", "2017") if list(folder.glob(f"instances_*{year}.json"))]
    if len(years) == 2:
        problem = "holds 2014 and 2017: write coco-2014:PATH or coco-2017:PATH"
        return Reading(None, (Defect("two-years", str(folder), problem),))
    return _read(Path(argument), years[0] if years else "2014", split_seed)


def read_coco_2014(argument: str, *, split_seed: int) -> Reading:
    """Read the parts of 2014; see the module's description."""
    return _read(Path(argument), "2014", split_seed)


def read_coco_2017(argument: str, *, split_seed: int) -> Reading:
    """Read the parts of 2017; see the module's description."""
    return _read(Path(argument), "2017", split_seed)


def _read(path: Path, year: str, split_seed: int) -> Reading:
    pictures = path / "images" if (path / "images").is_dir() else path
    pairs = PairList("coco", f"coco-{year}:{path.absolute()}", pictures)
    left_out = 0
    parts = [
        part for part in _SPLITS if (path / f"annotations/instances_{part}{year}.json").exists()
    ]
    if not parts:
        file = path / f"annotations/instances_train{year}.json"
        return missing_file(file, f"the objects (annotations_trainval{year}.zip)")
    try:
        for part in parts:
            left_out += _add_part(path / "annotations", f"{part}{year}", _SPLITS[part], pairs)
    except CollectionError as error:
        return Reading(None, error.defects)
    if len(parts) < len(_SPLITS):
        pairs.notes.append(f"{path}: only the part {parts[0]}{year} is there")
    if left_out:
        pairs.notes.append(f"{path}: {left_out} pictures without object or caption are left out")
    return pairs.reading(split_seed=split_seed)


def _add_part(folder: Path, part: str, split: str, pairs: PairList) -> int:
    """Add the pictures of one part; return how many have no object or no caption."""
    instances, captions = folder / f"instances_{part}.json", folder / f"captions_{part}.json"
    images, objects, categories = read_json_lists(instances, "images", "annotations", "categories")
    [texts] = read_json_lists(captions, "annotations")
    left_out = 0
    try:
        names = {category["id"]: str(category["name"]) for category in categories}
        pairs.label_names = pairs.label_names or tuple(names.values())
        labels: dict[int, set[str]] = {}
        for entry in objects:
            labels.setdefault(entry["image_id"], set()).add(names[entry["category_id"]])
        texts_of: dict[int, list[str]] = {}
        for entry in texts:
            texts_of.setdefault(entry["image_id"], []).append(entry["caption"])
        for image in images:
            number, file = image["id"], f"{part}/{image['file_name']}"
            if number not in labels or number not in texts_of:
                left_out += 1
                continue
            where = f"{captions}: image {number}"
            pairs.add(file, texts_of[number], where=where, labels=labels[number])
            pairs.splits.setdefault(split, []).append(file)
    except KeyError as error:
        problem = f"an entry lacks or doesn't know {error.args[0]!r}"
        raise CollectionError([Defect("wrong-column", str(instances), problem)]) from error
    return left_out
