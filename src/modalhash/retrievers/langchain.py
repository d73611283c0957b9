"""A vector store of LangChain over codes: of a trained model, or of any embeddings.

Needs `langchain-core`: `pip install 'modalhash[langchain]'`.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from modalhash.artifacts import HashModel
from modalhash.errors import InputError, UnavailableError
from modalhash.extras import import_optional
from modalhash.modalities import Side
from modalhash.picture_arrays import PictureInput
from modalhash.retrievers.documents import (
    FoundDocument,
    choose_diverse,
    prepare_documents,
)
from modalhash.retrievers.embedded_documents import EmbeddedDocuments, Embedder
from modalhash.retrievers.indexed_documents import IndexedDocuments
from modalhash.retrievers.where_clauses import write_where
from modalhash.search import SearchIndex

import_optional("langchain_core", extra="langchain", feature="a vector store of LangChain")

from langchain_core.documents import Document  # noqa: E402
from langchain_core.vectorstores import VectorStore  # noqa: E402

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

__all__ = ["ModalhashVectorStore"]

Where = Mapping[str, Any] | str | None


class LangChainEmbedder(Embedder):
    """Makes embeddings by an embedding model of LangChain.

    Args:
        embeddings: the model.
    """

    def __init__(self, embeddings: "Embeddings") -> None:
        self.embeddings = embeddings

    def embed_texts(self, texts: Sequence[str]) -> list[list[float]]:
        """Embed texts to store, (n, d)."""
        return self.embeddings.embed_documents(list(texts))

    def embed_query(self, text: str) -> list[float]:
        """Embed a text to search for, (d,)."""
        return self.embeddings.embed_query(text)


class ModalhashVectorStore(VectorStore):
    """Store and search documents by short binary codes.

    - `ModalhashVectorStore.from_index("photos.index")` searches pictures, or texts, of an index by
      the model inside it.
    - `ModalhashVectorStore(embedding)` takes any embedding model of LangChain and makes codes of
      its embeddings by random rotations, without training; `folder` keeps the store.

    Filters are texts of our filter language, or mappings as other stores take them, see
    `modalhash.retrievers.write_where`. Ids are texts. Methods that begin with `a` run in threads.

    Args:
        embedding: the embedding model.
        folder: where the store lies, opened if it is there; None keeps it in memory.
        n_bits: bits of a code; by default one for each number of an embedding, and at least 256.
        kind: of the index, a name in `modalhash.index.KINDS`.
        keep_embeddings: also keep the embeddings, a byte a number, and put the nearest documents in
            the order of their cosines.

    Raises:
        ArtifactError: if the folder is damaged or newer.
        InputError: if the folder holds something else.

    Example:
        >>> from langchain_core.embeddings import DeterministicFakeEmbedding
        >>> store = ModalhashVectorStore(DeterministicFakeEmbedding(size=32))
        >>> ids = store.add_texts(["a dog", "a cat"], [{"year": 2020}, {"year": 2021}])
        >>> print(store.similarity_search("a dog", k=1)[0].page_content)
        a dog
        >>> print(store.similarity_search("a dog", filter={"year": 2021})[0].page_content)
        a cat
    """

    def __init__(
        self,
        embedding: "Embeddings | None" = None,
        *,
        folder: str | Path | None = None,
        n_bits: int | None = None,
        kind: str = "flat",
        keep_embeddings: bool | None = None,
    ) -> None:
        if embedding is None:
            raise InputError(
                "embedding is missing: give an embedding model of LangChain, or open an index of "
                "modalhash by ModalhashVectorStore.from_index"
            )
        self._embedding: Embeddings | None = embedding
        self._documents: EmbeddedDocuments | IndexedDocuments = EmbeddedDocuments(
            LangChainEmbedder(embedding),
            folder=folder,
            n_bits=n_bits,
            kind=kind,
            keep_embeddings=keep_embeddings,
        )

    @classmethod
    def from_index(
        cls,
        index: SearchIndex | Path | str,
        *,
        target: Side | str | None = None,
        **options: Any,
    ) -> Self:
        """Make a store of a search index, whose model encodes the queries.

        Args:
            index: or its folder, or `hf://datasets/OWNER/NAME`.
            target: what is searched, "images" or "texts"; by default images, if there are any.
            options: of every search, fields of `SearchRequest`: `rerank`, `scoring`, ...

        Raises:
            ArtifactError: if the folder is no search index, damaged or newer.
            InputError: if there is no such side or option.
            UnavailableError: if the index lacks the side.
        """
        return cls._over(IndexedDocuments.open(index, target=target, options=options))

    @classmethod
    def from_model(
        cls,
        model: HashModel | Path | str,
        folder: Path | str,
        *,
        target: Side | str = Side.TEXTS,
        **options: Any,
    ) -> Self:
        """Make a new store without documents, whose model encodes them and the queries.

        Args:
            model: or its run folder, or the name of a ready model.
            folder: of the new index; it must not be there.
            target: what the store holds and searches, "texts" or "images".
            options: as for `from_index`.

        Raises:
            InputError: if the folder is there, or there is no such side or option.
        """
        documents = IndexedDocuments.create(model, folder, target=target, options=options)
        return cls._over(documents)

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: "Embeddings",
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Make a store of texts and an embedding model; see the class for what else it takes."""
        store = cls(embedding, **kwargs)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    @classmethod
    def _over(cls, documents: IndexedDocuments) -> Self:
        """Make a store over documents of an index."""
        store = cls.__new__(cls)
        store._embedding, store._documents = None, documents
        return store

    @property
    def embeddings(self) -> "Embeddings | None":
        """The embedding model; None of a store whose index has a model of its own."""
        return self._embedding

    @property
    def index(self) -> SearchIndex | None:
        """The search index; None of a store of embeddings."""
        documents = self._documents
        return documents.index if isinstance(documents, IndexedDocuments) else None

    # --- changing -----------------------------------------------------------------------------

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Add texts, in the place of documents of the same ids.

        A store of pictures takes files: each document's `image` in its metadata.

        Args:
            texts: of the documents.
            metadatas: of the documents.
            ids: of the documents; None, for all or for one, makes new ones.
            kwargs: none are taken.

        Returns:
            The ids.

        Raises:
            InputError: if numbers differ, an id comes twice, metadata can't be stored as JSON, or
                an index can't take a document. Nothing is added then.
        """
        refuse_unknown(kwargs)
        documents = prepare_documents(list(texts), metadatas, ids)
        self._documents.add(documents)
        return [document.id for document in documents]

    def add_images(
        self,
        uris: list[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        captions: list[str] | None = None,
    ) -> list[str]:
        """Add pictures by their files, which stay where they are.

        Args:
            uris: the files.
            metadatas: of the pictures.
            ids: of the pictures; by default new ones.
            captions: a text for each picture; by default none.

        Returns:
            The ids.

        Raises:
            InputError: if a file can't be read, or the store holds no pictures. Nothing is added
                then.
        """
        rows = metadatas or [{} for _ in uris]
        if len(rows) != len(uris):
            raise InputError(f"there are {len(rows)} metadatas and {len(uris)} uris: give one each")
        named = [{**row, "image": str(uri)} for row, uri in zip(rows, uris, strict=True)]
        self._pictures("add pictures")
        return self.add_texts(captions or [""] * len(uris), named, ids=ids)

    def delete(self, ids: Sequence[str] | None = None, **kwargs: Any) -> bool:
        """Remove documents; pictures go with all their texts.

        Args:
            ids: of the documents; those that aren't there are passed over.
            kwargs: `filter` removes the documents that pass it.

        Returns:
            True.

        Raises:
            IndexLockedError: if somebody else changes the index.
            InputError: if there are neither ids nor a filter: nothing is removed by mistake.
        """
        where = write_where(kwargs.pop("filter", None))
        refuse_unknown(kwargs)
        if ids is None and where is None:
            raise InputError("say what to delete: ids, or a filter")
        if ids is not None:
            self._documents.delete(list(ids))
        if where is not None:
            self._documents.delete_where(where)
        return True

    # --- searching ----------------------------------------------------------------------------

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Read documents by their ids; those that aren't there are passed over."""
        return [make_document(document) for document in self._documents.read(list(ids))]

    def similarity_search(
        self,
        query: str,
        k: int = 4,
        filter: Where = None,  # noqa: A002
        **kwargs: Any,
    ) -> list[Document]:
        """Find the documents nearest to a text.

        Args:
            query: the text.
            k: documents at most.
            filter: over metadata.
            kwargs: of a store over an index, fields of `SearchRequest`.

        Returns:
            Documents, best first; of a picture, its file is under `image` in its metadata.

        Raises:
            FilterError: if the filter can't be understood, marking the place.
            InputError: if a value is out of its range.
        """
        return [
            document
            for document, _ in self.similarity_search_with_score(query, k, filter, **kwargs)
        ]

    def similarity_search_with_score(
        self,
        query: str,
        k: int = 4,
        filter: Where = None,  # noqa: A002
        **kwargs: Any,
    ) -> list[tuple[Document, float]]:
        """Find the documents nearest to a text, with their scores.

        Returns:
            Documents and scores; larger is better. Of embeddings a score estimates the cosine, of
            an index it is that of a `Hit`.
        """
        hits = self._search(query, k, filter, kwargs)
        return [(make_document(hit), hit.score) for hit in hits]

    def similarity_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        filter: Where = None,  # noqa: A002
        **kwargs: Any,
    ) -> list[Document]:
        """Find the documents nearest to an embedding.

        Raises:
            UnavailableError: if the store is over an index, whose model makes the queries' codes.
        """
        refuse_unknown(kwargs)
        hits = self._embedded().search_embedding(embedding, k, write_where(filter))
        return [make_document(hit) for hit in hits]

    def similarity_search_by_image(
        self,
        uri: PictureInput,
        k: int = 4,
        filter: Where = None,  # noqa: A002
    ) -> list[Document]:
        """Find the documents nearest to a picture.

        Args:
            uri: its file, its bytes, an opened picture, or its pixels.
            k: documents at most.
            filter: over metadata.

        Raises:
            InputError: if the picture can't be read.
            UnavailableError: if the store is of embeddings, which know texts only.
        """
        hits = self._pictures("search by a picture").search_image(uri, k, write_where(filter))
        return [make_document(hit) for hit in hits]

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> list[Document]:
        """Find documents that are near a text and unlike each other.

        Likeness of two documents is that of their codes.

        Args:
            query: the text.
            k: documents at most.
            fetch_k: nearest documents to choose from.
            lambda_mult: from 0, only unlike each other, to 1, only near the query.
            kwargs: as for `similarity_search`.
        """
        hits = self._search(query, max(fetch_k, k), kwargs.pop("filter", None), kwargs)
        return self._choose_diverse(hits, k, lambda_mult)

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> list[Document]:
        """Find documents that are near an embedding and unlike each other."""
        where = write_where(kwargs.pop("filter", None))
        refuse_unknown(kwargs)
        hits = self._embedded().search_embedding(embedding, max(fetch_k, k), where)
        return self._choose_diverse(hits, k, lambda_mult)

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Find documents with relevance in [0, 1]: calibrated, or the score from 0."""
        hits = self._search(query, k, kwargs.pop("filter", None), kwargs)
        return [(make_document(hit), hit.relevance) for hit in hits]

    async def _asimilarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Find documents with relevance, in a thread."""
        from langchain_core.runnables.config import run_in_executor

        return await run_in_executor(
            None, self._similarity_search_with_relevance_scores, query, k, **kwargs
        )

    def _search(
        self, query: str, k: int, where: Where, options: dict[str, Any]
    ) -> list[FoundDocument]:
        """Find the documents nearest to a text."""
        if isinstance(self._documents, IndexedDocuments):
            fields = {"text": query, "k": k, "where": write_where(where), **options}
            return self._documents.search_request(fields)
        refuse_unknown(options)
        return self._documents.search(query, k, write_where(where))

    def _choose_diverse(
        self, hits: list[FoundDocument], k: int, relevance_share: float
    ) -> list[Document]:
        """Choose documents that are unlike each other from the nearest."""
        codes, n_bits = self._documents.read_codes([hit.id for hit in hits])
        places = choose_diverse(
            [hit.score for hit in hits], codes, n_bits, k, relevance_share=relevance_share
        )
        return [make_document(hits[place]) for place in places]

    def _embedded(self) -> EmbeddedDocuments:
        """Take the documents of embeddings."""
        if isinstance(self._documents, EmbeddedDocuments):
            return self._documents
        raise UnavailableError(
            "this store searches an index by its own model, which takes texts and pictures and no "
            "embeddings: use similarity_search or similarity_search_by_image"
        )

    def _pictures(self, purpose: str) -> IndexedDocuments:
        """Take the documents of an index."""
        if isinstance(self._documents, IndexedDocuments):
            return self._documents
        raise UnavailableError(
            f"a store of embeddings can't {purpose}, it knows texts only: make it by from_index or "
            "from_model"
        )

    def close(self) -> None:
        """Let go of files; the store can't be used afterwards."""
        self._documents.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def make_document(document: FoundDocument) -> Document:
    """Make LangChain's document."""
    return Document(id=document.id, page_content=document.text, metadata=dict(document.metadata))


def refuse_unknown(options: Mapping[str, Any]) -> None:
    """Refuse options that aren't known.

    Raises:
        InputError: naming the first.
    """
    if options:
        raise InputError(f"{next(iter(options))!r} is no option of this store: leave it out")
