"""Pictures and texts of a batch through towers that learn, decoded ahead by threads.

A side of the training pairs is live when its tower is tuned: its features are computed inside the
step, with gradient, from raw pictures or texts. What a picture looks like in an epoch (cut,
mirrored) depends on seed, epoch and pair alone, so a resumed run sees what an unbroken one does.
"""

import os
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from modalhash.data import Pictures
from modalhash.data.collection import open_for_side
from modalhash.data.frames import frames_of
from modalhash.encoders.base import TowerOutput
from modalhash.encoders.frames import FrameTower
from modalhash.encoders.network_towers import (
    NetworkImageTower,
    NetworkTextTower,
    TensorFeatures,
    live_frame_features,
)
from modalhash.layers import ModalityFeatures
from modalhash.methods.base import Precision, TrainingSettings

__all__ = ["Draw", "LiveFeatures", "LivePictures", "LiveSide", "LiveTexts", "PresentTable"]

Rows = NDArray[np.int64]
BATCHES_AHEAD = 2
ENCODED_AT_ONCE = 32
SQUAREST, OBLONGEST = 3 / 4, 4 / 3
"""Range of the aspect ratio of cut-outs, relative to the whole picture's."""


@dataclass(frozen=True)
class Draw:
    """Where the random numbers of a picture come from; with the pair's place they are its own.

    Attributes:
        seed: of the run.
        stream: number of the stream that pictures draw from.
        epoch: from 0.
    """

    seed: int
    stream: int
    epoch: int

    def generator(self, pair: int) -> np.random.Generator:
        """Seed a generator for one pair; it is the same in every call."""
        return np.random.default_rng((self.seed, self.stream, self.epoch, pair))


class LiveSide(Protocol):
    """One modality of the pairs, raw, and the tower that is tuned on it."""

    @property
    def tower(self) -> NetworkImageTower | NetworkTextTower:
        """The tower."""

    def prepare(
        self, row: int, pair: int, draw: Draw | None, settings: TrainingSettings | None
    ) -> Any:
        """Prepare the tower's input for a row; runs in a thread.

        Args:
            row: item or caption.
            pair: its place among the training pairs.
            draw: where random numbers come from; None leaves the row as it is.
            settings: what is drawn; needed with `draw`.
        """

    def live(self, prepared: Sequence[Any], *, with_tokens: bool) -> TensorFeatures:
        """Compute the features of prepared rows, with gradient where torch keeps one."""

    def encode(self, prepared: Sequence[Any], *, with_tokens: bool) -> TowerOutput:
        """Compute the features of prepared rows as the tower is now, without gradient."""

    def __len__(self) -> int:
        """Count the number of rows."""


@dataclass(frozen=True)
class LivePictures:
    """Pictures of a collection and the tower that is tuned on them.

    Attributes:
        tower: the tower.
        pictures: row = item position.
        n_items: how many there are.
        videos: how frames become a video, if the pictures are videos; its picture tower is `tower`.
    """

    tower: NetworkImageTower
    pictures: Pictures
    n_items: int
    videos: FrameTower | None = None

    def prepare(
        self, row: int, pair: int, draw: Draw | None, settings: TrainingSettings | None
    ) -> NDArray[Any]:
        """Prepare the tower's input for a picture, cut out and mirrored as drawn.

        All frames of a video are cut and mirrored alike.
        """
        # What is cut out of a picture may be small in it, so all its pixels are needed then.
        side = self.tower.picture_side if draw is None else None
        if self.videos is None:
            pictures = [open_for_side(self.pictures, row, side)]
        else:
            pictures = frames_of(self.pictures, row, self.videos.frames, side=side)
        if draw is not None and settings is not None:
            pictures = [
                augmented(
                    picture,
                    draw.generator(pair),
                    flip=settings.flip_pictures,
                    smallest_crop=settings.smallest_crop,
                )
                for picture in pictures
            ]
        if self.videos is None:
            return self.tower.prepare(pictures[0])
        return self.videos.prepare_frames(pictures)

    def live(self, prepared: Sequence[NDArray[Any]], *, with_tokens: bool) -> TensorFeatures:
        """Compute the features of prepared pictures; see `LiveSide.live`."""
        if self.videos is not None:
            return live_frame_features(self.videos, self.tower, prepared, with_tokens=with_tokens)
        return self.tower.live_features(prepared, with_tokens=with_tokens)

    def encode(self, prepared: Sequence[NDArray[Any]], *, with_tokens: bool) -> TowerOutput:
        """Compute the features of prepared pictures; see `LiveSide.encode`."""
        return (self.videos or self.tower).encode(prepared, with_tokens=with_tokens)

    def __len__(self) -> int:
        """Count the number of pictures."""
        return self.n_items


@dataclass(frozen=True)
class LiveTexts:
    """Texts of a collection and the tower that is tuned on them.

    Attributes:
        tower: the tower.
        captions: row = caption position.
    """

    tower: NetworkTextTower
    captions: Sequence[str]

    def prepare(
        self, row: int, pair: int, draw: Draw | None, settings: TrainingSettings | None
    ) -> str:
        """Read a text."""
        return self.captions[row]

    def live(self, prepared: Sequence[str], *, with_tokens: bool) -> TensorFeatures:
        """Compute the features of texts; see `LiveSide.live`."""
        return self.tower.live_features(prepared, with_tokens=with_tokens)

    def encode(self, prepared: Sequence[str], *, with_tokens: bool) -> TowerOutput:
        """Compute the features of texts; see `LiveSide.encode`."""
        return self.tower.encode(prepared, with_tokens=with_tokens)

    def __len__(self) -> int:
        """Count the number of texts."""
        return len(self.captions)


def augmented(
    picture: Image.Image, generator: np.random.Generator, *, flip: bool, smallest_crop: float
) -> Image.Image:
    """Cut out a random part of a picture, mirrored half of the times.

    Args:
        picture: any size.
        generator: draws; the same state gives the same picture.
        flip: whether to mirror at all.
        smallest_crop: smallest share of the area that is cut out, in (0, 1]; 1 cuts nothing.
    """
    if smallest_crop < 1:
        share = generator.uniform(smallest_crop, 1)
        aspect = np.exp(generator.uniform(np.log(SQUAREST), np.log(OBLONGEST)))
        width = max(1, round(picture.width * min(1.0, float(np.sqrt(share * aspect)))))
        height = max(1, round(picture.height * min(1.0, float(np.sqrt(share / aspect)))))
        left = int(generator.integers(0, picture.width - width + 1))
        top = int(generator.integers(0, picture.height - height + 1))
        picture = picture.crop((left, top, left + width, top + height))
    if flip and generator.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return picture


class LiveFeatures:
    """The features of the sides that learn, batch by batch.

    Args:
        image: the live pictures, or None if the image tower stays as it is.
        text: the live texts, or None.
        settings: what is frozen, drawn and computed in.
        device: where the towers are.
        with_tokens: whether batches carry tokens.

    Raises:
        SettingError: if a backbone has fewer blocks than are to be frozen.
    """

    def __init__(
        self,
        image: LiveSide | None,
        text: LiveSide | None,
        settings: TrainingSettings,
        device: torch.device,
        *,
        with_tokens: bool,
    ) -> None:
        named = {"image": image, "text": text}
        self.sides = {name: side for name, side in named.items() if side is not None}
        self.settings, self.device, self.with_tokens = settings, device, with_tokens
        for side in self.sides.values():
            side.tower.freeze_blocks(settings.freeze_blocks)

    def modules(self) -> nn.ModuleDict:
        """List the networks that learn, by modality."""
        return nn.ModuleDict({name: side.tower.network for name, side in self.sides.items()})

    def rate_scales(self) -> dict[str, float]:
        """Compute each network's factor on the learning rate, by modality."""
        return {
            name: self.settings.encoder_rate_scale * side.tower.tuning_rate
            for name, side in self.sides.items()
        }

    def read(
        self, requests: Sequence[tuple[Rows, Rows, Rows]], draw: Draw | None
    ) -> Generator[dict[str, ModalityFeatures], None, None]:
        """Yield the live features of batches, unscaled, by modality.

        Pictures of the batches to come are decoded while a batch is computed.

        Args:
            requests: of each batch its pairs' places, items and captions.
            draw: where random numbers come from; None leaves the pictures as they are.
        """
        pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1), "modalhash-decode")
        waiting: deque[dict[str, list[Future[Any]]]] = deque()
        coming = iter(requests)
        try:
            for _ in requests:
                while len(waiting) <= BATCHES_AHEAD:
                    request = next(coming, None)
                    if request is None:
                        break
                    waiting.append(self.submitted(pool, *request, draw=draw))
                prepared = waiting.popleft()
                yield {
                    name: self.features(self.sides[name], [future.result() for future in rows])
                    for name, rows in prepared.items()
                }
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def submitted(
        self, pool: ThreadPoolExecutor, chosen: Rows, items: Rows, captions: Rows, draw: Draw | None
    ) -> dict[str, list[Future[Any]]]:
        """Let threads prepare a batch."""
        rows = {"image": items, "text": captions}
        return {
            name: [
                pool.submit(side.prepare, int(row), int(pair), draw, self.settings)
                for row, pair in zip(rows[name], chosen, strict=True)
            ]
            for name, side in self.sides.items()
        }

    def features(self, side: LiveSide, prepared: Sequence[Any]) -> ModalityFeatures:
        """Compute the features of prepared rows, float32 whatever the network computed in."""
        kind = self.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=self.uses_bfloat16()):
            outputs = side.live(prepared, with_tokens=self.with_tokens)
        tokens = None if outputs.tokens is None else outputs.tokens.float()
        return ModalityFeatures(outputs.pooled.float(), tokens, outputs.token_mask)

    def uses_bfloat16(self) -> bool:
        """Tell whether the networks compute in bfloat16."""
        precision = self.settings.encoder_precision
        if precision is Precision.AUTO:
            return self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        return precision is Precision.BFLOAT16


class PresentTable:
    """The features of a live side as its tower is at the moment of reading; nothing is kept.

    Args:
        side: the live side.
    """

    def __init__(self, side: LiveSide) -> None:
        self.side = side

    @property
    def width(self) -> int:
        """Width d of pooled features."""
        return self.side.tower.width

    @property
    def dtype(self) -> str:
        """Name of the dtype that the numbers come in: "float32"."""
        return "float32"

    @property
    def token_shape(self) -> tuple[int, int] | None:
        """(t, w) of the first row's tokens; the others may have more. None without tokens."""
        width = self.side.tower.token_width
        if width is None:
            return None
        tokens, _ = self.tokens(np.zeros(1, np.int64))
        return tokens.shape[1], width

    def __len__(self) -> int:
        """Count the number of rows."""
        return len(self.side)

    def pooled(self, rows: Rows) -> NDArray[np.float32]:
        """Compute the pooled features of some rows, (k, d) float32, in the order of `rows`."""
        return np.concatenate(
            [output.pooled for output in self.encode_rows(rows, with_tokens=False)]
        )

    def tokens(self, rows: Rows) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Compute the tokens of some rows: (k, t, w) float32 and their mask (k, t) bool."""
        parts = list(self.encode_rows(rows, with_tokens=True))
        longest = max(
            output.token_mask.shape[1] for output in parts if output.token_mask is not None
        )
        tokens = np.zeros((len(rows), longest, self.side.tower.token_width or 0), np.float32)
        mask = np.zeros((len(rows), longest), np.bool_)
        start = 0
        for output in parts:
            assert output.tokens is not None
            assert output.token_mask is not None
            end, length = start + len(output.pooled), output.token_mask.shape[1]
            tokens[start:end, :length], mask[start:end, :length] = output.tokens, output.token_mask
            start = end
        return tokens, mask

    def encode_rows(self, rows: Rows, *, with_tokens: bool) -> Iterator[TowerOutput]:
        """Yield what the tower gives for the rows, some at a time."""
        for start in range(0, len(rows), ENCODED_AT_ONCE):
            part = rows[start : start + ENCODED_AT_ONCE]
            prepared = [self.side.prepare(int(row), 0, None, None) for row in part]
            yield self.side.encode(prepared, with_tokens=with_tokens)
