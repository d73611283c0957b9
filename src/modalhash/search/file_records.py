"""What an index records of the file that an item was read from, so that a sync sees what changed.

The record lies in the item's metadata under `FILE`, so that it is written, replaced and deleted
together with the item's code: after a kill it is never newer than the code. Hits don't show it.
Moments of a video have no record of their own: that of the whole video stands for them.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from modalhash.data import Collection
from modalhash.data.collection import Moments
from modalhash.data.xmp import SidecarListing
from modalhash.errors import CollectionError
from modalhash.files import file_stamp
from modalhash.search.kept_features import FILE

__all__ = ["FileRecord", "FolderItems", "hash_record", "record_files"]


@dataclass(frozen=True)
class FileRecord:
    """What was known of an item when it was encoded.

    Attributes:
        stamp: of the picture's file: its size and times.
        digest: SHA-256 of the picture's file.
        content: SHA-256 of the item's texts and metadata.
    """

    stamp: str
    digest: str
    content: str

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Self | None:
        """Read the record of an item; None if the item has none, or one that can't be read."""
        parts = str(metadata.get(FILE, "")).split(" ", 2)
        return cls(parts[2], parts[0], parts[1]) if len(parts) == 3 else None

    def as_metadata(self) -> dict[str, str]:
        """Write the record as an entry of an item's metadata.

        Example:
            >>> FileRecord("12:5:5", "aa", "bb").as_metadata()
            {'_file': 'aa bb 12:5:5'}
        """
        return {FILE: f"{self.digest} {self.content} {self.stamp}"}


def hash_record(path: object, record: FileRecord | None) -> bytes:
    """Hash a picture's path with its stamp, texts and metadata; of no record the hash is empty."""
    if record is None:
        return b""
    text = f"{path}\n{record.stamp}\n{record.content}"
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


@dataclass(frozen=True)
class FolderItems:
    """The items of a folder, as a sync compares them with those of an index.

    Attributes:
        collection: what was read of the folder; it has pictures.
    """

    collection: Collection

    @cached_property
    def starts(self) -> list[int]:
        """First text of each item, and the number of texts at the end."""
        starts: list[int] = self.collection.caption_starts.tolist()
        return starts

    @cached_property
    def ids(self) -> frozenset[str]:
        """Ids of all items."""
        return frozenset(self.collection.item_ids)

    @cached_property
    def owners(self) -> tuple[int, ...]:
        """Of each item, the item whose record stands for it: of a moment its whole video."""
        pictures = self.collection.pictures
        if isinstance(pictures, Moments):
            return pictures.owners
        return tuple(range(self.collection.n_items))

    def is_moment(self, item: int) -> bool:
        """Tell whether the record of another item stands for an item."""
        return self.owners[item] != item

    @cached_property
    def members(self) -> dict[int, list[int]]:
        """Of each item that stands for others, all of them with itself."""
        members: dict[int, list[int]] = {}
        for item, owner in enumerate(self.owners):
            if owner != item:
                members.setdefault(owner, [owner]).append(item)
        return members

    @cached_property
    def sidecars(self) -> SidecarListing:
        """The XMP files beside pictures."""
        return SidecarListing()

    @cached_property
    def contents(self) -> dict[int, str]:
        """What `hash_content` computed of items that stand for others."""
        return {}

    def path(self, item: int) -> str | None:
        """Name the file of an item's picture; None if it isn't a file of its own."""
        path = None if self.collection.pictures is None else self.collection.pictures.path(item)
        return None if path is None else str(path)

    def hash(self, item: int) -> bytes:
        """Hash what `hash_record` hashes, of an item as it is now; empty if its file is gone."""
        assert self.collection.pictures is not None
        item = self.owners[item]
        try:
            stamp = self.collection.pictures.stamp(item)
        except (CollectionError, OSError):
            return b""
        return hash_record(self.path(item), FileRecord(stamp, "", self.hash_content(item)))

    def record(self, item: int) -> FileRecord:
        """Record an item's file; call it before the picture is encoded.

        A file that changes meanwhile then differs from its record, and is encoded again next time.

        Raises:
            CollectionError: if the file can't be read.
        """
        pictures, item = self.collection.pictures, self.owners[item]
        assert pictures is not None
        return FileRecord(pictures.stamp(item), pictures.digest(item), self.hash_content(item))

    def hash_content(self, item: int) -> str:
        """Compute the SHA-256 of an item's texts, with their ids, and of its metadata.

        Of a video those of its moments count too.
        """
        if item not in self.members:
            return self.hash_own_content(item)
        if item not in self.contents:
            joint = "".join(map(self.hash_own_content, self.members[item]))
            self.contents[item] = hashlib.sha256(joint.encode()).hexdigest()
        return self.contents[item]

    def hash_own_content(self, item: int) -> str:
        """Compute the SHA-256 of the texts and metadata of one item.

        The state of an XMP file beside its picture is part of it.
        """
        rows = slice(self.starts[item], self.starts[item + 1])
        texts = (self.collection.captions or ())[rows]
        metadata = {name: values[item] for name, values in self.collection.metadata.items()}
        parts: list[Any] = [self.collection.caption_ids[rows], texts, metadata]
        path = self.path(item)
        sidecar = None if path is None else self.sidecars.find(Path(path))
        if sidecar is not None:
            with suppress(OSError):  # it is gone again
                parts.append(file_stamp(sidecar))
        document = json.dumps(parts, default=str)
        return hashlib.sha256(document.encode()).hexdigest()


def record_files(collection: Collection, items: Iterable[int]) -> list[dict[str, str]]:
    """Record the files of some items as entries of metadata; see `FolderItems.record`.

    Returns:
        One mapping an item; empty ones where the pictures aren't files.

    Raises:
        CollectionError: if a file can't be read.
    """
    places, pictures = list(items), collection.pictures
    if pictures is None or not places or pictures.path(places[0]) is None:
        return [{} for _ in places]
    folder = FolderItems(collection)
    return [folder.record(place).as_metadata() for place in places]
