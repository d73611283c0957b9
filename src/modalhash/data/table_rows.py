"""The rows of a table of pictures and texts, put together by picture."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, Final

from modalhash.data.arrow_tables import ArrowPicture
from modalhash.data.collection import Value
from modalhash.data.memory_pictures import DatasetPicture, MemoryPicture
from modalhash.data.stored_pictures import StoredPicture
from modalhash.data.table_columns import ColumnRoles
from modalhash.data.table_contents import Table
from modalhash.data.table_formats import folded_column
from modalhash.data.text_lines import ascii_if_broken, quote_text
from modalhash.errors import Defect

__all__ = ["SPLIT_NAMES", "Item", "RowReader", "TableItems", "find_split_name"]

SPLIT_NAMES: Final = {
    "train": "train", "training": "train", "restval": "train", "val": "dev", "valid": "dev",
    "validation": "dev", "validate": "dev", "dev": "dev", "test": "test", "testing": "test",
}  # fmt: skip
"""How splits are called in tables and file names, and here."""
_NUMBERED_NAME: Final = re.compile(r"(.+\.\w{2,5})#\d+")
_ADDRESS: Final = re.compile(r"(https?|s3|gs|ftp)://")
_TRUE: Final = ("1", "1.0", "true")
_NO_METADATA: Final = ("column1", "unnamed0", "commentnumber", "captionnumber")
"""Numbers of rows and of captions."""
_DISTINCT_IDS: Final = ("id", "key", "itemid", "sampleid")
"""Columns whose values name one row each; those of other columns name one picture each."""


@dataclass
class Item:
    """What the rows of one picture say.

    Attributes:
        picture: the file's name, or the picture.
        where: file and line of the first row.
        texts: its captions.
        labels: its classes.
        metadata: column to the values of its rows.
        split: its split, or "".
    """

    picture: str | StoredPicture
    where: str
    texts: list[str] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)
    metadata: dict[str, list[Value]] = field(default_factory=dict)
    split: str = ""


@dataclass
class TableItems:
    """The items of all tables of a source.

    Attributes:
        items: by their ids.
        defects: what is wrong with rows.
        notes: what is no defect and yet worth knowing.
        labels: classes in the order of their first mention.
        n_without_picture: rows that the table itself says have no picture.
        has_texts: whether any table has a column of texts.
    """

    items: dict[str, Item] = field(default_factory=dict)
    defects: list[Defect] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    labels: dict[str, None] = field(default_factory=dict)
    n_without_picture: int = 0
    has_texts: bool = False


@dataclass
class RowReader:
    """Adds the rows of one table to the items.

    Attributes:
        table: the table.
        roles: what its columns hold.
        read: the items of this and other tables.
        folder: what comes before the names of its pictures; "" for nothing.
        split: the split that its rows belong to unless they say another; "" for none.
        classes: names that the numbers in its column of labels stand for; empty if there are none.
    """

    table: Table
    roles: ColumnRoles
    read: TableItems
    folder: str = ""
    split: str = ""
    classes: Sequence[str] = ()

    def add_rows(self) -> None:
        """Add all rows; what is wrong with one becomes a defect."""
        columns = self.table.columns
        self.read.labels.update(dict.fromkeys(self.classes))
        self.read.has_texts |= bool(self.roles.captions)
        metadata = {
            column: cells
            for column, cells in columns.items()
            if column not in self.roles.used
            and folded_column(column) not in _NO_METADATA
            and _may_be_metadata(cells)
        }
        status = next((cells for name, cells in columns.items() if name == "status"), None)
        for row, cell in enumerate(columns[self.roles.image]):
            if cell is None and status is not None and status[row] != "success":
                self.read.n_without_picture += 1
                continue
            if isinstance(cell, str) and _ADDRESS.match(cell.strip()):
                self._refuse_addresses(row, cell)
                return
            item = self._item(row, cell)
            if item is None:
                continue
            for column, cells in metadata.items():
                item.metadata.setdefault(column, []).append(cells[row])

    def _item(self, row: int, cell: Any) -> Item | None:
        """Read the item of a row with the row's texts and labels; None after a defect."""
        picture = self._picture(row, cell)
        if picture is None:
            return None
        name = self._item_id(row, picture)
        item = self.read.items.get(name)
        if item is None:
            item = self.read.items[name] = Item(picture, self.table.where(row))
        elif self._is_of_another(item, picture):
            owner = "row" if self._is_distinct else "picture"
            problem = f"the id {quote_text(name)} is already in {item.where}"
            self._add_defect("duplicate-id", row, f"{problem}; give each {owner} its own", name)
            return None
        self._add_texts(row, name, item)
        self._add_labels(row, item)
        own = self.table.columns[self.roles.split][row] if self.roles.split else None
        split = _split_name(own) or self.split
        if item.split and split and item.split != split:
            problem = f"{quote_text(name)} is of the split {item.split} too, in {item.where}"
            self._add_defect("item-in-two-splits", row, f"{problem}; take it out of one", name)
        item.split = item.split or split
        return item

    def _is_of_another(self, item: Item, picture: str | StoredPicture) -> bool:
        """Tell whether a row with an item's id can't be more of it: its picture is another one."""
        if isinstance(picture, str) or isinstance(item.picture, str):
            return picture != item.picture
        return self._is_distinct

    @property
    def _is_distinct(self) -> bool:
        return self.roles.id is not None and folded_column(self.roles.id) in _DISTINCT_IDS

    def _add_defect(self, kind: str, row: int, problem: str, *items: str) -> None:
        self.read.defects.append(Defect(kind, self.table.where(row), problem, items))

    def _refuse_addresses(self, row: int, cell: str) -> None:
        problem = (
            f"the picture {quote_text(cell.strip())} is an address, and addresses aren't read: "
            "download the pictures (img2dataset does), and name their column with "
            "--columns image=COLUMN"
        )
        self._add_defect("address", row, problem)

    def _picture(self, row: int, cell: Any) -> str | StoredPicture | None:
        """Read the picture that a cell names or holds; None after noting a defect."""
        if isinstance(cell, ArrowPicture | MemoryPicture | DatasetPicture):
            return cell
        if isinstance(cell, list) and len(cell) == 1:
            return self._picture(row, cell[0])
        if isinstance(cell, dict):
            cell = cell.get("path")
        name = str(cell).strip() if type(cell) in (str, int) else ""
        if not name:
            is_empty = cell is None or isinstance(cell, str)
            state = "missing" if is_empty else f"of type {type(cell).__name__}"
            problem = f"the picture is {state}: write its file name, or delete the row"
            kind = "empty-id" if is_empty else "wrong-column"
            self._add_defect(kind, row, problem, f"row {self.table.lines[row]}")
            return None
        match = _NUMBERED_NAME.fullmatch(name)
        name = (match[1] if match else name).removeprefix("./")
        is_absolute = PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute()
        return f"{self.folder}/{name}" if self.folder and not is_absolute else name

    def _item_id(self, row: int, picture: str | StoredPicture) -> str:
        """Choose the id of a row's item: a stated one, the picture's name, or file and row."""
        if self.roles.id is not None:
            value = self.table.columns[self.roles.id][row]
            if value is not None and str(value).strip():
                return ascii_if_broken(str(value))
        if isinstance(picture, str):
            return ascii_if_broken(picture)
        file = f"{self.folder}/{self.table.path.stem}" if self.folder else self.table.path.stem
        return f"{file}/{self.table.lines[row]:07d}"

    def _add_texts(self, row: int, name: str, item: Item) -> None:
        columns = self.roles.captions
        for column in columns:
            cell = self.table.columns[column][row]
            for text in _texts_in(cell):
                if isinstance(text, str) and text.strip():
                    item.texts.append(ascii_if_broken(text))
                elif text is not None and not isinstance(text, str):
                    kind = f"{column!r} of {quote_text(name)} is of type {type(text).__name__}"
                    problem = f"{kind}, expected a text or a list of texts"
                    self._add_defect("wrong-column", row, problem, name)
                elif len(columns) == 1:  # of several, some may be empty
                    problem = (
                        f"the caption of {quote_text(name)} is empty; write one, or delete the row"
                    )
                    self._add_defect("empty-text", row, problem, name)

    def _add_labels(self, row: int, item: Item) -> None:
        for column in self.roles.labels:
            cell = self.table.columns[column][row]
            if len(self.roles.labels) > 1:  # each column is a concept
                own = [column] if str(cell).strip().lower() in _TRUE else []
                self.read.labels.setdefault(column)
            else:
                own = list(self._labels_in(cell))
            item.labels.update(own)
            self.read.labels.update(dict.fromkeys(own))

    def _labels_in(self, cell: Any) -> Iterable[str]:
        """Yield the classes in a cell: a name, a number, or a list of them."""
        if isinstance(cell, list):
            for member in cell:
                yield from self._labels_in(member)
        elif type(cell) is int and 0 <= cell < len(self.classes):
            yield self.classes[cell]
        elif cell is not None and str(cell).strip():
            yield ascii_if_broken(str(cell).strip())


def find_split_name(names: Iterable[str]) -> str:
    """Find the split that a word of the first of some names names; "" if none.

    Example:
        >>> find_split_name(["train-00000-of-00002.parquet"])
        'train'
        >>> find_split_name(["photos", "rsicd_val.json"])
        'dev'
    """
    words = (word for name in names for word in re.split(r"[-_.]", name.lower()))
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), "")


def _may_be_metadata(cells: Sequence[Any]) -> bool:
    return all(cell is None or isinstance(cell, str | int | float) for cell in cells)


def _split_name(value: Any) -> str:
    text = "" if value is None else str(value).strip()
    return SPLIT_NAMES.get(text.lower(), text)


def _texts_in(cell: Any) -> list[Any]:
    """List the texts of a cell: one, a list of them, or of objects with `raw` or `caption`."""
    members = cell if isinstance(cell, list) else [cell]
    return [
        member.get("raw", member.get("caption")) if isinstance(member, dict) else member
        for member in members or [None]
    ]
