"""The verb `find`: search any folder of pictures, whose index is kept in the user's cache."""

import hashlib
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Unpack

import numpy as np

from modalhash.api.opening import open_model
from modalhash.api.syncing import SyncCounts, resolve_folder, sync_reading
from modalhash.artifacts import HashModel
from modalhash.artifacts.ready_model import READY_GRADED, READY_NAME
from modalhash.codes import code_width
from modalhash.data.loading import require_unicode
from modalhash.data.picture_collections import list_pictures
from modalhash.encoders.extraction import default_cache_folder
from modalhash.errors import (
    ArtifactError,
    InputError,
    LockedError,
    NewerFormatError,
    StorageError,
)
from modalhash.index.filters import parse_filter
from modalhash.index.lock import ProcessLock
from modalhash.picture_arrays import PictureInput
from modalhash.progress import Progress, automatic
from modalhash.search import Answer, SearchIndex, Side, SideContent
from modalhash.search.folder import build_search_index, is_search_index, open_search_index
from modalhash.search.kept_features import KeepFeatures
from modalhash.search_request import SearchOptions

__all__ = ["find", "open_folder_index"]

logger = logging.getLogger(__name__)

FOLDER_MODEL = f"{READY_NAME}:{READY_GRADED}"
"""What folders are searched with by default: `find` ranks by the query's own numbers."""
FOLDERS = "folders"
"""Where, in the cache, the indexes of folders are kept."""


def find(
    folder: Path | str,
    text: str | None = None,
    image: "PictureInput | None" = None,
    *,
    model: HashModel | Path | str | None = None,
    cache: Path | str | None = None,
    file_metadata: bool = True,
    device: str = "auto",
    progress: Progress = automatic,
    **options: Unpack[SearchOptions],
) -> Answer:
    """Find the pictures and moments of videos in a folder that are nearest to a text or a picture.

    The folder needs no captions, and nothing is written into it. The first call encodes all its
    pictures and videos, and keeps their index in the user's cache; later calls encode only what
    changed.

    Args:
        folder: with pictures, in it or in any folder below.
        text: the query, or
        image: the query: a file, its bytes, an opened picture, or its pixels as a uint8 array of
            shape (height, width, 3).
        model: or its run folder; by default the ready model, which needs no training.
        cache: where indexes are kept; by default the user's cache folder, or MODALHASH_CACHE.
        file_metadata: also store what the pictures' files say (date, camera, place, title, caption,
            keywords, rating), for filters and hits; indexes with and without are kept apart.
        device: "auto", "cpu", "cuda", ...
        progress: told of the stages "find shots", "look for changes" and "encode pictures".
        options: the other fields of `SearchRequest`: `k`, `where`, ...

    Returns:
        The answer; `image` of a hit is its file, of a moment with the times in its video at the
        end (`a.mp4#t=12,17.5`).

    Raises:
        InputError: if there is no such folder, it holds no pictures or none that can be read, or
            there isn't exactly one query.
        LockedError: if another process makes the index at the moment.
        StorageError: if the file system refuses; what was finished is kept.
    """
    if (text is None) == (image is None):
        raise InputError("give either a text or an image to search for")
    if (where := options.get("where")) is not None:
        parse_filter(where)  # before the folder is encoded
    with open_folder_index(
        folder,
        model=model,
        cache=cache,
        file_metadata=file_metadata,
        device=device,
        progress=progress,
    ) as index:
        options.setdefault("target", Side.IMAGES)
        return index.search(text, image, **options)


def open_folder_index(
    folder: Path | str,
    *,
    model: HashModel | Path | str | None = None,
    cache: Path | str | None = None,
    file_metadata: bool = True,
    device: str = "auto",
    progress: Progress = automatic,
) -> SearchIndex:
    """Open the index of a folder's pictures in the user's cache, after bringing it up to date.

    Args:
        folder: with pictures, in it or in any folder below.
        model: or its run folder; by default the ready model, which needs no training.
        cache: where indexes are kept; by default the user's cache folder, or MODALHASH_CACHE.
        file_metadata: also store what the pictures' files say (date, camera, place, title, caption,
            keywords, rating), for filters and hits; indexes with and without are kept apart.
        device: "auto", "cpu", "cuda", ...
        progress: told of the stages "look for changes" and "encode pictures".

    Raises:
        InputError: if there is no such folder, or it holds no pictures or none that can be read.
        LockedError: if another process makes the index at the moment.
        StorageError: if the file system refuses; what was finished is kept.
    """
    require_unicode(Path(folder).expanduser())
    pictures = resolve_folder(folder)
    opened_model = open_model(FOLDER_MODEL if model is None else model, device)
    place = index_place(pictures, opened_model, cache, file_metadata=file_metadata)
    try:
        with changing(place, pictures):
            index = open_or_create(place, pictures, opened_model, file_metadata=file_metadata)
            update(index, pictures, progress, cache=cache)
            return index
    except LockedError as error:
        if not is_search_index(place):
            raise
        logger.warning("%s; what is indexed so far is searched", error)
        return open_search_index(place, device=opened_model.device)


def index_place(
    folder: Path, model: HashModel, cache: Path | str | None, *, file_metadata: bool
) -> Path:
    """Name the folder of the index of some pictures with a model."""
    base = default_cache_folder().parent if cache is None else Path(cache)
    readable = re.sub(r"[^A-Za-z0-9_.]+", "-", folder.name).strip("-.") or "pictures"
    digest = hashlib.sha256(str(folder).encode()).hexdigest()
    suffix = "" if file_metadata else "-without-metadata"
    return base / FOLDERS / f"{readable[:40]}-{digest[:12]}-{model.fingerprint[:12]}{suffix}"


@contextmanager
def changing(place: Path, folder: Path) -> Iterator[None]:
    """Hold the right to make or change the index of a folder.

    Raises:
        LockedError: if another process has it.
        StorageError: if the cache can't be written.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"can't write the index of {folder} into {place.parent}: {error.strerror or error}; "
            "name a folder that can be written with --cache (cache in Python) or MODALHASH_CACHE"
        ) from error
    lock = ProcessLock(
        place.with_name(f"{place.name}.lock"),
        f"the index of {folder} is being brought up to date by",
    )
    try:
        yield
    finally:
        lock.release()


def open_or_create(
    place: Path, folder: Path, model: HashModel, *, file_metadata: bool
) -> SearchIndex:
    """Open the index of a folder; a missing or damaged one is made anew, without pictures."""
    is_there = is_search_index(place)
    if is_there:
        try:
            return open_search_index(place, device=model.device, models={model.fingerprint: model})
        except NewerFormatError:
            raise
        except ArtifactError as error:
            logger.warning("the index of %s is damaged and is made again: %s", folder, error)
    nothing = SideContent([], np.zeros((0, code_width(model.n_bits)), np.uint8), [])
    return build_search_index(
        model,
        {Side.IMAGES: nothing},
        place,
        collection={
            "name": folder.name,
            "split": "all",
            "source": str(folder),
            "features": KeepFeatures.NONE.value,
            "file_metadata": file_metadata,
        },
        overwrite=is_there,
    )


def update(
    index: SearchIndex, folder: Path, progress: Progress, *, cache: Path | str | None = None
) -> SyncCounts:
    """Bring the index of a folder up to date.

    Raises:
        InputError: if the folder holds no pictures, or none that can be read.
    """
    place = None if cache is None else Path(cache)
    reading = list_pictures(folder, cache=place, progress=progress)
    if reading is None:
        raise InputError(
            f"{folder} holds no pictures and no videos, nor does any folder below it; hidden "
            "folders and thumbnails aren't searched"
        )
    for note in reading.notes:
        logger.warning("%s", note)
    counts = sync_reading(index, reading, folder, confirmed=True, progress=progress)
    if not len(index.sides[Side.IMAGES]):
        raise InputError(
            f"none of the {counts.unreadable:,} pictures in {folder} can be read: the lines above "
            "say why"
        )
    logger.info("%s: %s", folder, counts)
    return counts
