"""Pictures and texts as the files of a public data set list them, made into a collection."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.data.collection import Collection, Pictures, Value
from modalhash.data.picture_folders import PictureFolder
from modalhash.data.pictures import PICTURE_FORMATS, PictureFiles, is_safe_name
from modalhash.data.reading import Reading
from modalhash.data.splits import make_splits, unknown_members
from modalhash.data.stored_pictures import FilePicture, StoredPicture, StoredPictures
from modalhash.data.tables import typed_values
from modalhash.data.text_lines import ascii_if_broken, quote_text
from modalhash.errors import Defect

__all__ = ["PairList", "first_existing", "missing_file"]


@dataclass(frozen=True)
class Pair:
    """One picture with its texts.

    Attributes:
        item: its id.
        picture: the file's name below the list's folder; or the picture, if it is stored elsewhere.
        texts: its captions, in their order.
        where: the file and line that says so, for messages.
        labels: names of the concepts it shows.
        metadata: column to value.
    """

    item: str
    picture: str | StoredPicture
    texts: tuple[str, ...]
    where: str
    labels: frozenset[str] = frozenset()
    metadata: Mapping[str, Value] = field(default_factory=dict)


@dataclass
class PairList:
    """What a loader has read so far.

    Attributes:
        name: of the collection.
        source: how `load_collection` finds it again.
        pictures: the folder of the pictures.
        label_names: concepts in the order of the columns; empty if there are no labels at all.
        splits: split name to ids of its items, in order.
        defects: everything wrong so far.
        notes: what is no defect and yet worth knowing.
        formats: what Pillow may take the pictures for.
        has_texts: whether pictures have texts; otherwise they are a collection without.
    """

    name: str
    source: str
    pictures: Path
    label_names: tuple[str, ...] = ()
    splits: dict[str, list[str]] = field(default_factory=dict)
    defects: list[Defect] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    formats: tuple[str, ...] = PICTURE_FORMATS
    has_texts: bool = True
    _pairs: dict[str, Pair] = field(default_factory=dict)

    def add(
        self,
        picture: str | StoredPicture,
        texts: Iterable[Any],
        *,
        where: str,
        item: str | None = None,
        labels: Iterable[str] = (),
        metadata: Mapping[str, Value] | None = None,
    ) -> None:
        """Take note of a picture with its texts; what is wrong with it becomes a defect.

        Args:
            picture: its name below the folder of pictures; or the picture, if it is stored
                elsewhere.
            texts: its captions.
            where: the file and line that says so.
            item: the item's id; by default the picture's name. A stored picture needs one.
            labels: concepts it shows; names outside `label_names` are an error of the loader.
            metadata: column to value.
        """
        name = ascii_if_broken(str(picture) if item is None else item)
        if isinstance(picture, str) and not is_safe_name(picture):
            problem = f"the picture {quote_text(picture)} isn't a name inside {self.pictures}"
            self.defects.append(Defect("unsafe-name", where, problem, (name,)))
            return
        if name in self._pairs:
            problem = f"{quote_text(name)} is listed twice, first in {self._pairs[name].where}"
            self.defects.append(Defect("duplicate-id", where, problem, (name,)))
            return
        sound: list[str] = []
        for number, text in enumerate(texts):
            if not isinstance(text, str) or not text.strip():
                problem = f"caption {number} of {quote_text(name)} is {text!r}, expected a text"
                self.defects.append(Defect("empty-text", where, problem, (name,)))
            else:
                sound.append(ascii_if_broken(" ".join(text.split())))
        if (
            self.has_texts
            and not sound
            and not any(name in defect.items for defect in self.defects[-1:])
        ):
            problem = f"{quote_text(name)} has no caption, expected at least one"
            self.defects.append(Defect("picture-without-caption", where, problem, (name,)))
        self._pairs[name] = Pair(
            name, picture, tuple(sound), where, frozenset(labels), metadata or {}
        )

    def reading(self, *, split_seed: int) -> Reading:
        """Look for the pictures and make the collection of the items that have a text."""
        pairs = [pair for pair in self._pairs.values() if pair.texts or not self.has_texts]
        if not pairs:
            self.defects = self.defects or [
                Defect("no-items", str(self.pictures), "has no item that can be used")
            ]
            return Reading(None, tuple(self.defects), tuple(self.notes))
        if isinstance(pairs[0].picture, str) and not self.pictures.is_dir():
            problem = f"there is no such folder, and {len(pairs)} pictures should be in it"
            self.defects.append(Defect("no-image-folder", str(self.pictures), problem))
            return Reading(None, tuple(self.defects), tuple(self.notes))
        pairs = self._find_pictures(pairs)
        self._note_unknown_members()
        ids = tuple(pair.item for pair in pairs)
        positions = {name: place for place, name in enumerate(ids)}
        splits, note = self._splits(positions)
        if not splits:
            splits, note = make_splits(ids, seed=split_seed)
        columns = dict.fromkeys(column for pair in pairs for column in pair.metadata)
        collection = Collection(
            name=self.name,
            item_ids=ids,
            caption_ids=tuple(
                f"{pair.item}#{number}" for pair in pairs for number in range(len(pair.texts))
            ),
            caption_items=np.repeat(
                np.arange(len(pairs), dtype=np.int64), [len(pair.texts) for pair in pairs]
            ),
            captions=tuple(text for pair in pairs for text in pair.texts),
            pictures=self._make_pictures(pairs),
            labels=self._labels(pairs),
            label_names=self.label_names,
            metadata={
                column: typed_values(pair.metadata.get(column) for pair in pairs)
                for column in columns
            },
            splits=splits,
            source=self.source,
            split_note=note,
        )
        return Reading(collection, tuple(self.defects), tuple(self.notes))

    def _find_pictures(self, pairs: Sequence[Pair]) -> list[Pair]:
        """Find the pictures of the pairs, and name them as on disk."""
        folder = PictureFolder(self.pictures)
        named = []
        for pair in pairs:
            name = pair.picture
            if isinstance(name, str):
                name = folder.find(name) or self._note_missing(folder, pair, name)
            named.append(replace(pair, picture=name))
        return named

    def _note_missing(self, folder: PictureFolder, pair: Pair, name: str) -> str:
        similar = folder.similar(name)
        hint = f"there is {quote_text(similar)}: write that" if similar else "add it"
        problem = f"picture {quote_text(name)} isn't in {self.pictures}; {hint}"
        self.defects.append(Defect("missing-picture", pair.where, problem, (pair.item,)))
        return name

    def _make_pictures(self, pairs: Sequence[Pair]) -> Pictures:
        names = [pair.picture for pair in pairs if isinstance(pair.picture, str)]
        if len(names) == len(pairs):
            return PictureFiles(self.pictures, tuple(names), self.formats)
        stored = (
            FilePicture(self.pictures / pair.picture)
            if isinstance(pair.picture, str)
            else pair.picture
            for pair in pairs
        )
        return StoredPictures(tuple(stored), self.formats)

    def _labels(self, pairs: Sequence[Pair]) -> NDArray[np.uint8] | None:
        if not self.label_names:
            return None
        column = {name: place for place, name in enumerate(self.label_names)}
        labels = np.zeros((len(pairs), len(column)), np.uint8)
        for row, pair in enumerate(pairs):
            labels[row, [column[name] for name in pair.labels]] = 1
        return labels

    def _note_unknown_members(self) -> None:
        known = self._pairs.keys() | {item for defect in self.defects for item in defect.items}
        place = self.source.partition(":")[2]
        self.defects += unknown_members(self.splits, known, place)

    def _splits(self, positions: Mapping[str, int]) -> tuple[dict[str, NDArray[np.int64]], str]:
        splits = {
            name: np.array([positions[item] for item in items if item in positions], np.int64)
            for name, items in self.splits.items()
        }
        splits = {name: items for name, items in splits.items() if len(items)}
        return splits, f"official: {', '.join(splits)}" if splits else ""


def first_existing(folder: Path, names: Iterable[str]) -> Path:
    """Find the first of some files or folders that exists, else the first one's path."""
    paths = [folder / name for name in names]
    return next((path for path in paths if path.exists()), paths[0])


def missing_file(path: Path, content: str) -> Reading:
    """Describe, as a reading, a source that lacks a file without which nothing can be read.

    Args:
        path: the file.
        content: what it holds and where it comes from, to be added to "isn't there".
    """
    return Reading(None, (Defect("missing-file", str(path), f"isn't there: {content}"),))
