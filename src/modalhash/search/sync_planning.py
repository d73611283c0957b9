"""What a sync has to do: compare the items of an index with those of a folder.

An item is unchanged where its picture's size and times, its texts and its metadata are as they were
recorded when it was encoded. Where only size or times differ, the content's hash decides.
"""

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modalhash.errors import CollectionError, InputError
from modalhash.index import HashIndex, Metadata
from modalhash.modalities import Side
from modalhash.progress import Progress, silent
from modalhash.search.file_records import FileRecord, FolderItems, hash_record
from modalhash.search.kept_features import FILE
from modalhash.search.moments import is_moment
from modalhash.search.parts import IndexParts

__all__ = ["SyncPlan", "divide", "plan_sync"]

ITEMS_AT_ONCE = 1024
REPORTED_ITEMS = 1000


@dataclass
class SyncPlan:
    """What a sync has to do.

    Attributes:
        added: places, in the collection, of items that the index lacks.
        replaced: places of items whose picture, texts or metadata changed.
        rewritten: places of items of which only the record or the picture's path changed: their
            codes stay.
        removed: ids of items whose picture is gone.
        unchanged: how many items are as they were.
        missing: how many of these have lost their picture, but a table of the folder names it.
        elsewhere: how many items of the index have their picture outside the folder, or none; they
            are left alone.
    """

    added: list[int] = field(default_factory=list)
    replaced: list[int] = field(default_factory=list)
    rewritten: list[int] = field(default_factory=list)
    removed: list[Any] = field(default_factory=list)
    unchanged: int = 0
    missing: int = 0
    elsewhere: int = 0


def plan_sync(
    index: IndexParts,
    items: FolderItems,
    folder: Path,
    *,
    untouched: Container[Any] = (),
    progress: Progress = silent,
) -> SyncPlan:
    """Plan what makes an index hold the items of a folder.

    Args:
        index: to be changed; it holds pictures.
        items: of the folder.
        folder: the folder, resolved.
        untouched: ids that aren't removed though the folder lacks them.
        progress: is told of the stage "look for changes".

    Raises:
        InputError: if an item of the folder has the id of an item from elsewhere, or the folder
            is only a part of the one that was indexed.
        UnavailableError: if the index holds no pictures.
    """
    images = index.sides[index.side(Side.IMAGES)]
    roots = list_roots(index, folder)
    hashes = read_hashes(images)
    plan, n_items = SyncPlan(), items.collection.n_items
    doubtful: list[int] = []
    for item, identity in enumerate(items.collection.item_ids):
        if item % REPORTED_ITEMS == 0:
            progress("look for changes", item, n_items)
        recorded = hashes.pop(identity, None)
        if recorded is None:
            plan.added.append(item)
        elif recorded and recorded == items.hash(item):
            plan.unchanged += 1
        else:
            doubtful.append(item)
    for part in divide(doubtful):
        plan_doubtful(plan, items, part, images, roots)
    for ids in divide(list(hashes)):
        rows = zip(ids, with_records(images, images.metadata(ids)), strict=True)
        plan_removal(plan, items, rows, roots, untouched)
    progress("look for changes", n_items, n_items)
    return plan


def list_roots(index: IndexParts, folder: Path) -> tuple[Path, ...]:
    """List the folders whose pictures a sync answers for: the folder, and where it was before.

    The folder that was indexed counts where it is no longer there: it was moved.

    Raises:
        InputError: if the folder is only a part of the one that was indexed.
    """
    source = Path(str(index.collection.get("source") or folder))
    if not source.is_absolute() or source == folder or source.resolve() == folder:
        return (folder,)
    if source.is_dir() and folder.is_relative_to(source):
        raise InputError(
            f"the index is of {source}, and {folder} is only a part of it: name the whole folder"
        )
    return (folder,) if source.exists() else (folder, source)


def read_hashes(images: HashIndex) -> dict[Any, bytes]:
    """Read what is recorded of all items: a short hash each, so that a million fit in memory."""
    hashes: dict[Any, bytes] = {}
    moments: dict[Any, Any] = {}
    for block in images.blocks():
        for identity, row in zip(block.ids.tolist(), block.metadata, strict=True):
            if is_moment(row):
                moments[identity] = row["video"]
                hashes[identity] = b""
            else:
                hashes[identity] = hash_record(row.get("image"), FileRecord.of(row))
    for identity, video in moments.items():
        hashes[identity] = hashes.get(video, b"")
    return hashes


def with_records(images: HashIndex, rows: Sequence[Metadata]) -> list[Metadata]:
    """Add to the metadata of moments the path and the record of their whole videos."""
    names = list(dict.fromkeys(row["video"] for row in rows if is_moment(row)))
    known = [name for name, is_known in zip(names, images.contains(names), strict=True) if is_known]
    videos = dict(zip(known, images.metadata(known), strict=True)) if known else {}
    completed: list[Metadata] = []
    for row in rows:
        video = videos.get(row["video"], {}) if is_moment(row) else {}
        shared = {name: video[name] for name in ("image", FILE) if name in video}
        completed.append({**row, **shared})
    return completed


def divide(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Yield items in parts that are looked up at once."""
    for start in range(0, len(items), ITEMS_AT_ONCE):
        yield items[start : start + ITEMS_AT_ONCE]


def plan_doubtful(
    plan: SyncPlan,
    items: FolderItems,
    places: Sequence[int],
    images: HashIndex,
    roots: Sequence[Path],
) -> None:
    """Divide items whose record differs into those that changed and those with the same content.

    Raises:
        InputError: if an item of that id is from elsewhere.
    """
    ids = [items.collection.item_ids[place] for place in places]
    rows = with_records(images, images.metadata(ids))
    for place, identity, row in zip(places, ids, rows, strict=True):
        path, indexed = items.path(place), row.get("image")
        if (
            path is not None
            and (indexed is not None or not items.is_moment(place))
            and not (is_below(indexed, roots) or indexed == str(Path(path).resolve()))
        ):
            raise InputError(
                f"the index has an item {identity!r} whose picture is {indexed}, which isn't in "
                f"{roots[0]}: give each folder an index of its own"
            )
        record = FileRecord.of(row)
        try:
            is_same = record is not None and record == replace(
                items.record(place), stamp=record.stamp
            )
        except CollectionError:
            is_same = False
        if is_same and items.is_moment(place):
            plan.unchanged += 1
        else:
            (plan.rewritten if is_same else plan.replaced).append(place)


def is_below(image: object, roots: Sequence[Path]) -> bool:
    """Tell whether a picture's path lies in one of some folders."""
    return isinstance(image, str) and any(Path(image).is_relative_to(root) for root in roots)


def plan_removal(
    plan: SyncPlan,
    items: FolderItems,
    rows: Iterable[tuple[Any, Metadata]],
    roots: Sequence[Path],
    untouched: Container[Any],
) -> None:
    """Plan the removal of those items that the folder lacks, and whose picture is gone."""
    replaced = {items.collection.item_ids[place] for place in plan.replaced}
    for identity, row in rows:
        if is_moment(row):
            if row["video"] in replaced:
                continue  # it goes when its video is put in
            if row["video"] in untouched:
                plan.unchanged += 1
                continue
        if not is_below(row.get("image"), roots):
            plan.elsewhere += 1
        elif identity in untouched:
            plan.unchanged += 1
            plan.missing += lacks_picture(row, roots)
        elif not is_gone(row, items, roots):
            plan.unchanged += 1
        else:
            plan.removed.append(identity)


def is_gone(row: Metadata, items: FolderItems, roots: Sequence[Path]) -> bool:
    """Tell whether an item that the folder lacks is really gone.

    A picture that is there, or whose folder can't be read at the moment, isn't.
    """
    name = name_picture(row, roots)
    collection = items.collection
    if (collection.has_texts and not collection.may_lack_texts) or name.as_posix() in items.ids:
        return True  # its row of the table is gone; or the picture has another id now
    return lacks_picture(row, roots)


def name_picture(row: Metadata, roots: Sequence[Path]) -> Path:
    """Name an item's picture by its path below the one of the folders that it was in."""
    root = next(root for root in roots if is_below(row["image"], [root]))
    return Path(row["image"]).relative_to(root)


def lacks_picture(row: Metadata, roots: Sequence[Path]) -> bool:
    """Tell whether an item's picture is no longer there; not where its folder can't be read."""
    try:
        (roots[0] / name_picture(row, roots)).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
