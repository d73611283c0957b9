"""Shards in tars, as webdataset and img2dataset write them: `key.jpg` beside `key.txt`.

Members with the same name up to the first point are a sample, and that name is its id: a picture
(`.jpg`, `.jpeg`, `.png`, `.webp`) and a text (`.txt`, or `caption` in `.json`). Where no sample of
a tar has a picture, or none a text, that side is left out; otherwise each needs both.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from modalhash.data.collection import Modality
from modalhash.data.pictures import PICTURE_SUFFIXES
from modalhash.data.shards import BadRow, Shard, ShardReader, ShardRow, WantedSides, unreadable
from modalhash.data.webdataset import Member, caption_of
from modalhash.errors import CollectionError, Defect

__all__ = ["TarShard"]

NOUNS: Final = {"image": "picture", "text": "text"}


@dataclass
class TarSample:
    """The members of a sample.

    Attributes:
        picture: the first picture.
        text: the `.txt`.
        document: the `.json`.
    """

    picture: Member | None = None
    text: Member | None = None
    document: Member | None = None

    def has(self, side: Modality) -> bool:
        """Return whether a member of a modality is there."""
        return (self.picture if side == "image" else self.text or self.document) is not None


class TarShard(ShardReader):
    """An opened tar; see `open_shard`. Its list of members is read at once, its pictures aren't."""

    def __init__(self, shard: Shard, wanted: WantedSides) -> None:
        self.shard, self.samples = shard, dict[str, TarSample]()
        arrays = [side for side, width in wanted.items() if width is not None]
        if arrays:
            problem = (
                f"is a tar, but the model was trained on {arrays[0]} features that came as arrays: "
                f"give Parquet with a column {arrays[0]}_features"
            )
            raise CollectionError([Defect("wrong-column", shard.name, problem)])
        try:
            with tarfile.open(shard.path, "r:") as tar:
                for entry in tar:
                    if entry.isfile():
                        self.add(Member(shard.path, entry.name, entry.offset_data, entry.size))
        except (OSError, tarfile.TarError) as error:
            raise unreadable(shard, "a tar", error) from error
        self.sides = tuple(
            side for side in wanted if any(one.has(side) for one in self.samples.values())
        )
        if not self.sides:
            problem = "holds no pictures (key.jpg, ...) and no texts (key.txt, key.json)"
            raise CollectionError([Defect("no-items", shard.name, problem)])

    def add(self, member: Member) -> None:
        """Put a member to its sample."""
        folder, _, name = member.name.removeprefix("./").rpartition("/")
        stem, _, suffix = name.partition(".")
        if not stem:
            return
        sample = self.samples.setdefault(f"{folder}/{stem}" if folder else stem, TarSample())
        if f".{suffix.lower()}" in PICTURE_SUFFIXES:
            sample.picture = member
        elif suffix == "txt":
            sample.text = member
        elif suffix == "json":
            sample.document = member

    def rows(self) -> Iterator[ShardRow | BadRow]:
        """Yield every sample; see `ShardReader.rows`."""
        for number, (key, sample) in enumerate(self.samples.items()):
            place = f"{self.shard.name}, sample {key}"
            missing = [side for side in self.sides if not sample.has(side)]
            if missing:
                noun = NOUNS[missing[0]]
                problem = f"has no {noun}, others of this tar have one; add it, or remove the rest"
                defect = Defect(f"sample-without-{noun}", place, problem, (key,))
                yield BadRow(number, defect)
                continue
            images: tuple[bytes, ...] = ()
            if "image" in self.sides and sample.picture is not None:
                images = (sample.picture.read(),)
            texts: tuple[str, ...] = ()
            if "text" in self.sides:
                defects: list[Defect] = []
                texts = (self.text_of(sample, defects),)
                if not texts[0]:
                    problem = defects[0].problem if defects else "the text is empty; write one"
                    yield BadRow(number, Defect("empty-text", place, problem, (key,)))
                    continue
            yield ShardRow(number, place, key, images, texts)

    def text_of(self, sample: TarSample, defects: list[Defect]) -> str:
        """Return the text of a sample in one line, as collections of tars have it."""
        text = "" if sample.text is None else sample.text.read().decode("utf-8", "replace")
        if not text and sample.document is not None:
            text = caption_of(sample.document, defects)
        return " ".join(text.split())
