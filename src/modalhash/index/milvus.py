"""An index whose codes live in a Milvus cluster, with the contract of every index.

One collection holds one index, see `modalhash.index.milvus_collection` for its rows. The folder of
such an index holds a manifest with the server's url and the collection's name, and nothing else.

What is the same: ids, true distances, the order by distance and then by insertion, filters, `k`
clipped to the items that count. Milvus breaks ties as it likes, so more hits are asked for than
needed, until the last one is farther than the k-th; where even the most that Milvus gives doesn't
reach that far, the items are read and compared here. The same way serves what Milvus can't do: a
filter it can't say, more hits than it gives, and the histogram of distances.

What differs is said in the docs: a change of more than one batch isn't all or nothing, a search
sees what its consistency level promises, and pages of a long answer are of different moments.
"""

import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Self, final

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, Distances, code_width, hamming_distances
from modalhash.errors import (
    ArtifactError,
    DamagedArtifactError,
    IndexServerError,
    InputError,
)
from modalhash.files import read_json, sealed, write_json
from modalhash.index.base import HashIndex, check_radius, check_top_k
from modalhash.index.checking import (
    check_id_kind,
    check_known,
    check_model,
    checked_items,
    refuse_twice,
)
from modalhash.index.filter_tests import holds
from modalhash.index.filters import Filter, parse_filter
from modalhash.index.folder import refuse_foreign
from modalhash.index.hits import Hits, IdArray, IdKind, Ids, ItemBlock, Metadata, RadiusHits
from modalhash.index.ids import IdColumn, IdLookup, id_column
from modalhash.index.item_changes import ItemChange, Operation
from modalhash.index.lock import WriterLock
from modalhash.index.milvus_collection import MilvusCollection, Row, check_url
from modalhash.index.milvus_filters import compiled, id_list
from modalhash.index.milvus_rows import (
    Item,
    codes_of,
    first_free_number,
    metadata_of,
    pages,
    row_of,
)
from modalhash.index.milvus_settings import MILVUS, MilvusSettings
from modalhash.index.milvus_settings import MILVUS_MANIFEST as MANIFEST
from modalhash.numpy_numbers import takes_numpy_numbers

__all__ = ["MANIFEST", "MilvusIndex"]

FORMAT: Final = 1
ARTIFACT: Final = "modalhash index on Milvus"
MOST_HITS: Final = 16_384
"""Hits a query that Milvus gives at most."""
MORE_HITS: Final = 32
QUERIES_A_CALL: Final = 1000
HITS_A_CALL: Final = 500_000
IDS_A_CALL: Final = 1000
METADATA: Final = ("fields", "document")
Found = list[tuple[int, int, Row]]
"""Distance, number and row of hits; sorting it gives the order of the contract."""


@final
class MilvusIndex(HashIndex):
    """An index on a Milvus server.

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

    # --- making, opening, closing -------------------------------------------------------------

    @classmethod
    def check_parameters(cls, kind: str, parameters: Mapping[str, Any]) -> None:
        """Refuse parameters without a `url`, or that `MilvusSettings` doesn't take."""
        given = dict(parameters)
        check_url(given.pop("url", None))
        MilvusSettings.of(kind, given)

    @classmethod
    def build(
        cls,
        ids: Ids,
        codes: Codes,
        n_bits: int,
        *,
        kind: str = MILVUS,
        metadata: Sequence[Metadata] | None = None,
        parameters: Mapping[str, Any] | None = None,
        model_fingerprint: str = "",
        folder: str | Path | None = None,
        url: str = "",
        collection: str = "",
        client: Any = None,
    ) -> Self:
        """Make an index of some items on a server; none are needed.

        Args:
            ids: n distinct ids, texts or integers.
            codes: (n, p) uint8, packed by `pack`.
            n_bits: bits of a code.
            kind: "milvus".
            metadata: n mappings of names to JSON values; None is the same as n empty ones.
            parameters: fields of `MilvusSettings` by name, and `url` of the server.
            model_fingerprint: says which model made the codes.
            folder: where the manifest is written, for `open_index`; None writes none.
            url: of the server, in the place of the parameter.
            collection: a name that isn't taken there; a random one by default.
            client: what speaks to the server; by default one of pymilvus.

        Raises:
            IndexServerError: if the server can't be reached, or goes in the middle; then
                `n_acknowledged` says how many items, from the first on, are there, and the folder
                opens: `upsert` the rest, or all again.
            InputError: as `add` does, and if the collection is there already.
            ShapeError: as `add` does.
            SettingError: if a parameter is unknown or out of its range.
        """
        given = {"url": url, **(parameters or {})}
        cls.check_parameters(kind, given)
        url = given.pop("url")
        settings = MilvusSettings.of(kind, given)
        column, documents = checked_items(ids, codes, metadata, n_bits)
        if column is not None:
            refuse_twice(IdLookup.of(column).duplicates(column))
        name = collection or f"modalhash_{secrets.token_hex(8)}"
        index = cls(
            url,
            name,
            n_bits,
            settings=settings,
            model_fingerprint=model_fingerprint,
            client=client,
        )
        if index._kind is not None:
            raise InputError(
                f"the server at {url} has a collection {name} already: choose another name, or "
                "open it"
            )
        if folder is not None:
            index.save(folder)
            index.folder = Path(folder).resolve()
        if column is not None:
            index._put(column, codes, documents)
            index._keep_hint()
        return index

    @classmethod
    def open(
        cls, folder: str | Path, *, expect_model: str | None = None, client: Any = None
    ) -> Self:
        """Open the index whose manifest lies in a folder.

        Args:
            folder: what `build` or `save` wrote.
            expect_model: fingerprint of the model whose codes will be searched for; None asks
                nothing.
            client: what speaks to the server; by default one of pymilvus.

        Raises:
            ArtifactError: if the index is of another model, or the collection isn't what the
                manifest says.
            DamagedArtifactError: if the manifest is damaged.
            IndexServerError: if the server can't be reached.
            NewerFormatError: if a newer modalhash wrote the manifest or made the collection.
        """
        folder = Path(folder).resolve()
        written = read_json(folder / MANIFEST, kind="index", newest_format=FORMAT)
        try:
            index = cls(
                written["url"],
                written["collection"],
                written["n_bits"],
                settings=MilvusSettings.of(cls.kind, written["parameters"]),
                model_fingerprint=written["model_fingerprint"],
                client=client,
            )
        except (KeyError, TypeError) as error:
            raise DamagedArtifactError(
                f"{folder / MANIFEST} is damaged: {error} is missing or of another sort"
            ) from error
        check_model(folder, index.model_fingerprint, expect_model)
        if index._kind is None and written["id_kind"] is not None:
            raise ArtifactError(
                f"the server at {index.collection.url} has no collection "
                f"{index.collection.name}, which holds the codes of {folder}: it was removed, or "
                "this is another server; make the index again"
            )
        index.folder, index._hint = folder, int(written["next_number"])
        return index

    def save(self, folder: str | Path) -> None:
        """Write a manifest that names the server and the collection; the codes stay there."""
        refuse_foreign(Path(folder))
        document = {
            "format": FORMAT,
            "artifact": ARTIFACT,
            "url": self.collection.url,
            "collection": self.collection.name,
            "n_bits": self.n_bits,
            "model_fingerprint": self.model_fingerprint,
            "id_kind": None if self._kind is None else self._kind.value,
            "next_number": self._hint if self._next_number is None else self._next_number,
            "parameters": asdict(self.settings),
        }
        write_json(Path(folder) / MANIFEST, sealed(document))

    def _find_collection(self) -> None:
        """Look what the server has, and refuse what isn't this index."""
        if not self.collection.exists():
            return
        said, is_text = self.collection.describe()
        where = f"the collection {self.collection.name} at {self.collection.url}"
        for name, mine in (
            ("n_bits", self.n_bits),
            ("model_fingerprint", self.model_fingerprint),
            ("partition_field", self.settings.partition_field),
        ):
            if said.get(name) != mine:
                raise ArtifactError(
                    f"{where} has {name} {said.get(name)!r}, expected {mine!r}: its codes are of "
                    "another model or index; build an index with this one"
                )
        self._kind = IdKind.TEXT if is_text else IdKind.INTEGER
        self._index = self.collection.index_type()
        self.collection.load()

    def _create(self, kind: IdKind, n_rows: int) -> None:
        """Make the collection for ids of a kind."""
        description = {
            "n_bits": self.n_bits,
            "model_fingerprint": self.model_fingerprint,
            "partition_field": self.settings.partition_field,
        }
        self.collection.create(description, is_text=kind is IdKind.TEXT, n_rows=n_rows)
        self._kind, self._next_number = kind, 0
        self._index = self.collection.index_type()
        if self.folder is not None:
            self.save(self.folder)

    def discard(self) -> None:
        """Remove the collection with all codes from the server, for good."""
        if self._known_kind() is not None:
            self.collection.drop()
        self._kind = self._next_number = None

    def close(self) -> None:
        """End the connection, and keep the next free number in the folder."""
        if self._is_closed:
            return
        self._keep_hint()
        self._is_closed = True
        self.collection.close()

    def _keep_hint(self) -> None:
        """Write the next free number down, so that the next writer needn't look for it."""
        if self.folder is not None and self._next_number is not None:
            if self._next_number != self._hint and (self.folder / MANIFEST).exists():
                self.save(self.folder)
            self._hint = self._next_number

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock of the folder, as far as there is one; the server has none.

        Raises:
            IndexLockedError: if another process of this machine changes the index.
        """
        with self._writing:
            is_outermost = self.folder is not None and self._lock is None
            if is_outermost and self.folder is not None:
                self._lock = WriterLock(self.folder)
            try:
                yield
            finally:
                if is_outermost and self._lock is not None:
                    self._lock.release()
                    self._lock = None

    def checkpoint(self) -> None:
        """Ask the server to seal what was written; it does so by itself."""
        if self._known_kind() is not None:
            self.collection.flush()

    def compact(self) -> None:
        """Ask the server to give back the room of deleted items, in its own time."""
        if self._known_kind() is not None:
            self.collection.compact()

    def _known_kind(self) -> IdKind | None:
        """Return what the ids are; another process may have made the collection meanwhile."""
        if self._is_closed:
            raise InputError("the index is closed: open it again")
        if self._kind is None:
            self._find_collection()
        return self._kind

    # --- changing -----------------------------------------------------------------------------

    def apply_changes(self, changes: Sequence[ItemChange]) -> None:
        """Carry out checked changes; see `HashIndex.apply_changes`.

        More than `batch_rows` items go in several requests: if the server goes in the middle,
        those that were acknowledged stay, and the error says how many.
        """
        for change in changes:
            if change.operation is Operation.DELETE:
                self._delete(change.ids)
            else:
                self._put(change.column, change.codes, change.documents)

    def _put(self, column: IdColumn, codes: Codes, documents: Sequence[str | None] | None) -> None:
        """Write items in batches, each acknowledged as a whole."""
        n, field = len(column), self.settings.partition_field
        given = documents or [None] * n
        if self._known_kind() is None:
            self._create(column.kind, n)
        if self._next_number is None:
            self._next_number = first_free_number(self.collection, self._hint)
        for start in range(0, n, self.settings.batch_rows):
            end = min(start + self.settings.batch_rows, n)
            numbers = range(self._next_number, self._next_number + end - start)
            ids = column.take(np.arange(start, end)).tolist()
            try:
                rows = [
                    row_of(Item(value, code.tobytes(), document), number, field)
                    for value, code, document, number in zip(
                        ids, codes[start:end], given[start:end], numbers, strict=True
                    )
                ]
                if field:
                    # A row of another partition isn't replaced by one of the same id.
                    self.collection.remove(id_list([row["id"] for row in rows]))
                self.collection.put(rows)
            except IndexServerError as error:
                last = (
                    ""
                    if not start
                    else f", up to {column.take(np.array([start - 1])).tolist()[0]!r},"
                )
                raise IndexServerError(
                    f"{error}. {start} of {n} items{last} were acknowledged and are kept; whether "
                    f"the {end - start} after them were written isn't known: upsert the items from "
                    f"number {start} on (counted from 0), or all of them again",
                    n_acknowledged=start,
                ) from error
            finally:
                # Numbers that were perhaps used aren't used again.
                self._next_number += end - start

    def delete_where(self, where: str) -> int:
        """Remove the items that pass a filter, asked for with "Strong"."""
        with self.changing():
            return self.delete(self._select(where, "Strong"))

    def _delete(self, ids: Sequence[Any]) -> None:
        """Remove items that are there."""
        for start in range(0, len(ids), IDS_A_CALL):
            try:
                self.collection.remove(id_list(ids[start : start + IDS_A_CALL]))
            except IndexServerError as error:
                raise IndexServerError(
                    f"{error}. {start} of {len(ids)} deletions were acknowledged: delete all of "
                    "them again, missing ones ignored",
                    n_acknowledged=start,
                ) from error

    # --- asking -------------------------------------------------------------------------------

    @takes_numpy_numbers
    def search(
        self, codes: Codes, k: int, where: str | None = None, *, with_metadata: bool = False
    ) -> Hits:
        """Find the k nearest items of each query; see `HashIndex.search`."""
        check_top_k(k)
        found = self._nearest(codes, k, where, with_metadata=with_metadata)
        width = min((len(one) for one in found), default=0)
        if not len(codes) and self._known_kind() is not None:
            width = min(k, self._count(where))
        flat = [hit for one in found for hit in one[:width]]
        shape = (len(codes), width)
        metadata = None
        if with_metadata:
            metadata = [[metadata_of(row) for *_, row in one[:width]] for one in found]
        distances = np.array([hit[0] for hit in flat], np.int32).reshape(shape)
        return Hits(
            self._id_array([row["id"] for *_, row in flat]).reshape(shape), distances, metadata
        )

    @takes_numpy_numbers
    def search_radius(
        self, codes: Codes, radius: int, where: str | None = None, *, with_metadata: bool = False
    ) -> RadiusHits:
        """Find all items within a radius of each query; see `HashIndex.search_radius`."""
        check_radius(radius)
        found = self._nearest(codes, None, where, with_metadata=with_metadata, radius=radius)
        starts = np.zeros(len(codes) + 1, np.int64)
        np.cumsum([len(one) for one in found], out=starts[1:])
        flat = [hit for one in found for hit in one]
        return RadiusHits(
            starts,
            self._id_array([row["id"] for *_, row in flat]),
            np.array([hit[0] for hit in flat], np.int32),
            [metadata_of(row) for *_, row in flat] if with_metadata else None,
        )

    def _nearest(
        self,
        codes: Codes,
        k: int | None,
        where: str | None,
        *,
        with_metadata: bool,
        radius: int | None = None,
    ) -> list[Found]:
        """Find the hits of each query in order: the k nearest, or those within a radius."""
        self.check_query_codes(codes)
        tree = None if where is None else parse_filter(where)
        if self._known_kind() is None or not len(codes):
            return [[] for _ in codes]
        asked = compiled(tree, partition_field=self.settings.partition_field)
        fields = METADATA if with_metadata else ()
        found: list[Found | None] = [None] * len(codes)
        if asked.is_exact and (k is None or k < MOST_HITS):
            found = self._asked(codes, k, asked.text, fields, radius)
        left = [query for query, one in enumerate(found) if one is None]
        if left:
            read = self._compared(codes[left], k, tree, fields, radius)
            for query, one in zip(left, read, strict=True):
                found[query] = one
        return [one or [] for one in found]

    def _asked(
        self, codes: Codes, k: int | None, text: str, fields: Sequence[str], radius: int | None
    ) -> list[Found | None]:
        """Let Milvus search; None in the place of a query whose answer it can't give whole."""
        parameters: dict[str, Any] = {}
        is_flat, n_cells = self._index[0] == "BIN_FLAT", self._index[1]
        if not is_flat:
            parameters["nprobe"] = self._probes(text) if radius is None else n_cells
        elif radius is not None:
            parameters["radius"] = min(radius, self.n_bits) + 1  # Milvus means less than
        limit = MOST_HITS if k is None else min(k + max(k, MORE_HITS), MOST_HITS)
        found: list[Found | None] = [None] * len(codes)
        left = list(range(len(codes)))
        while left:
            answers = self._answers(codes[left], limit, text, fields, parameters)
            again = []
            for query, answer in zip(left, answers, strict=True):
                is_whole = len(answer) < limit and (is_flat or parameters["nprobe"] == n_cells)
                last = answer[-1][0] if answer else -1
                if k is None:
                    assert radius is not None
                    if is_whole or (not is_flat and last > radius):
                        found[query] = [hit for hit in answer if hit[0] <= radius]
                elif is_whole or (len(answer) > k and answer[k - 1][0] < last):
                    found[query] = answer[:k]
                else:
                    again.append(query)
            left = again
            if left and not is_flat and min(map(len, answers)) < limit:
                parameters["nprobe"] = n_cells  # too few in the cells that were looked into
            elif limit == MOST_HITS:
                break
            else:
                limit = min(8 * limit, MOST_HITS)
        return found

    def _answers(
        self,
        codes: Codes,
        limit: int,
        text: str,
        fields: Sequence[str],
        parameters: Mapping[str, Any],
    ) -> list[Found]:
        """Return what Milvus finds for each query, in the order of the contract."""
        step = max(1, min(QUERIES_A_CALL, HITS_A_CALL // limit))
        found: list[Found] = []
        for start in range(0, len(codes), step):
            answers = self.collection.search(
                [code.tobytes() for code in codes[start : start + step]],
                limit,
                text,
                ["number", *fields],
                parameters=parameters,
                consistency=self.settings.consistency,
            )
            found += [
                sorted(
                    ((distance, int(row["number"]), row) for distance, row in one),
                    key=lambda hit: hit[:2],
                )
                for one in answers
            ]
        return found

    def _probes(self, text: str) -> int:
        """Return how many cells to look into for a filter."""
        share = 1.0
        if text:
            level = self.settings.consistency
            n_items = max(self.collection.count(consistency=level), 1)
            share = self.collection.count(text, consistency=level) / n_items
        return self.settings.probes(self._index[1], share)

    def _compared(
        self,
        codes: Codes,
        k: int | None,
        tree: Filter | None,
        fields: Sequence[str],
        radius: int | None,
    ) -> list[Found]:
        """Read the items that may count, and compare them here."""
        found: list[Found] = [[] for _ in codes]
        for rows, distances in self._read(codes, tree, fields):
            for query, one in enumerate(distances):
                near = (
                    range(len(rows)) if radius is None else np.flatnonzero(one <= radius).tolist()
                )
                found[query] += [
                    (int(one[place]), int(rows[place]["number"]), rows[place]) for place in near
                ]
                if k is not None:
                    found[query].sort(key=lambda hit: hit[:2])
                    del found[query][k:]
        for hits in found:
            hits.sort(key=lambda hit: hit[:2])
        return found

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
        asked = compiled(tree, partition_field=self.settings.partition_field)
        wanted = list(fields) if asked.is_exact else list(dict.fromkeys([*fields, *METADATA]))
        for rows in pages(self.collection, asked.text, wanted, consistency=consistency):
            if asked.is_exact or tree is None:
                yield rows
            elif passing := [row for row in rows if holds(tree, metadata_of(row))]:
                yield passing

    def _count(self, where: str | None) -> int:
        """Count the items that pass a filter."""
        tree = None if where is None else parse_filter(where)
        asked = compiled(tree, partition_field=self.settings.partition_field)
        level = self.settings.consistency
        if asked.is_exact:
            return self.collection.count(asked.text, consistency=level)
        return sum(map(len, self._pages(tree, ["id"], level)))

    def distance_histogram(self, codes: Codes, where: str | None = None) -> NDArray[np.int64]:
        """Count the items at each distance, reading all; see `HashIndex.distance_histogram`."""
        self.check_query_codes(codes)
        tree = None if where is None else parse_filter(where)
        counts = np.zeros((len(codes), self.n_bits + 1), np.int64)
        if self._known_kind() is not None:
            for _, distances in self._read(codes, tree, ()):
                for query, one in enumerate(distances):
                    counts[query] += np.bincount(one, minlength=self.n_bits + 1)
        return counts

    def select(self, where: str) -> IdArray:
        """Return the ids of the items that pass a filter; see `HashIndex.select`."""
        return self._select(where, self.settings.consistency)

    def _select(self, where: str | None, consistency: str) -> IdArray:
        """Return the ids of the items that pass a filter, in the order of insertion."""
        tree = None if where is None else parse_filter(where)
        ids: list[Any] = []
        if self._known_kind() is not None:
            for rows in self._pages(tree, ["id"], consistency):
                ids += [row["id"] for row in rows]
        return self._id_array(ids)

    def _id_array(self, ids: Sequence[Any]) -> IdArray:
        """Return ids as the index gives them."""
        if self._kind is IdKind.INTEGER:
            return np.array(ids, np.int64)
        found = np.empty(len(ids), np.object_)
        found[:] = ids
        return found

    def _rows_of(self, ids: Ids, fields: Sequence[str], consistency: str) -> dict[Any, Row]:
        """Return the rows of some ids, those there are."""
        column = id_column(ids)
        if column is None:
            return {}
        kind = self._known_kind()
        check_id_kind(column, kind)
        found: dict[Any, Row] = {}
        distinct = list(dict.fromkeys(column))
        for start in range(0, len(distinct) if kind is not None else 0, IDS_A_CALL):
            text = id_list(distinct[start : start + IDS_A_CALL])
            for row in self.collection.rows(text, ["id", *fields], consistency=consistency):
                found[row["id"]] = row
        return found

    def _known_rows(self, ids: Ids, fields: Sequence[str]) -> list[Row]:
        """Return the rows of ids that must be there, in the order asked for."""
        column = id_column(ids)
        if column is None:
            return []
        found = self._rows_of(ids, fields, self.settings.consistency)
        check_known(column, np.array([value in found for value in column], np.bool_))
        return [found[value] for value in column]

    def reconstruct(self, ids: Ids) -> Codes:
        """Return the codes of items; see `HashIndex.reconstruct`."""
        return codes_of(self._known_rows(ids, ["code"]), code_width(self.n_bits)).copy()

    def metadata(self, ids: Ids) -> list[dict[str, Any]]:
        """Return the metadata of items; see `HashIndex.metadata`."""
        return [metadata_of(row) for row in self._known_rows(ids, METADATA)]

    def blocks(self, n_rows: int = 4096) -> Iterator[ItemBlock]:
        """Yield all items, a page after the other; see `HashIndex.blocks`."""
        if self._known_kind() is None:
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
        """Return which of some ids there are, (n,) bool; asked with "Strong"."""
        column = id_column(ids)
        if column is None:
            return np.zeros(0, np.bool_)
        if column.kind is not self._known_kind():
            return np.zeros(len(column), np.bool_)
        found = self._rows_of(ids, [], "Strong")
        return np.array([value in found for value in column], np.bool_)

    def __len__(self) -> int:
        return 0 if self._known_kind() is None else self._count(None)

    @property
    def ids(self) -> IdArray:
        """All ids in the order of insertion; reads them all."""
        return self._select(None, self.settings.consistency)

    @property
    def id_kind(self) -> IdKind | None:
        """What the ids are; None until the first item was added."""
        return self._known_kind()

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
        how = "exact" if self.is_exact else f"{self._index[1]} cells, approximate"
        place = f"{self.collection.name} at {self.collection.url}"
        return {"reason": f"{self._index[0]}, {how}; collection {place}"}
