"""Items as rows of a Milvus collection, and reading many rows without an order to go by.

Milvus gives rows in no order, at most some thousands an answer. Rows are numbered in the order of
insertion, so they are read by windows of numbers, which widen where many numbers are gone.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from modalhash.codes import Codes
from modalhash.errors import InputError
from modalhash.index.milvus_collection import LONGEST_TEXT, MilvusCollection, Row
from modalhash.index.milvus_filters import fields_of, partition_of

__all__ = ["Item", "codes_of", "first_free_number", "metadata_of", "pages", "row_of"]

BLOCK_ROWS: Final = 4096


@dataclass(frozen=True)
class Item:
    """What is written of an item.

    Attributes:
        id: the user's.
        code: packed.
        document: metadata as JSON; None if there is none.
    """

    id: str | int
    code: bytes
    document: str | None


def row_of(item: Item, number: int, partition_field: str) -> Row:
    """Write an item as a row.

    Args:
        item: to be written.
        number: its place in the order of insertion.
        partition_field: the field that decides on the partition; "" if there are none.

    Raises:
        InputError: if its id or its metadata is longer than Milvus stores.
    """
    if isinstance(item.id, str) and len(item.id.encode()) > LONGEST_TEXT:
        raise InputError(
            f"an id has {len(item.id.encode())} bytes ({item.id[:20]!r}...): Milvus stores up to "
            f"{LONGEST_TEXT}, so choose shorter ids"
        )
    metadata = {} if item.document is None else json.loads(item.document)
    if item.document is not None and len(item.document.encode()) > LONGEST_TEXT:
        raise InputError(
            f"metadata of item {item.id!r} has {len(item.document.encode())} bytes: Milvus stores "
            f"up to {LONGEST_TEXT}, so leave something out, or keep it elsewhere by id"
        )
    fields = fields_of(metadata)
    is_same = json.dumps(fields, ensure_ascii=False) == (item.document or "{}")
    row: Row = {
        "id": item.id,
        "number": number,
        "code": item.code,
        "fields": fields,
        "document": "" if is_same else item.document,
    }
    if partition_field:
        row["partition"] = partition_of(metadata.get(partition_field))
    return row


def metadata_of(row: Row) -> dict[str, Any]:
    """Read an item's metadata as it was given."""
    if row["document"]:
        document: dict[str, Any] = json.loads(row["document"])
        return document
    fields = row["fields"]
    return dict(json.loads(fields) if isinstance(fields, str | bytes) else fields)


def codes_of(rows: Sequence[Row], width: int) -> Codes:
    """Read the codes of rows, (n, p) uint8."""
    parts = [row["code"][0] if isinstance(row["code"], list) else row["code"] for row in rows]
    return np.frombuffer(b"".join(parts), np.uint8).reshape(len(rows), width)


def pages(
    collection: MilvusCollection, expression: str, fields: Sequence[str], *, consistency: str
) -> Iterator[list[Row]]:
    """Yield the rows that pass an expression, in the order of their numbers.

    Each page is of its own moment: what is written meanwhile is in it or not.

    Args:
        collection: which is read.
        expression: "" lets all pass.
        fields: of a row that are asked for; `number` always comes.
        consistency: level of every request.
    """
    start, width, rest = 0, BLOCK_ROWS, f" and ({expression})" if expression else ""
    while True:
        window = f"number >= {start} and number < {start + width}{rest}"
        if width > BLOCK_ROWS:
            while (n := collection.count(window, consistency=consistency)) > BLOCK_ROWS:
                width = max(width // max(2, n // BLOCK_ROWS), 1)
                window = f"number >= {start} and number < {start + width}{rest}"
        rows = collection.rows(window, [*fields, "number"], consistency=consistency)
        if rows:
            yield sorted(rows, key=lambda row: int(row["number"]))
        start += width
        if len(rows) < BLOCK_ROWS // 4:
            if not collection.count(f"number >= {start}{rest}", consistency=consistency):
                return
            width *= 4


def first_free_number(collection: MilvusCollection, hint: int) -> int:
    """Ask for a number above all that are in use.

    Args:
        collection: whose rows are numbered.
        hint: where to begin to look: what the number once was.
    """
    low, step = hint, 1

    def is_free(number: int) -> bool:
        return not collection.count(f"number >= {number}", consistency="Strong")

    if is_free(low):
        return low
    while not is_free(low + step):
        low, step = low + step, 4 * step
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_free(middle) else (middle, high)
    return high
