"""Captioned pictures: `flickr8k:PATH`, `flickr30k:PATH`, `coco-karpathy:PATH`, `rsicd:PATH`, ...

PATH is a folder that holds the captions in one of three layouts beside the pictures, or their file:

- `dataset_flickr8k.json` (or `dataset.json`, `dataset_flickr30k.json`, `dataset_coco.json`,
  `dataset_RSITMD.json`, ... in any case, also in a folder of PATH), as Karpathy's splits are passed
  on: `images`, each with `filename`, `split` and `sentences` with `raw`;
- the token file of the authors, `Flickr8k.token.txt` or `results_20130124.token`, with
  `NAME#0<tab>caption` a line, and lists of names `Flickr_8k.trainImages.txt`, `...devImages.txt`,
  `...testImages.txt` or `train.txt`, `val.txt`, `test.txt`;
- the tables that Kaggle passes on, `captions.txt` (`image,caption`) and `results.csv`
  (`image_name| comment_number| comment`), with the same lists, if they are there.

`val` is the split `dev`, `restval` belongs to `train`. RSICD's lists `txtclasses_rsicd/CLASS.txt`
become labels, if they are there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from modalhash.data.json_files import read_json_lists
from modalhash.data.pair_lists import PairList, first_existing, missing_file
from modalhash.data.picture_folders import find_picture_folder
from modalhash.data.reading import Reading
from modalhash.data.table_collections import read_tables
from modalhash.data.table_columns import GivenColumns
from modalhash.data.table_rows import SPLIT_NAMES
from modalhash.data.text_lines import clean_lines
from modalhash.errors import CollectionError, Defect

__all__ = [
    "read_coco_karpathy",
    "read_flickr8k",
    "read_flickr30k",
    "read_rsicd",
    "read_rsitmd",
    "read_sydney",
    "read_ucm",
]


@dataclass(frozen=True)
class CaptionSet:
    """Where the files of a data set lie.

    Attributes:
        name: of the source.
        pictures: folders that may hold the pictures; PATH itself is the last resort.
        token_files: the authors' caption file.
        tables: the table of pictures and captions that others pass on.
        lists: split to the files that may list its pictures.
    """

    name: str
    pictures: tuple[str, ...]
    token_files: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    lists: Mapping[str, tuple[str, ...]] | None = None


_PLAIN_LISTS: Final = {
    "train": ("train.txt",),
    "dev": ("val.txt", "dev.txt"),
    "test": ("test.txt",),
}
FLICKR8K: Final = CaptionSet(
    "flickr8k",
    ("Flicker8k_Dataset", "Flickr8k_Dataset", "images", "Images"),
    ("Flickr8k.token.txt", "Flickr8k_text/Flickr8k.token.txt"),
    ("captions.txt", "captions.csv"),
    {
        split: tuple(f"{folder}Flickr_8k.{split}Images.txt" for folder in ("", "Flickr8k_text/"))
        for split in ("train", "dev", "test")
    },
)
FLICKR30K: Final = CaptionSet(
    "flickr30k",
    ("flickr30k-images", "flickr30k_images", "images"),
    ("results_20130124.token", "flickr30k/results_20130124.token"),
    ("results.csv", "flickr30k_images/results.csv", "captions.txt", "captions.csv"),
    _PLAIN_LISTS,
)
RSICD: Final = CaptionSet("rsicd", ("RSICD_images", "images", "imgs"))
UCM: Final = CaptionSet("ucm", ("imgs", "images", "UCM_images", "Images"))
RSITMD: Final = CaptionSet("rsitmd", ("images", "RSITMD_images", "imgs"))
SYDNEY: Final = CaptionSet("sydney", ("imgs", "images", "Sydney_images"))
COCO: Final = CaptionSet("coco-karpathy", ("images", "."))
_JSON_NAMES: Final = {"coco-karpathy": "coco"}
"""What a data set is called in the names of its JSON files, where that isn't its source's name."""


def read_flickr8k(argument: str, *, split_seed: int) -> Reading:
    """Read Flickr8k; see `SourceReader` and the module's description."""
    return _read(FLICKR8K, Path(argument), split_seed)


def read_flickr30k(argument: str, *, split_seed: int) -> Reading:
    """Read Flickr30k; see the module's description."""
    return _read(FLICKR30K, Path(argument), split_seed)


def read_rsicd(argument: str, *, split_seed: int) -> Reading:
    """Read RSICD; see the module's description."""
    return _read(RSICD, Path(argument), split_seed)


def read_ucm(argument: str, *, split_seed: int) -> Reading:
    """Read UCM captions, whose pictures are TIFF files; see the module's description."""
    return _read(UCM, Path(argument), split_seed)


def read_rsitmd(argument: str, *, split_seed: int) -> Reading:
    """Read RSITMD, satellite pictures; see the module's description."""
    return _read(RSITMD, Path(argument), split_seed)


def read_sydney(argument: str, *, split_seed: int) -> Reading:
    """Read the Sydney captions, aerial pictures; see the module's description."""
    return _read(SYDNEY, Path(argument), split_seed)


def read_coco_karpathy(argument: str, *, split_seed: int) -> Reading:
    """Read COCO as Karpathy divided it; see the module's description."""
    return _read(COCO, Path(argument), split_seed)


def _read(layout: CaptionSet, path: Path, split_seed: int) -> Reading:
    source = f"{layout.name}:{path.absolute()}"
    root = path.parent if path.is_file() else path
    document = _find_document(path, layout)
    tokens = first_existing(root, (*layout.token_files, "results.token"))
    table = first_existing(root, layout.tables or ("captions.csv",))
    if path.is_file() and document is None:
        tokens, table = (path, table) if "token" in path.name else (root / "no.token", path)
    pairs = PairList(layout.name, source, root)
    try:
        if document is not None:
            _read_karpathy(document, layout, root, pairs)
        elif tokens.exists():
            pairs.pictures = _usual_folder(layout, root)
            _read_tokens(tokens, root, layout, pairs)
        elif table.exists():
            return _read_table(table, layout, pairs, split_seed)
        else:
            names = (f"dataset_{layout.name}.json", *layout.token_files, *layout.tables)
            return missing_file(root / names[0], f"the captions ({' or '.join(names)})")
    except CollectionError as error:
        return Reading(None, error.defects)
    return pairs.reading(split_seed=split_seed)


def _find_document(path: Path, layout: CaptionSet) -> Path | None:
    """Find the JSON file of captions by its usual names, in any case, here or a folder down."""
    if path.is_file():
        return path if path.suffix.lower() == ".json" else None
    name = _JSON_NAMES.get(layout.name, layout.name)
    files = sorted([*path.glob("*.json"), *path.glob("*/*.json")], key=lambda file: len(file.parts))
    patterns = (
        f"dataset_{name}",
        "dataset",
        f"dataset*{name}*",
        name,
        f"{name}_captions",
        "captions",
    )
    for pattern in patterns:
        for file in files:
            if fnmatchcase(file.stem.lower(), pattern):
                return file
    return None


def _usual_folder(layout: CaptionSet, root: Path) -> Path:
    return next((root / name for name in layout.pictures if (root / name).is_dir()), root)


def _read_table(table: Path, layout: CaptionSet, pairs: PairList, split_seed: int) -> Reading:
    lists = _split_lists(pairs.pictures, layout, pairs.defects)
    return read_tables(
        [table],
        GivenColumns(),
        pairs,
        split_seed=split_seed,
        folders=layout.pictures,
        split_lists=lists,
    )


def _read_karpathy(path: Path, layout: CaptionSet, root: Path, pairs: PairList) -> None:
    [images] = read_json_lists(path, "images")
    names = [_picture_name(image) for image in images]
    pairs.pictures = _usual_folder(layout, root)
    if pairs.pictures == root:
        pairs.pictures = find_picture_folder(root, names).path
    classes = _class_lists(root, pairs)
    for number, (image, name) in enumerate(zip(images, names, strict=True)):
        where = f"{path}: images[{number}]"
        sentences, split = image.get("sentences"), image.get("split")
        if not name or not isinstance(sentences, list):
            problem = f"lacks 'filename' or 'sentences'; it has {', '.join(map(repr, image))}"
            raise CollectionError([Defect("wrong-column", where, problem)])
        if "split" in image and split not in SPLIT_NAMES:
            problem = f"has the split {split!r}, expected one of {', '.join(SPLIT_NAMES)}"
            raise CollectionError([Defect("unknown-split", where, problem)])
        folder, _, file = name.rpartition("/")
        picture = file if folder and not (pairs.pictures / folder).is_dir() else name
        labels = [classes[picture]] if picture in classes else []
        pairs.add(picture, map(_text_of, sentences), where=where, labels=labels)
        if split:
            pairs.splits.setdefault(SPLIT_NAMES[split], []).append(picture)


def _picture_name(image: Mapping[str, Any]) -> str:
    """Join the name of an image of Karpathy's files to the folder that the file states."""
    name, below = image.get("filename"), image.get("filepath")
    if not isinstance(name, str):
        return ""
    return f"{below}/{name}" if isinstance(below, str) and below else name


def _text_of(sentence: Any) -> Any:
    return sentence.get("raw") if isinstance(sentence, dict) else sentence


def _class_lists(path: Path, pairs: PairList) -> dict[str, str]:
    """Map pictures to their classes where there are class lists; name the classes as labels."""
    classes = {}
    folder = path / "txtclasses_rsicd"
    files = sorted(folder.glob("*.txt"))
    for file in files:
        for _, name in clean_lines(file, pairs.defects):
            classes[name.strip()] = file.stem
    pairs.label_names = tuple(file.stem for file in files)
    return classes


def _read_tokens(tokens: Path, path: Path, layout: CaptionSet, pairs: PairList) -> None:
    texts: dict[str, list[str]] = {}
    first_line: dict[str, int] = {}
    for line, row in clean_lines(tokens, pairs.defects):
        key, tab, text = row.partition("\t")
        name, sign, number = key.rpartition("#")
        if not tab or not sign or not number.isdecimal():
            problem = f"is {row[:40]!r}, expected NAME#NUMBER, a tab and the caption"
            pairs.defects.append(Defect("wrong-column", f"{tokens}:{line}", problem, (key,)))
            continue
        texts.setdefault(name, []).append(text)
        first_line.setdefault(name, line)
    listed = {
        split: [name if name in texts else f"{name}.jpg" for name in names]
        for split, names in _split_lists(path, layout, pairs.defects).items()
    }
    # Flickr8k captions "2258277193_586949ec62.jpg.1", which is no picture and in no list.
    in_splits = {name for names in listed.values() for name in names}
    for name in [name for name in texts if name.endswith(".jpg.1") and name not in in_splits]:
        pairs.notes.append(f"{tokens}:{first_line[name]}: {name} is no picture; left out")
        del texts[name]
    for name, own in texts.items():
        pairs.add(name, own, where=f"{tokens}:{first_line[name]}")
    for split, names in listed.items():
        for name in names:
            if name not in texts:
                problem = f"{name!r} of split {split} has no caption"
                pairs.defects.append(Defect("unknown-in-split", str(tokens), problem, (name,)))
        pairs.splits[split] = names


def _split_lists(path: Path, layout: CaptionSet, defects: list[Defect]) -> dict[str, list[str]]:
    """Map each split to the names in its list, where there is such a list."""
    listed: dict[str, list[str]] = {}
    for split, files in (layout.lists or {}).items():
        file = first_existing(path, files)
        if file.exists():
            listed[split] = [text.strip() for _, text in clean_lines(file, defects)]
    return listed
