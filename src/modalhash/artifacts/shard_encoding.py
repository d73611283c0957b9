"""The codes of one shard, as a model makes them: read, encode, write one code file.

It keeps no features: rows are read a chunk at a time, pictures of the next chunk are decoded while
this one is encoded, and only codes and ids stay. Batches are counted from the shard's first row, so
that a shard's codes are the same wherever and whenever they are made.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from io import BytesIO
from itertools import islice
from os import cpu_count
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.artifacts.model import HashModel
from modalhash.codes import Codes, code_width
from modalhash.data import Modality
from modalhash.data.pictures import read_picture
from modalhash.data.shard_opening import open_shard
from modalhash.data.shards import (
    BadRow,
    Shard,
    ShardContent,
    ShardReader,
    ShardRow,
    SideWidths,
)
from modalhash.encoders import TowerOutput
from modalhash.encoders.encoding_threads import encoding_pool
from modalhash.encoders.frames import FrameTower
from modalhash.encoders.memory import is_out_of_memory
from modalhash.encoders.precomputed import PrecomputedImageTower, PrecomputedTextTower
from modalhash.errors import CollectionError, Defect, FeatureError
from modalhash.index.code_files import CodeFile, CodeHead

__all__ = ["ShardEncoder", "find_side_widths"]

CPU_BATCH: Final = {"image": 8, "text": 256}
"""As many pictures as fit into a core's caches."""
ACCELERATOR_BATCH: Final = 256
CHUNK_BATCHES: Final = 16
FEATURE_ROWS: Final = 8192
SIDES: Final[tuple[Modality, ...]] = ("image", "text")


def find_side_widths(model: HashModel) -> SideWidths:
    """Find which features a model reads of shards, by side, and their widths.

    Raises:
        FeatureError: if it reads what shards don't have: videos, or tokens that came as arrays.
    """
    widths: dict[Modality, int | None] = {}
    for side in SIDES:
        tower = model.encoder.image if side == "image" else model.encoder.text
        is_array = isinstance(tower, PrecomputedImageTower | PrecomputedTextTower)
        if isinstance(tower, FrameTower) or (is_array and model.tower(side).reads_tokens):
            content = (
                "frames of videos" if side == "image" else "content tokens that came as arrays"
            )
            raise FeatureError(
                f"the model reads {content}, which shards don't have: encode them as a collection"
            )
        widths[side] = tower.width if is_array else None
    return widths


@dataclass
class ShardCodes:
    """What is known of a shard so far.

    Attributes:
        ids: to the place of the row that has each.
        numbers: of these rows in the shard.
        codes: blocks of codes by modality.
        n_texts: of each row.
        bad: rows that were left out.
    """

    ids: dict[str | int, str] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    codes: dict[Modality, list[Codes]] = field(default_factory=dict)
    n_texts: list[int] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)


PreparedRow = tuple[ShardRow, tuple[Any, ...]]
"""A row, and what the image tower takes of its picture."""


class ShardEncoder:
    """Encodes shards with a model that is loaded once.

    Args:
        model: makes the codes.
        images: the folder that paths of pictures are relative to; by default each shard's.
        skip_bad: leave out rows with defects.
    """

    def __init__(
        self, model: HashModel, *, images: Path | None = None, skip_bad: bool = False
    ) -> None:
        self.model, self.images, self.skip_bad = model, images, skip_bad
        self.side_widths = find_side_widths(model)

    def encode(self, shard: Shard) -> CodeFile:
        """Encode a shard.

        Raises:
            CollectionError: if the shard can't be read, changes meanwhile, or, unless bad rows are
                skipped, rows have defects: all of them.
            FeatureError: if the model reads what shards don't have.
        """
        content = shard.content()
        reader = open_shard(shard, self.side_widths, images=self.images)
        coded = ShardCodes(codes={side: [] for side in reader.sides})
        with ExitStack() as stack:
            decoding = stack.enter_context(
                ThreadPoolExecutor(min(4, cpu_count() or 1), "modalhash-prepare")
            )
            lanes = stack.enter_context(encoding_pool(self.model.encoder.image.device))
            for chunk in self.prepare_chunks(reader, coded.bad, decoding):
                self.add(chunk, coded, lanes)
        if shard.stamp() != (content.n_bytes, content.mtime_ns, content.ctime_ns):
            problem = "was changed while it was read: leave it as it is until it is encoded"
            raise CollectionError([Defect("unreadable-file", shard.name, problem)])
        bad = sorted(coded.bad, key=lambda row: row.number)
        if bad and not self.skip_bad:
            raise CollectionError([row.defect for row in bad])
        return self.build_code_file(content, coded, [str(row.defect) for row in bad])

    def build_code_file(
        self, content: ShardContent, coded: ShardCodes, problems: Sequence[str]
    ) -> CodeFile:
        """Build the content of the code file."""
        head = CodeHead(self.model.n_bits, self.model.fingerprint, asdict(content), 0, 0)
        nothing = np.zeros((0, code_width(self.model.n_bits)), np.uint8)
        codes = {side: np.concatenate([nothing, *blocks]) for side, blocks in coded.codes.items()}
        ids: Any = list(coded.ids)
        ends = np.cumsum(coded.n_texts, dtype=np.int64) if "text" in codes else None
        head = head.leave_out_rows(problems)
        return CodeFile.of(
            head,
            ids,
            np.array(coded.numbers, np.int64),
            image_codes=codes.get("image"),
            text_codes=codes.get("text"),
            text_ends=ends,
        )

    def choose_chunk_rows(self) -> int:
        """Choose how many rows are decoded together."""
        if self.side_widths["image"] is not None:
            return FEATURE_ROWS
        return CHUNK_BATCHES * self.choose_batch_size("image")

    def choose_batch_size(self, side: Modality) -> int:
        """Choose how many items are encoded together."""
        tower = self.model.encoder.image if side == "image" else self.model.encoder.text
        return CPU_BATCH[side] if tower.device == "cpu" else ACCELERATOR_BATCH

    def prepare_chunks(
        self, reader: ShardReader, bad: list[BadRow], pool: ThreadPoolExecutor
    ) -> Iterator[list[PreparedRow]]:
        """Yield the rows that can be read, in chunks; the next one is decoded meanwhile."""
        rows = reader.rows()
        waiting: list[Future[PreparedRow | BadRow] | BadRow] = []
        while True:
            chunk = [
                row if isinstance(row, BadRow) else pool.submit(self.prepare, row)
                for row in islice(rows, self.choose_chunk_rows())
            ]
            good: list[PreparedRow] = []
            for future in waiting:
                result = future if isinstance(future, BadRow) else future.result()
                if isinstance(result, BadRow):
                    bad.append(result)
                else:
                    good.append(result)
            if waiting:
                yield good
            if not chunk:
                return
            waiting = chunk

    def prepare(self, row: ShardRow) -> PreparedRow | BadRow:
        """Decode the picture of a row for the image tower, or say what is wrong with it."""
        if not row.images or self.side_widths["image"] is not None:
            return row, row.images
        picture, tower = row.images[0], self.model.encoder.image
        try:
            if isinstance(picture, Path):
                opened = read_picture(picture, side=tower.picture_side)
            else:
                assert isinstance(picture, bytes)
                content = BytesIO(picture)
                opened = read_picture(Path(row.place), content=content, side=tower.picture_side)
        except CollectionError as error:
            defect = error.defects[0]
            name = f"{picture} " if isinstance(picture, Path) else "the picture "
            return describe_bad_row(row, defect.kind, f"{name}{defect.problem}")
        return row, (tower.prepare(opened),)

    def add(self, chunk: list[PreparedRow], coded: ShardCodes, lanes: ThreadPoolExecutor) -> None:
        """Encode the rows of a chunk and add those that are sound."""
        distinct: list[PreparedRow] = []
        for row, images in chunk:
            first = coded.ids.setdefault(row.id, row.place)
            if first == row.place:
                distinct.append((row, images))
                continue
            problem = f"the id {row.id!r} is already in {first}; give every row its own"
            coded.bad.append(describe_bad_row(row, "duplicate-id", problem))
        n_texts = np.array([len(row.texts) for row, _ in distinct], np.int64)
        inputs: dict[Modality, list[Any]] = {
            "image": [image for _, images in distinct for image in images],
            "text": [text for row, _ in distinct for text in row.texts],
        }
        codes: dict[Modality, Codes] = {}
        is_row_sound = np.ones(len(distinct), np.bool_)
        for side in coded.codes:
            codes[side], is_sound = self.encode_inputs(inputs[side], side, lanes)
            owners = np.arange(len(distinct)).repeat(n_texts if side == "text" else 1)
            is_row_sound[owners[~is_sound]] = False
        for place in np.flatnonzero(~is_row_sound).tolist():
            row = distinct[place][0]
            del coded.ids[row.id]
            problem = "has features that aren't finite, or too large for the model's precision"
            coded.bad.append(describe_bad_row(row, "bad-features", problem))
        for side, side_codes in codes.items():
            rows = is_row_sound.repeat(n_texts) if side == "text" else is_row_sound
            coded.codes[side].append(side_codes[rows])
        coded.n_texts += n_texts[is_row_sound].tolist()
        numbers = np.array([row.number for row, _ in distinct], np.int64)
        coded.numbers += numbers[is_row_sound].tolist()

    def encode_inputs(
        self, inputs: Sequence[Any], side: Modality, lanes: ThreadPoolExecutor
    ) -> tuple[Codes, NDArray[np.bool_]]:
        """Compute the codes of some inputs, and tell which have usable features."""
        if self.side_widths[side] is not None:
            size, encode = FEATURE_ROWS, self.convert_features
        else:
            tower = self.model.encoder.image if side == "image" else self.model.encoder.text
            with_tokens = self.model.tower(side).reads_tokens

            def encode(batch: Sequence[Any]) -> TowerOutput:
                return tower.encode(batch, with_tokens=with_tokens)

            size = self.choose_batch_size(side)

        def encode_from(start: int) -> list[tuple[Codes, NDArray[np.bool_]]]:
            return self.encode_batch(inputs[start : start + size], side, encode)

        blocks = [
            part for parts in lanes.map(encode_from, range(0, len(inputs), size)) for part in parts
        ]
        nothing = np.zeros((0, code_width(self.model.n_bits)), np.uint8)
        return (
            np.concatenate([nothing, *(codes for codes, _ in blocks)]),
            np.concatenate([np.zeros(0, np.bool_), *(is_sound for _, is_sound in blocks)]),
        )

    @staticmethod
    def convert_features(batch: Sequence[Any]) -> TowerOutput:
        """Convert features that the shard brings to a tower's output."""
        return TowerOutput(np.stack(batch).astype(np.float32))

    def encode_batch(
        self, batch: Sequence[Any], side: Modality, encode: Callable[[Sequence[Any]], TowerOutput]
    ) -> list[tuple[Codes, NDArray[np.bool_]]]:
        """Encode a batch; where memory runs out, in halves."""
        try:
            output = encode(batch)
        except Exception as error:
            if len(batch) == 1 or not is_out_of_memory(error):
                raise
            half = (len(batch) + 1) // 2
            return [
                *self.encode_batch(batch[:half], side, encode),
                *self.encode_batch(batch[half:], side, encode),
            ]
        pooled, tokens = self.model.round_features(output.pooled, side), output.tokens
        is_sound: NDArray[np.bool_] = np.asarray(np.isfinite(pooled).all(axis=1))
        if tokens is not None:
            tokens = self.model.round_features(tokens, side)
            is_sound &= np.isfinite(tokens).all(axis=(1, 2))
            tokens[~is_sound] = 0
        pooled[~is_sound] = 0
        codes = self.model.encode_features(
            pooled, side, tokens=tokens, token_mask=output.token_mask
        )
        return [(codes, is_sound)]


def describe_bad_row(row: ShardRow, kind: str, problem: str) -> BadRow:
    """Describe what is wrong with a row that was read."""
    return BadRow(row.number, Defect(kind, row.place, problem, (str(row.id),)))
