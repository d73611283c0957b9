"""Documents whose codes are made of the embeddings of any model, without training.

In memory, or in a folder::

    manifest.json     format, numbers of an embedding, bits of a code
    rotation.npy      what makes codes of embeddings
    codes/            index of codes; texts and metadata lie beside them, and embeddings if kept
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modalhash.codes import Codes, binarise, pack
from modalhash.errors import DamagedArtifactError, InputError, ShapeError, UnavailableError
from modalhash.files import map_array, peek_json, read_json, sealed, write_array, write_json
from modalhash.index import (
    ByteFeatures,
    HashIndex,
    build_index,
    check_kind,
    check_top_k,
    open_index,
)
from modalhash.index.new_folders import new_folder
from modalhash.retrievers.documents import FoundDocument, NewDocument, clip_score
from modalhash.retrievers.random_rotation import RandomRotation, read_embeddings, usual_bits
from modalhash.search.kept_features import FEATURES, read_features, write_features
from modalhash.seeds import check_seed

__all__ = ["EmbeddedDocuments", "Embedder"]

FORMAT: Final = 1
ARTIFACT: Final = "modalhash document store"
MANIFEST, ROTATION, CODES = "manifest.json", "rotation.npy", "codes"
SHORTLIST_A_HIT, SHORTEST = 5, 50
"""Documents a hit, and at least, that are put in the order of their cosines."""
TEXT: Final = "page_content"
"""Name in an item's metadata under which its text lies."""


class Embedder:
    """What makes embeddings of texts; a program's own class is wrapped in it."""

    def embed_texts(self, texts: Sequence[str]) -> ArrayLike:
        """Embed texts to store, (n, d)."""
        raise UnavailableError("this store has no embedding model: give embeddings")

    def embed_query(self, text: str) -> ArrayLike:
        """Embed a text to search for, (d,)."""
        raise UnavailableError("this store has no embedding model: give embeddings")


class EmbeddedDocuments:
    """Keep documents by the codes of their embeddings, and find those nearest to an embedding.

    The width of embeddings becomes known with the first documents; before, there is no index.

    Args:
        embedder: makes embeddings of texts; None takes embeddings only.
        folder: where the store lies; made with the first documents, opened if it is there. None
            keeps it in memory.
        n_bits: bits of a code; by default one for each number of an embedding, and at least 256.
        kind: of the index, a name in `modalhash.index.KINDS`.
        keep_embeddings: also keep the embeddings, a byte a number: the documents nearest by code
            are then put in the order of their cosines. A folder keeps what it was made with.
        seed: of the random rotation.

    Raises:
        ArtifactError: if the folder is damaged or newer.
        InputError: if the folder holds something else, codes of other bits, or embeddings or none
            other than `keep_embeddings` says; or `n_bits` isn't positive.
        UnknownNameError: if there is no such kind.
    """

    def __init__(
        self,
        embedder: Embedder | None = None,
        *,
        folder: str | Path | None = None,
        n_bits: int | None = None,
        kind: str = "flat",
        keep_embeddings: bool | None = None,
        seed: int = 0,
    ) -> None:
        check_kind(kind)
        if n_bits is not None and n_bits < 1:
            raise InputError(f"n_bits is {n_bits}, expected at least 1")
        check_seed(seed)
        self.embedder = embedder or Embedder()
        self.folder = None if folder is None else Path(folder)
        self.index: HashIndex | None = None
        """The index of codes; None until the first documents come."""
        self.rotation: RandomRotation | None = None
        self.keeps_embeddings = bool(keep_embeddings)
        self._n_bits, self._kind, self._seed = n_bits, kind, seed
        self._keep_embeddings = keep_embeddings
        self._beginning = Lock()
        if self.folder is not None and self.folder.exists() and any(self.folder.iterdir()):
            self._open(self.folder)

    def __len__(self) -> int:
        """Count the documents."""
        return 0 if self.index is None else len(self.index)

    def _open(self, folder: Path) -> None:
        """Open a folder that is there."""
        if not is_document_store(folder):
            raise InputError(f"{folder} is no document store of modalhash: choose another folder")
        manifest = read_json(folder / MANIFEST, kind="document store", newest_format=FORMAT)
        try:
            rows = np.array(map_array(folder / ROTATION), np.float32)
        except (OSError, ValueError, EOFError) as error:
            raise DamagedArtifactError(f"{folder / ROTATION} can't be read: {error}") from error
        shape = (manifest.get("n_bits"), manifest.get("n_dimensions"))
        if rows.shape != shape:
            raise DamagedArtifactError(
                f"{folder / ROTATION} has the shape {rows.shape}, the manifest says {shape}"
            )
        if self._n_bits not in (None, len(rows)):
            raise InputError(
                f"the store in {folder} has codes of {len(rows)} bits, n_bits is {self._n_bits}: "
                "leave it out, or choose another folder"
            )
        keeps = manifest.get("keeps_embeddings") is True
        if self._keep_embeddings not in (None, keeps):
            raise InputError(
                f"the store in {folder} keeps {'the' if keeps else 'no'} embeddings, but "
                f"keep_embeddings is {self._keep_embeddings}: leave it out, or choose another "
                "folder"
            )
        self.keeps_embeddings = keeps
        self.index = open_index(folder / CODES)
        self.rotation = RandomRotation(rows)

    def _begin(self, n_dimensions: int) -> tuple[HashIndex, RandomRotation]:
        """Make the index and the rotation when the first embeddings come."""
        with self._beginning:
            if self.index is None or self.rotation is None:
                n_bits = self._n_bits or usual_bits(n_dimensions)
                rotation = RandomRotation.draw(n_dimensions, n_bits, seed=self._seed)
                none = np.zeros((0, -(-n_bits // 8)), np.uint8)
                if self.folder is None:
                    index = build_index([], none, n_bits, kind=self._kind)
                else:
                    index = write_store(
                        self.folder, rotation, none, self._kind, keeps=self.keeps_embeddings
                    )
                self.index, self.rotation = index, rotation
            return self.index, self.rotation

    def add(self, documents: Sequence[NewDocument]) -> None:
        """Embed documents and add them; see `add_embeddings`."""
        if documents:
            texts = [document.text for document in documents]
            self.add_embeddings(documents, self.embedder.embed_texts(texts))

    def add_embeddings(self, documents: Sequence[NewDocument], embeddings: ArrayLike) -> None:
        """Add documents by their embeddings, in the place of those of the same ids.

        Args:
            documents: n documents.
            embeddings: (n, d) numbers.

        Raises:
            InputError: if metadata can't be stored as JSON or has the name `page_content`, or a
                number isn't finite. Nothing is added then.
            ShapeError: if there aren't n embeddings of the store's width.
        """
        array = read_embeddings(embeddings)
        if array.ndim != 2 or len(array) != len(documents) or not array.size:
            raise ShapeError(
                f"embeddings have the shape {array.shape}, expected one row for each of "
                f"{len(documents)} documents"
            )
        rows = [store_text(document) for document in documents]
        index, rotation = self._begin(array.shape[1])
        codes = pack(binarise(rotation.relax(array)))
        if self.keeps_embeddings:
            features = write_features(array)
            rows = [row | own for row, own in zip(rows, features, strict=True)]
        index.upsert([document.id for document in documents], codes, rows)

    def search(self, text: str, k: int, where: str | None = None) -> list[FoundDocument]:
        """Find the k best documents for a text; see `search_embedding`."""
        if self.index is None:
            return []
        return self.search_embedding(self.embedder.embed_query(text), k, where)

    def search_embedding(
        self, embedding: ArrayLike, k: int, where: str | None = None
    ) -> list[FoundDocument]:
        """Find the k best documents for an embedding, best first.

        Args:
            embedding: (d,) numbers.
            k: documents at most.
            where: a filter over metadata.

        Returns:
            Documents whose score is the cosine of the embeddings, in [-1, 1]: estimated by their
            codes, or computed where the store keeps embeddings.

        Raises:
            FilterError: if the filter can't be understood, marking the place.
            InputError: if `k` is less than 1, or a number isn't finite.
            ShapeError: if the embedding isn't of the store's width.
        """
        if self.index is None or self.rotation is None:
            return []
        query = read_embeddings(embedding)
        relaxed = self.rotation.relax(query[None])
        check_top_k(k)
        n_found = max(SHORTLIST_A_HIT * k, SHORTEST) if self.keeps_embeddings else k
        hits = self.index.search(relaxed, n_found, where, with_metadata=True)[0]
        assert hits.metadata is not None
        assert hits.scores is not None
        scores, order = hits.scores, np.arange(len(hits))
        if self.keeps_embeddings:
            scores = compute_cosines(query, read_features(hits.metadata, len(query)))
            order = np.argsort(-scores, kind="stable")[:k]
        return [
            read_document(hits.ids[place], hits.metadata[place], float(scores[place]))
            for place in order.tolist()
        ]

    def read(self, ids: Sequence[str]) -> list[FoundDocument]:
        """Read documents by their ids; ids that aren't there are passed over."""
        known = self._select_known(ids)
        if self.index is None or not known:
            return []
        rows = self.index.metadata(known)
        return [read_document(identity, row) for identity, row in zip(known, rows, strict=True)]

    def select(self, where: str) -> list[FoundDocument]:
        """Read the documents that pass a filter, in the order in which they were added."""
        return [] if self.index is None else self.read(self.index.select(where).tolist())

    def delete(self, ids: Sequence[str]) -> None:
        """Remove documents; ids that aren't there are passed over."""
        if self.index is not None and ids:
            self.index.delete(list(ids), missing="ignore")

    def delete_where(self, where: str) -> None:
        """Remove the documents that pass a filter."""
        if self.index is not None:
            self.index.delete_where(where)

    def read_codes(self, ids: Sequence[str]) -> tuple[Codes, int]:
        """Look up the packed codes of documents, (n, p) uint8, and their bits."""
        if self.index is None:
            return np.zeros((0, 0), np.uint8), 1
        return self.index.reconstruct(list(ids)), self.index.n_bits

    def close(self) -> None:
        """Let go of files; the store can't be used afterwards."""
        if self.index is not None:
            self.index.close()

    def _select_known(self, ids: Sequence[str]) -> list[str]:
        """List those of some ids that there are, each once."""
        distinct = list(dict.fromkeys(ids))
        if self.index is None or not distinct:
            return []
        is_there = self.index.contains(distinct)
        return [identity for identity, known in zip(distinct, is_there, strict=True) if known]


def is_document_store(folder: Path) -> bool:
    """Tell whether a folder holds a document store, be it damaged or newer."""
    document = peek_json(folder / MANIFEST)
    return document is not None and document.get("artifact") == ARTIFACT


def compute_cosines(query: NDArray[np.float32], features: ByteFeatures) -> NDArray[np.float32]:
    """Compute the cosines of a query, (d,), with embeddings that are kept; 0 with zeros."""
    rows = features.values.astype(np.float32)
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
    return (rows @ query / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def write_store(
    folder: Path, rotation: RandomRotation, codes: Codes, kind: str, *, keeps: bool
) -> HashIndex:
    """Write the folder of a store without documents, and open its index.

    Raises:
        StorageError: if the file system refuses.
    """
    with new_folder(folder) as part:
        build_index([], codes, rotation.n_bits, kind=kind, folder=part / CODES).close()
        write_array(part / ROTATION, rotation.rows)
        document = {
            "format": FORMAT,
            "artifact": ARTIFACT,
            "n_dimensions": rotation.n_dimensions,
            "n_bits": rotation.n_bits,
            "keeps_embeddings": keeps,
        }
        write_json(part / MANIFEST, sealed(document))
    return open_index(folder / CODES)


def store_text(document: NewDocument) -> dict[str, Any]:
    """Put the text of a document into its metadata.

    Raises:
        InputError: if its metadata has that name already.
    """
    for name, content in ((TEXT, "text"), (FEATURES, "embedding")):
        if name in document.metadata:
            raise InputError(
                f"metadata of {document.id!r} has the name {name!r}, under which the "
                f"{content} lies: give it another name"
            )
    return {**document.metadata, TEXT: document.text}


def read_document(identity: str, metadata: Mapping[str, Any], score: float = 0.0) -> FoundDocument:
    """Make a document of what the index keeps of it."""
    rest = dict(metadata)
    text = str(rest.pop(TEXT, ""))
    rest.pop(FEATURES, None)
    return FoundDocument(identity, text, rest, score, clip_score(score))
