"""Fields that a filter names: one that no item has is a mistake, and not a filter of nothing."""

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Any, Final

from modalhash.errors import FilterError
from modalhash.index import HashIndex
from modalhash.index.filter_tree import Compare, leaves
from modalhash.index.filters import parse_filter
from modalhash.search.kept_features import KEPT_NAMES

__all__ = ["check_filter_fields", "hint_at_lists"]

OWN_FIELDS: Final = ("caption", "image", "item")
"""Fields that every search index has, also where they are null in all items."""
BLOCK_ITEMS, SAMPLED_BLOCKS = 500, 10
SAMPLED_ITEMS: Final = 20
DEEPEST: Final = 3


def check_filter_fields(
    index: HashIndex, where: str, documents: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Refuse a filter that names a field which no item of an index has.

    Args:
        index: one side.
        where: the filter; it was parsed before.
        documents: metadata of items that are at hand; a field that one of them has is known
            without a look at the others.

    Raises:
        FilterError: naming the field and the one that is spelt most like it.
    """
    if not len(index):
        return
    for path in dict.fromkeys(leaf.field for leaf in leaves(parse_filter(where))):
        if path[0] in OWN_FIELDS or any(has_field(document, path) for document in documents):
            continue
        if len(index.select(f"{as_field(path)} is not null")):
            continue
        name = ".".join(path)
        known = list_fields(index)
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known[:20])}"
        place = max(where.find(path[0]), 0)
        raise FilterError(where, place, f"no item has a field {name!r}: {hint}")


def hint_at_lists(index: HashIndex, where: str) -> str | None:
    """Find a field that a filter compares with one value although items have lists there.

    Args:
        index: one side, of which no item passes the filter.
        where: the filter.

    Returns:
        How to write the test instead; None if there is no such field.
    """
    for leaf in leaves(parse_filter(where)):
        if not isinstance(leaf, Compare) or leaf.operator != "==":
            continue
        ids = index.select(f"{as_field(leaf.field)} is not null")[:SAMPLED_ITEMS]
        for document in index.metadata(ids):
            value: Any = document
            for name in leaf.field:
                value = value.get(name) if isinstance(value, Mapping) else None
            if isinstance(value, list):
                field, text = ".".join(leaf.field), json.dumps(leaf.value, ensure_ascii=False)
                return f"{field} holds lists: write {text} in {field}"
    return None


def has_field(document: Mapping[str, Any], path: Sequence[str]) -> bool:
    """Tell whether a document has a value, which isn't null, at a field."""
    value: Any = document
    for name in path:
        if not isinstance(value, Mapping) or value.get(name) is None:
            return False
        value = value[name]
    return True


def as_field(path: Sequence[str]) -> str:
    """Write a field as a filter takes it."""
    return ".".join(f"`{name}`" for name in path)


def list_fields(index: HashIndex) -> list[str]:
    """List the fields of the first items, those of mappings behind dots, and the common ones."""
    names = set(OWN_FIELDS)
    for block in islice(index.blocks(BLOCK_ITEMS), SAMPLED_BLOCKS):
        for document in block.metadata:
            names.update(iterate_names(document))
    return sorted(names - set(KEPT_NAMES))


def iterate_names(document: Mapping[str, Any], prefix: str = "", depth: int = 1) -> Iterator[str]:
    """Yield the names of a document's fields, those of mappings too."""
    for name, value in document.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping) and depth < DEEPEST:
            yield from iterate_names(value, f"{prefix}{name}.", depth + 1)
