"""The codes, items and pictures of one side of an index, as files of a site."""

import gzip
import io
import json
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import quote

import numpy as np
from PIL import Image

from modalhash.data.pictures import read_picture
from modalhash.errors import CollectionError, InputError, MissingExtraError
from modalhash.files import write_bytes, write_with
from modalhash.modalities import Side
from modalhash.progress import Progress
from modalhash.search import SearchIndex, make_hit
from modalhash.search.moments import locate_videos
from modalhash.videos import parse_moment

__all__ = ["PictureFiles", "SideFiles", "SideWriter", "check_fields", "locate_source"]

BLOCK_ITEMS: Final = 4096
PICTURES: Final = "pictures"
FOLDER_PICTURES: Final = 1000
NO_ROW: Final = 2**32 - 1
"""Stands for the picture of a text that has none."""
QUALITY: Final = 80
COMPRESSION: Final = 6
HIDDEN: Final = ("caption", "image", "item")
"""Entries of metadata that go along by themselves, or never: paths of files are private."""
UNREADABLE: Final = (
    CollectionError, MissingExtraError, OSError, ValueError, SyntaxError,
    Image.DecompressionBombError,
)  # fmt: skip


@dataclass(frozen=True)
class SideFiles:
    """The files of one side.

    Attributes:
        n_items: how many.
        codes: path in the site of the codes, a row of bytes an item.
        items: path in the site of the items: lines of JSON, compressed by gzip.
        owners: path in the site of the row of each text's picture, 4 bytes a text, little-endian;
            None for pictures.
    """

    n_items: int
    codes: str
    items: str
    owners: str | None


@dataclass
class PictureFiles:
    """Writes small pictures into a site, each file once, and names links to large ones.

    Attributes:
        folder: of the site.
        size: of the longer side of small pictures; 0 writes none.
        links: stands before a picture's name in a link to it; None for no links.
        source: folder that was indexed, which names of links are relative to.
        names: file to the path of its small picture in the site; None of one that can't be read.
    """

    folder: Path
    size: int
    links: str | None
    source: str
    names: dict[str, str | None] = field(default_factory=dict)

    @property
    def n_missing(self) -> int:
        """Count the pictures that can't be read."""
        return sum(name is None for name in self.names.values())

    def describe(self, image: str | None) -> dict[str, str]:
        """Describe the picture of an item: `picture` is shown, `whole` is the large one."""
        if image is None:
            return {}
        link = self.link_to(image)
        small = self.small_picture(image) if self.size else None
        shown = small or link
        if shown is None:
            return {}
        return {"picture": shown, **({"whole": link} if small and link else {})}

    def link_to(self, image: str) -> str | None:
        """Write the link to a picture, or to a moment in its video."""
        if self.links is None:
            return None
        moment = parse_moment(image)
        path = Path(image if moment is None else moment.video)
        is_inside = bool(self.source) and path.is_relative_to(self.source)
        name = path.relative_to(self.source).as_posix() if is_inside else path.name
        end = "" if moment is None else image.removeprefix(moment.video)
        return self.links + quote(name) + end

    def small_picture(self, image: str) -> str | None:
        """Write the small picture of a file, if that wasn't done; None if it can't be read."""
        if image not in self.names:
            number = len(self.names)
            name = f"{PICTURES}/{number // FOLDER_PICTURES:03}/{number:06}.webp"
            try:
                picture = read_picture(Path(image), side=self.size)
                picture.thumbnail((self.size, self.size))
            except UNREADABLE:
                self.names[image] = None
                return None
            written = io.BytesIO()
            picture.save(written, "WEBP", quality=QUALITY)
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(written.getvalue())  # `write_site` flushes all of them at once
            self.names[image] = name
        return self.names[image]


@dataclass(frozen=True)
class SideWriter:
    """Writes one side of an index into a site.

    Attributes:
        index: of which it is.
        side: which one.
        pictures: writes small pictures.
        fields: names of metadata that go along.
        image_rows: the row of each picture by its id; filled in where pictures are written.
    """

    index: SearchIndex
    side: Side
    pictures: PictureFiles
    fields: Sequence[str]
    image_rows: dict[str | int, int]

    def write(self, progress: Progress) -> SideFiles:
        """Write the codes, and lines of items in the same order; pictures before texts."""
        folder, searched = self.pictures.folder / "data", self.index.sides[self.side]
        folder.mkdir(exist_ok=True)
        n_items, owners, is_texts = 0, array("I"), self.side is Side.TEXTS

        def write_codes(codes_file: IO[bytes]) -> None:
            def write_items(items_file: IO[bytes]) -> None:
                nonlocal n_items
                # No time stamp: the same index makes the same bytes.
                with gzip.GzipFile("", "wb", COMPRESSION, items_file, mtime=0) as lines:
                    for block in searched.blocks(BLOCK_ITEMS):
                        codes_file.write(block.codes.tobytes())
                        rows = zip(block.ids.tolist(), block.metadata, strict=True)
                        videos = locate_videos(self.index, block.metadata)
                        for row, (identity, metadata) in enumerate(rows, n_items):
                            lines.write(self.describe(identity, metadata, videos))
                            if is_texts:
                                owner = metadata.get("item", "")
                                owners.append(self.image_rows.get(owner, NO_ROW))
                            else:
                                self.image_rows[identity] = row
                        n_items += len(block)
                        progress("export", n_items, max(n_items, len(searched)))

            write_with(folder / f"{self.side}.items.bin", write_items)

        write_with(folder / f"{self.side}.codes.bin", write_codes)
        names = [f"data/{self.side}.{kind}.bin" for kind in ("codes", "items", "owners")]
        if is_texts:
            rows = np.array(owners, "<u4")
            write_bytes(self.pictures.folder / names[2], rows.tobytes())
        return SideFiles(n_items, names[0], names[1], names[2] if is_texts else None)

    def describe(
        self, identity: str | int, metadata: Mapping[str, Any], videos: Mapping[str, str]
    ) -> bytes:
        """Write what the page shows of an item as a line of JSON; a moment has a frame."""
        hit = make_hit(self.index, identity, 0, metadata, videos=videos)
        document: dict[str, Any] = {"id": hit.id}
        if hit.caption:
            document["caption"] = hit.caption
        if self.side is Side.TEXTS and metadata.get("item") is not None:
            document["item"] = metadata["item"]
        document |= self.pictures.describe(hit.image)
        chosen = {name: metadata[name] for name in self.fields if metadata.get(name) is not None}
        if chosen:
            document["metadata"] = chosen
        return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def check_fields(index: SearchIndex, fields: Sequence[str]) -> None:
    """Refuse names of metadata that no item has, and those that stay at home.

    Raises:
        InputError: naming the first of them.
    """
    names = [name for name in fields if not is_own(name)]
    for name in fields:
        if is_own(name):
            raise InputError(f"the field {name!r} isn't metadata that can be shown: leave it out")
    missing, known = set(names), set[str]()
    for metadata in iterate_metadata(index) if missing else ():
        known.update(name for name in metadata if not is_own(name))
        missing -= metadata.keys()
        if not missing:
            return
    if missing:
        name = next(name for name in names if name in missing)
        listed = ", ".join(sorted(known)[:12]) or "none"
        raise InputError(f"no item has the field {name!r}; there are: {listed}")


def is_own(name: str) -> bool:
    """Tell whether an entry of metadata is modalhash's own."""
    return name in HIDDEN or name.startswith("_")


def iterate_metadata(index: SearchIndex) -> Iterator[Mapping[str, Any]]:
    """Yield the metadata of all items."""
    for searched in index.sides.values():
        for block in searched.blocks(BLOCK_ITEMS):
            yield from block.metadata


def locate_source(index: SearchIndex) -> str:
    """Name the folder that an index was made of; "" if it states none."""
    return str(index.pictures or index.collection.get("source") or "").rstrip(os.sep)
