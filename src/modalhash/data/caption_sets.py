"""Captioned pictures: `flickr8k:PATH`, `flickr30k:PATH`, `rsicd:PATH`, `ucm:PATH`.

PATH is a folder that holds the captions in one of two layouts beside the pictures:

- `dataset_flickr8k.json` (or `dataset.json`, ..._flickr30k, ..._rsicd, ..._ucm), as Karpathy's
  splits are passed on: `images`, each with `filename`, `split` and `sentences` with `raw`;
- the token file of the authors, `Flickr8k.token.txt` or `results_20130124.token`, with
  `NAME#0<tab>caption` a line, and lists of names `Flickr_8k.trainImages.txt`, `...devImages.txt`,
  `...testImages.txt` or `train.txt`, `val.txt`, `test.txt`.

`val` is the split `dev`. RSICD's lists `txtclasses_rsicd/CLASS.txt` become labels, if they are
there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from modalhash.data.json_files import read_json_lists
from modalhash.data.pair_lists import PairList, first_existing, missing_file
from modalhash.data.pictures import PICTURE_FORMATS
from modalhash.data.reading import Reading
from modalhash.data.tables import clean_lines
from modalhash.errors import CollectionError, Defect

__all__ = ["read_flickr8k", "read_flickr30k", "read_rsicd", "read_ucm"]


@dataclass(frozen=True)
class CaptionSet:
    """Where the files of a data set lie.

    Attributes:
        name: of the source.
        pictures: folders that may hold the pictures; PATH itself is the last resort.
        token_files: the authors' caption file.
        lists: split to the files that may list its pictures.
        formats: what Pillow may take the pictures for.
    """

    name: str
    pictures: tuple[str, ...]
    token_files: tuple[str, ...] = ()
    lists: Mapping[str, tuple[str, ...]] | None = None
    formats: tuple[str, ...] = PICTURE_FORMATS


_PLAIN_LISTS: Final = {
    "train": ("train.txt",),
    "dev": ("val.txt", "dev.txt"),
    "test": ("test.txt",),
}
FLICKR8K: Final = CaptionSet(
    "flickr8k",
    ("Flicker8k_Dataset", "Flickr8k_Dataset", "images", "Images"),
    ("Flickr8k.token.txt", "Flickr8k_text/Flickr8k.token.txt"),
    {
        split: tuple(f"{folder}Flickr_8k.{split}Images.txt" for folder in ("", "Flickr8k_text/"))
        for split in ("train", "dev", "test")
    },
)
FLICKR30K: Final = CaptionSet(
    "flickr30k",
    ("flickr30k-images", "flickr30k_images", "images"),
    ("results_20130124.token", "flickr30k/results_20130124.token"),
    _PLAIN_LISTS,
)
RSICD: Final = CaptionSet("rsicd", ("RSICD_images", "images", "imgs"))
UCM: Final = CaptionSet("ucm", ("imgs", "images"), formats=(*PICTURE_FORMATS, "TIFF"))
_SPLITS: Final = {"train": "train", "val": "dev", "dev": "dev", "test": "test", "restval": "train"}


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


def _read(layout: CaptionSet, path: Path, split_seed: int) -> Reading:
    folder = next((path / name for name in layout.pictures if (path / name).is_dir()), path)
    source = f"{layout.name}:{path.absolute()}"
    pairs = PairList(layout.name, source, folder, formats=layout.formats)
    document = first_existing(path, (f"dataset_{layout.name}.json", "dataset.json"))
    tokens = first_existing(path, (*layout.token_files, "results.token"))
    if document.exists():
        try:
            _read_karpathy(document, pairs, _class_lists(path, pairs))
        except CollectionError as error:
            return Reading(None, error.defects)
    elif tokens.exists():
        _read_tokens(tokens, path, layout, pairs)
    else:
        names = " or ".join(map(str, (document.name, *layout.token_files)))
        return missing_file(path / document.name, f"the captions ({names})")
    return pairs.reading(split_seed=split_seed)


def _read_karpathy(path: Path, pairs: PairList, classes: Mapping[str, str]) -> None:
    [images] = read_json_lists(path, "images")
    for number, image in enumerate(images):
        where = f"{path}: images[{number}]"
        name, sentences, split = (image.get(key) for key in ("filename", "sentences", "split"))
        if not isinstance(name, str) or not isinstance(sentences, list):
            problem = f"lacks 'filename' or 'sentences'; it has {', '.join(map(repr, image))}"
            raise CollectionError([Defect("wrong-column", where, problem)])
        if split not in _SPLITS:
            problem = f"has the split {split!r}, expected one of {', '.join(_SPLITS)}"
            raise CollectionError([Defect("unknown-split", where, problem)])
        below = image.get("filepath", "")
        name = f"{below}/{name}" if below and (pairs.pictures / below).is_dir() else name
        labels = [classes[name]] if name in classes else []
        pairs.add(name, map(_text_of, sentences), where=where, labels=labels)
        pairs.splits.setdefault(_SPLITS[split], []).append(name)


def _text_of(sentence: Any) -> Any:
    return sentence.get("raw") if isinstance(sentence, dict) else sentence


def _class_lists(path: Path, pairs: PairList) -> dict[str, str]:
    """Return picture to its class where there are lists of classes; name the classes as labels."""
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
    listed: dict[str, list[str]] = {}
    for split, files in (layout.lists or {}).items():
        file = first_existing(path, files)
        if file.exists():
            names = [text.strip() for _, text in clean_lines(file, pairs.defects)]
            listed[split] = [name if name in texts else f"{name}.jpg" for name in names]
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
