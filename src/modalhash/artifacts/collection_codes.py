"""The codes of a collection's pictures and texts, as a model makes them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from modalhash.artifacts.model import HashModel
from modalhash.codes import Codes, binarise, code_width, pack
from modalhash.data import Collection, Modality
from modalhash.data.collection import Positions
from modalhash.encoders import FeatureTable, extract_features
from modalhash.encoders.precomputed import PrecomputedImageTower, PrecomputedTextTower
from modalhash.errors import FeatureError, InputError
from modalhash.index.rerank import FineCodes
from modalhash.progress import Progress, silent

__all__ = ["CaptionUse", "CollectionCodes"]

CaptionUse = Literal["first", "all"]
ENCODE_ROWS = 8192
TOKEN_ROWS = 512
"""Rows encoded at once, without and with content tokens."""


class CollectionCodes:
    """Codes of a collection's rows; features are extracted, or read from the cache, at once.

    Args:
        model: makes the codes.
        collection: whose rows.
        captions: which texts of an item take part: its first, or all.
        cache_folder: where features are kept; by default the user's cache folder.
        progress: told of extraction.

    Raises:
        InputError: if `captions` is neither.
        FeatureError: if the collection doesn't have what the model's encoder reads, or brings
            features of another width.
        CollectionError: if a picture can't be read.
    """

    def __init__(
        self,
        model: HashModel,
        collection: Collection,
        *,
        captions: CaptionUse = "all",
        cache_folder: Path | None = None,
        progress: Progress = silent,
    ) -> None:
        if captions not in ("first", "all"):
            raise InputError(f"captions is {captions!r}, expected first or all")
        check_input(model, collection)
        self.model, self.collection, self.captions = model, collection, captions
        self.features = extract_features(
            collection,
            model.encoder,
            cache_folder=cache_folder,
            with_tokens=model.hasher.reads_tokens,
            progress=progress,
        )

    def image(self, items: Positions) -> Codes:
        """Compute the image codes of some items, (k, p) uint8."""
        return self.codes(self.features.image, items, "image")

    def text(self, texts: Positions) -> Codes:
        """Compute the text codes of some captions, (k, p) uint8."""
        return self.codes(self.features.text, texts, "text")

    def codes(self, table: FeatureTable, rows: Positions, modality: Modality) -> Codes:
        """Compute the codes of some rows of a table, block by block."""
        nothing = np.zeros((0, code_width(self.model.n_bits)), np.uint8)
        blocks = self.relaxed_blocks(table, rows, modality)
        return np.concatenate([nothing, *(pack(binarise(block)) for block in blocks)])

    def relaxed(self, rows: Positions, modality: Modality) -> NDArray[np.float32]:
        """Compute the relaxed codes of rows (items for images, captions for texts).

        Returns:
            (k, b) float32; their signs are the codes.
        """
        nothing = np.zeros((0, self.model.n_bits), np.float32)
        return np.concatenate([nothing, *self.relaxed_blocks(self.table(modality), rows, modality)])

    def relaxed_blocks(
        self, table: FeatureTable, rows: Positions, modality: Modality
    ) -> Iterator[NDArray[np.float32]]:
        """Yield the relaxed codes of some rows of a table, block by block."""
        with_tokens = self.model.tower(modality).reads_tokens
        for part in blocks_of(rows, TOKEN_ROWS if with_tokens else ENCODE_ROWS):
            tokens, mask = table.tokens(part) if with_tokens else (None, None)
            yield self.model.relaxed_features(
                table.pooled(part), modality, tokens=tokens, token_mask=mask
            )

    def fine_codes(self, rows: Positions, modality: Modality) -> FineCodes:
        """Compute the finer codes of rows (items for images, captions for texts), (k, s) uint8.

        Raises:
            FeatureError: if the model has none.
        """
        table, width = self.table(modality), self.model.fine_books.n_subspaces
        blocks = [np.zeros((0, width), np.uint8)]
        for part in blocks_of(rows, TOKEN_ROWS):
            tokens, mask = table.tokens(part)
            blocks.append(
                self.model.fine_codes(table.pooled(part), modality, tokens=tokens, token_mask=mask)
            )
        return np.concatenate(blocks)

    def fine_queries(self, rows: Positions, modality: Modality) -> NDArray[np.float32]:
        """Compute the queries for finer codes, (k, s, w) float32; see `fine_codes`."""
        table, codewords = self.table(modality), self.model.fine_books.codewords
        blocks = [np.zeros((0, codewords.shape[0], codewords.shape[2]), np.float32)]
        for part in blocks_of(rows, TOKEN_ROWS):
            tokens, mask = table.tokens(part)
            blocks.append(
                self.model.fine_queries(
                    table.pooled(part), modality, tokens=tokens, token_mask=mask
                )
            )
        return np.concatenate(blocks)

    def table(self, modality: Modality) -> FeatureTable:
        """Find the features of one modality."""
        return self.features.image if modality == "image" else self.features.text

    def texts_of(self, items: Positions) -> Positions:
        """List the rows of the texts of some items that take part, item by item."""
        starts = self.collection.caption_starts
        if self.captions == "first":
            return starts[items][starts[items] < starts[items + 1]]
        ranges = [np.arange(starts[item], starts[item + 1]) for item in items]
        return np.concatenate([np.zeros(0, np.int64), *ranges])


def blocks_of(rows: Positions, n_rows: int) -> Iterator[Positions]:
    """Yield the rows in blocks of up to `n_rows`."""
    for start in range(0, len(rows), n_rows):
        yield rows[start : start + n_rows]


def check_input(model: HashModel, collection: Collection) -> None:
    """Refuse a collection of raw input for a model of arrays, and the other way round.

    Raises:
        FeatureError: naming the modality, the model's encoder and the way out.
    """
    encoder = model.encoder
    sides = (
        ("pictures", isinstance(encoder.image, PrecomputedImageTower), collection.pictures),
        ("texts", isinstance(encoder.text, PrecomputedTextTower), collection.captions),
    )
    for (noun, reads_arrays, raw), modality in zip(sides, ("image", "text"), strict=True):
        if modality == "text" and not collection.has_texts:
            continue  # pictures without texts have no text codes
        if reads_arrays and modality not in collection.features:
            raise FeatureError(
                f"the model was trained on {modality} features that came as arrays, but collection "
                f"{collection.name!r} brings none: give features made the same way "
                "(features:PATH), or train a model with an encoder such as 'offline'"
            )
        if not reads_arrays and raw is None:
            raise FeatureError(
                f"the model reads {noun} with the encoder {encoder.name!r}, but collection "
                f"{collection.name!r} has features only: give a collection of {noun}, or train a "
                "model on such features with --encoder precomputed"
            )
