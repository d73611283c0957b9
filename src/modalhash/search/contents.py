"""What goes into one side of a search index."""

from collections.abc import Sequence
from dataclasses import dataclass

from modalhash.codes import Codes
from modalhash.index import Ids, Metadata

__all__ = ["SideContent"]


@dataclass(frozen=True)
class SideContent:
    """What goes into one side of an index.

    Attributes:
        ids: n distinct ids.
        codes: (n, p) uint8.
        metadata: n mappings; `caption`, `image` (a file, or None) and `item` are shown with hits.
    """

    ids: Ids
    codes: Codes
    metadata: Sequence[Metadata]
