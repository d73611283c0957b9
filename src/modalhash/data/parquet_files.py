"""Parquet files read a few rows at a time, whatever the file says of its size.

A few kilobytes of Parquet can stand for gigabytes: one long value in a dictionary for a million
rows, or pages that inflate. So no more rows are decoded at once than fit into the budget.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from modalhash.data.read_limits import ReadBudget
from modalhash.extras import import_optional
from modalhash.files import check_regular_file

__all__ = ["ParquetRows", "column_values", "open_parquet"]

MOST_ROWS: Final = 1024
CELL_BYTES: Final = 8
"""A cell takes at least so much memory, even if nothing is in it."""


def column_values(column: Any) -> list[Any]:
    """Read the values of a column; a value that a dictionary repeats is one object."""
    if hasattr(column, "dictionary"):
        distinct = column.dictionary.to_pylist()
        return [None if place is None else distinct[place] for place in column.indices.to_pylist()]
    values: list[Any] = column.to_pylist()
    return values


@contextmanager
def open_parquet(path: Path) -> Iterator["ParquetRows"]:
    """Open a Parquet file.

    Raises:
        OSError, ValueError: if it is no such file, or damaged.
        CollectionError: if it says that its content takes too much memory.
        MissingExtraError: if pyarrow isn't installed.
    """
    parquet = import_optional("pyarrow.parquet", extra="parquet", feature="reading Parquet")
    check_regular_file(path)
    with parquet.ParquetFile(path) as file:
        yield ParquetRows(path, file)


class ParquetRows:
    """An opened Parquet file.

    Attributes:
        file: pyarrow's.
        names: of its columns.
        n_rows: as its row groups say.
    """

    def __init__(self, path: Path, file: Any) -> None:
        self.path, self.file = path, file
        self.names: list[str] = list(file.schema_arrow.names)
        groups = range(file.metadata.num_row_groups)
        self.lengths = [int(file.metadata.row_group(group).num_rows) for group in groups]
        self.n_rows = sum(self.lengths)

    def largest_chunk(self, group: int, columns: Sequence[str]) -> int:
        """Compute the bytes that the largest of some columns takes in a row group, unpacked."""
        row_group = self.file.metadata.row_group(group)
        sizes = [
            int(row_group.column(place).total_uncompressed_size)
            for place in range(row_group.num_columns)
            if row_group.column(place).path_in_schema.partition(".")[0] in columns
        ]
        return max(sizes, default=0)

    def batches(
        self,
        columns: Sequence[str],
        *,
        groups: Sequence[int] | None = None,
        most_rows: int = MOST_ROWS,
        is_kept: bool = True,
    ) -> Iterator[Any]:
        """Yield record batches of some columns, small enough for the budget.

        Args:
            columns: to read; of a struct, a field may be named ("image.path").
            groups: row groups to read; by default all.
            most_rows: rows of a batch, at most.
            is_kept: whether the caller keeps what it gets, so that all batches together must fit.

        Raises:
            CollectionError: if they don't fit.
            OSError, ValueError: if the file is damaged.
        """
        budget = ReadBudget(self.path)
        tops = [name.partition(".")[0] for name in columns]
        name = ", ".join(columns)
        for group in range(len(self.lengths)) if groups is None else groups:
            if is_kept:
                budget.spend(CELL_BYTES * self.lengths[group] * len(columns), name)
            largest = self.largest_chunk(group, tops)
            if largest > budget.limit:
                budget.spend(largest, name)
            size = max(1, min(most_rows, budget.limit // max(1, largest)))
            for batch in self.file.iter_batches(
                batch_size=size, row_groups=[group], columns=list(columns)
            ):
                if is_kept:
                    budget.spend(int(batch.nbytes), name)
                yield batch
