"""The contract of every index: ids and codes in, true Hamming distances and scores out.

An index maps ids of the user's to packed codes and metadata, and finds the codes nearest to a
query. What holds for every kind:

- **Ids** are texts or integers (64 bits), one kind an index, distinct.
- **Distances** are true: the distance given with an id is the distance of its code. An exact kind
  gives the k smallest; an approximate kind says so and states its recall.
- **Queries** are packed codes, or relaxed: floats (q, n_bits), which keep their numbers. Items of a
  relaxed query are ranked by a score, the inner product of the query with their signs over the sum
  of the query's absolute values; hits have it beside their true distance. Scores are exact: neither
  the order of bits nor the size of a batch changes one (`modalhash.codes.asymmetric`).
- **Order** is by distance, or by score, then by insertion: of two items at one distance, or of one
  score, the one added first comes first. An item that `upsert` replaces counts as inserted anew.
  Adding in other chunks, saving and opening change no answer.
- **k is clipped** to the number of items that count, so there are no filler ids; an empty index
  gives no hits.
- **Filters** are texts of a small language, see `modalhash.index.filters`; a search with one
  answers as an index of the items that pass it.
- **All or nothing**: an `add`, `upsert` or `delete` that raises has changed nothing.
- **Threads**: searches may run in many threads at once and while another thread changes the index;
  each sees the items as they were at one moment between its beginning and its end.
- **Folders**: an index that `open` opened keeps its changes: they are durable when the call
  returns, and other processes that have the folder open see them in their next search.

A class of another package that fills in the abstract members is an index like ours: the contract
tests in `tests/contracts/` run over it unchanged. What isn't abstract has a default that is right
for an index without locks, checkpoints or measurements. `SearchableIndex` is the half of the
contract that reads.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import BitOrder, Codes, code_width, to_little
from modalhash.errors import InputError, SettingError, UnknownNameError
from modalhash.index.checking import check_id_kind, check_item_arrays, check_known, refuse_twice
from modalhash.index.filters import parse_filter
from modalhash.index.hits import Ids, Metadata
from modalhash.index.ids import IdColumn, format_ids, id_column
from modalhash.index.item_changes import ItemChange, Operation
from modalhash.index.searchable import SearchableIndex

__all__ = ["FindMark", "HashIndex"]

FEW_ITEMS: Final = 1 << 14
"""Up to so many ids are compared in a set; more are sorted, which an index has to do anyway."""

FindMark = Callable[[], Mapping[str, Any] | None]
"""Looks for the mark of a change that is under way."""


class HashIndex(SearchableIndex):
    """Keep codes and find those nearest to a query; the module's text says what holds for all.

    Attributes:
        kind: its name in the table of kinds.
        n_bits: bits of a code.
        model_fingerprint: says which model made the codes; "" if nobody said.
        folder: where it is kept; None in memory.
    """

    kind: str
    n_bits: int
    model_fingerprint: str
    folder: Path | None

    # --- making, opening and saving -----------------------------------------------------------

    @classmethod
    def check_parameters(cls, kind: str, parameters: Mapping[str, Any]) -> None:
        """Refuse parameters that the kind doesn't take; costs nothing. By default it takes none.

        Args:
            kind: of the class's kinds.
            parameters: by name.

        Raises:
            SettingError: if a parameter is unknown, or out of its range.
        """
        if parameters:
            names = ", ".join(sorted(parameters))
            raise SettingError(f"an index of kind {kind!r} takes no parameters; got {names}")

    @classmethod
    @abstractmethod
    def build(
        cls,
        ids: Ids,
        codes: Codes,
        n_bits: int,
        *,
        kind: str,
        metadata: Sequence[Metadata] | None = None,
        parameters: Mapping[str, Any] | None = None,
        model_fingerprint: str = "",
        folder: str | Path | None = None,
    ) -> Self:
        """Make an index of some items; none are needed.

        Args:
            ids: n distinct ids, texts or integers.
            codes: (n, p) uint8, packed by `pack`; copied. May be mapped from a file.
            n_bits: bits of a code, stored because the packed width doesn't tell.
            kind: the name under which the class was asked for.
            metadata: n mappings of names to JSON values; None is the same as n empty ones.
            parameters: of the kind, by name; what is left out is chosen.
            model_fingerprint: says which model made the codes.
            folder: where to write and keep it; None keeps it in memory, if the class can.

        Raises:
            InputError: as `add` does, and if `n_bits` is not positive.
            SettingError: as `check_parameters` does.
            ShapeError: as `add` does.
            StorageError: if the folder can't be written.
        """

    @classmethod
    @abstractmethod
    def open(cls, folder: str | Path, *, expect_model: str | None = None) -> Self:
        """Open a saved index; changes are kept from then on.

        Args:
            folder: what `save` wrote.
            expect_model: fingerprint of the model whose codes will be searched for; None asks
                nothing.

        Raises:
            ArtifactError: if the index is of another model than `expect_model`.
            DamagedArtifactError: if a file is missing, cut short or changed, naming it.
            NewerFormatError: if a newer version wrote it.
            StorageError: if it can't be read.
        """

    @abstractmethod
    def save(self, folder: str | Path) -> None:
        """Write the index to a folder, so that a kill leaves the new state or the old one.

        The index stays where it was: in memory, or in its own folder.

        Args:
            folder: made if missing; an index that is there is replaced.

        Raises:
            IndexLockedError: if an index there is being changed by somebody else.
            InputError: if the folder holds something else.
            StorageError: if the file system refuses; the old state is kept.
        """

    def discard(self) -> None:
        """Remove what the index keeps outside its folder, which goes too; by default nothing.

        Raises:
            IndexServerError: if a server can't be reached.
        """

    # --- changing -----------------------------------------------------------------------------

    def add(
        self,
        ids: Ids,
        codes: Codes,
        metadata: Sequence[Metadata] | None = None,
        *,
        bit_order: BitOrder | str = BitOrder.LITTLE,
    ) -> None:
        """Add items; they come after those that are there.

        Args:
            ids: n ids, new and distinct, of the index's kind (the first `add` decides it).
            codes: (n, p) uint8, packed by `pack`; copied.
            metadata: n mappings of names to JSON values; None is the same as n empty ones.
            bit_order: of the codes, "little" (ours) or "big".

        Raises:
            InputError: if an id is there already, comes twice, or isn't a text or a 64-bit
                integer; if kinds are mixed; if metadata can't be stored as JSON. Nothing is
                added then.
            ShapeError: if the codes don't fit the index, or the numbers of ids, codes and
                metadata differ. Nothing is added then.
        """
        change = self.check_items(ids, to_little(codes, bit_order), metadata)
        if change is not None:
            with self.changing():
                self.check_addition(change)
                self.apply_changes([change])

    def upsert(
        self,
        ids: Ids,
        codes: Codes,
        metadata: Sequence[Metadata] | None = None,
        *,
        bit_order: BitOrder | str = BitOrder.LITTLE,
    ) -> int:
        """Add items, in the place of those of the same ids.

        A replaced item keeps nothing: its metadata is what is given now, and it comes last among
        items at one distance.

        Args:
            ids: n distinct ids, of the index's kind.
            codes: (n, p) uint8, packed by `pack`; copied.
            metadata: n mappings of names to JSON values; None is the same as n empty ones.
            bit_order: of the codes, "little" (ours) or "big".

        Returns:
            How many items were replaced.

        Raises:
            InputError: as `add` does, but not for ids that are there.
            ShapeError: as `add` does.
        """
        codes = to_little(codes, bit_order)
        change = self.check_items(ids, codes, metadata, operation=Operation.UPSERT)
        if change is None:
            return 0
        with self.changing():
            n_replaced = self.check_addition(change)
            self.apply_changes([change])
        return n_replaced

    def delete(self, ids: Ids, *, missing: str = "error") -> int:
        """Remove items; an id may be named twice.

        Args:
            ids: of the items.
            missing: "error", or "ignore" to pass over ids that aren't there.

        Returns:
            How many items were removed.

        Raises:
            InputError: if an id isn't there, naming it. Nothing is deleted then.
            UnknownNameError: if `missing` is neither.
        """
        if missing not in {"error", "ignore"}:
            raise UnknownNameError("way with missing ids", missing, ["error", "ignore"])
        with self.changing():
            change = self.check_deletion(ids, missing=missing)
            if change is None:
                return 0
            self.apply_changes([change])
        return len(change)

    def delete_where(self, where: str) -> int:
        """Remove the items that pass a filter, and return how many.

        Raises:
            FilterError: if the filter can't be understood, marking the place.
        """
        parse_filter(where)
        with self.changing():
            return self.delete(self.select(where))

    @abstractmethod
    def apply_changes(self, changes: Sequence[ItemChange]) -> None:
        """Carry out checked changes, one after the other; all of them or none.

        Called with the right to change the index, see `changing`.

        Args:
            changes: each was checked against the index as the ones before it leave it.

        Raises:
            StorageError: if the file system refuses; nothing is changed then.
        """

    def check_items(
        self,
        ids: Ids,
        codes: Codes,
        metadata: Sequence[Metadata] | None = None,
        *,
        operation: Operation = Operation.ADD,
    ) -> ItemChange | None:
        """Check items by themselves and make the change that adds them; changes nothing.

        Args:
            ids: n ids.
            codes: (n, p) uint8, packed by `pack`.
            metadata: n mappings of names to JSON values; None is the same as n empty ones.
            operation: add or upsert.

        Returns:
            The change, None without items. Whether the ids are there is `check_addition`'s matter.

        Raises:
            InputError: if ids come twice or are of no kind, or metadata can't be stored as JSON.
            ShapeError: if the codes don't fit the index, or the numbers differ.
        """
        column, documents = check_item_arrays(ids, codes, metadata, self.n_bits)
        if column is None:
            return None
        change = ItemChange(operation, column, codes, documents)
        if len(column) > FEW_ITEMS or len(set(column)) < len(column):
            refuse_twice(change.lookup.duplicates(column))
        return change

    def check_addition(self, change: ItemChange) -> int:
        """Check items to add or to upsert against the index; changes nothing.

        Returns:
            How many items would be replaced.

        Raises:
            InputError: if the ids are of another kind than the index's, or if one is there and
                isn't to be replaced, naming it.
        """
        check_id_kind(change.column, self.id_kind)
        is_there = self.has_each(change.column)
        if change.operation is Operation.ADD and is_there.any():
            known = change.column.take(np.flatnonzero(is_there)).tolist()
            raise InputError(
                f"the index already has {format_ids(known)}: nothing was added; take their place "
                "with upsert (on the command line --upsert), or leave them out"
            )
        return int(is_there.sum())

    def has_each(self, column: IdColumn) -> NDArray[np.bool_]:
        """Look which ids of a column there are; as `contains`, where a class can do it quicker."""
        return self.contains(column.take(np.arange(len(column))))

    def check_known_ids(self, ids: Ids) -> list[Any]:
        """Check ids that must be there.

        Returns:
            The ids as Python values, in the order asked for.

        Raises:
            InputError: if an id isn't there, naming it, or is of another kind than the index's.
        """
        column = id_column(ids)
        if column is None:
            return []
        check_id_kind(column, self.id_kind)
        check_known(column, self.has_each(column))
        return list(column)

    def check_deletion(self, ids: Ids, *, missing: str = "error") -> ItemChange | None:
        """Check ids to delete against the index and make the change; changes nothing.

        Args:
            ids: of the items; one may be named twice.
            missing: "error", or "ignore" to pass over ids that aren't there.

        Returns:
            The change, None if nothing is to be deleted.

        Raises:
            InputError: if an id isn't there, naming it.
        """
        column = id_column(ids)
        if column is None:
            return None
        check_id_kind(column, self.id_kind)
        is_there = self.has_each(column)
        if missing == "error":
            check_known(column, is_there, ": nothing was deleted")
        known = id_column(list(dict.fromkeys(column.take(np.flatnonzero(is_there)).tolist())))
        no_codes = np.empty((0, code_width(self.n_bits)), np.uint8)
        return None if known is None else ItemChange(Operation.DELETE, known, no_codes)

    def changing(self) -> AbstractContextManager[None]:
        """Hold the right to change the index for one change; by default as `writing` does.

        A class whose writers keep the right until they close the index overrides it.
        """
        return self.writing()

    def writing(self) -> AbstractContextManager[None]:
        """Hold the right to change the index for the length of a `with` block.

        A change takes the right by itself. To hold it makes several changes one after the other,
        with nobody else's between them. The default holds nothing.

        Raises:
            IndexLockedError: if somebody else changes the index, naming the process.
            StorageError: if the folder can't be written to.
        """
        return nullcontext()

    def mark(self) -> Mapping[str, Any] | None:
        """Give JSON values that say where `roll_back` returns to; inside a block `writing`.

        With it a search index changes both its sides or neither. By default None: the index can't
        go back, and a change that a kill broke off is repeated instead.
        """
        return None

    def roll_back(self, mark: Mapping[str, Any]) -> bool:
        """Undo the changes since a mark, also those of a process that was killed.

        Args:
            mark: what `mark` returned, perhaps in another process.

        Returns:
            Whether the index is in the state of the mark. False if it can't get there, because it
            was changed otherwise meanwhile; nothing is undone then.

        Raises:
            IndexLockedError: if somebody else changes the index.
            StorageError: if the file system refuses; repeat the call then.
        """
        return False

    def hide_changes_after(self, find_mark: FindMark) -> None:
        """Show searches no change after a mark, until there is no mark any more.

        A search index hides so what a change of both its sides has done to one of them. Whoever has
        the right to change the index sees all of it. By default nothing is hidden: an index without
        marks has nothing to hide.

        Args:
            find_mark: looks for what `mark` returned in the process that makes the change, which is
                perhaps dead; None if no change is under way. Is called before searches.
        """

    def checkpoint(self) -> None:
        """Tidy up what changes left, as far as that is quick; searches go on meanwhile.

        Raises:
            IndexLockedError: if somebody else changes the index.
            StorageError: if the file system refuses; nothing is lost then.
        """

    def compact(self) -> None:
        """Give back the room of deleted items, and make searching quick again.

        Raises:
            IndexLockedError: if somebody else changes the index.
            StorageError: if the file system refuses; nothing is lost then.
        """

    @property
    def version(self) -> int | None:
        """Number of changes since the index was made; None if the index doesn't count them.

        Each change that `apply_changes` carries out counts one.
        """
        return None
