"""LangChain's own integration suite of vector stores, over embeddings and over trained models."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from langchain_core.vectorstores import VectorStore

suite: Any = pytest.importorskip("langchain_tests.integration_tests.vectorstores")
Suite: Any = suite.VectorStoreIntegrationTests
del suite.VectorStoreIntegrationTests
"""Pytest would run the abstract suite itself, too."""


class TestStoreInMemory(Suite):  # type: ignore[misc]
    @pytest.fixture
    def vectorstore(self) -> Iterator["VectorStore"]:
        from modalhash.retrievers.langchain import ModalhashVectorStore

        with ModalhashVectorStore(self.get_embeddings()) as store:
            yield store


class TestStoreInFolder(Suite):  # type: ignore[misc]
    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Iterator["VectorStore"]:
        from modalhash.retrievers.langchain import ModalhashVectorStore

        with ModalhashVectorStore(self.get_embeddings(), folder=tmp_path / "store") as store:
            yield store


@pytest.mark.usefixtures("tiny_encoder", "own_cache")
class TestStoreOfTrainedModel(Suite):  # type: ignore[misc]
    @pytest.fixture
    def vectorstore(self, word_run: Path, tmp_path: Path) -> Iterator["VectorStore"]:
        from modalhash.retrievers.langchain import ModalhashVectorStore

        with ModalhashVectorStore.from_model(word_run, tmp_path / "store") as store:
            yield store
