"""The verb `sync`: make an index hold what a folder holds, by encoding only what changed."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from modalhash.api.contents import collect_contents, unused_name
from modalhash.api.indexing import open_index, stores_file_metadata
from modalhash.data.collection import Collection
from modalhash.data.loading import read_source
from modalhash.data.pictures import find_picture_defects
from modalhash.data.reading import Reading
from modalhash.errors import CollectionError, Defect, InputError
from modalhash.extras import import_optional
from modalhash.index import Metadata
from modalhash.progress import Progress, automatic, silent
from modalhash.search import SearchIndex, Side, SideContent
from modalhash.search.changing import find_texts_of
from modalhash.search.file_records import FolderItems
from modalhash.search.kept_features import KeepFeatures
from modalhash.search.moments import find_moments_of
from modalhash.search.pending_changes import finish_pending, writing
from modalhash.search.sync_planning import SyncPlan, divide, plan_sync

__all__ = ["SyncCounts", "apply_plan", "sync", "sync_reading", "watch_folder"]

logger = logging.getLogger(__name__)

ENCODED_AT_ONCE = 512
"""Items between two changes of the index: what a kill costs at most."""
MOST_REMOVED = 0.5
"""Share of an index that is removed without a confirmation."""
LISTED_DEFECTS = 10


@dataclass(frozen=True)
class SyncCounts:
    """What a sync did, or would do, in items.

    Attributes:
        added: new items.
        replaced: items whose picture, texts or metadata changed.
        removed: items whose picture is gone.
        unchanged: items that weren't encoded again.
        unreadable: pictures that can't be read; an item that was there before stays as it was.
        elsewhere: items of the index that aren't of the folder, and are left alone.
        missing: unchanged items that have lost their picture, but a table of the folder, such as
            its captions file, still names it; they stay until its rows are deleted.

    Example:
        >>> str(SyncCounts(3, 2, 1, 994))
        '3 added, 2 replaced, 1 removed, 994 unchanged'
    """

    added: int
    replaced: int
    removed: int
    unchanged: int
    unreadable: int = 0
    elsewhere: int = 0
    missing: int = 0

    def __str__(self) -> str:
        names = ("added", "replaced", "removed", "unchanged")
        parts = [f"{getattr(self, name):,} {name}" for name in names]
        if self.unreadable:
            parts.append(f"{self.unreadable:,} unreadable")
        counts = ", ".join(parts)
        if not self.missing:
            return counts
        return (
            f"{counts}; of the unchanged, {self.missing:,} lost the picture, but a table of the "
            "folder still names it: delete its rows there, and the next sync removes the item"
        )


def sync(
    index: SearchIndex | Path | str,
    folder: Path | str,
    *,
    dry_run: bool = False,
    confirmed: bool = False,
    device: str = "auto",
    progress: Progress = automatic,
) -> SyncCounts:
    """Make an index hold what a folder holds: new items are added, changed ones encoded again.

    A picture counts as changed if its file's size or times changed and its content did too; an item
    also if its texts or metadata changed. Items whose picture is gone are removed with their texts,
    unless the captions file still names it: that is a defect of the folder, and they are counted.
    Items of the index from other folders are left alone. The index is changed in steps: after a
    kill the next sync does the rest.

    Args:
        index: or its folder.
        folder: what was indexed, wherever it lies now.
        dry_run: only count what would change.
        confirmed: remove even more than half of the index.
        device: "auto", "cpu", "cuda", ...
        progress: told of the stages "look for changes" and "encode pictures".

    Raises:
        CollectionError: if the folder holds no items, or its tables can't be read.
        IndexLockedError: if somebody else changes the index.
        InputError: if there is no such folder, or it vanishes meanwhile; if more than half of the
            index would be removed and that isn't confirmed; if the folder has an id that the index
            uses for a picture elsewhere. Nothing is removed then.
        StorageError: if the file system refuses; what was finished is kept.
        UnavailableError: if the index holds no pictures.
    """
    if not isinstance(index, SearchIndex):
        with open_index(index, device=device) as opened_index:
            return sync(
                opened_index, folder, dry_run=dry_run, confirmed=confirmed, progress=progress
            )
    place = resolve_folder(folder)
    return sync_reading(
        index, read_source(place), place, dry_run=dry_run, confirmed=confirmed, progress=progress
    )


def resolve_folder(folder: Path | str) -> Path:
    """Resolve a folder's path.

    Raises:
        InputError: if there is no such folder.
    """
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise InputError(f"there is no folder {place}: nothing was changed; check the path")
    return place.resolve()


def sync_reading(
    index: SearchIndex,
    reading: Reading,
    folder: Path,
    *,
    dry_run: bool = False,
    confirmed: bool = False,
    progress: Progress = silent,
) -> SyncCounts:
    """Make an index hold the items that were read of a folder; see `sync`."""
    collection, skipped = choose_items(reading, folder)
    items = FolderItems(collection)
    if dry_run:
        return count_plan(plan_sync(index, items, folder, untouched=skipped, progress=progress))
    with writing(index.sides):
        finish_pending(index.folder, index.sides)
        plan = plan_sync(index, items, folder, untouched=skipped, progress=progress)
        return apply_plan(index, items, plan, folder, confirmed=confirmed, progress=progress)


def choose_items(reading: Reading, folder: Path) -> tuple[Collection, set[str]]:
    """Choose the sound items of a folder, and list those that are left as they are in the index.

    Raises:
        CollectionError: if there are none, or a defect isn't that of an item.
    """
    collection, defects = reading.collection, list(reading.defects)
    if collection is None or any(not defect.items for defect in defects):
        raise CollectionError(defects or [no_items(folder)])
    bad = {item for defect in defects for item in defect.items}
    log_defects(defects)
    sound = [place for place, item in enumerate(collection.item_ids) if item not in bad]
    if not sound:
        raise CollectionError([*defects, no_items(folder)])
    if len(sound) < collection.n_items:
        collection = collection.subset(np.array(sound, np.int64))
    return collection, bad


def no_items(folder: Path) -> Defect:
    """Make the defect of a folder without items."""
    return Defect("no-items", str(folder), "has no item that can be used: nothing was changed")


def log_defects(defects: Sequence[Defect]) -> None:
    """Log what is left out, and why: the first few, and how many there are."""
    for defect in defects[:LISTED_DEFECTS]:
        logger.warning("left out: %s", defect)
    if len(defects) > LISTED_DEFECTS:
        logger.warning(
            "%d items are left out in all: `modalhash data check` lists them", len(defects)
        )


def count_plan(plan: SyncPlan, *, unreadable: int = 0) -> SyncCounts:
    """Count what a plan changes."""
    return SyncCounts(
        len(plan.added),
        len(plan.replaced),
        len(plan.removed),
        plan.unchanged + len(plan.rewritten),
        unreadable,
        plan.elsewhere,
        plan.missing,
    )


def apply_plan(
    index: SearchIndex,
    items: FolderItems,
    plan: SyncPlan,
    folder: Path,
    *,
    confirmed: bool,
    progress: Progress = silent,
) -> SyncCounts:
    """Carry out a plan; the right to change the index is held.

    Raises:
        InputError: if more than half of the index would be removed and that isn't confirmed, or
            the folder vanished. Nothing is removed then.
    """
    n_before = len(index.sides[Side.IMAGES])
    if len(plan.removed) > MOST_REMOVED * n_before and not confirmed:
        raise InputError(
            f"{len(plan.removed):,} of the index's {n_before:,} items are gone from {folder}: "
            "nothing was changed; if that is meant, confirm it (--yes, confirmed in Python)"
        )
    added, bad = encode_items(index, items, [*plan.added, *plan.replaced], folder, progress)
    for part in divide(plan.rewritten):
        rewrite_records(index, items, part)
    require_folder(folder)
    if plan.removed:
        index.delete(plan.removed, missing="ignore")
    counts = count_plan(plan, unreadable=len(bad))
    n_new = len(added & set(plan.added))
    return replace(counts, added=n_new, replaced=len(added) - n_new)


def require_folder(folder: Path) -> None:
    """Refuse to go on where the folder vanished: its pictures aren't gone.

    Raises:
        InputError: if it did.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder} vanished in the middle: what was encoded is kept, nothing was removed; "
            "sync again when it is there"
        )


def encode_items(
    index: SearchIndex,
    items: FolderItems,
    places: Sequence[int],
    folder: Path,
    progress: Progress,
) -> tuple[set[int], list[Defect]]:
    """Encode items and put them into the index, some hundreds at a time.

    Returns:
        The places that are in the index now, and the defects of the others.
    """
    done: set[int] = set()
    defects: list[Defect] = []
    start = 0
    for whole_part in divide_whole_videos(items, places):
        part = whole_part
        watch, n_part = part_watcher(progress, start, len(places)), len(part)
        try:
            encode_part(index, items, part, watch)
        except CollectionError:
            require_folder(folder)
            part, bad = divide_readable(items, part)
            defects += bad
            if part:
                encode_part(index, items, part, watch)
        done.update(part)
        start += n_part
        progress("encode pictures", start, len(places))
    if places:
        progress("encode pictures", len(places), len(places))
    log_defects(defects)
    return done, defects


def divide_whole_videos(items: FolderItems, places: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield items in parts of some hundreds; those of a video are all in one part.

    So a video is in the index with all its moments, or not at all.
    """
    part: list[int] = []
    owner = -1
    for place in sorted(places) if items.members else places:
        if len(part) >= ENCODED_AT_ONCE and items.owners[place] != owner:
            yield part
            part = []
        owner = items.owners[place]
        part.append(place)
    if part:
        yield part


def part_watcher(progress: Progress, start: int, n_items: int) -> Progress:
    """Make a watcher that reports the encoding of a part of the pictures as one of the whole."""

    def watch(stage: str, done: int, total: int, values: Mapping[str, float] | None = None) -> None:
        if stage.startswith("image"):
            progress("encode pictures", start + min(done, total), n_items, values)

    return watch


def divide_readable(items: FolderItems, places: Sequence[int]) -> tuple[list[int], list[Defect]]:
    """Divide items into those whose picture can be read, and the defects of the others."""
    some = items.collection.subset(np.array(places, np.int64))
    defects = find_picture_defects(some)
    bad = {item for defect in defects for item in defect.items}
    return [place for place in places if items.collection.item_ids[place] not in bad], defects


def encode_part(
    index: SearchIndex, items: FolderItems, places: Sequence[int], progress: Progress
) -> None:
    """Encode some items and put them into the index, with the records of their files.

    Raises:
        CollectionError: if a picture can't be read; nothing is changed then.
    """
    records = [items.record(place) for place in places]
    some = replace(items.collection.subset(np.array(places, np.int64)), source="")
    keep = KeepFeatures.INT8 if index.keeps_features else KeepFeatures.NONE
    with TemporaryDirectory(prefix="modalhash-") as cache:
        sides, drawn = collect_contents(
            index.model,
            some,
            "all",
            names=unused_name,
            keep=keep,
            cache=cache,
            progress=progress,
            file_metadata=stores_file_metadata(index, None),
            with_texts=Side.TEXTS in index.sides,
        )
    pictures: list[tuple[str, Image.Image]] | Iterator[tuple[str, Image.Image]] = drawn
    images = sides[Side.IMAGES]
    rows = [
        dict(row) | ({} if items.is_moment(place) else record.as_metadata() | locate(items, place))
        for place, row, record in zip(places, images.metadata, records, strict=True)
    ]
    sides[Side.IMAGES] = replace(images, metadata=rows)
    filled = {side: content for side, content in sides.items() if content.ids}
    index.add(filled, pictures=pictures, upsert=True)


def locate(items: FolderItems, place: int) -> dict[str, str]:
    """State the path of an item's picture as metadata; nothing if it isn't a file of its own."""
    path = items.path(place)
    return {} if path is None or items.is_moment(place) else {"image": path}


def rewrite_records(index: SearchIndex, items: FolderItems, places: Sequence[int]) -> None:
    """Write the records and paths of items anew, whose codes stay as they are.

    A video takes its moments with it: where a video is put in again, moments that aren't go.
    """
    ids = [items.collection.item_ids[place] for place in places]
    added = {
        identity: locate(items, place) | items.record(place).as_metadata()
        for identity, place in zip(ids, places, strict=True)
    }
    paths = {
        identity: {name: value for name, value in more.items() if name == "image"}
        for identity, more in added.items()
    }
    moments = find_moments_of(index.sides[Side.IMAGES], ids)
    ids = list(dict.fromkeys([*ids, *moments]))
    contents = {
        Side.IMAGES: make_content(
            index, Side.IMAGES, ids, lambda identity, _: added.get(identity, {})
        )
    }
    texts = find_texts_of(index, ids)
    if texts:
        contents[Side.TEXTS] = make_content(
            index, Side.TEXTS, texts, lambda _, row: paths.get(row["item"], {})
        )
    index.add(contents, upsert=True)


def make_content(
    index: SearchIndex,
    side: Side,
    ids: Sequence[str],
    make_change: Callable[[str, Metadata], Mapping[str, str]],
) -> SideContent:
    """Make the content of items that a side has, with changed metadata."""
    rows = index.sides[side].metadata(ids)
    changed = [
        {**row, **make_change(identity, row)} for identity, row in zip(ids, rows, strict=True)
    ]
    return SideContent(list(ids), index.sides[side].reconstruct(ids), changed)


def watch_folder(folder: Path | str, *, seconds: float = 1.0) -> Iterator[None]:
    """Yield whenever something in a folder has changed, until the process is interrupted.

    Args:
        folder: is watched with all folders below it.
        seconds: how long nothing must change, so that a copy of many files counts once.

    Raises:
        InputError: if there is no such folder, or it vanishes.
        MissingExtraError: if the package that watches isn't installed.
    """
    place = resolve_folder(folder)
    watchfiles = import_optional("watchfiles", extra="watch", feature="watching a folder")
    milliseconds = int(seconds * 1000)
    for _ in watchfiles.watch(place, step=milliseconds, debounce=30 * milliseconds):
        require_folder(place)
        yield
