"""The table of targets: what codes can be exported to."""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Final

from modalhash.bridges.contents import Content, Written
from modalhash.errors import UnknownNameError

__all__ = ["TARGETS", "find_writer"]

TARGETS: Final[Mapping[str, str]] = {
    "elasticsearch": "modalhash.bridges.elasticsearch",
    "faiss": "modalhash.bridges.faiss_file",
    "milvus": "modalhash.bridges.milvus_rows",
    "npy": "modalhash.bridges.npy",
    "opensearch": "modalhash.bridges.opensearch",
    "pgvector": "modalhash.bridges.pgvector",
    "qdrant": "modalhash.bridges.qdrant",
    "usearch": "modalhash.bridges.usearch_file",
}
"""Name of a target to the module whose `write` serves it, loaded on use."""


def find_writer(target: str) -> Callable[[Path, Content], Written]:
    """Find the function that writes for a target.

    Raises:
        UnknownNameError: if there is no such target, listing those there are.
    """
    if target not in TARGETS:
        raise UnknownNameError("target", target, TARGETS)
    write: Callable[[Path, Content], Written] = import_module(TARGETS[target]).write
    return write
