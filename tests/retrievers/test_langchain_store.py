"""LangChain's vector store of ours: over an index with its model, and over embeddings."""

import asyncio
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import modalhash as mh
from modalhash.errors import (
    DamagedArtifactError,
    InputError,
    NewerFormatError,
    ShapeError,
    UnavailableError,
    UnknownNameError,
)
from modalhash.files import sealed, write_json
from modalhash.modalities import Side

if TYPE_CHECKING:
    from modalhash.retrievers.langchain import ModalhashVectorStore

pytest.importorskip("langchain_core")
pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")


class AngleEmbeddings:
    """Embeds a text of a number of degrees as the point of the circle at that angle."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        angles = np.radians([float(text) for text in texts])
        points: list[list[float]] = np.stack([np.cos(angles), np.sin(angles)], axis=1).tolist()
        return points

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


@pytest.fixture
def folder(scene_index: Path, tmp_path: Path) -> Path:
    """A copy of the index of scenes that may be changed."""
    shutil.copytree(scene_index, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def pictures(folder: Path) -> Iterator["ModalhashVectorStore"]:
    from modalhash.retrievers.langchain import ModalhashVectorStore

    with ModalhashVectorStore.from_index(folder) as store:
        yield store


def angles(**options: Any) -> "ModalhashVectorStore":
    from modalhash.retrievers.langchain import ModalhashVectorStore

    embedding: Any = AngleEmbeddings()
    return ModalhashVectorStore(embedding, **options)


# --- an index with its model ------------------------------------------------------------------


def test_a_store_finds_the_pictures_that_the_index_finds(
    pictures: "ModalhashVectorStore", folder: Path
) -> None:
    documents = pictures.similarity_search("a red square", k=4)
    with mh.open_index(folder) as index:
        hits = index.search("a red square", k=4).hits
    assert [document.id for document in documents] == [hit.id for hit in hits]
    for document, hit in zip(documents, hits, strict=True):
        assert document.page_content == hit.caption
        assert document.metadata == {**hit.metadata, "image": hit.image}
        assert Path(document.metadata["image"]).is_file()


def test_a_retriever_of_the_store_answers(pictures: "ModalhashVectorStore") -> None:
    retriever = pictures.as_retriever(search_kwargs={"k": 3, "filter": {"n_objects": 1}})
    documents = retriever.invoke("a red square")
    assert len(documents) == 3
    assert {document.metadata["n_objects"] for document in documents} == {1}
    again = asyncio.run(retriever.ainvoke("a red square"))
    assert again == documents
    varied = pictures.as_retriever(search_type="mmr", search_kwargs={"k": 2}).invoke("a square")
    assert len({document.id for document in varied}) == 2


def test_relevance_is_the_calibrated_probability(
    scene_run: Path, tmp_path: Path, session_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modalhash.retrievers.langchain import ModalhashVectorStore

    monkeypatch.setattr("modalhash.api.calibrating.FEWEST_ITEMS", 12)
    index = mh.build_index(scene_run, output=tmp_path / "index", cache=session_cache)
    expected = [hit.relevance for hit in index.search("a red square", k=5).hits]
    assert all(value is not None for value in expected)
    with ModalhashVectorStore.from_index(index) as store:
        pairs = store.similarity_search_with_relevance_scores("a red square", k=5)
        assert [value for _, value in pairs] == expected
        later = asyncio.run(store.asimilarity_search_with_relevance_scores("a red square", k=5))
        assert [value for _, value in later] == expected


def test_a_new_store_knows_what_its_model_was_calibrated_for(
    scene_run: Path, tmp_path: Path, session_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modalhash.retrievers.langchain import ModalhashVectorStore

    monkeypatch.setattr("modalhash.api.calibrating.FEWEST_ITEMS", 12)
    shutil.copytree(scene_run, tmp_path / "run")
    mh.calibrate(tmp_path / "run", cache=session_cache)
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "red.png")
    with ModalhashVectorStore.from_model(
        tmp_path / "run", tmp_path / "store", target="images"
    ) as store:
        store.add_images([str(tmp_path / "red.png")])
        assert store.index is not None
        (hit,) = store.index.search("a red square", target="images").hits
        assert hit.relevance is not None
        pairs = store.similarity_search_with_relevance_scores("a red square", k=1)
        assert [value for _, value in pairs] == [hit.relevance]


def test_without_a_calibration_relevance_is_the_score_from_zero(
    pictures: "ModalhashVectorStore",
) -> None:
    pairs = pictures.similarity_search_with_score("a red square", k=60)
    assert min(score for _, score in pairs) < 0 < pairs[0][1]
    relevance = pictures.similarity_search_with_relevance_scores("a red square", k=60)
    assert [value for _, value in relevance] == [max(score, 0.0) for _, score in pairs]
    by_distance = pictures.similarity_search_with_relevance_scores(
        "a red square", k=60, scoring="hamming"
    )
    shares = pictures.similarity_search_with_score("a red square", k=60, scoring="hamming")
    assert [value for _, value in by_distance] == [max(2 * share - 1, 0.0) for _, share in shares]


def test_pictures_are_found_by_pictures(pictures: "ModalhashVectorStore") -> None:
    (document,) = pictures.get_by_ids(["scene-0-0000007"])
    best = pictures.similarity_search_by_image(document.metadata["image"], k=1)
    assert [hit.id for hit in best] == ["scene-0-0000007"]


def test_pictures_are_added_replaced_and_deleted(
    pictures: "ModalhashVectorStore", tmp_path: Path
) -> None:
    files = []
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        files.append(str(tmp_path / f"{name}.png"))
        Image.new("RGB", (8, 8), colour).save(files[-1])
    ids = pictures.add_images(files, [{"year": 2020}, {"year": 2021}], captions=["red", "blue"])
    first, second = pictures.get_by_ids(ids)
    assert (first.page_content, first.metadata) == ("red", {"year": 2020, "image": files[0]})
    assert pictures.similarity_search_by_image(files[1], k=1)[0].metadata == second.metadata
    assert pictures.index is not None
    texts = len(pictures.index.sides[Side.TEXTS])
    pictures.add_images(files[:1], ids=ids[:1])
    assert pictures.get_by_ids(ids[:1])[0].page_content == ""
    pictures.delete(ids)
    assert pictures.get_by_ids(ids) == []
    assert len(pictures.index.sides[Side.TEXTS]) == texts - 2, "texts of pictures go with them"
    pictures.delete(filter={"n_objects": 1})
    assert pictures.similarity_search("a square", filter="n_objects == 1") == []


def test_texts_of_an_index_are_documents_too(folder: Path) -> None:
    from modalhash.retrievers.langchain import ModalhashVectorStore

    with ModalhashVectorStore.from_index(folder, target="texts") as store:
        (nearest,) = store.similarity_search("a red square", k=1)
        assert nearest.metadata["item"] == nearest.id.rpartition("#")[0]  # type: ignore[union-attr]
        metadata = {"item": "scene-0-0000007"}
        store.add_texts(["something new"], [dict(metadata)], ids=["new"])
        assert store.get_by_ids(["new"])[0].metadata == metadata
        store.delete(["scene-0-0000007#0"])
        assert store.get_by_ids(["scene-0-0000007#0"]) == []


def test_a_store_says_what_an_index_cannot(pictures: "ModalhashVectorStore", folder: Path) -> None:
    from modalhash.retrievers.langchain import ModalhashVectorStore

    for error, message, act in (
        (InputError, ("document 'x' has no picture, and this store searches pictures: name its "
         "file in metadata['image'], or open the store with target='texts'"),
         lambda: pictures.add_texts(["a dog"], ids=["x"])),
        (InputError, ("metadata of 'x' has the name 'caption', which is the document's text: give "
         "it another name"), lambda: pictures.add_texts(["a"], [{"caption": "b"}], ids=["x"])),
        (UnavailableError, ("this store searches an index by its own model, which takes texts and "
         "pictures and no embeddings: use similarity_search or similarity_search_by_image"),
         lambda: pictures.similarity_search_by_vector([1.0])),
        (InputError, "say what to delete: ids, or a filter", pictures.delete),
        (InputError, "target is 'films', expected images or texts",
         lambda: ModalhashVectorStore.from_index(folder, target="films")),
        (InputError, "lambda_mult is 2, expected from 0 to 1",
         lambda: pictures.max_marginal_relevance_search("a", lambda_mult=2)),
        (InputError, "there are 1 metadatas and 2 uris: give one each",
         lambda: pictures.add_images(["a", "b"], [{}])),
        (InputError, ("embedding is missing: give an embedding model of LangChain, or open an "
         "index of modalhash by ModalhashVectorStore.from_index"), ModalhashVectorStore),
    ):  # fmt: skip
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            act()
    with pytest.raises(UnknownNameError, match="option of a search 'fetch'"):
        ModalhashVectorStore.from_index(folder, fetch=3)
    with pytest.raises(UnknownNameError, match="option of a search 'id'"):
        pictures.similarity_search("a dog", id=3)
    with pytest.raises(InputError, match=re.escape("missing.png")):
        pictures.add_images([str(folder / "missing.png")])


def test_integer_ids_are_texts_outside(word_run: Path, tmp_path: Path) -> None:
    from modalhash.retrievers.langchain import ModalhashVectorStore
    from modalhash.search import NewItem, NewText, contents_of_items

    with ModalhashVectorStore.from_model(word_run, tmp_path / "store") as store:
        index = store.index
        assert index is not None
        index.add(contents_of_items(index, [NewItem(7, texts=[NewText(7, "seven")])])[0])
        assert [hit.id for hit in store.similarity_search("seven", k=1)] == ["7"]
        assert [hit.id for hit in store.get_by_ids(["7", "8", "x"])] == ["7"]
        assert [hit.id for hit in store.max_marginal_relevance_search("seven")] == ["7"]
        with pytest.raises(InputError, match="the ids of this index are integers, 'x' is none"):
            store.add_texts(["nine"], ids=["x"])
        store.delete(["7", "x"])
        assert store.get_by_ids(["7"]) == []


# --- embeddings -------------------------------------------------------------------------------


def test_scores_estimate_the_cosine_of_embeddings() -> None:
    store = angles(n_bits=4096)
    store.add_texts(["0", "30", "60", "90", "135", "180"])
    pairs = store.similarity_search_with_score("0", k=6)
    assert [document.page_content for document, _ in pairs] == ["0", "30", "60", "90", "135", "180"]
    cosines = np.cos(np.radians([0, 30, 60, 90, 135, 180]))
    np.testing.assert_allclose([score for _, score in pairs], cosines, rtol=0, atol=4 / 64)
    relevance = [value for _, value in store.similarity_search_with_relevance_scores("0", k=6)]
    assert relevance == [max(score, 0.0) for _, score in pairs]


def test_a_folder_keeps_documents_and_their_codes(tmp_path: Path) -> None:
    with angles(folder=tmp_path / "store") as store:
        store.add_texts(["10", "80"], [{"year": 2020}, {"year": 2021}], ids=["a", "b"])
        before = store.similarity_search_with_score("20", k=2)
    with angles(folder=tmp_path / "store", n_bits=256) as again:
        assert again.similarity_search_with_score("20", k=2) == before
        again.add_texts(["20"], ids=["c"])
        again.delete(filter={"year": {"$lt": 2021}})
        assert [hit.id for hit in again.similarity_search("20", k=9)] == ["c", "b"]
    with pytest.raises(InputError, match="has codes of 256 bits, n_bits is 64: leave it out"):
        angles(folder=tmp_path / "store", n_bits=64)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(InputError, match="is no document store of modalhash: choose another"):
        angles(folder=tmp_path / "other")


def test_kept_embeddings_order_the_nearest_by_their_cosines(tmp_path: Path) -> None:
    degrees = [str(number) for number in range(0, 180, 3)]
    with angles(folder=tmp_path / "store", n_bits=32, keep_embeddings=True) as store:
        store.add_texts(degrees, [{"n": row} for row in range(60)])
        before = store.similarity_search_with_score("61", k=5)
    assert [document.page_content for document, _ in before] == ["60", "63", "57", "66", "54"]
    cosines = np.cos(np.radians([1, 2, 4, 5, 7]))
    np.testing.assert_allclose([score for _, score in before], cosines, rtol=0, atol=0.005)
    assert before[0][0].metadata == {"n": 20}, "what is kept isn't shown"
    with angles(folder=tmp_path / "store") as again:
        assert again.similarity_search_with_score("61", k=5) == before
        assert len(again.similarity_search("61", k=3, filter="n < 20")) == 3
    with pytest.raises(InputError, match="keeps the embeddings, but keep_embeddings is False"):
        angles(folder=tmp_path / "store", keep_embeddings=False)


def test_a_damaged_or_newer_store_is_refused(tmp_path: Path) -> None:
    angles(folder=tmp_path / "store").add_texts(["1"])
    rotation = tmp_path / "store" / "rotation.npy"
    whole = rotation.read_bytes()
    rotation.write_bytes(whole[:100])
    with pytest.raises(DamagedArtifactError, match=r"rotation\.npy can't be read"):
        angles(folder=tmp_path / "store")
    np.save(rotation, np.zeros((3, 2), np.float32))
    with pytest.raises(DamagedArtifactError, match=re.escape("has the shape (3, 2), the manifest")):
        angles(folder=tmp_path / "store")
    newer = {"format": 99, "artifact": "modalhash document store"}
    write_json(tmp_path / "store" / "manifest.json", sealed(newer))
    with pytest.raises(NewerFormatError):
        angles(folder=tmp_path / "store")


def test_texts_of_equal_embeddings_give_way_to_unlike_ones() -> None:
    store = angles()
    store.add_texts(["0", "0", "0", "50"], ids=["a", "b", "c", "d"])
    assert [hit.id for hit in store.similarity_search("10", k=2)] == ["a", "b"]
    varied = store.max_marginal_relevance_search("10", k=2, fetch_k=4, lambda_mult=0.3)
    assert [hit.id for hit in varied] == ["a", "d"]
    by_vector = store.max_marginal_relevance_search_by_vector([1.0, 0.1], k=2, lambda_mult=1.0)
    assert [hit.id for hit in by_vector] == ["a", "b"]


def test_texts_are_given_as_a_store_at_once() -> None:
    from modalhash.retrievers.langchain import ModalhashVectorStore

    embedding: Any = AngleEmbeddings()
    store = ModalhashVectorStore.from_texts(["1", "2"], embedding, [{"n": 1}, {"n": 2}], n_bits=64)
    assert store.embeddings is embedding
    assert [hit.metadata for hit in store.similarity_search_by_vector([1.0, 0.0], k=1)] == [
        {"n": 1}
    ]


class RaggedEmbeddings(AngleEmbeddings):
    """An embedding model whose rows have different lengths."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[1.0] * (place + 1) for place, _ in enumerate(texts)]


def test_rows_of_different_lengths_are_refused() -> None:
    from modalhash.retrievers.langchain import ModalhashVectorStore

    embedding: Any = RaggedEmbeddings()
    store = ModalhashVectorStore(embedding)
    message = "embeddings aren't rows of equally many numbers: check the embedding model"
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        store.add_texts(["1", "2"])
    assert store.similarity_search("1") == []


def test_nothing_is_added_of_what_is_wrong() -> None:
    store = angles()
    store.add_texts(["1"], ids=["a"])
    ragged: Any = [1.0, [2.0]]
    words: Any = ["one", "two"]
    for error, message, act in (
        (InputError, "there are 1 ids and 2 texts: give one for each text",
         lambda: store.add_texts(["1", "2"], ids=["x"])),
        (InputError, "the id 'x' comes twice: give each document its own",
         lambda: store.add_texts(["1", "2"], ids=["x", "x"])),
        (InputError, ("metadata of 'x' has the name 'page_content', under which the text lies: "
         "give it another name"), lambda: store.add_texts(["1"], [{"page_content": 1}], ids=["x"])),
        (ShapeError, ("embeddings have the shape (1, 3), expected (n, 2): the store was made with "
         "an embedding model of that width"),
         lambda: store.similarity_search_by_vector([1.0, 2.0, 3.0])),
        (InputError, "embeddings have numbers that aren't finite: check the model",
         lambda: store.add_texts(["nan"], ids=["x"])),
        (ShapeError, "embeddings aren't rows of equally many numbers: check the embedding model",
         lambda: store.similarity_search_by_vector(ragged)),
        (ShapeError, "embeddings aren't rows of equally many numbers: check the embedding model",
         lambda: store.similarity_search_by_vector(words)),
        (UnavailableError, ("a store of embeddings can't search by a picture, it knows texts only: "
         "make it by from_index or from_model"), lambda: store.similarity_search_by_image("a.png")),
        (InputError, "'rerank' is no option of this store: leave it out",
         lambda: store.similarity_search("1", rerank=100)),
        (InputError, "n_bits is 0, expected at least 1", lambda: angles(n_bits=0)),
    ):  # fmt: skip
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            act()
    with pytest.raises(InputError, match="metadata"):
        store.add_texts(["1"], [{"when": {1, 2}}], ids=["x"])
    assert [hit.id for hit in store.similarity_search("1", k=9)] == ["a"]
