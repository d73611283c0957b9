"""The verbs that make codes and indexes of them."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from PIL import Image

from modalhash.api.calibrating import find_calibration
from modalhash.api.contents import collect_contents, number_file, unused_name
from modalhash.api.opening import (
    cache_folder,
    open_collection,
    open_evaluated_collection,
    open_model,
)
from modalhash.artifacts import CollectionCodes, HashModel, read_calibration
from modalhash.choices import read_choice
from modalhash.codes.manifest import CODES_FORMAT, CODES_MANIFEST
from modalhash.data import Collection
from modalhash.errors import InputError
from modalhash.files import write_array, write_json
from modalhash.index.code_files import is_code_folder
from modalhash.index.milvus_settings import MILVUS
from modalhash.numpy_numbers import takes_numpy_numbers
from modalhash.progress import Progress, automatic
from modalhash.search import (
    ItemCounts,
    SearchIndex,
    Side,
    SideContent,
    build_search_index,
    open_search_index,
)
from modalhash.search.file_records import record_files
from modalhash.search.folder import check_target
from modalhash.search.hub_indexes import find_index_folder
from modalhash.search.kept_features import KeepFeatures
from modalhash.search.shard_contents import shard_contents

__all__ = ["CodeFolder", "add_to_index", "build_index", "encode", "open_index"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CodeFolder:
    """What `encode` wrote: `image_codes.npy`, `text_codes.npy`, `labels.npy` and `codes.json`.

    Attributes:
        folder: where.
        n_bits: bits of a code.
        n_images: rows of the image codes.
        n_texts: rows of the text codes.
    """

    folder: Path
    n_bits: int
    n_images: int
    n_texts: int


def encode(
    model: HashModel | Path | str,
    collection: Collection | str | Path,
    output: Path | str,
    *,
    split: str = "all",
    skip_bad: bool = False,
    cache: Path | str | None = None,
    device: str = "auto",
    progress: Progress = automatic,
) -> CodeFolder:
    """Write the packed codes of a collection's pictures and texts.

    Args:
        model: or its run folder.
        collection: or what `load_collection` takes.
        output: the folder; files of these names in it are replaced. `codes.json` is removed first
            and written last, so that it never describes other arrays.
        split: which items.
        skip_bad: leave out items with defects; the log says how many.
        cache: where features are kept.
        device: "auto", "cpu", "cuda", ...
        progress: told of every batch.

    Raises:
        UnknownNameError: if there is no such split.
        FeatureError: if the collection doesn't have what the model reads.
        StorageError: if the file system refuses.
    """
    model = open_model(model, device)
    collection = open_collection(collection, skip_bad, progress)
    items = collection.split(split)
    codes = CollectionCodes(model, collection, cache_folder=cache_folder(cache), progress=progress)
    texts, folder = codes.texts_of(items), Path(output)
    arrays: dict[str, NDArray[Any]] = {
        "image_codes": codes.image(items),
        "text_codes": codes.text(texts),
    }
    if collection.labels is not None:
        arrays["labels"] = collection.labels[items]
    for name in (CODES_MANIFEST, "labels.npy"):
        (folder / name).unlink(missing_ok=True)
    for name, array in arrays.items():
        write_array(folder / f"{name}.npy", array)
    new_place = {int(item): place for place, item in enumerate(items)}
    write_json(
        folder / CODES_MANIFEST,
        {
            "format": CODES_FORMAT,
            "modalhash": version("modalhash"),
            "n_bits": model.n_bits,
            "bit_order": "little",
            "model_fingerprint": model.fingerprint,
            "code_lengths": model.code_lengths,
            "origin": model.origin,
            "compatible_with": list(model.record.compatible_with),
            "collection": collection.name,
            "split": split,
            "image_ids": [collection.item_ids[item] for item in items],
            "text_ids": [collection.caption_ids[row] for row in texts],
            "text_images": [new_place[int(collection.caption_items[row])] for row in texts],
            "label_names": list(collection.label_names),
        },
    )
    return CodeFolder(folder, model.n_bits, len(items), len(texts))


@takes_numpy_numbers
def build_index(
    model: HashModel | Path | str,
    collection: Collection | str | Path | None = None,
    *,
    output: Path | str,
    split: str = "all",
    kind: str | None = None,
    url: str | None = None,
    recall: float | None = None,
    keep_features: str = KeepFeatures.NONE,
    calibrate: bool = True,
    file_metadata: bool = True,
    overwrite: bool = False,
    skip_bad: bool = False,
    cache: Path | str | None = None,
    device: str = "auto",
    progress: Progress = automatic,
) -> SearchIndex:
    """Encode a collection and make it searchable by texts and pictures.

    Args:
        model: or its run folder.
        collection: or what `load_collection` takes, or a folder that `encode_shards` wrote, whose
            codes are taken as they are; by default what the model was trained on.
        output: the index folder; it holds all that queries need, the model included.
        split: which items.
        kind: a name in `modalhash.index.KINDS`, or "milvus"; by default that with a url, else
            "auto", which scans unless there are so many codes that
            an approximate kind reaches `recall` much quicker.
        url: of a Milvus server (`http://host:19530`) that is to keep the codes; the folder then
            holds the model and the way there.
        recall: share of the 10 nearest that a kind which can miss some should find; 0.95 by
            default. Other kinds don't take it.
        keep_features: "int8" keeps the features of all items, a byte a number, to rerank searches
            by; "none" doesn't. Finer codes are kept wherever the model makes them.
        calibrate: find out how probable relevance is at each distance, on items that training
            didn't see, unless the model knows it for this collection; the log says why if that
            can't be.
        file_metadata: also store what the pictures' files say: when, where and with what they were
            taken, title, caption, keywords and rating. `add_to_index` and `sync` do as the index
            does.
        overwrite: take the place of an index that is there.
        skip_bad: leave out items with defects; the log says how many.
        cache: where features are kept.
        device: "auto", "cpu", "cuda", ...
        progress: told of every batch.

    Raises:
        InputError: if `output` exists and isn't a search index, or `overwrite` is False, or the
            split is empty.
        SettingError: if the kind doesn't take a recall, or it is out of its range.
        UnknownNameError: if there is no such split or kind.
        FeatureError: if the collection doesn't have what the model reads.
        StorageError: if the file system refuses; what was there is kept.
    """
    parameters: dict[str, Any] = {} if recall is None else {"recall": recall}
    if url is not None:
        parameters["url"] = url
    if kind is None:
        kind = "auto" if url is None else MILVUS
    check_target(Path(output), kind=kind, parameters=parameters, overwrite=overwrite)
    keep = read_choice("keep_features", KeepFeatures, keep_features)
    run, model = model, open_model(model, device)
    if isinstance(collection, Path | str) and is_code_folder(collection):
        require_whole(split, keep)
        return build_search_index(
            model,
            shard_contents(model, collection),
            Path(output),
            collection={
                "name": Path(collection).name,
                "split": split,
                "source": str(Path(collection).absolute()),
                "features": keep.value,
            },
            kind=kind,
            parameters=parameters,
            calibration=None
            if model.folder is None or not calibrate
            else read_calibration(model.folder, model.fingerprint),
            overwrite=overwrite,
        )
    collection = open_evaluated_collection(run, model, collection, skip_bad, progress)
    records = record_files(collection, collection.split(split).tolist())
    sides, drawn = collect_contents(
        model,
        collection,
        split,
        names=number_file,
        keep=keep,
        cache=cache,
        progress=progress,
        file_metadata=file_metadata,
    )
    if images := sides.get(Side.IMAGES):
        rows = [dict(row) | record for row, record in zip(images.metadata, records, strict=True)]
        sides = {**sides, Side.IMAGES: replace(images, metadata=rows)}
    calibration = None
    if calibrate:
        calibration, stated = find_calibration(model, collection, cache=cache, progress=progress)
        logger.info("relevance: %s", stated)
    return build_search_index(
        model,
        {side: content for side, content in sides.items() if content.ids},
        Path(output),
        collection={
            "name": collection.name,
            "split": split,
            "source": collection.source,
            "features": keep.value,
            "file_metadata": file_metadata,
        },
        pictures=drawn,
        kind=kind,
        parameters=parameters,
        calibration=calibration,
        overwrite=overwrite,
    )


def add_to_index(
    index: SearchIndex | Path | str,
    collection: Collection | str | Path,
    *,
    split: str = "all",
    upsert: bool = False,
    file_metadata: bool | None = None,
    skip_bad: bool = False,
    cache: Path | str | None = None,
    device: str = "auto",
    progress: Progress = automatic,
) -> ItemCounts:
    """Encode a collection and add it to an index: its pictures and its texts, or nothing.

    Args:
        index: or its folder.
        collection: or what `load_collection` takes, or a folder that `encode_shards` wrote.
        split: which items.
        upsert: take the place of items that are there, with all their texts.
        file_metadata: also store what the pictures' files say; by default as `build_index` did.
        skip_bad: leave out items with defects; the log says how many.
        cache: where features are kept.
        device: "auto", "cpu", "cuda", ...
        progress: told of every batch.

    Returns:
        How many pictures and texts were added.

    Raises:
        IndexLockedError: if somebody else changes the index.
        InputError: if an id is there already, unless `upsert`, or the split is empty. Nothing is
            added then.
        FeatureError: if the collection doesn't have what the model reads.
        StorageError: if the file system refuses.
    """
    if not isinstance(index, SearchIndex):
        with open_index(index, device=device) as opened_index:
            return add_to_index(
                opened_index,
                collection,
                split=split,
                upsert=upsert,
                file_metadata=file_metadata,
                skip_bad=skip_bad,
                cache=cache,
                progress=progress,
            )
    keep = KeepFeatures.INT8 if index.keeps_features else KeepFeatures.NONE
    drawn: Iterator[tuple[str, Image.Image]] = iter(())
    if isinstance(collection, Path | str) and is_code_folder(collection):
        require_whole(split, keep)
        sides = {
            side: SideContent(list(content.ids), content.codes, content.metadata)
            for side, content in shard_contents(index.model, collection).items()
        }
    else:
        sides, drawn = collect_contents(
            index.model,
            open_collection(collection, skip_bad, progress),
            split,
            names=unused_name,
            keep=keep,
            cache=cache,
            progress=progress,
            file_metadata=stores_file_metadata(index, file_metadata),
            with_texts=Side.TEXTS in index.sides,
        )
    index.add(sides, pictures=drawn, upsert=upsert)
    images, texts = (len(sides[side].ids) if side in index.sides else 0 for side in Side)
    return ItemCounts(images, texts)


def stores_file_metadata(index: SearchIndex, stated: bool | None) -> bool:
    """Tell whether new items of an index get what their pictures' files say."""
    if stated is not None:
        return stated
    return index.collection.get("file_metadata") is not False


def require_whole(split: str, keep: KeepFeatures) -> None:
    """Refuse what the codes of shards can't give: a split of them, or features.

    Raises:
        InputError: naming it.
    """
    if split != "all":
        raise InputError(f"split is {split!r}, but codes of shards have no splits: leave it out")
    if keep is not KeepFeatures.NONE:
        raise InputError(
            "keep_features is 'int8', but codes of shards have no features: leave it out, or index "
            "a collection"
        )


def open_index(
    folder: Path | str, *, pictures: Path | str | None = None, device: str = "auto"
) -> SearchIndex:
    """Open an index folder that `build_index` made; see `SearchIndex`.

    Args:
        folder: of the index; or `hf://datasets/OWNER/NAME`, an index on a hub, which is fetched
            once. Copy that folder (`index.folder`) before you change it.
        pictures: where the folder of pictures that was indexed lies now, if it was moved; hits name
            the files there. `sync` makes that last.
        device: where queries are encoded.

    Raises:
        InputError: if there is no folder `pictures`.
        ModelUnavailableError: if an index can't be had from the hub.
    """
    if pictures is not None and not Path(pictures).is_dir():
        raise InputError(f"there is no folder {pictures}: name where the pictures lie now")
    index = open_search_index(find_index_folder(folder), device=device)
    index.pictures = None if pictures is None else Path(pictures).resolve()
    return index
