"""What a retriever gives: documents with scores; and what every store of documents can do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, hamming_distances
from modalhash.errors import InputError

__all__ = [
    "DocumentStore",
    "FoundDocument",
    "NewDocument",
    "choose_diverse",
    "clip_score",
    "prepare_documents",
]


@dataclass(frozen=True)
class FoundDocument:
    """A document that a store holds, and how near it is to what was searched for.

    Attributes:
        id: of the document, as a text.
        text: what it says; "" of a picture without a caption.
        metadata: what else is known of it; of a picture, `image` is its file.
        score: larger is better, in [-1, 1]; 0 where nothing was searched for.
        relevance: in [0, 1]: the calibrated probability of relevance where the index knows it, else
            the score, and 0 for scores below 0.
    """

    id: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    score: float = 0.0
    relevance: float = 0.0


@dataclass(frozen=True)
class NewDocument:
    """A document to add.

    Attributes:
        id: of the document.
        text: what it says.
        metadata: what else is known of it.
    """

    id: str
    text: str
    metadata: Mapping[str, Any]


class DocumentStore(Protocol):
    """What both stores of documents can do, whatever makes their codes."""

    def search(self, text: str, k: int, where: str | None = None) -> list[FoundDocument]:
        """Find the k best documents for a text, best first."""

    def add(self, documents: Sequence[NewDocument]) -> None:
        """Add documents, in the place of those of the same ids; all of them or none."""

    def read(self, ids: Sequence[str]) -> list[FoundDocument]:
        """Read documents by their ids, in that order; ids that aren't there are passed over."""

    def delete(self, ids: Sequence[str]) -> None:
        """Remove documents; ids that aren't there are passed over."""

    def delete_where(self, where: str) -> None:
        """Remove the documents that pass a filter."""

    def read_codes(self, ids: Sequence[str]) -> tuple[Codes, int]:
        """Look up the packed codes of documents, (n, p) uint8, and their bits."""

    def close(self) -> None:
        """Let go of files."""


def prepare_documents(
    texts: Sequence[str],
    metadata: Sequence[Mapping[str, Any]] | None,
    ids: Sequence[str | None] | None,
) -> list[NewDocument]:
    """Put texts, metadata and ids together; a document without an id gets a new one.

    Raises:
        InputError: if there aren't as many ids or metadata as texts, or an id comes twice.
    """
    for name, values in (("metadata", metadata), ("ids", ids)):
        if values is not None and len(values) != len(texts):
            raise InputError(
                f"there are {len(values)} {name} and {len(texts)} texts: give one for each text"
            )
    new_ids = [identity or str(uuid4()) for identity in ids or [None] * len(texts)]
    for place, identity in enumerate(new_ids):
        if not isinstance(identity, str):
            raise InputError(f"ids[{place}] is {identity!r}, expected a text")
    if len(set(new_ids)) < len(new_ids):
        twice = next(identity for identity in new_ids if new_ids.count(identity) > 1)
        raise InputError(f"the id {twice!r} comes twice: give each document its own")
    return [
        NewDocument(identity, text, dict(own))
        for identity, text, own in zip(new_ids, texts, metadata or [{}] * len(texts), strict=True)
    ]


def clip_score(score: float) -> float:
    """Make a relevance of a score: 0 for scores below 0.

    Example:
        >>> clip_score(-0.2), clip_score(0.7), clip_score(1.0000001)
        (0.0, 0.7, 1.0)
    """
    return min(max(score, 0.0), 1.0)


def choose_diverse(
    scores: Sequence[float], codes: Codes, n_bits: int, k: int, *, relevance_share: float
) -> list[int]:
    """Choose items that are near the query and far from each other (maximal marginal relevance).

    The first is the nearest. Each next one has the largest `share * score - (1 - share) * likeness`
    of those left, where the likeness is the largest one to an item that is chosen already, and
    likeness is `1 - 2 distance / n_bits`. Of equal ones the nearer is taken.

    Args:
        scores: n scores, best first.
        codes: (n, p) uint8, packed, of the same items.
        n_bits: bits of a code.
        k: items to choose at most.
        relevance_share: from 0, only unlike each other, to 1, only near the query.

    Returns:
        Places in the order in which they are chosen.

    Raises:
        InputError: if `relevance_share` is out of its range.

    Example:
        >>> codes = np.array([[0b1111], [0b1111], [0b0011]], np.uint8)
        >>> choose_diverse([0.9, 0.8, 0.7], codes, 4, 2, relevance_share=0.5)
        [0, 2]
    """
    if not 0 <= relevance_share <= 1:
        raise InputError(f"lambda_mult is {relevance_share}, expected from 0 to 1")
    nearness = np.asarray(scores, np.float64)
    likeness: NDArray[np.float64] = 1 - 2 * hamming_distances(codes, codes) / n_bits
    chosen: list[int] = []
    left = list(range(len(nearness)))
    while left and len(chosen) < k:
        closest = likeness[np.ix_(left, chosen)].max(axis=1) if chosen else np.zeros(len(left))
        gains = relevance_share * nearness[left] - (1 - relevance_share) * closest
        best = left[int(np.argmax(gains))] if chosen else left[0]
        chosen.append(best)
        left.remove(best)
    return chosen
