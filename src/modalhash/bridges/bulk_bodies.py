"""Bodies of `_bulk` requests, which Elasticsearch and OpenSearch share."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from modalhash.bridges.contents import Content
from modalhash.bridges.folders import as_json, write_parts
from modalhash.codes import Codes
from modalhash.errors import InputError

__all__ = ["LOADING", "write_bulk"]

PART_BYTES: Final = 16 << 20
"""A request may have 100 MB by default; small ones are taken as quickly."""
LONGEST_ID: Final = 512
LOADING: Final = """\
```
curl -X PUT "$URL/{name}" -H "Content-Type: application/json" --data-binary @index.json
for file in bulk-*.ndjson; do
    curl -X POST "$URL/{name}/_bulk" -H "Content-Type: application/x-ndjson" --data-binary @"$file"
done
curl -X POST "$URL/{name}/_search" -H "Content-Type: application/json" --data-binary @query.json
```
"""
"""How both are loaded and asked, for their guides; `{name}` is the index."""


def write_bulk(
    folder: Path, content: Content, spell: Callable[[Codes], Sequence[Any]]
) -> list[str]:
    """Write `bulk-*.ndjson`, two lines an item, and return the files' names.

    Args:
        folder: where they go.
        content: the items.
        spell: turns packed codes into what the field `code` takes.

    Raises:
        InputError: if an id is empty or longer than `_id` may be, naming it.
    """

    def records() -> Iterator[bytes]:
        for block in content.source.blocks():
            ids: list[Any] = block.ids.tolist()
            for value, code, metadata in zip(ids, spell(block.codes), block.metadata, strict=True):
                action = as_json({"index": {"_id": check_id(value)}})
                document = as_json({"code": code, "metadata": metadata})
                yield action + b"\n" + document + b"\n"

    return write_parts(folder, "bulk-{:05d}.ndjson", records(), n_bytes=PART_BYTES)


def check_id(value: str | int) -> str:
    """Check an id and write it as the text that `_id` takes.

    Raises:
        InputError: if it is empty or too long.
    """
    text = str(value)
    if not 0 < len(text.encode()) <= LONGEST_ID:
        raise InputError(
            f"the id {text[:40]!r} has {len(text.encode())} bytes, an _id has 1 to {LONGEST_ID}: "
            "add the item under another id"
        )
    return text
