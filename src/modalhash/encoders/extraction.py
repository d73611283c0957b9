"""A collection's pictures and texts to features, made once and brought up to date."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from numpy.typing import NDArray

from modalhash.data.collection import Collection, Modality
from modalhash.encoders.base import Encoder, FeatureTable, ImageTower, TextTower
from modalhash.encoders.content_rows import PictureRows, Rows, TextRows, require_finite
from modalhash.encoders.feature_tables import ArrayTable
from modalhash.encoders.memory import starting_batch_size
from modalhash.encoders.precomputed import PrecomputedImageTower, PrecomputedTextTower
from modalhash.encoders.shard_making import ShardMaking, list_outdated_shards
from modalhash.encoders.store import FeatureStore
from modalhash.encoders.store_manifest import FeatureDtype, StoreSpec
from modalhash.encoders.store_writer import StoreWriter
from modalhash.errors import FeatureError, SettingError, StorageError
from modalhash.machine import user_cache_folder
from modalhash.progress import Progress, silent

__all__ = ["Features", "default_cache_folder", "extract_features"]

SHARD_ROWS: Mapping[Modality, int] = {"image": 1024, "text": 4096}
"""Rows of a shard: what a kill costs at most, against the number of files."""


@dataclass(frozen=True)
class Features:
    """The features of a whole collection.

    Attributes:
        image: one row an item.
        text: one row a caption.
        encoder: what they were made with; the towers of `precomputed` know their widths here.
    """

    image: FeatureTable
    text: FeatureTable
    encoder: Encoder


def default_cache_folder() -> Path:
    """Find the folder in which features are kept unless another is stated.

    It is `features` in `user_cache_folder()`.
    """
    return user_cache_folder() / "features"


def extract_features(
    collection: Collection,
    encoder: Encoder,
    *,
    cache_folder: Path | None = None,
    with_tokens: bool = False,
    dtype: FeatureDtype = "float16",
    batch_size: int | None = None,
    workers: int | None = None,
    progress: Progress = silent,
) -> Features:
    """Compute the features of a collection; those in the cache are read from it.

    Each modality has its own store, so encoders that share a tower share its features. A store is
    brought up to date shard by shard: a shard is made again only if a picture or text in it
    changed. After a kill the same call goes on at the first unfinished shard and leaves the same
    files as an unbroken run.

    Args:
        collection: what to encode.
        encoder: with which; text towers that are fitted to data (bow) must be.
        cache_folder: where stores lie; `default_cache_folder()` if None.
        with_tokens: also store content tokens.
        dtype: of the stored numbers; rows come back as float32 in any case.
        batch_size: items encoded at once; chosen by the memory there is if None. It is halved
            when memory runs out.
        workers: threads that decode pictures; chosen by the number of processors if None.
        progress: is told of every batch.

    Returns:
        Tables of both modalities, and the encoder.

    Raises:
        FeatureError: if the collection lacks what the encoder reads, features aren't finite, or
            don't fit into `dtype`; naming the item and the way out.
        CollectionError: if a picture can't be read.
        SettingError: if `dtype`, `batch_size` or `workers` is out of range.
        NewerFormatError: if a newer version wrote the store.
        StorageError: if the file system refuses; finished shards stay.

    Example:
        >>> arrays = {"image": np.eye(2, dtype=np.float32), "text": np.eye(2, dtype=np.float32)}
        >>> ids = ("a", "b"), ("a#0", "b#0")
        >>> collection = Collection("two", *ids, caption_items=np.arange(2), features=arrays)
        >>> from modalhash.encoders import load_encoder
        >>> features = extract_features(collection, load_encoder("precomputed"))
        >>> features.image.pooled(np.array([1]))
        array([[0., 1.]], dtype=float32)
    """
    for name, value in (("batch_size", batch_size), ("workers", workers)):
        if value is not None and value < 1:
            raise SettingError(f"{name} is {value}, expected at least 1")
    folder = (cache_folder or default_cache_folder()) / collection_key(collection)
    settings = Settings(folder, with_tokens, dtype, batch_size, workers, progress)
    image, image_tower = image_table(collection, encoder.image, settings)
    text, text_tower = text_table(collection, encoder.text, settings)
    return Features(image, text, replace(encoder, image=image_tower, text=text_tower))


@dataclass(frozen=True)
class Settings:
    """What `extract_features` was asked for, and the collection's folder in the cache."""

    folder: Path
    with_tokens: bool
    dtype: FeatureDtype
    batch_size: int | None
    workers: int | None
    progress: Progress


def collection_key(collection: Collection) -> str:
    """Compute the name of a collection's folder in the cache: its name, and a hash of its source.

    A collection without a source is known by its ids.
    """
    place = collection.source
    if place and Path(place).exists():
        place = str(Path(place).resolve())
    digest = hashlib.sha256(
        "\n".join([place] if place else collection.item_ids).encode("utf-8", "surrogateescape")
    )
    readable = re.sub(r"[^A-Za-z0-9_.]+", "-", collection.name).strip("-.") or "collection"
    return f"{readable[:40]}-{digest.hexdigest()[:12]}"


def image_table(
    collection: Collection, tower: ImageTower, settings: Settings
) -> tuple[FeatureTable, ImageTower]:
    """Compute or load the image features of a collection, and name the tower they belong to."""
    if isinstance(tower, PrecomputedImageTower):
        array = brought_array(collection, "image", tower.width, collection.n_items)
        tokens = collection.tokens.get("image") if tower.frames else None
        table = ArrayTable(array, "the image features", tokens=tokens, most_tokens=tower.frames)
        return table, PrecomputedImageTower(array.shape[1], tower.frames)
    if collection.pictures is None:
        raise FeatureError(
            f"collection {collection.name!r} has no pictures: use the encoder 'precomputed', "
            "which reads the features it brings"
        )
    return stored_table(PictureRows(collection, tower), settings), tower


def text_table(
    collection: Collection, tower: TextTower, settings: Settings
) -> tuple[FeatureTable, TextTower]:
    """Compute or load the text features of a collection, and name the tower they belong to."""
    if not collection.has_texts:  # no rows, of whatever width the tower has
        nothing = np.zeros((0, tower.width), np.float32)
        return ArrayTable(nothing, "the text features"), tower
    if isinstance(tower, PrecomputedTextTower):
        array = brought_array(collection, "text", tower.width, collection.n_captions)
        return ArrayTable(array, "the text features"), PrecomputedTextTower(array.shape[1])
    if collection.captions is None:
        raise FeatureError(
            f"collection {collection.name!r} has no texts: use the encoder 'precomputed', which "
            "reads the features it brings"
        )
    return stored_table(TextRows(collection, tower), settings), tower


def brought_array(
    collection: Collection, modality: Modality, width: int, n_rows: int
) -> NDArray[np.float32]:
    """Check an array that a collection brings, and return it.

    Raises:
        FeatureError: if it isn't there, has another shape than expected, or isn't finite.
    """
    array = collection.features.get(modality)
    if array is None:
        raise FeatureError(
            f"collection {collection.name!r} brings no {modality} features: use an encoder such "
            "as 'offline' or 'clip', or a pair such as 'precomputed+bow'"
        )
    if array.ndim != 2 or len(array) != n_rows or (width and array.shape[1] != width):
        expected = f"({n_rows}, {width or 'd'})"
        raise FeatureError(
            f"the {modality} features of collection {collection.name!r} have shape {array.shape}, "
            f"expected {expected}: bring one row an item, of the width the model was trained on"
        )
    ids = collection.item_ids if modality == "image" else collection.caption_ids
    require_finite(array, lambda row: f"{modality} {ids[row]!r} of {collection.name!r}")
    return array.astype(np.float32, copy=False)


def stored_table(rows: Rows, settings: Settings) -> FeatureStore:
    """Open the store of some rows, and bring it up to date.

    A finished store with tokens also serves who asks for none.
    """
    tower = rows.tower
    if tower.width < 1:
        raise FeatureError(f"the {rows.modality} tower isn't fitted yet: fit it to training texts")
    if settings.with_tokens and tower.token_width is None:
        raise FeatureError(
            f"the {rows.modality} tower {tower.identity()['name']!r} has no content tokens: take "
            "an encoder that has them, such as 'offline' or 'clip'"
        )
    fingerprint = tower.fingerprint()
    spec = StoreSpec(
        modality=rows.modality,
        tower=dict(tower.identity()),
        fingerprint=fingerprint,
        dtype=settings.dtype,
        width=tower.width,
        token_width=tower.token_width,
        n_rows=len(rows),
        shard_rows=SHARD_ROWS[rows.modality],
    )
    name = f"{rows.modality}-{tower.identity()['name']}-{fingerprint[:12]}-{settings.dtype}"
    making = ShardMaking(
        rows, settings.batch_size, starting_batch_size(tower), settings.workers, settings.progress
    )
    tokens_folder = settings.folder / f"{name}-tokens"
    if settings.with_tokens or tokens_folder.exists():
        writer = StoreWriter(tokens_folder, spec)
        missing = list_outdated_shards(rows, writer)
        if settings.with_tokens and missing:
            require_writable(settings.folder)
        if settings.with_tokens or not missing:
            return making.run(writer, missing)
    writer = StoreWriter(settings.folder / name, replace(spec, token_width=None))
    missing = list_outdated_shards(rows, writer)
    if missing:
        require_writable(settings.folder)
    return making.run(writer, missing)


def require_writable(folder: Path) -> None:
    """Check that features can be written, before any is computed.

    Raises:
        StorageError: if the folder can't be made or written; it says how to name another one.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StorageError(
            f"can't write features into {folder}: {error.strerror or error}; name a folder that "
            "can be written with --cache (cache_folder in Python) or MODALHASH_CACHE"
        ) from error
