"""Shards of a collection, as other programs write them: Parquet and tars."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from modalhash.data import Collection

__all__ = ["png", "rows_of", "write_parquet", "write_shards", "write_tar"]


def png(collection: Collection, item: int) -> bytes:
    """Return an item's picture as a file's bytes; PNG loses nothing."""
    assert collection.pictures is not None
    buffer = io.BytesIO()
    collection.pictures.open(item).save(buffer, "PNG")
    return buffer.getvalue()


def rows_of(collection: Collection, items: Sequence[int]) -> list[dict[str, Any]]:
    """Return items as rows of a table."""
    assert collection.captions is not None
    return [
        {
            "id": collection.item_ids[item],
            "image": png(collection, item),
            "text": [
                collection.captions[row]
                for row, owner in enumerate(collection.caption_items)
                if owner == item
            ],
        }
        for item in items
    ]


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows as a Parquet shard."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
    return path


def write_tar(path: Path, rows: Sequence[Mapping[str, Any]], *, text_in: str = "txt") -> Path:
    """Write rows as a tar shard; of several texts the first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for row in rows:
            members = {"png": row["image"]} if "image" in row else {}
            if "text" in row:
                text = row["text"][0] if isinstance(row["text"], list) else row["text"]
                content = json.dumps({"caption": text}) if text_in == "json" else text
                members[text_in] = content.encode()
            for suffix, content in members.items():
                entry = tarfile.TarInfo(f"{row['id']}.{suffix}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return path


def write_shards(folder: Path, collection: Collection, n_shards: int) -> list[Path]:
    """Write a collection as Parquet shards of like size, in the order of its items."""
    bounds = [place * collection.n_items // n_shards for place in range(n_shards + 1)]
    return [
        write_parquet(
            folder / f"part-{shard:05d}.parquet",
            rows_of(collection, range(bounds[shard], bounds[shard + 1])),
        )
        for shard in range(n_shards)
    ]
