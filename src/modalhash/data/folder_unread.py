"""Say which files and columns of a folder look like labels or splits and aren't read as such.

What is passed over in silence is the worst kind of mistake: a training without its labels, or on
another split than the data's own.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from modalhash.data.folder_tables import ItemKind
from modalhash.data.text_lines import quote_text

__all__ = ["list_unread"]

LABEL_NAMES: Final = frozenset(
    ("label", "labels", "class", "classes", "category", "categories", "target", "targets")
)
SPLIT_NAMES: Final = frozenset(("split", "splits", "subset", "partition"))
LIST_NAMES: Final = frozenset(("train", "test", "val", "valid", "validation", "dev", "query"))
CAPTION_NAMES: Final = frozenset(("caption", "captions"))
SUFFIXES: Final = frozenset((".txt", ".csv", ".tsv", ".json", ".jsonl", ".parquet", ".npy", ".mat"))


def list_unread(
    folder: Path, kind: ItemKind, columns: Collection[str], *, has_labels: bool, has_splits: bool
) -> list[str]:
    """List notes of what looks like labels or splits and isn't read as such.

    Args:
        folder: of the collection.
        kind: what the items are.
        columns: of the captions file.
        has_labels: whether labels were read.
        has_splits: whether splits were read.
    """
    notes = []
    for column in () if has_labels else sorted(names_among(columns, LABEL_NAMES)):
        notes.append(
            f"column {quote_text(column)} of the captions file is metadata, so there are no "
            f"labels: for labels, write labels.csv with the column {kind.column} and a column of "
            "0 and 1 for each concept"
        )
    for column in () if has_splits else sorted(names_among(columns, SPLIT_NAMES)):
        notes.append(
            f"column {quote_text(column)} of the captions file is metadata, and the split is made "
            f"by chance: for a split of your own, write splits/NAME.txt with a {kind.noun} a line"
        )
    for path in sorted(folder.iterdir()):
        notes += note_of_file(path, has_labels=has_labels, has_splits=has_splits)
    return notes


def names_among(names: Collection[str], known: frozenset[str]) -> list[str]:
    """List the names that are known, however they are written."""
    return [name for name in names if name.strip().casefold() in known]


def note_of_file(path: Path, *, has_labels: bool, has_splits: bool) -> Iterator[str]:
    """Yield the note of a file that looks like what a folder may have under another name."""
    stem = path.stem.casefold()
    if path.suffix.lower() not in SUFFIXES or path.is_dir():
        return
    if stem in LABEL_NAMES and not has_labels:
        yield f"{path} isn't read: labels are in labels.tsv, .csv, .jsonl or .parquet"
    elif stem in SPLIT_NAMES | LIST_NAMES and not has_splits:
        yield f"{path} isn't read, and the split is made by chance: lists are in splits/NAME.txt"
    elif stem in CAPTION_NAMES and path.suffix.lower() in {".json", ".txt"}:
        yield f"{path} isn't read: captions are in captions.tsv, .csv, .jsonl or .parquet"
