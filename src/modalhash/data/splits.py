"""Splits: read them from text files, make missing ones, write them down."""

import hashlib
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from modalhash.data.collection import Collection, Positions
from modalhash.data.text_lines import clean_lines, quote_text
from modalhash.errors import Defect
from modalhash.files import write_text

__all__ = [
    "SplitReading",
    "make_splits",
    "read_splits",
    "stable_fraction",
    "unknown_members",
    "write_splits",
]

_MAY_OVERLAP: Final = {frozenset({"train", "database"}), frozenset({"dev", "database"})}
"""Pairs of splits that share items by design: most protocols train on a part of the database."""


@dataclass
class SplitReading:
    """Splits as they were read.

    Attributes:
        splits: split name to item positions; what stands in two splits by mistake is in both.
        note: how they came to be.
        defects: what is wrong with them.
    """

    splits: dict[str, Positions] = field(default_factory=dict)
    note: str = ""
    defects: list[Defect] = field(default_factory=list)


def stable_fraction(text: str) -> float:
    """Compute a number in [0, 1) that depends on the text alone, on any machine and version.

    Example:
        >>> stable_fraction("dog") == stable_fraction("dog") != stable_fraction("cat")
        True
    """
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) / 2**48


def make_splits(item_ids: Sequence[str], *, seed: int) -> tuple[dict[str, Positions], str]:
    """Divide items into train, dev and test, 80/10/10, by a hash of the seed and their ids.

    The order of the items doesn't matter, and an added item moves few others. From three items
    on, every split has one at least.

    Args:
        item_ids: n distinct ids.
        seed: another seed gives another division.

    Returns:
        Split name to sorted item positions, and a note that says how they were made.

    Example:
        >>> splits, note = make_splits([f"photo-{number}" for number in range(50)], seed=0)
        >>> {name: len(items) for name, items in splits.items()}
        {'train': 40, 'dev': 5, 'test': 5}
        >>> note
        'made by modalhash: seed 0, 80/10/10'
    """
    drawn = np.array([stable_fraction(f"{seed}:{item}") for item in item_ids])
    order = np.argsort(drawn, kind="stable")
    part = max(round(len(order) / 10), 1 if len(order) >= 3 else 0)
    splits = {
        "train": np.sort(order[2 * part :]),
        "dev": np.sort(order[part : 2 * part]),
        "test": np.sort(order[:part]),
    }
    return splits, f"made by modalhash: seed {seed}, 80/10/10"


def unknown_members(
    splits: Mapping[str, Sequence[str]], known: Container[str], place: str
) -> Iterator[Defect]:
    """Yield a defect for each split that names items which aren't there.

    Args:
        splits: split to the names in its list.
        known: the names of all items, those with a defect of their own too.
        place: where the lists are, for messages.
    """
    for split, names in splits.items():
        unknown = [name for name in dict.fromkeys(names) if name not in known]
        if not unknown:
            continue
        first = ", ".join(map(quote_text, unknown[:3])) + (", ..." if len(unknown) > 3 else "")
        is_whole = len(unknown) == len(set(names))
        count = f"none of its {len(unknown):,} names" if is_whole else f"{len(unknown):,} names"
        problem = (
            f"{count} {'is an item' if is_whole else 'are no items'} of this collection: {first}; "
            "the list and the captions must name items alike"
        )
        items = () if is_whole else tuple(unknown)
        yield Defect("unknown-in-split", f"{place}: split {split}", problem, items)


def read_splits(
    folder: Path, positions: Mapping[str, int], *, known: Container[str]
) -> SplitReading:
    """Read `NAME.txt` files with one item id a line; blank lines are nothing.

    Args:
        folder: where the files are; without any, the reading has no splits.
        positions: item id to position.
        known: further ids that may stand in a split: their own defects are reported elsewhere.

    Returns:
        The splits, sorted by name, with the positions in the order of the file.
    """
    reading = SplitReading()
    files = folder.iterdir() if folder.is_dir() else ()
    paths = sorted(path for path in files if path.suffix.lower() == ".txt")
    file_of = {path.stem: path for path in paths}
    for path in paths:
        if path != file_of[path.stem]:
            problem = f"{file_of[path.stem].name} is the same split; keep one of them"
            reading.defects.append(Defect("two-split-files", str(path), problem))
    members = {
        name: _read_split(path, positions, known, reading.defects) for name, path in file_of.items()
    }
    for first, second in combinations(members, 2):
        if frozenset({first, second}) in _MAY_OVERLAP:
            continue
        for item in (item for item in members[second] if item in members[first]):
            reading.defects.append(
                Defect(
                    "item-in-two-splits",
                    f"{file_of[second]}:{members[second][item]}",
                    f"{quote_text(item)} is also in {file_of[first].name}, line "
                    f"{members[first][item]}; take it out of one",
                    (item,),
                )
            )
    for name, items in members.items():
        reading.splits[name] = np.array([positions[item] for item in items], dtype=np.int64)
    if paths:
        reading.note = "read from " + ", ".join(f"{folder.name}/{path.name}" for path in paths)
    return reading


def _read_split(
    path: Path, positions: Mapping[str, int], known: Container[str], defects: list[Defect]
) -> dict[str, int]:
    """Read the items of one split file with their lines; add what is wrong to `defects`."""
    if path.stem == "all":
        problem = "no split may be called 'all', which means every item; rename the file"
        defects.append(Defect("reserved-split", str(path), problem))
        return {}
    members: dict[str, int] = {}
    n_names = 0
    for line, text in clean_lines(path, defects):
        n_names += 1
        name = text if text in positions else PurePosixPath(text).as_posix()
        where = f"{path}:{line}"
        if name in members:
            problem = (
                f"{quote_text(name)} is already in line {members[name]}; delete one of the two"
            )
            defects.append(Defect("duplicate-id", where, problem, (name,)))
        elif name in positions:
            members[name] = line
        elif name not in known:
            problem = f"{quote_text(name)} is no item of this collection; delete the line"
            defects.append(Defect("unknown-in-split", where, problem, (name,)))
    if not n_names:
        problem = "has no names; fill it with one item id a line, or delete it"
        defects.append(Defect("empty-split", str(path), problem))
    return members


def write_splits(collection: Collection, folder: Path) -> list[Path]:
    """Write each split as `NAME.txt` with one item id a line, as `read_splits` reads them.

    A split without items, as a collection of one or two items has, isn't written.

    Args:
        collection: whose splits.
        folder: where the files go; made if missing.

    Returns:
        The files, in the order of the splits.

    Raises:
        StorageError: if the file system refuses.
    """
    paths = []
    for name, items in collection.splits.items():
        if not len(items):
            continue
        path = folder / f"{name}.txt"
        write_text(path, "".join(f"{collection.item_ids[item]}\n" for item in items))
        paths.append(path)
    return paths
