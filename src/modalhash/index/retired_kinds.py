"""Kinds that earlier versions wrote and that are no longer built: their folders open all the same.

`hnsw`, a graph, was as quick as cells (`ivf`) and took nine times their memory. The codes of such a
segment are scanned, which finds everything; `compact` builds a searcher of the kind that takes the
place of the old one.
"""

from collections.abc import Mapping
from typing import Any, Final

from modalhash.codes import Codes
from modalhash.index.searcher_table import REGISTRY, searcher_class
from modalhash.index.searchers import Searcher

__all__ = ["current_kind", "is_retired", "scan_retired"]

SUCCESSORS: Final[Mapping[str, str]] = {"hnsw": "auto"}
"""A retired kind to the kind that takes its place."""


def is_retired(kind: str) -> bool:
    """Tell whether a kind is no longer built; an installed package may register its name anew.

    Example:
        >>> is_retired("hnsw"), is_retired("ivf")
        (True, False)
    """
    return kind in SUCCESSORS and kind not in REGISTRY


def current_kind(kind: str, parameters: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Translate the kind and the parameters in a manifest to those that build such an index today.

    Args:
        kind: of the manifest.
        parameters: what was asked of that kind; only those that the successor takes are kept.

    Example:
        >>> current_kind("hnsw", {"recall": 0.9, "n_links": 8}), current_kind("flat", {})
        (('auto', {'recall': 0.9}), ('flat', {}))
    """
    if not is_retired(kind):
        return kind, parameters
    successor = SUCCESSORS[kind]
    names = searcher_class(successor).settings.__dataclass_fields__
    return successor, {name: value for name, value in parameters.items() if name in names}


def scan_retired(kind: str, codes: Codes, n_bits: int) -> Searcher:
    """Make a scan of the codes of a segment whose kind is retired.

    Args:
        kind: the retired kind.
        codes: (m, p) uint8 of the segment.
        n_bits: bits of a code.
    """
    from modalhash.index.choosing import AutoSearcher  # loads FAISS, which `exact` does without

    scan = searcher_class("flat").build(codes, n_bits, parameters={})
    reason = f"kind {kind!r} is no longer built: its codes are scanned until the index is compacted"
    chosen = {"kind": scan.kind, "parameters": {}}
    return AutoSearcher(scan, {"chosen": chosen, "reason": reason}, codes)
