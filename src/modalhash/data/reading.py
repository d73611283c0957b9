"""What a loader hands back: what it could read, and everything that was wrong."""

from dataclasses import dataclass
from typing import Protocol

from modalhash.data.collection import Collection
from modalhash.errors import Defect

__all__ = ["Reading", "SourceReader"]


@dataclass(frozen=True)
class Reading:
    """A source as it was read, before anyone decided what to do about its defects.

    Attributes:
        collection: what could be read. Every item with a defect is either not in it or named in
            that defect's `items`, so that leaving those items out gives a sound collection. None
            if there is nothing to go on with; then a defect without items says why.
        defects: everything wrong that shows without decoding pictures.
        notes: what a reader should know and is no defect ("column 'x' is left out: ...").
    """

    collection: Collection | None
    defects: tuple[Defect, ...] = ()
    notes: tuple[str, ...] = ()


class SourceReader(Protocol):
    """The one function of a loader's file."""

    def __call__(self, argument: str, *, split_seed: int) -> Reading:
        """Read a source.

        Args:
            argument: what follows the name and a colon ("FOLDER" of "wiki:FOLDER"); empty if
                nothing does.
            split_seed: seed of the splits, where the source has none of its own.

        Raises:
            InputError: if the argument can't be used.
        """
