"""Find a collection by what a user calls it, load it, or list everything wrong with it."""

import logging
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from modalhash.data.card_checks import Deviation, compare_with_card, count_values
from modalhash.data.collection import Collection
from modalhash.data.layouts import likely_layouts
from modalhash.data.memory_tables import MemoryTable, is_memory_table, read_memory_table
from modalhash.data.pictures import find_picture_defects
from modalhash.data.protocols import apply_protocol
from modalhash.data.reading import Reading
from modalhash.data.sources import COLLECTIONS, FOLDER
from modalhash.data.split_files import read_split_file
from modalhash.data.table_collections import TABLE_FILES, find_pair_tables
from modalhash.data.table_columns import GivenColumns, divide_source, read_columns
from modalhash.data.tables import TABLE_SUFFIXES
from modalhash.data.text_lines import ascii_if_broken
from modalhash.errors import (
    CollectionError,
    Defect,
    InputError,
    UnknownNameError,
    nearest_names,
)
from modalhash.progress import Progress, automatic
from modalhash.seeds import check_seed

__all__ = ["CheckReport", "check_collection", "load_collection", "read_source"]

logger = logging.getLogger(__name__)

_LISTED_ITEMS: Final = 20
"""How many left-out items the log names in its summary; the lines after it name all."""


@dataclass(frozen=True)
class CheckReport:
    """What is wrong with a collection.

    Attributes:
        source: what was checked, as it was asked for.
        n_items: items that could be read, with or without defects.
        n_captions: their texts.
        n_pictures: pictures that were decoded.
        defects: everything wrong, in the order of the files.
        notes: what is no defect and yet worth knowing.
        deviations: counts that differ from the data set's card.
        values: what the values look like: ranges, label sums, what comes twice.
    """

    source: str
    n_items: int
    n_captions: int
    n_pictures: int
    defects: tuple[Defect, ...]
    notes: tuple[str, ...]
    deviations: tuple[Deviation, ...] = ()
    values: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Tell whether nothing is wrong."""
        return not self.defects

    @property
    def is_curable(self) -> bool:
        """Tell whether leaving items out (`skip_bad`) cures every defect and leaves some items."""
        return len(self.bad_items) < self.n_items and all(defect.items for defect in self.defects)

    @property
    def kinds(self) -> dict[str, int]:
        """Return how many defects there are of each kind, the most frequent first."""
        return dict(Counter(defect.kind for defect in self.defects).most_common())

    @property
    def bad_items(self) -> tuple[str, ...]:
        """Return the distinct ids that defects name; some may be no items of the collection."""
        return tuple(dict.fromkeys(item for defect in self.defects for item in defect.items))


def load_collection(
    source: str | Path | MemoryTable,
    *,
    columns: str = "",
    skip_bad: bool = False,
    split_seed: int | None = None,
    protocol: str | None = None,
    split_file: str | Path | None = None,
    progress: Progress = automatic,
) -> Collection:
    """Load a collection.

    Args:
        source: a name of `COLLECTIONS` ("icons", "scenes:200", "wiki:PATH"), or a folder; a
            `Path` is always a folder, and so is a name with a folder sign ("./icons"). Or a table
            in memory, whose columns hold pictures or their paths, and texts: a data frame of pandas
            or polars, or a data set of Hugging Face's `datasets`, one or several by split.
        columns: what the columns of a table hold, "image=URL_LOCAL,caption=TEXT", where that isn't
            known by their names; also "images=FOLDER", in which relative paths are.
        skip_bad: check everything, pictures too, and leave out the items that have a defect; the
            log says how many and which.
        split_seed: seed of the splits, where the source has none of its own (by default 0), or
            of the protocol's draw (by default the protocol's).
        protocol: divide it as a paper does: a name of `PROTOCOLS`, as for `apply_protocol`.
        split_file: divide it as this file says, or a run's folder `splits`; see
            `read_split_file`.
        progress: is told of the check that `skip_bad` makes.

    Returns:
        The collection. Without `skip_bad` pictures are not decoded: one that is damaged raises
        when it is opened.

    Raises:
        CollectionError: if there are defects, or with `skip_bad` if leaving items out doesn't
            cure them.
        UnknownNameError: if there is neither a source nor a folder of that name.
        InputError: if a named source needs something else after its name, the protocol or the
            split file doesn't fit, or both are given.
        MissingExtraError: if reading it needs a package that isn't installed.

    Example:
        >>> scenes = load_collection("scenes:20")
        >>> scenes.n_items, scenes.n_captions
        (20, 100)
    """
    if protocol is not None and split_file is not None:
        raise InputError("protocol and split_file both divide the collection: give one of them")
    if split_seed is not None:
        check_seed(split_seed, name="split_seed")
    collection = _load(source, columns, skip_bad, split_seed or 0, progress)
    if protocol is not None:
        collection = apply_protocol(collection, protocol, seed=split_seed)
        logger.info("%s: %s", collection.name, collection.split_note)
    elif split_file is not None:
        collection = read_split_file(collection, Path(split_file))
    return collection


def _load(
    source: str | Path | MemoryTable,
    columns: str,
    skip_bad: bool,
    split_seed: int,
    progress: Progress,
) -> Collection:
    if isinstance(source, str | Path):
        named = f"{source}#{columns}" if columns else source
        reading, title = read_source(named, split_seed=split_seed), str(source)
    elif is_memory_table(source):
        given_columns = read_columns(columns) if columns else GivenColumns()
        reading = read_memory_table(source, given_columns, split_seed=split_seed)
        title = type(source).__name__
    else:
        raise InputError(
            f"source is of type {type(source).__name__}, expected a folder, a name such as icons, "
            "a data frame, or a data set of Hugging Face"
        )
    for note in reading.notes:
        logger.warning("%s", note)
    defects = list(reading.defects)
    collection = reading.collection
    if skip_bad and collection is not None and all(defect.items for defect in defects):
        without = _items_without_picture(defects)
        defects += find_picture_defects(collection, without=without, progress=progress)
        return _without_bad_items(collection, defects) if defects else collection
    if defects or collection is None:
        incurable = [defect for defect in defects if not defect.items]
        raise CollectionError([*incurable, *(d for d in defects if d.items)] or [_empty(title)])
    return collection


def check_collection(source: str | Path, *, progress: Progress = automatic) -> CheckReport:
    """Find everything that is wrong with a collection, decoding every picture.

    Args:
        source: as for `load_collection`.
        progress: is told of the stage "check pictures".

    Returns:
        All defects and notes.

    Raises:
        UnknownNameError: if there is neither a source nor a folder of that name.
        InputError: if a named source needs something else after its name.
        MissingExtraError: if reading it needs a package that isn't installed.

    Example:
        >>> check_collection("scenes:20").is_sound
        True
    """
    reading = read_source(source)
    collection = reading.collection
    defects = list(reading.defects)
    if collection is None:
        return CheckReport(str(source), 0, 0, 0, tuple(defects or [_empty(source)]), reading.notes)
    without = _items_without_picture(defects)
    defects += find_picture_defects(collection, without=without, progress=progress)
    return CheckReport(
        str(source),
        collection.n_items,
        collection.n_captions,
        0 if collection.pictures is None else collection.n_items - len(without),
        tuple(defects),
        reading.notes,
        compare_with_card(collection),
        count_values(collection),
    )


def _items_without_picture(defects: list[Defect]) -> set[str]:
    kinds = ("missing-picture", "missing-video", "unsupported-picture", "unsupported-video")
    return {item for defect in defects if defect.kind in kinds for item in defect.items}


def read_source(source: str | Path, *, split_seed: int = 0) -> Reading:
    """Read a collection with its defects, without decoding pictures.

    Args:
        source: as for `load_collection`.
        split_seed: seed of the splits, where the source has none of its own.

    Raises:
        UnknownNameError: if there is neither a source nor a folder of that name.
        InputError: if a named source needs something else after its name.
        MissingExtraError: if reading it needs a package that isn't installed.
    """
    require_unicode(source)
    name, _, argument = str(source).partition(":")
    if isinstance(source, str) and name in COLLECTIONS:
        return _read_named(name, argument, source, split_seed)
    if not str(source).strip():
        raise InputError("the collection's name is empty: write a folder, or a name such as icons")
    path, columns = divide_source(str(source))
    if columns != GivenColumns():
        return COLLECTIONS["table"].load_reader()(str(source), split_seed=split_seed)
    if (folder := Path(path)).is_dir():
        return _read_folder(folder, str(source), split_seed)
    if folder.is_file():
        return _read_file(folder, split_seed)
    raise no_such_source(source, name)


def no_such_source(source: str | Path, name: str) -> InputError:
    """Describe, as an error, a source that is neither a folder nor a known name."""
    folder = Path(source)
    parent = folder.parent
    names = []
    with suppress(OSError):
        names = [path.name for path in parent.iterdir() if path.is_dir()]
    near = [parent / other for other in nearest_names(folder.name, names)]
    proposals = " or ".join(f"./{path}" if len(path.parts) == 1 else str(path) for path in near)
    if isinstance(source, Path) or len(folder.parts) > 1:
        hint = f"did you mean {proposals}?" if near else "check the path"
        return InputError(f"there is no folder {folder}: {hint}")
    if near:
        return InputError(
            f"there is no folder and no collection {name!r}: did you mean {proposals}? "
            "`modalhash data list` names the collections"
        )
    if not nearest_names(name, COLLECTIONS):
        return InputError(
            f"there is no folder and no collection {name!r}: check the path; `modalhash data list` "
            "names the collections"
        )
    return UnknownNameError("collection or folder", name, COLLECTIONS)


def require_unicode(source: str | Path) -> None:
    """Refuse a path that isn't valid Unicode, which no file of ours could hold.

    Raises:
        InputError: naming it.
    """
    whole = str(Path(source).absolute())
    if any("\ud800" <= letter <= "\udfff" for letter in whole):
        raise InputError(
            f"the path {ascii_if_broken(whole)} isn't valid UTF-8, which names in files of ours "
            "must be: rename the folder"
        )


def _read_named(name: str, argument: str, source: str, split_seed: int) -> Reading:
    entry = COLLECTIONS[name]
    if entry.has_argument and not argument:
        raise InputError(f"{source!r} lacks a path: write {entry.usage}")
    if not entry.takes_columns and divide_source(argument)[1] != GivenColumns():
        known = ", ".join(known for known, other in COLLECTIONS.items() if other.takes_columns)
        raise InputError(
            f"{name} has columns of its own: columns are named of a folder or file, or of {known}"
        )
    return entry.load_reader()(argument, split_seed=split_seed)


def _read_folder(folder: Path, source: str, split_seed: int) -> Reading:
    """Read a folder in our own form or, if it isn't, in the one layout that it is likely to be."""
    is_ours = any((folder / f"captions{suffix}").exists() for suffix in TABLE_SUFFIXES)
    likely = {} if is_ours else likely_layouts(folder, [])
    if not is_ours and not likely and (tables := find_pair_tables(folder)):
        likely = {f"table:{folder}": f"it has {tables[0].name}"}
    if not likely:
        return FOLDER.load_reader()(source, split_seed=split_seed)
    if len(likely) > 1:
        names = " or ".join(likely)
        raise InputError(f"{folder} may be several layouts: write {names}")
    [(layout, reason)] = likely.items()
    name, _, argument = layout.partition(":")
    reading = _read_named(name, argument, layout, split_seed)
    note = f"{folder} is read as {name}:PATH: {reason}"
    return replace(reading, notes=(note, *reading.notes))


def _read_file(file: Path, split_seed: int) -> Reading:
    suffix = file.suffix.lower()
    if file.stem == "captions" and suffix in TABLE_SUFFIXES:
        raise InputError(f"{file} is a file: give the folder that holds captions.tsv and images/")
    is_tar = suffix == ".tar" or file.name.lower().endswith((".tar.gz", ".tgz"))
    if not is_tar and suffix not in TABLE_FILES:
        raise InputError(f"{file} is a file: `modalhash data inspect {file}` says how to load it")
    name = "webdataset" if is_tar else "table"
    return COLLECTIONS[name].load_reader()(str(file), split_seed=split_seed)


def _empty(source: str | Path) -> Defect:
    return Defect("no-items", str(source), "has no item that can be used")


def _without_bad_items(collection: Collection, defects: list[Defect]) -> Collection:
    bad = {item for defect in defects for item in defect.items}
    positions = np.array(
        [place for place, item in enumerate(collection.item_ids) if item not in bad], np.int64
    )
    if not len(positions):
        raise CollectionError([*defects, _empty(collection.name)])
    named = sorted(bad)
    tail = ", ..." if len(named) > _LISTED_ITEMS else ""
    logger.warning(
        "%s: left out %d bad items, %d are used: %s%s",
        collection.name,
        len(bad),
        len(positions),
        ", ".join(named[:_LISTED_ITEMS]),
        tail,
    )
    for defect in defects:
        logger.warning("%s", defect)
    return collection if len(positions) == collection.n_items else collection.subset(positions)
