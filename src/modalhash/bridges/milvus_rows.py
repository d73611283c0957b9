"""Files that Milvus imports in bulk: rows in JSON, and the schema of their collection.

Milvus wants whole bytes, so padding bits are stored; they are zero and change no distance. To keep
an index on a server, which can be changed and filtered through modalhash, use `modalhash index
--url` instead.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from modalhash.bridges.contents import Content, Written
from modalhash.bridges.folders import as_json, write_parts
from modalhash.errors import InputError
from modalhash.files import write_json

__all__ = ["write"]

SCHEMA: Final = "schema.json"
PART_BYTES: Final = 256 << 20
LONGEST_TEXT: Final = 65_535
"""Bytes of an id or of an item's metadata that Milvus stores."""
GUIDE: Final = """\
The rows have `id`, `code` (a binary vector of {n_padded} bits, as bytes from 0 to 255) and
`metadata`. `schema.json` describes the collection. Through `pymilvus`:

```python
import json
from pathlib import Path

from pymilvus import DataType, MilvusClient

client = MilvusClient("http://localhost:19530")
schema = client.create_schema(auto_id=False)
schema.add_field("id", DataType.{id_type}, is_primary=True{id_length})
schema.add_field("code", DataType.BINARY_VECTOR, dim={n_padded})
schema.add_field("metadata", DataType.JSON)
index = client.prepare_index_params()
index.add_index("code", index_type="BIN_FLAT", metric_type="HAMMING")
client.create_collection("{name}", schema=schema, index_params=index)
for file in sorted(Path(".").glob("rows-*.json")):
    rows = [dict(row, code=bytes(row["code"])) for row in json.loads(file.read_text())["rows"]]
    for start in range(0, len(rows), 5000):
        client.insert("{name}", rows[start : start + 5000])
```

Instead of the last four lines, files that lie in the server's object storage are imported by the
server itself: `pymilvus.utility.do_bulk_insert("{name}", files=["rows-00000.json"])`, one call a
file.

A query is `bytes(code)`; the metric HAMMING gives the distance.
"""


def write(folder: Path, content: Content) -> Written:
    """Write `rows-*.json` and `schema.json`; see `Written`.

    Raises:
        InputError: if an id or an item's metadata is longer than Milvus stores.
    """

    def records() -> Iterator[bytes]:
        for block in content.source.blocks():
            ids: list[Any] = block.ids.tolist()
            for value, code, metadata in zip(
                ids, block.codes.tolist(), block.metadata, strict=True
            ):
                record = as_json({"id": value, "code": code, "metadata": metadata})
                check_length(value, metadata)
                yield record

    write_json(folder / SCHEMA, make_schema(content))
    names = write_parts(
        folder, "rows-{:05d}.json", records(),
        n_bytes=PART_BYTES, head=b'{"rows":[\n', separator=b",\n", tail=b"\n]}\n",
    )  # fmt: skip
    guide = GUIDE.format(
        name=content.name,
        n_padded=content.n_padded,
        id_type="VARCHAR" if content.has_text_ids else "INT64",
        id_length=f", max_length={LONGEST_TEXT}" if content.has_text_ids else "",
    )
    about = {"field": f"BINARY_VECTOR of {content.n_padded} bits", "distance": "HAMMING"}
    return Written((SCHEMA, *names), about, guide)


def make_schema(content: Content) -> dict[str, Any]:
    """Make the collection's schema as Milvus's REST API takes it."""
    identity: dict[str, Any] = {"fieldName": "id", "dataType": "Int64", "isPrimary": True}
    if content.has_text_ids:
        identity |= {"dataType": "VarChar", "elementTypeParams": {"max_length": LONGEST_TEXT}}
    code = {
        "fieldName": "code",
        "dataType": "BinaryVector",
        "elementTypeParams": {"dim": content.n_padded},
    }
    return {
        "collectionName": content.name,
        "schema": {
            "autoId": False,
            "enabledDynamicField": False,
            "fields": [identity, code, {"fieldName": "metadata", "dataType": "JSON"}],
        },
        "indexParams": [
            {
                "fieldName": "code",
                "indexName": "code",
                "metricType": "HAMMING",
                "indexType": "BIN_FLAT",
            }
        ],
    }


def check_length(value: str | int, metadata: Any) -> None:
    """Refuse an id or metadata that Milvus doesn't store.

    Raises:
        InputError: if one is too long, naming the item.
    """
    for name, text in (("id", str(value).encode()), ("metadata", as_json(metadata))):
        if len(text) > LONGEST_TEXT:
            raise InputError(
                f"{name} of item {str(value)[:40]!r} has {len(text)} bytes, Milvus stores up to "
                f"{LONGEST_TEXT}: upsert it with less"
            )
