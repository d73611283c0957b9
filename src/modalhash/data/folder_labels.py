"""The labels of a folder: a table with one column of 0 and 1 for each concept."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.data.folder_tables import (
    ItemKind,
    find_table,
    plain_name,
    type_name,
    with_plain_names,
)
from modalhash.data.table_contents import Table
from modalhash.data.text_lines import quote_text
from modalhash.errors import Defect

__all__ = ["read_bit", "read_labels"]


def read_labels(
    folder: Path,
    kind: ItemKind,
    positions: Mapping[str, int],
    known: set[str],
    defects: list[Defect],
) -> tuple[NDArray[np.uint8] | None, tuple[str, ...]]:
    """Read `labels.tsv`, or .csv, .jsonl or .parquet.

    Args:
        folder: that holds it.
        kind: what the items are.
        positions: item to its row.
        known: further items that a row may name: their own defects are reported elsewhere.
        defects: is told what is wrong.

    Returns:
        (n, c) of 0 and 1, and the concepts' names; None without such a file.
    """
    table, problem = find_table(folder, "labels", (kind.column,))
    if problem:
        defects.append(Defect("two-label-files", str(folder), problem))
    if table is None:
        return None, ()
    if table.is_usable and len(table.columns) < 2:
        table.add_defect("wrong-column", 1, "has no concept; add a 0/1 column for each")
    defects += map(with_plain_names, table.defects)
    if not table.is_usable:
        return None, ()
    label_names = tuple(column for column in table.columns if column != kind.column)
    matrix = np.zeros((len(positions), len(label_names)), np.uint8)
    line_of = {item: 0 for defect in table.defects for item in defect.items}
    for row in range(len(table.lines)):
        name, bits = read_row(table, row, kind, label_names, defects)
        if name is None:
            continue
        if line_of.get(name):
            problem = (
                f"{quote_text(name)} is already in line {line_of[name]}; delete one of the two"
            )
            defects.append(Defect("duplicate-id", table.where(row), problem, (name,)))
        elif bits is not None and name in positions:
            matrix[positions[name]] = bits
        elif bits is not None and name not in known:
            problem = f"there is no {kind.noun} {quote_text(name)} with a caption; delete the row"
            kind_of_defect = f"label-without-{kind.noun}"
            defects.append(Defect(kind_of_defect, table.where(row), problem, (name,)))
        line_of[name] = line_of.get(name) or table.lines[row]
    for name in (item for item in positions if item not in line_of):
        problem = (
            f"has no row for {kind.noun} {quote_text(name)}; add one (all 0 if nothing applies)"
        )
        defects.append(Defect(f"{kind.noun}-without-label", str(table.path), problem, (name,)))
    return matrix, label_names


def read_row(
    table: Table, row: int, kind: ItemKind, label_names: tuple[str, ...], defects: list[Defect]
) -> tuple[str | None, list[int] | None]:
    """Read the name and the labels of a row; None for what can't be read, which is a defect."""
    raw_name = table.columns[kind.column][row]
    if not isinstance(raw_name, str):
        problem = f"the {kind.column} must be a {kind.file} name, not {type_name(raw_name)}"
        defects.append(Defect("wrong-column", table.where(row), problem))
        return None, None
    name = plain_name(raw_name)
    bits: list[int] = []
    for label in label_names:
        cell = table.columns[label][row]
        bit = read_bit(cell)
        if bit is None:
            value = quote_text(cell) if isinstance(cell, str) else repr(cell)
            problem = f"the label {label!r} of {quote_text(name)} is {value}; write 0 or 1"
            defects.append(Defect("bad-label", table.where(row), problem, (name,)))
            return name, None
        bits.append(bit)
    return name, bits


def read_bit(cell: Any) -> int | None:
    """Convert a label's cell to 1 or 0, from a number or a text; None for anything else.

    Example:
        >>> [read_bit(cell) for cell in ("1", "1.0", "True", False, 0.0, "yes", 2)]
        [1, 1, 1, 0, 0, None, None]
    """
    if isinstance(cell, str):
        return {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}.get(cell.strip().lower())
    return int(cell) if isinstance(cell, int | float) and cell in (0, 1) else None
