"""Parquet files and Arrow files, read column by column; pictures stay in the file until opened."""

import json
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any, Final

from modalhash.data.parquet_files import column_values, open_parquet
from modalhash.errors import CollectionError, Defect
from modalhash.extras import import_optional
from modalhash.files import check_regular_file, file_stamp

__all__ = ["ArrowFile", "ArrowPicture", "open_arrow"]

_KEPT_BATCHES: Final = 2
"""Batches of pictures that stay in memory, of all files together."""
_BATCHES: "OrderedDict[tuple[Path, str, str, int], Any]" = OrderedDict()
_LOCK: Final = Lock()


@dataclass(frozen=True)
class ArrowPicture:
    """A picture in a cell of a Parquet or Arrow file; see `StoredPicture`.

    Attributes:
        file: the opened file.
        column: the cell's column.
        batch: the row group or record batch, from 0.
        row: of the cell in its batch.
        label: the path that is stored beside the bytes, or "".
    """

    file: "ArrowFile"
    column: str
    batch: int
    row: int
    label: str = ""

    @property
    def place(self) -> Path:
        """Return what messages call it."""
        return self.file.path / f"{self.column}, row {self.file.starts[self.batch] + self.row + 1}"

    def read(self) -> bytes:
        """Read the picture file's bytes.

        Raises:
            CollectionError: if the file can't be read, or the cell holds no bytes.
        """
        content = self.file.cell(self.column, self.batch, self.row)
        if not isinstance(content, bytes) or not content:
            problem = "holds no picture; write its bytes, or delete the row"
            raise CollectionError([Defect("missing-picture", str(self.place), problem)])
        return content

    def stamp(self) -> str:
        """Combine the file's size and times and the cell's place."""
        return f"{file_stamp(self.file.path)}:{self.column}:{self.batch}:{self.row}"


class ArrowFile:
    """A Parquet file, or an Arrow file as Hugging Face's `save_to_disk` writes it.

    Args:
        path: the file.
        kind: "parquet" or "arrow".

    Attributes:
        names: of the columns.
        starts: the first row of each batch, from 0.
        lengths: the rows of each batch.
        class_names: column of class numbers to the names of the classes, as Hugging Face's
            `ClassLabel` stores them.

    Raises:
        ValueError: if it is no such file, or damaged.
        OSError: if it can't be read.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.path, self.kind = path.absolute(), kind
        check_regular_file(path)
        self.arrow = import_optional("pyarrow", extra="parquet", feature="reading Parquet")
        schema, lengths = self._open_parquet() if kind == "parquet" else self._open_arrow()
        self.types = dict(zip(schema.names, schema.types, strict=False))
        self.names: list[str] = list(schema.names)
        self.starts = [0, *accumulate(lengths)][: len(lengths)]
        self.lengths = lengths
        self.class_names = _class_names(schema.metadata)

    def _open_parquet(self) -> tuple[Any, list[int]]:
        with open_parquet(self.path) as rows:
            return rows.file.schema_arrow, rows.lengths

    def _open_arrow(self) -> tuple[Any, list[int]]:
        batches = self._arrow_batches
        return batches[0].schema, [len(batch) for batch in batches]

    @cached_property
    def _arrow_batches(self) -> list[Any]:
        """Return the record batches of an Arrow file, mapped into memory."""
        ipc = import_optional("pyarrow.ipc", extra="parquet", feature="reading Arrow files")
        mapped = self.arrow.memory_map(str(self.path))
        try:
            reader = ipc.open_stream(mapped)
            batches = list(reader)
        except self.arrow.ArrowInvalid:
            mapped.seek(0)
            reader = ipc.open_file(mapped)
            batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        return batches or [self.arrow.RecordBatch.from_pylist([], schema=reader.schema)]

    def holds_pictures(self, column: str) -> bool:
        """Tell whether a column holds picture files: bytes, or `{bytes, path}`."""
        kind = self.types[column]
        if self.arrow.types.is_struct(kind):
            return any(kind.field(place).name == "bytes" for place in range(kind.num_fields))
        binary = ("is_binary", "is_large_binary", "is_fixed_size_binary")
        return any(getattr(self.arrow.types, name)(kind) for name in binary)

    def read_column(self, column: str) -> list[Any]:
        """Read the values of a column; pictures as `ArrowPicture`, or None where there is none.

        Raises:
            ValueError: if the file is damaged.
        """
        if self.holds_pictures(column):
            return list(self._pictures(column))
        values: list[Any] = []
        for batch in range(len(self.lengths)):
            values.extend(column_values(self._read_batch(batch, column)))
        return values

    def _pictures(self, column: str) -> Iterator["ArrowPicture | str | None"]:
        """Yield the pictures of a column; a path without bytes as it stands there."""
        for batch, length in enumerate(self.lengths):
            filled, paths = self._filled_cells(batch, column, length)
            for row, (has_bytes, path) in enumerate(zip(filled, paths, strict=True)):
                picture = ArrowPicture(self, column, batch, row, path or "")
                yield picture if has_bytes else path

    def _filled_cells(
        self, batch: int, column: str, length: int
    ) -> tuple[list[bool], list[str | None]]:
        """Find out which cells of a batch hold bytes, and read the paths beside the bytes."""
        kind = self.types[column]
        is_struct = self.arrow.types.is_struct(kind)
        fields = [kind.field(number).name for number in range(kind.num_fields)] if is_struct else []
        paths: list[str | None] = [None] * length
        if self.kind == "parquet" and self._has_every_cell(batch, column):
            if "path" in fields:
                cells = self._read_batch(batch, f"{column}.path")
                paths = cells.field("path").to_pylist()
            return [True] * length, paths
        cells = self._read_batch(batch, column)
        if "path" in fields:
            paths = cells.field("path").to_pylist()
        return (cells.field("bytes") if is_struct else cells).is_valid().to_pylist(), paths

    def _has_every_cell(self, batch: int, column: str) -> bool:
        """Tell whether a Parquet file states that no picture of a row group is missing."""
        with open_parquet(self.path) as rows:
            group = rows.file.metadata.row_group(batch)
            for place in range(group.num_columns):
                chunk = group.column(place)
                if chunk.path_in_schema in (column, f"{column}.bytes"):
                    return bool(chunk.statistics and chunk.statistics.null_count == 0)
        return False

    def _read_batch(self, batch: int, column: str) -> Any:
        """Read a column of a batch as one array."""
        if self.kind == "arrow":
            return self._arrow_batches[batch].column(column)
        with open_parquet(self.path) as rows:
            parts = [part.column(0) for part in rows.batches([column], groups=[batch])]
            kind = rows.file.schema_arrow.field(column.partition(".")[0]).type
        return self.arrow.concat_arrays(parts) if parts else self.arrow.array([], type=kind)

    def cell(self, column: str, batch: int, row: int) -> Any:
        """Read the bytes in a cell of pictures; the batches used last stay in memory.

        Raises:
            CollectionError: if the file can't be read any more.
        """
        try:
            key = (self.path, file_stamp(self.path), column, batch)
            with _LOCK:
                if key not in _BATCHES:
                    while len(_BATCHES) >= _KEPT_BATCHES:
                        _BATCHES.popitem(last=False)
                    cells = self._read_batch(batch, column)
                    is_struct = self.arrow.types.is_struct(cells.type)
                    _BATCHES[key] = cells.field("bytes") if is_struct else cells
                _BATCHES.move_to_end(key)
                return _BATCHES[key][row].as_py()
        except (OSError, ValueError, IndexError) as error:
            problem = f"can't be read: {error}"
            raise CollectionError([Defect("unreadable-file", str(self.path), problem)]) from error


def _class_names(metadata: Any) -> dict[str, list[str]]:
    """Read the names of classes from Hugging Face's description of the columns."""
    try:
        described = json.loads((metadata or {}).get(b"huggingface", b"{}"))
        features = described["info"]["features"]
        return {
            column: [str(name) for name in feature["names"]]
            for column, feature in features.items()
            if isinstance(feature, dict) and isinstance(feature.get("names"), list)
        }
    except (ValueError, LookupError, TypeError, AttributeError):
        return {}


def open_arrow(path: Path, kind: str) -> ArrowFile:
    """Open a Parquet or an Arrow file; see `ArrowFile`."""
    return ArrowFile(path, kind)
