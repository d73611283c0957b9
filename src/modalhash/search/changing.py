"""Changes of a search index: items are added, replaced or removed on both sides, or on none."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from modalhash.errors import InputError
from modalhash.files import write_with
from modalhash.index import HashIndex, Ids
from modalhash.index.filters import quoted
from modalhash.index.ids import shown
from modalhash.modalities import Side
from modalhash.search.contents import SideContent
from modalhash.search.parts import IndexParts
from modalhash.search.pending_changes import SideChange, change_sides, finish_pending, writing

__all__ = [
    "PICTURES",
    "add_contents",
    "compact_sides",
    "delete_items",
    "delete_items_where",
    "write_picture",
]

IDS_A_FILTER = 200
PICTURES = "pictures"


def add_contents(
    index: IndexParts,
    contents: Mapping[Side, SideContent],
    *,
    pictures: Iterable[tuple[str, Image.Image]] = (),
    upsert: bool = False,
) -> None:
    """Add items to both sides, or to none; see `SearchIndex.add`."""
    with writing(index.sides):
        finish_pending(index.folder, index.sides)
        operation = "upsert" if upsert else "add"
        changes = [
            (side, SideChange(operation, list(content.ids), content.codes, content.metadata))
            for side, content in contents.items()
            if side in index.sides and len(content.ids)
        ]
        for side, change in changes:
            check_new(index.sides[side], change)
        if upsert:
            changes = [*outdated_texts(index, contents), *changes]
        for name, picture in pictures:
            write_picture(index.folder / PICTURES / name, picture)
        change_sides(index.folder, index.sides, changes)


def delete_items(index: IndexParts, ids: Ids, *, missing: str = "error") -> int:
    """Remove items with their texts, or single texts; see `SearchIndex.delete`."""
    with writing(index.sides):
        finish_pending(index.folder, index.sides)
        left = list(dict.fromkeys(ids))
        ids_by_side: dict[Side, list[Any]] = {}
        for side, one in index.sides.items():
            known = known_ids(one, left)
            ids_by_side[side] = known
            taken = set(known)
            left = [value for value in left if value not in taken]
        if left and missing == "error":
            raise InputError(
                f"the index has no item {shown(left)}: nothing was deleted; ids are those of "
                "pictures or of texts"
            )
        return delete_with_texts(index, ids_by_side)


def delete_items_where(index: IndexParts, where: str) -> int:
    """Remove the items that pass a filter; see `SearchIndex.delete_where`."""
    with writing(index.sides):
        finish_pending(index.folder, index.sides)
        side = Side.IMAGES if Side.IMAGES in index.sides else Side.TEXTS
        return delete_with_texts(index, {side: index.sides[side].select(where).tolist()})


def delete_with_texts(index: IndexParts, ids_by_side: Mapping[Side, Sequence[Any]]) -> int:
    """Remove items, and the texts and drawn pictures that belong to them."""
    images, texts = (list(ids_by_side.get(side, ())) for side in (Side.IMAGES, Side.TEXTS))
    drawn: list[str] = []
    if images:
        drawn = [
            str(metadata["image"])
            for metadata in index.sides[Side.IMAGES].metadata(images)
            if str(metadata.get("image")).startswith(f"{PICTURES}/")
        ]
        texts = list(dict.fromkeys([*texts, *texts_of(index, images)]))
    changes = [
        (side, SideChange("delete", removed))
        for side, removed in ((Side.IMAGES, images), (Side.TEXTS, texts))
        if removed
    ]
    change_sides(index.folder, index.sides, changes)
    for name in drawn:
        (index.folder / name).unlink(missing_ok=True)
    return len(images) + len(texts)


def texts_of(index: IndexParts, images: Sequence[Any]) -> list[Any]:
    """Return the ids of the texts of some pictures."""
    if Side.TEXTS not in index.sides:
        return []
    texts: list[Any] = []
    for start in range(0, len(images), IDS_A_FILTER):
        values = ", ".join(quoted(value) for value in images[start : start + IDS_A_FILTER])
        texts += index.sides[Side.TEXTS].select(f"item in ({values})").tolist()
    return texts


def outdated_texts(
    index: IndexParts, contents: Mapping[Side, SideContent]
) -> list[tuple[Side, SideChange]]:
    """Return the removal of texts of replaced pictures that aren't replaced themselves."""
    images, texts = contents.get(Side.IMAGES), contents.get(Side.TEXTS)
    kept = set() if texts is None else set(texts.ids)
    outdated = [
        value
        for value in texts_of(index, [] if images is None else list(images.ids))
        if value not in kept
    ]
    return [(Side.TEXTS, SideChange("delete", outdated))] if outdated else []


def compact_sides(index: IndexParts) -> None:
    """Write both sides anew, without what was deleted; see `SearchIndex.compact`."""
    with writing(index.sides):
        finish_pending(index.folder, index.sides)
        for one in index.sides.values():
            one.compact()


def known_ids(index: HashIndex, ids: Sequence[Any]) -> list[Any]:
    """Return those of some ids that an index has."""
    return [value for value, is_there in zip(ids, index.contains(ids), strict=True) if is_there]


def check_new(index: HashIndex, change: SideChange) -> None:
    """Refuse what can't be added to a side, before anything is changed.

    Raises:
        InputError: if an id comes twice, or is there although it is added, naming it; or if codes
            or metadata don't fit.
    """
    assert change.codes is not None
    index.check_items(change.ids, change.codes, change.metadata)
    twice = [value for value, count in Counter(change.ids).items() if count > 1]
    if twice:
        raise InputError(f"ids holds {shown(twice)} more than once: nothing was added")
    there = known_ids(index, change.ids) if change.operation == "add" else []
    if there:
        raise InputError(
            f"the index already has {shown(there)}: nothing was added; take their place with "
            "upsert (on the command line --upsert), or leave them out"
        )


def write_picture(path: Path, picture: Image.Image) -> None:
    """Write a PNG file."""
    write_with(path, lambda file: picture.save(file, "PNG"))
