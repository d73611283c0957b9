"""Shards in Parquet: a row an item.

| column | holds |
|---|---|
| `id` or `key` | a text or an integer, distinct over all shards |
| `image` | a picture file's bytes, or `{bytes, path}` as Hugging Face's datasets store pictures |
| `jpg`, `jpeg`, `png`, `webp` | or so, as img2dataset names it |
| `image_path` | or where the picture lies, relative to the folder of pictures |
| `text` or `caption` | a text, or a list of texts |
| `image_features`, `text_features` | or lists of numbers, for models that were trained on arrays |

A row without picture whose `status` isn't `success` is one that img2dataset couldn't download: it
is passed over and counted in the log.
"""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.data.parquet_files import column_values, open_parquet
from modalhash.data.pictures import is_safe_name
from modalhash.data.shards import (
    BadRow,
    Shard,
    ShardReader,
    ShardRow,
    SideWidths,
    id_problem,
    unreadable,
)
from modalhash.errors import CollectionError, Defect

__all__ = ["ParquetShard"]

logger = logging.getLogger(__name__)

ID_COLUMNS: Final = ("id", "key")
IMG2DATASET_COLUMNS: Final = ("jpg", "jpeg", "png", "webp")
"""Columns of pictures that are called after their format."""
COLUMNS: Final = {
    ("image", False): ("image", "image_path", *IMG2DATASET_COLUMNS),
    ("text", False): ("text", "caption"),
    ("image", True): ("image_features",),
    ("text", True): ("text_features",),
}
"""Modality, and whether the model reads arrays, to the columns that may hold it."""
READ_ROWS: Final = 128
"""Rows that are in memory at once."""


class ParquetShard(ShardReader):
    """An opened Parquet file; see `open_shard`."""

    def __init__(self, shard: Shard, side_widths: SideWidths, images: Path) -> None:
        self.shard, self.side_widths, self.images = shard, side_widths, images
        try:
            with open_parquet(shard.path) as rows:
                names = rows.names
        except (OSError, ValueError) as error:
            raise unreadable(shard, "Parquet", error) from error
        self.id_column = self.first_of(ID_COLUMNS, names)
        columns = {
            side: self.first_of(COLUMNS[side, width is not None], names)
            for side, width in side_widths.items()
        }
        if self.id_column is None or not any(columns.values()):
            lacks = "id" if self.id_column is None else " or ".join(self.list_columns())
            problem = f"has no column {lacks}; it has {', '.join(names) or 'none'}"
            raise CollectionError([Defect("wrong-column", shard.name, problem)])
        self.columns = {side: name for side, name in columns.items() if name is not None}
        self.has_status = "status" in names and "image" in self.columns
        self.sides = tuple(self.columns)

    @staticmethod
    def first_of(candidates: tuple[str, ...], names: list[str]) -> str | None:
        """Find the first of some columns that the file has."""
        return next((name for name in candidates if name in names), None)

    def list_columns(self) -> list[str]:
        """List the columns that would be read."""
        return [
            name
            for side, width in self.side_widths.items()
            for name in COLUMNS[side, width is not None]
            if name not in IMG2DATASET_COLUMNS
        ]

    def rows(self) -> Iterator[ShardRow | BadRow]:
        """Yield every row; see `ShardReader.rows`."""
        columns = [name for name in (self.id_column, *self.columns.values()) if name is not None]
        if self.has_status:
            columns.append("status")
        columns = list(dict.fromkeys(columns))
        n_read = n_failed = 0
        try:
            with open_parquet(self.shard.path) as rows:
                for batch in rows.batches(columns, most_rows=READ_ROWS, is_kept=False):
                    ids = batch.column(self.id_column).to_pylist()
                    cells = {
                        side: self.make_cell_reader(batch.column(name), name)
                        for side, name in self.columns.items()
                    }
                    failed = self.failed_rows(batch)
                    n_failed += len(failed)
                    for row, value in enumerate(ids):
                        if row in failed:
                            continue
                        yield self.check_row(n_read + row, value, cells, row)
                    n_read += len(ids)
        except CollectionError:
            raise
        except (OSError, ValueError) as error:
            place = f", behind row {n_read - 1}" if n_read else ""
            raise unreadable(self.shard, "Parquet", error, place) from error
        if n_failed:
            logger.info(
                "%s: %d rows have no picture and say so (status)", self.shard.name, n_failed
            )

    def failed_rows(self, batch: Any) -> set[int]:
        """Find the rows of a batch that state that their picture couldn't be downloaded."""
        if not self.has_status:
            return set()
        filled = batch.column(self.columns["image"]).is_valid().to_pylist()
        stated = batch.column("status").to_pylist()
        return {row for row, status in enumerate(stated) if status != "success" and not filled[row]}

    def make_cell_reader(self, column: Any, name: str) -> Callable[[int], Any]:
        """Make the function that gives the cell of a row."""
        if not name.endswith("_features"):
            values = column_values(column)
            return lambda row: values[row]
        return make_vector_reader(column)

    def check_row(
        self, number: int, value: Any, cells: dict[Any, Callable[[int], Any]], row: int
    ) -> ShardRow | BadRow:
        """Check a row of a batch: the row, or what is wrong with it."""
        place = f"{self.shard.name}, row {number}"
        problem = id_problem(value)
        if problem is not None:
            return BadRow(number, Defect("wrong-id", place, problem))
        images: tuple[Any, ...] = ()
        texts: tuple[Any, ...] = ()
        for side, cell in cells.items():
            content, problem = (self.pictures_in if side == "image" else self.texts_in)(cell(row))
            if problem is not None:
                problem = f"{problem} (id {value!r})"
                return BadRow(number, Defect("wrong-value", place, problem, (str(value),)))
            if side == "image":
                images = content
            else:
                texts = content
        return ShardRow(number, place, value, images, texts)

    def pictures_in(self, cell: Any) -> tuple[tuple[Any, ...], str | None]:
        """Read the picture of a cell, or say what is wrong with it."""
        width = self.side_widths["image"]
        if width is not None:
            return features_in(cell, "image_features", width)
        if isinstance(cell, dict):  # {"bytes": ..., "path": ...}
            cell = cell.get("bytes") or cell.get("path")
        if isinstance(cell, bytes):
            return (cell,), None
        name = self.columns["image"]
        if not isinstance(cell, str):
            kind = "nothing" if cell is None else f"of type {type(cell).__name__}"
            return (), f"{name} is {kind}, expected a picture's bytes or its path"
        if not is_safe_name(cell):
            return (), (
                f"{name} {cell!r} isn't a name inside the folder of pictures: write it relative to "
                "that folder, without '..', and name the folder with --images"
            )
        return (self.images / cell,), None

    def texts_in(self, cell: Any) -> tuple[tuple[Any, ...], str | None]:
        """Read the texts of a cell, or say what is wrong with it."""
        width = self.side_widths["text"]
        if width is not None:
            return features_in(cell, "text_features", width)
        texts = cell if isinstance(cell, list) else [cell]
        name = self.columns["text"]
        for text in texts or [None]:
            if text is not None and not isinstance(text, str):
                return (), f"{name} is of type {type(text).__name__}, expected a text"
            if text is None or not text.strip():
                return (), f"{name} is empty; write a text, or delete the row"
        return tuple(texts), None


def features_in(cell: Any, name: str, width: int) -> tuple[tuple[Any, ...], str | None]:
    """Read the features of a cell, or say what is wrong with them."""
    if cell is None or len(cell) != width:
        came = "nothing" if cell is None else f"{len(cell)} numbers"
        return (), f"{name} is {came}, expected {width}, the width the model was trained on"
    return (cell,), None


def make_vector_reader(column: Any) -> Callable[[int], NDArray[Any] | None]:
    """Make the function that reads row `i` of a column of lists, None where there is no list.

    Raises:
        ValueError: if it is no column of lists of numbers.
    """
    kind = str(column.type)
    if not hasattr(column, "values") or "list" not in kind:
        raise ValueError(f"a column of features is of type {kind}, expected lists of numbers")
    values = np.asarray(column.values.to_numpy(zero_copy_only=False))
    if values.dtype.kind not in "fiu":
        raise ValueError(f"a column of features is of type {kind}, expected lists of numbers")
    is_there = column.is_valid().to_pylist()
    if hasattr(column, "offsets"):
        ends = column.offsets.to_numpy()
    else:  # lists of one length
        ends = (column.offset + np.arange(len(column) + 1)) * column.type.list_size
    return lambda row: values[ends[row] : ends[row + 1]] if is_there[row] else None
