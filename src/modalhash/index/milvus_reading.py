"""What an index on Milvus reads: its collection, items by id or filter, and all of them."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import (
    BitOrder,
    Codes,
    Distances,
    code_width,
    from_little,
    hamming_distances,
    to_little,
)
from modalhash.errors import (
    ArtifactError,
    InputError,
)
from modalhash.index.base import HashIndex
from modalhash.index.bit_orders import reorder_blocks
from modalhash.index.checking import (
    check_id_kind,
    check_known,
)
from modalhash.index.filter_tests import holds
from modalhash.index.filter_tree import Filter
from modalhash.index.filters import parse_filter
from modalhash.index.hits import IdArray, IdKind, Ids, ItemBlock
from modalhash.index.ids import id_column
from modalhash.index.lock import WriterLock
from modalhash.index.milvus_collection import MilvusCollection, Row
from modalhash.index.milvus_filters import compile_filter, id_list
from modalhash.index.milvus_rows import (
    codes_of,
    metadata_of,
    pages,
)
from modalhash.index.milvus_settings import MILVUS, MilvusSettings
from modalhash.index.rescoring import RECALL_MEASURED, SHORTLIST, SHORTLIST_SHARE

__all__ = ["IDS_A_CALL", "METADATA", "MilvusReader"]

IDS_A_CALL: Final = 1000
METADATA: Final = ("fields", "document")


class MilvusReader(HashIndex):
    """Reads the items of an index on Milvus.

    Args:
        url: of the server, `http://host:19530`.
        collection: its name there; it is made when the first items come.
        n_bits: bits of a code.
        settings: time limits, consistency, how it is searched.
        model_fingerprint: says which model makes the codes; "" says nothing.
        client: what speaks to the server; by default one of pymilvus.

    Attributes:
        folder: where its manifest lies; None if nowhere.

    Raises:
        IndexServerError: if nobody answers at the url.
        InputError: if `n_bits` is not positive.
        MissingExtraError: if pymilvus isn't installed.
    """

    kind = MILVUS

    def __init__(
        self,
        url: str,
        collection: str,
        n_bits: int,
        *,
        settings: MilvusSettings | None = None,
        model_fingerprint: str = "",
        client: Any = None,
    ) -> None:
        code_width(n_bits)
        self.n_bits, self.model_fingerprint = n_bits, model_fingerprint
        self.settings = settings or MilvusSettings()
        self.shortlist = self.settings.shortlist
        self.collection = MilvusCollection(url, collection, self.settings, client=client)
        self.folder: Path | None = None
        self._kind: IdKind | None = None
        self._index = ("BIN_FLAT", 0)
        self._next_number: int | None = None
        self._hint = 0
        self._writing = threading.RLock()
        self._lock: WriterLock | None = None
        self._is_closed = False
        self._find_collection()

    def _find_collection(self) -> None:
        """Look what the server has, and refuse what isn't this index."""
        if not self.collection.exists():
            return
        description, is_text = self.collection.describe()
        where = f"the collection {self.collection.name} at {self.collection.url}"
        for name, mine in (
            ("n_bits", self.n_bits),
            ("model_fingerprint", self.model_fingerprint),
            ("partition_field", self.settings.partition_field),
        ):
            if description.get(name) != mine:
                raise ArtifactError(
                    f"{where} has {name} {description.get(name)!r}, expected {mine!r}: its codes "
                    "are of another model or index; build an index with this one"
                )
        self._kind = IdKind.TEXT if is_text else IdKind.INTEGER
        self._index = self.collection.index_type()
        self.collection.load()

    def _find_id_kind(self) -> IdKind | None:
        """Ask for the kind of ids; another process may have made the collection meanwhile."""
        if self._is_closed:
            raise InputError("the index is closed: open it again")
        if self._kind is None:
            self._find_collection()
        return self._kind

    def _read(
        self, codes: Codes, tree: Filter | None, fields: Sequence[str]
    ) -> Iterator[tuple[list[Row], Distances]]:
        """Yield pages of the items that pass a filter, and their distances from each query."""
        for rows in self._pages(tree, ["id", "code", *fields], self.settings.consistency):
            distances = hamming_distances(codes, codes_of(rows, code_width(self.n_bits)))
            yield [{name: row[name] for name in row if name != "code"} for row in rows], distances

    def _pages(
        self, tree: Filter | None, fields: Sequence[str], consistency: str
    ) -> Iterator[list[Row]]:
        """Yield pages of the items that pass a filter, those that Milvus can't test tested here."""
        expression = compile_filter(tree, partition_field=self.settings.partition_field)
        names = list(fields) if expression.is_exact else list(dict.fromkeys([*fields, *METADATA]))
        for rows in pages(self.collection, expression.text, names, consistency=consistency):
            if expression.is_exact or tree is None:
                yield rows
            elif passing := [row for row in rows if holds(tree, metadata_of(row))]:
                yield passing

    def _count(self, where: str | None) -> int:
        """Count the items that pass a filter."""
        tree = None if where is None else parse_filter(where)
        expression = compile_filter(tree, partition_field=self.settings.partition_field)
        level = self.settings.consistency
        if expression.is_exact:
            return self.collection.count(expression.text, consistency=level)
        return sum(map(len, self._pages(tree, ["id"], level)))

    def distance_histogram(
        self,
        codes: Codes,
        where: str | None = None,
        *,
        bit_order: BitOrder | str = BitOrder.LITTLE,
    ) -> NDArray[np.int64]:
        """Count the items at each distance, reading all; see `HashIndex.distance_histogram`."""
        codes = to_little(codes, bit_order)
        self.check_query_codes(codes)
        tree = None if where is None else parse_filter(where)
        counts = np.zeros((len(codes), self.n_bits + 1), np.int64)
        if self._find_id_kind() is not None:
            for _, distances in self._read(codes, tree, ()):
                for query, query_distances in enumerate(distances):
                    counts[query] += np.bincount(query_distances, minlength=self.n_bits + 1)
        return counts

    def select(self, where: str) -> IdArray:
        """List the ids of the items that pass a filter; see `HashIndex.select`."""
        return self._select(where, self.settings.consistency)

    def _select(self, where: str | None, consistency: str) -> IdArray:
        """List the ids of the items that pass a filter, in the order of insertion."""
        tree = None if where is None else parse_filter(where)
        ids: list[Any] = []
        if self._find_id_kind() is not None:
            for rows in self._pages(tree, ["id"], consistency):
                ids += [row["id"] for row in rows]
        return self._id_array(ids)

    def _id_array(self, ids: Sequence[Any]) -> IdArray:
        """Make the array of ids that the index gives."""
        if self._kind is IdKind.INTEGER:
            return np.array(ids, np.int64)
        array = np.empty(len(ids), np.object_)
        array[:] = ids
        return array

    def _rows_of(self, ids: Ids, fields: Sequence[str], consistency: str) -> dict[Any, Row]:
        """Fetch the rows of some ids, those there are."""
        column = id_column(ids)
        if column is None:
            return {}
        kind = self._find_id_kind()
        check_id_kind(column, kind)
        rows: dict[Any, Row] = {}
        distinct = list(dict.fromkeys(column))
        for start in range(0, len(distinct) if kind is not None else 0, IDS_A_CALL):
            text = id_list(distinct[start : start + IDS_A_CALL])
            for row in self.collection.rows(text, ["id", *fields], consistency=consistency):
                rows[row["id"]] = row
        return rows

    def _fetch_known_rows(self, ids: Ids, fields: Sequence[str]) -> list[Row]:
        """Fetch the rows of ids that must be there, in the order asked for."""
        column = id_column(ids)
        if column is None:
            return []
        rows = self._rows_of(ids, fields, self.settings.consistency)
        check_known(column, np.array([value in rows for value in column], np.bool_))
        return [rows[value] for value in column]

    def reconstruct(self, ids: Ids, *, bit_order: BitOrder | str = BitOrder.LITTLE) -> Codes:
        """Look up the codes of items; see `HashIndex.reconstruct`."""
        rows = self._fetch_known_rows(ids, ["code"])
        return from_little(codes_of(rows, code_width(self.n_bits)).copy(), bit_order)

    def metadata(self, ids: Ids) -> list[dict[str, Any]]:
        """Look up the metadata of items; see `HashIndex.metadata`."""
        return [metadata_of(row) for row in self._fetch_known_rows(ids, METADATA)]

    def blocks(
        self, n_rows: int = 4096, *, bit_order: BitOrder | str = BitOrder.LITTLE
    ) -> Iterator[ItemBlock]:
        """Yield all items, a page after the other; see `HashIndex.blocks`."""
        return reorder_blocks(self._read_blocks(n_rows), bit_order)

    def _read_blocks(self, n_rows: int) -> Iterator[ItemBlock]:
        """Yield all items, a page after the other."""
        if self._find_id_kind() is None:
            return
        for page in self._pages(None, ["id", "code", *METADATA], self.settings.consistency):
            for start in range(0, len(page), n_rows):
                rows = page[start : start + n_rows]
                yield ItemBlock(
                    self._id_array([row["id"] for row in rows]),
                    codes_of(rows, code_width(self.n_bits)),
                    [metadata_of(row) for row in rows],
                )

    def contains(self, ids: Ids) -> NDArray[np.bool_]:
        """Look which of some ids there are, (n,) bool; asked with "Strong"."""
        column = id_column(ids)
        if column is None:
            return np.zeros(0, np.bool_)
        if column.kind is not self._find_id_kind():
            return np.zeros(len(column), np.bool_)
        rows = self._rows_of(ids, [], "Strong")
        return np.array([value in rows for value in column], np.bool_)

    def __len__(self) -> int:
        return 0 if self._find_id_kind() is None else self._count(None)

    @property
    def ids(self) -> IdArray:
        """All ids in the order of insertion; reads them all."""
        return self._select(None, self.settings.consistency)

    @property
    def id_kind(self) -> IdKind | None:
        """What the ids are; None until the first item was added."""
        return self._find_id_kind()

    @property
    def is_exact(self) -> bool:
        """Whether a search misses nothing."""
        return self._index[0] == "BIN_FLAT"

    @property
    def version(self) -> None:
        """None: the changes of a cluster aren't counted."""
        return

    @property
    def searcher_parameters(self) -> Mapping[str, Any]:
        """Where the codes are and how the server searches them."""
        manner = "exact" if self.is_exact else f"{self._index[1]} cells, approximate"
        place = f"{self.collection.name} at {self.collection.url}"
        return {
            "reason": f"{self._index[0]}, {manner}; collection {place}",
            "relaxed_queries": {
                "manner": "a shortlist by Hamming distance, scored with the query's numbers",
                "shortlist": self.shortlist or SHORTLIST,
                "shortlist_for_each_hit": None if self.shortlist else SHORTLIST_SHARE,
                "measured": RECALL_MEASURED,
            },
        }
