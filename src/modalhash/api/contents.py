"""What a collection puts into an index: codes, and what is stored beside them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from modalhash.api.opening import cache_folder
from modalhash.artifacts import CollectionCodes, HashModel
from modalhash.data import Collection, Frames, Modality
from modalhash.data.collection import Moments, Positions
from modalhash.data.file_metadata import read_file_metadata
from modalhash.data.moment_collections import VIDEO_COLUMNS
from modalhash.data.pictures import PICTURE_SUFFIXES
from modalhash.encoders import TowerOutput
from modalhash.encoders.precomputed import PrecomputedTextTower
from modalhash.errors import InputError
from modalhash.progress import Progress
from modalhash.search import Side, SideContent
from modalhash.search.kept_features import (
    KEPT_NAMES,
    KeepFeatures,
    write_features,
    write_fine_codes,
)
from modalhash.search.pictures import PICTURES, name_folder, new_picture_name

__all__ = ["collect_contents", "number_file", "unused_name"]

FileMetadata = Mapping[int, Mapping[str, Any]]
"""Item to what its picture's file says of it."""
NO_TEXT = -1
"""The row of the text of an item that has none."""


def number_file(_: Collection, item: int) -> str:
    """Name the file of a picture by its place in the collection."""
    return f"{item:07d}.png"


def unused_name(collection: Collection, item: int) -> str:
    """Choose a name for the file of a picture that no earlier picture of the item has."""
    return new_picture_name(collection.item_ids[item])


def collect_contents(
    model: HashModel,
    collection: Collection,
    split: str,
    *,
    names: Callable[[Collection, int], str],
    keep: KeepFeatures,
    cache: Path | str | None,
    progress: Progress,
    file_metadata: bool = True,
    with_texts: bool = True,
) -> tuple[dict[Side, SideContent], Iterator[tuple[str, Image.Image]]]:
    """Collect what a collection's split puts into both sides of an index, and drawn pictures.

    With `file_metadata`, items also have the fields that their pictures' files state, except where
    the collection has a field of that name; of an item without texts, the caption and title in its
    file become texts, if `with_texts`.

    Raises:
        InputError: if the split is empty.
    """
    items = collection.split(split)
    if not len(items):
        raise InputError(f"split {split!r} of {collection.name} has no items to index")
    codes = CollectionCodes(model, collection, cache_folder=cache_folder(cache), progress=progress)
    texts = codes.texts_of(items)
    files, drawn = locate_pictures(collection, items, names)
    file_fields = read_metadata(collection, items) if file_metadata else {}
    captions, owner = collection.captions, collection.caption_items
    starts = collection.caption_starts.tolist()

    def entry(item: int, row: int) -> dict[str, Any]:
        caption = captions[row] if captions and row >= 0 else None
        return make_entry(collection, item, caption, files[item], file_fields.get(item, {}))

    def first_text(item: int) -> int:
        return int(starts[item]) if starts[item] < starts[item + 1] else NO_TEXT

    images = SideContent(
        [collection.item_ids[item] for item in items],
        codes.image(items),
        [
            entry(int(item), first_text(int(item))) | stored
            for item, stored in zip(
                items, make_rerank_metadata(codes, items, "image", keep), strict=True
            )
        ],
    )
    content = SideContent(
        [collection.caption_ids[row] for row in texts],
        codes.text(texts),
        [
            entry(int(owner[row]), int(row)) | {"item": collection.item_ids[owner[row]]} | stored
            for row, stored in zip(
                texts, make_rerank_metadata(codes, texts, "text", keep), strict=True
            )
        ],
    )
    if with_texts:
        texts_of_files = [
            texts_of_file(file_fields.get(item, {})) if first_text(item) == NO_TEXT else []
            for item in items.tolist()
        ]
        content = join_contents(content, collect_file_texts(model, images, texts_of_files, keep))
    return {Side.IMAGES: images, Side.TEXTS: content}, drawn


def read_metadata(collection: Collection, items: Positions) -> FileMetadata:
    """Read what the picture files of some items say; videos and drawn pictures say nothing."""
    pictures = collection.pictures
    if pictures is None or (isinstance(pictures, Frames) and not isinstance(pictures, Moments)):
        return {}
    paths = ((item, pictures.path(item)) for item in items.tolist())
    rows = (
        (item, read_file_metadata(path))
        for item, path in paths
        if path is not None and path.suffix.lower() in PICTURE_SUFFIXES
    )
    return {item: fields for item, fields in rows if fields}


def make_entry(
    collection: Collection,
    item: int,
    caption: str | None,
    image: str | None,
    file_fields: Mapping[str, Any],
) -> dict[str, Any]:
    """Make the metadata of an item; what the collection states goes before what its file states."""
    fields = {name: values[item] for name, values in collection.metadata.items()}
    if isinstance(collection.pictures, Moments):
        # Of a moment little is kept; its file is its video's.
        fields = {
            name: value
            for name, value in fields.items()
            if value is not None or name not in VIDEO_COLUMNS
        }
        if collection.pictures.span(item) is not None:
            folder = name_folder(str(fields["video"]), image)
            return folder | fields | ({} if caption is None else {"caption": caption})
    if caption is None:
        caption = next(iter(texts_of_file(file_fields)), None)
    stated = {name: value for name, value in fields.items() if value is not None}
    return {
        **name_folder(collection.item_ids[item], image),
        **name_labels(collection, item),
        **fields,
        **file_fields,
        **stated,
        "caption": caption,
        "image": image,
    }


def name_labels(collection: Collection, item: int) -> dict[str, list[str]]:
    """Name the labels of an item, as the entry `labels`; nothing of one without labels."""
    if collection.labels is None:
        return {}
    names = [collection.label_names[place] for place in collection.labels[item].nonzero()[0]]
    return {"labels": names} if names else {}


def texts_of_file(file_fields: Mapping[str, Any]) -> list[str]:
    """List the texts that a picture's file states: its caption and its title, each once.

    Example:
        >>> texts_of_file({"title": "Snow", "caption": "A dog in the snow", "rating": 4})
        ['A dog in the snow', 'Snow']
    """
    texts = [file_fields.get(name) for name in ("caption", "title")]
    return list(dict.fromkeys(text for text in texts if text))


def join_contents(first: SideContent, second: SideContent) -> SideContent:
    """Join the items of two contents of one side."""
    if not second.ids:
        return first
    return SideContent(
        [*first.ids, *second.ids],
        np.concatenate([first.codes, second.codes]),
        [*first.metadata, *second.metadata],
    )


def collect_file_texts(
    model: HashModel, images: SideContent, texts: Sequence[Sequence[str]], keep: KeepFeatures
) -> SideContent:
    """Encode the texts that pictures' files state.

    Args:
        model: encodes texts, unless it was trained on arrays; then there are none.
        images: the items whose texts they are.
        texts: of each item; may be empty.
        keep: what else texts keep, to rerank by.
    """
    ids: list[str] = []
    outputs: list[TowerOutput] = []
    rows: list[dict[str, Any]] = []
    if any(texts) and isinstance(model.encoder.text, PrecomputedTextTower):
        texts = [()] * len(texts)
    for identity, row, own in zip(images.ids, images.metadata, texts, strict=True):
        entry = {name: value for name, value in row.items() if name not in KEPT_NAMES}
        for place, text in enumerate(own):
            output = model.encoder.text.encode([text], with_tokens=model.hasher.reads_tokens)
            ids.append(f"{identity}#{place}")
            outputs.append(output)
            rows.append(
                {**entry, "caption": text, "item": identity}
                | keep_for_reranking(model, output, keep)
            )
    return SideContent(ids, model.encode_outputs(outputs, "text"), rows)


def keep_for_reranking(model: HashModel, output: TowerOutput, keep: KeepFeatures) -> dict[str, str]:
    """Make what a text keeps beside its code, to rerank by; see `make_rerank_metadata`."""
    stored: dict[str, str] = {}
    if model.has_fine_codes:
        assert output.tokens is not None
        assert output.token_mask is not None
        fine = model.fine_codes(
            output.pooled, "text", tokens=output.tokens, token_mask=output.token_mask
        )
        stored |= write_fine_codes(fine)[0]
    if keep is KeepFeatures.INT8:
        stored |= write_features(model.round_features(output.pooled, "text"))[0]
    return stored


def make_rerank_metadata(
    codes: CollectionCodes, rows: Positions, modality: Modality, keep: KeepFeatures
) -> list[dict[str, str]]:
    """Make the metadata that rows of features keep beside their hash codes, to rerank by."""
    stored: list[dict[str, str]] = [{} for _ in rows]
    added = []
    if codes.model.has_fine_codes:
        added.append(write_fine_codes(codes.fine_codes(rows, modality)))
    if keep is KeepFeatures.INT8:
        features = codes.model.round_features(codes.table(modality).pooled(rows), modality)
        added.append(write_features(features))
    for documents in added:
        for document, more in zip(stored, documents, strict=True):
            document.update(more)
    return stored


def locate_pictures(
    collection: Collection,
    items: Positions,
    names_of: Callable[[Collection, int], str],
) -> tuple[dict[int, str | None], Iterator[tuple[str, Image.Image]]]:
    """Locate the pictures of some items, and collect those that must be written there.

    Returns:
        Item to file: an absolute path, a path inside the index folder for a picture without a file
        of its own, or None without pictures; and name and picture of each of the second sort, to
        be opened one by one.
    """
    pictures = collection.pictures
    if pictures is None:
        return dict.fromkeys(items.tolist()), iter(())
    paths = {item: pictures.path(item) for item in items.tolist()}
    names = {item: names_of(collection, item) for item, path in paths.items() if path is None}
    files = {
        item: f"{PICTURES}/{names[item]}" if path is None else str(path.resolve())
        for item, path in paths.items()
    }
    return dict(files), ((name, pictures.open(item)) for item, name in names.items())
