"""Metadata of an item as JSON, which every kind of index can store."""

import json
from collections.abc import Mapping
from typing import Final

from modalhash.errors import InputError
from modalhash.numpy_numbers import json_number

__all__ = ["to_json"]

MOST_DEPTH: Final = 500
"""Levels of metadata; SQLite reads 1000, and Python's own reader not many more."""


def to_json(item_id: object, metadata: object) -> str:
    """Write metadata as a JSON object.

    Raises:
        InputError: if it isn't a mapping of names to JSON values, or nested too deep, naming the
            item.
    """
    if not isinstance(metadata, Mapping):
        problem = f"it is of type {type(metadata).__name__}"
    elif odd := [name for name in metadata if not isinstance(name, str)]:
        problem = f"it has the name {odd[0]!r}"
    elif is_deeper(metadata, MOST_DEPTH):
        problem = f"it is nested more than {MOST_DEPTH} deep"
    else:
        try:
            document = json.dumps(
                dict(metadata), ensure_ascii=False, allow_nan=False, default=json_number
            )
            document.encode()  # half of a surrogate pair shows here, not in the middle of a change
        except (TypeError, ValueError) as error:
            problem = str(error)
        else:
            return document
    raise InputError(
        f"metadata of item {item_id!r} can't be stored as JSON ({problem}): "
        "names are texts; values are texts, finite numbers, true, false, null, lists or mappings"
    )


def is_deeper(value: object, depth: int) -> bool:
    """Tell whether mappings and lists are nested deeper than a number of levels.

    Example:
        >>> is_deeper({"a": [1]}, 2), is_deeper({"a": [1]}, 1)
        (False, True)
    """
    level = [value]
    for _ in range(depth):
        inner: list[object] = []
        for part in level:
            if isinstance(part, Mapping):
                inner += part.values()
            elif isinstance(part, list | tuple):
                inner += part
        level = [part for part in inner if isinstance(part, Mapping | list | tuple)]
        if not level:
            return False
    return True
