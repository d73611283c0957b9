"""An index as a package of somebody else's would write it: a list of items, against the contract.

It knows only packed codes, as packages did before there were relaxed queries.

Importing the module puts it into the table of kinds under "plain".
"""

import base64
import json
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, code_width
from modalhash.errors import InputError
from modalhash.index import (
    INDEX_CLASSES,
    HashIndex,
    Hits,
    IdArray,
    IdKind,
    Ids,
    ItemBlock,
    ItemChange,
    Metadata,
    Operation,
    RadiusHits,
    check_model,
    check_radius,
    check_top_k,
    parse_filter,
    read_index_manifest,
    write_index_manifest,
)
from tests.oracles.plain_filter import plain_holds

INDEX_CLASSES["plain"] = "tests.oracles.plain_index:PlainIndex"


class PlainItem(NamedTuple):
    """One item: its code as bytes, its metadata as JSON."""

    code: bytes
    document: str


class PlainIndex(HashIndex):
    """A list of items, written whole into its manifest after each change."""

    kind = "plain"

    def __init__(self, n_bits: int, items: Mapping[Any, PlainItem], model: str) -> None:
        code_width(n_bits)
        self.n_bits, self.model_fingerprint = n_bits, model
        self.folder: Path | None = None
        self.held = dict(items)
        self.state: tuple[int, int] = (0, 0)
        self.lock = threading.RLock()
        self.uid = secrets.token_hex(8)
        self.is_closed = False

    @classmethod
    def build(
        cls,
        ids: Ids,
        codes: Codes,
        n_bits: int,
        *,
        kind: str = "plain",
        metadata: Sequence[Metadata] | None = None,
        parameters: Mapping[str, Any] | None = None,
        model_fingerprint: str = "",
        folder: str | Path | None = None,
    ) -> Self:
        """Make an index of some items."""
        cls.check_parameters(kind, parameters or {})
        index = cls(n_bits, {}, model_fingerprint)
        index.add(ids, codes, metadata)
        if folder is not None:
            index.save(folder)
            index.folder = Path(folder)
        return index

    @classmethod
    def open(cls, folder: str | Path, *, expect_model: str | None = None) -> Self:
        """Open a saved index."""
        index = cls(1, {}, "")
        index.folder = Path(folder)
        index.load()
        check_model(index.folder, index.model_fingerprint, expect_model)
        return index

    def load(self) -> None:
        """Read the folder."""
        assert self.folder is not None
        found = (self.folder / "manifest.json").stat()
        content = read_index_manifest(self.folder, "plain")
        if self.state != (0, 0) and content["uid"] != self.uid:
            self.folder = None  # it was replaced: go on with what there is
            return
        self.state, self.uid = (found.st_ino, found.st_mtime_ns), content["uid"]
        self.n_bits, self.model_fingerprint = content["n_bits"], content["model"]
        self.held = {
            value: PlainItem(base64.b64decode(code), document)
            for value, code, document in content["items"]
        }

    def save(self, folder: str | Path) -> None:
        """Write all items as one document."""
        items = [
            (value, base64.b64encode(item.code).decode(), item.document)
            for value, item in self.held.items()
        ]
        content = {"n_bits": self.n_bits, "model": self.model_fingerprint, "items": items}
        write_index_manifest(Path(folder), "plain", content | {"uid": self.uid})

    def items(self) -> dict[Any, PlainItem]:
        """Return the items as they are now; another process may have written."""
        if self.is_closed:
            raise InputError("the index is closed: open it again")
        with self.lock:
            if self.folder is not None:
                found = (self.folder / "manifest.json").stat()
                if (found.st_ino, found.st_mtime_ns) != self.state:
                    self.load()
            return self.held

    def apply_changes(self, changes: Sequence[ItemChange]) -> None:
        """Change the list."""
        with self.lock:
            before, held = self.items(), dict(self.items())
            for change in changes:
                for value in change.ids:
                    held.pop(value, None)
                if change.operation is not Operation.DELETE:
                    documents = change.documents or [None] * len(change)
                    for value, code, text in zip(change.ids, change.codes, documents, strict=True):
                        held[value] = PlainItem(code.tobytes(), text or "{}")
            self.held = held
            try:
                if self.folder is not None:
                    self.save(self.folder)
                    found = (self.folder / "manifest.json").stat()
                    self.state = (found.st_ino, found.st_mtime_ns)
            except BaseException:
                self.held = before
                raise

    def passing(self, where: str | None) -> list[tuple[Any, PlainItem]]:
        """Return the items that pass a filter."""
        tree = None if where is None else parse_filter(where)
        return [
            (value, item)
            for value, item in self.items().items()
            if tree is None or plain_holds(tree, json.loads(item.document))
        ]

    def ranked(
        self, codes: Codes, items: Sequence[tuple[Any, PlainItem]]
    ) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Return places of items and their distances for each query, nearest first."""
        self.check_query_codes(codes)
        held = np.frombuffer(b"".join(item.code for _, item in items), np.uint8)
        held = held.reshape(-1, code_width(self.n_bits))
        rankings = []
        for code in codes:
            distances = np.bitwise_count(held ^ code).sum(axis=1, dtype=np.int64)
            order = np.argsort(distances, kind="stable")
            rankings.append((order, distances[order]))
        return rankings

    def search(  # type: ignore[override]
        self, codes: Codes, k: int, where: str | None = None, *, with_metadata: bool = False
    ) -> Hits:
        """Find the k nearest items of each query."""
        check_top_k(k)
        items = self.passing(where)
        shape = (len(codes), min(k, len(items)))
        rows = [(order[:k], distances[:k]) for order, distances in self.ranked(codes, items)]
        places = [place for order, _ in rows for place in order.tolist()]
        metadata = [[json.loads(items[place][1].document) for place in order] for order, _ in rows]
        return Hits(
            self.id_array([items[place][0] for place in places]).reshape(shape),
            np.array([distances for _, distances in rows], np.int32).reshape(shape),
            metadata if with_metadata else None,
        )

    def search_radius(  # type: ignore[override]
        self, codes: Codes, radius: int, where: str | None = None, *, with_metadata: bool = False
    ) -> RadiusHits:
        """Find all items within a radius of each query."""
        check_radius(radius)
        items = self.passing(where)
        rows = [
            (order[distances <= radius], distances[distances <= radius])
            for order, distances in self.ranked(codes, items)
        ]
        places = [place for order, _ in rows for place in order.tolist()]
        metadata = [json.loads(items[place][1].document) for place in places]
        near = [distance for _, distances in rows for distance in distances.tolist()]
        return RadiusHits(
            np.cumsum([0, *(len(order) for order, _ in rows)], dtype=np.int64),
            self.id_array([items[place][0] for place in places]),
            np.array(near, np.int32),
            metadata if with_metadata else None,
        )

    def distance_histogram(  # type: ignore[override]
        self, codes: Codes, where: str | None = None
    ) -> NDArray[np.int64]:
        """Count the items at each distance."""
        counts = [
            np.bincount(distances, minlength=self.n_bits + 1)
            for _, distances in self.ranked(codes, self.passing(where))
        ]
        return np.array(counts, np.int64).reshape(len(codes), self.n_bits + 1)

    def id_array(self, ids: Sequence[Any]) -> IdArray:
        """Return ids as the contract wants them."""
        if self.id_kind is IdKind.INTEGER:
            return np.array(ids, np.int64)
        array = np.empty(len(ids), np.object_)
        array[:] = ids
        return array

    def select(self, where: str) -> IdArray:
        """Return the ids of the items that pass a filter."""
        return self.id_array([value for value, _ in self.passing(where)])

    def contains(self, ids: Ids) -> NDArray[np.bool_]:
        """Look which ids there are."""
        items = self.items()
        return np.array([value in items for value in ids], np.bool_)

    def known(self, ids: Ids) -> list[PlainItem]:
        """Return items that must be there."""
        return [self.items()[value] for value in self.check_known_ids(ids)]

    def reconstruct(self, ids: Ids) -> Codes:  # type: ignore[override]
        """Return the codes of items."""
        content = b"".join(item.code for item in self.known(ids))
        return np.frombuffer(content, np.uint8).reshape(-1, code_width(self.n_bits)).copy()

    def metadata(self, ids: Ids) -> list[dict[str, Any]]:
        """Return the metadata of items."""
        return [json.loads(item.document) for item in self.known(ids)]

    def blocks(self, n_rows: int = 4096) -> Iterator[ItemBlock]:  # type: ignore[override]
        """Yield all items."""
        items = list(self.items().items())
        for start in range(0, len(items), n_rows):
            part = items[start : start + n_rows]
            content = b"".join(item.code for _, item in part)
            yield ItemBlock(
                self.id_array([value for value, _ in part]),
                np.frombuffer(content, np.uint8).reshape(len(part), -1),
                [json.loads(item.document) for _, item in part],
            )

    def __len__(self) -> int:
        return len(self.items())

    @property
    def ids(self) -> IdArray:
        """All ids in the order of insertion."""
        return self.id_array(list(self.items()))

    @property
    def id_kind(self) -> IdKind | None:
        """What the ids are."""
        for value in self.items():
            return IdKind.TEXT if isinstance(value, str) else IdKind.INTEGER
        return None

    @property
    def is_exact(self) -> bool:
        """Nothing is missed."""
        return True

    def close(self) -> None:
        """Refuse what comes later."""
        self.is_closed = True
