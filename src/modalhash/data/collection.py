"""The collection of image-text pairs that every other room works on."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modalhash.errors import InputError, ShapeError, UnknownNameError
from modalhash.modalities import Modality
from modalhash.notebook_html import (
    THUMBNAIL,
    PictureCard,
    join_parts,
    make_card,
    make_fact_table,
    make_gallery,
    write_count_list,
)

__all__ = [
    "Collection",
    "Frames",
    "Modality",
    "Moments",
    "Pictures",
    "Positions",
    "ScalablePictures",
    "TokenArrays",
    "Value",
    "open_for_side",
]


Positions = NDArray[np.int64]
"""Places in a collection's item order, counted from 0."""
Value = str | int | float | bool | None
"""One value of a metadata column."""


class Pictures(Protocol):
    """Where the pictures of a collection come from: files, a font, a generator."""

    def open(self, position: int) -> Image.Image:
        """Open the picture of item `position`, RGB, fully decoded.

        Raises:
            CollectionError: if it can't be read; the defect names the file.
        """

    def stamp(self, position: int) -> str:
        """Describe a picture by a text that is cheap to get and changes when the picture changes.

        For a file: its size and modification time; for a drawn picture: what it is drawn from.
        """

    def digest(self, position: int) -> str:
        """Compute a SHA-256 of the picture's content (the file's bytes, or what it is drawn from).

        Raises:
            CollectionError: if it can't be read; the defect names the file.
        """

    def path(self, position: int) -> Path | None:
        """Find the picture's file; None if the picture isn't a file."""


@runtime_checkable
class ScalablePictures(Protocol):
    """Pictures that can be decoded smaller than they are, where that is quicker."""

    def open_scaled(self, position: int, side: int) -> Image.Image:
        """Open the picture of item `position` for a use that needs `side` pixels a side.

        Its shorter side has at least twice as many, or it is as large as it is stored.

        Raises:
            CollectionError: if it can't be read; the defect names the file.
        """


def open_for_side(pictures: Pictures, position: int, side: int | None) -> Image.Image:
    """Open a picture for a use that needs so many pixels a side; None for all there are.

    Raises:
        CollectionError: if it can't be read; the defect names the file.
    """
    if side is not None and isinstance(pictures, ScalablePictures):
        return pictures.open_scaled(position, side)
    return pictures.open(position)


@runtime_checkable
class Frames(Pictures, Protocol):
    """Pictures of which each is the middle frame of a video."""

    def frames(self, position: int, most: int, *, side: int | None = None) -> list[Image.Image]:
        """Open up to `most` frames of a video, at equal distances, in their order.

        With `side` they may be decoded smaller; see `ScalablePictures.open_scaled`.

        Raises:
            CollectionError: if one can't be read; the defect names the file.
        """

    def frame_paths(self, position: int) -> list[Path]:
        """List the files of all frames of a video, in their order."""


@runtime_checkable
class Moments(Frames, Protocol):
    """Videos in files, and moments of them, beside pictures."""

    def select(self, positions: Positions) -> "Moments":
        """Select some items, in the order given."""

    def span(self, position: int) -> tuple[float, float] | None:
        """Look up where a moment begins and ends, in seconds; None for a whole file."""

    def pooled_frames(self, position: int, *, side: int | None = None) -> list[Image.Image]:
        """Open the frames whose mean an item is, where an encoder takes single pictures.

        With `side` they may be decoded smaller; see `ScalablePictures.open_scaled`.

        Raises:
            CollectionError: if one can't be read; the defect names the file.
        """

    @property
    def owners(self) -> tuple[int, ...]:
        """Of each item, the position of its whole video; its own for others."""


@dataclass(frozen=True)
class SelectedPictures:
    """Some pictures of others, in an order of its own.

    Attributes:
        pictures: all of them.
        positions: (k,) int64, the picture that each position here stands for.
    """

    pictures: Pictures
    positions: Positions

    def open(self, position: int) -> Image.Image:
        """Open a picture; see `Pictures.open`."""
        return self.pictures.open(int(self.positions[position]))

    def open_scaled(self, position: int, side: int) -> Image.Image:
        """Open a picture, smaller where that is quicker; see `ScalablePictures.open_scaled`."""
        return open_for_side(self.pictures, int(self.positions[position]), side)

    def stamp(self, position: int) -> str:
        """Describe a picture's state; see `Pictures.stamp`."""
        return self.pictures.stamp(int(self.positions[position]))

    def digest(self, position: int) -> str:
        """Compute a picture's digest; see `Pictures.digest`."""
        return self.pictures.digest(int(self.positions[position]))

    def path(self, position: int) -> Path | None:
        """Find a picture's file; see `Pictures.path`."""
        return self.pictures.path(int(self.positions[position]))


@dataclass(frozen=True)
class SelectedFrames:
    """Some videos of others, in an order of its own.

    Attributes:
        videos: all of them.
        positions: (k,) int64, the video that each position here stands for.
    """

    videos: Frames
    positions: Positions

    def open(self, position: int) -> Image.Image:
        """Open a middle frame; see `Pictures.open`."""
        return self.videos.open(int(self.positions[position]))

    def open_scaled(self, position: int, side: int) -> Image.Image:
        """Open a middle frame, smaller where that is quicker."""
        return open_for_side(self.videos, int(self.positions[position]), side)

    def frames(self, position: int, most: int, *, side: int | None = None) -> list[Image.Image]:
        """Open up to `most` frames of a video; see `Frames.frames`."""
        return self.videos.frames(int(self.positions[position]), most, side=side)

    def frame_paths(self, position: int) -> list[Path]:
        """List the files of all frames of a video, in their order."""
        return self.videos.frame_paths(int(self.positions[position]))

    def stamp(self, position: int) -> str:
        """Describe a video's state; see `Pictures.stamp`."""
        return self.videos.stamp(int(self.positions[position]))

    def digest(self, position: int) -> str:
        """Compute a video's digest; see `Pictures.digest`."""
        return self.videos.digest(int(self.positions[position]))

    def path(self, position: int) -> Path | None:
        """Find the file of a video's middle frame."""
        return self.videos.path(int(self.positions[position]))


@dataclass(frozen=True)
class TokenArrays:
    """Several vectors an item, one item's after the other's.

    Attributes:
        vectors: (t, w) floats, at least one an item.
        ends: (n,) int64, where each item's vectors end.
    """

    vectors: NDArray[np.floating[Any]]
    ends: Positions

    def __post_init__(self) -> None:
        """Check that both belong together."""
        counts = np.diff(self.ends, prepend=0)
        if self.vectors.ndim != 2 or not len(counts) or self.ends[-1] != len(self.vectors):
            raise ShapeError(
                f"vectors {self.vectors.shape} and ends {self.ends.shape} don't belong together"
            )
        if counts.min() < 1:
            raise ShapeError(f"item {int(counts.argmin())} has no vector, expected at least one")

    def of(self, position: int) -> NDArray[np.floating[Any]]:
        """Select the vectors of an item, (k, w)."""
        start = int(self.ends[position - 1]) if position else 0
        return self.vectors[start : int(self.ends[position])]

    def subset(self, positions: Positions) -> "TokenArrays":
        """Select the vectors of some items, in the order given."""
        own = [self.of(int(position)) for position in positions]
        return TokenArrays(np.concatenate(own), np.cumsum([len(vectors) for vectors in own]))


SHOWN_PICTURES: Final = 6
"""First pictures of a collection that a notebook shows."""


@dataclass(frozen=True)
class Collection:
    """Items with a picture and one or more texts each, their labels, metadata and splits.

    Or pictures without any text: then `caption_ids` and `captions` are empty, not None. Either the
    raw side (`pictures`, `captions`) or `features` may be missing, never both.

    Attributes:
        name: what messages and artifacts call it.
        item_ids: n distinct ids, in the order of every per-item array.
        caption_ids: t distinct ids of texts.
        caption_items: (t,) int64, the item of each text; every item has at least one unless none
            has, and the texts of one item stand together, items in order (the array is sorted).
        captions: t texts; None in a collection of features only.
        pictures: the n pictures; None in a collection of features only.
        labels: (n, c) uint8 of 0 and 1, or None.
        label_names: c names.
        metadata: column name to n values, one an item.
        splits: split name to distinct item positions.
        may_lack_texts: whether some items may have texts while others have none: moments of which
            only some have a subtitle.
        split_note: how the splits came to be ("made by modalhash: seed 0, 80/10/10").
        features: arrays that came with the collection, `image` (n, d) and `text` (t, d) float32;
            the encoder `precomputed` reads them. Empty for most.
        tokens: content tokens that came with such features, of n items; the features of a video's
            frames, say.
        source: how `load_collection` finds it again ("icons", a folder, "wiki:FILE").
    """

    name: str
    item_ids: tuple[str, ...]
    caption_ids: tuple[str, ...]
    caption_items: Positions
    captions: tuple[str, ...] | None = None
    pictures: Pictures | None = None
    labels: NDArray[np.uint8] | None = None
    label_names: tuple[str, ...] = ()
    metadata: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    splits: Mapping[str, Positions] = field(default_factory=dict)
    features: Mapping[Modality, NDArray[np.float32]] = field(default_factory=dict)
    tokens: Mapping[Modality, TokenArrays] = field(default_factory=dict)
    source: str = ""
    split_note: str = ""
    may_lack_texts: bool = False

    def __post_init__(self) -> None:
        """Check that the parts fit together; loaders report their files' defects before this."""
        n_items, n_captions = self.n_items, self.n_captions
        if not n_items:
            raise InputError(f"collection {self.name!r} has no items")
        if len(set(self.item_ids)) != n_items or len(set(self.caption_ids)) != n_captions:
            raise InputError(f"collection {self.name!r} has duplicate ids")
        if self.caption_items.shape != (n_captions,):
            raise ShapeError(f"caption_items has shape {self.caption_items.shape}, expected (t,)")
        owners = np.unique(self.caption_items)
        is_complete = np.array_equal(owners, np.arange(n_items)) or self.captions == ()
        if self.may_lack_texts:
            is_complete = not len(owners) or 0 <= owners[0] <= owners[-1] < n_items
        if not is_complete or np.any(np.diff(self.caption_items) < 0):
            raise InputError("caption_items must be sorted and give every item a text")
        if self.captions is not None and len(self.captions) != n_captions:
            raise ShapeError(f"{len(self.captions)} captions for {n_captions} caption ids")
        if self.labels is not None and self.labels.shape != (n_items, len(self.label_names)):
            raise ShapeError(
                f"labels has shape {self.labels.shape}, expected {(n_items, len(self.label_names))}"
            )

    def __repr__(self) -> str:
        """Name the collection and count what it holds."""
        splits = "".join(f", {name} {len(items):,}" for name, items in self.splits.items())
        texts = f"{len(self.caption_ids):,} texts"
        return f"<Collection {self.name!r}: {len(self.item_ids):,} items, {texts}{splits}>"

    def _repr_html_(self) -> str:
        """Write what notebooks show: what the collection holds, and its first pictures."""
        facts = {
            "items": f"{self.n_items:,}",
            "texts": f"{self.n_captions:,}",
            "splits": write_count_list({name: len(own) for name, own in self.splits.items()}),
            "labels": self.labels is not None
            and f"{len(self.label_names):,}: {', '.join(self.label_names[:10])}",
            "metadata": ", ".join(self.metadata),
            "features": ", ".join(
                f"{side} {' x '.join(map(str, array.shape))}"
                for side, array in self.features.items()
            ),
        }
        return join_parts(
            f"Collection {self.name!r}",
            make_fact_table(facts),
            make_gallery([self._make_card(item) for item in range(self.n_items)[:SHOWN_PICTURES]])
            if self.pictures is not None
            else "",
        )

    def _make_card(self, item: int) -> PictureCard:
        """Make the card of an item: its picture, and its first text or else its id."""
        assert self.pictures is not None
        first, end = self.caption_starts[item : item + 2]
        texts = (self.captions or ())[first:end]
        opening = partial(open_for_side, self.pictures, item, THUMBNAIL)
        return make_card(opening, [(*texts, self.item_ids[item])[0]])

    @property
    def n_items(self) -> int:
        """Number of items (pictures)."""
        return len(self.item_ids)

    @property
    def n_captions(self) -> int:
        """Number of texts."""
        return len(self.caption_ids)

    @property
    def has_texts(self) -> bool:
        """Whether there are texts, or features of them; else there are pictures only."""
        return self.n_captions > 0

    @property
    def caption_starts(self) -> Positions:
        """(n + 1,) int64: texts of item i are `caption_starts[i]` up to `caption_starts[i + 1]`."""
        counts = np.bincount(self.caption_items, minlength=self.n_items)
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def split(self, name: str, *, advice: str = "") -> Positions:
        """List the item positions of a split; "all" is every item.

        Args:
            name: of the split.
            advice: what to do where there is none, for the message.

        Raises:
            UnknownNameError: if there is no such split, listing those there are.
        """
        if name == "all":
            return np.arange(self.n_items, dtype=np.int64)
        if name not in self.splits:
            known = [*self.splits, "all"]
            raise UnknownNameError(f"split of {self.name}", name, known, advice=advice)
        return self.splits[name]

    def subset(self, positions: Positions) -> "Collection":
        """Select some items as a collection; each split keeps the selected ones of its items.

        Args:
            positions: (k,) int64, at least one, distinct; their order becomes the item order.

        Raises:
            InputError: if there are none, or one comes twice.

        Example:
            >>> pairs = Collection("pairs", ("a", "b"), ("a#0", "b#0"), np.arange(2), ("x", "y"))
            >>> pairs.subset(np.array([1])).captions
            ('y',)
        """
        counts = np.bincount(self.caption_items, minlength=self.n_items)[positions]
        ends = np.cumsum(counts)
        offsets = self.caption_starts[positions] - (ends - counts)
        texts = np.arange(counts.sum()) + np.repeat(offsets, counts)
        moved = np.full(self.n_items, -1, np.int64)
        moved[positions] = np.arange(len(positions))
        splits = {name: moved[items] for name, items in self.splits.items()}
        rows: dict[Modality, Positions] = {"image": positions, "text": texts}
        return replace(
            self,
            item_ids=tuple(self.item_ids[item] for item in positions),
            caption_ids=tuple(self.caption_ids[text] for text in texts),
            caption_items=np.repeat(np.arange(len(positions), dtype=np.int64), counts),
            captions=self.captions and tuple(self.captions[text] for text in texts),
            pictures=self.pictures and selected(self.pictures, positions),
            labels=None if self.labels is None else self.labels[positions],
            metadata={
                column: tuple(values[item] for item in positions)
                for column, values in self.metadata.items()
            },
            splits={name: items[items >= 0] for name, items in splits.items()},
            features={side: array[rows[side]] for side, array in self.features.items()},
            tokens={side: tokens.subset(rows[side]) for side, tokens in self.tokens.items()},
        )

    def fingerprint(self) -> str:
        """Compute a SHA-256 of ids, texts and labels (not of pictures or splits)."""
        digest = hashlib.sha256()
        for part in (self.item_ids, self.caption_ids, self.captions or (), self.label_names):
            digest.update(f"{len(part)}\n".encode())
            for text in part:
                digest.update(text.encode() + b"\0")
        digest.update(np.ascontiguousarray(self.caption_items, np.int64).tobytes())
        if self.labels is not None:
            digest.update(np.ascontiguousarray(self.labels).tobytes())
        return digest.hexdigest()


def selected(pictures: Pictures, positions: Positions) -> Pictures:
    """Select some pictures of others, or some videos of others."""
    if isinstance(pictures, Moments):
        return pictures.select(positions)
    if isinstance(pictures, Frames):
        return SelectedFrames(pictures, positions)
    return SelectedPictures(pictures, positions)
