"""Stores and retrievers of LangChain and LlamaIndex over indexes of codes.

`modalhash.retrievers.langchain` and `modalhash.retrievers.llama_index` hold the classes that these
programs know; each needs its package, an extra of ours. What they share needs neither.
"""

from modalhash.retrievers.documents import DocumentStore, FoundDocument
from modalhash.retrievers.embedded_documents import EmbeddedDocuments
from modalhash.retrievers.indexed_documents import IndexedDocuments
from modalhash.retrievers.random_rotation import RandomRotation
from modalhash.retrievers.where_clauses import write_where

__all__ = [
    "DocumentStore",
    "EmbeddedDocuments",
    "FoundDocument",
    "IndexedDocuments",
    "RandomRotation",
    "write_where",
]
