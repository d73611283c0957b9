"""The kinds of searchers by name: the library's own, and those of installed packages."""

from collections.abc import Mapping
from pathlib import Path

from modalhash.errors import ArtifactError, InputError
from modalhash.index.base import HashIndex
from modalhash.index.searchers import Searcher
from modalhash.registries import Registry

__all__ = ["REGISTRY", "SEARCHERS", "check_stated_kind", "searcher_class"]

SEARCHERS: Mapping[str, str] = {
    "exact": "modalhash.index.exact:ExactSearcher",
    "flat": "modalhash.index.faiss_flat:FlatSearcher",
    "ivf": "modalhash.index.faiss_ivf:IvfSearcher",
    "mih": "modalhash.index.multi_index:MultiIndexSearcher",
    "auto": "modalhash.index.choosing:AutoSearcher",
}
"""Name of a kind to the class that makes its searchers, loaded when first asked for."""
REGISTRY = Registry("kind of index", "indexes", SEARCHERS, lambda: (Searcher, HashIndex))
"""Kinds of index of this library that search in one process, and those of installed packages."""


def searcher_class(kind: str, *, from_file: bool = False) -> type[Searcher]:
    """Load the class of a kind of searcher.

    Args:
        kind: a name in `SEARCHERS`, one that an installed package registers, or `MODULE:CLASS`.
        from_file: whether a file chose the name; see `Registry.load`.

    Raises:
        InputError: if a class can't be loaded, or is no searcher; the message names the package.
        UnknownNameError: if there is no such kind, listing those there are.
    """
    loaded: type[Searcher] = REGISTRY.load(kind, from_file=from_file)
    if not issubclass(loaded, Searcher):
        raise InputError(f"the index of kind {kind!r} isn't searched in this process")
    return loaded


def check_stated_kind(folder: Path, kind: str) -> None:
    """Check that an index folder is of a kind whose searchers can be loaded here.

    Raises:
        ArtifactError: if it isn't; with the way out.
    """
    try:
        searcher_class(kind, from_file=True)
    except InputError as error:
        raise ArtifactError(
            f"{folder} is an index of kind {kind!r}, which can't be loaded here: install the "
            f"package that provides it ({error})"
        ) from error
