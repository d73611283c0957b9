"""`items.jsonl`: ids and metadata beside files that hold nothing but integer keys and codes."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.bridges.folders import as_json
from modalhash.index import ItemBlock

__all__ = ["ITEMS", "item_lines"]

ITEMS: Final = "items.jsonl"


def item_lines(keys: NDArray[np.int64], block: ItemBlock) -> Iterator[bytes]:
    """Yield a line of JSON an item: its key, its id, its metadata."""
    ids: list[Any] = block.ids.tolist()
    for key, value, metadata in zip(keys.tolist(), ids, block.metadata, strict=True):
        yield as_json({"key": key, "id": value, "metadata": metadata}) + b"\n"
