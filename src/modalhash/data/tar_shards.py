"""Shards in tars; `data/tars.py` says what a sample is, and its key is the row's id.

Where no sample of a tar has a picture, or none a text, that side is left out; otherwise each sample
needs both.
"""

from collections.abc import Iterator
from typing import Final

from modalhash.data.shards import BadRow, Shard, ShardReader, ShardRow, SideWidths, unreadable
from modalhash.data.tars import TAR_ERRORS, TarSample, read_tar_samples
from modalhash.errors import CollectionError, Defect

__all__ = ["TarShard"]

NOUNS: Final = {"image": "picture", "text": "text"}


class TarShard(ShardReader):
    """An opened tar; see `open_shard`. Its list of members is read at once, its pictures aren't."""

    def __init__(self, shard: Shard, side_widths: SideWidths) -> None:
        self.shard = shard
        arrays = [side for side, width in side_widths.items() if width is not None]
        if arrays:
            problem = (
                f"is a tar, but the model was trained on {arrays[0]} features that came as arrays: "
                f"give Parquet with a column {arrays[0]}_features"
            )
            raise CollectionError([Defect("wrong-column", shard.name, problem)])
        try:
            self.samples = read_tar_samples(shard.path)
        except TAR_ERRORS as error:
            raise unreadable(shard, "a tar", error) from error
        self.sides = tuple(
            side
            for side in side_widths
            if any(sample.has(side) for sample in self.samples.values())
        )
        if not self.sides:
            problem = "holds no pictures (key.jpg, ...) and no texts (key.txt, key.json)"
            raise CollectionError([Defect("no-items", shard.name, problem)])

    def rows(self) -> Iterator[ShardRow | BadRow]:
        """Yield every sample; see `ShardReader.rows`."""
        for number, sample in enumerate(self.samples.values()):
            yield self.read_row(number, sample)

    def read_row(self, number: int, sample: TarSample) -> ShardRow | BadRow:
        """Read a sample, or say what is wrong with it."""
        place = f"{self.shard.name}, sample {sample.key}"

        def bad(kind: str, problem: str) -> BadRow:
            return BadRow(number, Defect(kind, place, problem, (sample.key,)))

        if sample.repeated:
            problem = f"comes twice: there is a second {sample.repeated[0]!r}; rename one of them"
            return bad("duplicate-id", problem)
        missing = [side for side in self.sides if not sample.has(side)]
        if missing:
            noun = NOUNS[missing[0]]
            problem = f"has no {noun}, others of this tar have one; add it, or remove the rest"
            return bad(f"sample-without-{noun}", problem)
        images: tuple[bytes, ...] = ()
        if "image" in self.sides:
            images = (sample.pictures[0].read(),)
        texts: tuple[str, ...] = ()
        if "text" in self.sides:
            defects: list[Defect] = []
            texts = sample.read_captions(defects)
            if defects:
                return bad(defects[0].kind, f"{defects[0].where} {defects[0].problem}")
            if not texts:
                return bad("empty-text", "the text is empty; write one")
        return ShardRow(number, place, sample.key, images, texts)
