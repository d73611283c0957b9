"""A checked change of an index: what the contract hands to the class that carries it out."""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from modalhash.codes import Codes
from modalhash.index.ids import IdColumn, IdLookup

__all__ = ["ItemChange", "Operation"]


class Operation(StrEnum):
    """What a change does."""

    ADD = "add"
    UPSERT = "upsert"
    DELETE = "delete"


@dataclass(frozen=True)
class ItemChange:
    """Items to add, to replace or to delete, checked by `HashIndex`.

    Attributes:
        operation: what is done.
        column: ids of the items: at least one, distinct, of the index's kind. Ids to add aren't in
            the index, ids to delete are.
        codes: (n, p) uint8 of added items; of deleted ones (0, p). May be a view of the caller's
            array.
        documents: metadata of added items, each the text of a JSON object or None; None is all
            None.
    """

    operation: Operation
    column: IdColumn
    codes: Codes
    documents: list[str | None] | None = None

    @property
    def ids(self) -> list[Any]:
        """The ids as Python values."""
        return list(self.column)

    @cached_property
    def lookup(self) -> IdLookup:
        """What finds an id among those of the change."""
        return IdLookup.of(self.column)

    @property
    def n_added(self) -> int:
        """Number of items that are added, be it in the place of others."""
        return 0 if self.operation is Operation.DELETE else len(self.column)

    def __len__(self) -> int:
        """Count the items."""
        return len(self.column)
