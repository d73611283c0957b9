"""LlamaIndex's retriever and vector store of ours, in LlamaIndex's own programs."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import modalhash as mh
from modalhash.errors import InputError, UnavailableError

if TYPE_CHECKING:
    from modalhash.retrievers.llama_index import ModalhashNodeStore, ModalhashRetriever

pytest.importorskip("llama_index.core")
pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")

ROWS: list[dict[str, Any]] = [
    {"year": 2019, "tag": "dog", "tags": ["snow", "dog"]},
    {"year": 2020, "tag": "cat", "tags": ["a", "b"]},
    {"year": 2021, "tag": "", "tags": ["snow"]},
    {"tag": "50%_off", "tags": []},
]


@pytest.fixture
def retriever(scene_index: Path) -> Iterator["ModalhashRetriever"]:
    from modalhash.retrievers.llama_index import ModalhashRetriever

    with ModalhashRetriever(scene_index, similarity_top_k=3) as retriever:
        yield retriever


def angle(degrees: float) -> list[float]:
    point: list[float] = [np.cos(np.radians(degrees)).item(), np.sin(np.radians(degrees)).item()]
    return point


def make_store(folder: Path | None = None) -> "ModalhashNodeStore":
    """Store a node at each of some angles, with the metadata of `ROWS`."""
    from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode

    from modalhash.retrievers.llama_index import ModalhashNodeStore

    store = ModalhashNodeStore(folder, n_bits=512)
    nodes = []
    for number, (row, degrees) in enumerate(zip(ROWS, (0, 30, 60, 90), strict=True)):
        node = TextNode(id_=f"n{number}", text=f"at {degrees}", metadata=row)
        node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=f"d{number // 2}")
        node.embedding = angle(degrees)
        nodes.append(node)
    assert store.add(nodes) == ["n0", "n1", "n2", "n3"]
    return store


def search(store: "ModalhashNodeStore", degrees: float = 0, k: int = 9, **query: Any) -> list[str]:
    from llama_index.core.vector_stores.types import VectorStoreQuery

    options = query.pop("options", {})
    result = store.query(
        VectorStoreQuery(query_embedding=angle(degrees), similarity_top_k=k, **query), **options
    )
    assert result.ids is not None
    return result.ids


# --- the retriever of an index ----------------------------------------------------------------


def test_a_retriever_finds_what_the_index_finds(
    retriever: "ModalhashRetriever", scene_index: Path
) -> None:
    from llama_index.core.schema import ImageNode

    nodes = retriever.retrieve("a red square")
    with mh.open_index(scene_index) as index:
        hits = index.search("a red square", k=3).hits
    assert [node.node_id for node in nodes] == [hit.id for hit in hits]
    for node, hit in zip(nodes, hits, strict=True):
        assert isinstance(node.node, ImageNode)
        assert (node.node.image_path, node.text) == (hit.image, hit.caption)
        assert node.score == max(hit.score, 0)
        assert node.metadata["labels"] == hit.metadata["labels"]
    assert asyncio.run(retriever.aretrieve("a red square")) == nodes


def test_words_and_a_picture_are_searched_for_together(
    retriever: "ModalhashRetriever", scene_index: Path
) -> None:
    from llama_index.core.schema import QueryBundle

    with mh.open_index(scene_index) as index:
        (picture,) = index.search(id="scene-0-0000007", k=1).hits
        request = mh.SearchRequest("red", image=picture.image, k=3, target="images")
        (answer,) = index.answer(request)
    nodes = retriever.retrieve(QueryBundle("red", image_path=picture.image))
    assert [node.node_id for node in nodes] == [hit.id for hit in answer.hits]
    alone = retriever.retrieve(QueryBundle("", image_path=picture.image))
    assert alone[0].node_id == picture.id


def test_texts_are_nodes_whose_source_is_their_picture(scene_index: Path) -> None:
    from llama_index.core.schema import TextNode

    from modalhash.retrievers.llama_index import ModalhashRetriever

    with ModalhashRetriever(scene_index, target="texts", filters={"n_objects": 1}) as retriever:
        (first, *_) = retriever.retrieve("a red square")
        assert isinstance(first.node, TextNode)
        assert first.node.ref_doc_id == first.node_id.rpartition("#")[0]
        assert first.metadata["n_objects"] == 1


# --- the store of nodes -----------------------------------------------------------------------


def test_a_vector_index_of_llama_index_keeps_and_finds_nodes(tmp_path: Path) -> None:
    from llama_index.core import MockEmbedding, StorageContext, VectorStoreIndex
    from llama_index.core.schema import Document

    from modalhash.retrievers.llama_index import ModalhashNodeStore

    class Embedding(MockEmbedding):
        def _get_vector(self) -> list[float]:
            return [0.5, 0.5]

        def _get_text_embedding(self, text: str) -> list[float]:
            return angle(float(text))

        def _get_query_embedding(self, query: str) -> list[float]:
            return angle(float(query))

    model = Embedding(embed_dim=2)
    context = StorageContext.from_defaults(vector_store=ModalhashNodeStore(tmp_path / "store"))
    documents = [
        Document(id_=f"d{number}", text=text, excluded_embed_metadata_keys=["n"],
                 metadata={"n": number})
        for number, text in enumerate(["0", "40", "80"])
    ]  # fmt: skip
    index = VectorStoreIndex.from_documents(documents, storage_context=context, embed_model=model)
    nodes = index.as_retriever(similarity_top_k=2).retrieve("35")
    assert [(node.text, node.metadata) for node in nodes] == [("40", {"n": 1}), ("0", {"n": 0})]
    np.testing.assert_allclose(nodes[0].score or 0, np.cos(np.radians(5)), rtol=0, atol=0.15)
    index.delete_ref_doc("d1")
    assert [node.text for node in index.as_retriever().retrieve("35")] == ["0", "80"]
    context.vector_store.close()  # type: ignore[attr-defined]

    opened = ModalhashNodeStore(tmp_path / "store")
    again = VectorStoreIndex.from_vector_store(opened, embed_model=model)
    assert [node.text for node in again.as_retriever().retrieve("75")] == ["80", "0"]


def test_filters_select_what_llama_index_selects_itself() -> None:
    from llama_index.core.vector_stores.types import MetadataFilters
    from llama_index.core.vector_stores.utils import build_metadata_filter_fn

    store = make_store()
    rows = {f"n{number}": row for number, row in enumerate(ROWS)}
    for key, operator, value in (
        ("year", "==", 2020), ("year", "!=", 2020), ("year", ">", 2019), ("year", ">=", 2020),
        ("year", "<", 2020), ("year", "<=", 2020), ("tag", "in", ["dog", "cat"]),
        ("tag", "nin", ["dog", "cat"]), ("tags", "contains", "snow"), ("tag", "text_match", "%_"),
        ("tags", "any", ["snow", "a"]), ("tags", "all", ["a", "b"]), ("tag", "is_empty", None),
        ("year", "is_empty", None), ("tags", "any", []), ("year", "nin", [2019]),
    ):  # fmt: skip
        for condition in ("and", "or", "not"):
            filters = MetadataFilters.from_dicts(
                [
                    {"key": key, "operator": operator, "value": value},
                    {"key": "tag", "value": "cat"},
                ],
                condition=condition,  # type: ignore[arg-type]
            )
            is_selected = build_metadata_filter_fn(lambda node: rows[node], filters)
            expected = [node for node in rows if is_selected(node)]
            assert sorted(search(store, filters=filters)) == expected, filters
            assert [node.node_id for node in store.get_nodes(filters=filters)] == expected


def test_nodes_are_found_by_ids_documents_and_unlike_each_other() -> None:
    from llama_index.core.vector_stores.types import MetadataFilters, VectorStoreQueryMode

    store = make_store()
    assert search(store, 35) == ["n1", "n2", "n0", "n3"]
    assert search(store, 35, node_ids=["n3", "n0"]) == ["n0", "n3"]
    assert search(store, 35, doc_ids=["d1"]) == ["n2", "n3"]
    nested = MetadataFilters.from_dicts([{"key": "year", "value": 2020}])
    either = MetadataFilters(
        filters=[nested, *MetadataFilters.from_dicts([{"key": "tag", "value": "dog"}]).filters],
        condition="or",  # type: ignore[arg-type]
    )
    assert search(store, filters=either) == ["n0", "n1"]
    mode, unlike = VectorStoreQueryMode.MMR, {"mmr_threshold": 0.1}
    assert search(store, 0, 2, mode=mode, options=unlike) == ["n0", "n3"]
    assert search(store, 0, 2, mode=mode, mmr_threshold=1.0) == ["n0", "n1"]
    store.delete("d0")
    assert [node.node_id for node in store.get_nodes()] == ["n2", "n3"]
    store.delete_nodes(["n2", "n9"], filters=None)
    assert [node.node_id for node in store.get_nodes(["n3", "n2"])] == ["n3"]
    store.clear()
    assert search(store) == []
    assert store.get_nodes() == []


def test_what_a_store_cannot_do_is_said() -> None:
    from llama_index.core.vector_stores.types import (
        MetadataFilters,
        VectorStoreQuery,
        VectorStoreQueryMode,
    )

    store = make_store()
    fuzzy = {"key": "tag", "operator": "text_match_insensitive", "value": "D"}
    for error, message, act in (
        (InputError, "say which nodes to delete: node_ids, or filters; clear removes all",
         store.delete_nodes),
        (InputError, "the query has no embedding: give the index an embedding model",
         lambda: store.query(VectorStoreQuery(query_str="a"))),
        (UnavailableError, "codes can't answer queries of the mode 'sparse': take default or mmr",
         lambda: search(store, mode=VectorStoreQueryMode.SPARSE)),
        (InputError, ("the filter of 'tag' by 'text_match_insensitive' with 'D' can't be "
         "expressed: take another operator, or a filter as a text"),
         lambda: search(store, filters=MetadataFilters.from_dicts([fuzzy]))),
    ):  # fmt: skip
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            act()
