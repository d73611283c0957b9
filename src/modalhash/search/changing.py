"""Changes of a search index: items are added, replaced or removed on both sides, or on none."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from PIL import Image

from modalhash.errors import InputError
from modalhash.index import HashIndex, Ids, ItemChange, Operation
from modalhash.index.filter_tree import quoted
from modalhash.index.filters import parse_filter
from modalhash.index.ids import format_ids
from modalhash.modalities import Side
from modalhash.search.answers import ItemCounts
from modalhash.search.contents import SideContent
from modalhash.search.filter_fields import check_filter_fields
from modalhash.search.moments import find_moments_of
from modalhash.search.parts import IndexParts
from modalhash.search.pending_changes import change_sides, finish_pending, writing
from modalhash.search.pictures import (
    add_pictures,
    check_new_pictures,
    list_kept_pictures,
    remove_unnamed_pictures,
)

__all__ = [
    "add_contents",
    "compact_sides",
    "delete_items",
    "delete_items_where",
]

IDS_A_FILTER = 200


def add_contents(
    index: IndexParts,
    contents: Mapping[Side, SideContent],
    *,
    pictures: Iterable[tuple[str, Image.Image]] = (),
    upsert: bool = False,
) -> None:
    """Add items to both sides, or to none; see `SearchIndex.add`."""
    operation = Operation.UPSERT if upsert else Operation.ADD
    with writing(index.sides):
        finish_pending(index.folder, index.sides)
        changes = check_contents(index, contents, operation)
        old = list_outdated_pictures(index, changes) if upsert else []
        if upsert:
            add_outdated_moments(index, contents, changes)
            add_outdated_texts(index, contents, changes)
        rows = [row for side in changes if side in contents for row in contents[side].metadata]
        new = check_new_pictures(index.folder, rows)
        named = set(list_kept_pictures(rows))
        if changes:
            change_sides(
                index.folder,
                index.sides,
                changes,
                write_pictures=lambda: add_pictures(index.folder, pictures, new),
                new_pictures=new,
                old_pictures=[name for name in old if name not in named],
            )


def check_contents(
    index: IndexParts, contents: Mapping[Side, SideContent], operation: Operation
) -> dict[Side, list[ItemChange]]:
    """Check items of all sides, and return the changes that add them.

    Raises:
        InputError: if an id comes twice, or is there although it is added, naming it; or if
            metadata can't be stored.
        ShapeError: if codes don't fit.
    """
    changes: dict[Side, list[ItemChange]] = {}
    for side, content in contents.items():
        if side in index.sides:
            side_index = index.sides[side]
            change = side_index.check_items(
                content.ids, content.codes, content.metadata, operation=operation
            )
            if change is not None:
                side_index.check_addition(change)
                changes[side] = [change]
    return changes


def list_outdated_pictures(
    index: IndexParts, changes: Mapping[Side, Sequence[ItemChange]]
) -> list[str]:
    """List the pictures that the index keeps for items which are replaced."""
    if Side.IMAGES not in changes:
        return []
    images = index.sides[Side.IMAGES]
    replaced = select_known_ids(images, changes[Side.IMAGES][0].ids)
    return list_kept_pictures(images.metadata(replaced))


def delete_items(
    index: IndexParts, ids: Ids, *, missing: str = "error", dry_run: bool = False
) -> ItemCounts:
    """Remove items with their texts, or single texts; see `SearchIndex.delete`."""
    with deleting(index, dry_run=dry_run):
        left = list(dict.fromkeys(ids))
        ids_by_side: dict[Side, list[Any]] = {}
        for side, side_index in index.sides.items():
            known = select_known_ids(side_index, left)
            ids_by_side[side] = known
            known_here = set(known)
            left = [value for value in left if value not in known_here]
        if left and missing == "error":
            raise InputError(
                f"the index has no item {format_ids(left)}: nothing was deleted; ids are those of "
                "pictures or of texts"
            )
        return delete_with_texts(index, ids_by_side, dry_run=dry_run)


def delete_items_where(index: IndexParts, where: str, *, dry_run: bool = False) -> ItemCounts:
    """Remove the items that pass a filter; see `SearchIndex.delete_where`."""
    parse_filter(where)
    with deleting(index, dry_run=dry_run):
        side = index.side_of_items
        ids = index.sides[side].select(where).tolist()
        if ids:  # a filter that selects nothing is harmless, and may be sent again
            check_filter_fields(index.sides[side], where)
        return delete_with_texts(index, {side: ids}, dry_run=dry_run)


@contextmanager
def deleting(index: IndexParts, *, dry_run: bool) -> Iterator[None]:
    """Hold the right to change the index; a dry run changes nothing and needs no right.

    Raises:
        IndexLockedError: if somebody else changes the index.
    """
    if dry_run:
        yield
        return
    with writing(index.sides):
        finish_pending(index.folder, index.sides)
        yield


def delete_with_texts(
    index: IndexParts, ids_by_side: Mapping[Side, Sequence[Any]], *, dry_run: bool
) -> ItemCounts:
    """Remove items, and the texts and kept pictures that belong to them, or only count them."""
    images, texts = (list(ids_by_side.get(side, ())) for side in (Side.IMAGES, Side.TEXTS))
    old: list[str] = []
    if images:
        moments = find_moments_of(index.sides[Side.IMAGES], images)
        images = list(dict.fromkeys([*images, *moments]))
        old = list_kept_pictures(index.sides[Side.IMAGES].metadata(images))
        texts = list(dict.fromkeys([*texts, *find_texts_of(index, images)]))
    changes = {}
    for side, ids in ((Side.IMAGES, images), (Side.TEXTS, texts)):
        change = index.sides[side].check_deletion(ids) if ids else None
        if change is not None:
            changes[side] = [change]
    if changes and not dry_run:
        change_sides(index.folder, index.sides, changes, old_pictures=old)
    return ItemCounts(len(images), len(texts))


def find_texts_of(index: IndexParts, images: Sequence[Any]) -> list[Any]:
    """Find the ids of the texts of some pictures."""
    if Side.TEXTS not in index.sides:
        return []
    texts: list[Any] = []
    for start in range(0, len(images), IDS_A_FILTER):
        values = ", ".join(quoted(value) for value in images[start : start + IDS_A_FILTER])
        texts += index.sides[Side.TEXTS].select(f"item in ({values})").tolist()
    return texts


def add_outdated_moments(
    index: IndexParts,
    contents: Mapping[Side, SideContent],
    changes: dict[Side, list[ItemChange]],
) -> None:
    """Add the removal of moments of replaced videos, with their texts, that aren't replaced."""
    images = contents.get(Side.IMAGES)
    if images is None or Side.IMAGES not in index.sides:
        return
    new_ids = set(images.ids)
    known = select_known_ids(index.sides[Side.IMAGES], list(images.ids))
    outdated = [
        moment
        for moment in find_moments_of(index.sides[Side.IMAGES], known)
        if moment not in new_ids
    ]
    if not outdated:
        return
    removed = {Side.IMAGES: outdated, Side.TEXTS: find_texts_of(index, outdated)}
    for side, ids in removed.items():
        change = index.sides[side].check_deletion(ids) if ids else None
        if change is not None:
            changes[side] = [change, *changes.get(side, [])]


def add_outdated_texts(
    index: IndexParts,
    contents: Mapping[Side, SideContent],
    changes: dict[Side, list[ItemChange]],
) -> None:
    """Add the removal of texts of replaced pictures that aren't replaced themselves."""
    images, texts = contents.get(Side.IMAGES), contents.get(Side.TEXTS)
    kept_ids = set() if texts is None else set(texts.ids)
    outdated = [
        value
        for value in find_texts_of(index, [] if images is None else list(images.ids))
        if value not in kept_ids
    ]
    if outdated:
        removal = index.sides[Side.TEXTS].check_deletion(outdated)
        assert removal is not None
        changes[Side.TEXTS] = [removal, *changes.get(Side.TEXTS, [])]


def compact_sides(index: IndexParts) -> None:
    """Write both sides anew, without what was deleted; see `SearchIndex.compact`."""
    with writing(index.sides):
        finish_pending(index.folder, index.sides)
        for side_index in index.sides.values():
            side_index.compact()
        remove_unnamed_pictures(index.folder, index.sides.get(Side.IMAGES))


def select_known_ids(index: HashIndex, ids: Sequence[Any]) -> list[Any]:
    """List those of some ids that an index has."""
    return [value for value, is_there in zip(ids, index.contains(ids), strict=True) if is_there]
