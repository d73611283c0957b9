"""A retriever and a vector store of LlamaIndex over codes.

Needs `llama-index-core`: `pip install 'modalhash[llama-index]'`.
"""

from asyncio import to_thread
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from modalhash.errors import InputError, UnavailableError
from modalhash.extras import import_optional
from modalhash.modalities import Side
from modalhash.retrievers.documents import FoundDocument, NewDocument, choose_diverse
from modalhash.retrievers.embedded_documents import EmbeddedDocuments
from modalhash.retrievers.indexed_documents import IndexedDocuments
from modalhash.retrievers.where_clauses import (
    join_clauses,
    write_field,
    write_like,
    write_value,
    write_where,
)
from modalhash.search import SearchIndex

import_optional("llama_index.core", extra="llama-index", feature="a retriever of LlamaIndex")

from llama_index.core.bridge.pydantic import PrivateAttr  # noqa: E402
from llama_index.core.retrievers import BaseRetriever  # noqa: E402
from llama_index.core.schema import (  # noqa: E402
    BaseNode,
    ImageNode,
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores.types import (  # noqa: E402
    BasePydanticVectorStore,
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from llama_index.core.vector_stores.utils import (  # noqa: E402
    metadata_dict_to_node,
    node_to_metadata_dict,
)

__all__ = ["ModalhashNodeStore", "ModalhashRetriever", "write_filters"]

OWNER: Final = "ref_doc_id"
NODE_ID: Final = "_node_id"
MMR_FETCHED: Final = 4
"""Nodes a hit that maximal marginal relevance chooses from."""
USUAL_SHARE: Final = 0.5

Where = MetadataFilters | Mapping[str, Any] | str | None


class ModalhashRetriever(BaseRetriever):
    """Retrieve pictures or texts of a search index, by the model inside it.

    A picture becomes an `ImageNode` with its file and, as text, its first caption; a text becomes a
    `TextNode` whose source is its picture. A query has words, a picture (`image_path`) or both.
    The score of a node is the calibrated probability of relevance where the index knows it, else
    the similarity of its code, and 0 below 0.

    Args:
        index: or its folder, or `hf://datasets/OWNER/NAME`.
        similarity_top_k: nodes at most.
        target: what is searched, "images" or "texts"; by default images, if there are any.
        filters: of LlamaIndex, a mapping, or a text of our filter language.
        options: of every search, fields of `SearchRequest`: `rerank`, `scoring`, ...

    Raises:
        ArtifactError: if the folder is no search index, damaged or newer.
        InputError: if there is no such side or option, or a filter can't be expressed.
        UnavailableError: if the index lacks the side.
    """

    def __init__(
        self,
        index: SearchIndex | Path | str,
        *,
        similarity_top_k: int = 4,
        target: Side | str | None = None,
        filters: Where = None,
        **options: Any,
    ) -> None:
        self._documents = IndexedDocuments.open(index, target=target, options=options)
        self._where = write_filters(filters)
        self.similarity_top_k = similarity_top_k
        super().__init__()

    @property
    def index(self) -> SearchIndex:
        """The search index."""
        return self._documents.index

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        """Find the nodes nearest to the words and the picture of a query."""
        fields: dict[str, Any] = {"k": self.similarity_top_k, "where": self._where}
        if query_bundle.query_str:
            fields["text"] = query_bundle.query_str
        if query_bundle.image_path is not None:
            fields["image"] = query_bundle.image_path
        hits = self._documents.search_request(fields)
        return [
            NodeWithScore(node=make_node(hit, self._documents.side), score=hit.relevance)
            for hit in hits
        ]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        """Find nodes in a thread."""
        return await to_thread(self._retrieve, query_bundle)

    def close(self) -> None:
        """Let go of files; the retriever can't be used afterwards."""
        self._documents.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class ModalhashNodeStore(BasePydanticVectorStore):
    """Store nodes by codes of their embeddings, made by random rotations, without training.

    For `VectorStoreIndex`, whose embedding model makes the embeddings. Nodes are kept whole;
    filters of all operators are applied before the search, but `text_match_insensitive`.

    Args:
        folder: where the store lies, opened if it is there; None keeps it in memory.
        n_bits: bits of a code; by default one for each number of an embedding, and at least 256.
        kind: of the index, a name in `modalhash.index.KINDS`.
        keep_embeddings: also keep the embeddings, a byte a number, and put the nearest documents in
            the order of their cosines.

    Raises:
        ArtifactError: if the folder is damaged or newer.
        InputError: if the folder holds something else.
    """

    stores_text: bool = True
    is_embedding_query: bool = True
    _documents: EmbeddedDocuments = PrivateAttr()

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        n_bits: int | None = None,
        kind: str = "flat",
        keep_embeddings: bool | None = None,
    ) -> None:
        super().__init__(stores_text=True)
        self._documents = EmbeddedDocuments(
            folder=folder, n_bits=n_bits, kind=kind, keep_embeddings=keep_embeddings
        )

    @classmethod
    def class_name(cls) -> str:
        """Name the class, as LlamaIndex writes it into documents."""
        return "ModalhashNodeStore"

    @property
    def client(self) -> Any:
        """The index of codes; None until the first nodes come."""
        return self._documents.index

    def add(self, nodes: Sequence[BaseNode], **add_kwargs: Any) -> list[str]:
        """Add nodes that have embeddings, in the place of those of the same ids.

        Returns:
            Their ids.

        Raises:
            InputError: if metadata can't be stored as JSON. Nothing is added then.
            ShapeError: if embeddings are of another width than the store's.
        """
        documents = [store_node(node) for node in nodes]
        if documents:
            embeddings = [node.get_embedding() for node in nodes]
            self._documents.add_embeddings(documents, embeddings)
        return [document.id for document in documents]

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Remove the nodes of a document."""
        self._documents.delete_where(f"{write_field(OWNER)} == {write_value(ref_doc_id)}")

    def delete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """Remove the nodes of some ids that pass a filter.

        Raises:
            InputError: if there are neither ids nor a filter: nothing is removed by mistake.
        """
        if node_ids is None and filters is None:
            raise InputError("say which nodes to delete: node_ids, or filters; clear removes all")
        self._documents.delete([node.id for node in self._select(node_ids, filters)])

    def get_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """Read the nodes of some ids that pass a filter; all where neither is given."""
        return [restore_node(document) for document in self._select(node_ids, filters)]

    def clear(self) -> None:
        """Remove all nodes."""
        if self._documents.index is not None:
            self._documents.delete(self._documents.index.ids.tolist())

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Find the nodes nearest to an embedding.

        Modes are `default` and `mmr`, which chooses nodes that are unlike each other.

        Raises:
            InputError: if there is no embedding, or a filter can't be expressed.
            UnavailableError: if the mode is another one.
        """
        if query.query_embedding is None:
            raise InputError("the query has no embedding: give the index an embedding model")
        where = join_filters(
            write_filters(query.filters),
            write_ids(OWNER, query.doc_ids),
            write_ids(NODE_ID, query.node_ids),
        )
        k = query.similarity_top_k
        if query.mode is VectorStoreQueryMode.DEFAULT:
            hits = self._documents.search_embedding(query.query_embedding, k, where)
        elif query.mode is VectorStoreQueryMode.MMR:
            n_fetched = kwargs.get("mmr_prefetch_k") or MMR_FETCHED * k
            hits = self._documents.search_embedding(query.query_embedding, n_fetched, where)
            share = kwargs.get("mmr_threshold", query.mmr_threshold)
            hits = self._choose_diverse(hits, k, USUAL_SHARE if share is None else share)
        else:
            raise UnavailableError(
                f"codes can't answer queries of the mode {query.mode.value!r}: take default or mmr"
            )
        return VectorStoreQueryResult(
            nodes=[restore_node(hit) for hit in hits],
            similarities=[hit.score for hit in hits],
            ids=[hit.id for hit in hits],
        )

    def close(self) -> None:
        """Let go of files; the store can't be used afterwards."""
        self._documents.close()

    def _select(
        self, node_ids: Sequence[str] | None, filters: MetadataFilters | None
    ) -> list[FoundDocument]:
        """Read the documents of some ids that pass a filter."""
        where = write_filters(filters)
        if where is None:
            index = self._documents.index
            all_ids = [] if index is None else index.ids.tolist()
            return self._documents.read(all_ids if node_ids is None else node_ids)
        documents = self._documents.select(where)
        if node_ids is None:
            return documents
        allowed = set(node_ids)
        return [document for document in documents if document.id in allowed]

    def _choose_diverse(
        self, hits: list[FoundDocument], k: int, relevance_share: float
    ) -> list[FoundDocument]:
        """Choose nodes that are unlike each other from the nearest."""
        codes, n_bits = self._documents.read_codes([hit.id for hit in hits])
        places = choose_diverse(
            [hit.score for hit in hits], codes, n_bits, k, relevance_share=relevance_share
        )
        return [hits[place] for place in places]


def make_node(document: FoundDocument, side: Side) -> TextNode:
    """Make the node of a picture or a text of an index."""
    metadata = dict(document.metadata)
    owner = metadata.get("item")
    if side is Side.IMAGES:
        image = metadata.get("image")
        return ImageNode(id_=document.id, text=document.text, metadata=metadata, image_path=image)
    node = TextNode(id_=document.id, text=document.text, metadata=metadata)
    if owner is not None:
        node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=str(owner))
    return node


def store_node(node: BaseNode) -> NewDocument:
    """Make the document that keeps a node."""
    metadata = node_to_metadata_dict(node, remove_text=True)
    text = node.get_content()
    return NewDocument(node.node_id, text, {**metadata, NODE_ID: node.node_id})


def restore_node(document: FoundDocument) -> BaseNode:
    """Make the node again that a document keeps."""
    return metadata_dict_to_node(dict(document.metadata), text=document.text)


def write_filters(filters: Where) -> str | None:
    """Write a filter of LlamaIndex in our filter language.

    Args:
        filters: of LlamaIndex, nested or not; a mapping or a text as `write_where` takes them.

    Raises:
        InputError: if a filter can't be expressed: `text_match_insensitive`, or a value that isn't
            what its operator takes.

    Example:
        >>> year = MetadataFilter(key="year", value=2020, operator=FilterOperator.GTE)
        >>> write_filters(MetadataFilters(filters=[year, MetadataFilter(key="tag", value="dog")]))
        '`year` >= 2020 and `tag` == "dog"'
    """
    if not isinstance(filters, MetadataFilters):
        return write_where(filters)
    parts = []
    for entry in filters.filters:
        part = write_test(entry) if isinstance(entry, MetadataFilter) else write_filters(entry)
        if part is not None:
            parts.append(f"({part})" if isinstance(entry, MetadataFilters) else part)
    condition = filters.condition or FilterCondition.AND
    if condition is FilterCondition.NOT:
        joined = join_clauses(parts, "or")
        return None if joined is None else f"not ({joined})"
    return join_clauses(parts, condition.value)


def write_test(test: MetadataFilter) -> str:
    """Write one test of LlamaIndex."""
    field, value = write_field(test.key), test.value
    names = {
        FilterOperator.EQ: "$eq",
        FilterOperator.NE: "$ne",
        FilterOperator.GT: "$gt",
        FilterOperator.GTE: "$gte",
        FilterOperator.LT: "$lt",
        FilterOperator.LTE: "$lte",
        FilterOperator.IN: "$in",
        FilterOperator.NIN: "$nin",
        FilterOperator.CONTAINS: "$contains",
    }
    if test.operator in names:
        clause = write_where({test.key: {names[test.operator]: value}})
        assert clause is not None
        return clause
    if test.operator is FilterOperator.IS_EMPTY:
        return f'({field} is null or {field} == "")'
    if test.operator in (FilterOperator.ANY, FilterOperator.ALL) and isinstance(value, list):
        word = "or" if test.operator is FilterOperator.ANY else "and"
        clause = join_clauses([f"{write_value(part)} in {field}" for part in value], word)
        return clause or write_nothing(field, is_true=word == "and")
    if test.operator is FilterOperator.TEXT_MATCH and isinstance(value, str):
        return write_like(field, value)
    raise InputError(
        f"the filter of {test.key!r} by {test.operator.value!r} with {value!r} can't be expressed: "
        "take another operator, or a filter as a text"
    )


def write_nothing(field: str, *, is_true: bool) -> str:
    """Write a test that always holds, or never."""
    return f"({field} is null {'or' if is_true else 'and'} {field} is not null)"


def write_ids(name: str, ids: Sequence[str] | None) -> str | None:
    """Write that a field is one of some ids.

    None and no ids filter nothing: an index of LlamaIndex over a store that keeps texts asks so.
    """
    return write_where({name: {"$in": list(ids)}}) if ids else None


def join_filters(*filters: str | None) -> str | None:
    """Join filters that must all hold."""
    return join_clauses([f"({part})" for part in filters if part is not None], "and")
