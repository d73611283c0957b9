"""Single items for a search index: pictures and texts that aren't a collection."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from modalhash.codes import Codes, code_width
from modalhash.encoders import TowerOutput
from modalhash.errors import InputError
from modalhash.index import Ids
from modalhash.modalities import Modality, Side
from modalhash.search.contents import SideContent
from modalhash.search.kept_features import write_features, write_fine_codes
from modalhash.search.parts import IndexParts
from modalhash.search.pictures import PICTURES, new_picture_name

__all__ = ["NewItem", "NewText", "contents_of_items"]


@dataclass(frozen=True)
class NewText:
    """A text to add.

    Attributes:
        id: of the text.
        text: what it says.
        code: (1, p) uint8, if it is made already.
    """

    id: str | int
    text: str
    code: Codes | None = None


@dataclass(frozen=True)
class NewItem:
    """An item to add: a picture, or its code, or texts.

    Attributes:
        id: of the item, and of its picture.
        picture: RGB; the index keeps a copy.
        code: (1, p) uint8 of the picture, if it is made already.
        texts: of the item.
        metadata: what else is known of it.
        picture_file: where its picture lies, if the index is to name the file instead of a copy.
        caption: of the picture; by default the first of the texts.
    """

    id: str | int
    picture: Image.Image | None = None
    code: Codes | None = None
    texts: Sequence[NewText] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    picture_file: Path | None = None
    caption: str | None = None

    @property
    def has_picture(self) -> bool:
        """Whether there is a picture, a file of one, or its code."""
        sources = (self.picture, self.code, self.picture_file)
        return any(source is not None for source in sources)


def contents_of_items(
    index: IndexParts, items: Sequence[NewItem]
) -> tuple[dict[Side, SideContent], list[tuple[str, Image.Image]]]:
    """Encode items, and return what goes into each side of an index, and pictures to keep.

    Args:
        index: for which they are; its model encodes what has no code.
        items: to add.

    Returns:
        What `SearchIndex.add` takes.

    Raises:
        InputError: if an item has neither a picture nor texts; if the index lacks a side that is
            needed; if a text is empty; or if a code is given where items keep more than codes.
        FeatureError: if the model can't encode a text or picture.
    """
    images, texts = Rows(index, Side.IMAGES), Rows(index, Side.TEXTS)
    drawn = []
    for item in items:
        if not item.has_picture and not item.texts:
            raise InputError(f"item {item.id!r} has neither a picture nor texts: give one of them")
        image = None if item.picture_file is None else str(item.picture_file.absolute())
        if item.picture is not None:
            name = new_picture_name(item.id)
            image = f"{PICTURES}/{name}"
            drawn.append((name, item.picture))
        shared = {**item.metadata, "image": image}
        caption = item.caption or (item.texts[0].text if item.texts else None)
        if item.has_picture:
            output = None
            picture = item.picture_file if item.picture is None else item.picture
            if item.code is None and picture is not None:
                output = index.model.image_output(picture)
            images.take(item.id, item.code, output, {**shared, "caption": caption})
        for text in item.texts:
            if not text.text.strip():
                raise InputError(f"a text of item {item.id!r} is empty: give at least one word")
            output = None if text.code is not None else index.model.text_output(text.text)
            document = {**shared, "caption": text.text, "item": item.id}
            texts.take(text.id, text.code, output, document)
    return {rows.side: rows.content() for rows in (images, texts) if rows.ids}, drawn


class Rows:
    """What goes into one side, row by row.

    Args:
        index: for which it is.
        side: of that index.
    """

    def __init__(self, index: IndexParts, side: Side) -> None:
        self.index, self.side = index, side
        self.modality: Modality = side.modality
        self.ids: list[Any] = []
        self._codes: list[Codes] = []
        self._documents: list[dict[str, Any]] = []

    def take(
        self,
        identity: str | int,
        code: Codes | None,
        output: TowerOutput | None,
        document: dict[str, Any],
    ) -> None:
        """Take a row, with its code or what the encoder gave for it."""
        self.index.side(self.side)
        model = self.index.model
        kept_fields: dict[str, Any] = {}
        if output is not None:
            code = model.encode_outputs([output], self.modality)
            if model.has_fine_codes:
                assert output.tokens is not None
                assert output.token_mask is not None
                fine = model.fine_codes(
                    output.pooled, self.modality, tokens=output.tokens, token_mask=output.token_mask
                )
                kept_fields |= write_fine_codes(fine)[0]
            if self.index.keeps_features:
                kept_fields |= write_features(model.round_features(output.pooled, self.modality))[0]
        elif model.has_fine_codes or self.index.keeps_features:
            raise InputError(
                f"{identity!r} comes as a code, but items of this index keep more, to rerank by: "
                f"give the {self.modality} itself"
            )
        assert code is not None
        self.ids.append(identity)
        self._codes.append(code)
        self._documents.append(document | kept_fields)

    def content(self) -> SideContent:
        """Put the rows together as the content of a side."""
        none = np.zeros((0, code_width(self.index.model.n_bits)), np.uint8)
        ids: Ids = self.ids
        return SideContent(ids, np.concatenate([none, *self._codes]), self._documents)
