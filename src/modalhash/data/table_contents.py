"""The rows of a table, its defects and the check of its header."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from modalhash.data.table_formats import TableFormat
from modalhash.data.text_lines import describe_lines
from modalhash.errors import Defect

__all__ = ["ColumnChoice", "Table", "divide_columns", "is_header_usable"]

ColumnChoice = Callable[[Sequence[str]], Sequence[str]]
"""Takes the columns that a table has and returns those that every row must fill; the first of them
holds the items' ids."""


@dataclass
class Table:
    """Rows of a table, column by column.

    Attributes:
        path: the file.
        format: how it is written.
        lines: the line of each row, counted from 1 with the header; in Parquet the row's number.
        columns: column name to one value a row, as the file types them (TSV and CSV: texts).
        defects: what is wrong; the rows concerned are not in `columns`. A defect without items
            means that the table can't be used.
    """

    path: Path
    format: TableFormat = field(default_factory=lambda: TableFormat("csv"))
    lines: list[int] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(default_factory=dict)
    defects: list[Defect] = field(default_factory=list)
    _dirty: dict[str, list[tuple[int, tuple[str, ...]]]] = field(default_factory=dict)

    @property
    def is_usable(self) -> bool:
        """Tell whether every defect can be cured by leaving items out."""
        return all(defect.items for defect in self.defects)

    def where(self, row: int) -> str:
        """Write the file and line of a row as defects give them."""
        return f"{self.path}:{self.lines[row]}"

    def add_defect(self, kind: str, line: int | None, problem: str, *items: str) -> None:
        """Note that something is wrong in a line, or in the whole file."""
        where = str(self.path) if line is None else f"{self.path}:{line}"
        self.defects.append(Defect(kind, where, problem, items))

    def add_dirty_line(self, line: int, problem: str, items: tuple[str, ...]) -> None:
        """Note that a line's characters can't be read; many such lines are one defect."""
        self._dirty.setdefault(problem, []).append((line, items))

    def close(self) -> None:
        """Make defects of the lines whose characters can't be read."""
        for problem, lines in self._dirty.items():
            names = [name for _, items in lines for name in items]
            is_curable = all(items for _, items in lines)
            description = describe_lines(problem, len(lines), self.path)
            self.add_defect(
                "bad-encoding", lines[0][0], description, *(names if is_curable else ())
            )
        self._dirty.clear()

    def add_row(self, line: int, values: Mapping[str, Any]) -> None:
        """Append a row; what it doesn't say is None, and so are new columns in earlier rows."""
        for column in values:
            if column not in self.columns:
                self.columns[column] = [None] * len(self.lines)
        self.lines.append(line)
        for column, cells in self.columns.items():
            cells.append(values.get(column))


def divide_columns(
    header: Sequence[str], required: Sequence[str] | ColumnChoice
) -> tuple[list[str], Sequence[str]]:
    """List the columns, and those that are required."""
    if not callable(required):
        return list(header), required
    named = [name.strip() or f"column {place}" for place, name in enumerate(header, start=1)]
    return named, required(named)


def is_header_usable(
    table: Table, header: Sequence[str], required: Sequence[str], line: int | None
) -> bool:
    """Check column names; what is wrong goes to the table's defects."""
    for column in dict.fromkeys(header):
        if header.count(column) > 1 or not column.strip():
            problem = f"the column {column!r} comes {header.count(column)} times; rename the others"
            if not column.strip():
                problem = "a column has no name; give it one"
            table.add_defect("wrong-column", line, problem)
    for column in required:
        if column not in header:
            close = get_close_matches(column, header, n=1)
            hint = f"rename {close[0]!r}" if close else "add it"
            names = ", ".join(map(repr, header)) or "nothing"
            problem = f"has no column {column!r}, only {names}; {hint}"
            table.add_defect("wrong-column", line, problem)
    return table.is_usable
