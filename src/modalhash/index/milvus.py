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
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Self, final

from modalhash.codes import Codes
from modalhash.errors import (
    ArtifactError,
    DamagedArtifactError,
    InputError,
)
from modalhash.files import read_json, sealed, write_json
from modalhash.index.checking import (
    check_item_arrays,
    check_model,
    refuse_twice,
)
from modalhash.index.folder import refuse_foreign
from modalhash.index.hits import Ids, Metadata
from modalhash.index.ids import IdLookup
from modalhash.index.milvus_changing import MilvusWriter
from modalhash.index.milvus_collection import check_url
from modalhash.index.milvus_settings import MILVUS, MilvusSettings
from modalhash.index.milvus_settings import MILVUS_MANIFEST as MANIFEST

__all__ = ["MANIFEST", "MilvusIndex"]

FORMAT: Final = 1
ARTIFACT: Final = "modalhash index on Milvus"


@final
class MilvusIndex(MilvusWriter):
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

    # --- making, opening, closing -------------------------------------------------------------

    @classmethod
    def check_parameters(cls, kind: str, parameters: Mapping[str, Any]) -> None:
        """Refuse parameters without a `url`, or that `MilvusSettings` doesn't take."""
        settings = dict(parameters)
        check_url(settings.pop("url", None))
        MilvusSettings.of(kind, settings)

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
        all_parameters = {"url": url, **(parameters or {})}
        cls.check_parameters(kind, all_parameters)
        url = all_parameters.pop("url")
        settings = MilvusSettings.of(kind, all_parameters)
        column, documents = check_item_arrays(ids, codes, metadata, n_bits)
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

    def discard(self) -> None:
        """Remove the collection with all codes from the server, for good."""
        if self._find_id_kind() is not None:
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
